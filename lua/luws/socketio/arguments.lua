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

--- last(...): returns the last argument, or nil if there is none.
function arguments.last(...)
  local count = select("#", ...)
  return count > 0 and select(count, ...) or nil
end

--- split(f, object, flags, name, ...): calls f(object, flags, ack, name, ...), where ack is the last argument if it
-- is a function, and nil otherwise. Returns what f returns.
function arguments.split(f, object, flags, name, ...)
  local last = select(-1, name, ...) -- the name, if there is nothing else
  if type(last) ~= "function" then return f(object, flags, nil, name, ...) end
  return f(object, flags, last, name, unpack({ ... }, 1, select("#", ...) - 1))
end

--- join(f, object, ack, ...): calls f(object, ..., ack), or f(object, ...) if ack is nil. Returns what f returns.
function arguments.join(f, object, ack, ...)
  if ack == nil then return f(object, ...) end
  local count = select("#", ...)
  local list = { ... }
  list[count + 1] = ack
  return f(object, unpack(list, 1, count + 1))
end

--- name(value): returns the name of an event, which may come as a number.
function arguments.name(value) return type(value) == "number" and ("%.14g"):format(value) or value end

return arguments
