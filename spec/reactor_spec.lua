-- The reactor: its timers and its steps. In memory, where time passes only as far as something is waited for;
-- reactor_sockets_spec.lua has real sockets and loops. How it drives connections is in driven_spec.lua.

local compat = require "spec.support.compat"
local interpreted = require "spec.support.interpreted"
local log = require "spec.support.log"
local world = require "spec.support.world"

local unpack = compat.unpack

local w, reactor

before_each(function()
  w = world.new()
  reactor = w.reactor
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
  before_each(interpreted.begin)
  after_each(interpreted.finish)

  local function is_in_reactor()
    local source = debug.getinfo(3, "S").source
    return source:find "^@luws/reactor" or source:find "^@luws/turns" or source:find "^@luws/timers"
  end

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
      raised = interpreted.interrupt(count, function() timers.step(0) end, is_in_reactor)
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
    { "watch_signal", { 2, nothing }, "bad argument #1 to 'watch_signal' (string expected, got number)" },
    { "watch_signal", { "INT" }, "bad argument #2 to 'watch_signal' (function expected, got nil)" },
  } do
    local name, arguments, text = unpack(case)
    it(text, function()
      assert.same({ false, text }, { pcall(reactor[name], unpack(arguments)) })
      assert.equal(0, reactor.step()) -- nothing is left behind
    end)
  end
end)
