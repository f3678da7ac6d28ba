-- Descriptors: too many, too large for select, closed or replaced by the host, and those of standard input and output.
-- Each test runs in a process of its own.

local odd_host = require "spec.support.odd_host"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local unpack = require "spec.support.compat".unpack

-- Programs get these; `echo(conn, text)` returns whether an echo came.
local PRELUDE = [[
  local ws, wss, ca_file, other = ...
  local luws = require "luws"
  local told
  local function open(url, options)
    options = options or {}
    options.ssl_verify, options.ssl_cafile = "peer", ca_file
    return luws.wsopen(url, function(_, opcode, data) told = { opcode, data } end, options)
  end
  local function echo(conn, text)
    told = nil
    if not luws.wssend(conn, 1, text) then return false end
    local deadline = luws.gettime() + 10
    repeat luws.wswait(conn, 1) until luws.wsreceive(conn) == nil or told or luws.gettime() > deadline
    return told ~= nil and told[2] == text
  end
  local function without_ports(text) return (text:gsub(":%d+", ":PORT")) end
]]

local function run(program, ...)
  local output, status = odd_host.run {
    input = PRELUDE:gsub("\n%s*", " ") .. program,
    servers.url("demo", "ws", "/echo"), servers.url("demo", "wss", "/echo"), servers.ca_file(), ...,
  }
  assert.equal(0, status, output)
  return output
end

-- Takes all descriptors below a number.
local FILL = [[
  local files = {}
  local function fill(most)
    odd.limit_descriptors(most)
    local file
    repeat
      file = io.open "/dev/null" or collectgarbage() and io.open "/dev/null"
      files[#files + 1] = file
    until not file
  end
]]

describe("a descriptor that is too large for select", function()
  it("is not given to it, and the log says so once in a Lua state", function()
    local output = run(FILL .. [[
      local logged = {}
      luup = { log = function(text, level) logged[#logged + 1] = level .. " " .. text end }
      fill(1100)
      odd.limit_descriptors(1200)
      local conn, second = assert(open(ws)), assert(open(wss))
      print(conn:pollfd() >= 1024, conn:events(), conn:timeout(), #logged)
      for _ = 1, 3 do
        print(conn:getfd(), second:getfd())
      end
      print(#logged)
      print((logged[1]:gsub("127.0.0.1:%d+", "HOST"):gsub("descriptor %d+", "descriptor N")))
      print(echo(conn, "hello"), echo(second, "hello"))
      luws.wsclose(conn)
      print(conn:getfd(), conn:pollfd(), #logged)
    ]])
    assert.equal("true\tr\tnil\t0\n" .. ("-1\t-1\n"):rep(3) .. "1\n"
      .. "2 luws: luws-websock[HOST] has the descriptor N, but select takes those below 1024 only, so it never "
      .. "reports this one. Call wsreceive regularly, keep fewer files open, or use a loop that takes conn:pollfd().\n"
      .. "true\ttrue\n-1\t-1\t1\n", output)
  end)
end)

describe("where no descriptor is left,", function()
  for _, scheme in ipairs { "ws", "wss" } do
    it(scheme .. ": wsopen says so, and works once there is one again", function()
      assert.equal("false\tConnection to HOST:PORT failed: Too many open files\ntrue\ttrue\n", run(FILL .. ([[
        local url = %s
        local conn = assert(open(url)) -- what TLS reads once is read
        assert(echo(conn, "hello"))
        fill(100)
        local ok, why = luws.wsopen(url)
        print(ok, why and without_ports(why:gsub("127.0.0.1", "HOST"):gsub("localhost", "HOST")))
        files[1]:close()
        if url == wss then files[2]:close() end
        print(open(url) and true, echo(conn, "again"))
      ]]):format(scheme)))
    end)
  end
end)

describe("connections that nobody holds", function()
  it("do not keep others from being opened, however seldom the collector comes", function()
    assert.equal("true\ttrue\n", run [[
      local large = {}
      for i = 1, 200000 do large[i] = { i } end
      collectgarbage("setpause", 1000)
      collectgarbage()
      odd.limit_descriptors(60)
      local conn
      for i = 1, 300 do
        local why
        conn, why = open(i % 10 == 0 and wss or ws)
        if not conn then return print(i, why) end
      end
      print(echo(conn, "hello"), #large == 200000)
    ]])
  end)

  it("are left to the program if it has stopped the collector, as long as there are descriptors", function()
    if not pcall(collectgarbage, "isrunning") then
      pending "this Lua does not say whether it is stopped"
      return
    end
    assert.equal("0\ttrue\tfalse\n", run [[
      local collected = 0
      collectgarbage()
      collectgarbage "stop"
      local proxy = newproxy(true)
      getmetatable(proxy).__gc = function() collected = collected + 1 end
      proxy = nil -- luacheck: ignore
      for _ = 1, 200 do assert(luws.wsclose(assert(open(ws))) == nil) end
      print(collected, open(ws) ~= nil, collectgarbage "isrunning")
    ]])
  end)
end)

-- A descriptor that the host has taken away is an error of the operating system as soon as it is used. One that is
-- another socket by then works, as far as luws can know.
describe("a descriptor that the host", function()
  -- What comes first, and what it and `wsreceive` after it return.
  local FIRST = {
    { "wssend", "luws.wssend(conn, 1, 'x')", "false send error: WHY" },
    { "wsreceive", "luws.wsreceive(conn)", "nil WHY" },
    { "wswait", "luws.wswait(conn, 10)", "true" },
  }

  for _, case in ipairs {
    { "has closed", "odd.close(fd)", "Bad file descriptor" },
    { "has replaced by a file", "odd.dup2(0, fd)", "Socket operation on non-socket" },
  } do
    local what, deed, why = unpack(case)
    for _, scheme in ipairs { "ws", "wss" } do
      local BEGIN = ([[
        local conn = assert(open(%s))
        local fd = conn:pollfd()
        %s
      ]]):format(scheme, deed)

      for _, first in ipairs(FIRST) do
        local name, call, expected = unpack(first)
        it(("%s ends the connection at the first %s: %s"):format(what, name, scheme), function()
          local output = run(BEGIN .. ([[
            local function text(ok, reason) return tostring(ok) .. (reason and " " .. reason or "") end
            print(text(%s))
            print(text(luws.wsreceive(conn)))
            print(text(unpack(told)))
            luws.wsclose(conn)
            print(luws.wswait(conn, 10), conn.was_clean)
          ]]):format(call))
          assert.equal((expected .. "\nnil WHY\nfalse receiver error: WHY\ntrue\tfalse\n"):gsub("WHY", why), output)
        end)
      end

      it(("%s does not disturb wsclose, nor other connections: %s"):format(what, scheme), function()
        assert.equal("true\ttrue\n", run(BEGIN .. ([[
          luws.wsclose(conn)
          print(luws.wswait(conn, 10), echo(assert(open(%s)), "hello"))
        ]]):format(scheme)))
      end)
    end
  end
end)

-- A socket would get their numbers, and what is printed would go to the peer.
it("connections never have the descriptors of standard input, output and error, even if those are closed", function()
  local name = os.tmpname()
  run([[
    local report = assert(io.open(other, "w"))
    for fd = 0, 2 do odd.close(fd) end
    local conns = {}
    for i, url in ipairs { ws, wss, ws, wss } do conns[i] = assert(open(url)) end
    luws.debug_mode = true
    for _, conn in ipairs(conns) do
      print "a line"
      io.stderr:write "another\n"
      report:write(tostring(conn:pollfd() > 2 and echo(conn, "hello")), " ")
    end
    report:close()
  ]], name)
  local file = assert(io.open(name))
  assert.equal("true true true true ", file:read "*a")
  file:close()
  os.remove(name)
end)

for _, tls in ipairs { false, true } do
  it("a connection that the peer has reset raises no SIGPIPE: " .. (tls and "wss" or "ws"), function()
    local peer = scripted.peer { tls = tls, { "upgrade" }, { "read_frame" }, { "reset" } }
    local output = run([[
      odd.default_signal(odd.SIGPIPE)
      local conn = assert(open(other, { send_timeout = 0.1 }))
      local ok, why
      local deadline = luws.gettime() + 10
      repeat
        ok, why = luws.wssend(conn, 1, "hello")
        luws.sleep(0.001)
      until not ok or luws.gettime() > deadline
      print(why)
      luws.wsclose(conn)
      print(luws.wswait(conn, 10))
    ]], peer.url)
    peer:close()
    assert.equal("send error: closed\ntrue\n", output)
  end)
end
