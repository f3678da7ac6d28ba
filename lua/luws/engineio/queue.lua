--[[
Packets that wait for a transport, in the order in which they are to be sent. What it costs to take some from the front
does not depend on how many are left.
--]]

local _, import = ...
local packets = import("engineio/packets")

local queue = {}

local Queue = {}
Queue.__index = Queue

-- What a packet that waits takes beside its data, in bytes.
local OVERHEAD = 100

--- add(packet): puts a packet at the end.
function Queue:add(packet)
  self.last = self.last + 1
  self[self.last] = packet
  self.bytes = self.bytes + packets.size(packet) + OVERHEAD
end

--- take(most [, room]): removes packets from the front, at most so many, and of at most `room` bytes in a payload; but
-- always one, if there is any. Returns them as an array.
function Queue:take(most, room)
  local list, size = {}, 0
  while self.first <= self.last and #list < most do
    local packet = self[self.first]
    local own = packets.size(packet)
    size = size + own + (list[1] and 1 or 0)
    if room and list[1] and size > room then break end
    list[#list + 1], self[self.first] = packet, nil
    self.first, self.bytes = self.first + 1, self.bytes - own - OVERHEAD
  end
  return list
end

--- put_back(list, count): puts the packets of a list that come after so many back to the front.
function Queue:put_back(list, count)
  for i = #list, count + 1, -1 do
    self.first = self.first - 1
    self[self.first] = list[i]
    self.bytes = self.bytes + packets.size(list[i]) + OVERHEAD
  end
end

--- newest(): returns the packet at the end, or nil.
function Queue:newest() return self[self.last] end

--- count(): returns how many packets wait.
function Queue:count() return self.last - self.first + 1 end

function Queue:is_empty() return self.first > self.last end

--- new(): returns a queue without packets. Its field `bytes` is what those in it take.
function queue.new() return setmetatable({ first = 1, last = 0, bytes = 0 }, Queue) end

return queue
