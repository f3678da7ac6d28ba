-- Functions of Lua 5.1 that its successors have under other names or not at all, for specs that run on all of them.
--
--   local compat = require "spec.support.compat"
--   local unpack = compat.unpack
--
-- Programs that child.lua starts have these functions as globals.

local compat = {}

local globals = package.loaded._G or _G
local function old(name) return rawget(globals, name) end

compat.unpack = old "unpack" or table.unpack
compat.loadstring = old "loadstring" or load

--- Whether a yield goes through pcall, and so through the calls of handlers: everywhere but in PUC Lua 5.1.
compat.yields_through_pcall = old "jit" ~= nil or _VERSION ~= "Lua 5.1"

--- running(): the running coroutine; nil for the main one, as in Lua 5.1.
function compat.running()
  local thread, is_main = coroutine.running()
  return not is_main and thread or nil
end

--- newproxy(true): an object whose metatable, which is its own, may be given a finaliser (__gc) later.
compat.newproxy = old "newproxy" or function()
  -- Only an object whose metatable has this field when it is set is finalised, whatever is there later.
  return setmetatable({}, { __gc = true })
end

--- setfenv(f, environment): sets the globals of a function; returns it.
compat.setfenv = old "setfenv" or function(f, environment)
  for at = 1, math.huge do
    local name = debug.getupvalue(f, at)
    if name == "_ENV" then debug.upvaluejoin(f, at, function() return environment end, 1) end -- luacheck: ignore
    if name == "_ENV" or not name then return f end
  end
end

--- Makes globals of them.
function compat.install()
  for _, name in ipairs { "unpack", "loadstring", "newproxy", "setfenv" } do rawset(globals, name, compat[name]) end
end

return compat
