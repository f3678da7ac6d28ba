--[[
Puts the driver together: gives each part what it asks for, once per instance of the module.

Several plugins may live in one Lua state, each with a module table of its own (luws.instance): what
one of them sets in its table must not be seen by the others, so every instance has its own copy of
every part.
--]]

local native = ...

local function instance(name)
  local loaded = {}
  local function import(part)
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

return instance()
