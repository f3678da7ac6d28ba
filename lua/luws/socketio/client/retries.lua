--[[
Events that are sent again until they are acknowledged, one at a time and in order (the option retries). Knows a
socket only as what connects and sends.
--]]

local _, import = ...
local acks, arguments = import("socketio/acks"), import("socketio/arguments")
local bounded, parser = import("socketio/client/bounded"), import("socketio/parser")

local retries = {}

local unpack = import("guard").unpack

local Queue = {}
Queue.__index = Queue

--- done(queue, entry, err, ...): an attempt to send the first event has ended.
local function done(queue, entry, err, ...)
  if queue.list[1] ~= entry then return end -- it was acknowledged already
  entry.is_pending = false
  if err == nil or entry.tries > queue.retries then
    bounded.remove(queue.list, 1)
    if entry.ack then acks.call(entry.ack, err, ...) end
  end
  queue:drain()
end

--- drain([again]): sends the first event, unless that is under way; `again`: even then, over the new connection.
function Queue:drain(again)
  local entry = self.list[1]
  if not entry or not self.socket.connected or entry.is_pending and not again then return end
  entry.is_pending, entry.tries = true, entry.tries + 1
  self.send(self.socket, entry.flags, function(...) done(self, entry, ...) end, unpack(entry.data, 1, entry.data.n))
end

local function copy(entry, _, _, _, ...) entry.data = arguments.pack(...) end

--- add(flags, ack, messages): adds an event, which has these messages, and so its arguments as they are now. `ack`, if
-- there is one, is called with nil and the answer, or an error. Returns whether there is room.
function Queue:add(flags, ack, messages)
  local entry = { flags = flags, ack = ack, messages = messages, data = nil, tries = 0, is_pending = false }
  if not bounded.add(self.list, entry) then return false end
  local decoder = parser.decoder(math.huge)
  for _, message in ipairs(messages) do assert(decoder:add(message, copy, entry)) end
  entry.messages = nil
  self:drain()
  return true
end

--- new(socket, count, send): makes a queue whose events are sent up to `count` times again, by
-- send(socket, flags, ack, name, ...).
function retries.new(socket, count, send)
  return setmetatable({ socket = socket, retries = count, send = send, list = bounded.new() }, Queue)
end

return retries
