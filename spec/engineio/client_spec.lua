-- The client of luws.engineio against a server that the spec plays (http_peers.lua), in virtual time: each transport,
-- the upgrade, the heartbeat, and every way in which a session ends.

local http_peers = require "spec.support.http_peers"
local world = require "spec.support.world"

local w, engineio, server, socket, told

local HANDSHAKE = '0{"sid":"s1","upgrades":[%s],"pingInterval":300,"pingTimeout":200,"maxPayload":%d}'

local EVENTS = { "open", "message", "ping", "upgrade", "upgradeError", "error", "close" }

--- Returns the arguments of an event in a form that can be compared.
local function shown(name, value, more)
  if name == "upgrade" then return value.name end
  if type(value) == "userdata" then return "binary " .. tostring(value) end
  if name == "close" then return more and more.description and value .. ": " .. more.description or value end
  return value ~= nil and tostring(value) or nil
end

--- Opens a session whose events are noted in `told`.
local function connect(options)
  socket = engineio.connect("http://peer.test/ignored", options)
  for _, name in ipairs(EVENTS) do
    socket:on(name, function(...)
      local text = shown(name, ...)
      told[#told + 1] = text and name .. " " .. text or name
    end)
  end
  return socket
end

local function next_request()
  local request = server:next()
  assert(request, "no request has come")
  return request
end

--- Answers the request for a handshake. Returns the next request.
local function shake_hands(request, options)
  options = options or {}
  local body = HANDSHAKE:format(options.upgrades or "", options.maxPayload or 1000000) .. (options.more or "")
  if request.messages then
    request:send(1, body)
  else
    request:respond(body)
  end
end

--- Opens a session by polling. Returns the GET that is held.
local function polling(options, shake)
  connect(options)
  shake_hands(next_request(), shake)
  return next_request()
end

--- Opens a session by a WebSocket. Returns that.
local function websocket(options)
  options = options or {}
  options.transports = { "websocket" }
  connect(options)
  local ws = next_request()
  ws:accept()
  shake_hands(ws)
  server:pass(0.01)
  return ws
end

local function pass(seconds) server:pass(seconds or 0.01) end

--- Returns what was told since the last call.
local function news()
  local last = told
  told = {}
  return last
end

--- Returns the text messages that have come over a WebSocket.
local function texts(ws)
  local list = {}
  for i, message in ipairs(ws.messages) do list[i] = (message[1] == 2 and "binary " or "") .. message[2] end
  return list
end

before_each(function()
  w = world.new()
  engineio, server, told = w.import("engineio").public, http_peers.new(w), {}
end)

describe("a request", function()
  it("says what a session's requests have to say", function()
    local headers = { ["X-Token"] = "t" }
    connect { query = { name = "a b&c", EIO2 = 1 }, extraHeaders = headers, timestampParam = "time" }
    local first = next_request()
    assert.same({ "GET", "/engine.io/" }, { first.method, first.path })
    local seen = first.query
    assert.same({ "4", "polling", nil, "a b&c", "t" },
      { seen.EIO, seen.transport, seen.sid, seen.name, first.headers["x-token"] })
    shake_hands(first)
    local second = next_request()
    assert.same({ "s1", "a b&c", "t" }, { second.query.sid, second.query.name, second.headers["x-token"] })
    assert.not_equal(first.query.time, second.query.time)
    socket:send "x"
    local post = next_request()
    assert.same({ "POST", "4x", "text/plain;charset=UTF-8", "t" },
      { post.method, post.body, post.headers["content-type"], post.headers["x-token"] })
  end)

  it("goes where the options say", function()
    for _, case in ipairs {
      { "http://peer.test", {}, "/engine.io/", 80 }, { "peer.test:81", {}, "/engine.io/", 81 },
      { "ws://peer.test:82/x?a=1", { path = "/p/" }, "/p/", 82 },
      { "http://[::1]:83", { path = "/p", addTrailingSlash = false }, "/p", 83 },
    } do
      engineio.connect(case[1], case[2])
      local request = next_request()
      assert.same({ case[3], case[4] }, { request.path, w.asked[2] })
      assert.equal(case[1]:find "a=1" and "1" or nil, request.query.a)
    end
  end)

  it("has the cookies that the server has set, if it is to", function()
    for _, case in ipairs { { true, "io=abc" }, { false, nil } } do
      connect { withCredentials = case[1] }
      local cookie = { "Set-Cookie", "io=abc; HttpOnly" }
      next_request():respond(HANDSHAKE:format('"websocket"', 1000), { headers = { cookie } })
      for _ = 1, 2 do assert.equal(case[2], next_request().headers.cookie) end -- the poll and the WebSocket
    end
  end)

  it("has a time-out if it is to", function()
    polling { requestTimeout = 200 }
    pass(0.3)
    assert.same({ "open", "error xhr poll error: request failed; timeout",
      "close transport error: request failed; timeout" }, news())
  end)
end)

describe("a session by polling", function()
  it("tells of packets in their order, and sends what waits together", function()
    connect { upgrade = false }
    socket:send "early":send(engineio.binary "\0\1")
    shake_hands(next_request(), { more = "\0304a\030bAAE=\0304" })
    local requests = { next_request(), next_request() }
    table.sort(requests, function(a, b) return a.method < b.method end)
    assert.same({ "GET", "POST", "4early\030bAAE=" }, { requests[1].method, requests[2].method, requests[2].body })
    assert.same({ "open", "message a", "message binary \0\1", "message " }, news())
    socket:send "b":send "c"
    pass(0.2)
    assert.is_nil(server.requests[1]) -- one POST at a time
    requests[2]:respond "ok"
    assert.equal("4b\0304c", next_request().body)
  end)

  it("never has more than 16 packets in a POST, nor more bytes than the server takes", function()
    for _, case in ipairs { { 40, 1, 1000, { 16, 16, 8 } }, { 5, 30, 100, { 3, 2 } }, { 3, 200, 100, { 1, 1, 1 } } } do
      polling({ upgrade = false }, { maxPayload = case[3] })
      for _ = 1, case[1] do socket:send(("x"):rep(case[2])) end
      local counts = {}
      -- The first packet leaves at once.
      for _ = 1, #case[4] + 1 do
        local post = server:next(0.1)
        if not post then break end
        counts[#counts + 1] = select(2, post.body:gsub("4x", ""))
        post:respond "ok"
      end
      local sum, most = 0, 0
      for _, count in ipairs(counts) do sum, most = sum + count, math.max(most, count) end
      assert.same({ case[1], case[4][1] }, { sum, most })
      socket:close()
      pass(1)
      server.requests = {}
    end
  end)

  it("ends with the reason", function()
    local hint = "; this client speaks Engine.IO 4, as Socket.IO 3 and 4 do, and the server does not"
    for _, case in ipairs {
      { function(get) get:respond("", { status = 400 }) end,
        "error xhr poll error: the server has answered 400 Bad Request",
        "close transport error: the server has answered 400 Bad Request" },
      { function(get) get:respond('{"code":5,"message":"Unsupported protocol version"}', { status = 400 }) end,
        "error xhr poll error: the server has answered 400: Unsupported protocol version" .. hint,
        "close transport error: the server has answered 400: Unsupported protocol version" .. hint },
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
      local get = polling()
      news()
      case[1](get)
      pass(0.49)
      local last = server.requests[1] -- a GET that came before the connection was lost is made again
      if last then last:vanish() end
      pass(0.1)
      assert.same({ case[2], case[3] }, news())
      assert.same({ "closed", nil }, { socket.readyState, socket.id })
      server.requests = {}
    end
  end)

  it("that cannot be opened says why", function()
    for _, case in ipairs {
      { '97:0{"sid":"x"}',
        "error server error: it is one of Engine.IO 3, as Socket.IO 1 and 2 have; this client speaks Engine.IO 4" },
      { "0{}", "error server error: the server's handshake is not one of Engine.IO 4" },
      { "0x", "error server error: the server's handshake is not one of Engine.IO 4" },
    } do
      connect()
      next_request():respond(case[1])
      pass(0.1)
      assert.same({ case[2], "close transport error: " .. case[2]:match "^error server error: (.*)$" }, news())
    end
    pass(10) -- no connection is kept
    w.dials = { { 0, "connection refused" } }
    connect()
    pass(0.1)
    assert.equal("error xhr poll error: Connection to peer.test:80 failed: connection refused", news()[1])
  end)

  it("goes on with the next transport, if it is to", function()
    for _, case in ipairs { { true, "websocket" }, { false, nil } } do
      connect { tryAllTransports = case[1] }
      next_request():respond("", { status = 400 })
      local request = server:next(1)
      assert.equal(case[2], request and request.query.transport)
      if request then
        request:accept()
        shake_hands(request)
        pass()
        assert.same({ "open" }, news())
      end
    end
  end)

  it("says goodbye once everything has left", function()
    local get = polling { upgrade = false }
    socket:send "x"
    local post = next_request()
    socket:send "y"
    socket:close()
    assert.equal("closing", socket.readyState)
    socket:send "too late"
    post:respond "ok"
    post = next_request()
    assert.equal("4y", post.body)
    post:respond "ok"
    local last = next_request()
    assert.equal("1", last.body)
    assert.same({ "open", "close forced close" }, news())
    last:respond "ok"
    get:respond "6"
    pass(10)
    assert.same({}, news())
    assert.is_nil(server.requests[1])
  end)

  it("is closed after close_timeout at the latest", function()
    polling { upgrade = false, close_timeout = 0.2 }
    socket:send "x"
    next_request()
    news()
    socket:close()
    pass(0.19)
    assert.same({}, news())
    pass(0.02)
    assert.same({ "close forced close" }, news())
  end)
end)

describe("a session by WebSocket", function()
  it("has a frame for each packet", function()
    local ws = websocket()
    assert.same({ "4", "websocket", nil, nil }, { ws.query.EIO, ws.query.transport, ws.query.sid, ws.query.t })
    socket:send "é":send(engineio.binary "\0\1"):send ""
    ws:send(1, "4hello")
    ws:send(2, "\255")
    pass()
    assert.same({ "4é", "binary \0\1", "4" }, texts(ws))
    assert.same({ "open", "message hello", "message binary \255" }, news())
  end)

  it("has texts only for servers that want them", function()
    local ws = websocket { forceBase64 = true, timestampRequests = true }
    assert.equal("1", ws.query.b64)
    assert.is_string(ws.query.t)
    socket:send(engineio.binary "\0\1")
    ws:send(1, "bAAE=")
    pass()
    assert.same({ "bAAE=" }, texts(ws))
    assert.equal("message binary \0\1", told[2])
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
      local ws = websocket()
      news()
      case[1](ws)
      pass(0.6)
      local seen = news()
      assert.equal(case[2]:sub(1, 30), seen[1]:sub(1, 30))
      if case[3] then assert.equal(case[3], seen[2]) end
      assert.matches("^close ", seen[#seen])
    end
  end)

  it("that is refused says why", function()
    connect { transports = { "websocket" } }
    next_request():respond("Bad request", { status = 400 })
    pass(1)
    assert.equal("error websocket error: upgrade failed; HTTP/1.1 400 Bad Request", news()[1])
  end)

  it("is closed with a close frame, after what was sent", function()
    local ws = websocket()
    socket:send "last"
    socket:close()
    pass()
    assert.same({ { "4last" }, "\3\232" }, { texts(ws), ws.close_frame })
    assert.same({ "open", "close forced close" }, news())
  end)
end)

describe("the heartbeat", function()
  it("answers pings, and waits anew after each of them only", function()
    local ws = websocket()
    news()
    for _ = 1, 3 do
      pass(0.4)
      ws:send(1, "2")
      pass()
    end
    assert.same({ "3", "3", "3" }, texts(ws))
    assert.same({ "ping", "ping", "ping" }, news())
    pass(0.4)
    socket:send "x" -- says nothing about the server
    ws:send(1, "4y")
    pass(0.2)
    assert.same({ "message y", "close ping timeout" }, news())
  end)
end)

describe("an upgrade", function()
  --- Returns the GET and the WebSocket that probes.
  local function probing()
    connect()
    shake_hands(next_request(), { upgrades = '"websocket"' })
    local requests = { next_request(), next_request() }
    table.sort(requests, function(a, b) return a.query.transport < b.query.transport end)
    requests[2]:accept()
    pass()
    assert.same({ "2probe" }, texts(requests[2]))
    assert.equal("s1", requests[2].query.sid)
    return requests[1], requests[2]
  end

  it("waits for the requests that are under way, and loses nothing", function()
    local get, ws = probing()
    socket:send "by post"
    local post = next_request()
    ws:send(1, "3probe")
    pass()
    socket:send "by socket"
    pass(0.05)
    assert.same({ "2probe" }, texts(ws))
    post:respond "ok"
    pass(0.05)
    assert.same({ "2probe" }, texts(ws))
    get:respond "4last\0306"
    pass()
    assert.same({ "2probe", "5", "4by socket" }, texts(ws))
    ws:send(1, "6") -- as python-engineio does
    ws:send(1, "4first")
    pass(0.05)
    assert.same({ "open", "message last", "upgrade websocket", "message first" }, news())
    assert.equal("websocket", socket.transport.name)
    assert.is_nil(server.requests[1])
  end)

  it("that fails leaves the session on polling, whenever that is", function()
    for _, case in ipairs {
      { function(ws) ws:send(1, "3") end, "unexpected packet" },
      { function(ws) ws:vanish() end, "transport closed" },
      { function(ws) ws:close(1000) end, "transport closed" },
      { function(ws)
        ws:send(1, "3probe")
        pass(0.05)
        ws:vanish()
      end, "transport closed" },
    } do
      local get, ws = probing()
      case[1](ws)
      pass(0.05)
      assert.same({ "open", "upgradeError probe error: " .. case[2] }, news())
      socket:send "x"
      assert.equal("4x", next_request().body)
      get:respond "4y"
      assert.equal("GET", next_request().method)
      assert.same({ "message y" }, news())
      socket:close()
      server:pass(20)
      news()
      server.requests = {}
    end
  end)

  it("that is refused leaves the session on polling", function()
    connect()
    shake_hands(next_request(), { upgrades = '"websocket"' })
    local requests = { next_request(), next_request() }
    table.sort(requests, function(a, b) return a.query.transport < b.query.transport end)
    requests[2]:respond("", { status = 400 })
    pass(0.1)
    requests[1]:respond "4x"
    pass(0.1)
    assert.same({ "open", "upgradeError probe error: websocket error: upgrade failed; HTTP/1.1 400 Bad Request",
      "message x" }, news())
  end)

  it("is waited for when the session is closed", function()
    local get, ws = probing()
    ws:send(1, "3probe")
    pass()
    socket:close()
    get:respond "6"
    pass()
    assert.same({ "2probe", "5" }, texts(ws))
    assert.equal("\3\232", ws.close_frame)
    assert.same({ "open", "upgrade websocket", "close forced close" }, news())
  end)

  it("is not tried where it is not wanted or not offered", function()
    for _, case in ipairs { { { upgrade = false }, '"websocket"' }, { {}, "" }, { { transports = { "polling" } },
      '"websocket"' } } do
      polling(case[1], { upgrades = case[2] })
      pass(0.1)
      assert.is_nil(server.requests[1])
    end
  end)

  it("is remembered, if it is to be", function()
    websocket()
    for _, case in ipairs { { true, "websocket" }, { false, "polling" } } do
      connect { rememberUpgrade = case[1] }
      assert.equal(case[2], next_request().query.transport)
    end
  end)
end)

it("tells nothing from within connect, send and close", function()
  w.dials = { { 0, "refused" } }
  connect()
  socket:send "x"
  socket:close()
  assert.same({}, told)
  pass(1)
  assert.same({ "close forced close" }, told)
end)

it("says when nothing is left to be sent", function()
  local ws = websocket()
  local seen = {}
  for _, name in ipairs { "drain", "flush" } do socket:on(name, function() seen[#seen + 1] = name end) end
  socket:send "a"
  assert.same({ true, 0, {} }, { socket.transport.writable, socket:bufferedPackets(), seen })
  pass()
  table.sort(seen)
  assert.same({ "drain", "flush" }, seen)
  assert.same({ "4a" }, texts(ws))
end)
