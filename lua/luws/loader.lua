--[[
Puts the driver together: gives each part what it asks for, once per instance of the module.

Several plugins may live in one Lua state, each with a module table of its own (luws.instance): what
one of them sets in its table must not be seen by the others, so every instance has its own copy of
every part that has to do with that.
--]]

local native = ...

-- The parts that log nothing, and import no other.
local SHARED = { options = true, protect = true, pump = true, tls = true }
local shared = {}

local function instance(name)
  if native.gone then error(native.gone, 2) end
  local own = {}
  local function import(part)
    local loaded = SHARED[part] and shared or own
    if loaded[part] == nil then loaded[part] = native.source(part)(native, import) end
    return loaded[part]
  end
  import("log").name = type(name) == "string" and name or "luws"
  local luws = import("luws")
  import("log").settings = luws

  --- instance(name): another module table, with its own debug_mode. `name` stands in its log
  -- messages. The stub that a plugin author copies (L_MyPlugin_LuWS.lua) returns one of these.
  luws.instance = instance
  return luws
end

-- When a Lua state is closed, finalisers run in the order of the ages of what they belong to, the youngest first, and
-- one that is older than this module may still call it. By then this proxy, which is younger than all that is native
-- here, has been finalised, and there is nothing left to call.
local GONE = "the Lua state is being closed"
local function bury()
  local function nothing() return nil, GONE end
  for key in pairs(native) do native[key] = nothing end
  native.gone, native.time, native.monotonic = GONE, os.time, os.clock
  function native.sleep() return true end
end
local newproxy = rawget(_G, "newproxy") -- there is none in Lua 5.2 and later, where tables have finalisers

--- finaliser(f): an object behind whose end f is called.
function native.finaliser(f)
  if not newproxy then return setmetatable({}, { __gc = f }) end
  local proxy = newproxy(true)
  getmetatable(proxy).__gc = f
  return proxy
end
native.proxy = native.finaliser(bury)

return instance()
