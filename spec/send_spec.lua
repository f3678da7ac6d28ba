-- wssend: what goes on the wire, what is refused without harm, and what happens when the peer does not read.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local sockets = require "spec.support.sockets"
local source = require "spec.support.source"

local function ignore() end

describe("wssend", function()
  local peer, conn

  --- A connection to a peer that reads so many frames, and then to the end.
  local function open(frames, options)
    peer = scripted.peer { { "upgrade" }, { "read_frame", frames }, { "hold" } }
    options = options or {}
    options.close_timeout = 0
    conn = assert(luws.wsopen(peer.url, ignore, options))
  end

  --- The first `count` frames that the peer got, as { fin, opcode, payload }.
  local function sent(count)
    local frames = {}
    for i, frame in ipairs(peer:at(3).frames) do
      if i <= count then frames[i] = { frame.fin, frame.opcode, frame.payload } end
      assert.is_true(frame.masked) -- RFC 6455 section 5.1
    end
    return frames
  end

  after_each(function()
    luws.wsclose(conn)
    if peer then peer:close() end
    conn, peer = nil, nil
  end)

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
      peer = scripted.peer { { "upgrade" }, { "read", 4 }, { "hold" } }
      conn = assert(luws.wsopen(peer.url, ignore, { use_masking = false, close_timeout = 0 }))
      assert.is_true(luws.wssend(conn, 1, "hi"))
      assert.equal("\129\2hi", peer:at(3).raw:sub(-4))
    end)

    it("with a fresh masking key for each frame", function()
      open(20)
      for _ = 1, 20 do luws.wssend(conn, 1, "same") end
      local keys, count = {}, 0
      for _, frame in ipairs(peer:at(3).frames) do
        if not keys[frame.key] then count = count + 1 end
        keys[frame.key] = true
      end
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
      ["bad argument #3 to 'wssend' (its __tostring returns no string)"] = {
        1,
        setmetatable({}, { __tostring = function() return {} end }),
      },
      ["bad argument #3 to 'wssend' (the source returned a number)"] = { 1, source { 1 } },
      ["bad argument #3 to 'wssend' (the source returned a table)"] = { 1, source { {} } },
      ["the disk is gone"] = { 1, source({}, nil, "the disk is gone") },
      ["the disk is full"] = { 1, function() return false, "the disk is full" end },
      -- Whether the first chunk is the last as well must be known before it can be sent.
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

  it("closes the connection when a source fails midway: the message could never be ended", function()
    peer = scripted.peer { { "upgrade" }, { "read_frame", 3 }, { "close" } }
    conn = assert(luws.wsopen(peer.url, ignore))
    assert.same({ false, "the disk is gone" }, { luws.wssend(conn, 1, source({ "a", "b" }, nil, "the disk is gone")) })
    assert.is_false(conn.connected)
    local frames = peer:result().frames
    assert.same({ "a", "b", 8 }, { frames[1].payload, frames[2].payload, frames[3].opcode })
  end)

  it("closes it also when a chunk cannot be sent, or the source raises an error: which is let through", function()
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
      peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "hold" } }
      conn = assert(luws.wsopen(peer.url, ignore, { close_timeout = 0 }))
      assert.same(case[2], { pcall(luws.wssend, conn, 1, case[1]) }, name)
      assert.equal(case.still_open or false, conn.connected, name)
      luws.wsclose(conn)
      peer:close()
    end
  end)

  it("takes a source that yields", function()
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

  it("says closing behind a close frame, and not connected behind the end", function()
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

  it("waits for at most send_timeout, loses nothing and cuts nothing off", function()
    local message = ("x"):rep(12 * 1024 * 1024) -- more than the sockets hold
    peer = scripted.peer { receive_buffer = 65536, { "upgrade" }, { "wait" }, { "read_frame", 3 }, { "hold" } }
    conn = assert(luws.wsopen(peer.url, ignore, { send_timeout = 0.1, close_timeout = 0 }))
    local started = luws.gettime()
    assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 2, message) })
    local took = luws.gettime() - started
    assert.is_true(took >= 0.1 and took < 2, took)
    local waiting = conn.bufferedAmount
    assert.is_true(waiting > 0 and waiting <= #message + 14)
    -- What would be piled upon it is not taken.
    assert.same({ false, "send error: timeout; nothing of this was sent" }, { luws.wssend(conn, 1, "not sent") })
    assert.is_true(conn.bufferedAmount <= waiting)
    peer:go()
    conn.options.send_timeout = 10
    assert.is_true(luws.wssend(conn, 1, "second"))
    assert.equal(0, conn.bufferedAmount)
    assert.is_true(luws.wssend(conn, 1, "third"))
    local frames = peer:at(4).frames
    assert.equal(message, frames[1].payload)
    assert.same({ "second", "third" }, { frames[2].payload, frames[3].payload })
  end)

  for _, tls in ipairs { false, true } do
    it("needs no room for a source's only chunk, as for a string, over " .. (tls and "wss" or "ws"), function()
      local message = ("x"):rep(8 * 1024 * 1024) -- more than the sockets hold
      peer = scripted.peer {
        tls = tls, receive_buffer = 65536, { "upgrade" }, { "wait" }, { "read_frame", 2 }, { "hold" },
      }
      conn = assert(luws.wsopen(peer.url, ignore, { send_timeout = 0.1, close_timeout = 0 }))
      assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 2, source { message }) })
      assert.same({ true, false }, { conn.connected, conn.closing })
      peer:go()
      conn.options.send_timeout = 10
      assert.is_true(luws.wssend(conn, 1, "following"))
      local frames = peer:at(4).frames
      assert.same({ true, 2 }, { frames[1].fin, frames[1].opcode })
      assert.is_true(frames[1].payload == message) -- a report of the difference would be as long
      assert.same({ true, 1, "following" }, { frames[2].fin, frames[2].opcode, frames[2].payload })
    end)
  end

  describe("when there is no room for a source's", function()
    -- The bytes of the frames that the socket refuses so long as no more are queued, and what the peer gets at last:
    -- each is two bytes, a key of four, and the payload.
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
        peer = scripted.peer { { "upgrade" }, { "read_frame", #frames }, { "close" } }
        conn = assert(luws.wsopen(peer.url, ignore, {
          send_timeout = 0.05, fragment_size = case.fragment_size, connect = sockets.connecting(replaced),
        }))
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
        for i, frame in ipairs(peer:result().frames) do seen[i] = { frame.fin, frame.opcode, frame.payload } end
        assert.same(frames, seen)
      end)
    end
  end)

  it("reads while it waits, so that two who send to each other get on", function()
    local size, count = 65536, 128
    local frame = scripted.frame { opcode = 2, payload = ("y"):rep(size) }
    local steps = { { "upgrade" }, { "send", frame, times = count }, { "read_frame" }, { "hold" } }
    steps.receive_buffer = 65536
    peer = scripted.peer(steps)
    local got = 0
    conn = assert(luws.wsopen(peer.url, function(_, opcode) if opcode then got = got + 1 end end,
      { max_payload_size = size, close_timeout = 0, send_timeout = 0.5 }))
    -- The peer reads nothing before it has sent everything, which is more than the sockets hold.
    local message = ("x"):rep(12 * 1024 * 1024) -- more than the sockets hold
    local ok, why = luws.wssend(conn, 2, message)
    if not ok then
      -- The bound on what is read ahead was reached: receiving makes room.
      assert.equal("send error: timeout", why)
    end
    poll(luws, conn, function() return got == count and conn.bufferedAmount == 0 end)
    assert.equal(count, got)
    assert.equal(message, peer:at(4).frames[1].payload)
  end)

  it("says so when the peer is gone, and raises no signal", function()
    open(0)
    peer:close()
    local ok, why
    for _ = 1, 100 do
      ok, why = luws.wssend(conn, 1, "anybody there?")
      if not ok then break end
      luws.sleep(0.01)
    end
    assert.same({ false, "send error: closed" }, { ok, why })
  end)
end)
