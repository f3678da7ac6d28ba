--[[
What clients get back that were away for a short while (the option connectionStateRecovery): their rooms and data, and
the events that they have missed. Events are kept as they were sent, within bounds. Knows no connections.
--]]

local native = ...

local sessions = {}

-- What is kept of the events that were sent in a namespace, at most.
local MOST_EVENTS, MOST_BYTES = 10000, 64 * 1024 * 1024

-- How many clients may come back.
local MOST_SESSIONS = 10000

local Sessions = {}
Sessions.__index = Sessions

--- next_offset(): returns what the next event is to have as its offset.
function Sessions:next_offset()
  self.count = self.count + 1
  return self.prefix .. ("%x"):format(self.count)
end

local function forget_first(self)
  local event = self.events[self.first]
  self.events[self.first] = nil
  self.first, self.size = self.first + 1, self.size - event.size
  self.places[event.offset] = nil
end

--- prune(self): forgets what is too old, and what is too much.
local function prune(self)
  local oldest = self.now() - self.duration
  while self.first <= self.last and (self.events[self.first].time < oldest or self.size > MOST_BYTES
      or self.last - self.first >= MOST_EVENTS) do
    forget_first(self)
  end
  while self.first_session <= self.last_session do
    local session = self.queue[self.first_session]
    local are_too_many = self.last_session - self.first_session >= MOST_SESSIONS
    if session.time >= oldest and not are_too_many then break end
    self.queue[self.first_session], self.first_session = nil, self.first_session + 1
    if self.by_pid[session.pid] == session then self.by_pid[session.pid] = nil end
  end
end

--- add(offset, messages, rooms, except): keeps an event that is sent to these rooms (sets; none is all).
function Sessions:add(offset, messages, rooms, except)
  local size = 0
  for _, message in ipairs(messages) do size = size + #message end
  self.last, self.size = self.last + 1, self.size + size
  self.events[self.last] = {
    offset = offset, messages = messages, rooms = rooms, except = except, time = self.now(), size = size,
  }
  self.places[offset] = self.last
  prune(self)
end

--- persist(session): keeps a session { sid, pid, rooms, data } of a client that is gone.
function Sessions:persist(session)
  session.time = self.now()
  self.by_pid[session.pid], self.last_session = session, self.last_session + 1
  self.queue[self.last_session] = session
  prune(self)
end

--- is_for(event, rooms): whether an event is for who is in these rooms.
local function is_for(event, rooms)
  local is_in = next(event.rooms) == nil
  for room in pairs(rooms) do
    if event.except[room] then return false end
    is_in = is_in or event.rooms[room] ~= nil
  end
  return is_in
end

--- restore(pid, offset): returns the session of this secret, with `missed`, the messages of the events after this
-- offset; nil if it, or one of those events, is not known any more.
function Sessions:restore(pid, offset)
  prune(self)
  local session, place = self.by_pid[pid], self.places[offset]
  if not session or not place then return nil end
  self.by_pid[pid] = nil
  local missed = {}
  for i = place + 1, self.last do
    if is_for(self.events[i], session.rooms) then missed[#missed + 1] = self.events[i].messages end
  end
  session.missed = missed
  return session
end

--- new(duration, now): makes an empty store. Clients may be away for that many seconds, by the clock now().
function sessions.new(duration, now)
  return setmetatable({
    duration = duration, now = now,
    prefix = native.token() .. "-", count = 0, -- of offsets
    events = {}, first = 1, last = 0, size = 0, places = {}, -- events, and where they are by their offsets
    by_pid = {}, queue = {}, first_session = 1, last_session = 0, -- sessions, and as they came
  }, Sessions)
end

return sessions
