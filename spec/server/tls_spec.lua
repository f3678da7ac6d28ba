-- A server over TLS: certificates by name, clients' certificates, and reading them again.

local child = require "spec.support.child"
local files = require "spec.support.files"
local luws = require "luws"
local mock = require "luws.mock"
local server = require "luws.server"
local serving = require "spec.support.serving"
local servers = require "spec.support.servers"
local socket = require "socket"

local till = serving.till

after_each(serving.over)
after_each(child.over)

local CA = servers.ca_file()
local PKI = CA:match "^(.*/)"

local function echo(conn, opcode, data) luws.wssend(conn, opcode, data) end

local function pair(name) return { ssl_certificate = PKI .. name .. ".pem", ssl_key = PKI .. "server.key" } end

--- Returns options with those of a pair.
local function with(name, more)
  local options = pair(name)
  for key, value in pairs(more or {}) do options[key] = value end
  return options
end

describe("a server over TLS", function()
  it("talks to clients that verify it", function()
    local s = serving.start(with("server", { on_message = echo }))
    s.scheme, s.host = "wss", "localhost"
    local client = s:connect("/", { ssl_cafile = CA, ssl_verify = "peer" })
    assert.is_true(client.conn.connected)
    local large = ("0123456789"):rep(50000)
    client.conn.options.max_payload_size = 1000000
    luws.wssend(client.conn, 1, large)
    till(function() return client.told[1] end)
    assert.same({ 1, large }, client.told[1])
    assert.equal("wss", s.conns[1].proto)
    assert.equal("TLSv1.3", client.conn.tls.version or "TLSv1.3")
    luws.wsclose(client.conn)
    till(function() return s.events[3] end)
    assert.same({ 1000, "" }, s.events[3])
  end)

  it("opens one connection after the other without waiting", function()
    local s = serving.start(with("server", { upgrade_timeout = 1 }))
    s.scheme, s.host = "wss", "localhost"
    local begun = luws.gettime()
    for i = 1, 50 do
      local client = s:connect("/", { ssl_verify = "none" })
      assert.is_true(client.conn.connected, i)
      luws.wsclose(client.conn)
    end
    assert.is_true(luws.gettime() - begun < 5)
  end)

  it("has a certificate for each of several names", function()
    local s = serving.start(with("server", { ssl_certificates = { ["*.luws.example"] = pair "wildcard" } }))
    s.scheme, s.host = "wss", "localhost"
    for _, case in ipairs { { "localhost", true }, { "a.luws.example", true }, { "other.example", false } } do
      local client = s:connect("/", { ssl_cafile = CA, ssl_verify = "peer", ssl_sni = case[1] })
      assert.equal(case[2], client.conn.connected, case[1])
    end
  end)

  it("knows its clients by their certificates, if it asks for them", function()
    local s = serving.start(with("server", {
      ssl_cafile = CA, ssl_verify = { "peer", "fail_if_no_peer_cert" },
      on_request = function(request)
        if not request.tls then return { status = 403 } end
      end,
    }))
    s.scheme, s.host = "wss", "localhost"
    local known = s:connect("/", { ssl_certificate = PKI .. "client.pem", ssl_key = PKI .. "client.key" })
    assert.is_true(known.conn.connected)
    till(function() return s.conns[1] end)
    local tls = s.conns[1].tls
    assert.is_true(tls.verified)
    assert.is_truthy(tls.subject:find("luws client", 1, true))
    assert.is_truthy(tls.fingerprint)
    local unknown = s:connect("/", {})
    till(function() return unknown.conn.close_code end)
    assert.is_nil(s.conns[2])
  end)

  --- Copies a certificate to a place.
  local function put(name, place)
    files.write(place, files.read(PKI .. name .. ".pem"))
  end

  it("reads its certificates again, and keeps the old ones if they are bad", function()
    local place = os.tmpname()
    put("server", place)
    local s = serving.start { ssl_certificate = place, ssl_key = PKI .. "server.key", on_message = echo }
    s.scheme, s.host = "wss", "localhost"
    local first = s:connect("/", { ssl_verify = "none" })
    put("renewed", place)
    assert.is_true(s.srv:reload())
    local second = s:connect("/", { ssl_verify = "none" })
    assert.is_true(first.conn.tls.fingerprint ~= second.conn.tls.fingerprint)
    put("ca", place) -- whose key it is not
    local ok, why = s.srv:reload()
    assert.is_nil(ok)
    assert.is_truthy(why:find("ssl_", 1, true), why)
    local third = s:connect("/", { ssl_verify = "none" })
    assert.equal(second.conn.tls.fingerprint, third.conn.tls.fingerprint)
    luws.wssend(first.conn, 1, "still here")
    till(function() return first.told[1] end)
    os.remove(place)
  end)

  it("keeps the old ones whatever is broken, for clients in the middle of their hello, too", function()
    local certificate, key, cafile = os.tmpname(), os.tmpname(), os.tmpname()
    local function put_all(name)
      put(name, certificate)
      files.write(key, files.read(PKI .. "server.key"))
      put("ca", cafile)
    end
    put_all "server"
    local net = mock.net { faults = { delay = 0.1 } } -- so that a handshake takes some tenths of a second
    local srv = assert(server.listen {
      port = 443, reactor = net.reactor, ssl_certificate = certificate, ssl_key = key, ssl_cafile = cafile,
      ssl_verify = "peer", ssl_certificates = { ["*.luws.example"] = { ssl_certificate = certificate, ssl_key = key } },
    })
    local whole = files.read(certificate)
    local conns, seen = {}, {}
    local function load()
      for _ = 1, 5 do
        conns[#conns + 1] = luws.wsopen("wss://localhost/", nil, net:options { wait = false, ssl_verify = "none" })
        net:advance(0.07)
      end
    end
    load()
    for _, case in ipairs {
      { certificate, "" }, { certificate, whole:sub(1, #whole / 2) }, { certificate, "garbage" },
      { certificate, files.read(key) }, { key, "" }, { key, whole }, { key, files.read(PKI .. "rsa.key") },
      { cafile, "" }, { cafile, "garbage" }, { certificate, nil }, { key, nil }, { cafile, nil },
    } do
      if case[2] then files.write(case[1], case[2]) else os.remove(case[1]) end
      load()
      local ok, why = srv:reload()
      assert.is_nil(ok, case[2])
      assert.is_truthy(why:find "^bad option 'ssl_", why)
      load()
      put_all "server"
    end
    put_all "renewed"
    assert.is_true(srv:reload())
    load()
    net:advance(5)
    for _, conn in ipairs(conns) do
      assert.is_true(conn.connected)
      seen[conn.tls.fingerprint] = (seen[conn.tls.fingerprint] or 0) + 1
      luws.wsclose(conn)
    end
    local count = 0
    for _ in pairs(seen) do count = count + 1 end
    assert.same({ 2, #conns }, { count, srv:stats().accepted })
    srv:close()
    net:settle()
    for _, path in ipairs { certificate, key, cafile } do os.remove(path) end
  end)

  it("reads them on HUP, too, and says in the log why it keeps the old ones", function()
    local place = os.tmpname()
    put("server", place)
    local served = child.serve { place, PKI .. "server.key", input = [[
      local server = require "luws.server"
      local srv = assert(server.listen { port = 0, ssl_certificate = arg[1], ssl_key = arg[2] })
      print((select(2, srv:address())))
      io.stdout:flush()
      srv:run { signals = true }
    ]] }
    local function fingerprint()
      local conn = assert(luws.wsopen("wss://localhost:" .. served.line, nil, { ssl_verify = "none" }))
      luws.wsclose(conn)
      return conn.tls.fingerprint
    end
    local function hang_up() os.execute("kill -HUP " .. served.pid) end
    local first = fingerprint()
    put("renewed", place)
    hang_up()
    till(function() return fingerprint() ~= first end)
    local second = fingerprint()
    put("ca", place)
    hang_up()
    socket.sleep(0.1)
    assert.equal(second, fingerprint())
    local said, status = served:stop()
    assert.equal(0, status)
    assert.is_truthy(said:find("the certificates cannot be read again: bad option 'ssl_", 1, true), said)
    os.remove(place)
  end)

  it("does not speak to those who do not, and has plain places beside it", function()
    local s = serving.start(with("server", {
      listeners = { { port = 0 }, { port = 0, tls = false } }, upgrade_timeout = 0.2,
      on_request = function(request) return { body = tostring(request.tls) } end,
    }))
    local reply, ended = s:raw(serving.request "GET / HTTP/1.1")
    assert.is_true(ended)
    assert.is_nil(reply:find "HTTP")
    s.port = s.srv:addresses()[2].port
    assert.is_truthy(s:raw(serving.request("GET / HTTP/1.1", "Connection: close")):find "nil$")
    local silent = s:dial()
    assert.same({ "", true }, { serving.read(silent) })
  end)

  it("does not begin with wrong options", function()
    for _, case in ipairs {
      { { port = 0, tls = true }, "bad option 'tls' (ssl_certificate is missing)" },
      { { port = 0, ssl_key = PKI .. "server.key" }, "ssl_certificate is missing" },
      { { port = 0, ssl_certificate = "/nowhere" }, "bad option 'ssl_certificate': No such file" },
      { { port = 0, ssl_certificate = PKI .. "server.pem", ssl_key = PKI .. "rsa.key" }, "bad option 'ssl_" },
      { with("server", { port = 0, ssl_sni = "x" }), "bad option 'ssl_sni' (unknown)" },
      { with("server", { port = 0, ssl_fingerprint = "x" }), "bad option 'ssl_fingerprint' (unknown)" },
      { with("server", { port = 0, ssl_certfile = "x" }), "bad option 'ssl_certfile' (unknown)" },
      { with("server", { port = 0, ssl_verify = "peer" }), "bad option 'ssl_verify' (it needs ssl_cafile" },
      { with("server", { port = 0, ssl_certificates = { a = 1 } }),
        "bad option 'ssl_certificates' (a table of tables" },
      { with("server", { port = 0, ssl_certificates = { a = { x = 1 } } }), "(a: unknown: x)" },
      { with("server", { port = 0, ssl_certificates = { a = {} } }), "(a: ssl_certificate is missing)" },
    } do
      local srv, why = server.listen(case[1])
      assert.is_nil(srv)
      assert.is_truthy(why:find(case[2], 1, true), why)
    end
  end)
end)
