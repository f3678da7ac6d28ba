-- Connections that the reactor drives: what a turn does, and when there is one. What the calls of the program have left
-- is done, and what cannot be done is not tried all the time. In memory; driven_sockets_spec.lua has real sockets.

local interpreted = require "spec.support.interpreted"
local memory_socket = require "spec.support.memory_socket"
local world = require "spec.support.world"

local w, reactor, luws

before_each(function()
  w = world.new()
  reactor, luws = w.reactor, w.luws
end)

local function open(...) return w:open_later(...) end

describe("a connection that the reactor drives", function()
  --- Opens one, and waits until it is open.
  local function opened(peer, options)
    local conn, told = open(peer, options)
    repeat until reactor.step(0) == 0
    assert.same({ "open" }, told)
    return conn, told
  end

  it("may have been opened by a wsopen that waits, and given to add", function()
    local conn, peer = w:open(w:peer():echo())
    peer:send(1, "before")
    assert.is_true(reactor.add(conn))
    assert.is_true(reactor.add(conn)) -- twice is once
    luws.wssend(conn, 1, "after")
    repeat until reactor.step(1) == 0
    assert.same({ { 1, "before" }, { 1, "after" } }, w.told)
    luws.wsclose(conn)
    assert.same({ false, "not connected" }, { reactor.add(conn) })
  end)

  it("has at most 64 messages in a turn, and does not keep another waiting", function()
    local flooding, other = w:peer(), w:peer():echo()
    local _, flood = opened(flooding)
    local conn, told = opened(other)
    for i = 1, 1000 do flooding:send(1, tostring(i)) end
    luws.wssend(conn, 1, "me too")
    w.clock.sleep(0)
    local before = #flood
    reactor.step(0)
    reactor.step(0)
    assert.is_true(#flood - before <= 128, #flood)
    assert.same({ "open", { 1, "me too" } }, told)
    repeat until reactor.step(0) == 0
    assert.equal(1001, #flood)
    for i = 1, 1000 do assert.same({ 1, tostring(i) }, flood[i + 1]) end
  end)

  it("has its turn again if the program's own wsreceive has left something", function()
    local peer = w:peer()
    local conn, told = opened(peer, { receive_chunk_size = 10 })
    for _ = 1, 10 do peer:send(1, "Hello") end
    w.clock.sleep(0)
    luws.wsreceive(conn)
    assert.is_true(#told < 5)
    repeat until reactor.step(0) == 0
    assert.equal(11, #told)
  end)

  it("sends what had no room, and reads meanwhile", function()
    local peer = w:peer():echo()
    local conn, told = opened(peer, { send_timeout = 0, max_payload_size = 2 ^ 20 })
    peer:pause()
    luws.wssend(conn, 2, ("x"):rep(100000))
    assert.is_true(conn.bufferedAmount > 0)
    repeat until reactor.step(1) == 0
    peer:resume()
    repeat until reactor.step(1) == 0
    assert.equal(0, conn.bufferedAmount)
    assert.equal(2, #told)
    assert.equal(100000, #told[2][2])
  end)

  it("sends what was gathered without a wsreceive", function()
    local peer = w:peer():echo()
    local conn, told = opened(peer, { coalesce = true })
    for i = 1, 3 do luws.wssend(conn, 1, tostring(i)) end
    repeat until reactor.step(1) == 0
    assert.same({ "open", { 1, "1" }, { 1, "2" }, { 1, "3" } }, told)
  end)

  it("learns when receive_timeout is due", function()
    local peer = w:peer()
    local conn, told = opened(peer, { receive_timeout = 10 })
    local begun = w.clock.now()
    w.clock.after(8, function() peer:send(1, "I am here") end)
    reactor.run(17.5)
    assert.same({ "open", { 1, "I am here" } }, told)
    reactor.run(1)
    assert.same({ false, "message timeout" }, told[3])
    assert.is_true(w.clock.now() - begun >= 18)
    assert.is_true(conn.connected)
  end)

  it("learns of the end once, and leaves the reactor when its lingering is over", function()
    for _, case in ipairs {
      { "close", function(_, peer) peer:close(4000, "bye") end, { false, "receiver error: closed" } },
      { "end", function(_, peer) peer:finish() end, { false, "receiver error: closed" } },
      { "broken rule", function(_, peer) peer:raw "\131\0" end, { false, "reserved opcode 3" } },
      { "wsclose", function(conn) luws.wsclose(conn) end, nil },
    } do
      local peer = w:peer():answer_close()
      local conn, told = opened(peer)
      case[2](conn, peer)
      reactor.run(10)
      assert.same({ "open", case[3] }, told)
      assert.equal(0, reactor.step()) -- nothing is left to be driven
      assert.is_false(conn.connected)
    end
  end)

  it("lives without anybody else, and is collected when it is over", function()
    interpreted.begin() -- machine code would hold what it was made for
    finally(interpreted.finish)
    local weak = setmetatable({ (opened(w:peer())) }, { __mode = "v" })
    collectgarbage()
    collectgarbage()
    assert.is_not_nil(weak[1])
    w.next_peer:send(1, "anybody?")
    w.next_peer:finish()
    reactor.run(5)
    w.next_peer = nil -- it holds the other end
    for _ = 1, 3 do collectgarbage() end
    assert.is_nil(weak[1])
  end)

  it("may be closed, and others opened, by any handler", function()
    local first, told = opened(w:peer():echo())
    local second
    first.msghandler = function(conn, ...)
      told[#told + 1] = { ... }
      luws.wsclose(conn)
      second = { open(w:peer():echo()) }
    end
    luws.wssend(first, 1, "go")
    reactor.run(2)
    assert.same({ "open", { 1, "go" } }, told)
    assert.same({ "open" }, second[2])
  end)
end)

--- Takes turns until nothing happens any more at this time. Fails if that has no end.
local function settle()
  local steps = 0
  while reactor.step(0) > 0 do
    steps = steps + 1
    assert(steps < 1000, "turns are taken all the time")
  end
end

describe("a turn is given after wswait", function()
  it("has ended what lingered, so that run ends, too", function()
    local peer = w:peer():answer_close()
    local conn = open(peer, { close_timeout = 20 })
    settle()
    luws.wsclose(conn)
    peer:finish()
    assert.is_true(luws.wswait(conn, 5))
    local begun = w.clock.now()
    reactor.run()
    assert.equal(begun, w.clock.now())
  end)

  it("has opened the connection, so that its handlers are called", function()
    w.dials = { { 3 } }
    local peer = w:peer()
    function peer.on_request(self)
      self:accept()
      self:send(1, "with the response")
    end
    local conn, told = open(peer)
    settle()
    assert.is_true(luws.wswait(conn, 10))
    assert.same({}, told)
    settle()
    assert.same({ "open", { 1, "with the response" } }, told)
  end)

  it("has sent all that was queued, so that the drain_handler is called", function()
    local peer, drained = w:peer(), 0
    local function on_drained() drained = drained + 1 end
    local conn = open(peer, { send_timeout = 0, max_buffered = 1000, drain_handler = on_drained })
    settle()
    peer:pause()
    assert(luws.wssend(conn, 2, ("x"):rep(900)))
    settle()
    peer.line.capacity = math.huge -- nobody is told
    assert.is_true(luws.wswait(conn, 1))
    assert.same({ 0, 0 }, { conn.bufferedAmount, drained })
    settle()
    assert.equal(1, drained)
  end)
end)

describe("turns are not taken all the time", function()
  it("while a coroutine is suspended in a socket's receive, whatever the socket says of itself", function()
    local reader, is_dirty
    local socket = memory_socket.new({
      receive = function()
        if reader and coroutine.running() == reader then coroutine.yield() end
      end,
    }, w)
    function socket.dirty() return is_dirty end
    local conn, told = open(nil, { connect = function() return socket end })
    reactor.run(1)
    assert.same({ "open" }, told)
    is_dirty = true
    reader = coroutine.create(function() luws.wsreceive(conn) end)
    assert(coroutine.resume(reader))
    local finish, steps = w.clock.now() + 10, 0
    while w.clock.now() < finish and steps < 1000 do steps = steps + reactor.step(1) end
    assert.is_true(steps < 500, steps)
    -- Once the coroutine goes on, so does the reactor.
    is_dirty = false
    assert(luws.wssend(conn, 1, "Hello"))
    assert(coroutine.resume(reader))
    reactor.run(1)
    assert.same({ "open", { 1, "Hello" } }, told)
  end)
end)
