-- Handlers as data, outboxes, heartbeats, and the mock peer from a recording.

local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"
local unpack = require "spec.support.compat".unpack
local WebSocket = require "luws.websocket"

local URL = "ws://hub.test/"

--- Returns the kinds of rows of a recording, with what they carry.
local function said(rec, from)
  local list = {}
  for row in rec:rows { from = from or 1 } do
    list[#list + 1] = ("%s%s %s"):format(row.dir and row.dir .. " " or "", row.kind,
      row.data or row.call or type(row.note) ~= "table" and row.note or ""):gsub("%s+$", "")
  end
  return list
end

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

  it("that fail or return nonsense are logged, and nothing else happens", function()
    rec:on("fails", function() error "oops" end)
    rec:on("numbers", function() return { 5, { out = "shout", conn = "a" }, { out = "send", text = "x" },
      { out = "open", conn = "a" }, { out = "send", conn = "a" } } end)
    local lines = log.capture(function()
      rec:call "fails"
      rec:call "numbers"
    end)
    assert.truthy(lines[1]:find("the handler 'fails' of a record raised an error", 1, true))
    local wrong = {}
    for i = 2, #lines do wrong[i - 1] = lines[i]:match "returned what cannot be done: (.*)" end
    assert.same({
      "an effect is a table, got number",
      'an effect has out = "send", "ping", "pong", "close" or "open", or call, or note',
      "an effect names its connection (conn)", "an effect that opens has a url",
      "an effect that sends has text or binary",
    }, wrong)
    assert.equal(2, rec:count())
  end)
end)

describe("an outbox", function()
  local net, server, rec, box

  --- Returns the id and the text of a message.
  local function read(data) return tonumber(data:match "^(%d+) "), data:match " (.*)$" end

  local function options(given)
    local result = {
      conn = "a", stamp = function(data, id) return id .. " " .. data end,
      ack = function(data) return tonumber(data:match "^ack (%d+)$") end,
    }
    for name, value in pairs(given or {}) do result[name] = value end
    return result
  end

  before_each(function()
    net = mock.net()
    server = net:listen(URL)
    rec = record.new { clock = net }
    box = rec:outbox(options())
  end)

  local function open()
    return rec:wsopen("a", URL, nil, net:options { reconnect = true, wait = false })
  end

  it("keeps messages until there is a connection, and until they are acknowledged", function()
    assert.same({ 1, 2 }, { box:send "one", box:send "two" })
    open()
    net:run()
    local peer = server:accept()
    assert.same({ "1 one", "2 two" }, peer:received())
    peer:send "ack 1"
    peer:send "ack 9"
    net:run()
    assert.same({ 1, 6 }, { box:count() })
    assert.same({
      "out send 1 one", "out send 2 two", "out open", "in open", "in message ack 1", "ack", "in message ack 9",
    }, said(rec))
    assert.same({ "pending", 1, 1 }, { rec:row(1).ack, rec:row(1).id, rec:row(6).ack })
  end)

  it("loses nothing and keeps the order, however often the connection is lost", function()
    local got, next_id, doubles = {}, 1, 0
    -- A peer that drops every third message unread, with the connection.
    local count, present, is_good = 0, nil, false
    server:on("message", function(peer, data)
      count, present = count + 1, peer
      if count % 3 == 0 and not is_good then return peer:drop() end
      local id, text = read(data)
      if id < next_id then
        doubles = doubles + 1
      else
        assert.equal(next_id, id)
        got[#got + 1], next_id = text, id + 1
      end
      if count % 4 ~= 0 or is_good then peer:send("ack " .. id) end
    end)
    open()
    local want = {}
    for i = 1, 40 do
      want[i] = "message " .. i
      box:send(want[i])
      net:advance(0.5)
    end
    net:advance(6000)
    is_good = true
    present:drop()
    net:advance(100)
    assert.same(want, got)
    assert.is_true(doubles > 0)
    assert.equal(0, (box:count()))
  end)

  it("goes on after a restart with what the file says", function()
    local path = os.tmpname()
    os.remove(path)
    rec = record.new { file = path, clock = net }
    box = rec:outbox(options())
    for _, text in ipairs { "one", "two", "three" } do box:send(text) end
    open()
    net:run()
    server:accept():send "ack 2"
    net:run()
    rec:close()
    net = mock.net()
    server = net:listen(URL)
    rec = assert(record.new { file = path, clock = net })
    box = rec:outbox(options())
    os.remove(path)
    assert.equal(4, box:send "four")
    open()
    net:run()
    assert.same({ "1 one", "3 three", "4 four" }, server:accept():received())
    local resent = {}
    for row in rec:rows { kind = "resend" } do resent[#resent + 1] = row.id end
    assert.same({ 1, 3 }, resent)
  end)

  it("has its limits in bytes and in seconds", function()
    local dropped = {}
    box = rec:outbox(options { limit = 20, ttl = 10, on_drop = function(...) dropped[#dropped + 1] = { ... } end })
    assert.equal(1, box:send "12345678")
    assert.same({ nil, "send error: buffer full" }, { box:send "12345678" })
    assert.same({ nil, "send error: a text message must be valid UTF-8" }, { box:send "\255" })
    net:advance(11)
    assert.equal(2, box:send "12345678")
    assert.same({ { 1, "1 12345678" } }, dropped)
    assert.same({ "out send 1 12345678", "drop", "out send 2 12345678" }, said(rec))
    assert.is_false((pcall(box.send, box, 5)))
  end)

  it("takes binary messages, and lists of acknowledgements", function()
    box = rec:outbox { conn = "a", ack = function(data) return data == "all" and { 1, 2 } or nil end }
    box:send("\0\255", "binary")
    box:send "text"
    open()
    net:run()
    local peer = server:accept()
    assert.same({ "\0\255", "text" }, peer:received())
    peer:send "all"
    net:run()
    assert.equal(0, (box:count()))
  end)

  it("waits where the connection takes no more, and goes on later", function()
    local conn = rec:wsopen("a", URL, nil, net:options { send_timeout = 0, max_buffered = 1000 })
    net:run()
    local peer = server:accept()
    peer:pause()
    for _ = 1, 5 do box:send(("x"):rep(400)) end
    assert.is_true(conn.bufferedAmount <= 1000)
    peer:resume()
    net:run()
    peer:send "ack 1"
    net:run()
    peer:send "ack 2"
    net:run()
    assert.equal(5, #peer:received())
    for i, data in ipairs(peer:received()) do assert.equal(i, (read(data))) end
  end)

  it("is replayed with the program that uses it", function()
    local function program(to)
      local out = to:outbox(options())
      return function(_, opcode, data)
        if opcode == 1 and data == "go" then out:send "going" end
      end
    end
    rec = record.new { clock = net }
    rec:wsopen("a", URL, program(rec), net:options())
    local peer = server:accept()
    peer:send "go"
    net:run()
    assert.equal("1 going", peer:received(1))
    peer:send "ack 1"
    net:run()
    local ok, text = rec:replay { handlers = { a = program(rec) } }
    assert.is_true(ok, text)
    assert.is_nil((rec:replay { handlers = { a = function() end } }))
  end)

  it("needs to know its connection and what an acknowledgement is", function()
    for _, case in ipairs {
      { {}, "outbox: the option 'conn' is missing (the name of a connection)" },
      { { conn = "a" }, "outbox: the option 'ack' is missing (a function)" },
      { { conn = "a", ack = 5 }, "outbox: bad option 'ack' (function expected, got number)" },
      { { conn = "a", ack = print, ttl = -1 }, "outbox: bad option 'ttl' (a number of at least 0 expected, got -1)" },
    } do
      local ok, err = pcall(rec.outbox, rec, case[1])
      assert.same({ false, case[2] }, { ok, (err:gsub("^[^:]+:%d+: ", "")) })
    end
  end)
end)

describe("a heartbeat", function()
  local net, server, rec

  before_each(function()
    net = mock.net()
    server = net:listen(URL, { faults = { delay = 0.25 } })
    rec = record.new { clock = net }
  end)

  it("measures round trips, and says so in rows and in the state", function()
    rec:wsopen("a", URL, nil, net:options())
    local pulse = rec:heartbeat { conn = "a", interval = 10, reactor = net.reactor }
    net:advance(25)
    assert.same({ 0.5, 0.5, 0.5, 0 }, { pulse.last, pulse.smoothed, pulse.minimum, pulse.missing })
    assert.near(0.1875, pulse.deviation, 1e-9)
    local pings = {}
    for row in rec:rows { conn = "a", kind = "ping" } do pings[#pings + 1] = { row.number, row.text } end
    assert.equal(2, #pings)
    assert.equal(1, pings[1][1])
    assert.truthy(pings[1][2]:find "^1 %d+%.%d+$")
    local state = rec:state().conns.a.rtt
    assert.same({ 0.5, 0.5, 2 }, { state.last, state.smoothed, state.count })
    assert.near(3, pulse:heard(rec:time() + 2.75), 1e-9)
    assert.near(3, pulse.skew, 1e-9)
    pulse:stop()
    net:advance(100)
    assert.equal(2, pulse.number)
  end)

  it("ends a connection whose peer answers no more, so that it comes back", function()
    server.answers = false
    rec:wsopen("a", URL, nil, net:options { reconnect = true })
    rec:heartbeat { conn = "a", interval = 10, missing = 2, reactor = net.reactor }
    net:advance(29)
    assert.equal(1, server.attempts)
    net:advance(10)
    assert.is_true(server.attempts > 1)
    local dead = {}
    for row in rec:rows { kind = "dead" } do dead[#dead + 1] = row.missing end
    assert.same({ 2 }, dead)
  end)

  it("leaves it to the program what becomes of a dead peer", function()
    server.answers = false
    local told = {}
    local conn = rec:wsopen("a", URL, nil, net:options())
    local pulse = rec:heartbeat { conn = "a", missing = 1, reactor = false, on_dead = function(...) told = { ... } end }
    pulse:turn()
    pulse:turn()
    assert.same({ conn, 1 }, told)
    assert.is_true(conn.connected)
    luws.wsclose(conn)
    pulse:turn() -- nothing is sent while it is closed
    assert.same({ nil, "not connected" }, { pulse:ping() })
  end)

  it("takes no pong twice, and none that is not its own", function()
    rec:wsopen("a", URL, nil, net:options())
    server.answers = false
    local pulse = rec:heartbeat { conn = "a", reactor = false }
    net:advance(1)
    local peer = server:accept()
    pulse:ping()
    net:advance(1)
    for _, data in ipairs { "", "x", "9 0.000000", "1 x", peer.pings[1], peer.pings[1] } do peer:pong(data) end
    net:advance(1)
    local rtts = {}
    for row in rec:rows { kind = "pong" } do rtts[#rtts + 1] = row.rtt or false end
    assert.same({ false, false, false, false, 1.25, false }, rtts)
  end)
end)

describe("a mock peer from a recording", function()
  local path

  --- Records a conversation with a server that asks, waits and closes.
  setup(function()
    path = os.tmpname()
    os.remove(path)
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
