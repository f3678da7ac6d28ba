--[[
Events and their listeners, as in the DOM standard: EventTarget, Event and AbortController, for objects that have no
parent. Knows nothing of WebSockets.

An object has a record of its listeners under a private key. Listeners are called under a protected call; their errors
go to whoever made the record.
--]]

local _, import = ...
local guard = import("guard")

local events = {}

-- The key of an object's record, and the keys of an event's flags.
local RECORD = {}
local DISPATCHED, STOPPED, ENDED, PASSIVE, CANCELLED = {}, {}, {}, {}, {}

local AT_TARGET = 2 -- the only phase

--- wrong(level, name, index, what): raises an error about an argument, at the caller of an API function that is as many
-- levels up.
local function wrong(level, name, index, what)
  error(("bad argument #%d to '%s' (%s)"):format(index, name, what), level + 1)
end

events.wrong = wrong

-- Events

local Event = {
  bubbles = false, cancelable = false, defaultPrevented = false, isTrusted = false, eventPhase = 0,
}
Event.__index = Event

local function cancel(event)
  if event.cancelable ~= true or event[PASSIVE] then return end
  event[CANCELLED] = true
  event.defaultPrevented = true
end

--- preventDefault(): has dispatchEvent return false, if the event can be cancelled.
function Event:preventDefault() cancel(self) end

--- stopPropagation(): after a listener that captures, those that do not are not called.
function Event:stopPropagation() self[STOPPED] = true end

--- stopImmediatePropagation(): no other listener is called.
function Event:stopImmediatePropagation() self[STOPPED], self[ENDED] = true, true end

--- composedPath(): returns an array of the objects whose listeners are called.
function Event:composedPath() return { self.currentTarget } end

-- Records

--- new(object, report, changed): makes an object a target of events. report(err, event) is called with the error of a
-- listener; changed() when listeners come or go.
function events.new(object, report, changed)
  object[RECORD] = { lists = {}, handlers = {}, report = report, changed = changed }
end

--- has(object, kind): returns whether there are listeners for this type of events.
function events.has(object, kind)
  local list = rawget(object, RECORD).lists[kind]
  return list ~= nil and list[1] ~= nil
end

local function append(record, kind, listener)
  local list = record.lists[kind]
  if not list then
    list = {}
    record.lists[kind] = list
  end
  list[#list + 1] = listener
  listener.kind = kind
  record.changed()
end

local function remove(record, listener)
  if listener.is_removed then return end
  listener.is_removed = true
  local list = record.lists[listener.kind]
  for i, other in ipairs(list) do
    if other == listener then
      table.remove(list, i)
      break
    end
  end
  if listener.signal then listener.signal.listeners[listener] = nil end
  record.changed()
end

--- handler(object, kind): returns the function that was assigned to on*, or nil.
function events.handler(object, kind)
  local listener = rawget(object, RECORD).handlers[kind]
  return listener and listener.callback
end

--- set_handler(object, kind, f): assigns a function, or nil, to on*, at the caller of __newindex. A function keeps the
-- place of the one that it replaces.
function events.set_handler(object, kind, f)
  if f ~= nil and not guard.is_callable(f) then
    error(("bad value for 'on%s' (function or nil expected, got %s)"):format(kind, type(f)), 3)
  end
  local record = rawget(object, RECORD)
  local listener = record.handlers[kind]
  if f ~= nil and listener then
    listener.callback = f
  elseif f ~= nil then
    listener = { callback = f, capture = false, is_handler = true }
    record.handlers[kind] = listener
    append(record, kind, listener)
  elseif listener then
    record.handlers[kind] = nil
    remove(record, listener)
  end
end

-- Dispatching

local function handle_event(object, event)
  local f = object.handleEvent
  if not guard.is_callable(f) then
    error(("a listener's handleEvent is not a function but a %s"):format(type(f)), 0)
  end
  return f(object, event)
end

local function call(record, listener, event)
  local callback = listener.callback
  event[PASSIVE] = listener.passive
  local is_function = guard.is_callable(callback)
  local ok, result = guard.free(is_function and callback or handle_event, is_function and event or callback, event)
  event[PASSIVE] = nil
  if not ok then
    record.report(result, event)
  elseif listener.is_handler and result == false then
    cancel(event)
  end
end

--- invoke(record, event, capture): calls the listeners that do, or do not, capture. Those that are added meanwhile are
-- not called, and neither are those that are removed.
local function invoke(record, event, capture)
  local list = record.lists[event.type]
  if event[STOPPED] or not list or not list[1] then return end
  local all = {}
  for i, listener in ipairs(list) do all[i] = listener end
  for _, listener in ipairs(all) do
    if not listener.is_removed and listener.capture == capture then
      if listener.once then remove(record, listener) end
      call(record, listener, event)
      if event[ENDED] then return end
    end
  end
end

--- dispatch(object, event): calls the listeners for the type of the event, a table that becomes an Event. Returns
-- whether nobody has prevented its default.
function events.dispatch(object, event)
  local record = rawget(object, RECORD)
  setmetatable(event, Event)
  event.target, event.currentTarget, event.eventPhase, event[DISPATCHED] = object, object, AT_TARGET, true
  invoke(record, event, true)
  invoke(record, event, false)
  event.currentTarget, event.eventPhase = nil, nil
  event[DISPATCHED], event[STOPPED], event[ENDED] = nil, nil, nil
  return not event[CANCELLED]
end

-- The methods of targets

--- Returns the record of the object that a method is called on.
local function record_of(object, name)
  local record = type(object) == "table" and rawget(object, RECORD)
  if record then return record end
  error(("calling '%s' on bad self (an event target expected, got %s)"):format(name, type(object)), 3)
end

local function read_type(kind, name)
  if type(kind) == "number" then return tostring(kind) end
  if type(kind) ~= "string" then wrong(3, name, 1, "string expected, got " .. type(kind)) end
  return kind
end

--- Returns whether a third argument says that a listener captures: it is true, or a table that has it.
local function captures(options)
  if type(options) == "table" then return options.capture and true or false end
  return options and true or false
end

local function find(record, kind, callback, capture)
  for _, listener in ipairs(record.lists[kind] or {}) do
    if rawequal(listener.callback, callback) and listener.capture == capture and not listener.is_handler then
      return listener
    end
  end
end

local targets = {}
events.methods = targets

local SIGNAL = {} -- the key of what a signal knows

--- addEventListener(type, listener [, options]): has the listener, a function or a table with a function handleEvent,
-- called for each event of this type. Options are a table with once, passive, capture and signal; or true for capture.
function targets:addEventListener(kind, callback, options)
  local record = record_of(self, "addEventListener")
  kind = read_type(kind, "addEventListener")
  if callback ~= nil and type(callback) ~= "table" and not guard.is_callable(callback) then
    wrong(2, "addEventListener", 2, "function or table expected, got " .. type(callback))
  end
  local given = type(options) == "table" and options or {}
  local signal = given.signal
  local known = type(signal) == "table" and rawget(signal, SIGNAL) or nil
  if signal ~= nil and not known then
    wrong(2, "addEventListener", 3, "signal: an AbortController's signal expected, got " .. type(signal))
  end
  if callback == nil or known and known.aborted then return end
  local capture = captures(options)
  if find(record, kind, callback, capture) then return end
  local listener = {
    callback = callback, capture = capture, once = given.once and true, passive = given.passive and true,
    signal = known,
  }
  append(record, kind, listener)
  if known then known.listeners[listener] = record end
end

--- removeEventListener(type, listener [, options]): of the options, only capture matters.
function targets:removeEventListener(kind, callback, options)
  local record = record_of(self, "removeEventListener")
  kind = read_type(kind, "removeEventListener")
  local listener = callback ~= nil and find(record, kind, callback, captures(options))
  if listener then remove(record, listener) end
end

--- dispatchEvent(event): calls the listeners for event.type now. Returns false if one of them has prevented the default
-- of an event that can be cancelled, else true.
function targets:dispatchEvent(event)
  record_of(self, "dispatchEvent")
  if type(event) ~= "table" then wrong(2, "dispatchEvent", 1, "table expected, got " .. type(event)) end
  local meta = guard.metatable_of(event)
  if meta ~= nil and meta ~= Event then wrong(2, "dispatchEvent", 1, "a table without a metatable expected") end
  if type(event.type) ~= "string" then
    wrong(2, "dispatchEvent", 1, "type: string expected, got " .. type(event.type))
  end
  if event[DISPATCHED] then error("InvalidStateError: the event is being dispatched", 2) end
  event.isTrusted = nil
  return events.dispatch(self, event)
end

-- AbortController

local Signal = {}

function Signal:__index(key)
  local known = rawget(self, SIGNAL)
  if key == "aborted" or key == "reason" then return known[key] end
  if key == "onabort" then return events.handler(self, "abort") end
  return targets[key]
end

function Signal:__newindex(key, value)
  if key == "aborted" or key == "reason" then
    error(("attempt to assign read-only field '%s'"):format(key), 2)
  elseif key == "onabort" then
    events.set_handler(self, "abort", value)
  else
    rawset(self, key, value)
  end
end

local Controller = {}
Controller.__index = Controller

--- abort([reason]): aborts the signal: listeners that were added with it are removed.
function Controller:abort(reason)
  local signal = type(self) == "table" and rawget(self, "signal")
  local known = type(signal) == "table" and rawget(signal, SIGNAL)
  if not known then error("calling 'abort' on bad self (AbortController expected, got " .. type(self) .. ")", 2) end
  if known.aborted then return end
  if reason == nil then reason = "AbortError: the signal was aborted without a reason" end
  known.aborted, known.reason = true, reason
  local listeners = known.listeners
  known.listeners = {}
  for listener, record in pairs(listeners) do
    listener.signal = nil
    remove(record, listener)
  end
  events.dispatch(signal, { type = "abort", isTrusted = true })
end

--- controller(report): returns a new AbortController; its field `signal` is what addEventListener takes.
function events.controller(report)
  local signal = { [SIGNAL] = { aborted = false, reason = nil, listeners = {} } }
  events.new(signal, report, function() end)
  return setmetatable({ signal = setmetatable(signal, Signal) }, Controller)
end

return events
