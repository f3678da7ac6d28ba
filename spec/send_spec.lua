-- wssend: what goes on the wire, what is refused without harm, and what happens when the peer does not read. In memory,
-- except for behaviour that only real sockets show.

local memory_socket = require "spec.support.memory_socket"
local real = require "luws"
local scripted = require "spec.support.scripted"
local session = require "spec.support.session"
local source = require "spec.support.source"
local world = require "spec.support.world"
local compat = require "spec.support.compat"
local unpack = compat.unpack

-- From Lua 5.3 on, tostring itself rejects a __tostring that does not return a string.
local accepts, NO_STRING = pcall(tostring, setmetatable({}, { __tostring = function() return {} end }))
if accepts then NO_STRING = "its __tostring does not return a string" end

describe("wssend", function()
  local s, luws, conn

  before_each(function()
    s = world.session()
    luws = s.luws
  end)

  after_each(function() s:close() end)

  --- Returns a connection to a peer that reads `frames` frames, and then to the end.
  local function open(frames, options)
    conn = s:open({ { "read_frame", frames }, { "hold" } }, options)
  end

  --- The first `count` frames that the peer got, as { fin, opcode, payload }.
  local function sent(count)
    local frames = {}
    for i, frame in ipairs(s.peer:at(3).frames) do
      if i <= count then frames[i] = { frame.fin, frame.opcode, frame.payload } end
    end
    return frames
  end

  describe("sends", function()
    local big = ("0123456789"):rep(7000)
    for name, case in pairs {
      ["a text"] = { { 1, "Hello" }, { true, 1, "Hello" } },
      ["binary"] = { { 2, "\0\255" }, { true, 2, "\0\255" } },
      ["an empty message"] = { { 1, "" }, { true, 1, "" } },
      ["an opcode that is a numeral"] = { { "1", "x" }, { true, 1, "x" } },
      ["a number, by tostring"] = { { 1, 42 }, { true, 1, "42" } },
      ["a boolean, by tostring"] = { { 1, true }, { true, 1, "true" } },
      ["nil, by tostring"] = { { 1, nil }, { true, 1, "nil" } },
      ["an object, by its __tostring"] = {
        { 1, setmetatable({}, { __tostring = function() return "object" end }) },
        { true, 1, "object" },
      },
      ["a ping"] = { { 9, "p" }, { true, 9, "p" } },
      ["a ping without data"] = { { 9 }, { true, 9, "" } },
      ["a pong that nobody asked for"] = { { 10, "p" }, { true, 10, "p" } },
      ["over 65535 bytes in one frame"] = { { 2, big }, { true, 2, big } },
      ["an empty source as an empty message"] = { { 1, source {} }, { true, 1, "" } },
      ["each chunk of a source as a fragment"] = {
        { 1, source { "a", "", "b" } },
        { false, 1, "a" }, { false, 0, "" }, { true, 0, "b" },
      },
      ["characters across a source's chunks"] = {
        { 1, source { "\226", "\130\172" } },
        { false, 1, "\226" }, { true, 0, "\130\172" },
      },
    } do
      it(name, function()
        open(#case - 1)
        assert.same({ true }, { luws.wssend(conn, case[1][1], case[1][2]) })
        local expected = {}
        for i = 2, #case do expected[i - 1] = case[i] end
        assert.same(expected, sent(#expected))
      end)
    end

    it("large messages in fragments, if fragment_size says so", function()
      open(3, { fragment_size = 4 })
      assert.is_true(luws.wssend(conn, 2, "0123456789"))
      assert.same({ { false, 2, "0123" }, { false, 0, "4567" }, { true, 0, "89" } }, sent(3))
    end)

    it("without masks, if use_masking is false", function()
      conn = s:open({ { "read", 4 }, { "hold" } }, { use_masking = false })
      assert.is_true(luws.wssend(conn, 1, "hi"))
      assert.equal("\129\2hi", s.peer:at(3).raw:sub(-4))
    end)

    it("with a fresh masking key for each frame", function()
      local t = session.new(real) -- in memory the keys are always the same
      t:open { { "read_frame", 20 }, { "hold" } }
      for _ = 1, 20 do real.wssend(t.conn, 1, "same") end
      local keys, count = {}, 0
      for _, frame in ipairs(t.peer:at(3).frames) do
        assert.is_true(frame.masked) -- RFC 6455 section 5.1
        if not keys[frame.key] then count = count + 1 end
        keys[frame.key] = true
      end
      t:close()
      assert.equal(20, count) -- RFC 6455 section 5.3
    end)
  end)

  describe("refuses, sends nothing, and goes on:", function()
    for text, args in pairs {
      ["bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got 0)"] = { 0, "x" },
      ["bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got 1.5)"] = { 1.5, "x" },
      ["bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got nil)"] = {},
      ["bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got text)"] = { "text", "x" },
      ["bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got 16)"] = { 16, "x" },
      ["bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got 3)"] = { 3, "x" },
      ["send error: a text message must be valid UTF-8"] = { 1, "\255" },
      ["send error: a control frame holds at most 125 bytes, not 126"] = { 9, ("x"):rep(126) },
      ["send error: invalid close frame: close frame with a body of one byte"] = { 8, "x" },
      ["send error: invalid close frame: invalid close code 1005"] = { 8, "\3\237" },
      ["bad argument #3 to 'wssend' (a control frame takes no source)"] = { 9, source { "a", "b" } },
      [("bad argument #3 to 'wssend' (%s)"):format(NO_STRING)] = {
        1,
        setmetatable({}, { __tostring = function() return {} end }),
      },
      ["bad argument #3 to 'wssend' (the source returned a number)"] = { 1, source { 1 } },
      ["bad argument #3 to 'wssend' (the source returned a table)"] = { 1, source { {} } },
      ["the disk is gone"] = { 1, source({}, nil, "the disk is gone") },
      ["the disk is full"] = { 1, function() return false, "the disk is full" end },
      -- Before the first chunk can be sent, it must be known whether it is also the last.
      ["the second chunk is gone"] = { 1, source({ "a" }, nil, "the second chunk is gone") },
      ["bad argument #3 to 'wssend' (the source returned a boolean)"] = { 1, source { "a", true } },
      ["bad argument #3 to 'wssend' (no text)"] = {
        1,
        setmetatable({}, { __tostring = function() error("no text", 0) end }),
      },
    } do
      it(text, function()
        open(1)
        assert.same({ false, text }, { luws.wssend(conn, args[1], args[2]) })
        assert.is_true(luws.wssend(conn, 1, "goes on"))
        assert.same({ { true, 1, "goes on" } }, sent(1))
      end)
    end
  end)

  it("closes the connection when a source fails midway, because the message could never be completed", function()
    conn = s:open { { "read_frame", 3 }, { "close" } }
    assert.same({ false, "the disk is gone" }, { luws.wssend(conn, 1, source({ "a", "b" }, nil, "the disk is gone")) })
    assert.is_false(conn.connected)
    local frames = s.peer:result().frames
    assert.same({ "a", "b", 8 }, { frames[1].payload, frames[2].payload, frames[3].opcode })
  end)

  it("also closes it when a chunk cannot be sent, or the source raises an error, which is passed on", function()
    for name, case in pairs {
      ["is not UTF-8"] = {
        source { "a", "\255", "c" },
        { true, false, "send error: a text message must be valid UTF-8" },
      },
      ["raises"] = { function() error("raised", 0) end, { false, "raised" }, still_open = true },
      ["raises midway"] = {
        (function()
          local chunks = source { "a", "b" }
          return function() return chunks() or error({ "raised" }, 0) end
        end)(),
        { false, { "raised" } },
      },
    } do
      open(1)
      assert.same(case[2], { pcall(luws.wssend, conn, 1, case[1]) }, name)
      assert.equal(case.still_open or false, conn.connected, name)
      luws.wsclose(conn)
    end
  end)

  it("passes on a source's error midway, also in a coroutine, and ends the connection", function()
    open(1)
    local chunks = source { "a", "b" }
    local results = { coroutine.wrap(function()
      return pcall(luws.wssend, conn, 1, function() return chunks() or error("raised", 0) end)
    end)() }
    assert.same({ false, "raised" }, results)
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "late") })
    assert.is_false(conn.connected)
    -- PUC Lua 5.1 cannot catch errors in code that may yield, so the driver was aborted there.
    if compat.yields_through_pcall then
      assert.same({ nil, "not connected" }, { luws.wsreceive(conn) })
      assert.same({}, s.told)
    else
      assert.same({ nil, "interrupted" }, { luws.wsreceive(conn) })
      assert.same({ { false, "receiver error: interrupted" } }, s.told)
    end
    assert.same({ { false, 1, "a" } }, sent(1))
  end)

  it("accepts a source that yields", function()
    open(3)
    local chunks = source { "a", "b", "c" }
    local thread = coroutine.create(function()
      return luws.wssend(conn, 1, function()
        assert(coroutine.yield("turn") == "go on")
        return chunks()
      end)
    end)
    local turns = 0
    local resumed, result
    repeat
      resumed, result = coroutine.resume(thread, "go on")
      turns = turns + 1
    until coroutine.status(thread) == "dead"
    assert.same({ true, true, 5 }, { resumed, result, turns })
    assert.same({ { false, 1, "a" }, { false, 0, "b" }, { true, 0, "c" } }, sent(3))
  end)

  it("says closing after a close frame, and not connected after the end", function()
    open(1)
    assert.is_true(luws.wssend(conn, 8, scripted.close_payload(4000, "bye")))
    assert.is_true(conn.closing)
    assert.same({ false, "closing" }, { luws.wssend(conn, 1, "late") })
    luws.wsclose(conn)
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "later") })
    for _, thing in ipairs { false, 1, "x", {}, print } do
      assert.same({ false, "not connected" }, { luws.wssend(thing, 1, "x") })
    end
  end)

  it("waits for at most send_timeout, and loses or truncates nothing", function()
    local message, clock = ("0123456789"):rep(1000), s.world.clock
    conn = s:open({ receive_buffer = 1000, { "wait" }, { "read_frame", 3 }, { "hold" } }, { send_timeout = 0.1 })
    assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 2, message) })
    assert.equal(0.1, clock.now())
    assert.equal(#message + 8 - 1000, conn.bufferedAmount)
    -- Further messages on top of it are refused. The peer has taken nothing for that long, so this takes no time.
    assert.same({ false, "send error: timeout; nothing of this was sent" }, { luws.wssend(conn, 1, "not sent") })
    assert.equal(0.1, clock.now())
    assert.equal(#message + 8 - 1000, conn.bufferedAmount)
    s.peer:go()
    assert.is_true(luws.wssend(conn, 1, "second"))
    assert.equal(0, conn.bufferedAmount)
    assert.is_true(luws.wssend(conn, 1, "third"))
    assert.same({ { true, 2, message }, { true, 1, "second" }, { true, 1, "third" } }, sent(3))
    assert.equal(0.1, clock.now())
  end)

  it("does not wait at all with a send_timeout of 0, but queues", function()
    local message = ("x"):rep(2000)
    conn = s:open({ receive_buffer = 1000, { "wait" }, { "read_frame", 3 }, { "hold" } }, { send_timeout = 0 })
    assert.is_true(luws.wssend(conn, 2, message))
    assert.is_true(luws.wssend(conn, 1, "queued"))
    assert.is_true(luws.wssend(conn, 9, "p"))
    assert.same({ 0, 1000 + 8 + 12 + 7 }, { s.world.clock.now(), conn.bufferedAmount })
    -- wsflush says whether anything is left.
    assert.same({ false, "send error: timeout" }, { luws.wsflush(conn) })
    assert.equal(0, s.world.clock.now())
    s.peer:go()
    s:poll(function() return conn.bufferedAmount == 0 end)
    assert.same({ { true, 2, message }, { true, 1, "queued" }, { true, 9, "p" } }, sent(3))
  end)

  it("goes on as soon as there is room", function()
    conn = s:open { receive_buffer = 1000, { "sleep", 3 }, { "read_frame" }, { "hold" } }
    assert.is_true(luws.wssend(conn, 2, ("x"):rep(2000)))
    assert.equal(3, s.world.clock.now())
  end)

  it("needs no room for a source's only chunk, just as for a string", function()
    local message = ("x"):rep(5000)
    conn = s:open({ receive_buffer = 1000, { "wait" }, { "read_frame", 2 }, { "hold" } }, { send_timeout = 0.1 })
    assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 2, source { message }) })
    assert.same({ true, false }, { conn.connected, conn.closing })
    s.peer:go()
    assert.is_true(luws.wssend(conn, 1, "following"))
    assert.same({ { true, 2, message }, { true, 1, "following" } }, sent(2))
  end)

  for _, tls in ipairs { false, true } do
    it("loses nothing when a real socket is full, over " .. (tls and "wss" or "ws"), function()
      local t = session.new(real, { tls = tls })
      local message = ("x"):rep(6 * 1024 * 1024) -- more than the sockets hold
      local count = 2 + 8 + #message + 2 + #"following" -- without masks
      t:open({ receive_buffer = 65536, { "wait" }, { "read", count }, { "send", "\129\4done" }, { "hold" } },
        { send_timeout = 0.05, use_masking = false })
      assert.same({ false, "send error: timeout" }, { real.wssend(t.conn, 2, source { message }) })
      local waiting = t.conn.bufferedAmount
      assert.is_true(waiting > 0 and waiting < #message + 10)
      t.peer:go()
      t.conn.options.send_timeout = 10
      assert.is_true(real.wssend(t.conn, 1, "following"))
      assert.equal(0, t.conn.bufferedAmount)
      t:await(1)
      assert.same({ { 1, "done" } }, t.told)
      t:close()
    end)
  end

  it("reads while real sockets are full, so that two peers sending to each other make progress", function()
    local t = session.new(real, { tls = true })
    local size, times, got = 65536, 128, {}
    local message = ("x"):rep(6 * 1024 * 1024)
    -- The peer reads nothing until it has sent everything; both that and our message are larger than the sockets hold.
    t:open({
      receive_buffer = 65536, { "send", scripted.frame { opcode = 2, payload = ("y"):rep(size) }, times = times },
      { "read", 10 + #message }, { "send", "\129\4done" }, { "hold" },
    }, { max_payload_size = size, send_timeout = 0.05, use_masking = false }, function(_, opcode, data)
      got[#got + 1] = opcode == 2 and #data or data
    end)
    -- The limit on reading ahead is reached: receiving makes room.
    assert.same({ false, "send error: timeout" }, { real.wssend(t.conn, 2, message) })
    t:poll(function() return got[times + 1] end)
    t:close()
    assert.same({ size, size, "done" }, { got[1], got[times], got[times + 1] })
  end)

  describe("when there is no room for a source's", function()
    -- The bytes of the frames that the socket refuses as long as no more are queued, and what the peer gets in the end.
    -- Each frame is two bytes, a key of four, and the payload.
    local following = { true, 1, "following" }
    local ended = { true, 8, scripted.close_payload(1011) }
    for name, case in pairs {
      ["only chunk, that goes with what follows"] = { 7, { "a" }, { true, 2, "a" }, following },
      ["only chunk, which is empty, that goes with what follows"] = { 6, { "" }, { true, 2, "" }, following },
      ["last chunk, that goes with what follows"] = {
        8, { "a", "bc" }, { false, 2, "a" }, { true, 0, "bc" }, following,
      },
      ["only chunk, that is fragmented, that goes with what follows"] = {
        22, { "0123456789" }, { false, 2, "012345678" }, { true, 0, "9" }, following, fragment_size = 9,
      },
      ["first chunk of two, the connection is ended by 1011"] = { 7, { "a", "bc" }, { false, 2, "a" }, ended },
      ["second chunk of three, the connection is ended by 1011"] = {
        8, { "a", "bc", "d" }, { false, 2, "a" }, { false, 0, "bc" }, ended,
      },
    } do
      it(name, function()
        local replaced, frames = {}, { unpack(case, 3) }
        conn = s:open({ { "read_frame", #frames }, { "close" } }, {
          send_timeout = 0.05, fragment_size = case.fragment_size, connect = memory_socket.connecting(s, replaced),
        })
        function replaced.send(inner, bytes)
          if #bytes == case[1] then return nil, "timeout", 0 end
          return inner:send(bytes)
        end
        assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 2, source(case[2])) })
        local goes_on = frames[#frames] == following
        assert.equal(goes_on, conn.connected)
        if goes_on then
          replaced.send = nil
          assert.is_true(luws.wssend(conn, 1, "following"))
        end
        local seen = {}
        for i, frame in ipairs(s.peer:result().frames) do seen[i] = { frame.fin, frame.opcode, frame.payload } end
        assert.same(frames, seen)
      end)
    end
  end)

  it("reads while it waits, so that two peers sending to each other make progress", function()
    local size, count, got = 1000, 100, 0
    local frame = scripted.frame { opcode = 2, payload = ("y"):rep(size) }
    -- The peer reads nothing until it has sent everything; both that and our message are larger than the room.
    conn = s:open({
      receive_buffer = 2000, send_buffer = 3000, { "send", frame, times = count }, { "read_frame" }, { "hold" },
    }, nil, function(_, opcode) if opcode then got = got + 1 end end)
    local message = ("x"):rep(50000)
    assert.is_true(luws.wssend(conn, 2, message))
    assert.equal(0, got) -- no handler within wssend
    s.world:receive_all(conn)
    assert.equal(count, got)
    assert.same({ { true, 2, message } }, sent(1))
  end)

  it("says so when the peer is gone, and raises no signal", function()
    local t = session.new(real)
    t:open { { "hold" } }
    t.peer:close()
    local deadline = real.gettime() + 10
    local ok, why
    repeat
      ok, why = real.wssend(t.conn, 1, "anybody there?")
    until not ok or real.gettime() > deadline
    assert.same({ false, "send error: closed" }, { ok, why })
    t:close()
  end)
end)
