--[[
luws under a plugin's own name. Copy this file, rename it to L_YourPlugin_LuWS.lua, and change nothing
in it. It needs luws.so beside it, or wherever else Lua finds its modules.

    local luws = require "L_YourPlugin_LuWS"

Each plugin gets a module table of its own, so that one plugin's debug_mode is not another's.
--]]

local name = ...

local luws = require("luws").instance(name)

-- What forks of LuWS have, and some plugins call.
function luws.wsinit(debug) luws.debug_mode = debug and true or false end

luws.ABOUT = {
  NAME = name,
  VERSION = luws._VERSION,
  DESCRIPTION = "luws: a WebSocket client with the interface of LuWS",
}

-- As module() did it for LuWS: some plugins use the global of that name.
if type(name) == "string" then _G[name] = luws end

return luws
