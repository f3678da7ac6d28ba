-- The client of luws.engineio against a server that the spec plays, in virtual time: how it goes over from polling
-- to a WebSocket, and when it does not.

local played = require "spec.support.played_engine"

local shake_hands, texts = played.shake_hands, played.texts

local s

before_each(function() s = played.new() end)

describe("an upgrade", function()
  --- Returns the GET, and the request for a WebSocket.
  local function trying()
    s:connect()
    shake_hands(s:next_request(), { upgrades = '"websocket"' })
    local requests = { s:next_request(), s:next_request() }
    table.sort(requests, function(a, b) return a.query.transport < b.query.transport end)
    return requests[1], requests[2]
  end

  --- Returns the GET and the WebSocket that probes.
  local function probing()
    local get, ws = trying()
    ws:accept()
    s:pass()
    assert.same({ "2probe" }, texts(ws))
    assert.equal("s1", ws.query.sid)
    return get, ws
  end

  it("waits for the requests that are under way, and loses nothing", function()
    local get, ws = probing()
    s.socket:send "by post"
    local post = s:next_request()
    ws:send(1, "3probe")
    s:pass()
    s.socket:send "by socket"
    s:pass(0.05)
    assert.same({ "2probe" }, texts(ws))
    post:respond "ok"
    s:pass(0.05)
    assert.same({ "2probe" }, texts(ws))
    get:respond "4last\0306"
    s:pass()
    assert.same({ "2probe", "5", "4by socket" }, texts(ws))
    ws:send(1, "6") -- as python-engineio does
    ws:send(1, "4first")
    s:pass(0.05)
    assert.same({ "open", "message last", "upgrade websocket", "message first" }, s:news())
    assert.equal("websocket", s.socket.transport.name)
    assert.is_nil(s.server.requests[1])
  end)

  it("comes after all that the last answer has brought, however much", function()
    local get, ws = probing()
    ws:send(1, "3probe")
    s:pass()
    s:news()
    get:respond(("4x\30"):rep(999) .. "4x")
    s:pass()
    local told = s:news()
    assert.same({ 1001, "message x", "upgrade websocket" }, { #told, told[1000], told[1001] })
    assert.same({ "2probe", "5" }, texts(ws))
  end)

  it("that fails leaves the session on polling, whenever that is", function()
    for _, case in ipairs {
      { function(ws) ws:send(1, "3") end, "unexpected packet" },
      { function(ws) ws:vanish() end, "transport closed" },
      { function(ws) ws:close(1000) end, "transport closed" },
      { function(ws)
        ws:send(1, "3probe")
        s:pass(0.05)
        ws:vanish()
      end, "transport closed" },
    } do
      local get, ws = probing()
      case[1](ws)
      s:pass(0.05)
      assert.same({ "open", "upgradeError probe error: " .. case[2] }, s:news())
      s.socket:send "x"
      assert.equal("4x", s:next_request().body)
      get:respond "4y"
      assert.equal("GET", s:next_request().method)
      assert.same({ "message y" }, s:news())
      s.socket:close()
      s.server:pass(20)
      s:news()
      s.server.requests = {}
    end
  end)

  it("that is refused leaves the session on polling", function()
    local get, ws = trying()
    ws:respond("", { status = 400 })
    s:pass(0.1)
    get:respond "4x"
    s:pass(0.1)
    assert.same({ "open", "upgradeError probe error: websocket error: upgrade failed; HTTP/1.1 400 Bad Request",
      "message x" }, s:news())
  end)

  it("is waited for when the session is closed", function()
    local get, ws = probing()
    ws:send(1, "3probe")
    s:pass()
    s.socket:close()
    get:respond "6"
    s:pass()
    assert.same({ "2probe", "5" }, texts(ws))
    assert.equal("\3\232", ws.close_frame)
    assert.same({ "open", "upgrade websocket", "close forced close" }, s:news())
  end)

  it("is not tried where it is not wanted or not offered", function()
    for _, case in ipairs {
      { { upgrade = false }, '"websocket"' }, { {}, "" }, { { transports = { "polling" } }, '"websocket"' },
      { {}, '"polling", null, 1, "webtransport"' },
    } do
      s:polling(case[1], { upgrades = case[2] })
      s:pass(0.1)
      assert.is_nil(s.server.requests[1])
    end
  end)

  it("is remembered, if it is to be", function()
    s:websocket()
    for _, case in ipairs { { true, "websocket" }, { false, "polling" } } do
      s:connect { rememberUpgrade = case[1] }
      assert.equal(case[2], s:next_request().query.transport)
    end
  end)
end)
