--[[
Listeners for all events of a socket, whatever their names: the incoming ones, and the outgoing ones. They are called
before the ordinary listeners, with the name and the arguments. Knows nothing of packets.
--]]

local _, import = ...
local emitter, guard, log = import("emitter"), import("guard"), import("log")

local anything = {}

-- The keys under which a socket has its lists, which are replaced when they change, as they may be in use.
local INCOMING, OUTGOING = {}, {}

local function copy(list)
  local all = {}
  for i, listener in ipairs(list or {}) do all[i] = listener end
  return all
end

--- add(object, method, key, f, first): adds a function to a list, as its first or its last. Returns the object; so does
-- the next one.
local function add(object, method, key, f, first)
  emitter.check_self(object, method)
  if not guard.is_callable(f) then
    error(("bad argument #1 to '%s' (function expected, got %s)"):format(method, type(f)), 0)
  end
  local list = copy(rawget(object, key))
  table.insert(list, first and 1 or #list + 1, f)
  rawset(object, key, list)
  return object
end

--- remove(object, key, f): takes a function off a list; all of them if it is nil.
local function remove(object, key, f)
  local list, is_removed = {}, false
  for _, listener in ipairs(f ~= nil and rawget(object, key) or {}) do
    if listener == f and not is_removed then is_removed = true else list[#list + 1] = listener end
  end
  rawset(object, key, list[1] and list or nil)
  return object
end

local function call(list, name, ...)
  for _, listener in ipairs(list) do
    local ok, err = guard.free(listener, name, ...)
    if not ok then log.handler_failed("a listener for all events raised an error", err) end
  end
end

--- extend(class): gives a class the methods that add and remove such listeners.
function anything.extend(class)
  for suffix, key in pairs { [""] = INCOMING, Outgoing = OUTGOING } do
    class["onAny" .. suffix] = function(self, f) return add(self, "onAny" .. suffix, key, f, false) end
    class["prependAny" .. suffix] = function(self, f) return add(self, "prependAny" .. suffix, key, f, true) end
    class["offAny" .. suffix] = function(self, f) return remove(self, key, f) end
    class["listenersAny" .. suffix] = function(self) return copy(rawget(self, key)) end
  end
end

--- incoming(object, name, ...), outgoing(object, name, ...): call the listeners for all such events.
function anything.incoming(object, ...)
  local list = rawget(object, INCOMING)
  if list then call(list, ...) end
end

function anything.outgoing(object, ...)
  local list = rawget(object, OUTGOING)
  if list then call(list, ...) end
end

--- has_outgoing(object): returns whether anybody listens to all outgoing events.
function anything.has_outgoing(object) return rawget(object, OUTGOING) ~= nil end

return anything
