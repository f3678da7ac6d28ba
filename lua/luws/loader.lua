--[[
Assembles the driver: gives each part the other parts that it imports.

Several plugins may share a Lua state, each with its own module table (luws.instance). One plugin must not see what
another sets in its table, so every instance has its own copy of every part, except for those that belong to the world.

A world is where connections live: a clock, and a way to dial. There is the real world, and there may be others in
memory (mock/net.lua, spec/support/world.lua). The instances of a world share what belongs to it.

Most parts are loaded when they are first needed, for `require` is to take little time. If that is interrupted, the part
is loaded again.
--]]

local native = ...

-- Lua 5.1 gives a chunk the globals of the coroutine that loads it. A program may have changed them by then.
local setfenv = _VERSION == "Lua 5.1" and setfenv -- luacheck: ignore (not in later versions)
local environment = setfenv and getfenv(1) -- luacheck: ignore

-- The parts that have been compiled, as chunks. Each call of a chunk makes new functions, so instances and worlds can
-- share it. Compiling is most of what an instance costs: nine tenths of the time, and two thirds of the memory.
local compiled = {}

--- source(part): returns the chunk of a part.
local function source(part)
  local chunk = compiled[part]
  if chunk then return chunk end
  chunk = native.source(part)
  if setfenv then setfenv(chunk, environment) end
  compiled[part] = chunk
  return chunk
end

local SHARED = {
  binary = true, clock = true, cookies = true, gate = true, guard = true, json = true, linger = true, mock = true,
  reactor = true, record = true, turns = true, websocket = true,
}

--- instance_of(world): returns a function that makes instances in this world.
local instance_of
-- The key of the world in its reactor, and of an instance in the metatable of its connections.
local HOME = {}

function instance_of(world)
  local shared = {}
  -- The key, in the metatable of an instance's connections, of the function that has the reactor drive one of them. It
  -- returns true, or false and why not. (A table of them here would keep every instance: Lua 5.1 has no ephemerons.)
  world.ADOPT, world.HOME = {}, HOME

  --- instance(name [, other]): returns another module table, with its own debug_mode. Its log messages begin with
  -- `name`. The stub that a plugin author copies (L_MyPlugin_LuWS.lua) returns such a table. `other` is not for
  -- programs: a world in memory in which to make the instance. It receives a clock if it has none, what its wires are
  -- made of, and the parts of its last instance.
  local function instance(name, other)
    if other then
      other.native, other.memory = native, source("wires/memory")(native)
      other.clock = other.clock or source("mock/clock")(native)
      return instance_of(other)(name)
    end
    local own = {}
    local function import(part)
      local loaded = SHARED[part] and shared or own
      if loaded[part] == nil then loaded[part] = source(part)(native, import, world) end
      return loaded[part]
    end
    world.import = import
    import("log").name = type(name) == "string" and name or "luws"
    local luws = import("luws")
    luws.instance, world.api = instance, luws
    return luws
  end
  world.instance = instance

  return instance
end

-- The real world, and its first instance until somebody requires luws.
local world, first = {}, nil
local instance = instance_of(world)

--- open(module): returns what `require` returns for this module of the library, "luws" or one of its submodules.
return function(module)
  if not world.import then first = instance() end
  if module ~= "luws" then return world.import(module).public end
  local luws = first or instance()
  first = nil
  return luws
end
