-- What luws.record writes of connections: rows at the boundary of a program, in order, and nothing secret.

local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"
local unpack = require "spec.support.compat".unpack
local WebSocket = require "luws.websocket"

local URL = "ws://hub.test/events"

--- Returns the lines of a recording as dump has them, without numbers and times.
local function said(rec)
  local lines = {}
  for line in rec:dump():gmatch "[^\n]+" do lines[#lines + 1] = line:match "^%s*%d+%s+[%d.]+%s+(.*)$" end
  return lines
end

describe("a recording", function()
  local net, server, rec

  before_each(function()
    net = mock.net()
    server = net:listen(URL, { subprotocols = { "v2" } })
    rec = record.new { clock = net }
  end)

  local function open(handler, options, name)
    options = rec:options(net:options(options))
    return assert(luws.wsopen(URL, rec:handler(name or "a", handler), options))
  end

  it("has a row for everything that a program does and hears, before its handler has it", function()
    local seen = {}
    local conn = open(function(conn, opcode, data)
      seen[#seen + 1] = { opcode, data, rec:count() }
      if data == "question" then luws.wssend(conn, 1, "answer") end
    end, { subprotocols = "v2" })
    luws.wssend(conn, 1, "hello")
    luws.wssend(conn, 2, "\0\1")
    luws.wssend(conn, 9, "p")
    net:run()
    local peer = server:accept()
    peer:send "question"
    peer:send("\255", "binary")
    peer:ping "q"
    net:run()
    peer:close(4000, "bye")
    net:run()
    assert.same({
      "a out open ws://hub.test/events",
      'a in open "v2"',
      'a out send "hello"',
      "a out send 2 bytes: 00 01",
      'a out ping "p"',
      'a in pong "p"',
      'a in message "question"',
      'a out send "answer"',
      "a in message 1 bytes: ff",
      'a in ping "q"',
      'a in close 4000 "bye" "receiver error: closed" clean=true',
    }, said(rec))
    assert.same({ { 1, "question", 7 }, { 2, "\255", 9 }, { false, "receiver error: closed", 11 } }, seen)
    net:finish()
  end)

  it("says which rows were not the work of a handler", function()
    local conn = open(function(conn) luws.wssend(conn, 1, "inside") end)
    luws.wssend(conn, 1, "outside")
    server:accept():send "x"
    net:run()
    local outside = {}
    for row in rec:rows { dir = "out", kind = "send" } do outside[row.data] = row.outside or false end
    assert.same({ outside = true, inside = false }, outside)
  end)

  it("goes by its clock, in microseconds, and clock() is the time of the newest row", function()
    local conn = open(nil)
    net:advance(1.5)
    luws.wssend(conn, 1, "x")
    net:advance(0.0000004)
    luws.wssend(conn, 1, "y")
    net:advance(3)
    assert.same({ 1.5, 1.5, 1.5 }, { rec:row(3).t, rec:row(4).t, rec.clock() })
  end)

  it("tells a program's own close, and its final code where the reactor knows it", function()
    local conn = open(nil)
    luws.wsclose(conn, 1001, "away")
    net:advance(2)
    assert.same({ 'a out close 1001 "away"', 'a in close 1001 clean=true' }, { unpack(said(rec), 3) })
    assert.is_nil(rec:row(4).error)
  end)

  it("tells silence and what was not sent", function()
    local conn = open(nil, { receive_timeout = 5 })
    luws.wssend(conn, 1, "\255")
    net:advance(6)
    assert.same({
      'a out send "\255" "send error: a text message must be valid UTF-8"', 'a in error "message timeout"',
    }, { unpack(said(rec), 3) })
    assert.same({ "/w==", "text" }, { rec:row(3).base64, rec:row(3).as })
  end)

  it("passes everything on to the program's own functions", function()
    local told = {}
    local function note(what) return function(...) told[#told + 1] = { what, select("#", ...), select(2, ...) } end end
    local conn = open(note "message", {
      open_handler = note "open", close_handler = note "close", send_handler = note "send",
      control_handler = function(...)
        note "control"(...)
        return false -- so that the close frame is not answered
      end,
      handler_args = { "extra" },
    })
    local peer = server:accept()
    peer:send "x"
    peer:ping "p"
    luws.wssend(conn, 1, "y")
    peer:close(1000, "bye")
    net:run()
    luws.wsclose(conn)
    net:advance(1)
    assert.same({
      { "send", 4, 1, "y" }, { "open", 1 }, { "message", 4, 1, "x", "extra" }, { "control", 4, 9, "p", "extra" },
      { "control", 4, 8, "\3\232bye", "extra" }, { "send", 4, 8, "\3\232" }, { "close", 1 },
    }, told)
    assert.same({}, peer.pongs)
    local kinds = {}
    for row in rec:rows { dir = "in" } do kinds[#kinds + 1] = row.kind end
    assert.same({ "open", "message", "ping", "closing", "close", "over" }, kinds)
  end)

  it("lets the errors of handlers through", function()
    open(function() error "oops" end)
    server:accept():send "x"
    local lines = log.capture(function() pcall(net.run, net) end)
    assert.truthy(lines[1]:find("oops", 1, true))
    assert.truthy(lines[1]:find("rows_spec.lua", 1, true))
    -- What follows is not taken for the work of that handler.
    rec:note "outside"
    assert.is_true(rec:row(rec:count()).outside)
  end)

  it("follows a connection that comes back", function()
    open(nil, { reconnect = true, wait = false })
    net:run()
    server:accept():drop()
    net:advance(5)
    server:accept():send "again"
    net:run()
    local kinds = {}
    for row in rec:rows() do kinds[#kinds + 1] = row.dir .. " " .. row.kind end
    assert.same({ "out open", "in open", "in close", "in open", "in message" }, kinds)
  end)

  it("tells what wsopen could not open", function()
    net:refuse "down.test"
    assert.is_false(rec:wsopen("a", "ws://me:secret@down.test/", print, net:options()))
    net:listen("ws://hub.test/no", { respond = { status = 401 } })
    local conn, why, response = rec:wsopen("b", "ws://hub.test/no", print, net:options())
    assert.same({ false, "upgrade failed; HTTP/1.1 401 Unauthorized", 401 }, { conn, why, response.status })
    assert.same({
      "a out open ws://(hidden)@down.test/",
      'a in close 1006 "Connection to down.test:80 failed: connection refused" clean=false',
      "b out open ws://hub.test/no", 'b in close 1006 "' .. why .. '" status=401 clean=false',
    }, said(rec))
  end)

  it("records a WebSocket object, whatever is attached to it later", function()
    local ws = WebSocket(URL, "v2", net:options())
    assert.equal(ws, rec:attach(ws, "page"))
    local got = {}
    function ws.onopen() ws:send "hello" end
    function ws.onmessage(event)
      got[#got + 1] = event.data
      ws:send({ 0, 255 })
    end
    net:run()
    local peer = server:accept()
    peer:send "on"
    net:run()
    ws:send(7)
    ws:ping "p"
    ws:close(4001, "bye")
    ws:send "late"
    net:settle()
    assert.same({ "on" }, got)
    assert.same({ "hello", "\0\255", "7" }, peer:received())
    assert.same({
      "page out open ws://hub.test/events", 'page in open "v2"', 'page out send "hello"', 'page in message "on"',
      "page out send 2 bytes: 00 ff", 'page out send "7"', 'page out ping "p"', 'page out close 4001 "bye"',
      'page out send "late" "not connected"', 'page in close 4001 clean=true',
    }, said(rec))
    local inside = {}
    for row in rec:rows { dir = "out", kind = "send" } do inside[#inside + 1] = not row.outside end
    assert.same({ true, true, false, false }, inside)
    assert.is_false((pcall(ws.send, ws, {}, {})))
    assert.is_false((pcall(rec.attach, rec, {})))
  end)

  it("keeps what is noted, and numbers from its seed", function()
    assert.equal(21, rec:note(21))
    assert.equal("read", rec:note(function() return "read" end))
    local given = { list = { 1 } }
    rec:note(given)
    given.list[1] = 2
    assert.same({ 21, "read", { list = { 1 } } }, { rec:row(1).note, rec:row(2).note, rec:row(3).note })
    assert.is_false((pcall(rec.note, rec, { print })))
    local one, two = record.new { seed = 3 }, record.new { seed = 3 }
    local numbers = {}
    for i = 1, 100 do
      numbers[i] = one:random(6)
      assert.equal(numbers[i], two:random(1, 6))
    end
    table.sort(numbers)
    assert.same({ 1, 6 }, { numbers[1], numbers[100] })
    assert.is_true(one:random() < 1)
  end)

  it("has no credentials in it, wherever they come from", function()
    rec:wsopen("a", "ws://me:pass@hub.test/events?token=t1&room=5", nil, net:options {
      upgrade_headers = { Authorization = "Bearer t2", Cookie = "c=t3" }, auth = { bearer = "t4" },
    })
    rec:note { Authorization = "t5", ["Proxy-Authorization"] = "t6", cookie = "t7", auth = { password = "t8" },
      ssl_password = "t9", proxy = "http://u:t10@p/", ssl = { key = "t11" }, url = "wss://u:t12@h/?access_token=t13",
      list = { { api_key = "t14" } } }
    net:run()
    local text = rec:dump() .. luws.dump(rec:row(3)) .. luws.dump(rec:state())
    assert.is_nil(text:match "t%d+", text)
    assert.equal("ws://(hidden)@hub.test/events?(hidden)", rec:row(1).url)
  end)

  it("keeps of a row what redact leaves", function()
    rec = record.new { clock = net, redact = function(row)
      if row.kind == "message" then row.text = row.text:gsub("%d", "#") end
      if row.data == "oops" then error "in redact" end
    end }
    local got = {}
    local conn = open(function(_, _, data) got[#got + 1] = data end)
    server:accept():send "pin 1234"
    net:run()
    local lines = log.capture(function() luws.wssend(conn, 1, "oops") end)
    assert.same({ "pin 1234" }, got)
    assert.equal("pin ####", rec:row(3).text)
    assert.same({ nil, "send" }, { rec:row(4).text, rec:row(4).kind })
    assert.truthy(lines[1]:find("the redact of a record raised an error", 1, true))
  end)

  it("takes a bounded part of memory", function()
    rec = record.new { memory = 10000 }
    for i = 1, 2500 do rec:write { ["in"] = "message", conn = "a", text = "message " .. i } end
    assert.equal(2500, rec:state().conns.a.received)
    assert.same({ nil, "it is not in memory any more" }, { rec:row(1) })
    assert.same({ nil, "the rows before it are not in memory any more" }, { rec:state(1500) })
    local first = rec:rows()()
    assert.is_true(first.row > 2400 and first.row < 2500)
    assert.same({ nil, "its first rows are not in memory any more; load the file" }, { rec:replay() })
  end)

  it("refuses what cannot be recorded, at the call", function()
    for _, case in ipairs {
      { "bad option 'sink' (messages that go to a sink cannot be recorded)",
        function() rec:options { sink = print } end },
      { "bad argument #1 to 'handler' (string expected, got nil)", function() rec:handler(nil, print) end },
      { "bad argument #2 to 'handler' (function expected, got number)", function() rec:handler("a", 5) end },
      { "new: unknown option 'path'", function() record.new { path = "x" } end },
      { "new: bad option 'memory' (a number of at least 0 expected, got -1)",
        function() record.new { memory = -1 } end },
      { "new: bad option 'clock' (a function or a world expected, got number)",
        function() record.new { clock = 1 } end },
      { "new: bad option 'flush' ('row' or 'close' expected, got 'never')",
        function() record.new { flush = "never" } end },
      { "rows: unknown option 'direction'", function() rec:rows { direction = "in" } end },
    } do
      local ok, err = pcall(case[2])
      assert.is_false(ok)
      assert.equal(case[1], (err:gsub("^[^:]+:%d+: ", "")))
      assert.truthy(err:find("rows_spec.lua:", 1, true), err)
    end
  end)

  it("costs nothing where it is not used", function()
    local conn = assert(luws.wsopen(URL, nil, net:options()))
    luws.wssend(conn, 1, "x")
    assert.equal(0, rec:count())
  end)
end)
