--[[
The rooms of a namespace, and sending to many of its sockets at once. An event is encoded once for all of them. Knows
sockets only as what packets are written to.
--]]

local _, import = ...
local anything, arguments, guard = import("socketio/anything"), import("socketio/arguments"), import("guard")
local emitter, parser, views = import("emitter"), import("socketio/parser"), import("socketio/view")

local adapters = {}

local emit, unpack = emitter.emit, guard.unpack

local Adapter = {}
Adapter.__index = Adapter
emitter.extend(Adapter)

--- addAll(id, rooms): has the socket of that id join rooms, a list.
function Adapter:addAll(id, rooms)
  local own = self.sids[id] or {}
  self.sids[id] = own
  for _, room in ipairs(rooms) do
    if not own[room] then
      own[room] = true
      if not self.rooms[room] then
        self.rooms[room] = {}
        emit(self, "create-room", room)
      end
      self.rooms[room][id] = true
      emit(self, "join-room", room, id)
    end
  end
end

--- del(id, room): has a socket leave a room.
function Adapter:del(id, room)
  local own, members = self.sids[id], self.rooms[room]
  if own then own[room] = nil end
  if not members or not members[id] then return end
  members[id] = nil
  emit(self, "leave-room", room, id)
  if next(members) == nil and self.rooms[room] == members then
    self.rooms[room] = nil
    emit(self, "delete-room", room)
  end
end

--- delAll(id): has a socket leave all rooms.
function Adapter:delAll(id)
  local rooms = {}
  for room in pairs(self.sids[id] or {}) do rooms[#rooms + 1] = room end
  for _, room in ipairs(rooms) do self:del(id, room) end
  self.sids[id] = nil
end

--- excepted(adapter, except): returns the set of ids that are in any of these rooms.
local function excepted(adapter, except)
  local ids = {}
  for room in pairs(except) do
    for id in pairs(adapter.rooms[room] or {}) do ids[id] = true end
  end
  return ids
end

--- fetchSockets(opts): returns a list of the sockets that are in any of the rooms, or of all if there are none, but
-- for those in opts.except. None is in it twice.
function Adapter:fetchSockets(opts)
  local list, seen = {}, excepted(self, opts.except or {})
  local function add(ids)
    for id in pairs(ids) do
      local socket = not seen[id] and self.nsp.sockets[id]
      seen[id] = true
      if socket then list[#list + 1] = socket end
    end
  end
  if next(opts.rooms or {}) == nil then
    add(self.sids)
  else
    for room in pairs(opts.rooms) do add(self.rooms[room] or {}) end
  end
  return list
end

--- sockets(rooms): returns the set of the ids of sockets in any of these rooms, a set.
function Adapter:sockets(rooms)
  local ids = {}
  for _, socket in ipairs(self:fetchSockets { rooms = rooms }) do ids[socket.id] = true end
  return ids
end

--- socketRooms(id): returns the set of rooms of a socket, which must not be changed; or nil.
function Adapter:socketRooms(id) return self.sids[id] end

function Adapter:addSockets(opts, rooms)
  for _, socket in ipairs(self:fetchSockets(opts)) do socket:join(rooms) end
end

function Adapter:delSockets(opts, rooms)
  for _, socket in ipairs(self:fetchSockets(opts)) do
    for _, room in ipairs(rooms) do socket:leave(room) end
  end
end

function Adapter:disconnectSockets(opts, close)
  for _, socket in ipairs(self:fetchSockets(opts)) do socket:disconnect(close) end
end

--- encoded(adapter, id, data): returns the messages of an event as a list. Raises an error if it cannot be sent.
local function encoded(adapter, id, data)
  return { parser.encoded(parser.EVENT, adapter.nsp.name, id, unpack(data, 1, data.n)) }
end

--- write(adapter, sockets, messages, data, flags): writes an event to sockets.
local function write(adapter, sockets, messages, data, flags)
  local conns = {}
  for _, socket in ipairs(sockets) do
    if anything.has_outgoing(socket) then anything.outgoing(socket, unpack(data, 1, data.n)) end
    if socket.client:takes(flags) then conns[#conns + 1] = socket.client.conn end
  end
  local options = views.options(flags)
  for _, message in ipairs(messages) do adapter.nsp.server.engine:multicast(conns, message, options) end
end

--- broadcast(packet, opts): sends an event, packet.data, to the sockets that opts.rooms and opts.except mean (sets).
function Adapter:broadcast(packet, opts)
  local data, flags = packet.data, opts.flags or {}
  local messages
  if self.sessions and not flags.volatile then
    local offset = self.sessions:next_offset()
    data = arguments.pack(unpack(data, 1, data.n))
    data.n = data.n + 1
    data[data.n] = offset
    messages = encoded(self, nil, data)
    self.sessions:add(offset, messages, opts.rooms or {}, opts.except or {})
  else
    messages = encoded(self, nil, data)
  end
  write(self, self:fetchSockets(opts), messages, data, flags)
end

--- broadcastWithAck(packet, opts, ack): the same, with ack called for each answer, as ack(...). Returns the number of
-- sockets, and a function that has no more answers come.
function Adapter:broadcastWithAck(packet, opts, ack)
  local sockets, id = self:fetchSockets(opts), self.nsp:next_id()
  write(self, sockets, encoded(self, id, packet.data), packet.data, opts.flags or {})
  for _, socket in ipairs(sockets) do socket.acks:add(id, ack) end
  return #sockets, function()
    for _, socket in ipairs(sockets) do socket.acks:remove(id) end
  end
end

--- serverSideEmit(name, ...): sends an event to the other servers, of which there are none.
function Adapter.serverSideEmit() end

function Adapter.serverCount() return 1 end

--- persistSession(session), restoreSession(pid, offset): keep and return what a client that comes back gets again.
function Adapter:persistSession(session)
  if self.sessions then self.sessions:persist(session) end
end

function Adapter:restoreSession(pid, offset)
  return self.sessions and self.sessions:restore(pid, offset)
end

--- new(nsp, sessions): makes the adapter of a namespace. `sessions` keeps what was sent, if clients may come back.
function adapters.new(nsp, sessions)
  return setmetatable({ nsp = nsp, sessions = sessions, rooms = {}, sids = {} }, Adapter)
end

-- The adapter of the parent of namespaces: what is sent through it goes to all of them.

local Parent = setmetatable({}, Adapter)
Parent.__index = Parent

function Parent:broadcast(packet, opts)
  for _, child in pairs(self.nsp.children) do child.adapter:broadcast(packet, opts) end
end

function Parent.broadcastWithAck() error("acknowledgements are not supported on parent namespaces", 0) end

function Parent.fetchSockets() error("fetchSockets() is not supported on parent namespaces", 0) end

function adapters.new_parent(nsp) return setmetatable({ nsp = nsp, rooms = {}, sids = {} }, Parent) end

return adapters
