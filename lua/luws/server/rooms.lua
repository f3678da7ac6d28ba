--[[
Rooms of a server: sets of its connections to which one message is sent. Its frames are made once, for all of them, and
no Lua code runs for a member, unless it does not take what is sent.
--]]

local native, import = ...
local close, connection, guard, log, quick, turns = import("close"), import("connection"), import("guard"),
  import("log"), import("quick"), import("turns")

local rooms = {}

local Rooms = {}
Rooms.__index = Rooms

--- new(slow): returns an object without rooms. `slow` is what becomes of a member that has no room for a message:
-- "drop", "close", or a function.
function rooms.new(slow)
  return setmetatable({
    slow = slow,
    all = native.room(), -- every connection
    by_key = {}, -- the native rooms, by what the program calls them
    of = {}, -- which rooms a connection is in: a set of their keys
    by_number = {}, -- connections by the numbers of their sessions
    unwritten = {}, count = 0, -- native rooms that have members to be written to
    item = nil, -- writes to them
  }, Rooms)
end

--- enter(conn, state): a connection is open.
function Rooms:enter(conn, state)
  self.by_number[state.number] = conn
  native.room_add(self.all, state.session, state.number)
end

--- exit(conn, state): a connection has ended; it leaves all rooms.
function Rooms:exit(conn, state)
  self.by_number[state.number] = nil
  native.room_remove(self.all, state.number)
  for key in pairs(self.of[conn] or {}) do self:leave(conn, key) end
  self.of[conn] = nil
end

--- join(conn, key): Returns whether the connection was not in that room before.
function Rooms:join(conn, key)
  local state = quick.state_of(conn)
  if key == nil or key ~= key or not state or self.by_number[state.number] ~= conn then return false end
  local room = self.by_key[key]
  if not room then
    room = native.room()
    self.by_key[key] = room
  end
  self.of[conn] = self.of[conn] or {}
  self.of[conn][key] = true
  return native.room_add(room, state.session, state.number)
end

--- leave(conn, key): Returns whether the connection was in that room.
function Rooms:leave(conn, key)
  local mine = self.of[conn]
  if key == nil or not mine or not mine[key] then return false end
  local state, room = quick.state_of(conn), self.by_key[key]
  mine[key] = nil
  if next(mine) == nil then self.of[conn] = nil end
  if self.unwritten[room] and state.phase ~= "closed" then connection.write(state) end -- it will not be asked any more
  native.room_remove(room, state.number)
  if native.room_size(room) == 0 then self.by_key[key] = nil end
  return true
end

--- members(key): returns an array of the connections in a room; of all, if that is nil.
function Rooms:members(key)
  local room, found = key == nil and self.all or self.by_key[key], {}
  if not room then return found end
  for _, number in ipairs(native.room_members(room)) do found[#found + 1] = self.by_number[number] end
  return found
end

--- too_slow(self, conn): does what the server wants done about a member that has no room.
local function too_slow(self, conn)
  local slow = self.slow
  if slow == "close" then
    close.close(quick.state_of(conn), 1013, "", "too slow")
  elseif slow ~= "drop" then
    local ok, err = guard.free(slow, conn)
    if not ok then log.handler_failed("slow of a server raised an error", err) end
  end
end

--- note_left(self, numbers): notes that connections have not taken all that was written to them.
local function note_left(self, numbers)
  for _, number in ipairs(numbers or {}) do
    local conn = self.by_number[number]
    local state = conn and quick.state_of(conn)
    if state and state.phase ~= "closed" then
      connection.note_queue(state)
      if state.item then state.item:notice() end
    end
  end
end

--- write_some(self): writes to members of the rooms. Returns whether there are more of them.
local function write_some(self)
  for room in pairs(self.unwritten) do
    local more, left = native.room_flush(room)
    note_left(self, left)
    if more then return true end
    self.unwritten[room] = nil
  end
  self.item:leave()
  self.item = nil
  return false
end

--- problem(method, opcode, data): returns what is wrong with a message, or nil.
local function problem(method, opcode, data)
  if opcode ~= 1 and opcode ~= 2 then return ("bad argument #2 to '%s' (opcode 1 or 2 expected)"):format(method) end
  if type(data) ~= "string" then
    return ("bad argument #3 to '%s' (string expected, got %s)"):format(method, type(data))
  end
  local why = native.check_text(opcode, data)
  return why and "send error: " .. why
end

--- queued(self, room, count, full, missed, left): a message was queued for members of a native room. Returns how many
-- took it, and the numbers of those that have no room, and of those that did not take it for another reason.
local function queued(self, room, count, full, missed, left)
  if not count then return nil, "send error: " .. full end
  note_left(self, left)
  if count > 0 then
    self.unwritten[room] = true
    if not self.item then
      self.item = turns.item(function() return write_some(self) end)
      turns.enter(self.item)
    end
    self.item:notice()
  end
  return count, full or {}, missed or {}
end

--- broadcast(key, opcode, data, except): queues a message for the members of a room, or for all connections if the key
-- is nil, but for the connection `except`. Returns how many took it; or nil and what is wrong with the arguments.
function Rooms:broadcast(key, opcode, data, except)
  local wrong = problem("broadcast", opcode, data)
  if wrong then return nil, wrong end
  local excepted = except ~= nil and quick.state_of(except) or nil
  if except ~= nil and not excepted then
    return nil, ("bad argument #4 to 'broadcast' (connection expected, got %s)"):format(type(except))
  end
  local room = key == nil and self.all or self.by_key[key]
  if not room then return 0 end
  local count, full = queued(self, room, native.broadcast(room, opcode, data, excepted and excepted.number))
  if not count then return nil, full end
  for _, number in ipairs(full) do
    local conn = self.by_number[number]
    if conn and quick.state_of(conn).phase ~= "closed" then too_slow(self, conn) end
  end
  return count
end

--- multicast(conns, opcode, data [, compress]): queues a message for these connections, an array; `compress` is false
-- if it is not to be compressed. Returns how many took it, and an array of those that did not; or nil and what is wrong
-- with the arguments.
function Rooms:multicast(conns, opcode, data, compress)
  if type(conns) ~= "table" then
    return nil, ("bad argument #1 to 'multicast' (table expected, got %s)"):format(type(conns))
  end
  local wrong = problem("multicast", opcode, data)
  if wrong then return nil, wrong end
  local numbers, rest = {}, {}
  for _, conn in ipairs(conns) do
    local state = quick.state_of(conn)
    if state and self.by_number[state.number] == conn then
      numbers[#numbers + 1] = state.number
    else
      rest[#rest + 1] = conn
    end
  end
  local count, full, missed = queued(self, self.all, native.multicast(self.all, opcode, data, numbers, compress))
  if not count then return nil, full end
  for _, list in ipairs { full, missed } do
    for _, number in ipairs(list) do rest[#rest + 1] = self.by_number[number] end
  end
  return count, rest
end

return rooms
