--[[
The framing of a bridge's peer: how its bytes become messages. Reads what a program, a command line or a file says of
it. The built-in ones work in src/relay; a function of the program is called for what has come.
--]]

local native, import = ...
local guard = import("guard")

local framing = {}

--- parse(name [, config]): returns the framing of this name with its configuration (a string), or a function's, as a
-- table that peers are made with; or nil and what is wrong.
function framing.parse(name, config)
  if guard.is_callable(name) then return { call = name } end
  if type(name) ~= "string" then return nil, "name of a framing or function expected, got " .. type(name) end
  if type(config) == "number" then config = tostring(config) end
  if config ~= nil and type(config) ~= "string" then
    return nil, ("bad configuration of the framing %s: string expected, got %s"):format(name, type(config))
  end
  local wrong = native.check_framing(name, config)
  if wrong then return nil, wrong end
  return { name = name, config = config }
end

return framing
