--[[
A namespace of a Socket.IO server: its sockets, and who is let in. A parent has no sockets of its own, but namespaces
that are made when a client asks for them.
--]]

local _, import = ...
local adapters, emitter, middlewares = import("socketio/server/adapter"), import("emitter"),
  import("socketio/server/middlewares")
local arguments, json = import("socketio/arguments"), import("json").public
local operators, parser, sessions = import("socketio/server/operator"), import("socketio/parser"),
  import("socketio/server/sessions")
local clock, sockets = import("clock"), import("socketio/server/socket")

local namespaces = {}

local emit = emitter.emit

local Namespace, meta = {}, {}
emitter.extend(Namespace)

local flag_of = operators.extend(Namespace, function(self) return operators.new(self.adapter) end)

function meta:__index(key)
  local method = Namespace[key]
  if method ~= nil then return method end
  return flag_of(self, key)
end

--- use(f): has f(socket, next) asked about each client that wants to be connected.
function Namespace:use(f)
  middlewares.add(self.functions, f)
  return self
end

--- next_id(): returns the id of the next event that is to be acknowledged.
function Namespace:next_id()
  local id = self.ids
  self.ids = id + 1
  return id
end

-- Names that no event between servers may have, either.
local RESERVED = { connection = true, new_namespace = true }

local function answer_nobody(self, _, ack)
  if ack then self.server.reactor.after(0, function() ack(nil, json.array()) end) end
end

--- serverSideEmit(name, ...): sends an event to the other servers, of which there are none.
function Namespace:serverSideEmit(name, ...)
  parser.check_name(name)
  if RESERVED[name] then error(('"%s" is a reserved event name'):format(name), 0) end
  arguments.split(answer_nobody, self, nil, name, ...)
  return true
end

--- let_in(nsp, socket, on_connected): the socket of a client is connected.
local function let_in(nsp, socket, on_connected)
  nsp.deciding[socket], nsp.sockets[socket.id] = nil, socket
  on_connected(socket)
  socket:let_in()
  emit(nsp, "connect", socket)
  emit(nsp, "connection", socket)
end

--- restored(nsp, auth): returns the session that a client wants back, if it can have it.
local function restored(nsp, auth)
  local pid, offset = auth.pid, auth.offset
  if type(pid) ~= "string" or type(offset) ~= "string" then return nil end
  return nsp.adapter:restoreSession(pid, offset)
end

--- add(client, auth, on_connected, on_refused): a client wants to be connected. Calls on_connected(socket) before it
-- is told so, or on_refused(err).
function Namespace:add(client, auth, on_connected, on_refused)
  local session = restored(self, auth)
  local socket = sockets.new(self, client, client:handshake(auth), session)
  if session and self.server.recovery.skipMiddlewares then return let_in(self, socket, on_connected) end
  self.deciding[socket], client.asked[self.name] = true, socket
  middlewares.run(self.server.reactor, self.functions, socket, function(err)
    if socket.is_over then return end
    if not client:is_open() then return self:give_up(socket) end
    if err == nil then return let_in(self, socket, on_connected) end
    self:give_up(socket)
    on_refused(err)
  end)
end

--- tidy([is_forced]): tells who cares if nobody is in the namespace or may come to be. `is_forced`: its room is needed.
function Namespace:tidy(is_forced)
  if self.on_empty and next(self.sockets) == nil and next(self.deciding) == nil then self.on_empty(is_forced) end
end

--- give_up(socket): a socket will not be let in: it is refused, or its client is gone.
function Namespace:give_up(socket)
  self.deciding[socket] = nil
  socket:abandon()
  self:tidy()
end

--- remove(socket): a socket is over.
function Namespace:remove(socket)
  if self.sockets[socket.id] == socket then self.sockets[socket.id] = nil end
  self:tidy()
end

local function new(server, name)
  return setmetatable({
    server = server,
    name = name,
    sockets = {}, -- by their ids
    deciding = {}, -- the set of those that the functions are being asked about
    ids = 0,
    functions = {},
    on_empty = nil, -- of a child: called when nobody is in it
  }, meta)
end

--- new(server, name): makes a namespace.
function namespaces.new(server, name)
  local self = new(server, name)
  local duration = server.recovery and server.recovery.maxDisconnectionDuration
  self.adapter = adapters.new(self, duration and sessions.new(duration, clock.now))
  return self
end

--- child(name): makes a namespace with the functions and listeners that its parent has by now.
local function child(self, name)
  local made = namespaces.new(self.server, name)
  for i, f in ipairs(self.functions) do made.functions[i] = f end
  for _, event in ipairs { "connect", "connection" } do
    for _, f in ipairs(self:listeners(event)) do made:on(event, f) end
  end
  self.children[name], self.child_count = made, self.child_count + 1
  return made
end

--- forget(name): that namespace is no child any more.
local function forget(self, name) self.children[name], self.child_count = nil, self.child_count - 1 end

--- new_parent(server, name, accepts): makes a parent. accepts(name, auth, next) says which namespaces it has.
function namespaces.new_parent(server, name, accepts)
  local self = new(server, name)
  self.children, self.child_count, self.accepts, self.child, self.forget = {}, 0, accepts, child, forget
  self.adapter = adapters.new_parent(self)
  return self
end

return namespaces
