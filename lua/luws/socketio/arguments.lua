--[[
The arguments of an event as a program gives and gets them: the function for the acknowledgement, if there is one, is
the last. Knows nothing of sockets.
--]]

local _, import = ...
local guard = import("guard")

local arguments = {}

local unpack = guard.unpack

--- pack(...): returns the arguments as a list with their number, n.
function arguments.pack(...) return { n = select("#", ...), ... } end

--- split(f, object, flags, name, ...): calls f(object, flags, ack, name, ...), where ack is the last argument if it
-- is a function, and nil otherwise. Returns what f returns.
function arguments.split(f, object, flags, name, ...)
  local count = select("#", ...)
  local last = count > 0 and select(count, ...) or nil
  if type(last) ~= "function" then return f(object, flags, nil, name, ...) end
  return f(object, flags, last, name, unpack({ ... }, 1, count - 1))
end

--- add(f, object, last, ...): calls f(object, ..., last). Returns what f returns.
function arguments.add(f, object, last, ...)
  local count = select("#", ...)
  local list = { ... }
  list[count + 1] = last
  return f(object, unpack(list, 1, count + 1))
end

--- name(value): returns the name of an event, which may come as a number.
function arguments.name(value) return type(value) == "number" and ("%.14g"):format(value) or value end

return arguments
