--[[
Finishes connections that are over for the user: sends what is queued, says goodbye, and reads until the peer has
answered and ended the stream, for at most close_timeout. If a socket were closed with unread bytes in it, the
connection would be reset, and the peer would lose what it has not read yet.

Nobody waits for this. The lingering connections are kept here, and every function of luws advances them. If none is
called any more, the garbage collector's cycles do (not in a world in memory). When the Lua state is closed, one last
wait for all of them together sends what is still queued. Knows wires and sessions; calls no handlers.
--]]

local native, import = ...
local clock, guard, wait = import("clock"), import("guard"), import("wait")

local linger = {}

-- The most connections that may linger; the oldest is closed to make room.
local MOST = 64

-- How many of them one call of luws advances, to bound its cost.
local STEPS = 8
local turn = 0 -- index of the one advanced last

-- Closing a Lua state waits no longer than this (in seconds), whatever close_timeout says.
local LAST = 60

-- How many bytes one read discards.
local DISCARD = 65536

local lingering = {}

-- Those that the reactor advances.
local driven = {}

-- Its first element is set if `advance` has something to do.
linger.waiting = lingering

--- note(entry): writes the result of the closing handshake into the connection table.
function linger.note(entry)
  local conn = entry.conn[1]
  if not conn then return end
  local sent, sent_reason, code, reason = native.close_state(entry.session)
  rawset(conn, "close_code", code or code == nil and 1006 or 1005)
  rawset(conn, "close_reason", reason or "")
  rawset(conn, "was_clean", entry.left and sent ~= nil and code ~= nil)
  if sent ~= nil then
    rawset(conn, "close_code_sent", sent or 1005)
    rawset(conn, "close_reason_sent", sent_reason)
  end
end

--- Makes an object that the collector finds in its next cycle, and makes another as long as anything lingers, or what
-- has ended was just collected: the memory around that is free one cycle later, for the system to get back. In some
-- versions of Lua ours is finalised before what has ended, so there is always one more cycle.
local is_watched, cycles = false, 0
local function watch_collector()
  if is_watched then return end
  guard.finaliser(function()
    is_watched, cycles = false, cycles - 1
    -- In a world in memory the collector's moment would change what happens.
    if not clock.native then pcall(linger.advance) end
    local ok, has_given = pcall(native.give_back)
    if lingering[1] or ok and has_given or cycles > 0 then watch_collector() end
  end)
  is_watched = true
end

--- finish(entry): frees the wire and the session.
local function finish(entry)
  if entry.over then return end
  entry.unsent = native.unsent(entry.session)
  entry.over = true
  linger.note(entry)
  entry.wire:close()
  native.free(entry.session)
  cycles = 2
  pcall(watch_collector)
end

--- step(entry): does what can be done without waiting. Does nothing in a finaliser that interrupts another step.
-- Returns whether anything has come.
local function step(entry)
  if entry.over or native.is_busy(entry.session) then return end
  local session, wire = entry.session, entry.wire
  if not entry.released and wire.lingers then wire:release() end
  entry.released = true
  if entry.frame then native.close(session, entry.frame.code, entry.frame.reason) end
  entry.frame = nil
  local written, why = wire:write()
  local broken = not written and why ~= "timeout"
  if entry.over then return end
  if written and not entry.left then
    entry.left = true
    if entry.answered then linger.note(entry) end -- otherwise nothing has changed that is noted
  end
  local came = false
  -- A finaliser that interrupts the read may read on, to the end, and leave something to discard.
  if entry.more or not entry.ended then
    if not entry.more and not entry.ended then
      local count, reason = wire:read(DISCARD)
      if not count and reason then entry.ended = true end
      came = count ~= nil and count > 0 -- 0: the queue is full
    end
    local answered
    answered, entry.more = native.discard(session)
    entry.answered = entry.answered or answered
  end
  if not entry.said and (entry.answered or entry.ended) and native.outgoing(session) == 0 then
    entry.said = true
    native.shutdown(session)
    wire:write()
    wire:shutdown()
  end
  local is_done = entry.ended and not entry.more and (broken or native.outgoing(session) == 0)
  -- A peer that goes on sending after the deadline could do so for ever.
  if broken or is_done or clock.now() >= entry.deadline then finish(entry) end
  return came
end

--- turn(entry): advances one entry for the reactor. Returns whether there is more to do at once, and when there is at
-- the latest; nothing once it is over.
function linger.turn(entry)
  local came = not entry.over and step(entry)
  if entry.over then
    driven[entry] = nil
    return false, nil
  end
  return came or entry.more, entry.deadline
end

--- Removes the entries that are over.
local function tidy()
  for i = #lingering, 1, -1 do
    local entry = lingering[i] -- a finaliser may have taken it out
    if entry and entry.over then table.remove(lingering, i) end
  end
  native.set_lingering(lingering[1] ~= nil)
end

--- advance(): advances those whose time is over, and some of the others in rotation. A finaliser may do the same
-- meanwhile, so an entry can disappear at any time.
function linger.advance()
  local now = clock.now()
  for i = #lingering, 1, -1 do
    local entry = lingering[i]
    if entry and now >= entry.deadline then step(entry) end
  end
  for _ = 1, math.min(#lingering, STEPS) do
    turn = turn < #lingering and turn + 1 or 1
    local entry = lingering[turn]
    if entry then step(entry) end
  end
  tidy()
end

--- await(entry, done, deadline): advances one entry until done() is true or the deadline (on the clock) has passed.
-- Returns whether it is done.
local function await(entry, done, deadline)
  local function advance(now)
    step(entry)
    local due = (entry.more or not entry.over and entry.wire:dirty()) and now or entry.deadline
    return entry.wire, not entry.ended, native.sendable(entry.session) > 0, due
  end
  return wait.on(advance, done, deadline)
end

--- wait(entry, deadline): waits until this entry is over, or until the deadline. Returns whether it is over.
function linger.wait(entry, deadline)
  local is_over = await(entry, function() return entry.over end, deadline)
  tidy()
  return is_over
end

--- close_all(): for the end of the Lua state: what is queued has until the last deadline to leave.
function linger.close_all()
  local now = clock.now()
  local deadline = now
  for entry in pairs(driven) do lingering[#lingering + 1] = entry end
  driven = {}
  for _, entry in ipairs(lingering) do deadline = math.max(deadline, entry.deadline) end
  deadline = math.min(deadline, now + LAST)
  for _, entry in ipairs(lingering) do
    await(entry, function() return entry.over or native.outgoing(entry.session) == 0 end, deadline)
    finish(entry)
  end
  for i = #lingering, 1, -1 do lingering[i] = nil end
  native.set_lingering(false)
end

--- watch(state): sees to it that the connection, if it lingers when the Lua state is closed, gets its time then. Must
-- be called when the connection opens: an object created while a Lua state is being closed is never finalised.
function linger.watch(state)
  -- It is younger than the connection's native objects, so it is finalised while they still exist.
  local box = {} -- does not refer to the connection, which may be collected while it lingers
  state.box = box
  box.guard = guard.finaliser(function()
    if box.entry and not box.entry.over then pcall(linger.close_all) end
  end)
end

--- entry(state, seconds, is_failed): makes what `begin` needs for a connection that is about to be over. After a
-- failure, it does not wait for an answer to our close frame. An error (no memory, or a finaliser's) changes nothing.
function linger.entry(state, seconds, is_failed)
  local entry = {
    session = state.session,
    wire = state.wire,
    box = state.box, -- while it lingers, only the end of the Lua state (or of the module) finalises its guard
    turn = guard.turn(), -- for the methods of a user's socket
    conn = setmetatable({ state.conn }, { __mode = "v" }),
    deadline = clock.now() + seconds,
    ended = state.ended ~= nil, -- nothing more will come
    answered = is_failed, -- the peer's answer has come, or is not waited for
    frame = state.close_frame, -- a close frame that could not be queued yet
    left = false, -- everything that was queued has left, the close frame last
    released = false, -- conn.socket is detached from the wire
    unsent = 0, -- the data of messages that has never left, once it is over
    said = false, -- TLS and the stream were ended from our side
    more = false, -- what was read has not all been discarded yet
    kept = false, -- somebody advances it
    over = false,
  }
  -- The peer's close frame may have arrived long ago.
  local _, _, received = native.close_state(entry.session)
  if received ~= nil then entry.answered = true end
  return entry
end

--- keep(entry, item): has an entry advanced: by the reactor, if the connection has an item there.
local function keep(entry, item)
  if item then
    driven[entry] = true
  else
    if #lingering >= MOST then finish(table.remove(lingering, 1)) end
    lingering[#lingering + 1] = entry
    native.set_lingering(true)
    watch_collector()
  end
  entry.kept = true
end

--- begin(state, entry): takes over the session and the wire of a connection that is over. If an error breaks this off,
-- it can be called again.
function linger.begin(state, entry)
  state.lingering = entry
  if state.box then state.box.entry = entry end
  linger.note(entry)
  if not entry.wire.lingers then
    -- Its methods belong to the user: they may yield, and raise errors.
    guard.take(entry.turn)
    guard.run(step, entry)
    guard.give_back(entry.turn)
    finish(entry)
    return
  end
  keep(entry, state.item)
  step(entry)
  if entry.over then tidy() end
end

--- insist(state): goes on where an error has broken off `begin`; closes a user's socket whose methods never returned.
function linger.insist(state)
  local entry = state.lingering
  if entry.turn.taken then
    if guard.is_broken_off(entry.turn, true) then finish(entry) end
  elseif not (entry.over or entry.kept) then
    linger.begin(state, entry)
  end
end

return linger
