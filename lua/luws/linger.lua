--[[
What is left to do for a connection that is over for the user: to send what is queued, to say goodbye, and to read until
the peer has answered and ended, for at most close_timeout. Closing a socket with unread bytes in it resets the
connection, and so takes from the peer what it has not read yet.

Nobody waits for that: the connections that linger are kept here, and every function of luws moves them on. If none is
called any more, the collector's next cycles do; and when the Lua state is closed, what is still queued gets its time
once, for all together. Knows wires and sessions; calls no handlers.
--]]

local native, import = ...
local clock, guard, wait = import("clock"), import("guard"), import("wait")

local linger = {}

-- The most connections that linger; the oldest is closed to make room.
local MOST = 64

-- How many of them one call of luws moves on, so that its cost has a bound.
local STEPS = 8
local turn = 0 -- the last of them

-- A Lua state that is closed waits no longer than this (in seconds), whatever close_timeout says.
local LAST = 60

-- One read of what is thrown away, and how many events at a time.
local DISCARD, MOST_EVENTS = 65536, 1000

local lingering = {}

-- The first is there if `advance` has something to do.
linger.waiting = lingering

--- note(entry): what the closing handshake has come to, for the user to read.
local function note(entry)
  local conn = entry.conn[1]
  if not conn then return end
  local sent, sent_reason, code, reason = native.close_state(entry.session)
  rawset(conn, "close_code", code or code == nil and 1006 or 1005)
  rawset(conn, "close_reason", reason or "")
  rawset(conn, "was_clean", sent ~= nil and code ~= nil)
  if sent ~= nil then
    rawset(conn, "close_code_sent", sent or 1005)
    rawset(conn, "close_reason_sent", sent_reason)
  end
end

--- finish(entry): the end of it all.
local function finish(entry)
  if entry.over then return end
  entry.over = true
  note(entry)
  entry.wire:close()
  native.free(entry.session)
end

--- step(entry): does what can be done without waiting, unless this is a finaliser in the middle of that.
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
  if not entry.ended then
    if not entry.more then
      local count, reason = wire:read(DISCARD)
      if not count and reason then entry.ended = true end
    end
    local answered
    answered, entry.more = native.discard(session, MOST_EVENTS)
    entry.answered = entry.answered or answered
  end
  if not entry.said and (entry.answered or entry.ended) and native.outgoing(session) == 0 then
    entry.said = true
    native.shutdown(session)
    wire:write()
    wire:shutdown()
  end
  local is_done = entry.ended and (broken or native.outgoing(session) == 0)
  if broken or is_done or clock.now() >= entry.deadline and not entry.more then finish(entry) end
end

--- Takes out what is over.
local function tidy()
  for i = #lingering, 1, -1 do
    local entry = lingering[i] -- a finaliser may have taken it out
    if entry and entry.over then table.remove(lingering, i) end
  end
  native.set_lingering(lingering[1] ~= nil)
end

--- advance(): moves on what lingers: those whose time is over, and some others in turn. A finaliser may do the same
-- meanwhile, so an entry can be gone at any time.
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

--- await(entry, done, deadline): moves one on until done() is true or the deadline (on the clock); whether it is.
local function await(entry, done, deadline)
  local function advance(now)
    step(entry)
    local due = (entry.more or not entry.over and entry.wire:dirty()) and now or entry.deadline
    return entry.wire, not entry.ended, native.sendable(entry.session) > 0, due
  end
  return wait.on(advance, done, deadline)
end

--- insist(entry): closes the socket of a user whose methods did not come back.
function linger.insist(entry)
  if guard.is_broken_off(entry.turn, true) then finish(entry) end
end

--- wait(entry, deadline): until this one is over, or the deadline; whether it is.
function linger.wait(entry, deadline)
  local is_over = await(entry, function() return entry.over end, deadline)
  tidy()
  return is_over
end

--- When the Lua state is closed: what is queued has until the last deadline to leave.
local function close_all()
  local now = clock.now()
  local deadline = now
  for _, entry in ipairs(lingering) do deadline = math.max(deadline, entry.deadline) end
  deadline = math.min(deadline, now + LAST)
  for _, entry in ipairs(lingering) do
    await(entry, function() return entry.over or native.outgoing(entry.session) == 0 end, deadline)
    finish(entry)
  end
  for i = #lingering, 1, -1 do lingering[i] = nil end
  native.set_lingering(false)
end

--- An object that the collector finds at its next cycle, and that is there again afterwards as long as anything
-- lingers.
local is_watched = false
local function watch_collector()
  if is_watched then return end
  is_watched = true
  guard.finaliser(function()
    is_watched = false
    pcall(linger.advance)
    if lingering[1] then watch_collector() end
  end)
end

--- watch(state): has a connection that lingers when the Lua state is closed get its time then. To be called when it is
-- open: what is made while a Lua state is being closed is never finalised.
function linger.watch(state)
  -- Younger than the native objects of the connection, so that they are still there when its turn comes.
  local box = {} -- without the connection, which may be collected while it lingers
  state.box = box
  box.guard = guard.finaliser(function()
    if box.entry and not box.entry.over then pcall(close_all) end
  end)
end

--- begin(state, seconds, is_failed): takes over the session and the wire of a connection that is over. After a failure
-- no answer to our close frame is waited for.
function linger.begin(state, seconds, is_failed)
  local entry = {
    session = state.session,
    wire = state.wire,
    box = state.box, -- as long as it lingers, only the end of the Lua state (or of the module) finalises its guard
    turn = guard.turn(), -- at the methods of a user's socket
    conn = setmetatable({ state.conn }, { __mode = "v" }),
    deadline = clock.now() + seconds,
    ended = state.ended ~= nil, -- nothing more will come
    answered = is_failed, -- what we wait for of the peer has come
    frame = state.close_frame, -- the close frame that could not be queued yet
    released = false, -- the wire is ours alone
    said = false, -- we have said goodbye
    more = false, -- there is more to throw away of what was read
    over = false,
  }
  -- The peer's close frame may have come long ago.
  local _, _, received = native.close_state(entry.session)
  if received ~= nil then entry.answered = true end
  note(entry)
  state.lingering = entry
  state.box.entry = entry
  if not entry.wire.lingers then
    -- Its methods are the user's: they may yield, and raise errors.
    guard.take(entry.turn)
    guard.run(step, entry)
    guard.give_back(entry.turn)
    finish(entry)
    return
  end
  step(entry)
  if entry.over then return end
  if #lingering >= MOST then finish(table.remove(lingering, 1)) end
  lingering[#lingering + 1] = entry
  native.set_lingering(true)
  watch_collector()
end

return linger
