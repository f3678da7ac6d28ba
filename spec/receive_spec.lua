-- wsreceive: the situations of the contract's table, one by one, over ws and over wss.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local session = require "spec.support.session"

local CLOSED = "receiver error: closed"

for _, tls in ipairs { false, true } do
  describe(("wsreceive over %s"):format(tls and "wss" or "ws"), function()
    local s = session.new(luws, { tls = tls })

    after_each(function() s:close() end)

    it("says false, 0 when nothing is waiting, at once", function()
      s:open { { "hold" } }
      luws.wsreceive(s.conn) -- TLS may have had its tickets to deliver
      local started = luws.gettime()
      assert.same({ false, 0 }, { luws.wsreceive(s.conn) })
      assert.is_true(luws.gettime() - started < 0.1)
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

    it("reads at most receive_chunk_size bytes, and then says that there may be more", function()
      s:open({ { "send", "\130\126\39\16" .. ("x"):rep(10000) }, { "hold" } }, { receive_chunk_size = 1000 })
      local most, turns = 0, 0
      repeat
        luws.wswait(s.conn, 5)
        local more, nb = luws.wsreceive(s.conn)
        most, turns = math.max(most, nb), turns + 1
        if nb < 1000 and not tls then assert.is_false(more) end
        if nb == 1000 and not tls then assert.is_true(more) end
      until #s.told > 0
      assert.same({ { 2, ("x"):rep(10000) } }, s.told)
      if tls then
        assert.is_true(most <= 10004) -- TLS delivers records: this was one
      else
        assert.is_true(most == 1000 and turns >= 11)
      end
    end)

    it("reassembles fragments and keeps the first frame's opcode", function()
      s:open { { "pieces", "\2\0\0\2ab\137\1p\128\1c", 1, 0.001 }, { "hold" } }
      s:await(1)
      assert.same({ { 2, "abc" } }, s.told)
    end)

    it("tells the handler once that the peer has closed, and stays closed", function()
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

    it("takes half a frame and then the end for the end", function()
      s:open { { "send", "\129\10half" }, { "close" } }
      local _, more, why = s:poll()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { false, CLOSED } }, s.told)
    end)

    it("takes an end without TLS's goodbye for the end, too", function()
      s:open { { "send", "\129\1a" }, { "close", notify = false } }
      local _, more, why = s:poll()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { 1, "a" }, { false, CLOSED } }, s.told)
      assert.same({ 1006, false }, { s.conn.close_code, s.conn.was_clean })
    end)

    it("takes a reset for the end", function()
      s:open { { "send", "\129\1a" }, { "wait" }, { "reset" } }
      s:await(1)
      s.peer:go()
      local _, more, why = s:poll()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { 1, "a" }, { false, CLOSED } }, s.told)
    end)

    it("says that no message came within receive_timeout", function()
      s:open({ { "wait" }, { "send", "\129\2ok" }, { "hold" } }, { receive_timeout = 0.1 })
      repeat
        luws.wswait(s.conn, 0.02)
        local more, why = luws.wsreceive(s.conn)
        if more == nil then assert.equal("message timeout", why) end
      until more == nil
      assert.same({ { false, "message timeout" } }, s.told)
      -- The connection is not over for that.
      assert.is_true(s.conn.connected)
      s.peer:go()
      s:await(2)
      assert.same({ 1, "ok" }, s.told[2])
    end)

    it("says so of a peer that drips bytes and never ends a frame, too", function()
      s:open({ { "drip", "\130\126\1\0" .. ("x"):rep(200), 0.02 }, { "hold" } }, { receive_timeout = 0.2 })
      local _, more, why = s:poll(function() return #s.told > 0 end)
      assert.same({ nil, "message timeout" }, { more, why })
      assert.same({ { false, "message timeout" } }, s.told)
    end)

    it("wswait sleeps while half a frame waits for the rest, and wakes for the time-out", function()
      s:open({ { "send", "\137\125xyz" }, { "hold" } }, { receive_timeout = 0.3 })
      local turns = 0
      repeat
        luws.wswait(s.conn, 5)
        local more = luws.wsreceive(s.conn)
        turns = turns + 1
      until more == nil
      assert.is_true(turns < 10, turns)
    end)

    it("is content with a control frame or a fragment where a timeout is set", function()
      local frames = {}
      for i = 1, 6 do frames[i] = i % 2 == 0 and { "send", "\137\0" } or { "send", "\1\1a\128\0" } end
      local steps = {}
      for _, frame in ipairs(frames) do
        steps[#steps + 1] = frame
        steps[#steps + 1] = { "sleep", 0.05 }
      end
      steps[#steps + 1] = { "send", "\129\3end" }
      steps[#steps + 1] = { "hold" }
      s:open(steps, { receive_timeout = 0.2 })
      s:poll(function() return s.told[#s.told] and s.told[#s.told][2] == "end" end)
      for _, told in ipairs(s.told) do assert.equal(1, told[1]) end
    end)

    it("notes when it heard from the peer", function()
      s:open { { "wait" }, { "send", "\1\1a" }, { "wait" }, { "send", "\128\1b" }, { "hold" } }
      local opened = luws.wslastping(s.conn)
      assert.equal(s.conn.lastPing, opened)
      luws.sleep(0.01)
      s.peer:go()
      s:poll(function() return luws.wslastping(s.conn) > opened end)
      assert.is_true(s.conn.lastMessage == opened) -- a fragment is no message
      luws.sleep(0.01)
      s.peer:go()
      s:await(1)
      assert.is_true(s.conn.lastMessage > opened and s.conn.lastPing == s.conn.lastMessage)
      assert.is_true(math.abs(os.difftime(os.time(), luws.wslastping(s.conn))) < 5)
    end)

    it("fails the connection where a rule is broken: 1002, 1007, 1009", function()
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
        { "\130\127\0\0\0\0\0\1\0\0", 1009, "message too big (over 65535 bytes)" },
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

    it("takes a message of exactly max_payload_size, and reads the option live", function()
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
      assert.same({ false, "message too big (over 10 bytes)" }, s.told[3])
    end)

    it("forgets a message that has come in part, but not what is still to come of it: wsreset", function()
      s:open { { "send", "\2\20\129\2no" }, { "wait" }, { "send", ("x"):rep(16) .. "\128\1y\129\2ok" }, { "hold" } }
      luws.wswait(s.conn, 5)
      luws.wsreceive(s.conn)
      luws.wsreset(s.conn)
      s.peer:go()
      s:await(1)
      assert.same({ { 1, "ok" } }, s.told)
    end)

    it("takes bytes by another way: wshandleincoming", function()
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

    it("takes them by max_payload_size as it is then, before any wsreceive, too: wshandleincoming", function()
      local big = "message too big (over 2 bytes)"
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

describe("wsreceive", function()
  it("says that what is no connection is not connected", function()
    for _, thing in ipairs { false, 1, "x", {}, print, setmetatable({}, { __index = error }) } do
      assert.same({ nil, "not connected" }, { luws.wsreceive(thing) })
    end
    assert.same({ nil, "not connected" }, { luws.wsreceive() })
    assert.same({ nil, "not connected" }, { luws.wshandleincoming("x") })
    assert.equal(0, luws.wslastping())
    luws.wsreset()
  end)
end)
