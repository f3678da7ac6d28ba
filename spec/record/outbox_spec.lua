-- The outbox of a recording: messages that are sent until they are acknowledged.

local files = require "spec.support.files"
local log = require "spec.support.log"
local mock = require "luws.mock"
local record = require "luws.record"
local said = require "spec.support.recorded".said

local URL = "ws://hub.test/"

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
      "out send 1 one", "out send 2 two", "out open", "in open", "out resend", "out resend", "in message ack 1", "ack",
      "in message ack 9",
    }, said(rec))
    assert.same({ "pending", 1, 1, true }, { rec:row(1).ack, rec:row(1).id, rec:row(8).ack, rec:row(5).first })
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
    local path = files.unused()
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
    for row in rec:rows { kind = "resend" } do resent[#resent + 1] = row.id .. (row.first and " late" or "") end
    assert.same({ "1 late", "2 late", "3 late", "1", "3", "4 late" }, resent)
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
    assert.same({ "out send 1 12345678", "out send 2 12345678", "drop", "out send 2 12345678" }, said(rec))
    assert.equal("send error: buffer full", rec:row(2).error)
    for _, case in ipairs {
      { { 5 }, "bad argument #1 to 'send' (string expected, got number)" },
      { { "x", "bin" }, "bad argument #2 to 'send' ('text' or 'binary' expected, got 'bin')" },
    } do
      assert.error_matches(function() box:send(case[1][1], case[1][2]) end, case[2], 1, true)
    end
    box = rec:outbox(options { stamp = function() return 5 end })
    assert.error_matches(function() box:send "x" end, "the stamp of an outbox returns a string, got a number", 1, true)
  end)

  it("sends again what is not acknowledged in time, in order", function()
    box = rec:outbox(options { retry = 5, reactor = net.reactor })
    open()
    net:run()
    local peer = server:accept()
    box:send "one"
    net:advance(2)
    box:send "two"
    net:advance(2)
    peer:send "ack 1"
    net:advance(2.9)
    assert.same({ "1 one", "2 two" }, peer:received())
    net:advance(0.2) -- 5 seconds after the second
    assert.same({ "1 one", "2 two", "2 two" }, peer:received())
    box:send "three"
    net:advance(5)
    assert.same({ "2 two", "3 three" }, { peer:received(5), peer:received(6) })
    box:acknowledge(2)
    box:acknowledge(3)
    net:advance(100)
    assert.equal(6, #peer:received())
  end)

  it("drops what is too old by itself", function()
    box = rec:outbox(options { ttl = 10, reactor = net.reactor })
    box:send "one"
    net:advance(10.1)
    assert.equal(0, (box:count()))
  end)

  it("takes the place of the one before, with what waits and the ids", function()
    box:send "one"
    box:acknowledge(box:send "two")
    local other = rec:outbox(options())
    assert.same({ nil, "send error: the outbox is stopped" }, { box:send "late" })
    assert.equal(3, other:send "three")
    open()
    net:run()
    assert.same({ "1 one", "3 three" }, server:accept():received())
    other:stop()
    assert.same({ { 2, 14 }, nil }, { { other:count() }, (other:send "late") })
  end)

  it("knows what waits, and the ids, of rows that are not in memory any more", function()
    local path = files.unused()
    for round = 1, 2 do
      rec = assert(record.new { file = path, clock = net, memory = 2000 })
      box = rec:outbox(options())
      assert.equal(2 * round - 1, box:send("round " .. round))
      box:acknowledge(box:send "done")
      for i = 1, 50 do rec:note(i) end
      assert.is_true(rec.store.first > 20)
      rec:close()
    end
    os.remove(path)
    rec = record.new()
    assert.same({ 2, 2 * #"1 round 1" + 2 }, { box:count() })
  end)

  it("sends nothing again that redact has changed", function()
    local path = files.unused()
    rec = record.new { file = path, clock = net, redact = function(row) row.text = row.text and "****" end }
    rec:outbox(options()):send "secret"
    rec:close()
    rec = record.new { file = path, clock = net }
    local lines = log.capture(function() box = rec:outbox(options()) end)
    os.remove(path)
    assert.equal(0, (box:count()))
    assert.matches("message 1 of an outbox cannot be sent again", lines[1], 1, true)
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

  it("goes on by itself, too, if nothing comes", function()
    rec:wsopen("a", URL, nil, net:options { send_timeout = 0, max_buffered = 1000 })
    box = rec:outbox(options { reactor = net.reactor })
    local peer = server:accept()
    peer:pause()
    for _ = 1, 5 do box:send(("x"):rep(400)) end
    net:advance(3)
    peer:resume()
    net:advance(5)
    assert.equal(5, #peer:received())
  end)

  it("neither sends nor acknowledges anything in a replay", function()
    local function handler(_, opcode, data)
      if opcode ~= 1 then return end
      box:send("re " .. data)
      assert.equal(data == "early", box:acknowledge(1))
      box:flush()
    end
    rec:wsopen("a", URL, handler, net:options())
    local peer = server:accept()
    peer:send "early"
    net:run()
    peer:send "late"
    net:run()
    local count = rec:count()
    assert.same({ true, count }, { rec:replay { handlers = { a = handler } } })
    assert.same({ count, 1 }, { rec:count(), (box:count()) })
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
      { { conn = "a", ack = print, retry = 0 }, "outbox: bad option 'retry' (a number above 0 expected, got 0)" },
      { { conn = "a", ack = print, reactor = 5 },
        "outbox: bad option 'reactor' (a reactor or false expected, got number)" },
    } do
      local ok, err = pcall(rec.outbox, rec, case[1])
      assert.same({ false, case[2] }, { ok, (err:gsub("^[^:]+:%d+: ", "")) })
    end
  end)
end)
