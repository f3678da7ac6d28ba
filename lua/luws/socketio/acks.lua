--[[
The functions that wait for an acknowledgement of an event, by the event's id. Each is called once at most. Knows
nothing of packets.
--]]

local _, import = ...
local failure, guard, log = import("socketio/failure"), import("guard"), import("log")

local acks = {}

local Acks = {}
Acks.__index = Acks

--- call(f, ...): calls a function with an answer or an error. An error that it raises goes to the log.
function acks.call(f, ...)
  local ok, err = guard.free(f, ...)
  if not ok then log.handler_failed("a function for an acknowledgement raised an error", err) end
end

--- add(id, f [, seconds [, wants_error [, on_timeout]]]): has f called when that event is acknowledged. With a time,
-- or if it `wants_error`, f is given an error first, or nil; after that time without an answer, on_timeout(id) is
-- called, and f is given the error.
function Acks:add(id, f, seconds, wants_error, on_timeout)
  local entry = { f = f, wants_error = wants_error or seconds ~= nil, timer = nil }
  self.waiting[id] = entry
  if not seconds then return end
  entry.timer = self.reactor.after(seconds, function()
    if self.waiting[id] ~= entry then return end
    self.waiting[id] = nil
    if on_timeout then on_timeout(id) end
    acks.call(f, failure.new "operation has timed out")
  end)
end

--- take(id): returns the entry that waits for this id, which does not wait any more; or nil.
local function take(self, id)
  local entry = id ~= nil and self.waiting[id] or nil
  if not entry then return nil end
  self.waiting[id] = nil
  if entry.timer then entry.timer:cancel() end
  return entry
end

--- answer(id, ...): an event was acknowledged. An id that nobody waits for is ignored.
function Acks:answer(id, ...)
  local entry = take(self, id)
  if not entry then return end
  if entry.wants_error then acks.call(entry.f, nil, ...) else acks.call(entry.f, ...) end
end

--- remove(id): nobody waits for this id any more.
function Acks:remove(id) take(self, id) end

--- forget(except): the connection is lost: nothing will answer, but for the ids of which except(id) is true. Returns
-- a function that tells those who want errors.
function Acks:forget(except)
  local ids, left = {}, {}
  for id in pairs(self.waiting) do
    if not except(id) then ids[#ids + 1] = id end
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    local entry = take(self, id)
    if entry.wants_error then left[#left + 1] = entry end
  end
  return function()
    for _, entry in ipairs(left) do acks.call(entry.f, failure.new "socket has been disconnected") end
  end
end

--- new(reactor): makes an empty table of such functions, whose time is that of the reactor.
function acks.new(reactor) return setmetatable({ reactor = reactor, waiting = {} }, Acks) end

return acks
