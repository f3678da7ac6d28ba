-- Objects with listeners (lua/luws/emitter.lua): who is called for an event, in which order, and after errors.

local log = require "spec.support.log"
local world = require "spec.support.world"

local emitter, object, seen

--- Returns a listener that notes its name and what it was called with.
local function noting(name)
  return function(...)
    seen[#seen + 1] = table.concat({ name, ... }, " ")
  end
end

before_each(function()
  emitter = world.new().import "emitter"
  local class = {}
  class.__index = class
  emitter.extend(class)
  object, seen = setmetatable({}, class), {}
end)

describe("listeners", function()
  it("are called in the order in which they were added, with all arguments", function()
    object:on("a", noting "first"):once("a", noting "once"):on("a", noting "last"):on("b", noting "other")
    local count
    object:on("a", function(...) count = select("#", ...) end)
    assert.is_true(emitter.emit(object, "a", 1, 2))
    assert.same({ "first 1 2", "once 1 2", "last 1 2" }, seen)
    emitter.emit(object, "a", nil, nil)
    assert.same({ 2, "first", "last" }, { count, seen[4], seen[5] })
  end)

  it("of other objects are not called, nor are there any of no event", function()
    object:on("a", noting "a")
    assert.is_false(emitter.emit(setmetatable({}, getmetatable(object)), "a"))
    assert.is_false(emitter.emit(object, "b"))
    assert.same({}, seen)
  end)

  it("can be removed one by one, by event, and all", function()
    local f, g = noting "f", noting "g"
    local function left()
      seen = {}
      emitter.emit(object, "a")
      emitter.emit(object, "b")
      return seen
    end
    for _, case in ipairs {
      { { "a", f }, { "g", "f" } }, { { "a", noting "stranger" }, { "f", "g", "f" } }, { { "a" }, { "f" } },
      { { "c" }, { "f", "g", "f" } }, { { "c", f }, { "f", "g", "f" } }, { {}, {} },
    } do
      object:off()
      object:on("a", f):on("a", g):on("b", f)
      assert.equal(object, object:off(case[1][1], case[1][2]))
      assert.same(case[2], left())
    end
  end)

  it("are listed, and known to be there", function()
    local f, g = noting "f", noting "g"
    object:on("a", f):once("a", g)
    assert.same({ f, g }, object:listeners "a")
    assert.same({}, object:listeners "b")
    assert.same({ true, false }, { object:hasListeners "a", object:hasListeners "b" })
    object:off("a", f):off("a", g)
    assert.is_false(object:hasListeners "a")
  end)

  it("that are added or removed during an event make no difference to it", function()
    local f = noting "f"
    object:on("a", function()
      object:off("a", f)
      object:on("a", noting "late")
    end)
    object:on("a", f)
    emitter.emit(object, "a")
    assert.same({ "f" }, seen)
    emitter.emit(object, "a")
    assert.same({ "f", "late" }, seen)
  end)

  it("for one event are called once, even if they emit it themselves", function()
    object:once("a", function()
      seen[#seen + 1] = "once"
      emitter.emit(object, "a")
    end)
    emitter.emit(object, "a")
    emitter.emit(object, "a")
    assert.same({ "once" }, seen)
  end)

  it("for one event leave one that is the same function for all", function()
    local f = noting "f"
    log.capture(function() object:on("a", f):once("a", f) end)
    for _ = 1, 2 do emitter.emit(object, "a") end
    assert.same({ "f", "f", "f" }, seen)
  end)
end)

it("logs an error of a listener, and calls the others", function()
  object:on("a", function() error "oops" end):on("a", noting "next")
  local lines = log.capture(function() emitter.emit(object, "a") end)
  assert.equal(1, #lines)
  assert.matches("a listener for 'a' raised an error: .*oops.*traceback", (lines[1]:gsub("\n", " ")))
  assert.same({ "next" }, seen)
end)

it("warns of a function that listens twice to one event", function()
  local f = noting "f"
  local lines = log.capture(function() object:on("a", f):on("b", f):on("a", f) end)
  assert.equal(1, #lines)
  assert.matches("the same function listens to 'a' more than once", lines[1])
end)

it("has the names of Node's emitters as well", function()
  local f = noting "f"
  assert.equal(object, object:addListener("a", f):addListener("b", f):addListener("c", f))
  object:removeListener("a", f):removeAllListeners "b"
  for _, name in ipairs { "a", "b", "c" } do emitter.emit(object, name) end
  assert.same({ "f" }, seen)
end)

it("refuses a call with a dot in place of the colon, which would lose an argument", function()
  for _, method in ipairs { "on", "once", "off", "addListener", "removeAllListeners" } do
    local ok, err = pcall(object[method], "a", noting "f")
    assert.is_false(ok)
    assert.matches("^calling '%w+' on bad self %(object expected, got string; call it with a colon", err)
  end
end)

it("refuses what is no name or no function", function()
  for _, case in ipairs {
    { "on", nil, print, "bad argument #1 to 'on' (string expected, got nil)" },
    { "once", "a", nil, "bad argument #2 to 'once' (function expected, got nil)" },
    { "on", "a", "b", "bad argument #2 to 'on' (function expected, got string)" },
  } do
    local ok, err = pcall(object[case[1]], object, case[2], case[3])
    assert.same({ false, case[4] }, { ok, err })
  end
end)
