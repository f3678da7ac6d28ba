-- The server of luws.engineio with clients of Engine.IO 3, over real sockets.

local engine = require "spec.support.engine"
local engineio = require "luws.engineio"

local rest, till = engine.rest, engine.till

after_each(engine.over)

describe("revision 3", function()
  local function start(options)
    options = options or {}
    options.allowEIO3 = true
    local e = engine.start(options)
    e.eio = "3"
    return e
  end

  it("has lengths in its payloads, and binary ones if the client takes them", function()
    for _, case in ipairs { { "", "\0\2\2554\195\169" }, { "&b64=1" } } do
      local e = start()
      local sid, response = e:handshake(case[1])
      local length, body = response.body:match "^(%d+):(.*)$"
      assert.equal(tonumber(length), #body)
      assert.equal(3, e.sockets[1].protocol)
      e:post(sid, "3:4é€6:b4AP8=")
      e:post(sid, "\0\3\2554\195\169\1\3\255\4\1\2", { ["Content-Type"] = "application/octet-stream" })
      assert.same({ "message é€", "message binary \0\255", "message é", "message binary \1\2" }, e:news())
      e.sockets[1]:send "é"
      local answer = till((e:poll(sid)))
      assert.same({ "2:4é", "text/plain; charset=UTF-8" }, { answer.body, answer.headers["content-type"] })
      e.sockets[1]:send "é":send(engineio.binary "\1\2")
      answer = till((e:poll(sid)))
      if case[2] then
        assert.same({ "\0\3\2554é\1\3\255\4\1\2", "application/octet-stream" },
          { answer.body, answer.headers["content-type"] })
      else
        assert.equal("2:4é6:b4AQI=", answer.body)
      end
    end
  end)

  it("is pinged by the client, which has interval and time-out for that", function()
    local e = start { pingInterval = 150, pingTimeout = 150 }
    local ws = e:websocket "transport=websocket"
    ws:await(1)
    for i = 1, 3 do
      rest(0.12)
      ws:send(1, "2")
      assert.equal("3", ws:await(1 + i)[1 + i])
    end
    till(function() return ws.over end)
    assert.same({ "close ping timeout" }, e:news())
  end)

  it("has a byte for the kind of a binary frame", function()
    local e = start()
    local ws = e:websocket "transport=websocket"
    ws:await(1)
    ws:send(2, "\4\1")
    till(function() return #e.seen > 0 end)
    e.sockets[1]:send(engineio.binary "\2")
    assert.same({ { "message binary \1" }, { "\4\2" } }, { e:news(), ws:await(2)[2] })
  end)

  it("cannot be mixed with revision 4", function()
    local e = start()
    local sid = e:handshake()
    e.eio = "4"
    assert.equal(400, e:post(sid, "4a").status)
    assert.same({ { 3, "Bad request", "PROTOCOL_MISMATCH" } }, e.errors)
  end)
end)
