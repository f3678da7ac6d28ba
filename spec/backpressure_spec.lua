-- What happens to messages that the peer does not take: how much is queued (max_buffered), how long wssend waits for a
-- peer that is deaf, and how a program learns that it can go on (drain_handler). In memory, over luws's own sockets and
-- the user's, except for what only real sockets show.

local log = require "spec.support.log"
local memory_socket = require "spec.support.memory_socket"
local real = require "luws"
local session = require "spec.support.session"
local source = require "spec.support.source"
local world = require "spec.support.world"

-- How many MiB each of two talkers has to say; more with make faults.
local COUNT = os.getenv "LUWS_FAULTS" == "all" and 64 or 16

local FULL = { false, "send error: buffer full" }
local TIMEOUT = { false, "send error: timeout" }
local REFUSED = { false, "send error: timeout; nothing of this was sent" }

for place, of_users in pairs { ["over luws's own socket"] = false, ["over the user's socket"] = true } do
  describe("back-pressure " .. place, function()
    local w, luws, clock, conn, peer

    --- Opens a connection to a peer that then reads nothing, and has room for `room` bytes.
    local function open(room, options, handler)
      options = options or {}
      options.close_timeout = 0
      if of_users then options.connect = function() return memory_socket.new({}, w, peer) end end
      peer = w:peer()
      conn = w:open(peer, options, handler)
      peer:pause(room)
    end

    --- Sends a binary message of so many bytes, in a frame that has 6 bytes more (8 from 126 bytes on).
    local function send(size) return { luws.wssend(conn, 2, ("x"):rep(size)) } end

    --- Returns the sizes of the messages that the peer has got.
    local function got()
      clock.sleep(0) -- so that it reads
      local sizes = {}
      for i, event in ipairs(peer.events) do sizes[i] = event[1] == 2 and #event[2] or event[1] end
      return sizes
    end

    before_each(function()
      w = world.new()
      luws, clock = w.luws, w.clock
    end)

    after_each(function() luws.wsclose(conn) end)

    describe("max_buffered", function()
      it("refuses a message that would make more than that wait, as a whole, and takes one that would not", function()
        open(0, { max_buffered = 100, send_timeout = 0 })
        assert.same({ { true }, 56 }, { send(50), conn.bufferedAmount })
        assert.same({ FULL, 56 }, { send(39), conn.bufferedAmount })
        assert.same({ { true }, 100 }, { send(38), conn.bufferedAmount })
        assert.same({ FULL, 100 }, { send(0), conn.bufferedAmount })
        assert.equal(0, clock.now())
        peer:resume()
        assert.is_not_nil((luws.wsreceive(conn)))
        assert.same({ { 50, 38 }, 0 }, { got(), conn.bufferedAmount })
        assert.same({ true }, send(94))
      end)

      it("counts what has left since, as soon as it has left", function()
        open(30, { max_buffered = 100, send_timeout = 0 })
        assert.same({ true }, send(110)) -- 116 bytes, of which 30 leave
        assert.equal(86, conn.bufferedAmount)
        assert.same(FULL, send(20))
        peer:pause(60)
        assert.same({ { true }, 82 }, { send(20), conn.bufferedAmount })
      end)

      it("does not hold for control frames", function()
        open(0, { max_buffered = 20, send_timeout = 0 })
        assert.same({ true }, send(14))
        for _, opcode in ipairs { 9, 10, 8 } do assert.is_true(luws.wssend(conn, opcode, "")) end
        assert.equal(20 + 3 * 6, conn.bufferedAmount)
        peer:resume()
        luws.wsreceive(conn)
        assert.same({ 14, 9, 10, 8 }, got())
      end)

      it("takes a larger message while nothing waits, since otherwise it could never be sent", function()
        open(0, { max_buffered = 100, send_timeout = 0 })
        assert.same({ { true }, 1008 }, { send(1000), conn.bufferedAmount })
        assert.same(FULL, send(0))
      end)

      it("knows the headers of fragments, and of frames without a mask", function()
        open(0, { max_buffered = 100, send_timeout = 0, fragment_size = 10 })
        assert.same({ true }, send(0))
        assert.same(FULL, send(60)) -- in 6 fragments: 96 bytes
        assert.same({ { true }, 6 + 90 }, { send(54), conn.bufferedAmount })
        open(0, { max_buffered = 100, send_timeout = 0, use_masking = false })
        assert.same({ { true }, { true }, 100 }, { send(48), send(48), conn.bufferedAmount })
      end)

      it("is 0 for no limit, and by default", function()
        for _, max_buffered in ipairs { false, 0 } do
          open(0, { max_buffered = max_buffered or nil, send_timeout = 0 })
          for _ = 1, 20 do assert.same({ true }, send(2 ^ 16)) end
          assert.equal(20 * (2 ^ 16 + 14), conn.bufferedAmount)
        end
      end)

      it("holds for gathered messages, too: they leave earlier", function()
        open(1000, { max_buffered = 100, coalesce = 500, send_timeout = 0 })
        for _ = 1, 10 do
          assert.same({ true }, send(44))
          assert.is_true(conn.bufferedAmount <= 100)
        end
        assert.equal(100, conn.bufferedAmount)
        peer:pause(0)
        assert.same(FULL, send(44))
      end)

      it("makes a wssend wait for room, for at most send_timeout", function()
        open(0, { max_buffered = 100, send_timeout = 0 })
        assert.same({ true }, send(80))
        conn.options.send_timeout = 2
        clock.after(1, function() peer:resume() end)
        assert.same({ { true }, 1 }, { send(80), math.floor(clock.now()) })
        clock.sleep(2 - clock.now())
        peer:pause(0)
        assert.same({ TIMEOUT, 4 }, { send(80), clock.now() })
        assert.same({ FULL, REFUSED, 4, 86 }, { send(80), send(1), clock.now(), conn.bufferedAmount })
      end)

      it("makes a source wait for each of its fragments, which count one by one", function()
        open(46, { max_buffered = 50, send_timeout = 2 })
        local function read()
          peer:take_in()
          clock.after(1, read)
        end
        read()
        local chunks = {}
        for i = 1, 10 do chunks[i] = ("x"):rep(40) end
        assert.is_true(luws.wssend(conn, 2, source(chunks)))
        assert.near(9, clock.now(), 0.01)
        clock.sleep(1)
        assert.same({ { 400 }, 0, true }, { got(), conn.bufferedAmount, conn.connected })
      end)

      it("ends the connection if a source that cannot wait was begun and finds no room", function()
        open(0, { max_buffered = 100, send_timeout = 0 })
        assert.same(FULL, { luws.wssend(conn, 2, source { ("x"):rep(40), ("x"):rep(40), ("x"):rep(40) }) })
        assert.same({ false, 1011 }, { conn.connected, conn.close_code_sent })
      end)

      it("refuses a source whose first fragment finds no room, and goes on", function()
        open(0, { max_buffered = 100, send_timeout = 0 })
        assert.same({ true }, send(80))
        assert.same(FULL, { luws.wssend(conn, 2, source { ("x"):rep(40), "y" }) })
        peer:resume()
        assert.same({ true }, send(7))
        assert.same({ 80, 7 }, got())
      end)
    end)

    describe("a deaf peer", function()
      it("costs one send_timeout, and nothing more until it takes something", function()
        open(10, { send_timeout = 5 })
        assert.same({ TIMEOUT, 5 }, { send(50), clock.now() })
        for _ = 1, 3 do
          assert.same(REFUSED, send(1))
          assert.same(REFUSED, { luws.wssend(conn, 1, source { "a", "b" }) })
          assert.same(REFUSED, { luws.wssend(conn, 1, "text") })
          clock.sleep(1)
        end
        assert.same({ 46, 8 }, { conn.bufferedAmount, clock.now() })
        -- It takes one byte: it is given another chance.
        peer:pause(11)
        assert.same({ REFUSED, 13 }, { send(1), clock.now() })
        assert.same({ REFUSED, 13 }, { send(1), clock.now() })
        assert.equal(45, conn.bufferedAmount)
        peer:resume()
        assert.same({ { true }, 13 }, { send(2), clock.now() })
        assert.same({ 50, 2 }, got())
      end)

      it("is still sent control frames, without a wait; they are queued", function()
        open(0, { send_timeout = 5 })
        assert.same(TIMEOUT, send(50))
        for _, opcode in ipairs { 9, 10, 8 } do
          assert.same({ TIMEOUT, 5 }, { { luws.wssend(conn, opcode, "") }, clock.now() })
        end
        peer:resume()
        luws.wsreceive(conn)
        assert.same({ 50, 9, 10, 8 }, got())
      end)

      it("is one that takes nothing, not one that is slow", function()
        open(0, { send_timeout = 5 })
        assert.same(TIMEOUT, send(46)) -- 52 bytes, at 5 s
        local function take()
          peer:pause(peer.line:waiting() + 10)
          clock.after(4, take)
        end
        clock.after(4, take) -- at 9, 13, 17, ...
        peer:pause(1) -- so it is given until 10 s, and then until 14, 18, ...
        for time = 10, 25, 5 do
          local result = send(1)
          assert.near(time, clock.now(), 0.01) -- a call waits for send_timeout at most
          assert.same(REFUSED, result)
        end
        -- At 29 s the last byte leaves, and there is room for more.
        assert.same({ true }, send(1))
        assert.near(29, clock.now(), 0.01)
      end)

      it("is waited for again by wsflush", function()
        open(0, { send_timeout = 5 })
        assert.same(TIMEOUT, send(50))
        assert.same({ TIMEOUT, 10 }, { { luws.wsflush(conn) }, clock.now() })
        clock.after(3, function() peer:resume() end)
        assert.is_true(luws.wsflush(conn))
        assert.near(13, clock.now(), 0.01)
      end)

      it("is noticed by wsreceive's attempts to send, too", function()
        open(0, { send_timeout = 0 })
        assert.same({ true }, send(50))
        conn.options.send_timeout = 5
        clock.sleep(4)
        luws.wsreceive(conn)
        assert.same({ REFUSED, 5 }, { send(1), clock.now() })
      end)
    end)

    describe("drain_handler", function()
      local drains

      --- Does what `open` does, with a drain_handler that counts its calls, and runs `also`.
      local function open_counting(room, options, also)
        drains = 0
        options.drain_handler = function(...)
          assert.same({ 1, conn }, { select("#", ...), (...) })
          drains = drains + 1
          if also then return also(...) end
        end
        open(room, options)
      end

      --- Lets the peer read everything, and receives. Returns how many calls there were.
      local function drain()
        peer:resume()
        w:receive_all(conn)
        clock.sleep(0)
        peer:pause(0)
        return drains
      end

      it("is called by wsreceive when the queue is empty again, if it was more than a quarter full", function()
        open_counting(0, { max_buffered = 100, send_timeout = 0 })
        assert.same({ true }, send(19)) -- 25 bytes
        assert.equal(0, drain())
        assert.same({ true }, send(20))
        assert.equal(0, drains)
        peer:pause(25)
        luws.wsreceive(conn)
        assert.same({ 0, 1 }, { drains, conn.bufferedAmount })
        assert.equal(1, drain())
        assert.equal(1, drain())
        assert.same({ true }, send(80))
        assert.equal(2, drain())
      end)

      it("is called after anything was left, without max_buffered", function()
        open_counting(5, { send_timeout = 0 })
        assert.same({ { true }, 1 }, { send(0), conn.bufferedAmount })
        assert.equal(1, drain())
      end)

      it("is called after a message was refused, however little there was before it", function()
        open_counting(0, { max_buffered = 100, send_timeout = 0 })
        assert.same({ { true }, FULL }, { send(4), send(90) })
        assert.equal(1, drain())
        conn.options.send_timeout = 1
        assert.same({ TIMEOUT, REFUSED }, { send(4), send(5) })
        assert.equal(2, drain())
      end)

      it("is not called for messages that were gathered, if they leave at once", function()
        open_counting(1000, { coalesce = 100, send_timeout = 0 })
        for _ = 1, 10 do send(20) end
        assert.is_true(luws.wsflush(conn))
        assert.equal(0, drain())
      end)

      it("is called by wsreceive if it was wssend, wsflush or wswait that has emptied the queue", function()
        for name, empty in pairs {
          wssend = function() assert.same({ true }, send(1)) end,
          wsflush = function() assert.is_true(luws.wsflush(conn)) end,
          wswait = function() assert.is_true(luws.wswait(conn, 1)) end,
        } do
          open_counting(0, { send_timeout = 0 })
          assert.same({ true }, send(50))
          peer:resume()
          empty()
          assert.same({ 0, 0, true }, { drains, conn.bufferedAmount, conn:dirty() }, name)
          assert.same({ true, 0 }, { luws.wswait(conn, 60), conn:timeout() }, name)
          assert.same({ false, 0 }, { luws.wsreceive(conn) })
          assert.same({ 1, false }, { drains, conn:dirty() }, name)
          luws.wsclose(conn)
        end
      end)

      it("comes after the messages that have arrived, and may send, receive and close", function()
        local order = {}
        drains = 0
        open(0, {
          send_timeout = 0,
          drain_handler = function()
            order[#order + 1] = "drained"
            luws.wsreceive(conn) -- which does not call it again
            if #order == 4 then return luws.wsclose(conn) end
            clock.sleep(0)
            peer:pause(0)
            send(10)
          end,
        }, function(_, _, data) order[#order + 1] = data end)
        send(10)
        for i = 1, 2 do
          peer:resume()
          peer:send(1, "message " .. i)
          luws.wsreceive(conn)
        end
        assert.same({ "message 1", "drained", "message 2", "drained" }, order)
        assert.same({ { nil, "not connected" }, { 10, 10, 8 } }, { { luws.wsreceive(conn) }, got() })
      end)

      it("may be changed at any time, and an error in it is logged", function()
        local warned = log.start()
        finally(log.stop)
        open_counting(0, { send_timeout = 0 }, function() error("mistaken", 0) end)
        send(1)
        assert.equal(1, drain())
        assert.matches("^luws: the handler of luws%-websock%[peer.test:80%] raised an error: mistaken", warned[1][2])
        conn.options.drain_handler = nil
        send(1)
        assert.equal(1, drain())
        local called = {}
        conn.options.drain_handler = setmetatable({}, { __call = function(_, c) called[#called + 1] = c end })
        send(1)
        drain()
        assert.same({ conn }, called)
        assert.equal(1, #warned)
      end)

      it("may yield where a control_handler may, and is not called twice meanwhile", function()
        open_counting(0, { send_timeout = 0 }, coroutine.yield)
        send(1)
        peer:resume()
        local thread = coroutine.create(function() return luws.wsreceive(conn) end)
        assert.same({ true, conn }, { coroutine.resume(thread) })
        assert.same({ false, 0 }, { luws.wsreceive(conn) })
        assert.same({ true, false, 0 }, { coroutine.resume(thread) })
        assert.same({ "dead", 1 }, { coroutine.status(thread), drains })
      end)

      it("is not called after the end", function()
        open_counting(0, { send_timeout = 0 })
        send(1)
        peer:raw "\136\2\3\232"
        peer:resume()
        assert.same({ nil, "closed" }, { luws.wsreceive(conn) })
        open_counting(0, { send_timeout = 0 })
        send(1)
        luws.wsclose(conn)
        peer:resume()
        luws.wsreceive(conn)
        assert.equal(0, drains)
      end)
    end)

    it(("two talkers, each with %d MiB to say, get on without a time-out, in bounded memory"):format(COUNT), function()
      local SIZE, ROOM = 2 ^ 20, 2 ^ 18
      local message, most = ("x"):rep(SIZE), 4 * SIZE
      local received, sent = 0, 0
      open(ROOM, { send_timeout = 0, max_buffered = most, max_payload_size = SIZE }, function(_, opcode, data)
        assert.same({ 2, SIZE }, { opcode, #data })
        received = received + 1
      end)
      peer.line.other.capacity = ROOM
      local theirs = peer:talk(message, COUNT)
      while sent < COUNT or received < COUNT or theirs.received < COUNT do
        while sent < COUNT do
          local ok, why = luws.wssend(conn, 2, message)
          if not ok then
            assert.equal("send error: buffer full", why)
            break
          end
          sent = sent + 1
        end
        assert.is_true(conn.bufferedAmount <= most)
        assert.is_true(luws.wswait(conn, 10))
        assert.is_not_nil((luws.wsreceive(conn)))
      end
      assert.same({ 0, COUNT }, { conn.bufferedAmount, theirs.sent })
    end)
  end)
end

describe("back-pressure on real sockets", function()
  it("does not keep a wssend waiting when there is room that poll(2) does not show", function()
    -- Linux shows it only when a third of the buffer is free. The peer reads less than that.
    local t = session.new(real)
    t:open({ receive_buffer = 65536, { "wait" }, { "read", 300000 }, { "wait" } }, { send_timeout = 0 })
    local message = ("x"):rep(4096)
    repeat assert.is_true(real.wssend(t.conn, 2, message)) until t.conn.bufferedAmount > 0
    t.conn.options.send_timeout = 30
    t.peer:go()
    local started = real.gettime()
    assert.is_true(real.wsflush(t.conn))
    assert.is_true(real.gettime() - started < 10)
    t:close()
  end)

  it("holds over wss, where encryption adds to what waits", function()
    local t = session.new(real, { tls = true })
    local most = 200000
    t:open({ receive_buffer = 65536, { "wait" }, { "hold" } }, { send_timeout = 0, max_buffered = most })
    local message = ("x"):rep(20000)
    repeat
      local ok, why = real.wssend(t.conn, 2, message)
      assert.is_true(t.conn.bufferedAmount <= most)
    until not ok and assert.equal("send error: buffer full", why)
    assert.is_true(t.conn.bufferedAmount > most - 2 * #message)
    local drained = false
    t.conn.options.drain_handler = function() drained = true end
    t.peer:go()
    t:poll(function() return drained end)
    assert.equal(0, t.conn.bufferedAmount)
    assert.is_true(real.wssend(t.conn, 2, message))
    t:close()
  end)
end)
