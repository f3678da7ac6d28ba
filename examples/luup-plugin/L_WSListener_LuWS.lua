--[[
luws under a plugin's own name. Copy this file, rename it to L_YourPlugin_LuWS.lua, and leave its contents as they are.
It needs luws.so in the same folder, or anywhere else Lua looks for modules.

    local luws = require "L_YourPlugin_LuWS"

Each plugin gets its own module table, so setting debug_mode in one plugin does not affect another.
--]]

local name = ...

local luws = require("luws").instance(name)

-- Some forks of LuWS have wsinit and ABOUT, and some plugins use them.
function luws.wsinit(debug) luws.debug_mode = debug and true or false end

luws.ABOUT = {
  NAME = name,
  VERSION = luws._VERSION,
  DESCRIPTION = "luws: a WebSocket client with the interface of LuWS",
}

-- LuWS called module(), which also sets a global of that name. Some plugins use the global.
if type(name) == "string" then _G[name] = luws end

return luws
