-- The outbox of a recording: messages that are sent until they are acknowledged.

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
