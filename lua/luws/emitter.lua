--[[
Objects with listeners, in the manner of JavaScript's emitters: a listener is a function for events of a name. A class
gets the methods; what emits is a function, for programs do not emit, and objects may have a method emit of their own.

Listeners are called in the order in which they were added. Those that are added or removed while an event is emitted
make no difference to that event. An error of a listener goes to the log, and the others are called nevertheless.
--]]

local _, import = ...
local guard, log = import("guard"), import("log")

local emitter = {}

-- The key under which an object has its listeners: arrays by the name of the event.
--
-- An array whose event was emitted may be in use, and is copied before it is changed (`is_used`). An element is a table
-- { f, is_once, is_over }.
local LISTENERS = {}

--- check_self(object, method): raises an error if a method was called without its object, as it is with a dot in place
-- of the colon. The first argument would be taken for the object, and be lost.
function emitter.check_self(object, method)
  if type(object) == "table" then return end
  error(("calling '%s' on bad self (object expected, got %s; call it with a colon, as in object:%s(...))"):format(
    method, type(object), method), 0)
end

--- check(object, method, name, f): raises an error unless these are an object, the name of an event and a function.
local function check(object, method, name, f)
  emitter.check_self(object, method)
  if type(name) ~= "string" then
    error(("bad argument #1 to '%s' (string expected, got %s)"):format(method, type(name)), 0)
  end
  if not guard.is_callable(f) then
    error(("bad argument #2 to '%s' (function expected, got %s)"):format(method, type(f)), 0)
  end
end

--- changeable(object, name): returns the array of listeners for an event, which may be changed now.
local function changeable(object, name)
  local all = rawget(object, LISTENERS)
  if not all then
    all = {}
    rawset(object, LISTENERS, all)
  end
  local list = all[name]
  if not list or list.is_used then
    local copy = {}
    for i, listener in ipairs(list or {}) do copy[i] = listener end
    all[name] = copy
    return copy
  end
  return list
end

--- listeners_of(object, name): returns the array of listeners for an event, which must not be changed; nil for none.
local function listeners_of(object, name)
  local all = rawget(object, LISTENERS)
  return all and all[name]
end

--- place(list, wanted): returns the place of a listener, or of the first one with this function, in an array; or nil.
local function place(list, wanted)
  for i, listener in ipairs(list or {}) do
    if listener == wanted or listener[1] == wanted then return i end
  end
end

--- remove(object, name, i): removes one listener.
local function remove(object, name, i)
  local list = changeable(object, name)
  table.remove(list, i)
  if not list[1] then rawget(object, LISTENERS)[name] = nil end
end

local function add(object, name, f, is_once)
  if place(listeners_of(object, name), f) then
    log.warning("the same function listens to '%s' more than once; it is called once for each", name)
  end
  local list = changeable(object, name)
  list[#list + 1] = { f, is_once, false }
end

local methods = {}

--- on(name, f): has f called for each event of this name. Returns the object; so do the next two.
function methods:on(name, f)
  check(self, "on", name, f)
  add(self, name, f, false)
  return self
end

--- once(name, f): the same for the next event only.
function methods:once(name, f)
  check(self, "once", name, f)
  add(self, name, f, true)
  return self
end

--- off([name [, f]]): removes one listener; without f all for that event; without a name all for all events.
function methods:off(name, f)
  emitter.check_self(self, "off")
  if name == nil then
    rawset(self, LISTENERS, nil)
  elseif f == nil then
    local all = rawget(self, LISTENERS)
    if all then all[name] = nil end
  else
    local i = place(listeners_of(self, name), f)
    if i then remove(self, name, i) end
  end
  return self
end

-- The names that Node's emitters have for the same.
methods.addListener, methods.removeListener, methods.removeAllListeners = methods.on, methods.off, methods.off

--- listeners(name): returns an array of the functions that listen to an event.
function methods:listeners(name)
  local all = {}
  for i, listener in ipairs(listeners_of(self, name) or {}) do all[i] = listener[1] end
  return all
end

--- hasListeners(name): returns whether any function listens to an event.
function methods:hasListeners(name) return listeners_of(self, name) ~= nil end

--- is_heard(object, name, other): returns whether any function listens to one of two events.
function emitter.is_heard(object, name, other)
  local all = rawget(object, LISTENERS)
  return all ~= nil and (all[name] or all[other]) ~= nil
end

--- extend(class): gives a class the methods of objects with listeners.
function emitter.extend(class)
  for name, method in pairs(methods) do class[name] = method end
end

--- emit(object, name, ...): calls the listeners for an event with these arguments. Returns whether there are any.
function emitter.emit(object, name, ...)
  local list = listeners_of(object, name)
  if not list then return false end
  list.is_used = true
  for _, listener in ipairs(list) do
    local is_over = listener[3]
    if listener[2] and not is_over then
      listener[3] = true
      local i = place(listeners_of(object, name), listener)
      if i then remove(object, name, i) end
    end
    if not is_over then
      local ok, err = guard.free(listener[1], ...)
      if not ok then log.handler_failed(("a listener for '%s' raised an error"):format(name), err) end
    end
  end
  return true
end

return emitter
