-- The files that TLS options name: certificates, keys and folders of them, intact and damaged. Errors name the right
-- option and file; endless files, and things that are not files, are not waited for; names may be any bytes. Trust and
-- client identity are tested in certificates_spec.lua and identity_spec.lua.

local child = require "spec.support.child"
local files = require "spec.support.files"
local luws = require "luws"
local mime = require "mime"
local servers = require "spec.support.servers"
local wss = require "spec.support.wss"

local LARGEST = 4 * 1024 * 1024 -- bytes of a file that is read

local folder -- for the files of a spec

local function shell(command)
  -- Lua 5.1 returns the status, later versions whether it is 0.
  local status = os.execute(command)
  assert(status == 0 or status == true, command)
end

before_each(function()
  folder = os.tmpname()
  os.remove(folder)
  shell("mkdir " .. folder)
end)

after_each(function() shell("rm -r " .. folder) end)

local function read(name) return files.read(name:find "^/" and name or servers.pki(name)) end

--- Makes a file of that name in the folder, and returns its path.
local function write(name, text) return files.write(folder .. "/" .. name, text) end

--- Returns the PEM block with that tag from a file of the test certificates, as DER.
local function der(name, tag)
  local base64 = assert(read(name):match("BEGIN " .. tag .. "%-+\n(.-)%-"))
  return (mime.unb64(base64))
end

local function pem(tag, contents)
  local lines = mime.b64(contents):gsub(("."):rep(64), "%0\n"):gsub("\n$", "")
  return ("-----BEGIN %s-----\n%s\n-----END %s-----\n"):format(tag, lines, tag)
end

--- Checks that wsopen refuses these options because of the file of one of them; `words` are in the message.
local function refused(options, name, path, ...)
  local message = wss.same_message(luws, options)
  assert.equal("bad option 'ssl_" .. name, message:match "^[^']*'[^']*", message)
  assert.equal(("(%s)"):format(path), message:sub(-#path - 2), message)
  for _, word in ipairs { ... } do assert.truthy(message:find(word, 1, true), message) end
  -- OpenSSL's own wording is meant for its developers.
  assert.is_nil(message:find("error:", 1, true), message)
  return message
end

--- Checks that a server that wants to know who its client is takes these options for the client of the test PKI.
local function shown(options)
  local seen = wss.open(luws, { clients = "required" }, options)
  assert.is_true(seen.opened, seen.message)
  assert.equal("commonName=luws client", seen.client)
end

-- Damage to the contents, while the PEM frame around them is intact.
local damages = {
  ["cut off"] = function(contents) return contents:sub(1, -20) end,
  ["half there"] = function(contents) return contents:sub(1, math.floor(#contents / 2)) end,
  ["something else"] = function() return "\48\3\2\1\5" end,
  ["zeros"] = function(contents) return ("\0"):rep(#contents) end,
}

describe("a damaged certificate is named:", function()
  for how, damage in pairs(damages) do
    it("one of several files of authorities, " .. how, function()
      local good, other = wss.paths("ca.pem", "other-ca.pem")
      local bad = write("bad.pem", read "ca.pem" .. pem("CERTIFICATE", damage(der("ca.pem", "CERTIFICATE"))))
      for _, paths in ipairs { { good, bad, other }, { bad, good }, { other, good, bad } } do
        refused({ ssl_cafile = paths }, "cafile", bad, "not valid")
      end
      refused({ ssl_cafile = { good, other }, ssl_certificate = bad, ssl_key = servers.pki "client.key" },
        "certificate", bad, "not valid")
    end)

    it("the client's own, with an intact key, " .. how, function()
      local key = servers.pki "client.key"
      local bad = pem("CERTIFICATE", damage(der("client.pem", "CERTIFICATE")))
      for _, text in ipairs { bad, read "client.pem" .. bad } do
        local path = write("bad.pem", text)
        refused({ ssl_certificate = path, ssl_key = key }, "certificate", path, "not valid")
      end
      local both = write("both.pem", bad .. read "client.key")
      refused({ ssl_certificate = both, ssl_key = both }, "certificate", both, "not valid")
    end)
  end

  it("one whose key is too weak for the TLS library", function()
    local certificate, key = folder .. "/weak.pem", folder .. "/weak.key"
    wss.openssl(("req -x509 -newkey rsa:1024 -nodes -subj /CN=weak -keyout %s -out %s 2>&1"):format(key, certificate))
    refused({ ssl_certificate = certificate, ssl_key = key }, "certificate", certificate, "key too small")
  end)
end)

describe("a damaged key is named although its certificate is intact:", function()
  for _, case in ipairs {
    { "PKCS#8", "PRIVATE KEY", "client.key", "client.pem" },
    { "PKCS#8 (RSA)", "PRIVATE KEY", "client-rsa.key", "client-rsa.pem" },
    { "PKCS#1", "RSA PRIVATE KEY", "client-rsa-pkcs1.key", "client-rsa.pem" },
    { "SEC1", "EC PRIVATE KEY", "client-sec1.key", "client.pem" },
  } do
    for how, damage in pairs(damages) do
      it(case[1] .. ", " .. how, function()
        local path = write("bad.key", pem(case[2], damage(der(case[3], case[2]))))
        local message = refused({ ssl_certificate = servers.pki(case[4]), ssl_key = path }, "key", path, "not a valid")
        -- Advice about old archives is of no use here.
        assert.is_nil(message:find("PKCS#12", 1, true) or message:find("pkcs12", 1, true), message)
      end)
    end
  end
end)

describe("wsopen says how to convert", function()
  --- Runs the openssl command in a message, and sets that option to the file it makes.
  local function converted(message, options, name)
    local line = message:match "openssl (.- )FILE"
    assert.truthy(line, message)
    wss.openssl(line .. folder .. "/converted -passin pass:secret 2>&1")
    options["ssl_" .. name] = folder .. "/converted"
    shown(options)
  end

  for _, name in ipairs { "client.cer", "it's \"mine\" $(HOME) `x`; #1\\.cer" } do
    it("a certificate in DER: " .. name, function()
      local path = write(name, der("client.pem", "CERTIFICATE"))
      refused({ ssl_certificate = path }, "certificate", path, "openssl x509")
      local options = { ssl_certificate = path, ssl_key = servers.pki "client.key" }
      converted(refused(options, "certificate", path, "DER", "openssl x509 -inform der"), options, "certificate")
    end)

    it("an encrypted key: " .. name, function()
      local path = write(name, read "client-encrypted.key")
      local options = { ssl_certificate = servers.pki "client.pem", ssl_key = path }
      converted(refused(options, "key", path, "encrypted", "openssl pkcs8 -topk8"), options, "key")
    end)
  end
end)

describe("the message names a PKCS#12 archive that", function()
  it("has no key, or no certificate", function()
    local path, inputs = folder .. "/half.p12", { "-nokeys -in @client.pem", "-nocerts -inkey @client.key" }
    for _, input in ipairs(inputs) do
      wss.openssl(("pkcs12 -export %s -passout pass:secret -out %s 2>&1"):format(input, path))
      refused({ ssl_certificate = path, ssl_password = "secret" }, "certificate", path, "no certificate with its key")
    end
  end)

  it("is cut off, wherever", function()
    local archive = read "client.p12"
    for _, length in ipairs { 1, 2, 5, 30, math.floor(#archive / 2), #archive - 1 } do
      local path = write("cut.p12", archive:sub(1, length))
      refused({ ssl_certificate = path, ssl_password = "secret" }, "certificate", path, "not valid PKCS#12")
    end
  end)
end)

describe("ssl_password is refused, and never shown, with", function()
  for title, password in pairs {
    ["a NUL in it"] = "secret\0geheim", ["a NUL at its end"] = "secret\0", ["a NUL alone"] = "\0",
    ["what is not UTF-8"] = "geheim\255", ["half a letter"] = "geheim\195",
  } do
    it(title, function()
      local archive = servers.pki "client.p12"
      for _, options in ipairs {
        { ssl_certificate = archive, ssl_password = password },
        { ssl = { certificate = archive, password = password } },
      } do
        local message = wss.message(luws, options)
        assert.is_string(message)
        assert.matches("^bad option 'ssl_password'", message)
        assert.is_nil(message:find(password, 1, true) or message:find "geheim" or message:find "secret", message)
      end
    end)
  end

  it("the wrong text", function()
    local archive = servers.pki "client.p12"
    local message = wss.message(luws, { ssl_certificate = archive, ssl_password = "geheim" })
    assert.matches("wrong ssl_password", message)
    assert.is_nil(message:find "geheim")
  end)
end)

describe("wsopen does not read", function()
  --- Checks this for each option that names a file. The refusal must come at once, not after reading.
  local function refused_everywhere(path, why)
    local certificate, key = wss.paths("client.pem", "client.key")
    local started = luws.gettime()
    refused({ ssl_cafile = path }, "cafile", path, why)
    refused({ ssl_cafile = { servers.ca_file(), path } }, "cafile", path, why)
    refused({ ssl_certificate = path }, "certificate", path, why)
    refused({ ssl_certificate = path, ssl_key = key }, "certificate", path, why)
    refused({ ssl_certificate = certificate, ssl_key = path }, "key", path, why)
    assert.is_true(luws.gettime() - started < 2)
  end

  it("files without an end", function()
    shell("ln -s /dev/zero " .. folder .. "/link")
    for _, path in ipairs { "/dev/zero", folder .. "/link" } do refused_everywhere(path, "not a regular file") end
  end)

  it("a FIFO", function()
    shell("mkfifo " .. folder .. "/fifo")
    refused_everywhere(folder .. "/fifo", "not a regular file")
  end)

  it("a folder", function() refused_everywhere(folder, "not a regular file") end)

  it("files that do not exist", function()
    shell("ln -s nowhere " .. folder .. "/link")
    for _, name in ipairs { "nothing", "link", "nothing/ca.pem" } do
      refused_everywhere(folder .. "/" .. name, "No such file")
    end
  end)

  it("more than 4 MiB", function()
    for _, size in ipairs { LARGEST + 1, "4G" } do
      local path = write("large", read "ca.pem")
      shell(("truncate -s %s %s"):format(size, path))
      refused_everywhere(path, "over 4194304 bytes")
    end
  end)
end)

it("files of 4 MiB are read", function()
  --- Writes a copy of that file padded with blanks to the largest size, and returns its path.
  local function padded(name)
    local text = read(name)
    return write(name, text .. (" "):rep(LARGEST - #text))
  end
  local certificate, key = padded "client.pem", padded "client.key"
  shown { ssl_verify = "peer", ssl_cafile = padded "ca.pem", ssl_certificate = certificate, ssl_key = key }
end)

describe("a folder of authorities", function()
  local function litter()
    write("damaged.pem", pem("CERTIFICATE", der("ca.pem", "CERTIFICATE"):sub(1, -20)))
    write("notes \255", "no certificate")
    shell(([[cd %s && mkdir subfolder subfolder.pem && mkfifo fifo && ln -s nowhere dangling.pem && ln -s . itself &&
      ln -s /dev/zero zero.pem && truncate -s 4G large.pem]]):format(folder))
  end

  it("may have other things in it, which are skipped", function()
    litter()
    write("zzz", read "ca.pem") -- the name does not matter
    local started = luws.gettime()
    local seen = wss.open(luws, {}, { ssl_verify = "peer", ssl_capath = folder })
    assert.is_true(seen.opened, seen.message)
    assert.is_true(seen.tls.verified)
    assert.is_false(wss.open(luws, { certificate = "unknown" }, { ssl_verify = "peer", ssl_capath = folder }).opened)
    assert.is_true(luws.gettime() - started < 10)
  end)

  it("is named if there is nothing else in it", function()
    refused({ ssl_capath = folder }, "capath", folder, "no PEM certificate")
    litter()
    refused({ ssl_capath = folder }, "capath", folder, "no PEM certificate")
    -- A good file does not make up for it: both were asked for.
    refused({ ssl_cafile = servers.ca_file(), ssl_capath = folder }, "capath", folder, "no PEM certificate")
  end)
end)

it("names of files may be any bytes", function()
  local strange = "\255\254 é"
  if not pcall(write, strange, "") then return pending "this file system has UTF-8 only" end
  shell(("mkdir '%s/\255'"):format(folder))
  local authority, certificate = write("\255/\254ca", read "ca.pem"), write(strange, read "client.pem")
  local key, archive = write("\255key", read "client.key"), write("\255p12", read "client.p12")
  shown { ssl_verify = "peer", ssl_cafile = authority, ssl_certificate = certificate, ssl_key = key }
  shown { ssl_verify = "peer", ssl_capath = folder .. "/\255", ssl_certificate = archive, ssl_password = "secret" }
  for name in pairs { cafile = 1, capath = 1, certificate = 1 } do
    local message = wss.message(luws, { ["ssl_" .. name] = folder .. "/none\255" })
    assert.matches("^bad option 'ssl_" .. name .. "': No such file", message)
  end
end)

it("a client's chain of 80 KB is sent like any other", function()
  -- A server that trusts the first certificate does not care how the rest relates to the client.
  local chain = write("chain.pem", read "client.pem" .. read "huge.pem" .. servers.leaf "huge.pem")
  assert.is_true(#read(chain) * 3 / 4 > 80 * 1024)
  shown { ssl_certificate = chain, ssl_key = servers.pki "client.key" }
end)

it("environment variables that cannot be read make wsopen return an error message", function()
  local path = write("\255.pem", read "ca.pem")
  shell(("mkdir '%s/\255'"):format(folder))
  local program = [[
    local luws = require "luws"
    for _, options in ipairs { {}, { ssl_verify = "peer" }, { ssl_verify = "peer", ssl_cafile = arg[1] } } do
      print("result", luws.wsopen("wss://127.0.0.1:1/", nil, options))
    end
  ]]
  for name, value in pairs { SSL_CERT_FILE = path, SSL_CERT_DIR = folder .. "/\255" } do
    local output, status = child.run { environment = ("%s='%s'"):format(name, value), input = program, path }
    assert.equal(0, status, output)
    -- The TLS library's own message is there, too.
    local count = 0
    for result, why in output:gmatch "result\t(%S+)\t([^\n]+)" do
      count = count + 1
      assert.equal("false", result)
      assert.is_nil(why:find "^table" or why:find "^userdata", why)
    end
    assert.equal(3, count, output)
  end
end)

describe("ssl_cafile and ssl_capath", function()
  it("are read again for each connection, because they may have changed", function()
    for _, name in ipairs { "ssl_cafile", "ssl_capath" } do
      local path = write("authority.pem", "")
      for _, case in ipairs { { "ca.pem", true }, { "ca.pem", true }, { "other-ca.pem", false }, { "ca.pem", true } } do
        write("authority.pem", read(case[1]))
        local options = { ssl_verify = "peer", [name] = name == "ssl_cafile" and path or folder }
        assert.equal(case[2], wss.open(luws, {}, options).opened or false, name .. " " .. case[1])
      end
    end
  end)
end)
