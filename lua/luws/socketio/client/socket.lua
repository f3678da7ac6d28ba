--[[
A socket of a Socket.IO client: what a program sends and hears in one namespace, over the engine of a manager. What is
sent while there is no connection is buffered, within bounds.

`is_wanted` says that the program wants it connected, `connected` that the server has let it in.
--]]

local _, import = ...
local acks, anything, arguments = import("socketio/acks"), import("socketio/anything"), import("socketio/arguments")
local bounded, emitter = import("socketio/client/bounded"), import("emitter")
local failure, guard = import("socketio/failure"), import("guard")
local log, parser, retries = import("log"), import("socketio/parser"), import("socketio/client/retries")
local views, waiting = import("socketio/view"), import("socketio/waiting")

local sockets = {}

local emit, unpack = emitter.emit, guard.unpack
local encode, encoded = parser.encode, parser.encoded
local CONNECT, DISCONNECT, EVENT, ACK = parser.CONNECT, parser.DISCONNECT, parser.EVENT, parser.ACK
local CONNECT_ERROR = parser.CONNECT_ERROR

local Socket = {}
emitter.extend(Socket)
anything.extend(Socket)

-- Sending

local NO_FLAGS = {}

--- transmit(socket, flags, text, ...): sends a packet that is encoded.
local function transmit(socket, flags, ...) socket.io:transmit(views.options(flags), ...) end

local FULL = "the send buffer is full"

--- unbuffer(socket, id): takes the event of this id out of the buffer, if it is there.
local function unbuffer(socket, id)
  for i, entry in ipairs(socket.sendBuffer) do
    if entry.id == id then return bounded.remove(socket.sendBuffer, i) end
  end
end

--- register(socket, flags, id, ack): has a function wait for the acknowledgement of an event.
local function register(socket, flags, id, ack)
  socket.ids = id + 1
  socket.acks:add(id, ack, flags.timeout or socket.ack_timeout, flags.wants_error, socket.on_ack_timeout)
end

--- dispatch(socket, flags, ack, name, ...): sends an event, or buffers it. Returns the socket; or nil and why not.
local function dispatch(socket, flags, ack, name, ...)
  local id = ack and socket.ids or nil
  local manager = socket.io
  local can_send = socket.connected and manager:can_send()
  if flags.volatile and not (can_send and manager:is_writable()) then
    encoded(EVENT, socket.nsp, id, name, ...) -- only to raise the error
    if ack then register(socket, flags, id, ack) end
    return socket
  end
  if can_send then
    transmit(socket, flags, encoded(EVENT, socket.nsp, id, name, ...))
    anything.outgoing(socket, name, ...)
  else
    local messages = { encoded(EVENT, socket.nsp, id, name, ...) }
    local entry = { id = id, data = arguments.pack(name, ...), messages = messages, flags = flags }
    if not bounded.add(socket.sendBuffer, entry) then return nil, FULL end
  end
  if ack then register(socket, flags, id, ack) end
  return socket
end

--- sends(socket, flags, ack, name, ...): the same, by the queue of those that are sent again if there is one.
local function sends(socket, flags, ack, name, ...)
  local queue = socket.queue
  if not queue or flags.volatile then return dispatch(socket, flags, ack, name, ...) end
  if not queue:add(flags, ack, { encoded(EVENT, socket.nsp, nil, name, ...) }) then return nil, FULL end
  return socket
end

-- Fields that are computed.
local fields = {}

function fields.disconnected(self) return not self.connected end
function fields.active(self) return self.is_wanted end

local meta = views.extend(Socket, {
  fields = fields,
  dispatch = sends,
  reactor = function(socket) return socket.io.reactor end,
})

-- Connecting

--- refuse_in_turn(socket, why): what the program has given as auth is wrong.
local function refuse_in_turn(socket, why)
  waiting.in_turn(socket.io.reactor, function()
    if socket.is_wanted then socket:refused(failure.new(why)) end
  end)
end

--- send_connect(socket, auth): asks the server to let us in. A server ends the connection for everybody who shares it
-- if auth is not an object.
local function send_connect(socket, auth)
  if auth ~= nil and type(auth) ~= "table" then
    return refuse_in_turn(socket, "auth: table expected, got " .. type(auth))
  end
  local data = auth
  if socket.pid then
    data = { pid = socket.pid, offset = socket.last_offset }
    for name, value in pairs(auth or {}) do data[name] = value end
  end
  local text, why = encode(CONNECT, socket.nsp, nil, data)
  if not text then return refuse_in_turn(socket, "auth: " .. why) end
  if data and text:sub(-1) ~= "}" then return refuse_in_turn(socket, "auth: table with names expected, got a list") end
  socket.io:transmit(nil, text)
  socket.unanswered = socket.io.attempt
end

--- opened(): the engine is open, so the server is asked once. auth is asked at each connection; it returns its value,
-- or calls a function with it.
function Socket:opened()
  local auth, turn = self.auth, {}
  if self.asked == self.io.attempt or self:is_stale() then return end
  self.asked = self.io.attempt
  self.turn = turn
  if not guard.is_callable(auth) then return send_connect(self, auth) end
  local function give(data)
    if self.turn ~= turn or not self.io:can_send() then return end
    self.turn = nil
    send_connect(self, data)
  end
  local ok, returned = guard.free(auth, give)
  if not ok then
    log.handler_failed("the function auth raised an error", returned)
    return self:refused(failure.new "auth: the function raised an error")
  end
  if returned ~= nil then give(returned) end
end

--- is_stale(): returns whether the server has still to answer a question that the program does not want answered any
-- more. It must not be asked again before: a second CONNECT would end the connection for everybody who shares it.
function Socket:is_stale() return self.stale ~= false and self.stale == self.io.attempt end

--- answered_late(kind): a packet has come meanwhile. If it is the answer, and the server has let us in, we leave.
function Socket:answered_late(kind)
  if kind ~= CONNECT and kind ~= CONNECT_ERROR then return end
  self.stale, self.unanswered, self.io.stale[self] = false, nil, nil
  if kind == CONNECT then self.io:transmit(nil, encode(DISCONNECT, self.nsp)) end
  if self.is_wanted then self:opened() end
end

--- connect(): connects the socket, unless it is connected.
function Socket:connect()
  if self.connected then return self end
  local manager = self.io
  manager:want(self, true)
  if not manager.is_reconnecting then manager:open() end
  if manager:can_send() then
    manager.reactor.after(0, function()
      if self.is_wanted and not self.connected and manager:can_send() then self:opened() end
    end)
  end
  return self
end

Socket.open = Socket.connect

--- disconnect(): disconnects the socket. It does not connect again by itself.
function Socket:disconnect()
  local was_connected = self.connected
  if was_connected then self.io:transmit(nil, encode(DISCONNECT, self.nsp)) end
  self.io:want(self, false)
  local tell = self:lost()
  self.io:close_unused()
  if was_connected then
    waiting.in_turn(self.io.reactor, function() tell("io client disconnect") end)
  end
  return self
end

Socket.close = Socket.disconnect

--- lost(): there is no connection any more. Returns a function tell(reason, details), which tells the program, unless
-- there is no reason, and those who wait for answers.
function Socket:lost()
  self.connected, self.id, self.turn, self.asked, self.receiveBuffer = false, nil, nil, nil, {}
  self.generation = self.generation + 1
  self.stale, self.unanswered = self.unanswered or self.stale, nil
  if self:is_stale() then self.io.stale[self] = true end
  local buffered = {}
  for _, entry in ipairs(self.sendBuffer) do
    if entry.id and not entry.is_sent then buffered[entry.id] = true end
  end
  local tell_waiting = self.acks:forget(function(id) return buffered[id] end)
  return function(reason, details)
    if reason then emit(self, "disconnect", reason, details) end
    tell_waiting()
  end
end

--- closed(reason, details): the engine is over.
function Socket:closed(reason, details) self:lost()(reason, details) end

--- failed(err): the engine could not be opened.
function Socket:failed(err)
  if not self.connected then emit(self, "connect_error", err) end
end

--- refused(err): this connection will not come about, and another attempt would not help.
function Socket:refused(err)
  self.io:want(self, false)
  local tell = self:lost()
  emit(self, "connect_error", err)
  tell()
  if not self.is_wanted then self.io:close_unused() end
end

-- Receiving

--- deliver(socket, name, ...): tells the program of an event.
local function deliver(socket, name, ...)
  name = arguments.name(name)
  anything.incoming(socket, name, ...)
  emit(socket, name, ...)
  if socket.pid then
    local last = arguments.last(...)
    if type(last) == "string" then socket.last_offset = last end
  end
end

--- answer_for(socket, id): returns the function that acknowledges the event of this id. It works once, and as long as
-- this connection lasts.
local function answer_for(socket, id)
  local generation, is_sent = socket.generation, false
  return function(...)
    if is_sent or socket.generation ~= generation or not socket.io:can_send() then return end
    transmit(socket, NO_FLAGS, encoded(ACK, socket.nsp, id, ...))
    is_sent = true
  end
end

-- Limits for the events that are kept until the server has let us in: their number, and their size in bytes.
local MOST_EARLY, MOST_EARLY_BYTES = 10000, 64 * 1024 * 1024

--- event(socket, ...): an event has come.
local function event(socket, ...)
  if socket.connected then return deliver(socket, ...) end
  local list = socket.receiveBuffer
  local size = socket.io.decoder.size + (list[1] and socket.early_size or 0)
  if #list >= MOST_EARLY or list[1] and size > MOST_EARLY_BYTES then
    return socket.io:broken "too many events before CONNECT"
  end
  socket.early_size = size
  list[#list + 1] = arguments.pack(...)
end

--- send_buffered(socket): sends what waits in the buffer. If a listener ends the connection meanwhile, the rest waits
-- for the next one.
local function send_buffered(socket)
  local list, count = socket.sendBuffer, 0
  for i = 1, #list do
    local entry = list[i]
    anything.outgoing(socket, unpack(entry.data, 1, entry.data.n))
    if not socket.connected then break end
    transmit(socket, entry.flags, unpack(entry.messages))
    entry.is_sent, count = true, i
  end
  bounded.remove_first(list, count)
end

--- let_in(socket, id, pid): the server has let us in; pid is false if it will not know us again. A listener may end the
-- connection again before it is told so: then what is buffered waits for the next one.
local function let_in(socket, id, pid)
  socket.id, socket.connected = id, true
  socket.recovered = pid and socket.pid == pid
  socket.pid = pid
  local early = socket.receiveBuffer
  socket.receiveBuffer = {}
  for _, args in ipairs(early) do
    if socket.connected then deliver(socket, unpack(args, 1, args.n)) end
  end
  if socket.connected then send_buffered(socket) end
  if socket.queue then socket.queue:drain(true) end
  if socket.connected then emit(socket, "connect") end
end

local OLD_SERVER = "the server speaks Socket.IO v2.x, and this client v3.x and v4.x"

--- received(kind, id, ...): a packet for this namespace has come.
function Socket:received(kind, id, ...)
  if kind == EVENT then
    return arguments.join(event, self, id and answer_for(self, id), ...)
  elseif kind == ACK then
    return self.acks:answer(id, ...)
  elseif kind == CONNECT then
    local data = ...
    self.unanswered = nil
    if type(data) ~= "table" or type(data.sid) ~= "string" then return self:refused(failure.new(OLD_SERVER)) end
    let_in(self, data.sid, type(data.pid) == "string" and data.pid)
  elseif kind == DISCONNECT then
    -- The server may be about to end the connection as well: a listener that connects again must not use it.
    self.io:want(self, false)
    self.io:close_unused()
    self:closed "io server disconnect"
  elseif kind == CONNECT_ERROR then
    self.unanswered = nil
    self:refused(failure.of((...)))
  end
end

-- The object

--- new(manager, namespace, own, number): makes the socket of a namespace. `number` tells it from those that were made
-- before.
function sockets.new(manager, namespace, own, number)
  local self = setmetatable({
    io = manager,
    nsp = namespace,
    number = number,
    auth = own.auth,
    connected = false,
    recovered = false,
    is_wanted = false,
    sendBuffer = bounded.new(),
    receiveBuffer = {},
    early_size = 0, -- the bytes of what is in receiveBuffer
    ids = 0, -- the id of the next event that is to be acknowledged
    acks = acks.new(manager.reactor),
    ack_timeout = own.ackTimeout,
    queue = false, -- of events that are sent again (retries); without the field, a function would be asked for it
    pid = false, -- the secret by which the server knows us again
    generation = 0, -- grows with each connection that is lost
    asked = nil, -- the manager's attempt whose server was asked to let us in
    unanswered = nil, -- the same, until the server has answered
    stale = false, -- the same, if the program did not wait for the answer
  }, meta)
  self.on_ack_timeout = function(id) unbuffer(self, id) end
  if own.retries then self.queue = retries.new(self, own.retries, dispatch) end
  return self
end

return sockets
