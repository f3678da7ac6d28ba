-- The system's authorities, which ssl_verify = "peer" trusts without other options: what a program finds that runs for
-- months while they are missing, replaced, or cannot be read for a moment. Each program here is a process of its own,
-- whose environment says where the system keeps them.

local child = require "spec.support.child"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local BUNDLE = "/etc/ssl/certs/ca-certificates.crt" -- Debian's

local folder, peer

local function shell(command)
  local status = os.execute(command)
  assert(status == 0 or status == true, command)
end

setup(function() peer = scripted.peer { tls = true, { "upgrade" }, { "read_frame" }, { "close" } } end)
teardown(function() peer:close() end)

before_each(function()
  folder = os.tmpname()
  os.remove(folder)
  shell("mkdir " .. folder)
end)

after_each(function() shell("rm -r " .. folder) end)

-- Runs one command of the shell after the other, and opens a connection after each.
local PROGRAM = [[
  local luws = require "luws"
  for i = 2, #arg do
    os.execute(arg[i])
    local conn, why = luws.wsopen(arg[1], nil, { ssl_verify = "peer" })
    luws.wsclose(conn)
    print(conn and "open" or why)
  end
]]

--- expect(cases): each case is a command, in which @ is the folder and % that of the test certificates, and what a
-- connection after it says.
local function expect(cases)
  local arguments, expected = { peer.url }, {}
  for i, case in ipairs(cases) do
    local places = { ["@"] = folder, ["%"] = (servers.pki "ca.pem"):match "^(.*)/ca.pem$" }
    arguments[i + 1], expected[i] = case[1]:gsub("[@%%]", places), case[2]:gsub("@", folder)
  end
  arguments.input = PROGRAM
  arguments.environment = ("SSL_CERT_FILE='%s/ca.pem' SSL_CERT_DIR='%s/certs'"):format(folder, folder)
  local output = child.run(arguments)
  assert.equal(table.concat(expected, "\n") .. "\n", output)
end

local NONE = "Failed SSL negotation: the system's authorities cannot be read (@/ca.pem: %s; @/certs: %s)"
local MISSING = NONE:format("No such file or directory", "No such file or directory")
local UNKNOWN = "Failed SSL negotation: certificate verify failed (self-signed certificate in certificate chain)"

describe("the system's authorities are trusted as they are now:", function()
  it("a file that is missing, appears, is replaced, and goes away", function()
    expect {
      { "true", MISSING },
      { "cp %/ca.pem @/ca.pem", "open" },
      { "true", "open" },
      { "cp %/other-ca.pem @/new && mv @/new @/ca.pem", UNKNOWN },
      { "cp %/ca.pem @/new && mv @/new @/ca.pem", "open" },
      { "cat %/other-ca.pem >@/ca.pem", UNKNOWN },
      { "cat %/ca.pem >>@/ca.pem", "open" },
      { "rm @/ca.pem", MISSING },
    }
  end)

  it("a file that is only half written", function()
    expect {
      { "head -c 300 %/ca.pem >@/ca.pem", NONE:format("no PEM certificate in it", "No such file or directory") },
      { "cat %/ca.pem >@/ca.pem", "open" },
    }
  end)

  it("a folder in which each is a file, or a link to one, with its hash as the name", function()
    local name = "$(openssl x509 -in %/ca.pem -noout -hash).0"
    local none = NONE:format("No such file or directory", "no PEM certificate in it")
    expect {
      { "mkdir @/certs", none },
      { "cp %/ca.pem @/certs/ca.pem", none }, -- OpenSSL does not look at this name
      { "ln -s ../later.pem @/certs/" .. name, none },
      { "cp %/ca.pem @/later.pem", "open" },
      { "cp %/other-ca.pem @/later.pem", UNKNOWN },
      { "mv @/certs/ca.pem @/certs/00000000.0", "open" },
      { "rm -r @/certs", MISSING },
    }
  end)
end)

it("a process that has no descriptor left says so, and verifies as soon as it has some again", function()
  local output = child.run {
    peer.url, descriptors = 40, environment = ("SSL_CERT_FILE='%s' SSL_CERT_DIR=/none"):format(servers.ca_file()),
    input = [[
      local luws = require "luws"
      local files, file = {}, nil
      repeat
        file = io.open("/dev/null")
        files[#files + 1] = file
      until not file
      print(luws.wsopen(arg[1], nil, { ssl_verify = "peer" }))
      files, file = nil, nil
      collectgarbage() collectgarbage()
      print((luws.wsopen(arg[1], nil, { ssl_verify = "peer" })).connected)
    ]],
  }
  assert.equal(("false\tFailed SSL negotation: the system's authorities cannot be read (%s: Too many open files; "
    .. "/none: Too many open files)\ntrue\n"):format(servers.ca_file()), output)
end)

it("files that have not changed are not read again", function()
  local file = io.open(BUNDLE)
  if not file then return pending("there is no " .. BUNDLE) end
  local size = file:seek "end"
  file:close()
  local output = child.run {
    input = [[
      local luws = require "luws"
      local function count()
        local file = io.open "/proc/self/io" -- Linux
        local text = file:read "*a"
        file:close()
        return tonumber(text:match "rchar: (%d+)")
      end
      for _, options in ipairs { { ssl_verify = "peer" }, { ssl_verify = "peer", ssl_cafile = arg[1] } } do
        for _ = 1, 2 do
          local before = count()
          luws.wsopen("wss://127.0.0.1:1/", nil, options)
          print(count() - before)
        end
      end
    ]],
    BUNDLE, environment = ("SSL_CERT_FILE='%s'"):format(BUNDLE),
  }
  local read = {}
  for number in output:gmatch "%d+" do read[#read + 1] = tonumber(number) end
  assert.equal(4, #read, output)
  -- The second option names the same file, so that it is known already.
  assert.is_true(read[1] >= size and math.max(read[2], read[4]) < 10000, output)
end)
