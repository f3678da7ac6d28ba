-- The closing handshake, from both sides, and the end of a connection in every other way.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"

local CLOSED = "receiver error: closed"
local payload = scripted.close_payload

for _, tls in ipairs { false, true } do
  describe(("closing over %s"):format(tls and "wss" or "ws"), function()
    local peer, conn, seen

    local function open(steps, options)
      local script = { tls = tls, { "upgrade" } }
      for _, step in ipairs(steps) do script[#script + 1] = step end
      peer = scripted.peer(script)
      seen = {}
      conn = assert(luws.wsopen(peer.url, function(_, ...) seen[#seen + 1] = { ... } end, options))
    end

    after_each(function()
      luws.wsclose(conn)
      peer:close()
    end)

    local function state()
      return { conn.connected, conn.close_code, conn.close_reason, conn.was_clean }
    end

    for name, case in pairs {
      -- what the peer's close frame says; what is answered (RFC 6455 section 5.5.1); what the user sees
      ["with code and reason"] = { payload(4001, "so long"), payload(4001), 4001, "so long" },
      ["with a code"] = { payload(1001), payload(1001), 1001, "" },
      ["without a code"] = { "", "", 1005, "" },
    } do
      it("answers the peer's close frame " .. name, function()
        local close = scripted.frame { opcode = 8, payload = case[1] }
        open { { "send", "\129\4last" }, { "send", close }, { "read_frame" } }
        local _, more, why = poll(luws, conn)
        assert.same({ nil, "closed" }, { more, why })
        assert.same({ { 1, "last" }, { false, CLOSED } }, seen)
        assert.same({ false, case[3], case[4], true }, state())
        local reply = peer:result().frames[1]
        assert.same({ 8, case[2], true }, { reply.opcode, reply.payload, reply.masked })
        assert.same({ nil, "closed" }, { luws.wsreceive(conn) })
        assert.equal(2, #seen)
      end)
    end

    it("delivers nothing that comes behind a close frame", function()
      open { { "send", "\136\0\129\5ghost\137\0" }, { "read_frame" } }
      poll(luws, conn)
      assert.same({ { false, CLOSED } }, seen)
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
        open { { "read_frame" }, { "send", answer }, { "read_to_eof" } }
        luws.wsclose(conn, case[1][1], case[1][2])
        assert.same({ false, 4000, "", true }, state())
        assert.same({}, seen)
        local result = peer:result()
        assert.same({ 8, case[2] }, { result.frames[1].opcode, result.frames[1].payload })
        assert.is_truthy(result.eof)
        if tls then assert.is_true(result.close_notify) end
        assert.equal(-1, conn.socket:getfd())
      end)
    end

    it("wsclose throws away what still comes before the peer's close frame", function()
      open { { "read_frame" }, { "send", "\129\4late\136\2\3\232" }, { "read_to_eof" } }
      luws.wsclose(conn)
      assert.same({}, seen)
      assert.same({ false, 1000, "", true }, state())
    end)

    it("wsclose waits for a silent peer no longer than close_timeout", function()
      open({ { "hold" } }, { close_timeout = 0.1 })
      local started = luws.gettime()
      luws.wsclose(conn)
      assert.is_true(luws.gettime() - started < 0.5)
      assert.same({ false, 1006, "", false }, state())
    end)

    it("wsclose may be called again, and behind the peer's close", function()
      open { { "send", "\136\2\3\232" }, { "read_frame" } }
      poll(luws, conn)
      for _ = 1, 3 do luws.wsclose(conn) end
      assert.same({ false, 1000, "", true }, state())
      assert.same({ nil, "not connected" }, { luws.wsreceive(conn) })
    end)

    it("a close frame of our own, and then the peer's: the user is told once", function()
      open { { "read_frame" }, { "send", "\129\1x\136\2\3\232" }, { "read_to_eof" } }
      assert.is_true(luws.wssend(conn, 8, payload(1000)))
      assert.is_true(conn.closing and conn.connected)
      local _, more, why = poll(luws, conn)
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { 1, "x" }, { false, CLOSED } }, seen)
      assert.same({ false, 1000, "", true }, state())
      assert.equal(1, #peer:result().frames) -- one close frame is enough
    end)

    it("close frames that cross each other", function()
      open { { "send", "\136\2\3\233" }, { "read_frame" }, { "read_to_eof" } }
      luws.wswait(conn, 5)
      assert.is_true(luws.wssend(conn, 8, payload(1000)))
      poll(luws, conn)
      assert.same({ false, 1001, "", true }, state())
      assert.equal(1, #peer:result().frames)
    end)

    it("control_handler can forbid the answer, and give its own", function()
      local control = {}
      open({ { "send", "\136\2\3\233" }, { "read_frame" }, { "hold" } }, {
        control_handler = function(c, opcode, data)
          control[#control + 1] = { opcode, data }
          luws.wssend(c, 8, payload(4999, "mine"))
          return false
        end,
      })
      poll(luws, conn)
      assert.same({ { 8, "\3\233" } }, control)
      assert.same({ { false, CLOSED } }, seen)
      local frames = peer:at(4).frames
      assert.equal(1, #frames)
      assert.equal(payload(4999, "mine"), frames[1].payload)
      assert.same({ false, 1001, "", true }, state())
    end)

    it("a connection that is dropped without wsclose frees its socket", function()
      open { { "read_to_eof" } }
      conn = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.is_truthy(peer:result().eof)
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
