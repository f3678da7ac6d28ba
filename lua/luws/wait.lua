--[[
The only loop in which the driver waits: something is advanced until it is done, or until its time is over.
--]]

local _, import = ...
local clock, connection = import("clock"), import("connection")

local wait = {}

-- One read while something else is waited for.
local READ = 65536

--- wait.on(advance, done, deadline): true once done(ready) is true, false at the deadline (in the clock's seconds).
-- advance(now) does what can be done without waiting, and returns a wire, whether to wait for something to read on it
-- and for room to write, and until when at most; `ready` is what the last wait on that wire has returned, if there
-- was one.
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

--- wait.till(state, done, deadline): the same for a connection, until done(state); it takes in what the peer sends.
function wait.till(state, done, deadline)
  local function advance(now)
    local read, write, due = connection.advance(state, now, READ)
    return state.wire, read, write, due
  end
  return wait.on(advance, function() return done(state) end, deadline)
end

--- wait.readable(state, deadline): true once something has come that can be read, or there is room for what is queued.
-- Nothing is taken in.
function wait.readable(state, deadline)
  local function advance(now)
    return state.wire, connection.advance(state, now, nil)
  end
  local function done(ready) return ready or state.phase == "closed" or state.broken end
  if clock.now() < deadline then return wait.on(advance, done, deadline) end
  -- Without any time it is asked once.
  local wire, read, write = advance(deadline)
  return done(wire:wait(read, write, 0)) and true or false
end

return wait
