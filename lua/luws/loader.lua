--[[
Puts the driver together: gives each part what it asks for.

Several plugins may live in one Lua state, each with a module table of its own (luws.instance): what one of them sets in
its table must not be seen by the others, so every instance has its own copy of every part, but for those of the world.

A world is where connections live: a clock, and what a connection is dialled with. There is the real one, and there may
be others, in memory (spec/support/world.lua). What belongs to the world is shared by its instances.
--]]

local native = ...

local SHARED = { clock = true, guard = true, linger = true }

--- instance_of(world): a function that makes instances in this world.
local instance_of
function instance_of(world)
  local shared = {}

  --- instance(name [, other]): another module table, with its own debug_mode. `name` stands in its log messages. The
  -- stub that a plugin author copies (L_MyPlugin_LuWS.lua) returns one of these. `other`: in another world, which is
  -- given what its wires are made of, and the parts of its last instance; that is for specs and not for programs.
  local function instance(name, other)
    if other then
      other.native, other.memory = native, native.source("wires/memory")(native)
      return instance_of(other)(name)
    end
    local own = {}
    local function import(part)
      local loaded = SHARED[part] and shared or own
      if loaded[part] == nil then loaded[part] = native.source(part)(native, import, world) end
      return loaded[part]
    end
    world.import = import
    import("log").name = type(name) == "string" and name or "luws"
    local luws = import("luws")
    luws.instance = instance
    return luws
  end

  return instance
end

return instance_of({})()
