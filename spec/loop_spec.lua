-- Connections in other event loops: what the methods that a loop calls return at each moment, LuaSocket's select, and
-- luws.watch in a stand-in for openLuup's scheduler.

local luws = require "luws"
local reactor = require "luws.reactor"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local unpack = require "spec.support.compat".unpack

local CLOSED = "receiver error: closed"
local SCHEDULER = "openLuup.scheduler"

local conn, peer, seen, logged

local function handler(_, opcode, data) seen[#seen + 1] = { opcode, data } end

local function open(script, options)
  peer = scripted.peer(script)
  options = options or {}
  options.close_timeout = 0 -- the scripts do not answer
  conn = assert(luws.wsopen(peer.url, handler, options))
end

local function seen_all(count) return function() return #seen >= count end end

--- Returns whether select reports within the given number of seconds that this can be read.
local function readable(what, seconds) return socket.select({ what }, nil, seconds or 5)[1] == what end

--- What the methods return for a connection that has ended.
local function assert_over()
  assert.same({ -1, -1, false, "r", 0 },
    { conn:getfd(), conn:pollfd(), conn:dirty(), conn:events(), conn:timeout() })
  assert.equal(1, conn:settimeout(0))
  assert.is_nil((conn:receive()))
  assert.same({}, (socket.select({ conn }, nil, 0)))
end

local before_luup, before_scheduler

before_each(function()
  seen, logged, before_luup, before_scheduler = {}, {}, rawget(_G, "luup"), package.loaded[SCHEDULER]
  rawset(_G, "luup", { log = function(text, level) logged[#logged + 1] = { text, level } end })
end)

after_each(function()
  luws.wsclose(conn)
  if peer then peer:close() end
  rawset(_G, "luup", before_luup)
  package.loaded[SCHEDULER] = before_scheduler
end)

for _, tls in ipairs { false, true } do
  describe(("a connection's methods for event loops, over %s:"):format(tls and "wss" or "ws"), function()
    it("before anything has come, when something has, and after it was received", function()
      open { tls = tls, { "upgrade" }, { "wait" }, { "send", "\129\5Hello" }, { "hold" } }
      luws.wsreceive(conn) -- TLS may have had its tickets to deliver
      local fd = conn:getfd()
      assert.is_true(fd >= 0)
      assert.same({ fd, fd }, { conn.socket:getfd(), conn:pollfd() })
      assert.same({ false, "r", nil }, { conn:dirty(), conn:events(), conn:timeout() })
      assert.is_false(readable(conn, 0))
      assert.same({ nil, "timeout" }, { conn:receive() })
      peer:go()
      assert.is_true(readable(conn))
      assert.is_true(readable(conn.socket))
      assert.same({ 7 }, { conn:receive() })
      assert.same({ { 1, "Hello" } }, seen)
      assert.same({ false, fd, "r" }, { conn:dirty(), conn:getfd(), conn:events() })
      assert.is_false(readable(conn, 0))
      luws.wsclose(conn)
      assert_over()
      assert.same({ nil, "not connected" }, { conn:receive() })
    end)

    it("bytes after the 101, which the descriptor may not report", function()
      open { tls = tls, { "upgrade", tail = "\129\5Hello\129\3you" }, { "hold" } }
      assert.same({ true, 0, "r" }, { conn:dirty(), conn:timeout(), conn:events() })
      assert.is_true(readable(conn, 0))
      local started = luws.gettime()
      assert.is_true(luws.wswait(conn, 5))
      assert.is_true(luws.gettime() - started < 2)
      assert.same({}, seen)
      conn:receive()
      assert.same({ { 1, "Hello" }, { 1, "you" } }, seen)
      assert.is_false(conn:dirty())
      assert.is_nil(conn:timeout())
    end)

    it("bytes that came during a send, and bytes that could not be sent", function()
      open({ tls = tls, receive_buffer = 4096, { "upgrade" }, { "read", 100000 }, { "send", "\129\5Hello" }, { "wait" },
        { "hold" } }, { send_timeout = 0.5 })
      assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 2, ("x"):rep(2 ^ 24)) })
      assert.same({ true, "rw", 0 }, { conn:dirty(), conn:events(), conn:timeout() })
      assert.is_true(readable(conn, 0))
      assert.same({}, seen)
      poll(luws, conn, seen_all(1), 2)
      assert.same({ { 1, "Hello" } }, seen)
      assert.same({ false, "rw" }, { conn:dirty(), conn:events() })
    end)

    it("the end, which the descriptor reports", function()
      for _, ending in ipairs { { "close" }, { "send", "\136\2\3\232" }, { "send", "\131\0" } } do
        seen = {}
        open { tls = tls, { "upgrade" }, { "wait" }, ending, { "hold" } }
        peer:go()
        peer:at(4)
        assert.is_true(readable(conn))
        assert.is_true(conn:getfd() >= 0)
        poll(luws, conn)
        assert.equal(1, #seen)
        assert.is_false(seen[1][1])
        assert_over()
        assert.equal(1, #seen)
        luws.wsclose(conn)
        assert_over()
        peer:close()
      end
    end)

    it("how long receive_timeout allows a wait to be", function()
      open({ tls = tls, { "upgrade" }, { "hold" } }, { receive_timeout = 60 })
      local left = conn:timeout()
      assert.is_true(left > 50 and left <= 60, left)
      conn.options.receive_timeout = 0
      assert.is_nil(conn:timeout())
      conn.options.receive_timeout = 0.05
      luws.wswait(conn, 5)
      assert.equal(0, conn:timeout())
      assert.same({ nil, "message timeout" }, { conn:receive() })
      assert.same({ { false, "message timeout" } }, seen)
    end)
  end)
end

describe("a connection's methods for event loops", function()
  --- Returns values of all kinds; with `harmless`, none that raises an error when indexed.
  local function junk(harmless)
    local fails = harmless and {}
      or setmetatable({}, { __index = error, __newindex = error, __call = error, __tostring = error })
    return { 1, "x", true, {}, print, fails, coroutine.create(function() end), { getfd = 1 }, { getfd = error },
      { getfd = function() end }, { getfd = function() return "?" end }, { getfd = function() return {} end },
      { getfd = function() return 1024 end }, { getfd = function() return 0 / 0 end },
      { getfd = function() return math.huge end } }
  end

  it("never raise an error, whatever the fields hold", function()
    for _, field in ipairs { "socket", "options", "msghandler", "connected", "closing", "ip", "port", "lastPing" } do
      open { { "upgrade" }, { "hold" } }
      local fd = conn:getfd()
      for _, over in ipairs { false, true } do
        for i, value in ipairs(junk(field == "options")) do
          conn[field] = value
          local what = field .. " " .. i
          assert.equal((over or field == "socket") and -1 or fd, conn:getfd(), what)
          assert.equal("number", type(conn:pollfd()), what)
          assert.same({ false, "r", 1 }, { conn:dirty(), conn:events(), conn:settimeout(1) }, what)
          assert.equal(over and 0 or nil, conn:timeout(), what)
          assert.same({ nil, over and "not connected" or "timeout" }, { conn:receive() }, what)
        end
        luws.wsclose(conn)
      end
      peer:close()
    end
  end)

  it("report a value that is not a connection as ended", function()
    open { { "upgrade" }, { "hold" } }
    local values = junk()
    values[#values + 1] = io.stdout
    for i = 0, #values do -- 0: nil
      assert.same({ -1, -1, false, "r", 0 }, { conn.getfd(values[i]), conn.pollfd(values[i]), conn.dirty(values[i]),
        conn.events(values[i]), conn.timeout(values[i]) })
      assert.same({ nil, "not connected" }, { conn.receive(values[i]) })
    end
  end)

  it("keep descriptors that are too large from select", function()
    open { { "upgrade" }, { "hold" } }
    conn.socket = { getfd = function() return 1024 end }
    assert.same({ -1, 1024 }, { conn:getfd(), conn:pollfd() })
    conn.socket = { getfd = function() return 1023 end }
    assert.same({ 1023, 1023 }, { conn:getfd(), conn:pollfd() })
  end)

  it("report the bytes in the user's own socket", function()
    local url = servers.url("demo", "ws", "/echo")
    conn = assert(luws.wsopen(url, handler, { connect = function(host, port) return socket.connect(host, port) end }))
    assert.same({ conn.socket:getfd(), false }, { conn:getfd(), conn:dirty() })
    assert(luws.wssend(conn, 1, "Hello"))
    assert.is_true(readable(conn))
    assert.is_true(luws.wswait(conn, 5)) -- takes a byte
    assert.is_true(conn:dirty())
    assert.same({ 7 }, { conn:receive() })
    assert.same({ { 1, "Hello" } }, seen)
    assert.is_false(conn:dirty())
    luws.wsclose(conn)
    assert_over()
  end)
end)

describe("a connection's close", function()
  -- copas.close passes its arguments on; copas before 4 calls it without any.
  for _, case in ipairs {
    { "sends the code and the reason that it is given", "\15\160bye", 4000, "bye" },
    { "sends the code that it is given", "\15\160", 4000 },
    { "is the usual one without", "\3\232" },
  } do
    it(case[1], function()
      open { { "upgrade" }, { "read_frame" }, { "close" } }
      assert.equal(1, conn:close(unpack(case, 3, 4)))
      assert_over()
      local frame = peer:result().frames[1]
      assert.same({ 8, case[2] }, { frame.opcode, frame.payload })
    end)
  end
end)

describe("luws.watch", function()
  local scheduler

  --- Does what openLuup's scheduler does with sockets; an error in here would be fatal to it.
  local function stand_in()
    local list = {}
    scheduler = { watched = {} }
    function scheduler.socket_watch(sock, callback, io, name)
      scheduler.watched[#scheduler.watched + 1] = { sock, io, name }
      list[sock] = callback
    end
    function scheduler.step(seconds)
      local sockets = {}
      for sock in pairs(list) do sockets[#sockets + 1] = sock end
      for _, sock in ipairs((socket.select(sockets, nil, seconds or 0.1))) do
        list[sock](sock)
      end
    end
    --- Steps until a condition holds, or for too long.
    function scheduler.run(done)
      local deadline = luws.gettime() + 10
      while not done() and luws.gettime() < deadline do scheduler.step() end
      assert.is_true(done())
    end
    package.loaded[SCHEDULER] = scheduler
  end

  before_each(stand_in)

  local function watched_until_over()
    assert_over()
    local told = #seen
    scheduler.step(0)
    luws.wsclose(conn)
    scheduler.step(0)
    assert.equal(told, #seen)
    -- One object is watched for all connections, and its descriptor is never closed.
    assert.equal(1, #scheduler.watched)
    assert.equal(reactor.getfd(), scheduler.watched[1][1]:getfd())
  end

  for _, tls in ipairs { false, true } do
    local over = tls and " over wss" or " over ws"

    it("delivers what comes, and what came before, until wsclose" .. over, function()
      open({ tls = tls, { "upgrade", tail = "\129\5first" }, { "wait" }, { "send", "\129\6second\129\5third" },
        { "wait" }, { "send", "\130\126\39\16" .. ("x"):rep(10000) }, { "hold" } }, { receive_chunk_size = 100 })
      assert.same({ true }, { luws.watch(conn) })
      assert.same({ true }, { luws.watch(conn) }) -- twice is once
      assert.same({ nil, "luws" }, { unpack(scheduler.watched[1], 2, 3) })
      assert.same({}, seen)
      scheduler.step(5)
      assert.same({ { 1, "first" } }, seen)
      peer:go()
      scheduler.run(seen_all(3))
      assert.same({ { 1, "second" }, { 1, "third" } }, { seen[2], seen[3] })
      peer:go()
      scheduler.run(seen_all(4))
      assert.is_true(seen[4][2] == ("x"):rep(10000))
      luws.wsclose(conn)
      watched_until_over()
      assert.equal(4, #seen)
    end)

    for _, case in ipairs {
      { "the peer's FIN", { "close" }, CLOSED },
      { "the peer's close frame", { "send", "\136\2\3\232" }, CLOSED },
      { "a reset", { "reset" }, CLOSED },
      { "a broken rule", { "send", "\131\0" }, "reserved opcode 3" },
    } do
      local what, ending, told = unpack(case)
      it("ends with the connection, before its socket is closed: " .. what .. over, function()
        open { tls = tls, { "upgrade" }, { "send", "\129\2ok" }, { "wait" }, ending, { "hold" } }
        assert.is_true(luws.watch(conn))
        scheduler.run(seen_all(1))
        peer:go()
        scheduler.run(seen_all(2))
        assert.same({ { 1, "ok" }, { false, told } }, seen)
        watched_until_over()
      end)
    end
  end

  it("has 64 messages in a turn; what is left makes the watched object dirty and waits for the next turn", function()
    local count, most, turns = 250, 64, 0
    open { { "upgrade", tail = ("\129\1x"):rep(count) }, { "hold" } }
    assert.is_true(luws.watch(conn))
    repeat
      local before = #seen
      assert.is_true(scheduler.watched[1][1]:dirty())
      scheduler.step(0)
      turns = turns + 1
      assert.is_true(#seen > before and #seen <= before + most, #seen - before)
    until #seen == count
    assert.is_true(turns >= 3)
    assert.is_false(conn:dirty())
  end)

  it("keeps a handler's error out of the loop, and may be ended by a handler", function()
    open { { "upgrade" }, { "send", "\129\1a\129\1b" }, { "wait" }, { "send", "\129\1c\129\1d" }, { "hold" } }
    local fails = setmetatable({}, { __tostring = error })
    conn.msghandler = function(...)
      handler(...)
      if seen[3] then return luws.wsclose(conn) end
      error(seen[2] and fails or "on purpose")
    end
    assert.is_true(luws.watch(conn))
    scheduler.run(seen_all(2))
    assert.equal(2, #logged)
    assert.is_truthy(logged[1][1]:match("raised an error: .*on purpose"))
    assert.equal(1, logged[1][2])
    peer:go()
    scheduler.run(seen_all(3))
    watched_until_over()
    assert.same({ { 1, "a" }, { 1, "b" }, { 1, "c" } }, seen)
  end)

  it("lets a handler close another connection that has something to receive in the same turn", function()
    local pair = {}
    for i = 1, 2 do
      open { { "upgrade" }, { "send", "\129\1a" }, { "hold" } }
      pair[i] = { conn = conn, peer = peer }
      conn.msghandler = function(...)
        handler(...)
        luws.wsclose(pair[3 - i].conn)
      end
      assert.is_true(luws.watch(conn))
    end
    for _, one in ipairs(pair) do assert.is_true(readable(one.conn)) end
    scheduler.step(5)
    assert.same({ { 1, "a" } }, seen)
    scheduler.step(0)
    for _, one in ipairs(pair) do
      luws.wsclose(one.conn)
      one.peer:close()
    end
  end)

  it("says why it cannot watch", function()
    open { { "upgrade" }, { "hold" } }
    for _, thing in ipairs { false, 1, "x", {}, print } do
      assert.same({ false, "not connected" }, { luws.watch(thing) })
    end
    assert.same({ false, "not connected" }, { luws.watch() })
    for _, thing in ipairs { false, "x", {}, { socket_watch = 1 }, print } do
      package.loaded[SCHEDULER] = thing
      assert.same({ false, "this is not openLuup" }, { luws.watch(conn) })
    end
    package.loaded[SCHEDULER] = nil
    assert.same({ false, "this is not openLuup" }, { luws.watch(conn) })
    package.loaded[SCHEDULER] = { socket_watch = function() error("no room", 0) end }
    assert.same({ false, "no room" }, { luws.watch(conn) })
    package.loaded[SCHEDULER] = scheduler
    assert.is_true(luws.watch(conn)) -- that reason no longer holds
    luws.wsclose(conn)
    scheduler.step(0)
    assert_over()
    assert.same({ false, "not connected" }, { luws.watch(conn) })
  end)
end)
