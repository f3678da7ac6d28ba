-- How sessions of the server of luws.engineio go over from polling to a WebSocket, over real sockets: what is lost
-- meanwhile, which is nothing, and what becomes of attempts that fail.

local engine = require "spec.support.engine"

local rest, till = engine.rest, engine.till

after_each(engine.over)

describe("an upgrade", function()
  --- Returns an engine, the name of a session, and a WebSocket for it.
  local function trying(options)
    local e = engine.start(options)
    local sid = e:handshake()
    return e, sid, e:websocket("transport=websocket&sid=" .. sid)
  end

  --- Returns the same, and the WebSocket has probed.
  local function probing(options)
    local e, sid, ws = trying(options)
    ws:send(1, "2probe")
    assert.same({ "3probe" }, ws:await(1))
    return e, sid, ws
  end

  it("frees the GET that waits, and loses nothing", function()
    local e, sid, ws = probing()
    local answer = e:poll(sid)
    assert.equal("6", till(answer).body)
    e.sockets[1]:send "kept"
    assert.equal("4kept", till((e:poll(sid))).body) -- polling carries it until the end
    e.sockets[1]:send "later"
    ws:send(1, "5")
    ws:send(1, "4first")
    assert.same({ "3probe", "4later" }, ws:await(2))
    till(function() return #e.seen == 2 end)
    assert.same({ "upgrade websocket", "message first" }, e:news())
    assert.equal("websocket", e.sockets[1].transport.name)
    local response = e:get("transport=polling&sid=" .. sid)
    assert.same({ 400, '{"code":3,"message":"Bad request"}' }, { response.status, response.body })
    assert.equal("TRANSPORT_MISMATCH", e.errors[1][3])
    local another = e:websocket("transport=websocket&sid=" .. sid)
    till(function() return another.over end)
    ws:send(1, "4still")
    till(function() return #e.seen > 0 end)
    assert.same({ "message still" }, e:news())
  end)

  it("is not disturbed by a second one, which is closed", function()
    local e, sid, ws = probing()
    local second = e:websocket("transport=websocket&sid=" .. sid)
    till(function() return second.over end)
    ws:send(1, "5")
    ws:send(1, "4a")
    till(function() return #e.seen == 2 end)
    assert.same({ "upgrade websocket", "message a" }, e:news())
    assert.same({ "3probe" }, ws.messages)
  end)

  it("may be ended before its probe is answered", function()
    local e, sid, ws = trying()
    ws:send(1, "2probe")
    ws:send(1, "5")
    ws:send(1, "4a")
    till(function() return #e.seen == 2 end)
    assert.same({ "upgrade websocket", "message a" }, e:news())
    assert.equal(400, e:get("transport=polling&sid=" .. sid).status)
    e.sockets[1]:send "b"
    assert.same({ "3probe", "4b" }, ws:await(2))
  end)

  it("that does not succeed leaves the session as it is", function()
    for _, case in ipairs {
      function(_, _, ws) ws:send(1, "4x") end, function(_, _, ws) ws:close() end, function() end,
    } do
      local e, sid, ws = probing { upgradeTimeout = 150 }
      case(e, sid, ws)
      till(function() return ws.over or ws.conn.closing end)
      rest(0.05)
      assert.same({}, e:news())
      e.sockets[1]:send "x"
      assert.equal("4x", till((e:poll(sid))).body)
      assert.equal("ok", e:post(sid, "4y").body)
      assert.same({ "message y" }, e:news())
    end
  end)

  it("that does not begin with a probe is closed", function()
    local e, sid, ws = trying()
    ws:send(1, "4x")
    till(function() return ws.over end)
    assert.equal("ok", e:post(sid, "4y").body)
    assert.same({ "message y" }, e:news())
  end)

  it("is finished before the session is closed", function()
    local e, _, ws = probing()
    e.sockets[1]:send "last"
    e.sockets[1]:close()
    ws:send(1, "5")
    till(function() return ws.over end)
    assert.same({ "3probe", "4last" }, ws.messages)
    assert.same({ "upgrade websocket", "close forced close" }, e:news())
  end)
end)
