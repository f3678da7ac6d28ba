-- Sessions of the server of luws.engineio, request by request, over real sockets: by each transport, the heartbeat, and
-- every way in which a session ends. Upgrades: server_upgrade_spec.lua.

local engine = require "spec.support.engine"
local engineio = require "luws.engineio"
local json = require "luws.json"
local serving = require "spec.support.serving"

local unpack = require "spec.support.compat".unpack

local rest, till = engine.rest, engine.till

after_each(engine.over)

describe("a session by polling", function()
  it("brings packets together, and keeps a request until there are some", function()
    local e = engine.start()
    local sid = e:handshake()
    local socket = e.sockets[1]
    local answer = e:poll(sid)
    rest(0.03)
    assert.is_nil(answer())
    socket:send "a"
    assert.equal("4a", till(answer).body)
    socket:send "b":send(engineio.binary "\0\255"):send ""
    assert.equal("4b\30bAP8=\0304", till((e:poll(sid))).body)
  end)

  it("has at most 16 packets in an answer", function()
    local e = engine.start()
    local sid = e:handshake()
    for i = 1, 20 do e.sockets[1]:send(tostring(i)) end
    local bodies = {}
    for i = 1, 2 do bodies[i] = #engine.packets(till((e:poll(sid))).body) end
    assert.same({ 16, 4 }, bodies)
  end)

  it("takes packets, and answers ok", function()
    local e = engine.start()
    local sid = e:handshake()
    local response = e:post(sid, "4a\030bAP8=\0304", { ["Content-Type"] = "text/plain;charset=UTF-8" })
    assert.same({ 200, "ok", "text/html" }, { response.status, response.body, response.headers["content-type"] })
    assert.same({ "message a", "message binary \0\255", "message " }, e:news())
  end)

  for _, case in ipairs {
    { "two GETs at a time", function(e, sid)
      local first = e:poll(sid)
      rest(0.03)
      local second = till((e:poll(sid)))
      return { 400, second.status == 400 and till(first).body == "1" and 400 }
    end, "close transport error: overlap from client" },
    { "a POST of bytes", function(e, sid)
      return { 400, e:post(sid, "4a", { ["Content-Type"] = "application/octet-stream" }).status }
    end, "close transport error: invalid content" },
    { "a POST that is too large", function(e, sid)
      return { 413, e:post(sid, ("4"):rep(1001)).status }
    end, "close transport error: the data of a request have not come, or are too large" },
    { "what is no packet", function(e, sid)
      return { 200, e:post(sid, "4a\0309").status }
    end, "close parse error" },
    { "a ping", function(e, sid) return { 200, e:post(sid, "2").status } end,
      "close transport error: invalid heartbeat direction" },
    { "a GET that is given up", function(e, sid)
      local _, request = e:poll(sid)
      rest(0.05)
      request.cancel()
      return {}
    end, "close transport error: poll connection closed prematurely" },
    { "the client's close packet", function(e, sid)
      local first = e:poll(sid)
      rest(0.03)
      return { "200 6", e:post(sid, "1").status .. " " .. till(first).body }
    end, "close transport close" },
  } do
    it("is ended by " .. case[1], function()
      local e = engine.start { maxHttpBufferSize = 1000 }
      local sid = e:handshake()
      local expected = case[2](e, sid)
      assert.equal(expected[1], expected[2])
      till(function() return #e.seen > 0 and e.seen[#e.seen]:find "^close" end)
      assert.equal(case[3], e.seen[#e.seen])
      assert.equal(0, e.engine.clientsCount)
      assert.equal(400, e:get("transport=polling&sid=" .. sid).status)
    end)
  end

  it("answers other methods by 500", function()
    local e = engine.start()
    assert.equal(500, e:get("transport=polling&sid=" .. e:handshake(), { method = "PUT" }).status)
  end)

  it("is closed by the server: now if a GET waits, else with the next one", function()
    for _, waits in ipairs { true, false } do
      local e = engine.start()
      local sid = e:handshake()
      local answer = waits and e:poll(sid)
      if waits then
        rest(0.03)
      else
        e.sockets[1]:send "last"
      end
      e.sockets[1]:close()
      assert.same({}, e:news())
      if not waits then
        rest(0.03)
        assert.same({}, e:news())
        answer = e:poll(sid)
      end
      assert.equal(waits and "1" or "4last\0301", till(answer).body)
      till(function() return #e.seen > 0 end)
      assert.same({ "close forced close" }, e:news())
    end
  end)

  it("is compressed for clients that take that, if it is worth it", function()
    local e = engine.start { httpCompression = { threshold = 100 } }
    local sid = e:handshake()
    for _, case in ipairs { { 50, "gzip", nil }, { 200, "gzip, deflate", "gzip" }, { 200, nil, nil } } do
      e.sockets[1]:send(("x"):rep(case[1]))
      local headers = { ["Accept-Encoding"] = case[2] }
      local response = e:get("transport=polling&sid=" .. sid, { headers = headers })
      assert.equal(case[3], response.headers["content-encoding"])
      local is_gzip = response.body:sub(1, 2) == "\31\139"
      assert.same({ case[3] ~= nil, true }, { is_gzip, is_gzip or #response.body == case[1] + 1 })
    end
  end)

  it("speaks JSONP", function()
    local e = engine.start()
    local sid, response = e:handshake "&j=12x"
    assert.is_nil(sid)
    local text = response.body:match "^___eio%[12%]%((.*)%);$"
    sid = json.decode(text):match '"sid":"([^"]+)"'
    local form = { ["Content-Type"] = "application/x-www-form-urlencoded" }
    assert.equal("ok", e:post(sid .. "&j=0", "d=4a%5Cnb%5C%5Cnc%22+%C3%A9", form).body)
    assert.same({ 'message a\nb\\nc" é' }, e:news())
    e.sockets[1]:send "\226\128\168\"é"
    response = till((e:poll(sid .. "&j=1")))
    assert.equal('___eio[12]("4\\u2028\\"é");', response.body)
  end)
end)

describe("a session by WebSocket", function()
  it("has a frame for each packet", function()
    local e = engine.start()
    local ws = e:websocket "transport=websocket"
    ws:await(1)
    ws:send(1, "4é")
    ws:send(2, "\0\255")
    till(function() return #e.seen == 2 end)
    assert.same({ "message é", "message binary \0\255" }, e:news())
    e.sockets[1]:send "a":send(engineio.binary "\1")
    assert.same({ "4a", { "\1" } }, { select(2, unpack(ws:await(3))) })
  end)

  it("has texts only for clients that want them", function()
    local e = engine.start()
    local ws = e:websocket "transport=websocket&b64=1"
    ws:await(1)
    e.sockets[1]:send(engineio.binary "\0\255")
    assert.equal("bAP8=", ws:await(2)[2])
  end)

  for _, case in ipairs {
    { "the client's close frame", function(ws) ws:close() end, "close transport close" },
    { "what is no packet", function(ws) ws:send(1, "9") end, "close parse error" },
    { "a ping", function(ws) ws:send(1, "2") end, "close transport error: invalid heartbeat direction" },
    { "a message that is too large", function(ws) ws:send(1, ("4"):rep(1001)) end,
      "close transport error: websocket error" },
  } do
    it("is ended by " .. case[1], function()
      local e = engine.start { maxHttpBufferSize = 1000 }
      local ws = e:websocket "transport=websocket"
      ws:await(1)
      case[2](ws)
      till(function() return #e.seen > 0 end)
      assert.same({ case[3] }, e:news())
      if case[1]:find "large" then
        till(function() return ws.over end)
        assert.equal(1009, ws.conn.close_code)
      end
    end)
  end

  it("is closed by the server, after what was sent", function()
    local e = engine.start()
    local ws = e:websocket "transport=websocket"
    ws:await(1)
    e.sockets[1]:send "last"
    e.sockets[1]:close()
    till(function() return ws.over end)
    assert.equal("4last", ws.messages[2])
    assert.same({ "close forced close" }, e:news())
  end)

  it("is ended if its client takes nothing of what is sent", function()
    local e = engine.start { max_buffered = 2e6 }
    local ws = e:websocket "transport=websocket"
    ws:await(1)
    ws.conn:pause()
    local text = ("x"):rep(1e6)
    for _ = 1, 50 do e.sockets[1]:send(text) end
    till(function() return #e.seen > 0 end)
    assert.same({ "close transport error: the client is too slow" }, e:news())
  end)
end)

describe("the heartbeat", function()
  it("pings, and ends a session that does not answer", function()
    for _, name in ipairs { "websocket", "polling" } do
      local e = engine.start { pingInterval = 60, pingTimeout = 200 }
      local pings = 0
      if name == "websocket" then
        local ws = e:websocket "transport=websocket"
        for i = 1, 3 do
          assert.equal("2", ws:await(1 + i)[1 + i])
          pings = pings + 1
          if i < 3 then ws:send(1, "3") end
        end
        till(function() return ws.over end)
      else
        local sid = e:handshake()
        for i = 1, 3 do
          assert.equal("2", till((e:poll(sid))).body)
          pings = pings + 1
          if i < 3 then e:post(sid, "3") end
        end
        till(function() return #e.seen > 0 end)
      end
      assert.same({ 3, { "close ping timeout" } }, { pings, e:news() })
    end
  end)

  it("gives a client that is busy sending more time, once", function()
    local e = engine.start { pingInterval = 50, pingTimeout = 300 }
    local ws = e:websocket "transport=websocket"
    ws:await(2)
    local began = require "luws".gettime()
    for _ = 1, 4 do
      rest(0.1)
      if not ws.over then ws:send(1, "4x") end
    end
    till(function() return ws.over end)
    local lasted = require "luws".gettime() - began
    assert.is_true(lasted > 0.31, lasted)
    assert.equal("close ping timeout", e.seen[#e.seen])
  end)
end)

it("answers no more of one request than may wait for its client", function()
  local e = engine.start { max_buffered = 100000 }
  local sid, count = e:handshake(), 0
  e.sockets[1]:on("message", function()
    count = count + 1
    e.sockets[1]:send "answer"
  end)
  assert.equal(200, e:post(sid, ("4\30"):rep(100000) .. "4").status)
  till(function() return e.seen[#e.seen]:find "^close" end)
  assert.equal("close transport error: the client is too slow", e.seen[#e.seen])
  assert.is_true(count < 2000, count)
end)

it("takes no more clients than it may have", function()
  local e = engine.start { max_clients = 2 }
  local sid = e:handshake()
  assert.is_table(e:websocket "transport=websocket")
  assert.equal('{"code":3,"message":"Bad request"}', e:get("transport=polling").body)
  assert.same({ { 3, "Bad request", "TOO_MANY_CLIENTS" } }, e.errors)
  e:post(sid, "1")
  assert.is_string((e:handshake()))
end)

it("ends everything when it is closed", function()
  local e = engine.start()
  local ws = e:websocket "transport=websocket"
  local answer = e:poll((e:handshake()))
  ws:await(1)
  rest(0.03)
  e.engine:close()
  till(function() return ws.over and answer() and #e.seen == 2 end)
  assert.same({ { "close forced close", "close forced close" }, "1", 0 },
    { e:news(), answer().body, e.engine.clientsCount })
end)

describe("a message to many sessions", function()
  it("comes to all, in order, whatever their transports and revisions are", function()
    local e = engine.start { allowEIO3 = true }
    local sockets, clients = e.sockets, {}
    for i = 1, 3 do clients[i] = e:websocket("transport=websocket" .. (i == 3 and "&b64=1" or "")) end
    e.eio = "3"
    clients[4] = e:websocket "transport=websocket"
    e.eio = "4"
    local sid = e:handshake()
    local drained = 0
    sockets[1]:on("drain", function() drained = drained + 1 end)
    sockets[2]:on("packetCreate", function() end)
    for _, data in ipairs { "a", engineio.binary "\1", "b" } do e.engine:multicast(sockets, data) end
    sockets[1]:send "c"
    till(function() return clients[1].messages[5] and clients[2].messages[4] and clients[4].messages[4] end)
    local seen = {}
    for i, client in ipairs(clients) do
      table.remove(client.messages, 1)
      seen[i] = client.messages
    end
    assert.same({ { "4a", { "\1" }, "4b", "4c" }, { "4a", { "\1" }, "4b" }, { "4a", "bAQ==", "4b" },
      { "4a", { "\4\1" }, "4b" } }, seen)
    assert.equal("4a\30bAQ==\0304b", till((e:poll(sid))).body)
    assert.is_true(drained > 0)
  end)

  it("is not for those that are over, and is refused if it is none", function()
    local e = engine.start()
    local clients = {}
    for i = 1, 4 do clients[i] = e:websocket "transport=websocket" end
    e.sockets[1]:close()
    e.engine:multicast(e.sockets, "a")
    till(function() return clients[2].messages[2] and clients[1].over end)
    assert.same({ nil, "4a" }, { clients[1].messages[2], clients[4].messages[2] })
    assert.has_error(function() e.engine:multicast(e.sockets, 5) end,
      "bad argument #1 to 'send' (string or binary value expected, got number)")
    assert.has_error(function() e.engine:multicast(nil, "a") end,
      "bad argument #1 to 'multicast' (list of sockets expected, got nil)")
  end)
end)

describe("a message that is not to be compressed", function()
  local TEXT = ("x"):rep(5000)

  it("is not by a WebSocket that compresses the others", function()
    local e = engine.start { perMessageDeflate = true }
    local tcp = assert(require("socket").connect("127.0.0.1", e.engine.port))
    tcp:send(serving.upgrade("/engine.io/?EIO=4&transport=websocket", "Sec-WebSocket-Extensions: permessage-deflate"))
    local socket = till(function() return e.sockets[1] end)
    tcp:settimeout(0)
    local function sizes()
      rest(0.03)
      local _, _, came = tcp:receive(100000)
      return #came
    end
    sizes()
    local seen = {}
    for i, options in ipairs { {}, { compress = false }, { compress = true } } do
      socket:send(TEXT, options)
      seen[i] = sizes()
    end
    tcp:close()
    assert.is_true(seen[1] < 100 and seen[3] < 100)
    assert.equal(5005, seen[2])
  end)

  it("is not in the answer to a poll, unless others in it may be", function()
    local e = engine.start()
    local sid = e:handshake()
    for _, case in ipairs { { "gzip", nil, false }, { nil, false }, { "gzip", nil } } do
      local count = case[3] == false and 2 or 1
      for i = 1, count do e.sockets[1]:send(TEXT, { compress = i == 2 and case[3] or case[2] }) end
      local response = e:get("transport=polling&sid=" .. sid, { headers = { ["Accept-Encoding"] = "gzip" } })
      assert.equal(case[1], response.headers["content-encoding"])
    end
  end)
end)
