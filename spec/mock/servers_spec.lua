-- Servers of luws.server in worlds of luws.mock: a whole server program in virtual time, with clients beside it.

local luws = require "luws"
local mock = require "luws.mock"
local server = require "luws.server"

local PKI = "build/pki/"

describe("a server of luws.server in a world of luws.mock", function()
  local net, told

  before_each(function()
    net, told = mock.net(), {}
  end)

  --- Returns a server that notes what its handlers are told, and sends messages back.
  local function listen(options)
    local given = {
      port = 8080, reactor = net.reactor,
      on_open = function(conn, request) told[#told + 1] = "open " .. request.path .. " from " .. conn.remote end,
      on_message = function(conn, opcode, data) luws.wssend(conn, opcode, "got " .. data) end,
      on_close = function(_, code, reason) told[#told + 1] = "close " .. code .. " " .. reason end,
    }
    for name, value in pairs(options or {}) do given[name] = value end
    return assert(server.listen(given))
  end

  --- Opens a connection. Returns it, and what its handler is told.
  local function open(url, options)
    local heard = {}
    local conn, why = luws.wsopen(url, function(_, _, data) heard[#heard + 1] = data end, net:options(options))
    return conn, conn and heard or why
  end

  it("serves clients that wait for it, and ends with them", function()
    local srv = listen { subprotocols = { "v1" } }
    local conn, heard = open("ws://localhost:8080/chat?x=1", { subprotocols = "v1" })
    assert.equal("v1", conn.subprotocol)
    luws.wssend(conn, 1, "hello")
    net:run()
    assert.same({ "got hello" }, heard)
    assert.error_matches(function() net:finish() end,
      "a connection to the server at 127.0.0.1:8080: the connection is still open", 1, true)
    luws.wsclose(conn, 1000, "bye")
    net:run()
    assert.same({ "open /chat from 127.0.0.1", "close 1000 bye" }, told)
    assert.is_true(srv:close())
    net:settle()
    assert.is_true(srv:is_closed())
    net:finish()
    assert.same({ false, "Connection to localhost:8080 failed: connection refused" },
      { (open "ws://localhost:8080/"), select(2, open "ws://localhost:8080/") })
  end)

  it("is served while a handler waits, too", function()
    listen()
    local inner
    local outer = open("ws://localhost:8080/", {})
    outer.msghandler = function() inner = assert(open "ws://localhost:8080/inner") end
    luws.wssend(outer, 1, "go")
    net:run()
    assert.is_true(inner.connected)
  end)

  it("has its time in the world: hours of pings, requests that are too slow, and a shutdown", function()
    local srv = listen { ping_interval = 20, ping_timeout = 20, upgrade_timeout = 5 }
    local pings = 0
    local conn = open("ws://localhost:8080/", {
      control_handler = function(_, opcode) if opcode == 9 then pings = pings + 1 end end,
    })
    local slow = net.connect("localhost", 8080)
    slow:send "GET / HTTP/1.1\r\n"
    slow:settimeout(10)
    assert.matches("^HTTP/1.1 408 ", (slow:receive "*l"))
    assert.equal(5, net:now())
    net:advance(3595)
    assert.equal(180, pings)
    srv:close { timeout = 3 }
    net:settle()
    assert.same({ 1001, true }, { conn.close_code, srv:is_closed() })
    assert.same({ "open / from 127.0.0.1", "close 1001 " }, told)
  end)

  it("finds out that a client is gone", function()
    net = mock.net { faults = { up = { stall_after = 2000 } } }
    local srv = listen { ping_interval = 20, ping_timeout = 10 }
    local conn = open("ws://localhost:8080/", { close_timeout = 1 })
    luws.wssend(conn, 1, ("x"):rep(3000))
    net:advance(60)
    assert.same({ 0, "close 1006 " }, { srv:count(), told[2] })
    luws.wsclose(conn)
    net:settle()
    net:finish()
  end)

  it("sends to rooms, and says who is too slow for them", function()
    local srv = listen { slow = "close", max_buffered = 10000 }
    local quick, heard = open "ws://localhost:8080/"
    local deaf = net.connect("localhost", 8080)
    deaf:send("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
      .. "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
    net:run()
    deaf.line.capacity = deaf.line:waiting() -- it reads nothing
    assert.equal(2, srv:count())
    for conn in srv:connections() do srv:join(conn, "hall") end
    for i = 1, 30 do
      srv:broadcast("hall", 1, ("%3d"):format(i) .. ("x"):rep(997))
      net:run()
    end
    assert.same({ 30, 1000 }, { #heard, #heard[30] })
    assert.equal(1, #srv:members "hall")
    luws.wsclose(quick)
    srv:close()
    net:settle()
  end)

  it("speaks TLS where it has a certificate, and gives events to those who ask", function()
    local srv = assert(server.listen {
      port = 8443, reactor = net.reactor, ssl_certificate = PKI .. "server.pem", ssl_key = PKI .. "server.key",
    })
    local conn, heard = open("wss://localhost:8443/", { wait = false, ssl_verify = "none" })
    local event, request = srv:next(1)
    assert.same({ "request", true }, { event, request.is_secure or request.secure or conn.proto == "wss" })
    request:accept()
    local _, peer = srv:next(1)
    luws.wssend(peer, 1, "hello")
    net:run()
    assert.same({ { "hello" }, true }, { heard, conn.tls ~= nil })
    srv:close()
    net:settle()
  end)

  it("runs coroutines of server.spawn, which is the function of the real world's module", function()
    listen {
      on_open = server.spawn(function(conn)
        local _, name = conn:message()
        luws.wssend(conn, 1, "Hello " .. name)
      end),
    }
    local conn, heard = open "ws://localhost:8080/"
    luws.wssend(conn, 1, "Lua")
    net:settle()
    assert.same({ "Hello Lua", 1000, { "close 1000 " } }, { heard[1], conn.close_code, told })
  end)

  it("is at the host and the port that it names", function()
    listen { host = "hub.test", port = 80 }
    listen { host = "::", port = 81 }
    local any = listen { port = 0 }
    local _, port = any:address()
    assert.is_true(port >= 49152)
    for url, is_there in pairs {
      ["ws://hub.test/"] = true, ["ws://HUB.test/"] = true, ["ws://other.test/"] = false,
      ["ws://other.test:81/"] = true, ["ws://localhost:" .. port .. "/"] = true, ["ws://localhost/"] = false,
      ["ws://[::1]:" .. port .. "/"] = true,
    } do
      assert.equal(is_there, open(url) and true, url)
    end
    for _, case in ipairs {
      { { port = 81, host = "0.0.0.0" }, "Listening on 0.0.0.0:81 failed: address already in use" },
      { { unix = "/tmp/x" }, "Listening on /tmp/x failed: a world in memory has no such sockets" },
      { { fd = 3 }, "Listening on descriptor 3 failed: a world in memory has no such sockets" },
    } do
      case[1].reactor = net.reactor
      assert.same({ nil, case[2] }, { server.listen(case[1]) })
    end
    assert.error_matches(function() net:listen "ws://hub.test/" end,
      "bad argument #1 to 'listen' (the server at hub.test:80 is in use)", 1, true)
    net:listen "ws://scripted.test/"
    assert.same({ nil, "Listening on scripted.test:80 failed: address already in use" },
      { server.listen { host = "scripted.test", port = 80, reactor = net.reactor } })
  end)
end)
