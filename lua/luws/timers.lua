--[[
What is to be done at which time: a binary heap, so that adding and taking cost the logarithm of the number. Knows no
clock and calls nothing.
--]]

local timers = {}

local Heap = {}
Heap.__index = Heap

local function is_before(a, b)
  if a.time ~= b.time then return a.time < b.time end
  return a.order < b.order -- as they were added
end

--- Puts an entry at a place whose own entry has been taken, or above it.
local function rise(heap, entry, place)
  while place > 1 do
    local above = (place - place % 2) / 2
    if not is_before(entry, heap[above]) then break end
    heap[place], heap[above].place = heap[above], place
    place = above
  end
  heap[place], entry.place = entry, place
end

--- Puts an entry at a place whose own entry has been taken, or below it.
local function sink(heap, entry, place)
  local count = heap.count
  while true do
    local below = 2 * place
    if below > count then break end
    if below < count and is_before(heap[below + 1], heap[below]) then below = below + 1 end
    if not is_before(heap[below], entry) then break end
    heap[place], heap[below].place = heap[below], place
    place = below
  end
  heap[place], entry.place = entry, place
end

--- add(entry, time): adds an entry, which is any table that is in no heap. Its fields time, order and place are ours.
function Heap:add(entry, time)
  self.order, self.count = self.order + 1, self.count + 1
  entry.time, entry.order = time, self.order
  rise(self, entry, self.count)
end

--- remove(entry): takes an entry out; one that is not in the heap is ignored.
function Heap:remove(entry)
  local place, count = entry.place, self.count
  if not place then return end
  local last = self[count]
  self[count], self.count, entry.place = nil, count - 1, nil
  if last == entry then return end
  if is_before(last, entry) then rise(self, last, place) else sink(self, last, place) end
end

--- first(): returns the entry whose time comes first, or nil.
function Heap:first() return self[1] end

--- new(): makes an empty heap. Its field `order` is the order of the last entry that was added.
function timers.new()
  return setmetatable({ count = 0, order = 0 }, Heap)
end

return timers
