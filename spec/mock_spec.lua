-- Worlds without a network (luws.mock): servers, peers, time, faults, and what fails a test.

local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local servers = require "spec.support.servers"

local URL = "ws://hub.test/events"

--- Opens a connection. Returns it, its peer, and what its handler is told.
local function open(net, server, options)
  local told = {}
  local conn = assert(luws.wsopen(server.url, function(_, ...) told[#told + 1] = { ... } end, net:options(options)))
  return conn, server:accept(), told
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

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

  it("speaks TLS if a server has a certificate, and does without it if not", function()
    local server = net:listen("wss://plain.test/", mock.echo())
    local conn = open(net, server)
    assert.is_nil(conn.tls)
    server = net:listen("wss://hub.test/", mock.echo {
      tls = { servers.leaf "client-rsa.pem", read(servers.pki "client-rsa.key") },
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

  it("says that a wait has no end, and which arguments are wrong", function()
    local server = net:listen(URL)
    local conn, peer = open(net, server)
    assert.has_error(function() luws.wswait(conn) end, "this wait has no end: nothing is going to happen")
    for _, case in ipairs {
      { function() net:advance(-1) end, "bad argument #1 to 'advance' (a number of at least 0 expected, got -1)" },
      { function() net:advance() end, "bad argument #1 to 'advance' (a number of at least 0 expected, got nil)" },
      { function() net:listen "http://x" end, "bad argument #1 to 'listen' (" },
      { function() net:listen(URL, { fault = 1 }) end, "listen: unknown option 'fault'" },
      { function() net:listen(URL, { echo = 1 }) end, "listen: bad option 'echo' (boolean expected, got number)" },
      { function() net:listen(URL, { faults = { reorder = 1 } }) end, "listen: unknown fault 'reorder'" },
      { function() net:listen(URL, { faults = { up = { delay = -1 } } }) end,
        "listen: bad fault 'delay' (a number of at least 0 expected, got -1)" },
      { function() net:listen(URL, { faults = { drop_at = "x" } }) end, "listen: bad fault 'drop_at' (unknown: 'x')" },
      { function() net:listen(URL, { faults = { split_reads = {} } }) end, "listen: bad fault 'split_reads' (" },
      { function() net:listen(URL, { faults = { jitter = "x" } }) end,
        "listen: bad fault 'jitter' (a number of at least 0 expected, got string)" },
      { function() net:listen(URL, { faults = { bandwidth = mock.random(0, 5) } }) end,
        "listen: bad fault 'bandwidth' (a number of at least 1 expected, got table)" },
      { function() net:listen(URL, { respond = 5 }) end,
        "listen: bad option 'respond' (table, string or function expected, got number)" },
      { function() net:listen(URL, { delay = "x" }) end,
        "listen: bad option 'delay' (a number of at least 0 expected, got string)" },
      { function() net:listen(URL, { max_payload_size = 1.5 }) end,
        "listen: bad option 'max_payload_size' (a whole number of at least 0 expected, got 1.5)" },
      { function() net:listen(5) end, "bad argument #1 to 'listen' (string expected, got number)" },
      { function() net:listen(URL, 5) end, "bad argument #2 to 'listen' (table expected, got number)" },
      { function() server:on("data", print) end, "bad argument #1 to 'on' (unknown: 'data')" },
      { function() server:on() end, "bad argument #1 to 'on' (unknown: 'nil')" },
      { function() server:on("open", 5) end, "bad argument #2 to 'on' (function expected, got number)" },
      { function() net:refuse() end, "bad argument #1 to 'refuse' (string expected, got nil)" },
      { function() mock.net(5) end, "bad argument #1 to 'net' (table expected, got number)" },
      { function() mock.net { sed = 1 } end, "net: unknown option 'sed'" },
      { function() mock.net { seed = 0 / 0 } end, "net: bad option 'seed' (a whole number of at least 0 expected" },
      { function() mock.net { faults = { drop_at = 1 } } end, "net: bad fault 'drop_at' (unknown: '1')" },
      { function() mock.random("x") end, "bad argument #1 to 'random' (a number expected, got string)" },
      { function() mock.random(1) end, "bad argument #2 to 'random' (a number expected, got nil)" },
      { function() mock.random(2, 1) end, "bad argument #2 to 'random' (it is less than the first)" },
      { function() mock.luup() end, "bad argument #1 to 'luup' (table expected, got nil)" },
      { function() mock.luup {} end, "luup: the option 'plugin' is missing (the name of the plugin)" },
      { function() mock.luup { plugin = "X", folder = "/nowhere" } end, "luup: /nowhere/I_X1.xml: No such file" },
      { function() peer:send(5) end, "bad argument #1 to 'send' (string expected, got number)" },
      { function() peer:ping(5) end, "bad argument #1 to 'ping' (string expected, got number)" },
      { function() peer:close("x") end, "bad argument #1 to 'close' (number expected, got string)" },
      { function() peer:raw() end, "bad argument #1 to 'raw' (string expected, got nil)" },
      { function() peer:pause("x") end, "bad argument #1 to 'pause' (number expected, got string)" },
    } do
      local ok, err = pcall(case[1])
      assert.is_false(ok)
      assert.matches(case[2], err, 1, true)
    end
  end)

  it("fails the test if what a server was told to do is wrong, and ends that connection only", function()
    local server = net:listen(URL)
    for _, case in ipairs {
      { function() error "no idea" end, "no idea" },
      { function() return 5 end, "its 'respond' is a number" },
      { 5, "its 'respond' is a number" },
      { { status = "x" }, "bad argument" },
    } do
      server.respond = case[1]
      assert.is_false((luws.wsopen(URL, nil, net:options())))
      assert.error_matches(function() net:finish() end,
        "^the peer at ws://hub%.test/events, at a request: .*" .. case[2])
    end
    server.respond, server.faults = nil, { delay = "x" }
    assert.error_matches(function() luws.wsopen(URL, nil, net:options()) end, "ws://hub.test/events: bad fault 'delay'",
      1, true)
    server.faults = { drop_at = "upgrade" }
    assert.same({ false, "upgrade failed; the peer closed the connection (is it wss?)" },
      { luws.wsopen(URL, nil, net:options()) })
    server.faults = nil
    luws.wsclose((assert(luws.wsopen(URL, nil, net:options()))))
    net:settle()
    net:finish()
  end)

  describe("with faults", function()
    for name, faults in pairs {
      ["short writes"] = { short_writes = 3 }, ["split reads"] = { split_reads = 1 },
      ["reads of several sizes"] = { split_reads = { 1, 7, 2 } }, ["a delay"] = { delay = 0.2, jitter = 0.5 },
      ["little bandwidth"] = { bandwidth = 1000 }, ["a slow way up"] = { up = { delay = 1 } },
      ["everything at random"] = {
        short_writes = mock.random(1, 9), split_reads = mock.random(1, 9), delay = mock.random(0, 0.5), jitter = 1,
      },
    } do
      it("of time and pieces has the same conversation: " .. name, function()
        local times = {}
        for run = 1, 2 do
          local w = mock.net { seed = 7 }
          local server = w:listen(URL, mock.echo { faults = faults })
          local conn, peer, told = open(w, server)
          local long = ("0123456789"):rep(50)
          for _, data in ipairs { "a", long, "" } do luws.wssend(conn, 1, data) end
          w:settle()
          assert.same({ { 1, "a" }, { 1, long }, { 1, "" } }, told)
          luws.wsclose(conn, 1000)
          w:settle()
          assert.is_true(peer.closed.clean)
          w:finish()
          times[run] = w:now()
        end
        assert.equal(times[1], times[2])
      end)
    end

    for _, case in ipairs {
      { { reset_after = 300 }, { { false, "receiver error: closed" } } },
      { { down = { half_close_after = 140 } }, { { false, "receiver error: closed" } } },
      { { stall_after = 210 }, { { false, "message timeout" } } },
      { { down = { corrupt_at = 140 } }, { { false, "text message is not valid UTF-8" } } },
      { { drop_at = "open" }, { { false, "receiver error: closed" } } },
      { { drop_at = "closing" }, { { 1, ("x"):rep(200) }, { false, "message timeout" } } },
      { { corrupt_at = 3 }, 'upgrade failed; the answer is not HTTP: "HT\\xd4P/1.1 400 Bad Request"' },
      { { drop_at = "tcp" }, "upgrade failed; the peer closed the connection (is it wss?)" },
      { { drop_at = "upgrade" }, "upgrade failed; the peer closed the connection (is it wss?)" },
    } do
      local faults, expected = case[1], case[2]
      local name, value = next(faults)
      if type(value) == "table" then name, value = next(value) end
      it(("that end it, ends it: %s = %s"):format(name, value), function()
        net:listen(URL, mock.echo { faults = faults })
        local told = {}
        local conn, why = luws.wsopen(URL, function(_, ...) told[#told + 1] = { ... } end,
          net:options { receive_timeout = 20 })
        if not conn then return assert.equal(expected, why) end
        luws.wssend(conn, 1, ("x"):rep(200))
        net:advance(30)
        assert.same(expected, told)
        luws.wsclose(conn)
        net:advance(30)
      end)
    end

    it("of the test's own making", function()
      local server = net:listen(URL)
      local conn, peer, told = open(net, server)
      peer:raw "\129\1"
      peer:raw "x"
      net:run()
      peer:pause()
      luws.wssend(conn, 1, "waits")
      net:run()
      assert.same({}, peer:received())
      peer:resume()
      net:run()
      assert.same({ "waits" }, peer:received())
      peer:half_close()
      net:run()
      assert.same({ { 1, "x" }, { false, "receiver error: closed" } }, told)
      for _, name in ipairs { "drop", "reset" } do
        local other, another, ends = open(net, server)
        another[name](another)
        net:run()
        assert.same({ { false, "receiver error: closed" } }, ends)
        assert.same({ code = 1006, reason = "", clean = false }, another.closed)
        luws.wsclose(other)
      end
    end)
  end)

  describe("fails a test", function()
    local server, conn, peer

    before_each(function()
      server = net:listen(URL)
      conn, peer = open(net, server)
    end)

    local function said(...)
      for _, text in ipairs { ... } do luws.wssend(conn, 1, text) end
    end

    it("when messages differ from those expected", function()
      said("one", "two", "three", "four")
      net:run()
      peer:expect("one", { pattern = "^t" }, function(data, kind) return data == "three" and kind == "text" end)
      assert.has_error(function() peer:expect "fear" end,
        'message 4 to ws://hub.test/events: expected "fear"\n     got "four"\n  they differ from byte 2 on')
      peer:expect("five", function() return false, "is too late" end)
      said "fife"
      local ok, err = pcall(net.run, net)
      assert.is_false(ok)
      assert.matches('expected "five"\n     got "fife"\n  they differ from byte 3 on', err, 1, true)
      said "six"
      ok, err = pcall(net.run, net)
      assert.is_false(ok)
      assert.matches('message 6 to ws://hub.test/events: got "six", which is too late', err, 1, true)
      assert.error_matches(function() peer:expect(5) end, "bad argument #1 to 'expect'", 1, true)
    end)

    it("in finish, for what is open, and for handlers that raised errors", function()
      peer:expect("one", "two")
      said "one"
      server:on("message", function() error "the test's own" end)
      log.start()
      luws.wsopen(URL, function() error "oh" end, net:options())
      server:accept():send "x"
      log.stop()
      local ok, err = pcall(net.finish, net)
      assert.is_false(ok)
      assert.matches("the peer at ws://hub.test/events: more messages are expected: 1", err, 1, true)
      assert.matches("the peer at ws://hub.test/events: the connection is still open", err, 1, true)
      assert.matches("the test's own", err, 1, true)
      net:finish() -- it is said once
    end)

    it("with the name of whoever does not come to rest", function()
      for _, case in ipairs {
        { "a timer set at spec/mock_spec.lua:%d+", function(w)
          local function again() w:after(0, again) end
          again()
          w:run()
        end },
        { "the peer at ws://hub.test/events", function(w)
          local echo = w:listen(URL, mock.echo())
          local one = luws.wsopen(URL, function(c, opcode, data)
            if opcode then luws.wssend(c, opcode, data) end
          end, w:options())
          luws.wssend(one, 1, "to and fro")
          w:run()
          return echo
        end },
        { "the program at spec/mock_spec.lua:%d+", function(w)
          while w.luws.gettime() < 1800000000 do end -- luacheck: ignore
        end },
        { "the program at spec/mock_spec.lua:%d+", function(w)
          w:listen(URL)
          local one = w.luws.wsopen(URL)
          repeat local more = w.luws.wsreceive(one) until more
        end },
      } do
        local w = mock.net { limit = 3000 }
        local ok, err = pcall(case[2], w)
        assert.is_false(ok)
        assert.matches("this world does not come to rest: %d+ turns at one moment, at 0 s; it is " .. case[1]
          .. " that goes on and on", err)
        assert.is_false((pcall(w.finish, w))) -- the world is over
      end
    end)

    it("that runs the world from a handler", function()
      local why
      luws.wsopen(URL, function() why = select(2, pcall(net.run, net)) end, net:options())
      server:accept():send "x"
      net:run()
      assert.matches("this world is running already: a handler must not run it", why, 1, true)
    end)
  end)

  it("has the same bytes each time", function()
    local function bytes(seed)
      local w = mock.net { seed = seed }
      local server, seen = w:listen(URL), {}
      local attach = w.attach
      function w.attach(...)
        local near = attach(...)
        local send = near.send
        function near.send(line, data)
          seen[#seen + 1] = data
          return send(line, data)
        end
        return near
      end
      local conn = open(w, server)
      for i = 1, 5 do luws.wssend(conn, 2, ("x"):rep(i)) end
      luws.wsclose(conn)
      w:settle()
      return table.concat(seen)
    end
    assert.equal(bytes(1), bytes(1))
    assert.are_not.equal(bytes(1), bytes(2))
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

describe("mock.WebSocket", function()
  it("goes through its states, each after the delay", function()
    local ws, events = mock.WebSocket("wss://example.com", 0.1), {}
    local net = ws.net
    for _, name in ipairs { "open", "message", "close", "error" } do
      ws["on" .. name] = function(event)
        assert.equal(name, event.type)
        events[#events + 1] = ("%s at %g"):format(event.data or event.code or name, net:now())
      end
    end
    assert.same({ nil, "the connection is not open" }, { ws:send "early" })
    local states = { ws.readyState }
    for _ = 1, 2 do
      net:advance(0.1)
      states[#states + 1] = ws.readyState
    end
    assert.is_true(ws:receive "Hi there from the server")
    assert.is_true(ws:send "Hi there from the client")
    assert.same({ "Hi there from the client" }, ws.peer:received())
    assert.is_true(ws:remoteClose(1001))
    states[#states + 1] = ws.readyState
    net:advance(0.1)
    states[#states + 1] = ws.readyState
    assert.same({ mock.CONNECTING, mock.OPENING, mock.OPEN, mock.CLOSING, mock.CLOSED }, states)
    assert.same({ 0, 1, 2, 3, 4 }, states)
    assert.same({ "open at 0.2", "Hi there from the server at 0.2", "1001 at 0.3" }, events)
    net:finish()
  end)

  it("is open without an onopen, and tells of its own close", function()
    local ws = mock.WebSocket("ws://example.com")
    local other = mock.WebSocket("ws://other.example.com", 0.5, ws.net)
    assert.equal(ws.id + 1, other.id)
    ws.net:advance(2)
    assert.same({ mock.OPEN, mock.OPEN }, { ws.readyState, other.readyState })
    local told
    ws.onclose = function(event) told = event end
    assert.is_true(ws:close(4000, "done"))
    assert.equal(mock.CLOSING, ws.readyState)
    ws.net:advance(1)
    assert.same({ type = "close", code = 4000, reason = "done", wasClean = true }, told)
    assert.same({ nil, "the connection is not open" }, { ws:close() })
    other:close()
    ws.net:advance(1)
    ws.net:finish()
  end)
end)

describe("mock.luup", function()
  local SERVICE = "urn:example-com:serviceId:WSListener1"
  local host

  local function start(openLuup)
    host = mock.luup { folder = "examples/luup-plugin", plugin = "WSListener", openLuup = openLuup, service = SERVICE }
    return host.net
  end

  after_each(function() host:stop() end)

  for _, openLuup in ipairs { true, false } do
    it("runs a plugin for 10,000 seconds with three losses" .. (openLuup and ", in openLuup" or ""), function()
      local net = start(openLuup)
      local began = os.clock()
      local server = net:listen(URL, mock.echo())
      host:set(7, "URL", URL)
      assert.same({ true, "Ready", "WSListener" }, { host:startup(7) })
      net:advance(1)
      assert.same({ "connected", "1700000000" }, { host:get(7, "Status"), host:get(7, "LastUpdate") })
      local peer = server:accept()
      peer:send "news"
      net:advance(1)
      assert.equal("news", host:get(7, "Message"))
      assert.is_true(host:action(7, "Send", { Text = "hello" }))
      for _, lose in ipairs { "drop", "reset", "close" } do
        net:advance(2500)
        assert.equal("connected", host:get(7, "Status"))
        peer[lose](peer)
        net:advance(3)
        peer = assert(server:accept(), lose)
      end
      net:advance(10000 - net:now())
      assert.same({ "connected", 4, 0 }, { host:get(7, "Status"), server.attempts, host.failure[7] })
      assert.is_true(#peer.pings >= 35)
      host:set(7, "URL", "")
      net:advance(5)
      net:finish()
      assert.is_true(os.clock() - began < 1)
    end)
  end

  it("puts everything back", function()
    local time, date, path, before = os.time, os.date, package.path, rawget(_G, "luup")
    local net = start(true)
    assert.equal(1700000000, os.time())
    net:advance(5)
    assert.same({ 1700000005, "2023-11-14 22:13:25" }, { os.time(), os.date "!%Y-%m-%d %H:%M:%S" })
    assert.equal(net.luws, require "luws")
    host:stop()
    assert.same({ time, date, path, luws }, { os.time, os.date, package.path, require "luws" })
    assert.equal(before, rawget(_G, "luup"))
    assert.is_nil(rawget(_G, "WSListener_turn"))
    assert.is_nil(package.loaded["L_WSListener1"])
    assert.is_nil(package.loaded["openLuup.scheduler"])
  end)

  it("fails a test whose plugin raises an error", function()
    local net = start(false)
    rawset(_G, "plugin_that_fails", function() error "oh" end)
    rawget(_G, "luup").call_delay("plugin_that_fails", 1, "")
    local ok, err = pcall(net.advance, net, 1)
    assert.is_false(ok)
    assert.matches("plugin_that_fails: spec/mock_spec.lua:%d+: oh", err)
  end)

  it("gives the plugin the modules of its world, and takes them back", function()
    local before = package.loaded["luws.websocket"]
    local net = start(true)
    net:listen("ws://hub.test/", mock.echo())
    local told
    local ws = require "luws.websocket" "ws://hub.test/"
    function ws.onopen() ws:send "hello" end
    function ws.onmessage(event) told = event.data end
    local srv = assert(require "luws.server".listen { port = 80, on_open = function() end })
    net:run()
    assert.same({ "hello", true }, { told, (luws.wsopen("ws://localhost/", nil, net:options())) and true })
    ws:close()
    srv:close()
    net:settle()
    host:stop()
    assert.equal(before, package.loaded["luws.websocket"])
  end)
end)
