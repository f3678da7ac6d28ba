-- Handlers as data: functions of the state and a row that return what is to be done.

local log = require "spec.support.log"
local mock = require "luws.mock"
local record = require "luws.record"
local said = require "spec.support.recorded".said
local unpack = require "spec.support.compat".unpack
local WebSocket = require "luws.websocket"

local URL = "ws://hub.test/"

describe("handlers as data", function()
  local net, server, rec

  before_each(function()
    net = mock.net()
    server = net:listen(URL)
    rec = record.new { clock = net, options = net:options() }
  end)

  it("return effects, which are performed and become rows", function()
    rec:on("open", function(_, row) return { out = "send", conn = row.conn, text = "hello" } end)
    rec:on("message", function(state, row)
      return {
        { out = "send", conn = row.conn, text = "message " .. state.conns[row.conn].received },
        { out = "send", conn = row.conn, binary = row.data },
        { out = "ping", conn = row.conn, text = "p" },
        row.data == "end" and { out = "close", conn = row.conn, code = 1001, reason = "bye" } or nil,
      }
    end)
    rec:wsopen("a", URL, nil, net:options())
    net:run()
    local peer = server:accept()
    peer:send "one"
    peer:send "end"
    net:settle()
    assert.same({ "hello", "message 1", "one", "message 2", "end" }, peer:received())
    assert.equal(1001, peer.closed.code)
    assert.same({
      "out open", "in open", "out send hello", "in message one", "out send message 1", "out send one", "out ping p",
      "in message end", "out send message 2", "out send end", "out ping p", "out close", "in close",
    }, { unpack(said(rec), 1, 13) })
    assert.is_nil(rec:row(3).outside)
    assert.same({ true, rec:count() }, { rec:replay() })
    net:finish()
  end)

  it("are compared in a replay, and perform nothing", function()
    local answer = "yes"
    rec:on("message", function(_, row) return { { out = "send", conn = row.conn, text = answer } } end)
    rec:wsopen("a", URL, nil, net:options())
    server:accept():send "?"
    net:run()
    assert.is_true(rec:replay())
    answer = "no"
    local ok, text = rec:replay()
    assert.same({ nil, 'row 4: expected a out send "yes", got a out send "no"' }, { ok, text })
    net:run()
    assert.equal(4, rec:count())
  end)

  it("are never called within one another: what comes meanwhile waits", function()
    local depth, deepest, order = 0, 0, {}
    local function handler(name, effects)
      return function(_, row)
        depth = depth + 1
        deepest = math.max(deepest, depth)
        order[#order + 1] = name .. (row.x or "")
        if name == "first" then
          rec:call("second", { x = 1 })
          rec:note "inside"
        end
        depth = depth - 1
        return effects
      end
    end
    rec:on("first", handler("first", { { call = "second", x = 2 }, { note = "effect" } }))
    rec:on("second", handler("second", nil))
    rec:on("note", handler("note", nil))
    rec:call "first"
    assert.equal(1, deepest)
    assert.same({ "first", "second1", "note", "second2", "note" }, order)
    assert.same({ "call first", "call second", "note inside", "call second", "note effect" }, said(rec))
  end)

  it("see the state as it was at their row", function()
    local seen = {}
    rec:on("note", function(state, row)
      seen[#seen + 1] = { row.row, state.rows }
      if row.note == 1 then
        rec:note(2)
        rec:note(3)
      end
    end)
    rec:note(1)
    assert.same({ { 1, 1 }, { 2, 2 }, { 3, 3 } }, seen)
  end)

  it("open connections", function()
    local other = net:listen("ws://other.test/", { subprotocols = { "v2" } })
    rec:on("go", function() return { out = "open", conn = "b", url = "ws://other.test/", protocols = { "v2" } } end)
    rec:on("open", function(_, row) return { out = "send", conn = row.conn, text = row.protocol } end)
    rec:call "go"
    net:run()
    assert.equal("v2", other:accept():received(1))
    assert.same({ "call go", "out open", "in open", "out send v2" }, said(rec))
    assert.is_true(rec:replay())
  end)

  it("send over a WebSocket object, too", function()
    rec:on("open", function(_, row) return { out = "send", conn = row.conn, text = "hello" } end)
    local ws = rec:attach(WebSocket(URL, nil, net:options()), "page")
    net:run()
    assert.equal("hello", server:accept():received(1))
    assert.same({ "out open", "in open", "out send hello" }, said(rec))
    ws:close()
  end)

  it("say in a row what could not be done", function()
    rec:on("go", function() return { { out = "send", conn = "a", text = "x" }, { out = "close", conn = "a" } } end)
    rec:call "go"
    assert.same({ "not connected", "not connected" }, { rec:row(2).error, rec:row(3).error })
  end)

  it("say so, too, where an object or a URL refuses", function()
    rec:on("go", function()
      return {
        { out = "pong", conn = "page", text = "x" }, { out = "send", conn = "page", text = "\255" },
        { out = "ping", conn = "page", text = ("x"):rep(126) }, { out = "close", conn = "page", code = 1001 },
        { out = "open", conn = "b", url = "http://x/" }, { out = "send", conn = "page", text = "last" },
      }
    end)
    local ws = rec:attach(WebSocket(URL, nil, net:options()), "page")
    net:run()
    rec:call "go"
    net:run()
    local errors = {}
    for row in rec:rows { dir = "out", from = 4 } do errors[#errors + 1] = row.kind .. ": " .. tostring(row.error) end
    assert.same({
      "pong: a WebSocket object sends no pongs",
      "send: bad argument #1 to 'send' (the text is not UTF-8; send bytes as \"binary\")",
      "ping: bad argument #1 to 'ping' (at most 125 bytes expected)",
      "close: InvalidAccessError: the code is 1000, or from 3000 to 4999, and not 1001",
      "open: it does not begin with ws:// or wss://", "send: nil",
    }, errors)
    assert.same({ "last" }, server:accept():received())
    assert.equal("closed", rec:state().conns.b.state)
    assert.is_true((rec:replay()))
    ws:close()
  end)

  it("that fail or return nonsense are logged, and nothing else happens", function()
    rec:on("fails", function() error "oops" end)
    rec:on("numbers", function() return { 5, { out = "shout", conn = "a" }, { out = "send", text = "x" },
      { out = "open", conn = "a" }, { out = "send", conn = "a" }, { call = "x", row = 5 }, { call = 5 },
      { out = "send", conn = "a", text = "x", note = 1 } } end)
    local lines = log.capture(function()
      rec:call "fails"
      rec:call "numbers"
    end)
    assert.truthy(lines[1]:find("the handler 'fails' of a record raised an error", 1, true))
    local wrong = {}
    for i = 2, #lines do wrong[i - 1] = lines[i]:match "returned what cannot be done: (.*)" end
    assert.same({
      "an effect is a table, got number",
      "an effect has out = 'send', 'ping', 'pong', 'close' or 'open', or call, or note",
      "an effect names its connection (conn)", "an effect that opens has a url",
      "an effect that sends has text or binary", "the field 'row' is not a call's", "call: string expected, got number",
      "an effect has one of out, call and note",
    }, wrong)
    assert.equal(2, rec:count())
  end)
end)
