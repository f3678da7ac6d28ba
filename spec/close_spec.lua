-- The closing handshake, from both sides, and the end of a connection in every other way.

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

    for name, case in pairs {
      -- what the peer's close frame says; what is answered (RFC 6455 section 5.5.1); what the user sees
      ["with code and reason"] = { payload(4001, "so long"), payload(4001), 4001, "so long" },
      ["with a code"] = { payload(1001), payload(1001), 1001, "" },
      ["without a code"] = { "", "", 1005, "" },
    } do
      it("answers the peer's close frame " .. name, function()
        local close = scripted.frame { opcode = 8, payload = case[1] }
        s:open { { "send", "\129\4last" }, { "send", close }, { "read_frame" } }
        local _, more, why = s:poll()
        assert.same({ nil, "closed" }, { more, why })
        assert.same({ { 1, "last" }, { false, CLOSED } }, s.told)
        assert.same({ false, case[3], case[4], true }, state())
        local reply = s.peer:result().frames[1]
        assert.same({ 8, case[2], true }, { reply.opcode, reply.payload, reply.masked })
        assert.same({ nil, "closed" }, { luws.wsreceive(s.conn) })
        assert.equal(2, #s.told)
      end)
    end

    it("delivers nothing that comes behind a close frame", function()
      s:open { { "send", "\136\0\129\5ghost\137\0" }, { "read_frame" } }
      s:poll()
      assert.same({ { false, CLOSED } }, s.told)
    end)

    for name, case in pairs {
      ["1000 by default"] = { {}, payload(1000) },
      ["a code"] = { { 4000 }, payload(4000) },
      ["a code and a reason"] = { { 4000, "enough" }, payload(4000, "enough") },
      ["1000 in place of a code that may not be sent"] = { { 1006, "x" }, payload(1000) },
      ["1000 in place of a code that is none"] = { { "x" }, payload(1000) },
    } do
      it("wsclose sends " .. name, function()
        local answer = scripted.frame { opcode = 8, payload = payload(4000) }
        s:open { { "read_frame" }, { "send", answer }, { "read_to_eof" } }
        luws.wsclose(s.conn, case[1][1], case[1][2])
        assert.same({ false, 4000, "", true }, state())
        assert.same({}, s.told)
        local result = s.peer:result()
        assert.same({ 8, case[2] }, { result.frames[1].opcode, result.frames[1].payload })
        assert.is_truthy(result.eof)
        if tls then assert.is_true(result.close_notify) end
        assert.equal(-1, s.conn.socket:getfd())
      end)
    end

    it("wsclose throws away what still comes before the peer's close frame", function()
      s:open { { "read_frame" }, { "send", "\129\4late\136\2\3\232" }, { "read_to_eof" } }
      luws.wsclose(s.conn)
      assert.same({}, s.told)
      assert.same({ false, 1000, "", true }, state())
    end)

    it("wsclose waits for a silent peer no longer than close_timeout", function()
      s:open({ { "hold" } }, { close_timeout = 0.1 })
      local started = luws.gettime()
      luws.wsclose(s.conn)
      assert.is_true(luws.gettime() - started < 0.5)
      assert.same({ false, 1006, "", false }, state())
    end)

    it("wsclose may be called again, and behind the peer's close", function()
      s:open { { "send", "\136\2\3\232" }, { "read_frame" } }
      s:poll()
      for _ = 1, 3 do luws.wsclose(s.conn) end
      assert.same({ false, 1000, "", true }, state())
      assert.same({ nil, "not connected" }, { luws.wsreceive(s.conn) })
    end)

    it("a close frame of our own, and then the peer's: the user is told once", function()
      s:open { { "read_frame" }, { "send", "\129\1x\136\2\3\232" }, { "read_to_eof" } }
      assert.is_true(luws.wssend(s.conn, 8, payload(1000)))
      assert.is_true(s.conn.closing and s.conn.connected)
      local _, more, why = s:poll()
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { 1, "x" }, { false, CLOSED } }, s.told)
      assert.same({ false, 1000, "", true }, state())
      assert.equal(1, #s.peer:result().frames) -- one close frame is enough
    end)

    it("close frames that cross each other", function()
      s:open { { "send", "\136\2\3\233" }, { "read_frame" }, { "read_to_eof" } }
      luws.wswait(s.conn, 5)
      assert.is_true(luws.wssend(s.conn, 8, payload(1000)))
      s:poll()
      assert.same({ false, 1001, "", true }, state())
      assert.equal(1, #s.peer:result().frames)
    end)

    it("control_handler can forbid the answer, and give its own", function()
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
  it("is safe on what is no connection", function()
    luws.wsclose()
    for _, thing in ipairs { false, 1, "x", {}, print, setmetatable({}, { __index = error }) } do
      luws.wsclose(thing, 1000, "x")
    end
  end)
end)
