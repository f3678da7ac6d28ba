--[[
Lua files that add to the bridge: a backend (`-b lua:FILE`), or a framing function (`framing = lua:FILE`). Such a file
is a chunk that returns a function.
--]]

local _, import = ...
local guard = import("guard")

local plugin = {}

--- path(name): returns the path in a name such as lua:FILE, or nil.
function plugin.path(name) return type(name) == "string" and name:match "^lua:(.*)$" or nil end

--- load(path, ...): runs a file, with these arguments. Returns the function that it returns; or nil and why there is
-- none.
function plugin.load(path, ...)
  local chunk, why = loadfile(path)
  if not chunk then return nil, why end
  local ok, made = guard.caught(chunk, ...)
  if not ok then return nil, guard.text(made) or type(made) end
  if guard.is_callable(made) then return made end
  return nil, ("%s returns a %s, not a function"):format(path, type(made))
end

return plugin
