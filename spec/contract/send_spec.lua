-- The promises that a plugin written for LuWS relies on, in memory and over wss: wssend. Its timing is tested in memory
-- only; full sockets of the system are in ../send_spec.lua.

local log = require "spec.support.log"
local memory_socket = require "spec.support.memory_socket"
local real = require "luws"
local scripted = require "spec.support.scripted"
local sockets = require "spec.support.sockets"
local source = require "spec.support.source"
local world = require "spec.support.world"
local unpack = require "spec.support.compat".unpack

setup(function() log.spend_warning(real) end)

for place, new in pairs(world.places) do
  describe(("wssend, as a plugin written for LuWS relies on it, %s:"):format(place), function()
    local s, luws, logged

    before_each(function()
      s = new()
      luws = s.luws
      logged = log.start()
    end)

    after_each(function()
      s:close()
      log.stop()
    end)

    --- Creates a connect function for the peer whose sockets have some methods replaced.
    local function connecting(replaced)
      if s.world then return memory_socket.connecting(s, replaced) end
      return sockets.connecting(replaced)
    end

    --- Opens, sends these one after the other, and returns the frames that the peer received: fin, opcode, payload.
    local function frames_of(count, sends, options)
      s:open({ { "read_frame", count }, { "hold" } }, options)
      for _, args in ipairs(sends) do assert.same({ true }, { luws.wssend(s.conn, unpack(args, 1, 2)) }) end
      local frames = {}
      for i, frame in ipairs(s.peer:at(3).frames) do frames[i] = { frame.fin, frame.opcode, frame.payload } end
      return frames
    end

    it("data: a string; anything else goes through tostring", function()
      local object = setmetatable({}, { __tostring = function() return "object" end })
      assert.same({
        { true, 1, "text" }, { true, 2, "\0\255" }, { true, 1, "" }, { true, 1, "42" }, { true, 1, "true" },
        { true, 1, "nil" }, { true, 1, "object" },
      }, frames_of(7, { { 1, "text" }, { 2, "\0\255" }, { 1, "" }, { 1, 42 }, { 1, true }, { 1 }, { 1, object } }))
    end)

    it("data: a function = LTN12 source, each chunk one fragment, the last with FIN", function()
      assert.same({
        { false, 1, "a" }, { false, 0, "" }, { true, 0, "b" }, -- an empty chunk is legal
        { true, 2, "one" },
        { true, 1, "" }, -- a source without chunks sends one empty message
      }, frames_of(5, { { 1, source { "a", "", "b" } }, { 2, source { "one" } }, { 1, source {} } }))
    end)

    it("an error from the source gives false, err; one raised reaches the caller; nothing is sent", function()
      s:open { { "read_frame" }, { "hold" } }
      assert.same({ false, "no disk" }, { luws.wssend(s.conn, 1, source({}, nil, "no disk")) })
      local raised = { "raised" }
      local ok, err = pcall(luws.wssend, s.conn, 1, function() error(raised, 0) end)
      assert.is_false(ok)
      assert.is_true(rawequal(raised, err))
      assert.is_true(luws.wssend(s.conn, 1, "goes on"))
      assert.equal("goes on", s.peer:at(3).frames[1].payload)
    end)

    it("a source that fails midway leaves the stream unfinishable: the connection closes with an error", function()
      for _, case in ipairs {
        { source({ "a", "b" }, nil, "no disk"), { true, false, "no disk" } },
        { source({ "a", "b", "\255" }), { true, false, "send error: a text message must be valid UTF-8" } },
        { (function()
          local chunks = source { "a", "b" }
          return function() return chunks() or error("raised", 0) end
        end)(), { false, "raised" } },
      } do
        s:open { { "hold" } }
        assert.same(case[2], { pcall(luws.wssend, s.conn, 1, case[1]) })
        assert.is_false(s.conn.connected)
        assert.same({ false, "not connected" }, { luws.wssend(s.conn, 1, "x") })
        local frames = s.peer:result().frames
        assert.same({ "a", false }, { frames[1].payload, frames[1].fin })
        assert.same({ 8, scripted.close_payload(1011) }, { frames[#frames].opcode, frames[#frames].payload })
      end
    end)

    it("over 65535 bytes: one frame with a 64-bit length by default; fragment_size restores fragmentation", function()
      local big = ("0123456789abcdef"):rep(4096)
      assert.is_true(frames_of(1, { { 2, big } })[1][3] == big)
      assert.is_truthy(s.peer:so_far().raw:find("\130\255\0\0\0\0\0\1\0\0", 1, true))
      local frames = frames_of(2, { { 2, big } }, { fragment_size = 65535 })
      assert.same({ false, 2, 65535 }, { frames[1][1], frames[1][2], #frames[1][3] })
      assert.same({ true, 0, "f" }, frames[2])
    end)

    it("9 and 10 send ping and pong, 8 marks the connection as closing; then false, closing", function()
      assert.same({ { true, 9, "p" }, { true, 9, "" }, { true, 10, "q" }, { true, 8, "" } },
        frames_of(4, { { 9, "p" }, { 9 }, { 10, "q" }, { 8, "" } }))
      assert.same({ true, true }, { s.conn.closing, s.conn.connected })
      assert.same({ false, "closing" }, { luws.wssend(s.conn, 1, "x") })
    end)

    it("sends the tostring of any value, and warns once if that is meaningless", function()
      local named = setmetatable({}, { __tostring = function() return "named" end })
      s:open { { "read_frame" }, { "read_frame" }, { "read_frame" }, { "read_frame" }, { "read_frame" }, { "hold" } }
      local bare = {}
      for i = #logged, 1, -1 do logged[i] = nil end
      for _, data in ipairs { 5, true, named } do assert.is_true(luws.wssend(s.conn, 1, data)) end
      assert.same({}, logged)
      assert.is_true(luws.wssend(s.conn, 1, nil))
      assert.is_true(luws.wssend(s.conn, 1, bare))
      local sent = {}
      for i, frame in ipairs(s.peer:at(7).frames) do sent[i] = frame.payload end
      assert.same({ "5", "true", "named", "nil", tostring(bare) }, sent)
      assert.same({ { 2, ('luws: wssend to %s got nil and sends "nil" (logged once per connection)')
        :format(tostring(s.conn)) } }, logged)
    end)

    it('false, "not connected": nil, closed, or never opened', function()
      s:open { { "close" } }
      for _, thing in ipairs { false, 1, "x", {} } do
        assert.same({ false, "not connected" }, { luws.wssend(thing or nil, 1, "x") })
      end
      s:poll()
      assert.same({ false, "not connected" }, { luws.wssend(s.conn, 1, "x") }) -- the peer has
      luws.wsclose(s.conn)
      assert.same({ false, "not connected" }, { luws.wssend(s.conn, 1, "x") })
    end)

    it("reserved opcodes, control payloads over 125 bytes, text that is not UTF-8: nothing is sent", function()
      s:open { { "read_frame" }, { "hold" } }
      for _, case in ipairs {
        { 0, "x" }, { 3, "x" }, { 7, "x" }, { 11, "x" }, { 15, "x" }, { 16, "x" }, { -1, "x" }, { "text", "x" },
        { 9, ("x"):rep(126) }, { 10, ("x"):rep(126) }, { 8, "\3\232" .. ("x"):rep(124) }, { 8, "x" }, { 8, "\3\237" },
        { 1, "\255" }, { 1, "\237\160\128" }, { 1, "\226\130" },
      } do
        local ok, why = luws.wssend(s.conn, unpack(case))
        assert.is_false(ok)
        assert.equal("string", type(why))
        assert.equal(0, s.conn.bufferedAmount)
      end
      assert.is_false(s.conn.closing)
      assert.is_true(luws.wssend(s.conn, 9, ("x"):rep(125)))
      assert.equal(9, s.peer:at(3).frames[1].opcode)
    end)

    it("false, send error: REASON", function()
      local replaced = {}
      s:open({ { "hold" } }, { connect = connecting(replaced) })
      function replaced.send() return nil, "unplugged", 0 end
      assert.same({ false, "send error: unplugged" }, { luws.wssend(s.conn, 1, "x") })
    end)

    it("a frame is never cut off: unwritten bytes stay queued and go out first", function()
      local message = ("x"):rep(100000)
      local replaced = {}
      s:open({ { "read_frame", 3 }, { "hold" } }, { connect = connecting(replaced), send_timeout = 0.02 })
      local room = 70000 -- bytes that the socket still accepts
      function replaced.send(inner, bytes)
        if room == 0 then return nil, "timeout", 0 end
        local last, why, partial = inner:send(bytes:sub(1, room))
        room = room - (last or partial)
        if (last or partial) < #bytes then return nil, why or "timeout", last or partial end
        return last
      end
      assert.same({ false, "send error: timeout" }, { luws.wssend(s.conn, 2, message) })
      local queued = s.conn.bufferedAmount -- queued bytes are readable
      assert.is_true(queued >= 30000 and queued < 31000, queued)
      assert.same({ false, "send error: timeout; nothing of this was sent" }, { luws.wssend(s.conn, 1, "not sent") })
      assert.equal(queued, s.conn.bufferedAmount)
      room = 1e9
      assert.is_true(luws.wssend(s.conn, 1, "next"))
      assert.equal(0, s.conn.bufferedAmount)
      assert.is_true(luws.wssend(s.conn, 1, "last"))
      local frames = s.peer:at(3).frames
      assert.is_true(frames[1].payload == message)
      assert.same({ "next", "last" }, { frames[2].payload, frames[3].payload })
    end)

    it("is callable from inside a handler, on the same connection, during wsreceive", function()
      local sent = 0
      s:open({ { "send", "\129\1a\137\1p\129\1b" }, { "read_frame", 4 }, { "hold" } }, {
        control_handler = function(c) assert(luws.wssend(c, 1, "control")) end,
      }, function(c, opcode, data)
        assert(luws.wssend(c, opcode, data .. data))
        sent = sent + 1
      end)
      s:poll(function() return sent == 2 end)
      local payloads = {}
      for i, frame in ipairs(s.peer:at(4).frames) do payloads[i] = frame.payload end
      assert.same({ "aa", "control", "p", "bb" }, payloads)
      assert.same({}, logged)
    end)
  end)
end

describe("wssend, as a plugin written for LuWS relies on it, in time:", function()
  local s, luws, clock

  before_each(function()
    s = world.session()
    luws, clock = s.luws, s.world.clock
  end)

  after_each(function() s:close() end)

  it("it blocks for at most send_timeout, 5 s by default, while the socket is full", function()
    s:open { receive_buffer = 0, { "wait" }, { "hold" } }
    assert.same({ false, "send error: timeout" }, { luws.wssend(s.conn, 2, ("x"):rep(100)) })
    assert.equal(5, clock.now())
  end)

  it("it blocks for the same time while the user's own socket is full", function()
    s:open({ { "hold" } }, { connect = memory_socket.connecting(s, { send = nil }) })
    s.peer.connections[1].line.capacity = 0
    assert.same({ false, "send error: timeout" }, { luws.wssend(s.conn, 2, ("x"):rep(100)) })
    assert.near(5, clock.now(), 1e-9)
  end)

  for name, of_users in pairs { ["its own"] = false, ["the user's"] = true } do
    it("while it waits for room it continues to read from the peer, up to a limit: no deadlock; " .. name, function()
      -- There is room only once everything the peer sends has been read: up to the limit by wssend, then by wsreceive.
      for _, case in ipairs { { 5, true }, { 40, false } } do
        local size, count, all = 65000, unpack(case)
        local frame = scripted.frame { opcode = 2, payload = ("y"):rep(size) }
        local got = 0
        s:open({
          receive_buffer = 0, send_buffer = 100000, { "wait" }, { "send", frame, times = count }, { "read_frame" },
          { "hold" },
        }, { connect = of_users and memory_socket.connecting(s, {}) or nil, send_timeout = all and 10 or 0.3 },
          function(_, opcode) if opcode then got = got + 1 end end)
        s.peer:go()
        local started = clock.now()
        local ok, why = luws.wssend(s.conn, 1, "at last")
        assert.same(all and { true } or { false, "send error: timeout" }, { ok, why })
        assert.is_true(all or math.abs(clock.now() - started - 0.3) < 1e-6)
        assert.equal(0, got) -- no handler within wssend
        s:poll(function() return got == count and s.conn.bufferedAmount == 0 end)
        assert.equal(count, got)
        assert.equal("at last", s.peer:at(5).frames[1].payload)
      end
    end)
  end
end)
