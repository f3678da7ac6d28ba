-- Objects of luws.mock in the manner of the browsers'.

local mock = require "luws.mock"

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

  it("can be made again once it is closed, by its onclose, and not before", function()
    local net, received = mock.net(), {}
    local function connect(number)
      local ws = mock.WebSocket("ws://example.com", 0.1, net)
      function ws.onopen() ws.peer:send("hello " .. number) end
      function ws.onmessage(event) received[#received + 1] = event.data end
      function ws.onclose() connect(number + 1) end
      return ws
    end
    local first = connect(1)
    assert.error_matches(function() connect(2) end, "bad argument #1 to 'listen' (ws://example.com is in use)", 1, true)
    net:advance(0.3)
    first:remoteClose(1001)
    net:advance(1)
    assert.same({ "hello 1", "hello 2" }, received)
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
