-- The closing handshake, started by either side, and every other way in which a connection ends.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local session = require "spec.support.session"

local CLOSED = "receiver error: closed"
local payload = scripted.close_payload

for _, tls in ipairs { false, true } do
  describe(("closing over %s"):format(tls and "wss" or "ws"), function()
    local s = session.new(luws, { tls = tls, answers = true })

    after_each(function() s:close() end)

    local function state()
      return { s.conn.connected, s.conn.close_code, s.conn.close_reason, s.conn.was_clean }
    end

    --- Returns the state once the connection no longer lingers.
    local function final_state()
      assert.is_true(luws.wswait(s.conn, 5))
      return state()
    end

    --- Returns what our own close frame said.
    local function sent() return { s.conn.close_code_sent, s.conn.close_reason_sent } end

    for name, case in pairs {
      -- the peer's close frame; our answer (RFC 6455 section 5.5.1); what the user sees of both
      ["with code and reason"] = { payload(4001, "so long"), payload(4001), 4001, "so long", 4001 },
      ["with a code"] = { payload(1001), payload(1001), 1001, "", 1001 },
      ["without a code"] = { "", "", 1005, "", 1005 },
    } do
      it("answers the peer's close frame " .. name, function()
        local close = scripted.frame { opcode = 8, payload = case[1] }
        s:open { { "send", "\129\4last" }, { "send", close }, { "read_frame" } }
        local _, more, why = s:poll()
        assert.same({ nil, "closed" }, { more, why })
        assert.same({ { 1, "last" }, { false, CLOSED } }, s.told)
        assert.same({ false, case[3], case[4], true }, state())
        assert.same({ case[5], "" }, sent())
        local reply = s.peer:result().frames[1]
        assert.same({ 8, case[2], true }, { reply.opcode, reply.payload, reply.masked })
        assert.same({ nil, "closed" }, { luws.wsreceive(s.conn) })
        assert.equal(2, #s.told)
      end)
    end

    it("delivers nothing that arrives after a close frame", function()
      s:open { { "send", "\136\0\129\5ghost\137\0" }, { "read_frame" } }
      s:poll()
      assert.same({ { false, CLOSED } }, s.told)
    end)

    for name, case in pairs {
      -- the arguments; the code and the reason that are sent
      ["1000 by default"] = { {}, 1000, "" },
      ["a code"] = { { 4000 }, 4000, "" },
      ["a code and a reason"] = { { 4000, "enough" }, 4000, "enough" },
      ["1000 in place of a code that may not be sent"] = { { 1006, "x" }, 1000, "" },
      ["1000 in place of a code that is none"] = { { "x" }, 1000, "" },
    } do
      it("wsclose sends " .. name, function()
        local answer = scripted.frame { opcode = 8, payload = payload(4444, "as you like") }
        s:open { { "read_frame" }, { "send", answer }, { "read_to_eof" } }
        luws.wsclose(s.conn, case[1][1], case[1][2])
        assert.same({ case[2], case[3] }, sent())
        assert.same({ false, 4444, "as you like", true }, final_state())
        assert.same({ case[2], case[3] }, sent())
        assert.same({}, s.told)
        local result = s.peer:result()
        assert.equal(1, #result.frames)
        assert.same({ 8, payload(case[2], case[3]) }, { result.frames[1].opcode, result.frames[1].payload })
        assert.is_truthy(result.eof)
        if tls then assert.is_true(result.close_notify) end
      end)
    end

    it("wsclose returns without waiting for the peer's answer, and the connection is over", function()
      s:open { { "read_frame" }, { "wait" }, { "send", "\136\2\3\232" }, { "read_to_eof" } }
      assert.is_true(s.conn:getfd() >= 0 and s.conn.socket:getfd() >= 0)
      luws.wsclose(s.conn, 4000) -- the peer does not answer until it is told to
      assert.same({ false, 1006, "", false }, state())
      assert.same({ -1, -1, -1 }, { s.conn:getfd(), s.conn:pollfd(), s.conn.socket:getfd() })
      assert.same({ nil, "not connected" }, { luws.wsreceive(s.conn) })
      assert.same({ false, "not connected" }, { luws.wssend(s.conn, 1, "x") })
      s.peer:at(2)
      s.peer:go()
      assert.same({ false, 1000, "", true }, final_state())
      assert.same({}, s.told)
    end)

    it("wsclose discards whatever arrives before the peer's close frame", function()
      s:open { { "read_frame" }, { "send", "\129\4late\136\2\3\232" }, { "read_to_eof" } }
      luws.wsclose(s.conn)
      assert.same({ false, 1000, "", true }, final_state())
      assert.same({ nil, "not connected" }, { luws.wsreceive(s.conn) })
      assert.same({}, s.told)
    end)

    it("data queued when wsclose is called is still sent, followed by the close frame", function()
      local payloads = { ("x"):rep(2 ^ 22), payload(1000) }
      s:open({ receive_buffer = 4096, { "wait" }, { "read_frame", 2 }, { "send", "\136\2\3\232" }, { "read_to_eof" } },
        { send_timeout = 0, close_timeout = 10, use_masking = false })
      assert.is_true(luws.wssend(s.conn, 2, payloads[1]))
      assert.is_true(s.conn.bufferedAmount > 0)
      luws.wsclose(s.conn)
      s.peer:go()
      assert.same({ false, 1000, "", true }, final_state())
      for i, frame in ipairs(s.peer:result().frames) do assert.is_true(frame.payload == payloads[i]) end
    end)

    it("a lingering connection ends after close_timeout, even if the peer does nothing", function()
      s:open({ { "hold" } }, { close_timeout = 0.1 })
      local started = luws.gettime()
      luws.wsclose(s.conn)
      assert.is_false(luws.wswait(s.conn, 0))
      assert.same({ false, 1006, "", false }, final_state())
      local took = luws.gettime() - started
      assert.is_true(took >= 0.099 and took < 0.5, took)
    end)

    it("wsclose may be called again, also after the peer has closed", function()
      s:open { { "send", "\136\2\3\232" }, { "read_frame" } }
      s:poll()
      for _ = 1, 3 do luws.wsclose(s.conn) end
      assert.same({ false, 1000, "", true }, state())
      assert.same({ nil, "not connected" }, { luws.wsreceive(s.conn) })
    end)

    it("when the peer answers our own close frame, the user is notified once", function()
      s:open { { "read_frame" }, { "send", "\129\1x\136\2\3\232" }, { "read_to_eof" } }
      assert.is_true(luws.wssend(s.conn, 8, payload(1000)))
      assert.is_true(s.conn.closing and s.conn.connected)
      local _, more, why = s:poll()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { 1, "x" }, { false, CLOSED } }, s.told)
      assert.same({ false, 1000, "", true }, state())
      assert.same({ 1000, "" }, sent())
      assert.equal(1, #s.peer:result().frames) -- one close frame is enough
    end)

    it("close frames may cross each other", function()
      s:open { { "send", "\136\2\3\233" }, { "read_frame" }, { "read_to_eof" } }
      luws.wswait(s.conn, 5)
      assert.is_true(luws.wssend(s.conn, 8, payload(1000)))
      s:poll()
      assert.same({ false, 1001, "", true }, state())
      assert.equal(1, #s.peer:result().frames)
    end)

    it("control_handler can suppress the answer and send its own", function()
      local control = {}
      s:open({ { "send", "\136\2\3\233" }, { "read_frame" }, { "hold" } }, {
        control_handler = function(c, opcode, data)
          control[#control + 1] = { opcode, data }
          luws.wssend(c, 8, payload(4999, "mine"))
          return false
        end,
      })
      s:poll()
      assert.same({ { 8, "\3\233" } }, control)
      assert.same({ { false, CLOSED } }, s.told)
      local frames = s.peer:at(4).frames
      assert.equal(1, #frames)
      assert.equal(payload(4999, "mine"), frames[1].payload)
      assert.same({ false, 1001, "", true }, state())
      assert.same({ 4999, "mine" }, sent())
    end)

    it("no code is sent when a stream ends without a close frame", function()
      s:open { { "close" } }
      s:poll()
      assert.same({ false, 1006, "", false }, state())
      assert.same({}, sent())
    end)

    it("a connection that is dropped without wsclose frees its socket", function()
      s:open { { "read_to_eof" } }
      s.conn = nil
      collectgarbage()
      collectgarbage()
      assert.is_truthy(s.peer:result().eof)
    end)
  end)
end

describe("wsclose", function()
  it("is safe on a value that is not a connection", function()
    luws.wsclose()
    for _, thing in ipairs { false, 1, "x", {}, print, setmetatable({}, { __index = error }) } do
      luws.wsclose(thing, 1000, "x")
    end
  end)
end)
