--[[
Events that are sent again until they are acknowledged, one at a time and in order (the option retries). Knows a
socket only as what connects and sends.
--]]

local _, import = ...
local arguments, guard, log = import("socketio/arguments"), import("guard"), import("log")

local retries = {}

local unpack = guard.unpack

local Queue = {}
Queue.__index = Queue

--- done(queue, entry, err, ...): an attempt to send the first event has ended.
local function done(queue, entry, err, ...)
  if queue[1] ~= entry then return end -- it was acknowledged already
  entry.is_pending = false
  if err == nil or entry.tries > queue.retries then
    table.remove(queue, 1)
    if entry.ack then
      local ok, why = guard.free(entry.ack, err, ...)
      if not ok then log.handler_failed("a function for an acknowledgement raised an error", why) end
    end
  end
  queue:drain()
end

--- drain([again]): sends the first event, unless that is under way; `again`: even then, over the new connection.
function Queue:drain(again)
  local entry = self[1]
  if not entry or not self.socket.connected or entry.is_pending and not again then return end
  entry.is_pending, entry.tries = true, entry.tries + 1
  self.send(self.socket, entry.flags, function(...) done(self, entry, ...) end, unpack(entry.data, 1, entry.data.n))
end

--- add(flags, ack, name, ...): adds an event. `ack`, if there is one, is called with nil and the answer, or an error.
function Queue:add(flags, ack, name, ...)
  self[#self + 1] = { flags = flags, ack = ack, data = arguments.pack(name, ...), tries = 0, is_pending = false }
  self:drain()
end

--- new(socket, count, send): makes a queue whose events are sent up to `count` times again, by
-- send(socket, flags, ack, name, ...).
function retries.new(socket, count, send)
  return setmetatable({ socket = socket, retries = count, send = send }, Queue)
end

return retries
