-- wsreceive: each situation in the contract's table, in memory and over wss; and its timing, in memory.

local real = require "luws"
local scripted = require "spec.support.scripted"
local session = require "spec.support.session"
local world = require "spec.support.world"
local unpack = require "spec.support.compat".unpack

local CLOSED = "receiver error: closed"

--- Receives 10000 bytes, which come at once in one message, in chunks of 1000 bytes.
local function assert_chunks(s)
  s:open({ { "wait" }, { "send", "\130\126\39\16" .. ("x"):rep(10000) }, { "hold" } }, { receive_chunk_size = 1000 })
  s.peer:go()
  local results, expected = {}, {}
  repeat
    s.luws.wswait(s.conn, 5)
    local more, nb = s.luws.wsreceive(s.conn)
    if nb > 0 then results[#results + 1] = { more, nb } end -- TLS may have sent records of its own
  until s.told[1]
  for i = 1, 10 do expected[i] = { true, 1000 } end
  expected[11] = { false, 4 }
  assert.same(expected, results)
  assert.same({ { 2, ("x"):rep(10000) } }, s.told)
end

for name, new in pairs(world.places) do
  describe("wsreceive " .. name, function()
    local s, luws

    before_each(function()
      s = new()
      luws = s.luws
    end)

    after_each(function() s:close() end)

    it("says false, 0 when nothing is waiting", function()
      s:open { { "hold" } }
      luws.wsreceive(s.conn) -- TLS may have had its tickets to deliver
      assert.same({ false, 0 }, { luws.wsreceive(s.conn) })
      assert.same({}, s.told)
    end)

    it("delivers each complete message, and says how many bytes came", function()
      s:open { { "wait" }, { "send", "\129\5Hello\130\3\0\255\1" }, { "hold" } }
      luws.wsreceive(s.conn)
      s.peer:go()
      local _, more, nb = s:await(2)
      assert.same({ false, 12 }, { more, nb })
      assert.same({ { 1, "Hello" }, { 2, "\0\255\1" } }, s.told)
    end)

    it("reads at most receive_chunk_size bytes of plaintext, and then says that there may be more", function()
      assert_chunks(s)
    end)

    it("reassembles fragments and keeps the first frame's opcode", function()
      s:open { { "pieces", "\2\0\0\2ab\137\1p\128\1c", 1, 0.001 }, { "hold" } }
      s:await(1)
      assert.same({ { 2, "abc" } }, s.told)
    end)

    it("tells the handler only once that the peer has closed, and stays closed", function()
      s:open { { "close" } }
      local _, more, why = s:poll()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { false, CLOSED } }, s.told)
      assert.same({ nil, "closed" }, { luws.wsreceive(s.conn) })
      assert.equal(1, #s.told)
      assert.same({ false, 1006, "", false },
        { s.conn.connected, s.conn.close_code, s.conn.close_reason, s.conn.was_clean })
      assert.same({ false, "not connected" }, { luws.wssend(s.conn, 1, "late") })
      assert.equal(-1, s.conn.socket:getfd())
      luws.wsclose(s.conn)
      assert.same({ nil, "not connected" }, { luws.wsreceive(s.conn) })
    end)

    it("delivers what came together with the end", function()
      -- found broken in the original: data read together with the peer's FIN was lost
      s:open { { "send", "\129\4last\129\9w" }, { "close" } }
      s:poll()
      assert.same({ { 1, "last" }, { false, CLOSED } }, s.told)
    end)

    it("treats the end of the stream within a frame as the end", function()
      s:open { { "send", "\129\10half" }, { "close" } }
      local _, more, why = s:poll()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { false, CLOSED } }, s.told)
    end)

    it("treats an end without close_notify as the end, too", function()
      s:open { { "send", "\129\1a" }, { "close", notify = false } }
      local _, more, why = s:poll()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { 1, "a" }, { false, CLOSED } }, s.told)
      assert.same({ 1006, false }, { s.conn.close_code, s.conn.was_clean })
    end)

    it("treats a reset as the end", function()
      s:open { { "send", "\129\1a" }, { "wait" }, { "reset" } }
      s:await(1)
      s.peer:go()
      local _, more, why = s:poll()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { 1, "a" }, { false, CLOSED } }, s.told)
    end)

    it("notes when it last heard from the peer", function()
      s:open { { "wait" }, { "send", "\1\1a" }, { "wait" }, { "send", "\128\1b" }, { "hold" } }
      local opened = luws.wslastping(s.conn)
      assert.equal(s.conn.lastPing, opened)
      luws.sleep(0.01)
      s.peer:go()
      s:poll(function() return luws.wslastping(s.conn) > opened end)
      assert.is_true(s.conn.lastMessage == opened) -- a fragment is not a message
      luws.sleep(0.01)
      s.peer:go()
      s:await(1)
      assert.is_true(s.conn.lastMessage > opened and s.conn.lastPing == s.conn.lastMessage)
      local clock = s.world and s.world.clock or os
      assert.is_true(math.abs(clock.time() - luws.wslastping(s.conn)) < 5)
    end)

    it("fails the connection if a rule is broken: 1002, 1007, 1009", function()
      local frame = scripted.frame
      for _, case in ipairs {
        { frame { opcode = 1, payload = "x", mask = true }, 1002, "masked frame from a server" },
        { frame { opcode = 1, rsv = 4 }, 1002, "reserved bit set (RSV1)" },
        { frame { opcode = 3 }, 1002, "reserved opcode 3" },
        { frame { opcode = 0 }, 1002, "continuation frame with no message to continue" },
        { frame { opcode = 9, fin = false }, 1002, "fragmented control frame" },
        { frame { opcode = 2, payload = "x", length_form = 16 }, 1002, "payload length not in its shortest form" },
        { "\136\1x", 1002, "close frame with a body of one byte" },
        { frame { opcode = 8, payload = "\3\237" }, 1002, "invalid close code 1005" },
        { frame { opcode = 1, payload = "\255" }, 1007, "text message is not valid UTF-8" },
        { "\130\127\0\0\0\0\0\1\0\0", 1009, "message too big (over 65535 bytes: it has 65536; see max_payload_size)" },
      } do
        local bytes, code, text = unpack(case)
        s:open { { "send", "\129\2ok" .. bytes .. "\129\4lost" }, { "read_frame" }, { "read_to_eof" } }
        local _, more, why = s:poll()
        assert.same({ nil, text }, { more, why })
        assert.same({ { 1, "ok" }, { false, text } }, s.told)
        local close = s.peer:result().frames[1]
        assert.same({ 8, scripted.close_payload(code, text), true }, { close.opcode, close.payload, close.masked })
        assert.same({ false, 1006, false }, { s.conn.connected, s.conn.close_code, s.conn.was_clean })
        s.peer:close()
      end
    end)

    it("accepts a message of exactly max_payload_size, and reads the option live", function()
      local ten = scripted.frame { opcode = 2, payload = ("x"):rep(10) }
      local eleven = scripted.frame { opcode = 2, payload = ("x"):rep(11) }
      s:open({ { "send", ten }, { "wait" }, { "send", eleven }, { "wait" }, { "send", eleven }, { "hold" } },
        { max_payload_size = 10 })
      s:await(1)
      s.conn.options.max_payload_size = 11
      luws.wsreceive(s.conn)
      s.peer:go()
      s:await(2)
      s.conn.options.max_payload_size = 10
      luws.wsreceive(s.conn)
      s.peer:go()
      s:await(3)
      assert.same({ 2, ("x"):rep(11) }, s.told[2])
      assert.same({ false, "message too big (over 10 bytes: it has 11; see max_payload_size)" }, s.told[3])
    end)

    it("forgets the part of a message that has come, but not the part still to come: wsreset", function()
      s:open { { "send", "\2\20\129\2no" }, { "wait" }, { "send", ("x"):rep(16) .. "\128\1y\129\2ok" }, { "hold" } }
      luws.wswait(s.conn, 5)
      luws.wsreceive(s.conn)
      luws.wsreset(s.conn)
      s.peer:go()
      s:await(1)
      assert.same({ { 1, "ok" } }, s.told)
    end)

    it("accepts bytes from the program: wshandleincoming", function()
      s:open { { "hold" } }
      assert.is_true(luws.wshandleincoming("\129\2h", s.conn))
      assert.same({}, s.told)
      assert.is_true(luws.wshandleincoming("i\129\1x", s.conn))
      assert.same({ { 1, "hi" }, { 1, "x" } }, s.told)
      luws.wshandleincoming("\129\9partly", s.conn)
      luws.wsreset(s.conn)
      luws.wshandleincoming("\129\2ok", s.conn)
      assert.same({ 1, "ok" }, s.told[3])
      assert.same({ nil, "bad argument #1 to 'wshandleincoming' (string expected, got nil)" },
        { luws.wshandleincoming(nil, s.conn) })
    end)

    it("applies the current max_payload_size to them, even before any wsreceive: wshandleincoming", function()
      local big = "message too big (over 2 bytes: it has 4; see max_payload_size)"
      for limit, case in pairs { [2] = { { nil, big }, { false, big } }, [4] = { { true }, { 1, "abcd" } } } do
        s:open({ { "hold" } }, { max_payload_size = 3 })
        s.conn.options.max_payload_size = limit
        assert.same(case[1], { luws.wshandleincoming("\129\4abcd", s.conn) })
        assert.same({ case[2] }, s.told)
        luws.wsclose(s.conn)
        s.peer:close()
      end
    end)
  end)
end

describe("wsreceive's receive_timeout", function()
  local s, luws, clock

  before_each(function()
    s = world.session()
    luws, clock = s.luws, s.world.clock
  end)

  after_each(function() s:close() end)

  --- Receives every 10 ms until done(); returns the last results of wsreceive, and the time.
  local function receive_until(done)
    local more, why
    repeat
      clock.sleep(0.01)
      more, why = luws.wsreceive(s.conn)
    until done()
    return more, why, clock.now()
  end

  it("passes when no message has come for that long, which does not end the connection", function()
    s:open({ { "wait" }, { "send", "\129\2ok" }, { "hold" } }, { receive_timeout = 0.25 })
    clock.sleep(0.24)
    assert.same({ false, 0 }, { luws.wsreceive(s.conn) })
    clock.sleep(0.02)
    assert.same({ nil, "message timeout" }, { luws.wsreceive(s.conn) })
    assert.same({ { false, "message timeout" } }, s.told)
    assert.is_true(s.conn.connected)
    -- It is reported again only when the time has passed again.
    assert.same({ false, 0 }, { luws.wsreceive(s.conn) })
    clock.sleep(0.26)
    assert.same({ nil, "message timeout" }, { luws.wsreceive(s.conn) })
    s.peer:go()
    s:await(3)
    assert.same({ 1, "ok" }, s.told[3])
  end)

  it("passes when half a frame has come, and then nothing; not while its bytes come, however slowly", function()
    -- 204 of 260 bytes, one in 20 ms
    s:open({ { "drip", "\130\126\1\0" .. ("x"):rep(200), 0.02 }, { "hold" } }, { receive_timeout = 0.205 })
    local before = luws.wslastping(s.conn)
    local more, why, now = receive_until(function() return s.told[1] end)
    assert.same({ nil, "message timeout" }, { more, why })
    assert.same({ { false, "message timeout" } }, s.told)
    assert.near(203 * 0.02 + 0.21, now, 0.011)
    assert.equal(before, luws.wslastping(s.conn)) -- it is the time of the last complete frame
  end)

  it("does not pass while the pieces of a message come to a sink, nor while a sink takes its time", function()
    local size = 0
    s:open({ { "drip", "\2\126\0\200" .. ("x"):rep(200), 0.1 }, { "hold" } }, {
      receive_timeout = 0.25,
      sink = function()
        return function(piece)
          size = size + #piece
          if size == 100 then clock.sleep(1) end
          return 1
        end
      end,
    })
    receive_until(function() return size == 200 or s.told[1] end)
    assert.same({ 200, {} }, { size, s.told })
  end)

  it("does not pass for a peer that sends fragments without an end: it is not silent", function()
    s:open({ { "send", "\1\0" }, { "pieces", ("\0\0"):rep(100), 2, 0.1 }, { "hold" } }, { receive_timeout = 0.25 })
    local before = s.conn.lastMessage
    local _, why, now = receive_until(function() return s.told[1] end)
    assert.same({ "message timeout", true }, { why, now > 10 })
    assert.equal(before, s.conn.lastMessage) -- by this a program can tell
  end)

  it("counts what a wssend has read while it waited, and what wshandleincoming was given", function()
    s:open({ receive_buffer = 0, { "sleep", 0.4 }, { "send", "\130\9half" }, { "wait" } },
      { receive_timeout = 0.5, send_timeout = 0.45 })
    assert.same({ false, "send error: timeout" }, { luws.wssend(s.conn, 1, "x") })
    clock.sleep(0.3) -- until 0.75 s
    assert.same({ false, 6 }, { luws.wsreceive(s.conn) })
    assert.is_true(luws.wshandleincoming("y", s.conn))
    clock.sleep(0.45)
    assert.same({ false, 0 }, { luws.wsreceive(s.conn) })
    clock.sleep(0.1)
    assert.same({ nil, "message timeout" }, { luws.wsreceive(s.conn) })
  end)

  it("wakes wswait, once, while half a frame waits for the rest", function()
    s:open({ { "send", "\137\125xyz" }, { "hold" } }, { receive_timeout = 0.5 })
    assert.is_true(luws.wswait(s.conn, 5))
    assert.same({ false, 5 }, { luws.wsreceive(s.conn) })
    assert.is_true(luws.wswait(s.conn, 5))
    assert.equal(0.5, clock.now())
    assert.same({ nil, "message timeout" }, { luws.wsreceive(s.conn) })
  end)

  it("begins again with a control frame or a fragment", function()
    local steps = {}
    for i = 1, 6 do
      steps[#steps + 1] = i % 2 == 0 and { "send", "\137\0" } or { "send", "\1\1a\128\0" }
      steps[#steps + 1] = { "sleep", 0.15 }
    end
    steps[#steps + 1] = { "send", "\129\3end" }
    steps[#steps + 1] = { "hold" }
    s:open(steps, { receive_timeout = 0.2 })
    local more, _, now = receive_until(function() return #s.told == 4 end)
    assert.same({ { 1, "a" }, { 1, "a" }, { 1, "a" }, { 1, "end" } }, s.told)
    assert.is_false(more)
    assert.near(0.9, now, 0.011)
  end)

  it("also works with a real clock and a real socket", function()
    local t = session.new(real)
    t:open({ { "hold" } }, { receive_timeout = 0.01 })
    local more, why
    repeat
      real.wswait(t.conn, 5)
      more, why = real.wsreceive(t.conn)
    until more == nil
    t:close()
    assert.same({ "message timeout", { { false, "message timeout" } } }, { why, t.told })
  end)
end)

describe("wsreceive", function()
  --- Records of each call what it returns, and how much has been delivered by then.
  local function check_calls(s, calls)
    for i, expected in ipairs(calls) do
      local more, bytes = s.luws.wsreceive(s.conn)
      assert.same(expected, { more, bytes, #s.told }, i)
    end
  end

  it("never waits, whatever is still missing", function()
    for _, bytes in ipairs { "", "\129", "\129\126\1", "\129\9part", "\1\1a", "\137\4pi" } do
      local s = world.session()
      s:open { { "send", bytes }, { "hold" } }
      assert.same({ false, #bytes }, { s.luws.wsreceive(s.conn) })
      assert.same({ false, 0 }, { s.luws.wsreceive(s.conn) })
      assert.equal(0, s.world.clock.now())
      assert.same({}, s.told)
    end
  end)

  it("stops after 1000 events, says true, and goes on with the next call", function()
    local s = world.session()
    s:open { { "wait" }, { "send", "\129\1x", times = 1500 }, { "hold" } }
    s.peer:go()
    -- The second call delivers what the first has left, and does not read more.
    check_calls(s, { { true, 4500, 1000 }, { true, 0, 1500 }, { false, 0, 1500 } })
  end)

  it("stops after 5 ms, says true, and goes on with the next call", function()
    local s = world.session()
    s:open({ { "wait" }, { "send", "\129\1x", times = 9 }, { "hold" } }, nil, function()
      s.told[#s.told + 1] = true
      s.world.clock.sleep(0.002)
    end)
    s.peer:go()
    check_calls(s, { { true, 27, 3 }, { true, 0, 6 }, { true, 0, 9 }, { false, 0, 9 } })
  end)

  it("delivers in the same call what a handler's own send has read ahead", function()
    local s = world.session()
    s:open({
      receive_buffer = 10,
      { "send", "\129\1a" }, { "sleep", 0.001 }, { "send", "\129\1b" }, { "read_frame" }, { "hold" },
    }, nil, function(conn, _, data)
      s.told[#s.told + 1] = data
      if data == "a" then assert(s.luws.wssend(conn, 2, ("x"):rep(100))) end -- waits for room
    end)
    assert.is_false((s.luws.wsreceive(s.conn)))
    assert.same({ "a", "b" }, s.told)
  end)

  it("reads at most receive_chunk_size bytes from a real socket without TLS, too", function()
    local s = session.new(real)
    assert_chunks(s)
    s:close()
  end)

  for _, steps in ipairs {
    { "a close", { "send", "\129\1a" }, { "wait" }, { "close" } },
    { "a reset", { "send", "\129\1a" }, { "wait" }, { "reset" } },
  } do
    it("treats " .. steps[1] .. " of a real socket without TLS as the end, too", function()
      local s = session.new(real)
      s:open { unpack(steps, 2) }
      s:await(1)
      s.peer:go()
      local _, more, why = s:poll()
      s:close()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { 1, "a" }, { false, CLOSED } }, s.told)
    end)
  end

  it("says that a value that is not a connection is not connected", function()
    for _, thing in ipairs { false, 1, "x", {}, print, setmetatable({}, { __index = error }) } do
      assert.same({ nil, "not connected" }, { real.wsreceive(thing) })
    end
    assert.same({ nil, "not connected" }, { real.wsreceive() })
    assert.same({ nil, "not connected" }, { real.wshandleincoming("x") })
    assert.equal(0, real.wslastping())
    real.wsreset()
  end)
end)
