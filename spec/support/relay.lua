-- A relay with faults, in memory and in virtual time: it stands between the two ends of a wire, as a network does, and
-- passes bytes in both directions until a certain number has passed. Then the fault begins.
--
--   w.relay = relay.between(w, { fault = "ends", way = "down", at = 100 }, function(r) the_relay = r end)
--   ... open a connection in the world w ...
--   assert.equal(100, the_relay.down.passed)
--
-- `way` is "up" (from the client to the peer) or "down". The switches, by the name of the fault:
--
--   ends       this way ends; the other one stays open
--   vanishes   both ways end, and neither side can send any more: the process or the machine at the other end is gone
--   breaks     the same, with the reason of a system that has given up: "timed out"
--   stalls     nothing passes this way any more, and nothing is taken
--   swallows   everything is taken this way, and nothing arrives
--   freezes    nothing passes either way any more, and nothing is taken
--   pauses     nothing passes this way for `seconds`; then everything does
--   drips      bytes arrive one by one, `seconds` apart
--   crawls     there is never room for more than one byte (only up)
--
-- It knows the ends of wires/memory.lua, and nothing of what passes.

local relay = {}

--- Which faults end or stop the stream for good.
relay.FATAL = { "ends", "vanishes", "breaks", "stalls", "swallows", "freezes" }

--- Which faults only make it slow, and how long they take (s).
relay.SLOW = { pauses = 0.2, drips = 0.001, crawls = 0 }

local Relay = {}
Relay.__index = Relay

--- Ends one way. Bytes that still come are dropped.
local function finish(way, why)
  if way.is_over then return end
  way.is_over, way.from.capacity = true, math.huge
  way.from:clear()
  way.to:finish(why)
end

local switches = {}

function switches.ends(_, way) finish(way) end

function switches.vanishes(self, _, why)
  for _, way in ipairs { self.up, self.down } do
    -- The order in which a reset is seen: sending fails at once, and receiving after what has arrived.
    way.to.other.broken = way.to.other.broken or why or "closed"
    finish(way, why)
  end
end

function switches.breaks(self, way) switches.vanishes(self, way, "timed out") end

--- Only the client sees that nothing is taken: peers in memory do not wait for room.
function switches.stalls(self, way)
  way.is_stalled = true
  if way == self.up then way.from.capacity = 0 end
end

function switches.freezes(self)
  switches.stalls(self, self.up)
  switches.stalls(self, self.down)
end

function switches.swallows(_, way) way.swallows = true end

function switches.pauses(self, way)
  switches.stalls(self, way)
  self.clock.after(self.seconds, function()
    way.is_stalled, way.from.capacity = false, math.huge
    self:pass(way)
  end)
end

function switches.drips(_, way) way.step = 1 end

function switches.crawls(_, way) way.from.capacity = 1 end

--- Moves up to `count` bytes one way. Returns how many there were.
local function move(way, count)
  local bytes = way.from:take(count)
  if bytes == "" or way.swallows then return #bytes end
  way.passed = way.passed + #bytes
  way.to:send(bytes)
  return #bytes
end

--- pass(way): passes what can be passed now.
function Relay:pass(way)
  repeat
    if way.is_over then way.from:clear() end
    if way.is_stalled or way.is_over then break end
    if way.passed >= way.limit then
      way.limit = math.huge
      self.began = self.clock.now()
      switches[self.fault](self, way)
    end
    if way.is_stalled or way.is_over then break end
    local count = move(way, math.max(0, math.min(way.from:waiting(), way.limit - way.passed, way.step, way.to:room())))
    if count > 0 and way.step == 1 then
      way.is_stalled = true
      self.clock.after(self.seconds, function()
        way.is_stalled = false
        self:pass(way)
      end)
    end
  until count == 0 and way.passed < way.limit
  local is_open = not (way.is_stalled or way.swallows)
  if is_open and way.from.finished and way.from:waiting() == 0 then finish(way, way.from.finished) end
end

--- Passes on that an end can no longer be sent to. The sender learns it from what comes the other way.
local function note_broken(way, other)
  local sender = way.from.other
  local can_learn = not (other.is_stalled or other.swallows)
  if way.to.broken and can_learn then sender.broken = sender.broken or way.to.broken end
end

--- Connects one way of the relay: what arrives at `from` goes to whoever reads what `to` sends.
local function connect(self, way)
  function way.from.on_input()
    if way.from.broken and not self.closed_at and way == self.up then self.closed_at = self.clock.now() end
    self:pass(way)
    note_broken(self.up, self.down)
    note_broken(self.down, self.up)
  end
end

--- between(world, how, created): returns a function for a world's field `relay`, which puts a relay before the peer of
-- each connection. `how`: the fault, its way, after how many bytes that way it begins (at), and seconds. created(relay)
-- is given each relay. Its fields: up and down, each with `passed` (bytes); began (the time at which the fault began,
-- or nil) and closed_at (the time at which the client has closed its end).
function relay.between(world, how, created)
  return function(far)
    local near, near_side = world.memory.pair()
    local self = setmetatable({ clock = world.clock, fault = how.fault, seconds = how.seconds }, Relay)
    local function new_way(from, to)
      return { from = from, to = to, passed = 0, limit = math.huge, step = math.huge }
    end
    self.up, self.down = new_way(near_side, far), new_way(far, near_side)
    self.near = near
    if how.fault then self[how.way].limit = how.at end
    connect(self, self.up)
    connect(self, self.down)
    self:pass(self.up)
    self:pass(self.down)
    if created then created(self) end
    return near
  end
end

return relay
