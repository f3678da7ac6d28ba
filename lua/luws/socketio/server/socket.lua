--[[
A socket of a Socket.IO server: one client in one namespace.
--]]

local native, import = ...
local acks, anything, arguments = import("socketio/acks"), import("socketio/anything"), import("socketio/arguments")
local emitter, guard, log = import("emitter"), import("guard"), import("log")
local middlewares = import("socketio/server/middlewares")
local operators, parser = import("socketio/server/operator"), import("socketio/parser")
local views, waiting = import("socketio/view"), import("socketio/waiting")

local sockets = {}

local emit, unpack = emitter.emit, guard.unpack
local encode, encoded = parser.encode, parser.encoded
local EVENT, ACK, CONNECT, DISCONNECT = parser.EVENT, parser.ACK, parser.CONNECT, parser.DISCONNECT

local Socket = {}
emitter.extend(Socket)
anything.extend(Socket)

-- Sending

local function nothing() return false end

--- register(socket, flags, id, ack): has a function wait for the acknowledgement of an event. If the socket is over,
-- it is told so, as those are that waited at the end.
local function register(socket, flags, id, ack)
  socket.acks:add(id, ack, flags.timeout, flags.wants_error)
  if socket.is_over then socket.nsp.server.reactor.after(0, socket.acks:forget(nothing)) end
end

--- dispatch(socket, flags, ack, name, ...): sends an event.
local function dispatch(socket, flags, ack, name, ...)
  local nsp = socket.nsp
  if not ack and nsp.adapter.sessions and not flags.volatile then
    -- So that it is kept, in case the client has to get it later.
    local to_itself = { rooms = { [socket.id] = true }, except = {}, flags = flags }
    nsp.adapter:broadcast({ data = arguments.pack(name, ...) }, to_itself)
    return socket
  end
  local id = ack and nsp:next_id() or nil
  socket.client:transmit(flags, encoded(EVENT, nsp.name, id, name, ...))
  anything.outgoing(socket, name, ...)
  if ack then register(socket, flags, id, ack) end
  return socket
end

--- everybody_else(socket, flags): returns the operator for all but this socket.
local function everybody_else(socket, flags)
  return operators.new(socket.nsp.adapter, flags, { [socket.id] = true })
end

local function to(socket, flags, room) return everybody_else(socket, flags):to(room) end

local function local_only(socket, flags) return everybody_else(socket, flags).localOnly end

-- Fields that are computed.
local fields = {}

function fields.rooms(self) return self.nsp.adapter:socketRooms(self.id) or {} end
function fields.disconnected(self) return not self.connected end
function fields.conn(self) return self.client.conn end
function fields.request(self) return self.client.request end

local meta = views.extend(Socket, {
  fields = fields,
  dispatch = dispatch,
  reactor = function(socket) return socket.nsp.server.reactor end,
  methods = {
    to = to, ["in"] = to,
    except = function(socket, flags, room) return everybody_else(socket, flags):except(room) end,
  },
  getters = {
    broadcast = everybody_else,
    ["local"] = local_only, localOnly = local_only,
  },
})

-- Rooms

--- join(room), leave(room): at once.
function Socket:join(room)
  local rooms = operators.names("join", room)
  if not self.is_over then self.nsp.adapter:addAll(self.id, rooms) end
end

function Socket:leave(room)
  for _, name in ipairs(operators.names("leave", room)) do self.nsp.adapter:del(self.id, name) end
end

--- leaveAll(): leaves all rooms, its own as well.
function Socket:leaveAll() self.nsp.adapter:delAll(self.id) end

--- use(f): has f(event, next) asked about each event that comes. `event` is a list with n.
function Socket:use(f)
  middlewares.add(self.functions, f)
  return self
end

-- Receiving

--- failed(err): something that the client or a middleware has done is wrong.
function Socket:failed(err)
  if not emit(self, "error", err) then log.warning("nobody listens to 'error' of a socket: %s", tostring(err)) end
end

local function tell(socket, name, ...)
  if socket.connected then emit(socket, arguments.name(name), ...) end
end

--- event(socket, name, ...): an event has come, with the function that acknowledges it, if one is to be.
local function event(socket, name, ...)
  anything.incoming(socket, arguments.name(name), ...)
  if not socket.functions[1] then return tell(socket, name, ...) end
  local list = arguments.pack(name, ...)
  middlewares.run(socket.nsp.server.reactor, socket.functions, list, function(err)
    if err ~= nil then return socket:failed(err) end
    tell(socket, unpack(list, 1, list.n))
  end)
end

--- answer_for(socket, id): returns the function that acknowledges the event of this id, once.
local function answer_for(socket, id)
  local is_sent = false
  return function(...)
    if is_sent or not socket.connected then return end
    socket.client:transmit({}, encoded(ACK, socket.nsp.name, id, ...))
    is_sent = true
  end
end

--- received(kind, id, ...): a packet has come for this socket.
function Socket:received(kind, id, ...)
  if kind == EVENT then
    return arguments.join(event, self, id and answer_for(self, id), ...)
  elseif kind == ACK then
    return self.acks:answer(id, ...)
  elseif kind == DISCONNECT then
    self:closed "client namespace disconnect"
  end
end

-- The beginning and the end

--- let_in(): tells the client that it is connected, and sends what it has missed.
function Socket:let_in()
  self.connected = true
  self:join(self.id)
  local client = self.client
  if client.conn.protocol == 3 then
    client:transmit({}, encode(CONNECT, self.nsp.name))
  else
    client:transmit({}, encode(CONNECT, self.nsp.name, nil, { sid = self.id, pid = self.pid }))
  end
  for _, messages in ipairs(self.missed or {}) do client:transmit({}, unpack(messages)) end
  self.missed = nil
end

-- Ends after which a client may get its session back.
local RECOVERABLE = {
  ["transport error"] = true, ["transport close"] = true, ["forced close"] = true, ["ping timeout"] = true,
  ["server shutting down"] = true,
}

--- abandon(): the socket will not be connected, or is not any more.
function Socket:abandon()
  self:leaveAll()
  self.is_over = true
end

--- closed(reason [, details]): the socket is over.
function Socket:closed(reason, details)
  if not self.connected or self.is_closing then return end
  self.is_closing = true
  emit(self, "disconnecting", reason, details)
  if self.pid and RECOVERABLE[reason] then
    local rooms = {}
    for room in pairs(self.rooms) do rooms[room] = true end
    self.nsp.adapter:persistSession { sid = self.id, pid = self.pid, rooms = rooms, data = self.data }
  end
  self:abandon()
  self.nsp:remove(self)
  self.client:remove(self)
  self.connected = false
  local tell_waiting = self.acks:forget(nothing)
  emit(self, "disconnect", reason, details)
  tell_waiting()
end

--- disconnect([close]): disconnects the client from this namespace; with `close`, from all, and ends its connection.
function Socket:disconnect(close)
  if not self.connected or self.is_leaving then return self end
  self.is_leaving = true
  if close then
    self.client:disconnect()
  else
    self.client:transmit({}, encode(DISCONNECT, self.nsp.name))
    waiting.in_turn(self.nsp.server.reactor, function() self:closed "server namespace disconnect" end)
  end
  return self
end

-- The object

--- id_of(nsp, client): returns the id of a new socket. Up to version 2 it was made of the engine's.
local function id_of(nsp, client)
  if client.conn.protocol ~= 3 then return native.token() end
  return nsp.name == "/" and client.id or nsp.name .. "#" .. client.id
end

--- new(nsp, client, handshake [, session]): makes the socket of a client in a namespace, which may have got a session
-- back.
function sockets.new(nsp, client, handshake, session)
  local self = setmetatable({
    nsp = nsp,
    client = client,
    handshake = handshake,
    id = session and session.sid or id_of(nsp, client),
    pid = session and session.pid or nsp.adapter.sessions and native.token() or nil,
    data = session and session.data or {},
    connected = false,
    recovered = session ~= nil,
    missed = session and session.missed, -- messages that are to be sent once it is connected
    functions = {},
    acks = acks.new(nsp.server.reactor),
    is_leaving = false, -- its client has been told that it is over
    is_closing = false, -- it is being told that it is over
    is_over = false, -- it can join no room any more
  }, meta)
  if session then
    local rooms = {}
    for room in pairs(session.rooms) do rooms[#rooms + 1] = room end
    self:join(rooms)
  end
  return self
end

return sockets
