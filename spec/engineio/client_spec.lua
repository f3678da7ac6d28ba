-- The client of luws.engineio against a server that the spec plays, in virtual time: each transport, the heartbeat, and
-- every way in which a session ends.

local played = require "spec.support.played_engine"

local shake_hands, texts = played.shake_hands, played.texts

local s

before_each(function() s = played.new() end)

describe("a request", function()
  it("says what a session's requests have to say", function()
    local headers = { ["X-Token"] = "t" }
    s:connect { query = { name = "a b&c", EIO2 = 1 }, extraHeaders = headers, timestampParam = "time" }
    local first = s:next_request()
    assert.same({ "GET", "/engine.io/" }, { first.method, first.path })
    local seen = first.query
    assert.same({ "4", "polling", nil, "a b&c", "t" },
      { seen.EIO, seen.transport, seen.sid, seen.name, first.headers["x-token"] })
    shake_hands(first)
    local second = s:next_request()
    assert.same({ "s1", "a b&c", "t" }, { second.query.sid, second.query.name, second.headers["x-token"] })
    assert.not_equal(first.query.time, second.query.time)
    s.socket:send "x"
    local post = s:next_request()
    assert.same({ "POST", "4x", "text/plain;charset=UTF-8", "t" },
      { post.method, post.body, post.headers["content-type"], post.headers["x-token"] })
  end)

  it("can be without what keeps caches from answering", function()
    s:connect { timestampRequests = false }
    assert.is_nil(s:next_request().query.t)
  end)

  it("for a WebSocket has the subprotocols, and offers compression unless it is not wanted", function()
    for _, case in ipairs {
      { nil, nil, "permessage-deflate" }, { { "a", "b" }, false, nil },
      { "a", { threshold = 10 }, "permessage-deflate" },
    } do
      local headers = s:websocket({ protocols = case[1], perMessageDeflate = case[2] }).headers
      local wanted = type(case[1]) == "table" and table.concat(case[1], ", ") or case[1]
      local offered = headers["sec-websocket-extensions"]
      assert.same({ wanted, case[3] }, { headers["sec-websocket-protocol"], offered and offered:match "^[%w-]+" })
    end
  end)

  it("goes where the options say", function()
    for _, case in ipairs {
      { "http://peer.test", {}, "/engine.io/", 80 }, { "peer.test:81", {}, "/engine.io/", 81 },
      { "ws://peer.test:82/x?a=1", { path = "/p/" }, "/p/", 82 },
      { "http://[::1]:83", { path = "/p", addTrailingSlash = false }, "/p", 83 },
    } do
      s.engineio.connect(case[1], case[2])
      local request = s:next_request()
      assert.same({ case[3], case[4] }, { request.path, s.w.asked[2] })
      assert.equal(case[1]:find "a=1" and "1" or nil, request.query.a)
    end
  end)

  it("has the cookies that the server has set, if it is to", function()
    for _, case in ipairs { { true, "io=abc" }, { false, nil } } do
      s:connect { withCredentials = case[1] }
      local cookie = { "Set-Cookie", "io=abc; HttpOnly" }
      shake_hands(s:next_request(), { upgrades = '"websocket"', maxPayload = 1000, headers = { cookie } })
      for _ = 1, 2 do assert.equal(case[2], s:next_request().headers.cookie) end -- the poll and the WebSocket
    end
  end)

  it("has a time-out if it is to", function()
    s:polling { requestTimeout = 200 }
    s:pass(0.3)
    assert.same({ "open", "error xhr poll error: request failed; timeout",
      "close transport error: request failed; timeout" }, s:news())
  end)
end)

describe("a session by polling", function()
  it("tells of packets in their order, and sends what waits together", function()
    s:connect { upgrade = false }
    s.socket:send "early":send(s.engineio.binary "\0\1")
    shake_hands(s:next_request(), { more = "\0304a\030bAAE=\0304" })
    local requests = { s:next_request(), s:next_request() }
    table.sort(requests, function(a, b) return a.method < b.method end)
    assert.same({ "GET", "POST", "4early\030bAAE=" }, { requests[1].method, requests[2].method, requests[2].body })
    assert.same({ "open", "message a", "message binary \0\1", "message " }, s:news())
    s.socket:send "b":send "c"
    s:pass(0.2)
    assert.is_nil(s.server.requests[1]) -- one POST at a time
    requests[2]:respond "ok"
    assert.equal("4b\0304c", s:next_request().body)
  end)

  it("never has more than 16 packets in a POST, nor more bytes than the server takes", function()
    for _, case in ipairs { { 40, 1, 1000, { 16, 16, 8 } }, { 5, 30, 100, { 3, 2 } }, { 3, 200, 100, { 1, 1, 1 } } } do
      s:polling({ upgrade = false }, { maxPayload = case[3] })
      for _ = 1, case[1] do s.socket:send(("x"):rep(case[2])) end
      local counts = {}
      -- The first packet leaves at once.
      for _ = 1, #case[4] + 1 do
        local post = s.server:next(0.1)
        if not post then break end
        counts[#counts + 1] = select(2, post.body:gsub("4x", ""))
        post:respond "ok"
      end
      local sum, most = 0, 0
      for _, count in ipairs(counts) do sum, most = sum + count, math.max(most, count) end
      assert.same({ case[1], case[4][1] }, { sum, most })
      s.socket:close()
      s:pass(1)
      s.server.requests = {}
    end
  end)

  it("takes a server that does not say how much it takes", function()
    s:connect { upgrade = false }
    s:next_request():respond '0{"sid":"s1","upgrades":[],"pingInterval":300,"pingTimeout":200}'
    local get = s:next_request()
    s.socket:send "x"
    s:next_request():respond "ok"
    for _ = 1, 3 do s.socket:send(("y"):rep(1e6)) end
    assert.equal(3e6 + 5, #s:next_request().body)
    assert.same({ "GET", { "open" } }, { get.method, s:news() })
  end)

  it("ends with the reason", function()
    local hint = "; this client speaks Engine.IO 4, as Socket.IO 3 and 4 do, and the server does not"
    local other = "; it does not take polling, so leave that out of the option transports"
    for _, case in ipairs {
      { function(get) get:respond("", { status = 400 }) end,
        "error xhr poll error: the server has answered 400 Bad Request",
        "close transport error: the server has answered 400 Bad Request" },
      { function(get) get:respond('{"code":5,"message":"Unsupported protocol version"}', { status = 400 }) end,
        "error xhr poll error: the server has answered 400: Unsupported protocol version" .. hint,
        "close transport error: the server has answered 400: Unsupported protocol version" .. hint },
      { function(get) get:respond('{"code":0,"message":"Transport unknown"}', { status = 400 }) end,
        "error xhr poll error: the server has answered 400: Transport unknown" .. other,
        "close transport error: the server has answered 400: Transport unknown" .. other },
      { function(get) get:vanish() end,
        "error xhr poll error: request failed; the peer closed the connection (is it https?)",
        "close transport error: request failed; the peer closed the connection (is it https?)" },
      { function(get) get:respond "1" end, "close transport close: transport closed by the server" },
      { function(get) get:respond "9" end,
        "error server error: the server's answer has something in it that is no packet",
        "close transport error: the server's answer has something in it that is no packet" },
      { function(get) get:respond "3" end, "error server error: the server has sent a pong, which nobody has asked for",
        "close transport error: the server has sent a pong, which nobody has asked for" },
      { function() end, "close ping timeout" },
    } do
      local get = s:polling()
      s:news()
      case[1](get)
      s:pass(0.49)
      local last = s.server.requests[1] -- a GET that came before the connection was lost is made again
      if last then last:vanish() end
      s:pass(0.1)
      assert.same({ case[2], case[3] }, s:news())
      assert.same({ "closed", nil }, { s.socket.readyState, s.socket.id })
      s.server.requests = {}
    end
  end)

  it("that cannot be opened says why", function()
    for _, case in ipairs {
      { '97:0{"sid":"x"}',
        "error server error: it is one of Engine.IO 3, as Socket.IO 1 and 2 have; this client speaks Engine.IO 4" },
      { "0{}", "error server error: the server's handshake is not one of Engine.IO 4" },
      { "0x", "error server error: the server's handshake is not one of Engine.IO 4" },
    } do
      s:connect()
      s:next_request():respond(case[1])
      s:pass(0.1)
      assert.same({ case[2], "close transport error: " .. case[2]:match "^error server error: (.*)$" }, s:news())
    end
    s:pass(10) -- no connection is kept
    s.w.dials = { { 0, "connection refused" } }
    s:connect()
    s:pass(0.1)
    assert.equal("error xhr poll error: Connection to peer.test:80 failed: connection refused", s:news()[1])
  end)

  it("goes on with the next transport, if it is to", function()
    for _, case in ipairs { { true, "websocket" }, { false, nil } } do
      s:connect { tryAllTransports = case[1] }
      s:next_request():respond("", { status = 400 })
      local request = s.server:next(1)
      assert.equal(case[2], request and request.query.transport)
      if request then
        request:accept()
        shake_hands(request)
        s:pass()
        assert.same({ "open" }, s:news())
      end
    end
  end)

  it("says goodbye once everything has left", function()
    local get = s:polling { upgrade = false }
    s.socket:send "x"
    local post = s:next_request()
    s.socket:send "y"
    s.socket:close()
    assert.equal("closing", s.socket.readyState)
    s.socket:send "too late"
    post:respond "ok"
    post = s:next_request()
    assert.equal("4y", post.body)
    post:respond "ok"
    local last = s:next_request()
    assert.equal("1", last.body)
    assert.same({ "open", "close forced close" }, s:news())
    last:respond "ok"
    get:respond "6"
    s:pass(10)
    assert.same({}, s:news())
    assert.is_nil(s.server.requests[1])
  end)

  it("is closed after close_timeout at the latest", function()
    s:polling { upgrade = false, close_timeout = 0.2 }
    s.socket:send "x"
    s:next_request()
    s:news()
    s.socket:close()
    s:pass(0.19)
    assert.same({}, s:news())
    s:pass(0.02)
    assert.same({ "close forced close" }, s:news())
  end)
end)

describe("a session by WebSocket", function()
  it("has a frame for each packet", function()
    local ws = s:websocket()
    assert.same({ "4", "websocket", nil, nil }, { ws.query.EIO, ws.query.transport, ws.query.sid, ws.query.t })
    s.socket:send "é":send(s.engineio.binary "\0\1"):send ""
    ws:send(1, "4hello")
    ws:send(2, "\255")
    s:pass()
    assert.same({ "4é", "binary \0\1", "4" }, texts(ws))
    assert.same({ "open", "message hello", "message binary \255" }, s:news())
  end)

  it("has texts only for servers that want them", function()
    local ws = s:websocket { forceBase64 = true, timestampRequests = true }
    assert.equal("1", ws.query.b64)
    assert.is_string(ws.query.t)
    s.socket:send(s.engineio.binary "\0\1")
    ws:send(1, "bAAE=")
    s:pass()
    assert.same({ "bAAE=" }, texts(ws))
    assert.equal("message binary \0\1", s.told[2])
  end)

  it("ends with the reason", function()
    for _, case in ipairs {
      { function(ws) ws:close(1000) end, "close transport close: websocket connection closed" },
      { function(ws) ws:vanish() end, "close transport close: websocket connection closed" },
      { function(ws) ws:send(1, "1") end, "close transport close: transport closed by the server" },
      { function(ws) ws:send(1, "9") end, "error server error: the server has sent something that is no packet",
        "close transport error: the server has sent something that is no packet" },
      { function(ws) ws.peer.line:send "\193\0" end,
        "error websocket error: reserved bits", nil },
      { function() end, "close ping timeout" },
    } do
      local ws = s:websocket()
      s:news()
      case[1](ws)
      s:pass(0.6)
      local seen = s:news()
      assert.equal(case[2]:sub(1, 30), seen[1]:sub(1, 30))
      if case[3] then assert.equal(case[3], seen[2]) end
      assert.matches("^close ", seen[#seen])
    end
  end)

  it("that is refused says why", function()
    s:connect { transports = { "websocket" } }
    s:next_request():respond("Bad request", { status = 400 })
    s:pass(1)
    assert.equal("error websocket error: upgrade failed; HTTP/1.1 400 Bad Request", s:news()[1])
  end)

  it("is closed with a close frame, after what was sent", function()
    local ws = s:websocket()
    s.socket:send "last"
    s.socket:close()
    s:pass()
    assert.same({ { "4last" }, "\3\232" }, { texts(ws), ws.close_frame })
    assert.same({ "open", "close forced close" }, s:news())
  end)
end)

describe("the heartbeat", function()
  it("answers pings, and waits anew after each of them only", function()
    local ws = s:websocket()
    s:news()
    for _ = 1, 3 do
      s:pass(0.4)
      ws:send(1, "2")
      s:pass()
    end
    assert.same({ "3", "3", "3" }, texts(ws))
    assert.same({ "ping", "ping", "ping" }, s:news())
    s:pass(0.4)
    s.socket:send "x" -- says nothing about the server
    ws:send(1, "4y")
    s:pass(0.2)
    assert.same({ "message y", "close ping timeout" }, s:news())
  end)

  it("is known to be late before the session ends, after a suspension of the machine", function()
    s:websocket()
    s:pass(0.48)
    assert.is_false(s.socket:hasPingExpired())
    s:news()
    local seen
    s.w.reactor.after(0, function()
      s.w.clock.sleep(3600)
      seen = { s.socket.readyState, s.socket:hasPingExpired(), s:news() }
    end)
    s:pass(0)
    assert.same({ "open", true, {} }, seen)
    s:pass()
    assert.same({ "close ping timeout" }, s:news())
  end)
end)

it("tells nothing from within connect, send and close", function()
  s.w.dials = { { 0, "refused" } }
  s:connect()
  s.socket:send "x"
  s.socket:close()
  assert.same({}, s.told)
  s:pass(1)
  assert.same({ "close forced close" }, s.told)
end)

it("says when nothing is left to be sent", function()
  local ws = s:websocket()
  local seen = {}
  for _, name in ipairs { "drain", "flush" } do s.socket:on(name, function() seen[#seen + 1] = name end) end
  s.socket:send "a"
  assert.same({ true, 0, {} }, { s.socket.transport.writable, s.socket:bufferedPackets(), seen })
  s:pass()
  table.sort(seen)
  assert.same({ "drain", "flush" }, seen)
  assert.same({ "4a" }, texts(ws))
end)

it("tells of each packet that is to be sent, in a turn of the reactor", function()
  local ws = s:websocket()
  local seen = {}
  s.socket:on("packetCreate", function(packet) seen[#seen + 1] = packet.type .. " " .. tostring(packet.data) end)
  s.socket:send "a"
  assert.same({}, seen)
  ws:send(1, "2")
  s:pass()
  assert.same({ { "message a", "pong nil" }, { "4a", "3" } }, { seen, texts(ws) })
end)
