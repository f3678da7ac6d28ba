-- What a plugin written for LuWS relies on, promise by promise, each over ws and over wss: wssend.

local child = require "spec.support.child"
local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"

--- An LTN12 source of these chunks, then of what follows them.
local function source(chunks, ...)
  local i, last = 0, { ... }
  return function()
    i = i + 1
    if chunks[i] ~= nil then return chunks[i] end
    return unpack(last)
  end
end

--- A program of its own that sends more than a peer takes, and prints what wssend says and whether after 5 s.
local IMPATIENT = [[
  luup = { log = function() end } -- warnings are not what is looked at
  local luws = require "luws"
  local conn = assert(luws.wsopen(arg[1], nil, { close_timeout = 0 }))
  local started = luws.gettime()
  local ok, why = luws.wssend(conn, 2, ("x"):rep(12 * 1024 * 1024))
  local took = luws.gettime() - started
  print(ok, why, took >= 5 and took < 8)
]]

local impatient = {} -- by scheme: the peer that reads nothing, and the program that sends to it

setup(function()
  for _, scheme in ipairs { "ws", "wss" } do
    local stuck = scripted.peer { tls = scheme == "wss", receive_buffer = 65536, { "upgrade" }, { "wait" } }
    impatient[scheme] = { peer = stuck, ends = child.start { input = IMPATIENT, stuck.url } } -- they take their time
  end
end)

teardown(function()
  for _, each in pairs(impatient) do each.peer:close() end
end)

setup(function()
  -- The first server that is not verified is warned of, once in a process: not within a test that reads the log.
  rawset(_G, "luup", { log = function() end })
  luws.wsclose(luws.wsopen(servers.url("demo", "wss", "/echo")))
  rawset(_G, "luup", nil)
end)

for _, scheme in ipairs { "ws", "wss" } do
  describe(("wssend, as a plugin written for LuWS relies on it, over %s:"):format(scheme), function()
    local tls = scheme == "wss"
    local conn, peer, told, logged

    --- A connection to a peer that plays these steps; `told` gets what the handler is given.
    local function open(steps, options, handler)
      steps.tls = tls
      if peer then peer:close() end
      peer = scripted.peer(steps)
      told = {}
      options = options or {}
      options.close_timeout = options.close_timeout or 0 -- most scripts do not answer
      conn = assert(luws.wsopen(peer.url, handler or function(_, ...) told[#told + 1] = { ... } end, options))
      return conn
    end

    --- The same, with a socket that is a table over a real one: what replaces its methods, and the real one.
    local function open_over_table(steps, options, handler)
      local faults, inner = {}, nil
      options = options or {}
      function options.connect(host, port)
        local outer = {}
        inner = socket.connect(host, port)
        for _, name in ipairs { "send", "receive", "settimeout", "close" } do
          outer[name] = function(_, ...)
            if faults[name] then return faults[name](...) end
            return inner[name](inner, ...)
          end
        end
        return outer
      end
      open(steps, options, handler)
      return faults, inner
    end

    before_each(function()
      logged = {}
      rawset(_G, "luup", { log = function(text, level) logged[#logged + 1] = { level, text } end })
    end)

    after_each(function()
      luws.wsclose(conn)
      if peer then peer:close() end
      conn, peer = nil, nil
      rawset(_G, "luup", nil)
    end)

    --- Opens, sends these one after the other, and returns the frames that the peer got: fin, opcode, payload.
    local function frames_of(count, sends, options)
      open({ { "upgrade" }, { "read_frame", count }, { "hold" } }, options)
      for _, args in ipairs(sends) do assert.same({ true }, { luws.wssend(conn, unpack(args, 1, 2)) }) end
      local frames = {}
      for i, frame in ipairs(peer:at(3).frames) do frames[i] = { frame.fin, frame.opcode, frame.payload } end
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
        { true, 1, "" }, -- a source that yields nothing sends one empty message
      }, frames_of(5, { { 1, source { "a", "", "b" } }, { 2, source { "one" } }, { 1, source {} } }))
    end)

    it("an error from the source is false, err; one raised goes through to the caller; nothing is sent", function()
      open { { "upgrade" }, { "read_frame" }, { "hold" } }
      assert.same({ false, "no disk" }, { luws.wssend(conn, 1, source({}, nil, "no disk")) })
      local raised = { "raised" }
      local ok, err = pcall(luws.wssend, conn, 1, function() error(raised, 0) end)
      assert.is_false(ok)
      assert.is_true(rawequal(raised, err))
      assert.is_true(luws.wssend(conn, 1, "goes on"))
      assert.equal("goes on", peer:at(3).frames[1].payload)
    end)

    it("a source that fails midway leaves the stream unfinishable: close the connection and say so", function()
      for _, case in ipairs {
        { source({ "a", "b" }, nil, "no disk"), { true, false, "no disk" } },
        { source({ "a", "b", "\255" }), { true, false, "send error: a text message must be valid UTF-8" } },
        { (function()
          local chunks = source { "a", "b" }
          return function() return chunks() or error("raised", 0) end
        end)(), { false, "raised" } },
      } do
        open { { "upgrade" }, { "hold" } }
        assert.same(case[2], { pcall(luws.wssend, conn, 1, case[1]) })
        assert.is_false(conn.connected)
        assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "x") })
        local frames = peer:result().frames
        assert.same({ "a", false }, { frames[1].payload, frames[1].fin })
        assert.same({ 8, scripted.close_payload(1011) }, { frames[#frames].opcode, frames[#frames].payload })
      end
    end)

    it("over 65535 bytes: one frame with a 64-bit length by default; fragment_size restores fragmentation", function()
      local big = ("0123456789abcdef"):rep(4096)
      assert.is_true(frames_of(1, { { 2, big } })[1][3] == big)
      assert.is_truthy(peer:so_far().raw:find("\130\255\0\0\0\0\0\1\0\0", 1, true))
      local frames = frames_of(2, { { 2, big } }, { fragment_size = 65535 })
      assert.same({ false, 2, 65535 }, { frames[1][1], frames[1][2], #frames[1][3] })
      assert.same({ true, 0, "f" }, frames[2])
    end)

    it("9 and 10 send ping and pong, 8 marks the connection as closing; then false, closing", function()
      assert.same({ { true, 9, "p" }, { true, 9, "" }, { true, 10, "q" }, { true, 8, "" } },
        frames_of(4, { { 9, "p" }, { 9 }, { 10, "q" }, { 8, "" } }))
      assert.same({ true, true }, { conn.closing, conn.connected })
      assert.same({ false, "closing" }, { luws.wssend(conn, 1, "x") })
    end)

    it('false, "not connected": nil, closed, or never opened', function()
      open { { "upgrade" }, { "close" } }
      for _, thing in ipairs { false, 1, "x", {} } do
        assert.same({ false, "not connected" }, { luws.wssend(thing or nil, 1, "x") })
      end
      poll(luws, conn)
      assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "x") }) -- the peer has
      luws.wsclose(conn)
      assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "x") })
    end)

    it("reserved opcodes, control payloads over 125 bytes, text that is not UTF-8: nothing is sent", function()
      open { { "upgrade" }, { "read_frame" }, { "hold" } }
      for _, case in ipairs {
        { 0, "x" }, { 3, "x" }, { 7, "x" }, { 11, "x" }, { 15, "x" }, { 16, "x" }, { -1, "x" }, { "text", "x" },
        { 9, ("x"):rep(126) }, { 10, ("x"):rep(126) }, { 8, "\3\232" .. ("x"):rep(124) }, { 8, "x" }, { 8, "\3\237" },
        { 1, "\255" }, { 1, "\237\160\128" }, { 1, "\226\130" },
      } do
        local ok, why = luws.wssend(conn, unpack(case))
        assert.is_false(ok)
        assert.equal("string", type(why))
        assert.equal(0, conn.bufferedAmount)
      end
      assert.is_false(conn.closing)
      assert.is_true(luws.wssend(conn, 9, ("x"):rep(125)))
      assert.equal(9, peer:at(3).frames[1].opcode)
    end)

    it("false, send error: REASON", function()
      local faults = open_over_table { { "upgrade" }, { "hold" } }
      function faults.send() return nil, "unplugged", 0 end
      assert.same({ false, "send error: unplugged" }, { luws.wssend(conn, 1, "x") })
    end)

    it("a frame is never cut off: what could not be written stays queued and goes out first", function()
      local message = ("x"):rep(100000)
      local steps = { { "upgrade" }, { "read_frame", 3 }, { "hold" } }
      local faults, inner = open_over_table(steps, { send_timeout = 0.02 })
      local room = 70000 -- bytes that the socket still takes
      function faults.send(bytes)
        if room == 0 then return nil, "timeout", 0 end
        local last, why, partial = inner:send(bytes:sub(1, room))
        room = room - (last or partial)
        if (last or partial) < #bytes then return nil, why or "timeout", last or partial end
        return last
      end
      assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 2, message) })
      local queued = conn.bufferedAmount -- queued bytes are readable
      assert.is_true(queued >= 30000 and queued < 31000, queued)
      assert.same({ false, "send error: timeout; nothing of this was sent" }, { luws.wssend(conn, 1, "not sent") })
      assert.equal(queued, conn.bufferedAmount)
      room = 1e9
      assert.is_true(luws.wssend(conn, 1, "next"))
      assert.equal(0, conn.bufferedAmount)
      assert.is_true(luws.wssend(conn, 1, "last"))
      local frames = peer:at(3).frames
      assert.is_true(frames[1].payload == message)
      assert.same({ "next", "last" }, { frames[2].payload, frames[3].payload })
    end)

    it("while it waits for room it goes on reading what the peer sends, bounded: no deadlock", function()
      -- There is room only when all that the peer sends was read: up to the bound by wssend, then by wsreceive.
      for _, case in ipairs { { 5, true }, { 40, false } } do
        local size, count, all = 65000, unpack(case)
        local frame = scripted.frame { opcode = 2, payload = ("y"):rep(size) }
        local got, come = 0, 0
        local faults, inner = open_over_table(
          { { "upgrade" }, { "wait" }, { "send", frame, times = count }, { "read_frame" }, { "hold" } },
          { send_timeout = all and 10 or 0.3 },
          function(_, opcode) if opcode then got = got + 1 end end)
        function faults.receive(most)
          local data, why, partial = inner:receive(most)
          come = come + #(data or partial)
          return data, why, partial
        end
        function faults.send(bytes)
          if come < #frame * count then return nil, "timeout", 0 end
          return inner:send(bytes)
        end
        peer:go()
        local ok, why = luws.wssend(conn, 1, "at last")
        assert.same(all and { true } or { false, "send error: timeout" }, { ok, why })
        assert.equal(0, got) -- no handler within wssend
        poll(luws, conn, function() return got == count and conn.bufferedAmount == 0 end)
        assert.equal(count, got)
        assert.equal("at last", peer:at(5).frames[1].payload)
      end
    end)

    if tls then it("the same with real sockets that are full, as send_spec.lua has it over ws", function()
      local size, count, got = 65536, 128, 0
      local frame = scripted.frame { opcode = 2, payload = ("y"):rep(size) }
      local steps = { { "upgrade" }, { "send", frame, times = count }, { "read_frame", 2 }, { "hold" } }
      steps.receive_buffer = 65536
      open(steps, { max_payload_size = size, send_timeout = 0.2 },
        function(_, opcode) if opcode then got = got + 1 end end)
      local message = ("x"):rep(12 * 1024 * 1024) -- more than the sockets hold
      assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 2, message) })
      assert.is_true(conn.bufferedAmount > 0)
      poll(luws, conn, function() return got == count and conn.bufferedAmount == 0 end)
      assert.is_true(luws.wssend(conn, 1, "next"))
      local frames = peer:at(4).frames
      assert.is_true(frames[1].payload == message)
      assert.equal("next", frames[2].payload)
    end) end

    it("is callable from inside a handler, on the same connection, during wsreceive", function()
      local sent = 0
      open({ { "upgrade" }, { "send", "\129\1a\137\1p\129\1b" }, { "read_frame", 4 }, { "hold" } }, {
        control_handler = function(c) assert(luws.wssend(c, 1, "control")) end,
      }, function(c, opcode, data)
        assert(luws.wssend(c, opcode, data .. data))
        sent = sent + 1
      end)
      poll(luws, conn, function() return sent == 2 end)
      local payloads = {}
      for i, frame in ipairs(peer:at(4).frames) do payloads[i] = frame.payload end
      assert.same({ "aa", "control", "p", "bb" }, payloads)
      assert.same({}, logged)
    end)
  end)
end

describe("wssend, as a plugin written for LuWS relies on it,", function()
  for _, scheme in ipairs { "ws", "wss" } do
    it("blocks for at most send_timeout, 5 s by default, while the socket is full: " .. scheme, function()
      local output, status = impatient[scheme].ends()
      assert.same({ "false\tsend error: timeout\ttrue\n", 0 }, { output, status })
    end)
  end
end)
