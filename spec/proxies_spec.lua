-- The option `proxy` through proxies that people use (support/proxy_server.py), over ws and wss, in every way to open a
-- connection. spec/proxy_spec.lua has what proxies answer, and every text.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local WebSocket = require "luws.websocket"

local USER, PASSWORD = "me", "s3cret"

local got

local function handler(_, opcode, data) got = { opcode, data } end

--- The kinds of routes: the program, its port, the scheme, whether it wants a password, and whether every way to open a
-- connection is tried.
local ROUTES = {
  { "microsocks", "open", "socks5h" },
  { "microsocks", "open", "socks5", false, true },
  { "microsocks", "auth", "socks5h", true },
  { "danted", "open", "socks5h" },
  { "danted", "open", "socks4" },
  { "tinyproxy", "open", "http" },
  { "tinyproxy", "auth", "http", true },
  { "tinyproxy", "tls", "https" },
  { "squid", "open", "http" },
  { "squid", "basic", "http", true },
  { "squid", "digest", "http", true, true },
  { "squid", "tls", "https", true, true },
}

--- Returns the options for a route.
local function through(route)
  local program, name, scheme, wants_password = route[1], route[2], route[3], route[4]
  local proxy = { url = ("%s://localhost:%d"):format(scheme, servers.start(program)[name]) }
  if wants_password then proxy.user, proxy.password = USER, PASSWORD end
  return { proxy = proxy, proxy_ssl = scheme == "https" and { cafile = servers.ca_file() } or nil, close_timeout = 1 }
end

--- Drives the reactor until the connection is open or has failed.
local function driven(conn)
  local deadline = luws.gettime() + 10
  local reactor = require "luws.reactor"
  while not conn.connected and not conn.closing and luws.gettime() < deadline do reactor.step(0.1) end
  return conn
end

-- The ways to open a connection: each gets URL and options, and returns what wsopen does.
local WAYS = {
  ["waiting"] = function(url, options) return luws.wsopen(url, handler, options) end,
  ["not waiting"] = function(url, options)
    options.wait = false
    return driven(assert(luws.wsopen(url, handler, options)))
  end,
  ["in a coroutine"] = function(url, options)
    options.wait = "yield"
    local conn, why
    local thread = coroutine.create(function() conn, why = luws.wsopen(url, handler, options) end)
    local deadline = luws.gettime() + 10
    repeat
      if coroutine.status(thread) == "suspended" then assert(coroutine.resume(thread)) end
      require "luws.reactor".step(0.05)
    until coroutine.status(thread) == "dead" or luws.gettime() > deadline
    return conn, why
  end,
  ["over a socket of LuaSocket"] = function(url, options)
    options.connect = function(host, port) return socket.connect(host, port) end
    return luws.wsopen(url, handler, options)
  end,
}

for _, route in ipairs(ROUTES) do
  local program, name, scheme = route[1], route[2], route[3]
  describe(("Through %s (%s, %s)"):format(program, name, scheme), function()
    local missing = servers.missing(program)
    if missing then
      pending(missing)
      return
    end
    local conn

    after_each(function() luws.wsclose(conn) end)

    for _, server in ipairs(route[5] and { "ws", "wss" } or {}) do
      it("a WebSocket object reaches its server: " .. server, function()
        local options = through(route)
        options.ssl_cafile = server == "wss" and servers.ca_file() or nil
        options.cookies = require "luws.cookies".jar()
        local ws, told = WebSocket(servers.url("demo", server, "/echo"), {}, options), {}
        function ws.onopen() ws:send "hello" end
        function ws.onmessage(event)
          told[#told + 1] = event.data
          ws:close(1000)
        end
        function ws.onerror(event) told[#told + 1] = event.message or "error" end
        function ws.onclose(event) told[#told + 1] = ("%d %s"):format(event.code, tostring(event.wasClean)) end
        WebSocket.run(10)
        assert.same({ "hello", "1000 true" }, told)
      end)
    end

    for way, open in pairs(WAYS) do
      for _, server in ipairs(not (route[5] or way == "waiting") and {} or { "ws", "wss" }) do
        it(("a connection is opened %s: %s"):format(way, server), function()
          local options = through(route)
          local url = servers.url("demo", server, "/echo")
          if server == "wss" then options.ssl_verify, options.ssl_cafile = "peer", servers.ca_file() end
          local why
          conn, why = open(url, options)
          assert.is_table(conn, why)
          assert.is_true(conn.connected)
          assert.is_true(conn.proxied)
          assert.equal(server == "wss", conn.tls ~= nil and conn.tls.verified)
          for _, text in ipairs { "hello", ("x"):rep(60000) } do
            got = nil
            assert.is_true(luws.wssend(conn, 1, text))
            poll(luws, conn, function() return got end)
            assert.same({ 1, text }, got)
          end
          luws.wsclose(conn)
          if not options.connect then
            assert.is_true(luws.wswait(conn, 5))
            assert.same({ 1000, true }, { conn.close_code, conn.was_clean })
          end
        end)
      end
    end

    it("a server that nobody is at is an error of the proxy", function()
      local refused = scripted.refused()
      local ok, why = luws.wsopen(("ws://127.0.0.1:%d/"):format(refused.port), handler, through(route))
      assert.is_false(ok)
      assert.matches("^Proxy failed: ", why)
      assert.is_nil(why:find(PASSWORD, 1, true))
    end)

    if route[4] then
      it("a wrong password is an error of the proxy, which does not repeat it", function()
        local options = through(route)
        options.proxy.password = "wrong one"
        local ok, why = luws.wsopen(servers.url("demo", "ws", "/echo"), handler, options)
        assert.is_false(ok)
        assert.matches(scheme:find "socks" and "^Proxy failed: SOCKS5: authentication rejected$"
          or "^Proxy failed: HTTP/1.%d 40[17] [^(]+", why) -- tinyproxy says 401
      end)
    end
  end)
end

describe("An https proxy", function()
  local function open(options, host)
    local port = servers.start("tinyproxy").tls
    options.proxy = ("https://%s:%d"):format(host or "localhost", port)
    local conn, why = luws.wsopen(servers.url("demo", "ws", "/echo"), handler, options)
    luws.wsclose(conn)
    return conn and true, why
  end

  it("is verified by default, by its own name", function()
    local ok, why = open {}
    assert.is_false(ok)
    assert.matches("^Proxy failed: TLS: certificate verify failed", why)
    assert.is_true(open { proxy_ssl = { cafile = servers.ca_file() } })
    assert.is_true(open { proxy_ssl = { verify = "none" } })
    ok, why = open({ proxy_ssl = { cafile = servers.ca_file(), sni = "other.test" } })
    assert.is_false(ok)
    assert.matches("^Proxy failed: TLS: certificate verify failed.*hostname mismatch", why)
  end)

  it("may be known by its fingerprint", function()
    local conn = assert(luws.wsopen(servers.url("demo", "wss", "/echo"), handler))
    local fingerprint = conn.tls.fingerprint -- all servers of a run have the same certificate
    luws.wsclose(conn)
    assert.is_true(open { proxy_ssl = { fingerprint = fingerprint } })
    local ok, why = open { proxy_ssl = { fingerprint = ("0"):rep(64) } }
    assert.is_false(ok)
    assert.matches("^Proxy failed: TLS: certificate fingerprint mismatch", why)
  end)

  it("that does not speak TLS, or only TLS, is an error of the proxy", function()
    local plain = scripted.peer { { "read", 5 }, { "send", "HTTP/1.1 400 Bad\r\n\r\n" }, { "close" } }
    local ok, why = luws.wsopen("ws://127.0.0.1:1/", handler, { proxy = "https://localhost:" .. plain.port })
    plain:close()
    assert.is_false(ok)
    assert.matches("^Proxy failed: TLS: wrong version number", why)
    local port = servers.start("openssl").tls
    ok, why = luws.wsopen("ws://127.0.0.1:1/", handler, { proxy = "http://localhost:" .. port })
    assert.is_false(ok)
    assert.matches("^Proxy failed: ", why)
  end)

  it("leaves what fails in the tunnel its own text", function()
    local options = { proxy_ssl = { cafile = servers.ca_file() }, ssl_verify = "peer" }
    options.proxy = "https://localhost:" .. servers.start("tinyproxy").tls
    local ok, why = luws.wsopen(servers.url("demo", "wss", "/echo"), handler, options)
    assert.is_false(ok)
    assert.matches("^Failed SSL negotation: certificate verify failed", why)
  end)
end)
