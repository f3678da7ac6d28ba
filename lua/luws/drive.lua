--[[
Has the reactor drive connections: what their turn does in each phase, from the first step of opening until what lingers
is over. Knows what the descriptors of a connection are; the reactor knows nothing of connections.

Whatever gives a connection something to do that its descriptor does not show, gives its item a notice.
--]]

local native, import = ...
local clock, close, connection, guard, linger, log = import("clock"), import("close"), import("connection"),
  import("guard"), import("linger"), import("log")
local open, publish, quick, receive, turns = import("open"), import("publish"), import("quick"), import("receive"),
  import("turns")

local drive = {}

local lingering, poll = linger.waiting, quick.poll

-- At most this many steps of opening in one turn.
local STEPS = 16

-- At most this many events in one turn, so that a peer that sends a lot does not keep the others waiting.
local EVENTS = 64

local ENDED = 4 -- what the poller adds for an end

--- watch_descriptors(item, state): watches what the connection waits for now; if that cannot be watched, it is polled.
local function watch_descriptors(item, state)
  local wire = state.wire
  if not wire or wire == state.watched and not wire.descriptors then return end
  state.attempts = state.attempts or {}
  if wire.wake and not wire:wake(item) then state.is_polled = true end
  if wire.watch then
    if wire:watch(function() item:notice() end) == false then state.is_polled = true end
    item:notice() -- as a descriptor tells at first what is already so
    state.watched = wire
    return
  end
  for _, fd in ipairs(wire.descriptors and wire:descriptors() or { wire:descriptor() }) do
    local ok, _, is_known = item:watch(fd)
    -- A socket that was an attempt to connect is watched already.
    if not ok and not (is_known and state.attempts[fd]) then state.is_polled = true end
    state.attempts[fd] = true
  end
  if not wire.descriptors and not (wire.descriptor and wire:descriptor()) then state.is_polled = true end
  state.watched = wire -- last, so that it is done again if it is broken off
end

--- Returns the time at which a connection is to have its turn. Nobody tells whether the coroutine that sends a message
-- from a source was abandoned.
local function limited(state, now, time)
  if not (state.is_polled or state.message) then return time end
  return math.min(time or math.huge, now + turns.POLL)
end

--- advance(state, now): takes steps of opening until it has to wait. What a user's connect function raises is a failure
-- like any other. Returns until when it waits.
local function advance(state, now)
  for _ = 1, STEPS do
    if state.phase ~= "connecting" then return now end
    local ok, why, _, due = guard.caught(connection.advance, state, now)
    if not ok then
      if state.owner then state.owner.failed(state, why) else open.raised(state, why) end
      return now
    end
    if due > now then return due end
  end
  return now
end

--- opened(conn, state): tells of a connection whose opening, which nobody waits for, is over.
function drive.opened(conn, state)
  if state.owner then return state.owner:opened(state) end
  if state.opening.wait == "yield" and not state.keeper then drive.leave(state) end -- the rest is its coroutine's
  if state.waiter then state.waiter() end
  if state.failure then
    publish.failed(conn, state)
    return
  end
  publish.opened(conn, state)
  if not state.item then return end
  native.set_driven(state.number, true)
  state.item:notice() -- if it was not the reactor that took the last step
end

--- opening(conn, state): goes on with opening a connection, without waiting, or with telling of that, if it was broken
-- off. Returns until when it waits, if it is not over.
function drive.opening(conn, state)
  local now = clock.now()
  local due = advance(state, now)
  if state.failure and state.phase == "connecting" then
    state.keeper:failed(conn, state)
    due = state.retry_at or math.huge -- it is being decided
  end
  if state.phase == "connecting" then return due end
  if state.phase == "closed" and not state.failure then return nil end -- wsclose, in user code
  local ok, why = guard.caught(drive.opened, conn, state)
  if ok then return nil end
  -- The program's table is not complete.
  if not pcall(close.interrupted, state) then connection.closed(state, "interrupted", why) end
  error(why, 0)
end

local function turn_of_opening(item, now)
  local state = item.state
  local due = drive.opening(state.conn, state)
  if not due then
    if not item.token then return false end -- whoever has waited for it drives it now
    -- What is over in its first turn, such as a request that is refused, lingers.
    if state.phase ~= "closed" or state.lingering then watch_descriptors(item, state) end
    state.attempts = nil
    return true
  end
  watch_descriptors(item, state)
  return due <= now, limited(state, now, due)
end

--- Does what is to be done for a connection that is not to be read now. Returns the same as turn_of_open.
local function turn_of_held(item, now)
  local state = item.state
  local due = receive.held(state.conn, state, now)
  if state.phase == "closed" then return true end
  native.take_back(state.session) -- what waits is to be in no more storage than it needs
  item:wants_room(native.sendable(state.session) > 0)
  return not connection.is_held(state), limited(state, now, due)
end

--- Does what wsreceive does. Returns whether the connection wants another turn at once, and when it wants one at the
-- latest.
local function turn_of_open(item, now)
  local state = item.state
  local conn = state.conn
  if state.watched ~= state.wire then watch_descriptors(item, state) end
  if (state.is_paused or state.awaits_drain) and connection.is_held(state) then return turn_of_held(item, now) end
  local is_left, more, count, rest = poll(conn, EVENTS)
  if is_left then
    if lingering[1] then linger.advance() end
    more, count = receive.receive(conn, state, more, count, rest)
  elseif count and conn.options == state.given then -- usually: all that is to be done is done
    local due = state.keepalive and native.keepalive_due(state.number) or nil
    return more or state.told_end == state.wire, limited(state, now, due)
  end
  count = count or 0
  if state.phase == "closed" then return true end
  item:wants_room(native.sendable(state.session) > 0)
  -- Where deliveries are nested too deep, or in a finaliser, nothing was done, and no descriptor will tell again.
  if count == 0 and (guard.is_deep() or native.is_busy(state.session)) then return false, now + turns.POLL end
  if more then return true end
  local left = publish.methods.timeout(conn)
  local again = state.told_end == state.wire or left == 0
  -- Where a user's socket says that there is something, but gives nothing, a coroutine is suspended in its methods.
  if again and count == 0 and state.wire.held then return false, now + turns.POLL end
  return again, limited(state, now, left and now + left)
end

--- tell_over(conn, state): calls the user's close_handler, because nothing of the connection is left.
local function tell_over(conn, state)
  local handler = state.opening.close_handler
  if not handler then return end
  local ok, err = guard.free(handler, conn)
  if not ok then log.handler_failed(("the close_handler of %s raised an error"):format(guard.name(conn)), err) end
end

local function turn_of_closed(item, now)
  local state = item.state
  local own = state.turn
  state.turn = nil
  if own then own(item, now, 0) end
  receive.tell_news(state.conn, state)
  local present = quick.state_of(state.conn)
  if present and present ~= state and present.keeper then drive.enter(present) end -- it comes back
  local again, due = false, nil
  if state.lingering then again, due = linger.turn(state.lingering) end
  -- The end was told, and comes after what TLS has just read; unless there is no reading before something is sent.
  if due and state.told_end == state.wire and native.outgoing(state.session) == 0 then again = true end
  if state.owner then state.owner:closed(state, not due) end
  if not due then
    state.item = nil
    item:leave()
    if present == state then tell_over(state.conn, state) end -- otherwise it goes on
  end
  return again, limited(state, now, due)
end

local function turn(item, now, happened)
  local state = item.state
  local phase = state.phase
  -- An end may be told long before it is read. That of an attempt to connect says nothing about another's.
  if happened >= ENDED and state.wire == state.watched then state.told_end = state.wire end
  if phase == "connecting" or state.plan and connection.is_opening(state) then return turn_of_opening(item, now) end
  if phase ~= "closed" then return (state.turn or turn_of_open)(item, now, happened) end
  return turn_of_closed(item, now)
end

local function enter(item, state)
  state.attempts = {}
  turns.enter(item)
  if state.number then native.set_driven(state.number, true) end
  if state.phase == "closed" then
    state.is_polled = true -- it was lost, and lingers at most
  elseif state.phase ~= "connecting" then
    watch_descriptors(item, state)
    state.attempts = nil
    connection.settle(state)
  end
  item:notice()
end

--- enter(state): has the reactor drive a connection from now on. If it raises an error, nothing has changed: what the
-- reactor drives is not collected, and whoever gets an error does not have the connection.
function drive.enter(state)
  if state.item and state.item.token then return end -- without a token, that was broken off
  local item = turns.item(turn, state)
  state.item = item
  local ok, why = guard.caught(enter, item, state)
  if ok then return end
  drive.leave(state)
  error(why, 0)
end

--- leave(state): has the reactor drive it no more.
function drive.leave(state)
  local item = state.item
  if not item then return end
  if item.token then item:leave() end
  state.item = nil
  -- Where there is no memory, a field that is not there cannot even be set to nil.
  if state.watched then state.watched = nil end
  if state.told_end then state.told_end = nil end
  if state.is_polled then state.is_polled = nil end
  local wire = state.phase ~= "closed" and state.wire
  local fd = wire and wire.descriptor and wire:descriptor()
  if fd then turns.unwatch(fd) end
  native.set_driven(state.number, false)
  connection.settle(state)
end

--- set_aside(state, time, f): has the reactor watch a connection that nobody uses, until `leave`. That is no reason for
-- the reactor to go on. f(now, has_ended) is called when something has come, and at this time; it returns whether there
-- may be more. has_ended: whether the connection is known to end, which is told once.
function drive.set_aside(state, time, f)
  drive.leave(state)
  local item = turns.item(function(_, now, happened)
    return f(now, happened >= ENDED), limited(state, now, time)
  end, turns.ASIDE)
  state.item = item
  turns.enter(item, time)
  state.attempts = {}
  watch_descriptors(item, state)
  state.attempts = nil
end

return drive
