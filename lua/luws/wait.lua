--[[
The only loop in which the driver waits: it advances something until that is done, or until its time is over.
--]]

local _, import = ...
local clock, connection = import("clock"), import("connection")

local wait = {}

-- Size in bytes of one read during a wait for something else.
local READ = 65536

--- wait.on(advance, done, deadline): returns true once done(ready) is true, false at the deadline (in the clock's
-- seconds). advance(now) does what can be done without waiting. It returns a wire, whether to wait to read from it,
-- whether to wait to write to it, and until when at most. `ready` is the result of the last wait on that wire, or nil.
function wait.on(advance, done, deadline)
  local ready
  while not done(ready) do
    local now = clock.now()
    local wire, read, write, due = advance(now)
    if done(nil) then break end
    if now >= deadline then return false end
    ready = nil
    if due > now then ready = wire:wait(read, write, math.min(due, deadline) - now) end
  end
  return true
end

--- wait.till(state, done, deadline): advances a connection until done(state) is true. Returns the same as wait.on.
-- Takes in what the peer sends.
function wait.till(state, done, deadline)
  local function advance(now)
    local read, write, due = connection.advance(state, now, READ)
    return state.wire, read, write, due
  end
  return wait.on(advance, function() return done(state) end, deadline)
end

--- wait.readable(state, deadline): returns true once something can be read, or there is room for the queue. Takes in
-- nothing.
function wait.readable(state, deadline)
  local function advance(now)
    return state.wire, connection.advance(state, now, nil)
  end
  local function done(ready)
    return ready or state.phase == "closed" or state.broken or connection.is_drained(state)
  end
  if clock.now() < deadline then return wait.on(advance, done, deadline) end
  -- If no time is given, it checks once.
  local wire, read, write = advance(deadline)
  return done(wire:wait(read, write, 0)) and true or false
end

return wait
