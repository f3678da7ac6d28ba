-- A server of luws.mock that says what the peer of a recording has said.

local files = require "spec.support.files"
local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"
local WebSocket = require "luws.websocket"

local URL = "ws://hub.test/"

describe("a mock peer from a recording", function()
  local path

  --- Records a conversation with a server that asks, waits and closes.
  setup(function()
    path = files.unused()
    local net = mock.net()
    local server = net:listen("ws://real.test/feed", { subprotocols = { "v2" } })
    net:listen("ws://real.test/other", mock.echo())
    local rec = record.new { file = path, clock = net }
    local conn = rec:wsopen("a", "ws://real.test/feed", function(conn, opcode, data)
      if opcode then luws.wssend(conn, 1, "re " .. data) end
    end, net:options { subprotocols = "v2" })
    local noise = rec:wsopen("b", "ws://real.test/other", nil, net:options())
    net:run()
    local peer = server:accept()
    net:advance(2)
    peer:send "first"
    luws.wssend(noise, 1, "noise")
    net:advance(3)
    peer:send("\1\2", "binary")
    net:run()
    luws.wssend(conn, 1, "own")
    net:advance(1)
    peer:ping "p"
    peer:send "last"
    net:run()
    peer:close(4000, "done")
    net:settle()
    rec:close()
  end)

  teardown(function() os.remove(path) end)

  it("says what was said, after what it was said after, and after the same time", function()
    local net = mock.net()
    local server = net:listen("ws://real.test/feed", { record = path, subprotocols = {} })
    local told = {}
    local conn = luws.wsopen("ws://real.test/feed", function(conn, opcode, data)
      told[#told + 1] = { net:now(), opcode, data }
      if opcode then luws.wssend(conn, 1, "re " .. data) end
    end, net:options { subprotocols = "v2" })
    assert.equal("v2", conn.subprotocol)
    net:advance(1.9)
    assert.same({}, told)
    net:advance(20)
    assert.same({ { 2, 1, "first" }, { 5, 2, "\1\2" } }, told) -- it has not heard the program's own message yet
    luws.wssend(conn, 1, "own")
    net:settle()
    assert.same({ { 22.9, 1, "last" }, { 22.9, false, "receiver error: closed" } },
      { { math.floor(told[3][1] * 10 + 0.5) / 10, told[3][2], told[3][3] },
        { math.floor(told[4][1] * 10 + 0.5) / 10, told[4][2], told[4][3] } })
    assert.same({ 4000, "done", true }, { conn.close_code, conn.close_reason, conn.was_clean })
    assert.equal(1, server.attempts)
    net:finish()
  end)

  it("is there for WebSocket objects, and at another URL", function()
    local net = mock.net()
    local rec = record.load(path)
    net:listen("ws://copy.test/", { record = rec })
    local told = {}
    local ws = WebSocket("ws://copy.test/", "v2", net:options())
    function ws.onmessage(event)
      told[#told + 1] = event.data
      ws:send("re " .. event.data)
    end
    net:advance(10)
    ws:send "own"
    net:settle()
    assert.same({ "first", "\1\2", "last" }, told)
  end)

  it("refuses again, drops again, and says nothing once the recording is over", function()
    local net = mock.net()
    local real = net:listen("ws://hub.test/", { respond = { status = 401 } })
    local rec = record.new { clock = net }
    assert.is_false(rec:wsopen("a", "ws://hub.test/", nil, net:options()))
    real.respond = nil
    rec:wsopen("a", "ws://hub.test/", nil, net:options())
    net:run()
    real:accept():drop()
    net:run()
    net = mock.net()
    local server = net:listen("ws://hub.test/", { record = rec })
    local ok, why, response = luws.wsopen("ws://hub.test/", nil, net:options())
    assert.same({ false, "upgrade failed; HTTP/1.1 401 Unauthorized", 401 }, { ok, why, response.status })
    local conn = luws.wsopen("ws://hub.test/", nil, net:options())
    net:run()
    assert.same({ 1006, false }, { conn.close_code, conn.was_clean })
    conn = luws.wsopen("ws://hub.test/", nil, net:options())
    net:run()
    assert.is_true(conn.connected)
    assert.equal(3, server.attempts)
  end)

  it("compares what the client says, if that is wanted", function()
    for _, case in ipairs {
      { { "re first", "re \1\2", "own", "re last" } },
      { { "re first", "re \1\2", "other", "re last" },
        'message 3 to ws://real.test/feed: got "other", which is not row 11: a out send "own"' },
      { { "re first", { "re \1\2", "binary" }, "own", "re last" },
        'message 2 to ws://real.test/feed: got "re \\001\\002", which is not row 10: a out send "re \\001\\002"' },
      { { "re first", "re \1\2", "own" },
        "the peer at ws://real.test/feed: more messages are expected: 1\n"
          .. "the peer at ws://real.test/feed: the connection is still open" },
      { { "re first", "re \1\2", "own", "re last", "more" },
        "the peer at ws://real.test/feed: message 5 is not in the recording" },
    } do
      local net = mock.net()
      net:listen("ws://real.test/feed", { record = path, compare = "strict" })
      local ws = WebSocket("ws://real.test/feed", "v2", net:options())
      local ok, err = pcall(function()
        net:advance(0)
        for _, message in ipairs(case[1]) do
          if type(message) == "string" then message = { message } end
          ws:send(message[1], message[2])
        end
        net:advance(60)
        net:finish()
      end)
      assert.same({ case[2] == nil, case[2] }, { ok, err and err:gsub("^[%w/_]+%.lua:%d+: ", "") or nil })
    end
  end)

  it("needs a recording", function()
    local net = mock.net()
    for _, case in ipairs {
      { 5, "listen: bad option 'record' (a file or a recording expected, got number)" },
      { "/nowhere", "listen: the record /nowhere cannot be read: there is no such file" },
    } do
      local ok, err = pcall(net.listen, net, URL, { record = case[1] })
      assert.same({ false, case[2] }, { ok, (err:gsub("^[^:]+:%d+: ", "")) })
    end
  end)
end)
