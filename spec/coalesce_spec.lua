-- The option coalesce and wsflush: small messages are held back and sent together.

local real = require "luws"
local session = require "spec.support.session"
local sockets = require "spec.support.sockets"
local source = require "spec.support.source"
local world = require "spec.support.world"

local FRAME = 2 + 4 + 5 -- bytes of a masked frame with "Hello"

-- Each creates an object with the functions of session.lua.
local ROUTES = {
  { "in memory", function() return world.session(), {} end },
  { "over a socket of ours", function() return session.new(real), {} end },
  { "over a socket of the user's", function() return session.new(real), { connect = sockets.connecting {} } end },
}

for _, route in ipairs(ROUTES) do
  describe("coalesce, " .. route[1] .. ":", function()
    local s, luws, conn

    after_each(function() s:close() end)

    --- Opens a connection to a peer that reads this many frames.
    local function open(frames, coalesce)
      local options
      s, options = route[2]()
      luws, options.coalesce = s.luws, coalesce
      conn = s:open({ { "read_frame", frames }, { "hold" } }, options)
    end

    local function send(opcode, data) assert.same({ true }, { luws.wssend(conn, opcode, data) }) end

    --- Returns the frames that the peer has received, as opcode and payload.
    local function got()
      local frames = {}
      for i, frame in ipairs(s.peer:at(3).frames) do frames[i] = frame.opcode .. " " .. frame.payload end
      return frames
    end

    -- What causes the messages to be sent, and what the peer receives after them.
    for name, case in pairs {
      ["wsflush"] = { function() assert.same({ true }, { luws.wsflush(conn) }) end },
      ["wsreceive"] = { function() assert.same({ false, 0 }, { luws.wsreceive(conn) }) end },
      ["wswait"] = { function() assert.is_false(luws.wswait(conn, 0)) end },
      ["a ping"] = { function() send(9, "p") end, "9 p" },
      ["a close frame"] = { function() send(8, "\3\232") end, "8 \3\232" },
      ["wsclose"] = { function() luws.wsclose(conn, 1000) end, "8 \3\232" },
      ["a message that makes it enough"] = { function() send(2, ("x"):rep(100)) end, "2 " .. ("x"):rep(100) },
      ["a source that makes it enough"] = {
        function() send(2, source { ("x"):rep(100) }) end, "2 " .. ("x"):rep(100),
      },
    } do
      it("messages wait for " .. name, function()
        open(case[2] and 4 or 3, 100)
        for i = 1, 3 do
          send(1, "Hello")
          assert.equal(FRAME * i, conn.bufferedAmount)
        end
        case[1]()
        assert.same({ "1 Hello", "1 Hello", "1 Hello", case[2] }, got())
        assert.equal(0, conn.bufferedAmount)
      end)
    end

    it("true means 16384 bytes", function()
      open(2, true)
      send(2, ("x"):rep(16000))
      assert.equal(16000 + 8, conn.bufferedAmount)
      send(2, ("x"):rep(400))
      assert.equal(0, conn.bufferedAmount)
      assert.equal(2, #got())
    end)

    it("messages are sent at once without it", function()
      for _, coalesce in ipairs { false, 0 } do
        open(1, coalesce)
        send(1, "Hello")
        assert.equal(0, conn.bufferedAmount)
        assert.same({ "1 Hello" }, got())
        s:close()
      end
    end)

    it("debug_mode logs each frame, as without it", function()
      open(2, 100)
      luws.debug_mode = true
      local print, lines = _G.print, 0
      _G.print = function() lines = lines + 1 end
      send(1, "Hello")
      send(1, "Hello")
      _G.print, luws.debug_mode = print, false
      assert.equal(2, lines)
      assert.equal(2 * FRAME, conn.bufferedAmount)
      luws.wsflush(conn)
      assert.same({ "1 Hello", "1 Hello" }, got())
    end)
  end)
end

describe("wsflush", function()
  local s = world.session()

  after_each(function() s:close() end)

  it("has nothing to do when nothing is queued", function()
    s:open { { "hold" } }
    assert.same({ true }, { s.luws.wsflush(s.conn) })
  end)

  it("reports that there is no connection, or no longer one", function()
    s:open { { "hold" } }
    s.luws.wsclose(s.conn)
    for _, conn in ipairs { s.conn, {}, 1, "conn" } do
      assert.same({ false, "not connected" }, { s.luws.wsflush(conn) })
    end
    assert.same({ false, "not connected" }, { s.luws.wsflush() })
  end)

  it("waits for room, but no longer than send_timeout", function()
    local t = session.new(real)
    t:open({ receive_buffer = 4096, { "wait" }, { "hold" } }, { send_timeout = 0.05, coalesce = 64 * 1024 * 1024 })
    assert.is_true(real.wssend(t.conn, 2, ("x"):rep(16 * 1024 * 1024)))
    assert.same({ false, "send error: timeout" }, { real.wsflush(t.conn) })
    assert.is_true(t.conn.bufferedAmount > 0 and t.conn.bufferedAmount < 16 * 1024 * 1024)
    t:close()
  end)
end)

describe("the option coalesce", function()
  it("must be a boolean or a number that is not negative", function()
    for _, case in ipairs {
      { "yes", "boolean or number expected, got string" },
      { {}, "boolean or number expected, got table" },
      { -1, "a number of at least 0 expected, got -1" },
    } do
      local conn, why = real.wsopen("ws://localhost:1", function() end, { coalesce = case[1] })
      assert.same({ false, ("bad option 'coalesce' (%s)"):format(case[2]) }, { conn, why })
    end
  end)
end)
