--[[
A network between two ends in memory (wires/memory.lua), with its faults: it takes bytes from one end and brings them to
the other, in order, in the pieces and at the times that the faults say. It knows nothing of what passes.

  short_writes   a write takes at most this many bytes
  split_reads    a read returns at most this many bytes; a list has a number for each read in turn
  delay, jitter  seconds until bytes arrive, and how many more at most
  bandwidth      bytes per second
  corrupt_at     the byte at this place arrives changed
  reset_after, half_close_after, stall_after
                 after this many bytes the connection ends at once, in both directions; the stream ends in this
                 direction; nothing more is accepted
--]]

local link = {}

local KNOWN = {
  short_writes = 1, split_reads = 1, delay = 0, jitter = 0, bandwidth = 1, corrupt_at = 1, reset_after = 0,
  half_close_after = 0, stall_after = 0,
}

--- A value that is drawn again each time it is asked for (random).
local Random = {}

--- random(from, to): returns a value for a fault that is drawn between the two each time. It is whole if both are.
function link.random(from, to)
  for index, number in ipairs { from or false, to or false } do
    if type(number) ~= "number" or number - number ~= 0 then
      local got = type(number) == "number" and tostring(number) or type(number or nil)
      error(("bad argument #%d to 'random' (a number expected, got %s)"):format(index, got), 2)
    end
  end
  if to < from then error("bad argument #2 to 'random' (it is less than the first)", 2) end
  return setmetatable({ from = from, to = to }, Random)
end

--- draw(value, next): returns the value of a fault. next() returns the next number from 0 to 1 of a generator.
local function draw(value, next)
  if getmetatable(value) ~= Random then return value end
  local from, to = value.from, value.to
  if from % 1 == 0 and to % 1 == 0 then return from + math.floor(next() * (to - from + 1)) end
  return from + next() * (to - from)
end

link.draw = draw

--- is_amount(value, least): returns whether a value is a number of at least this, or is drawn among such.
function link.is_amount(value, least)
  if getmetatable(value) == Random then return value.from >= least end
  return type(value) == "number" and value >= least
end

--- Returns whether the sizes of reads are right: one for all, or a list.
local function are_sizes(value, least)
  if type(value) ~= "table" or getmetatable(value) then return link.is_amount(value, least) end
  for _, size in ipairs(value) do
    if not link.is_amount(size, least) then return false end
  end
  return value[1] ~= nil
end

--- check(faults [, other]): returns what is wrong with a table of faults, or nil. `other` has further names.
function link.check(faults, other)
  for name, value in pairs(faults) do
    local least = KNOWN[name]
    local is_right = name == "split_reads" and are_sizes or link.is_amount
    if name == "up" or name == "down" then
      local wrong = type(value) ~= "table" and "table expected" or link.check(value)
      if wrong then return wrong end
    elseif not least and not (other and other[name]) then
      return ("unknown fault '%s'"):format(tostring(name))
    elseif least and not is_right(value, least) then
      local got = type(value) == "number" and tostring(value) or type(value)
      return ("bad fault '%s' (a number of at least %d expected, got %s)"):format(name, least, got)
    end
  end
end

--- Ends both ways at once, as a reset does: what is under way is lost.
local function reset(way)
  for _, each in ipairs { way, way.back } do
    each.is_over = true
    each.from:clear()
    each.to:close("closed")
  end
end

--- What happens once `passed` bytes have passed, by the name of the fault.
local AFTER = {
  reset_after = reset,
  half_close_after = function(way)
    way.is_over = true
    way.from:clear()
    way.to:finish()
  end,
  stall_after = function(way) way.is_stalled, way.from.capacity = true, 0 end,
}

--- Returns how many bytes may pass until the next fault begins, and that fault.
local function until_fault(way)
  local left, fault = math.huge, nil
  for name in pairs(AFTER) do
    local at = way.faults[name]
    if at and at - way.passed < left then left, fault = at - way.passed, name end
  end
  return left, fault
end

--- Sets how many bytes one read brings.
local function size_read(way)
  local reads = way.faults.split_reads
  if not reads then return end
  local size = reads
  if type(reads) == "table" and getmetatable(reads) ~= Random then
    way.reads = way.reads % #reads + 1
    size = reads[way.reads]
  end
  way.to.other.capacity = math.max(1, draw(size, way.next))
end

local function size_write(way)
  local writes = way.faults.short_writes
  if writes and not way.is_stalled then way.from.capacity = math.max(1, draw(writes, way.next)) end
end

--- Brings bytes to the end where they are read, as it has room.
local function bring(way)
  while way.arrived ~= "" and not way.is_over do
    local room = way.to:room()
    if room < 1 then break end
    if way.faults.split_reads and way.to.other:waiting() > 0 then break end
    local piece = way.arrived:sub(1, math.min(#way.arrived, room))
    way.arrived = way.arrived:sub(#piece + 1)
    way.to:send(piece)
  end
  if way.ends and way.arrived == "" and way.under_way == 0 and not way.is_over then
    way.is_over = true
    way.to:finish(way.ends)
  end
end

--- Takes bytes to where they arrive, after their time.
local function carry(way, bytes)
  local faults, clock = way.faults, way.clock
  local at = faults.corrupt_at and draw(faults.corrupt_at, way.next) - way.passed
  if at and at >= 1 and at <= #bytes and not way.is_corrupt then
    way.is_corrupt = true
    bytes = bytes:sub(1, at - 1) .. string.char((bytes:byte(at) + 128) % 256) .. bytes:sub(at + 1)
  end
  way.passed = way.passed + #bytes
  local seconds = draw(faults.delay or 0, way.next) + way.next() * draw(faults.jitter or 0, way.next)
  local time = clock.now()
  if faults.bandwidth then
    way.free = math.max(way.free, time) + #bytes / draw(faults.bandwidth, way.next)
    time = way.free
  end
  way.last = math.max(way.last, time + seconds) -- TCP keeps the order
  if way.last <= clock.now() then
    way.arrived = way.arrived .. bytes
    return bring(way)
  end
  way.under_way = way.under_way + 1
  clock.after(way.last - clock.now(), function()
    way.under_way = way.under_way - 1
    way.arrived = way.arrived .. bytes
    bring(way)
  end, way.who)
end

--- pass(way): takes what has been written.
local function pass(way)
  while not (way.is_over or way.is_stalled) do
    local left, fault = until_fault(way)
    if left <= 0 then
      AFTER[fault](way)
      break
    end
    local bytes = way.from:take(math.min(way.from:waiting(), left))
    if bytes == "" then break end
    size_write(way)
    carry(way, bytes)
  end
  if way.is_over then way.from:clear() end
  if way.from.finished and not way.is_stalled and not way.ends then
    way.ends = way.from.finished
    bring(way)
  end
  -- An end that cannot be sent to any more is learnt when its answer has had the time to come.
  local sender = way.from.other
  if way.to.broken and not way.is_stalled then sender.broken = sender.broken or way.to.broken end
end

local function new_way(from, to, faults, setting)
  local way = {
    from = from, to = to, faults = faults, clock = setting.clock, next = setting.random, who = setting.who,
    passed = 0, arrived = "", under_way = 0, free = 0, last = 0, reads = 0,
  }
  size_read(way)
  size_write(way)
  function from.on_input() pass(way) end
  function to.on_room()
    size_read(way)
    bring(way)
  end
  return way
end

--- Returns the faults of one way: those of both, and its own.
local function faults_of(faults, name)
  local own = {}
  for key in pairs(KNOWN) do own[key] = faults[key] end
  for key, value in pairs(faults[name] or {}) do own[key] = value end
  return own
end

--- between(memory, faults, setting): returns the two ends of a network with these faults: the client's, the server's.
-- Without faults it is nothing but a wire. `setting` has a clock, random() and a name for it (who). The third result
-- has the ways, up and down, and reset(), which ends both at once.
function link.between(memory, faults, setting)
  local near, near_side = memory.pair()
  if not faults or next(faults) == nil then
    return near, near_side, {
      reset = function()
        near:close("closed")
        near_side:close("closed")
      end,
    }
  end
  local far_side, far = memory.pair()
  local up = new_way(near_side, far_side, faults_of(faults, "up"), setting)
  local down = new_way(far_side, near_side, faults_of(faults, "down"), setting)
  up.back, down.back = down, up
  return near, far, { up = up, down = down, reset = function() reset(up) end }
end

return link
