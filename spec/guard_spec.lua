-- guard: turns at work that only one coroutine at a time may do, and when such a turn counts as broken off.

local compat = require "spec.support.compat"
local world = require "spec.support.world"

describe("a turn", function()
  local guard, turn

  before_each(function()
    guard = world.new().import "guard"
    turn = guard.turn()
  end)

  --- Makes a coroutine take the turn and then yield, or end.
  local function taken_by_another(yields)
    local thread = coroutine.create(function()
      assert(guard.take(turn) == true)
      if yields then coroutine.yield() end
    end)
    assert(coroutine.resume(thread))
    return thread
  end

  it("is ours if no coroutine has it, and again once it has been given back", function()
    for _ = 1, 2 do
      assert.is_true(guard.take(turn))
      turn.inside = true -- in the user code that it is for
      assert.is_false(guard.is_broken_off(turn, false))
      turn.inside = false
      guard.give_back(turn)
      assert.is_false(guard.is_broken_off(turn, true))
    end
  end)

  it("that we have is ours to finish, except in coroutines of PUC Lua 5.1, which catch no errors", function()
    guard.take(turn)
    assert.is_false(guard.take(turn))
    assert.is_false(guard.is_broken_off(turn, true))
    coroutine.wrap(function()
      local is_bare = not compat.yields_through_pcall
      turn = guard.turn()
      guard.take(turn)
      local again = guard.take(turn)
      if is_bare then assert.is_nil(again) else assert.is_false(again) end
      assert.equal(is_bare, guard.is_broken_off(turn, false))
      turn.inside = true -- in the user code that it is for
      assert.is_false(guard.is_broken_off(turn, false))
      assert.equal(is_bare, guard.is_broken_off(turn, true))
    end)()
  end)

  it("belongs to the coroutine that has taken it", function()
    assert.is_false(guard.is_ours(turn))
    guard.take(turn)
    assert.is_true(guard.is_ours(turn))
    coroutine.wrap(function() assert.is_false(guard.is_ours(turn)) end)()
    guard.give_back(turn)
    assert.is_false(guard.is_ours(turn))
  end)

  it("is not ours while another coroutine has it", function()
    local thread = taken_by_another(true)
    assert.is_false(guard.take(turn))
    assert.is_false(guard.is_broken_off(turn, true))
    coroutine.wrap(function() assert.is_false(guard.take(turn)) end)()
    assert.equal("suspended", coroutine.status(thread))
  end)

  it("was broken off if the coroutine that had it has ended", function()
    taken_by_another(false)
    assert.is_nil(guard.take(turn))
    assert.is_true(guard.is_broken_off(turn, false))
  end)

  it("was broken off if the coroutine that had it was abandoned and collected", function()
    taken_by_another(true)
    collectgarbage()
    collectgarbage()
    assert.is_nil(guard.take(turn))
    assert.is_true(guard.is_broken_off(turn, false))
  end)

  it("of the main coroutine cannot be judged from another", function()
    guard.take(turn)
    coroutine.wrap(function()
      assert.is_false(guard.take(turn))
      assert.is_false(guard.is_broken_off(turn, true))
    end)()
  end)
end)

describe("a call in which nothing can yield", function()
  it("leaves no mark on its coroutine, wherever a debug hook raises an error", function()
    local guard = world.new().import "guard"
    local count, has_raised = 0, true
    while has_raised do
      count, has_raised = count + 1, false
      local function raise()
        debug.sethook()
        has_raised = true
        error("on purpose", 0)
      end
      coroutine.wrap(function()
        local thread = coroutine.running()
        pcall(function()
          debug.sethook(raise, "", count)
          guard.without_yields(function() assert(not guard.running()) end)
          debug.sethook()
        end)
        debug.sethook()
        assert.equal(thread, guard.running(), "after " .. count)
      end)()
    end
    assert.is_true(count > 5)
  end)
end)

describe("what can be called", function()
  it("is a function or a table with __call in its metatable, even a hidden one", function()
    local guard = world.new().import "guard"
    for _, case in ipairs {
      { print, true },
      { function() end, true },
      { setmetatable({}, { __call = print }), true },
      { setmetatable({}, { __call = print, __metatable = "hidden" }), true },
      { {}, false },
      { setmetatable({}, {}), false },
      { "print", false },
      { 5, false },
    } do
      assert.equal(case[2], guard.is_callable(case[1]))
    end
  end)
end)
