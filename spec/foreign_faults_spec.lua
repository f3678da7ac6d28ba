-- options.connect: a socket that is a plain Lua table and implements only what LuaSocket promises:
-- partial reads and writes, "timeout", "wantread" and "wantwrite" at any time, and errors together with bytes.

local log = require "spec.support.log"
local memory_socket = require "spec.support.memory_socket"
local world = require "spec.support.world"
local compat = require "spec.support.compat"
local unpack = compat.unpack

local PUC = not compat.yields_through_pcall -- PUC Lua 5.1

describe("a socket that is a plain Lua table", function()
  local w, luws, conn, got

  local function handler(_, opcode, data) got[#got + 1] = { opcode, data } end

  local function open(faults, options)
    local memory = memory_socket.new(faults, w)
    options = options or {}
    options.connect = function() return memory end
    conn = assert(luws.wsopen("ws://memory/", handler, options))
    assert.equal(memory, conn.socket)
    got = {}
    return memory
  end

  --- Receives and waits until done(), or until no more will come. Returns the results of the last wsreceive.
  local function receive_until(done)
    local more, bytes
    repeat
      luws.wswait(conn, 5)
      more, bytes = luws.wsreceive(conn)
    until done() or more == nil
    return more, bytes
  end

  local function never() return false end

  local function echo(text)
    got = {}
    assert.same({ true }, { luws.wssend(conn, 2, text) })
    receive_until(function() return got[1] end)
    assert.is_true(#got == 1 and got[1][1] == 2 and got[1][2] == text)
  end

  before_each(function()
    w = world.new()
    luws = w.luws
  end)

  --- Creates a fault that cycles through these: functions, or lists of values to return.
  local function turns(list)
    local turn = 0
    return function(...)
      turn = turn % #list + 1
      local what = list[turn]
      if type(what) == "function" then return what(...) end
      return unpack(what, 1, 3)
    end
  end

  local function one(memory, bytes) return memory:take(bytes:sub(1, 1)) end
  local function one_then(why)
    return function(memory, bytes) return nil, why, memory:take(bytes:sub(1, 1)) end
  end
  local function some(memory, max)
    local bytes = memory:give(math.min(max, 3))
    if bytes == "" then return nil, "timeout", "" end
    return nil, "timeout", bytes
  end
  local NOTHING = {}

  -- the socket's behaviour; whether it takes our close frame whole, and returns the peer's whole
  for _, case in ipairs {
    { "does all at once", {}, true, true },
    { "sends single bytes and says so", { send = one }, true, true },
    { "sends single bytes and then has no room", { send = one_then "timeout" }, false, false },
    { "sends in fits and starts", {
      send = turns { { nil, "timeout", 0 }, one_then "wantwrite", { nil, "wantread", 0 }, NOTHING, { nil, "timeout" } },
    }, false, false },
    { "receives single bytes", {
      receive = function(memory)
        local byte = memory:give(1)
        if byte == "" then return nil, "timeout" end
        return nil, "timeout", byte
      end,
    }, true, false },
    { "receives in fits and starts", {
      receive = turns { { nil, "wantread", "" }, some, { nil, "wantwrite" }, { nil, "timeout", "" }, NOTHING },
    }, true, false },
    { "does both in fits and starts", {
      send = turns { { nil, "wantread", 0 }, one, one_then "timeout", { nil, "wantwrite", 0 } },
      receive = turns { { nil, "timeout" }, some, { nil, "wantread" } },
    }, false, false },
  } do
    local name, faults, says_goodbye, hears_answer = unpack(case)

    it(name, function()
      local memory = open(faults)
      local expected = { { 2, "" }, { 2, "Hello" }, { 2, ("\0\255"):rep(60) }, { 2, ("x"):rep(126) }, { 9, "ping" } }
      for i = 1, 4 do echo(expected[i][2]) end -- to the limit of the shortest form of a frame, and beyond
      assert.is_true(luws.wssend(conn, 9, "ping"))
      -- The peer sees what the socket has taken so far once, and in order.
      assert.same(expected, memory.peer.events)
      luws.wsclose(conn)
      assert.same({ 1, 0, false, -1 }, { memory.closed, memory.late, conn.connected, conn:getfd() })
      assert.same(hears_answer and { 1000, true } or { 1006, false }, { conn.close_code, conn.was_clean })
      if says_goodbye then expected[6] = { 8, "\3\232" } end
      assert.same(expected, memory.peer.events)
      assert.same({ nil, "not connected" }, { luws.wsreceive(conn) })
    end)
  end

  it("delivers the bytes that came with the error, and then the error", function()
    for _, why in ipairs { "closed", "connection reset by peer", "something of its own" } do
      local memory = open()
      memory.peer:raw "\129\5Hello\129\9cut"
      function memory.faults.receive(_, max)
        local bytes = memory:give(max)
        if #bytes < max then return nil, why, bytes end
        return bytes
      end
      assert.same({ nil, why }, { receive_until(never) })
      assert.same({ { 1, "Hello" }, { false, "receiver error: " .. why } }, got)
      assert.same({ 1, 0, false, 1006 }, { memory.closed, memory.late, conn.connected, conn.close_code })
    end
  end)

  it("says why it cannot send", function()
    for _, why in ipairs { "closed", "broken pipe" } do
      local memory = open()
      function memory.faults.send() return nil, why, 0 end
      assert.same({ false, "send error: " .. why }, { luws.wssend(conn, 1, "x") })
      luws.wsclose(conn)
      assert.same({ 1, 0 }, { memory.closed, memory.late })
    end
  end)

  describe("that returns invalid values has failed, and is closed nevertheless:", function()
    local unspeakable = setmetatable({}, { __tostring = function() error("no") end })
    for _, case in ipairs {
      { "its receive returned a table", function() return {} end },
      { "its receive returned a boolean", function() return true end },
      { "its receive returned a number", function() return 5 end },
      { "table", function() return nil, unspeakable end },
      { "false", function() return nil, false end },
      { "an error without a message", function() error() end },
      { "it broke", function() error("it broke", 0) end },
    } do
      it("receive, " .. case[1], function()
        local memory = open()
        memory.faults.receive = case[2]
        assert.same({ nil, case[1] }, { luws.wsreceive(conn) })
        assert.same({ { false, "receiver error: " .. case[1] } }, got)
        luws.wsclose(conn)
        assert.same({ 1, 0 }, { memory.closed, memory.late })
      end)
    end
    for _, case in ipairs {
      { "its send returned -1", function() return nil, "timeout", -1 end },
      { "its send returned 1e+300", function() return 1e300 end },
      { "its send returned 0.5", function() return 0.5 end },
      { "its send returned a string", function() return "1" end },
      { "its send returned a table", function() return nil, "timeout", {} end },
      { "table", function() return nil, unspeakable end },
      { "an error without a message", function() error() end },
      { "it broke", function() error("it broke", 0) end },
    } do
      it("send, " .. case[1], function()
        local memory = open()
        memory.faults.send = case[2]
        for _ = 1, 2 do
          assert.same({ false, "send error: " .. case[1] }, { luws.wssend(conn, 1, "x") })
        end
        luws.wsclose(conn)
        assert.same({ 1, 0 }, { memory.closed, memory.late })
      end)
    end
  end)

  describe("whose send has raised an error", function()
    for _, place in ipairs { "the main coroutine", "a coroutine" } do
      it("in " .. place .. " is never sent anything again, even if the error is no longer raised", function()
        local memory = open()
        function memory.faults.send(_, bytes)
          memory:take(bytes:sub(1, 3))
          error("it broke", 0)
        end
        local function say() return pcall(luws.wssend, conn, 1, "first") end
        -- In PUC Lua 5.1 a coroutine's error reaches the caller, because code that may yield cannot be under pcall.
        local caught = place == "the main coroutine" or not PUC
        local results = { (caught and say or coroutine.wrap(say))() }
        if not caught then
          assert.same({ false, "it broke" }, results)
        else
          assert.same({ true, false, "send error: it broke" }, results)
        end
        memory.faults.send = nil
        local sends = memory.sends
        local why = caught and "it broke" or "interrupted"
        assert.same({ false, "send error: " .. why }, { luws.wssend(conn, 1, "second") })
        assert.same({ nil, why }, { receive_until(never) })
        assert.same({ { false, "receiver error: " .. why } }, got)
        luws.wsclose(conn)
        assert.same({ sends, 3, 1, 0 }, { memory.sends, memory.peer:incomplete(), memory.closed, memory.late })
      end)
    end
  end)

  -- If a coroutine is abandoned inside a method, or ended there by an error, the number of bytes moved is unknown.
  for _, work in ipairs { "send", "receive" } do
    for _, how in ipairs { "given up", "under a pcall" } do
      it(("whose %s yields and is never resumed, %s, is over: interrupted"):format(work, how), function()
        local memory = open()
        local name = work == "send" and "wssend" or "wsreceive"
        if work == "receive" then memory.peer:raw "\129\1x" end
        memory.faults[work] = function() coroutine.yield() end
        coroutine.wrap(function()
          -- PUC Lua 5.1 ends this with an error, unlike LuaJIT.
          if how == "under a pcall" then pcall(luws[name], conn, 1, "first") else luws[name](conn, 1, "first") end
        end)()
        memory.faults[work] = nil
        collectgarbage()
        collectgarbage()
        local calls = memory[work .. "s"]
        if work == "send" then
          assert.same({ false, "send error: interrupted" }, { luws.wssend(conn, 1, "second") })
        end
        assert.same({ nil, "interrupted" }, { luws.wsreceive(conn) })
        assert.same({ { false, "receiver error: interrupted" } }, got)
        assert.same({ nil, "interrupted" }, { luws.wsreceive(conn) })
        assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "third") })
        assert.equal(1, #got)
        assert.same({ calls, 1, 0, {} },
          { memory[work .. "s"], memory.closed, memory.late, work == "send" and memory.peer.events or {} })
        assert.equal(0, conn.bufferedAmount)
      end)
    end
  end

  it("whose close fails is logged, and the end is still reported", function()
    local warned = log.start()
    finally(log.stop)
    local memory = open { close = function() error({}) end }
    memory.peer:raw "\136\2\3\232"
    assert.same({ nil, "closed" }, { receive_until(never) })
    assert.same({ { false, "receiver error: closed" } }, got)
    luws.wsclose(conn)
    assert.equal(1, memory.closed)
    assert.same({ { 2, "luws: the program's socket cannot be closed: table" } },
      { { warned[1][1], (warned[1][2]:gsub("table: .*", "table")) } })
    assert.same({ false, "upgrade failed; it broke" }, {
      luws.wsopen("ws://host/", handler, {
        connect = function()
          return memory_socket.new {
            receive = function() error("it broke", 0) end, close = function() error({}) end,
          }
        end,
      }),
    })
    assert.equal(2, #warned)
  end)

  it("is not called endlessly if it takes nothing", function()
    local memory = open({}, { send_timeout = 0.1 })
    function memory.faults.send() return nil, "timeout", 0 end
    local sends, receives, started = memory.sends, memory.receives, w.clock.now()
    assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 1, "first") })
    assert.near(0.1, w.clock.now() - started, 1e-9)
    assert.is_true(memory.sends - sends <= 60, memory.sends - sends)
    assert.is_true(memory.receives - receives <= 120, memory.receives - receives)
    assert.equal(11, conn.bufferedAmount)
    assert.same({ false, "send error: timeout; nothing of this was sent" }, { luws.wssend(conn, 1, "second") })
    assert.equal(11, conn.bufferedAmount)
    -- Queued data goes out first, and whole.
    memory.faults.send = nil
    assert.is_true(luws.wssend(conn, 1, "third"))
    receive_until(function() return got[2] end)
    assert.same({ { 1, "first" }, { 1, "third" } }, got)
  end)

  it("is called once or twice, without waiting, with a send_timeout of 0", function()
    local memory = open({}, { send_timeout = 0 })
    function memory.faults.send() return nil, "timeout", 0 end
    local sends, started = memory.sends, w.clock.now()
    for _ = 1, 2 do
      assert.is_true(luws.wssend(conn, 1, "queued"))
      assert.equal(started, w.clock.now())
      assert.is_true(memory.sends - sends <= 2, memory.sends - sends)
      sends = memory.sends
    end
  end)

  it("never waits in wsreceive, and waits in steps of 0.2 s in wswait", function()
    local memory = open()
    memory.timeouts, memory.receives = {}, 0
    local started = w.clock.now()
    assert.same({ false, 0 }, { luws.wsreceive(conn) })
    assert.same({ { ["0"] = true }, started }, { memory.timeouts, w.clock.now() })
    assert.is_false(luws.wswait(conn, 1))
    assert.near(1, w.clock.now() - started, 1e-9)
    assert.is_true(memory.timeouts["0.2"])
    assert.is_true(memory.receives <= 8, memory.receives)
    memory.peer:raw "\129\1x"
    started = w.clock.now()
    assert.is_true(luws.wswait(conn, 5))
    assert.equal(started, w.clock.now())
    luws.wsreceive(conn)
    assert.same({ { 1, "x" } }, got)
  end)

  it("that returns from a wait at once is called every 2 ms, and not endlessly", function()
    local memory = open { receive = function(memory, max) return nil, "timeout", memory:give(max) end }
    local started = w.clock.now()
    memory.receives = 0
    assert.is_false(luws.wswait(conn, 0.1))
    assert.near(0.1, w.clock.now() - started, 1e-9)
    assert.is_true(memory.receives <= 60, memory.receives)
  end)

  it("whose peer sends no more and takes nothing is waited for, and not called endlessly", function()
    local memory = open({}, { send_timeout = 1 })
    function memory.faults.send() return nil, "timeout", 0 end
    function memory.faults.receive() return nil, "closed", "" end
    local sends, started = memory.sends, w.clock.now()
    assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 1, "x") })
    assert.near(1, w.clock.now() - started, 1e-9)
    assert.is_true(memory.sends - sends <= 600, memory.sends - sends)
  end)

  it("that cannot send any more has also ended for wsreceive, once it has no more data", function()
    local memory = open()
    function memory.faults.send() return nil, "no buffer space", 0 end
    memory.peer:raw "\129\1x"
    assert.same({ false, "send error: no buffer space" }, { luws.wssend(conn, 1, "lost") })
    assert.is_true(luws.wswait(conn, 60))
    assert.same({ nil, "no buffer space" }, { receive_until(never) })
    assert.same({ { 1, "x" }, { false, "receiver error: no buffer space" } }, got)
  end)
end)
