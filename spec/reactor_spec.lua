-- The reactor: its timers, its turns, and how it drives connections. In memory, where time passes only as far as
-- something is waited for; reactor_sockets_spec.lua has the same with real sockets and loops.

local compat = require "spec.support.compat"
local log = require "spec.support.log"
local world = require "spec.support.world"

local unpack = compat.unpack

local w, reactor, luws

before_each(function()
  w = world.new()
  reactor, luws = w.reactor, w.luws
end)

--- Returns an empty list, and a function that makes functions which append a value to it.
local function notes()
  local list = {}
  return list, function(value) return function() list[#list + 1] = value end end
end

describe("the reactor's timers", function()
  it("are called at their time, in order, and those of the same time as they were made", function()
    local called, note = notes()
    for _, timer in ipairs { { 3, "c" }, { 1, "a" }, { 2, "b" }, { 1, "a again" }, { 0, "now" }, { -1, "past" } } do
      reactor.after(timer[1], note(timer[2]))
    end
    reactor.run(1.5)
    assert.same({ "now", "past", "a", "a again" }, called)
    assert.equal(1.5, w.clock.now())
    reactor.run()
    assert.same({ "now", "past", "a", "a again", "b", "c" }, called)
    assert.equal(3, w.clock.now())
  end)

  it("can be cancelled, also by one another and repeatedly", function()
    local called, note = notes()
    local first, second, third
    first = reactor.after(1, function()
      second:cancel()
      first:cancel()
      note "first"()
    end)
    second = reactor.after(1, note "second")
    third = reactor.after(2, note "third")
    third:cancel()
    third:cancel()
    reactor.run()
    assert.same({ "first" }, called)
    assert.equal(1, w.clock.now())
  end)

  it("that a timer makes have their turn in a later step, even at once", function()
    local count = 0
    local function again()
      count = count + 1
      reactor.after(0, again)
    end
    reactor.after(0, again)
    for i = 1, 10 do
      assert.equal(1, reactor.step(0))
      assert.equal(i, count)
    end
  end)

  it("may raise errors, which are logged", function()
    local lines = log.capture(function()
      reactor.after(1, error)
      reactor.after(1, function() error("on purpose", 0) end)
      assert.equal(2, reactor.step())
    end)
    assert.equal(2, #lines)
    assert.matches("^luws: a timer of the reactor raised an error: on purpose\n", lines[2])
  end)

  it("that never end are none", function()
    reactor.after(math.huge, error):cancel()
    reactor.after(math.huge, error)
    assert.is_nil(reactor.timeout())
    reactor.run()
    assert.equal(0, reactor.step())
    assert.equal(0, w.clock.now())
  end)
end)

describe("the reactor's step", function()
  it("returns 0 if there is nothing to wait for, or nothing happens in time", function()
    assert.equal(0, reactor.step())
    assert.equal(0, reactor.step(2))
    assert.equal(2, w.clock.now())
    reactor.after(5, function() end)
    assert.equal(0, reactor.step(0))
    assert.equal(0, reactor.step(-1))
    assert.equal(0, reactor.step(4))
    assert.equal(1, reactor.step())
    assert.equal(7, w.clock.now())
  end)

  it("is not to be called from what it calls", function()
    local errors = {}
    for _, name in ipairs { "step", "run" } do
      reactor.after(0, function() errors[#errors + 1] = select(2, pcall(reactor[name], 0)) end)
    end
    reactor.run()
    assert.same({ "reactor: step called from a handler", "reactor: run called from a handler" }, errors)
    assert.equal(0, reactor.step(0)) -- it is as before
  end)

  it("ends with run once stop was called", function()
    local called, note = notes()
    reactor.after(1, function()
      reactor.stop()
      note "stops"()
    end)
    reactor.after(1, note "the same turn")
    reactor.after(2, note "later")
    reactor.run()
    assert.same({ "stops", "the same turn" }, called)
    reactor.run()
    assert.same({ "stops", "the same turn", "later" }, called)
  end)

  it("tells outer loops when it is due", function()
    assert.same({ -1, -1, "r" }, { reactor:getfd(), reactor:pollfd(), reactor:events() })
    assert.same({ nil, false }, { reactor:timeout(), reactor:dirty() })
    reactor.after(5, function() end)
    w.clock.sleep(2)
    assert.same({ 3, false }, { reactor.timeout(), reactor.dirty() })
    w.clock.sleep(4)
    assert.same({ 0, true }, { reactor.timeout(), reactor.dirty() })
  end)

  it("raises what a debug hook raises, and goes on the next time", function()
    local called, note = notes()
    reactor.after(0, function()
      debug.sethook(function()
        debug.sethook()
        error("interrupted!", 0)
      end, "", 1)
    end)
    reactor.after(0, note "after it")
    local ok, err = pcall(reactor.step, 0)
    debug.sethook()
    if not ok then assert.equal("interrupted!", err) end -- the hook may find the handler's own pcall
    reactor.run(1)
    assert.same({ "after it" }, called)
  end)
end)

describe("a debug hook that raises an error at any instruction of a step", function()
  local compiler = rawget(_G, "jit")

  before_each(function()
    if compiler then -- compiled code calls no hooks
      compiler.off()
      compiler.flush()
    end
  end)

  after_each(function()
    debug.sethook()
    if compiler then compiler.on() end
  end)

  it("loses nothing, and leaves nothing behind", function()
    local count, raised = 0, true
    while raised do
      count = count + 3 -- each would take seconds
      assert(count < 10000)
      local fresh = world.new()
      local timers = fresh.reactor
      local called, note = notes()
      timers.after(0, note "first")
      timers.after(0, function() timers.after(0, note "third") end)
      timers.after(1, note "last")
      -- The first call is interrupted in the driver alone: an error in a handler would be the handler's own.
      raised = false
      local function hook()
        local source = debug.getinfo(2, "S").source
        if not (source:find "^@luws/reactor" or source:find "^@luws/turns" or source:find "^@luws/timers") then
          debug.sethook(hook, "", 1)
          return
        end
        debug.sethook()
        raised = true
        error("interrupted!", 0)
      end
      pcall(function()
        debug.sethook(hook, "", count)
        timers.step(0)
        debug.sethook()
      end)
      debug.sethook()
      timers.run(5)
      table.sort(called)
      -- A timer that is interrupted as its function is called has had its turn.
      local has_all = table.concat(called, " ") == "first last third"
      assert(has_all or #called >= 2 and raised, ("after %d: %s"):format(count, table.concat(called, " ")))
      assert.equal(0, timers.step(), "something is left after " .. count)
      assert.equal("last", called[#called] == "third" and called[#called - 1] or called[#called])
    end
    assert.is_true(count > 50, count)
  end)
end)

describe("a function of the reactor raises a text for", function()
  local NAN = 0 / 0
  local nothing = function() end
  for _, case in ipairs {
    { "step", { "x" }, "bad argument #1 to 'step' (number expected, got string)" },
    { "step", { NAN }, "bad argument #1 to 'step' (a number expected, got NaN)" },
    { "run", { {} }, "bad argument #1 to 'run' (number expected, got table)" },
    { "after", {}, "bad argument #1 to 'after' (number expected, got nil)" },
    { "after", { NAN, nothing }, "bad argument #1 to 'after' (a number expected, got NaN)" },
    { "after", { 1 }, "bad argument #2 to 'after' (function expected, got nil)" },
    { "add", {}, "bad argument #1 to 'add' (connection expected, got nil)" },
    { "add", { {} }, "bad argument #1 to 'add' (connection expected, got table)" },
    { "attach", { 1 }, "bad argument #1 to 'attach' (string expected, got number)" },
    { "attach", { "libev" }, "bad argument #1 to 'attach' (unknown: 'libev')" },
    { "watch_fd", { "x", "r", nothing }, "bad argument #1 to 'watch_fd' (number expected, got string)" },
    { "watch_fd", { -1, "r", nothing }, "bad argument #1 to 'watch_fd' (not a descriptor: -1)" },
    { "watch_fd", { 0, "x", nothing }, "bad argument #2 to 'watch_fd' ('r', 'w' or 'rw' expected, got 'x')" },
    { "watch_fd", { 0, "r" }, "bad argument #3 to 'watch_fd' (function expected, got nil)" },
  } do
    local name, arguments, text = unpack(case)
    it(text, function()
      assert.same({ false, text }, { pcall(reactor[name], unpack(arguments)) })
      assert.equal(0, reactor.step()) -- nothing is left behind
    end)
  end
end)

-- Connections

--- Opens a connection without waiting. What is told is in `told`: "open", or the handler's arguments.
local function open(peer, options)
  local told = {}
  options = options or {}
  options.wait = false
  options.open_handler = function(conn) told[#told + 1] = conn.connected and "open" or "not open" end
  w.next_peer = peer
  local conn = assert(luws.wsopen("ws://peer.test/", function(_, ...) told[#told + 1] = { ... } end, options))
  return conn, told
end

describe("wsopen { wait = false }", function()
  it("returns a connection that is not connected, and tells when it is", function()
    local peer = w:peer():echo()
    local conn, told = open(peer)
    assert.same({ false, false, 0 }, { conn.connected, conn.closing, conn.bufferedAmount })
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "early") })
    assert.same({ false, "not connected" }, { luws.wsflush(conn) })
    assert.same({ nil, "not connected" }, { luws.wshandleincoming("\129\0", conn) })
    assert.same({}, told)
    repeat until reactor.step(1) == 0
    assert.same({ "open" }, told)
    assert.is_true(conn.connected)
    assert.is_true(luws.wssend(conn, 1, "Hello"))
    repeat until reactor.step(1) == 0
    assert.same({ "open", { 1, "Hello" } }, told)
  end)

  it("goes on if the name is looked up just before that is waited for", function()
    w.answers_late = true
    local conn = open(w:peer():echo(), { connect_timeout = 1000 })
    repeat until reactor.step(1) == 0
    assert.is_true(conn.connected)
  end)

  it("needs no reactor: wsreceive goes on with it", function()
    local conn, told = open(w:peer():echo())
    for _ = 1, 10 do
      assert.same({ false, 0 }, { luws.wsreceive(conn) })
      if conn.connected then break end
      w.clock.sleep(0.1)
    end
    luws.wsreceive(conn)
    assert.same({ "open" }, told)
  end)

  it("can be waited for by wswait", function()
    local conn, told = open(w:peer():echo())
    assert.is_true(luws.wswait(conn))
    assert.same({}, told) -- that is for wsreceive and the reactor
    assert.is_true(conn.connected)
    reactor.step(0)
    assert.same({ "open" }, told)
    conn = open(w:peer { plain = true }, { upgrade_timeout = 5 })
    assert.is_false(luws.wswait(conn, 2))
    assert.is_true(luws.wswait(conn, 4))
    assert.same({ nil, "upgrade failed; timeout" }, { luws.wsreceive(conn) })
  end)

  it("tells of being open before the messages that came with it", function()
    local peer = w:peer()
    function peer:on_request()
      local response = self:accept(true)
      self:raw(response .. "\129\5first\136\2\3\232")
    end
    local _, told = open(peer)
    reactor.run(5)
    assert.same({ "open", { 1, "first" }, { false, "receiver error: closed" } }, told)
  end)

  -- what the peer does; the text; the second at which it is told
  for _, case in ipairs {
    { "answers with a refusal", function(peer) peer:raw("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno") end,
      "upgrade failed; HTTP/1.1 403 No", 0 },
    { "ends at once", function(peer) peer:finish() end,
      "upgrade failed; the peer closed the connection (is it wss?)", 0 },
    { "says nothing", function() end, "upgrade failed; timeout", 5 },
  } do
    local what, act, text, second = unpack(case)
    it("tells the handler what wsopen would have returned if the peer " .. what, function()
      for _, how in ipairs { "by the reactor", "by polling" } do
        w = world.new()
        reactor, luws = w.reactor, w.luws
        local peer = w:peer { plain = true }
        local acted = false
        peer.take_in = function(self)
          if not acted then act(self) end
          acted = true
        end
        local conn, told = open(peer)
        assert.same({}, told)
        local result
        if how == "by the reactor" then
          reactor.run(60)
        else
          repeat
            result = { luws.wsreceive(conn) }
            w.clock.sleep(0.125)
          until result[1] == nil
          assert.same({ nil, text }, result)
        end
        assert.same({ { false, text } }, told)
        assert.is_true(math.abs(w.clock.now() - second) <= 0.125, w.clock.now())
        assert.same({ nil, text }, { luws.wsreceive(conn) })
        assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "late") })
        assert.same({ false, true, 1006, false }, { conn.connected, conn.closing, conn.close_code, conn.was_clean })
        if text:find "403" then assert.same({ 403, "no" }, { conn.response.status, conn.response.body }) end
        reactor.run(5)
        assert.same({ { false, text } }, told) -- once
      end
    end)
  end

  it("is cancelled by wsclose, and nobody is told", function()
    for steps = 0, 3 do
      local conn, told = open(w:peer())
      for _ = 1, steps do reactor.step(0) end
      if not conn.connected then
        luws.wsclose(conn)
        assert.same({ nil, "not connected" }, { luws.wsreceive(conn) })
        assert.same({ false, true }, { conn.connected, conn.closing })
        reactor.run(5)
        assert.same({}, told)
        assert.equal(0, reactor.step()) -- nothing is left of it
      end
    end
  end)

  it("still refuses wrong options at once", function()
    for _, case in ipairs {
      { { wait = 1 }, "bad option 'wait' (true, false or 'yield' expected, got number)" },
      { { wait = "no" }, "bad option 'wait' (true, false or 'yield' expected, got 'no')" },
      { { wait = false, open_handler = 1 }, "bad option 'open_handler' (function expected, got number)" },
      { { wait = false, connecting_limit = -1 },
        "bad option 'connecting_limit' (whole number from 0 up expected, got -1)" },
      { { wait = false, subprotocols = { "a b" } }, "bad option 'subprotocols' (an element is not a token)" },
      { { wait = "yield" }, "bad option 'wait' ('yield' is for coroutines)" },
    } do
      assert.same({ false, case[2] }, { luws.wsopen("ws://peer.test/", nil, case[1]) })
    end
    assert.equal(0, reactor.step())
  end)

  it("tells what a connect function raises or returns, and does not raise it", function()
    for _, case in ipairs {
      { function() error("no luck", 0) end, "no luck" },
      { function() return nil, "no route" end, "no route" },
      { function() return 5 end, "bad option 'connect' (a socket expected, got number)" },
    } do
      local conn, told = open(nil, { connect = case[1] })
      assert.same({}, told)
      reactor.run(1)
      assert.same({ { false, case[2] } }, told)
      assert.same({ nil, case[2] }, { luws.wsreceive(conn) })
    end
  end)
end)

describe("open_handler", function()
  it("is called by the first wsreceive after a wsopen that waits, before any message", function()
    local peer = w:peer()
    function peer:on_request() self:raw(self:accept(true) .. "\129\5first") end
    local told = {}
    w.next_peer = peer
    local conn = luws.wsopen("ws://peer.test/", function(_, _, data) told[#told + 1] = data end,
      { open_handler = function(c) told[#told + 1] = tostring(c.connected) end })
    assert.same({}, told)
    luws.wsreceive(conn)
    assert.same({ "true", "first" }, told)
  end)

  it("is the one that wsopen was given, whatever the option is changed to", function()
    local told, note = notes()
    w.next_peer = w:peer()
    local conn = luws.wsopen("ws://peer.test/", nil, { open_handler = note "given" })
    conn.options.open_handler = note "changed"
    luws.wsreceive(conn)
    conn.options.open_handler = nil
    luws.wsreceive(conn)
    assert.same({ "given" }, told)
  end)

  it("may raise an error, or close the connection", function()
    local peer = w:peer()
    function peer:on_request() self:raw(self:accept(true) .. "\129\5first") end
    local told = {}
    w.next_peer = peer
    local lines = log.capture(function()
      luws.wsopen("ws://peer.test/", function(_, ...) told[#told + 1] = { ... } end, {
        wait = false,
        open_handler = function(conn)
          luws.wsclose(conn)
          error "on purpose"
        end,
      })
      reactor.run(5)
    end)
    assert.same({}, told)
    assert.equal(1, #lines)
    assert.matches("^luws: the open_handler of luws%-websock%[peer.test:80%] raised an error: .*on purpose", lines[1])
  end)
end)

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

describe("connecting_limit", function()
  it("lets one connection after the other be opened, in order", function()
    local peers, opened, pending = {}, {}, {}
    for i = 1, 4 do
      local peer = w:peer()
      peer.on_request = function(self) pending[#pending + 1] = function() self:accept() self.wire:write() end end
      peers[i] = peer
      w.next_peer = nil
    end
    local conns = {}
    for i = 1, 4 do
      conns[i] = luws.wsopen("ws://peer.test/" .. i, nil, {
        wait = false, connecting_limit = 1, open_handler = function() opened[#opened + 1] = i end,
      })
    end
    for i = 1, 4 do
      w.next_peer = peers[i]
      repeat until reactor.step(1) == 0
      if i == 3 then
        luws.wsclose(conns[3]) -- one that is cancelled makes room, too
        pending = {}
      else
        assert.equal(1, #pending, i)
        table.remove(pending)()
      end
    end
    repeat until reactor.step(1) == 0
    assert.same({ 1, 2, 4 }, opened)
  end)

  it("does not hold up others, nor those who wait", function()
    local silent = w:peer { plain = true }
    local options = { wait = false, connecting_limit = 1, upgrade_timeout = 60 }
    w.next_peer = silent
    assert(luws.wsopen("ws://peer.test/", nil, options))
    reactor.step(0)
    w.next_peer = w:peer()
    assert(luws.wsopen("ws://peer.test/"))
    w.next_peer = w:peer()
    local other = assert(luws.wsopen("ws://other.test/", nil, options))
    reactor.run(1)
    assert.is_true(other.connected)
  end)

  it("gives each its time from when its turn comes", function()
    local told = {}
    for i = 1, 2 do
      w.next_peer = w:peer { plain = true }
      local peer = w.next_peer
      assert(luws.wsopen("ws://peer.test/", function(_, _, text) told[#told + 1] = { i, text, w.clock.now() } end,
        { wait = false, connecting_limit = 1, upgrade_timeout = 5 }))
      w.next_peer = peer
      reactor.step(0)
      if i == 1 then reactor.step(0) end
    end
    w.next_peer = w:peer { plain = true }
    reactor.run(60)
    assert.same({ { 1, "upgrade failed; timeout", 5 }, { 2, "upgrade failed; timeout", 10 } }, told)
  end)
end)
