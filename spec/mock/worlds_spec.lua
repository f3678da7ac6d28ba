-- Worlds without a network (luws.mock): servers, peers, time.

local files = require "spec.support.files"
local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local open = require "spec.support.mocked".open
local servers = require "spec.support.servers"

local URL = "ws://hub.test/events"

describe("a world of luws.mock", function()
  local net

  before_each(function() net = mock.net() end)

  it("connects a program to a peer that the test plays", function()
    local server = net:listen(URL, { subprotocols = { "v2", "v1" } })
    local conn, peer, told = open(net, server, { subprotocols = { "v1", "v2" }, upgrade_headers = { ["X-Key"] = "k" } })
    assert.equal("v1", conn.subprotocol)
    assert.same({ "/events", "k", { "v1", "v2" } },
      { peer.request.resource, peer.request.headers["x-key"], peer.request.subprotocols })
    assert.is_true(peer:send "on")
    assert.is_true(peer:send("\0\255", "binary"))
    net:run()
    assert.same({ { 1, "on" }, { 2, "\0\255" } }, told)
    assert.is_true(luws.wssend(conn, 1, "hello"))
    assert.is_true(luws.wssend(conn, 9, "p"))
    net:run()
    assert.same({ { "hello" }, "hello", { "p" } }, { peer:received(), peer:received(1), peer.pings })
    luws.wsclose(conn, 1000, "bye")
    net:run()
    assert.same({ code = 1000, reason = "bye", clean = true }, peer.closed)
    assert.same({ nil, "not connected" }, { peer:send "late" })
    net:finish()
  end)

  it("closes as a server does", function()
    local server = net:listen(URL)
    local conn, peer, told = open(net, server)
    peer:close(1001, "away")
    net:run()
    assert.same({ 1001, "away", true, { { false, "receiver error: closed" } } },
      { conn.close_code, conn.close_reason, conn.was_clean, told })
    assert.equal(1001, peer.closed.code)
    net:finish()
  end)

  it("ends a connection cleanly whose program closes it", function()
    local server = net:listen(URL)
    for _, seconds in ipairs { 0, 0.25 } do
      server.close_delay = seconds
      local conn = open(net, server, { wait = false })
      net:run()
      luws.wssend(conn, 8, "\3\232")
      net:advance(1)
      assert.same({ 1000, true }, { conn.close_code, conn.was_clean })
    end
    net:finish()
  end)

  it("gives a connection a socket that can be closed under it", function()
    local server = net:listen(URL)
    local conn, peer, told = open(net, server)
    assert.same({ -1, 1, 1 }, { conn.socket:getfd(), conn.socket:setoption("keepalive", true), conn.socket:close() })
    net:run()
    assert.same({ { { false, "receiver error: closed" } }, 1006 }, { told, peer.closed.code })
    net:finish()
  end)

  it("hands every function of the API on to the world of its connection", function()
    local server = net:listen(URL)
    local conn, peer, told = open(net, server, { coalesce = 10, wait = true })
    luws.wssend(conn, 1, "gathered")
    assert.is_true(luws.wsflush(conn))
    net:run()
    assert.equal("gathered", peer:received(1))
    assert.same({ false, 0 }, { luws.wsreceive(conn) })
    local before = net:now()
    assert.is_false(luws.wswait(conn, 3))
    assert.equal(before + 3, net:now())
    assert.is_true(luws.wshandleincoming("\129\1x", conn))
    net:run()
    assert.same({ 1, "x" }, told[1])
    luws.wsreset(conn)
    assert.is_true(luws.wslastping(conn) >= 1700000000)
    assert.equal(0, select(2, pcall(function() return conn.bufferedAmount end)))
    luws.wsclose(conn)
    assert.is_true(luws.wswait(conn, 1))
    assert.same({ nil, "not connected" }, { luws.wsreceive(conn) })
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "x") })
    net:finish()
  end)

  it("is chosen by the option reactor, which drives the connection", function()
    local reactor = require "luws.reactor"
    assert.same({ false, "bad option 'reactor' (a reactor expected, got number)" },
      { luws.wsopen(URL, print, { reactor = 5 }) })
    assert.same({ false, "bad option 'reactor' (a reactor expected, got table)" },
      { luws.wsopen(URL, print, { reactor = {} }) })
    -- A connection of the real world that wsopen has waited for is driven, too.
    local answer
    local conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), function(conn, _, data)
      answer = data
      luws.wsclose(conn)
    end, { reactor = reactor }))
    luws.wssend(conn, 1, "hello")
    reactor.run(10)
    assert.equal("hello", answer)
  end)

  it("opens connections without waiting", function()
    local server = net:listen(URL, { delay = 2 })
    local opened
    local conn = luws.wsopen(URL, print, net:options { wait = false, open_handler = function() opened = net:now() end })
    assert.is_false(conn.connected)
    net:advance(1)
    assert.is_nil(server:accept())
    net:advance(1)
    assert.same({ true, 2 }, { conn.connected, opened })
    assert.is_table(server:accept())
  end)

  it("runs many connections to one server, in which each accept is one of them", function()
    local server = net:listen(URL, mock.echo())
    local conns, peers, answers = {}, {}, {}
    for i = 1, 3 do
      conns[i] = luws.wsopen(URL, function(_, _, data) answers[#answers + 1] = data end, net:options())
      peers[i] = server:accept()
      luws.wssend(conns[i], 1, "number " .. i)
    end
    assert.is_nil(server:accept())
    net:run()
    for i = 1, 3 do assert.equal("number " .. i, peers[i]:received(1)) end
    assert.same({ "number 1", "number 2", "number 3" }, answers)
  end)

  describe("answers who dials", function()
    for _, case in ipairs {
      { "a name that nobody listens at", "ws://nobody.test/", nil, 0,
        "Connection to nobody.test:80 failed: connection refused" },
      { "a host that refuses", URL, function(n) n:refuse "hub.test" end, 0,
        "Connection to hub.test:80 failed: connection refused" },
      { "a port that refuses", URL, function(n) n:refuse "hub.test:80" end, 0,
        "Connection to hub.test:80 failed: connection refused" },
      { "a host that does not answer", URL, function(n) n:blackhole "hub.test" end, 15,
        "Connection to hub.test:80 failed: timeout" },
      { "a name that nobody knows", URL, function(n) n:unresolvable "HUB.test" end, 0,
        "Connection to hub.test:80 failed: Name or service not known" },
      { "a path at which nobody listens", "ws://hub.test/other", nil, 0, "upgrade failed; HTTP/1.1 404 Not Found" },
      { "a server that is gone", URL, function(_, server) server:close() end, 0,
        "Connection to hub.test:80 failed: connection refused" },
      { "a server that takes too long", URL, function(_, server) server.delay = 10 end, 5, "upgrade failed; timeout" },
      { "a server that wants a password", URL, function(_, server) server.respond = { status = 401 } end, 0,
        "upgrade failed; HTTP/1.1 401 Unauthorized" },
      { "a server that accepts another protocol", URL,
        function(_, server)
          server.respond = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            .. "Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v9\r\n\r\n"
        end, 0,
        "upgrade failed; the server selected a subprotocol that was not offered: v9" },
      { "a server that speaks no HTTP", URL, function(_, server) server.respond = "220 mail.test ESMTP\r\n" end, 0,
        'upgrade failed; the answer is not HTTP: "220 mail.test ESMTP"' },
    } do
      local name, url, arrange, seconds, expected = case[1], case[2], case[3], case[4], case[5]
      it(name, function()
        local server = net:listen(URL)
        if arrange then arrange(net, server) end
        local ok, why = luws.wsopen(url, print, net:options())
        assert.same({ false, expected, seconds }, { ok, why, net:now() })
        net:finish()
      end)
    end

    it("again as before once a host is restored", function()
      net:listen(URL)
      net:refuse "hub.test"
      assert.is_false((luws.wsopen(URL, print, net:options())))
      net:restore "hub.test"
      assert.is_table((luws.wsopen(URL, print, net:options())))
    end)

    it("by a function of the request", function()
      local server = net:listen(URL, {
        respond = function(request)
          if request.headers.authorization then return nil end
          return { status = 401, headers = { ["WWW-Authenticate"] = { "Basic a", "Digest b" } }, body = "who are you?" }
        end,
      })
      local _, why, response = luws.wsopen(URL, print, net:options())
      assert.equal("upgrade failed; HTTP/1.1 401 Unauthorized", why)
      assert.same({ 401, "who are you?" }, { response.status, response.body })
      assert.is_table((luws.wsopen("ws://me:secret@hub.test/events", print, net:options())))
      assert.equal(2, server.attempts)
    end)
  end)

  it("takes a jar of cookies of the program's, whose cookies expire by the world's clock", function()
    local jar = require("luws.cookies").jar()
    local server = net:listen(URL, {
      respond = { status = 401, headers = { ["Set-Cookie"] = { "sid=1; Path=/; Max-Age=60", "lang=en; Path=/" } } },
    })
    assert.is_false((luws.wsopen(URL, nil, net:options { cookies = jar })))
    server.respond = nil
    for _, cookies in ipairs { "sid=1; lang=en", "lang=en" } do
      assert(luws.wsopen(URL, nil, net:options { cookies = jar }))
      assert.equal(cookies, server:accept().request.headers.cookie)
      net:advance(61)
    end
  end)

  it("speaks TLS if a server has a certificate, and does without it if not", function()
    local server = net:listen("wss://plain.test/", mock.echo())
    local conn = open(net, server)
    assert.is_nil(conn.tls)
    server = net:listen("wss://hub.test/", mock.echo {
      tls = { servers.leaf "client-rsa.pem", files.read(servers.pki "client-rsa.key") },
    })
    log.start()
    local secure, peer, told = open(net, server)
    log.stop()
    assert.matches("^TLS", secure.tls.version or secure.tls.protocol or "TLS")
    luws.wssend(secure, 1, "secret")
    net:run()
    assert.same({ { 1, "secret" } }, told)
    assert.equal("secret", peer:received(1))
    local ok, why = luws.wsopen("wss://hub.test/", print, net:options { ssl_verify = "peer" })
    assert.is_false(ok)
    assert.matches("certificate verify failed", why, 1, true)
  end)

  it("lets time pass in waits, and in no time", function()
    local server = net:listen(URL)
    local conn = open(net, server, { receive_timeout = 30 })
    assert.error_matches(function() net:settle() end, "settle: there is no end: at %d+ s, a connection or a timer of "
      .. "the reactor still has something to do")
    luws.wsclose(conn)
    net = mock.net()
    local other, _, told = open(net, net:listen(URL), { receive_timeout = 30 })
    net:advance(29.5)
    assert.same({}, told)
    net:advance(1)
    assert.same({ { false, "message timeout" } }, told)
    luws.wsclose(other)
    net.luws.sleep(100)
    assert.equal(130.5, net:now())
    assert.equal(1700000130.5, net.luws.gettime())
    local order = {}
    for i, seconds in ipairs { 3, 1, 2, 1 } do net:after(seconds, function() order[#order + 1] = i end) end
    net:after(2, function() net:after(0.5, function() order[#order + 1] = "nested" end) end):cancel()
    net:after(1, function() net:after(0.5, function() order[#order + 1] = "nested" end) end)
    net:settle()
    assert.same({ 2, 4, "nested", 3, 1 }, order)
    assert.equal(133.5, net:now())
  end)

  it("gives sockets as LuaSocket has them: parts of what came, prefixes, partial results", function()
    net:listen(URL, { respond = "HTTP/1.1 200 OK\r\n\r\nbody" })
    local socket = net.connect("hub.test", 80)
    socket:settimeout(1)
    assert.equal(13, socket:send("-GET /events -", 2, 13))
    assert.same({ nil, "timeout", "so far: " }, { socket:receive("*l", "so far: ") })
    socket:send "HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    socket:send "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    assert.equal("status: HTTP/1.1 200 OK", socket:receive("*l", "status: "))
    assert.equal("", socket:receive())
    assert.equal("abbo", socket:receive(4, "ab"))
    assert.equal("dy", (socket:receive "*a"))
    assert.same({ nil, "closed", "" }, { socket:receive() })
    socket:close()
    assert.same({ nil, "closed", 0 }, { socket:send "x" })
  end)

  it("has sockets for programs that bring their own", function()
    local server = net:listen(URL, mock.echo())
    local answer
    local conn = assert(net.luws.wsopen(URL, function(_, _, data) answer = data end, { connect = net.connect }))
    net.luws.wssend(conn, 1, "hello")
    net:advance(1)
    assert.equal("hello", server:accept():received(1))
    net.luws.wsreceive(conn)
    assert.equal("hello", answer)
    assert.same({ nil, "connection refused" }, { net.connect("nobody.test", 80) })
    net:blackhole "dark.test"
    assert.same({ nil, "timeout" }, { net.connect("dark.test", 80) })
    local socket = net.connect("hub.test", 80)
    assert.equal(17, socket:send "GET / HTTP/1.1\r\n\r")
    assert.equal(1, socket:send "\n")
    assert.matches("^HTTP/1.1 400", socket:receive())
    socket:settimeout(0)
    assert.same({ nil, "timeout", "" }, { net.connect("hub.test", 80):settimeout(0) and nil, "timeout", "" })
    assert.equal(-1, socket:getfd())
    assert.equal(1, socket:close())
    assert.same({ nil, "closed", "" }, { socket:receive() })
    assert.same({ nil, "closed", 0 }, { socket:send "x" })
  end)
end)
