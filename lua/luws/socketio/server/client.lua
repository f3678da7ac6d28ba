--[[
One connection of a client to a Socket.IO server: an engine, and the sockets that share it, one for each namespace.
--]]

local native, import = ...
local clock, failure, log = import("clock"), import("socketio/failure"), import("log")
local parser = import("socketio/parser")
local queries, views, waiting = import("query"), import("socketio/view"), import("socketio/waiting")

local clients = {}

local CONNECT, CONNECT_ERROR, DISCONNECT = parser.CONNECT, parser.CONNECT_ERROR, parser.DISCONNECT

-- How many namespaces a client may be in, or ask for at a time.
local MOST_NAMESPACES = 1000

local Client = {}
Client.__index = Client

--- is_open(): returns whether the client can be let in.
function Client:is_open() return not self.is_over and self.conn.readyState == "open" end

--- takes(flags): returns whether a packet with these flags is sent to the client.
function Client:takes(flags)
  local conn = self.conn
  return conn.readyState == "open" and not (flags.volatile and not conn.transport.writable)
end

--- transmit(flags, text, ...): sends a packet: its text and its binary values.
function Client:transmit(flags, ...)
  if not self:takes(flags) then return end
  local options = views.options(flags)
  for i = 1, select("#", ...) do self.conn:send((select(i, ...)), options) end
end

--- handshake(auth): returns what a socket has as its handshake.
function Client:handshake(auth)
  local request, issued = self.request, clock.time()
  local headers = request.headers or {}
  return {
    headers = headers,
    time = native.date(issued),
    address = self.conn.remoteAddress,
    xdomain = headers.origin ~= nil,
    secure = request.tls ~= nil and request.tls ~= false,
    issued = math.floor(issued * 1000),
    url = request.url or request.target,
    query = request.query_table or request.query,
    auth = auth,
  }
end

local function cancel_timer(client)
  if client.timer then client.timer:cancel() end
  client.timer = nil
end

--- transmit_refusal(client, name, why): sends a refusal. If the program's words cannot be sent, the client is to know
-- that it is refused nevertheless.
local function transmit_refusal(client, name, why)
  local text, wrong = parser.encode(CONNECT_ERROR, name, nil, why)
  if not text then
    log.warning("the error for a client that is refused cannot be sent: %s", wrong)
    text = parser.encode(CONNECT_ERROR, name, nil, client.conn.protocol == 3 and "error" or { message = "error" })
  end
  client:transmit({}, text)
end

--- refuse(client, name, err): tells the client that it is not let into a namespace, and why. Up to version 2, clients
-- know no errors with a message.
local function refuse(client, name, err)
  client.asked[name], client.count = nil, client.count - 1
  local is_old = client.conn.protocol == 3
  transmit_refusal(client, name, is_old and (err.data or err.message) or { message = err.message, data = err.data })
end

--- enter(client, nsp, auth): has a namespace decide about the client.
local function enter(client, nsp, auth)
  local name = nsp.name
  nsp:add(client, auth, function(socket)
    client.asked[name], client.sockets[name] = nil, socket
    cancel_timer(client)
  end, function(err) refuse(client, name, err) end)
end

--- connect(client, name, auth): the client wants to be in a namespace.
local function connect(client, name, auth)
  client.asked[name], client.count = true, client.count + 1
  client.server:find(name, auth, function(nsp)
    if not client:is_open() then return nsp and nsp:tidy() end
    if nsp then return enter(client, nsp, auth) end
    refuse(client, name, failure.new "Invalid namespace")
  end)
end

--- received(client, kind, name, id, ...): a packet has come.
local function received(client, kind, name, id, ...)
  local auth = kind == CONNECT and ... or nil
  if client.conn.protocol == 3 then
    local path, query = name:match "^([^?]*)%??(.*)$"
    name, auth = path, queries.parse(query)
  end
  local socket = client.sockets[name]
  if kind == CONNECT and not socket and not client.asked[name] and client.count < MOST_NAMESPACES then
    connect(client, name, type(auth) == "table" and auth or {})
  elseif socket and kind ~= CONNECT and kind ~= CONNECT_ERROR then
    socket:received(kind, id, ...)
  else
    client:close "forced close" -- it is in no such namespace, or asks for too many
  end
end

--- all(client): returns the sockets as a list.
local function all(client)
  local list = {}
  for _, socket in pairs(client.sockets) do list[#list + 1] = socket end
  table.sort(list, function(a, b) return a.nsp.name < b.nsp.name end)
  return list
end

--- closed(reason, details): the engine is over.
function Client:closed(reason, details)
  if self.is_over then return end
  self.is_over = true
  cancel_timer(self)
  self.server.clients[self] = nil
  for _, socket in pairs(self.asked) do
    if socket ~= true then socket.nsp:give_up(socket) end
  end
  self.asked = {}
  for _, socket in ipairs(all(self)) do socket:closed(reason, details) end
end

--- close(reason): ends the engine.
function Client:close(reason)
  local conn = self.conn
  self:closed(reason)
  conn:close()
end

--- disconnect(): disconnects the client from all namespaces, and ends the engine.
function Client:disconnect()
  for _, socket in ipairs(all(self)) do
    self:transmit({}, parser.encode(DISCONNECT, socket.nsp.name))
  end
  waiting.in_turn(self.server.reactor, function() self:close "server namespace disconnect" end)
end

--- remove(socket): a socket is over.
function Client:remove(socket)
  local name = socket.nsp.name
  if self.sockets[name] ~= socket then return end
  self.sockets[name], self.count = nil, self.count - 1
end

--- broken(client, why): the client has broken the protocol.
local function broken(client, why)
  local err = failure.new(why)
  for _, socket in ipairs(all(client)) do socket:failed(err) end
  client:close "forced close"
end

--- new(server, conn): serves a client that has opened an engine.
function clients.new(server, conn)
  local self = setmetatable({
    server = server,
    conn = conn,
    id = conn.id,
    request = conn.request,
    sockets = {}, -- by the names of their namespaces
    asked = {}, -- the names of namespaces that are still deciding, with the socket it is about once there is one
    count = 0, -- of both
    timer = nil, -- until when it has to be in a namespace
    is_over = false,
  }, Client)
  server.clients[self] = true
  local decoder = parser.decoder(server.most_size, server.settings.binaryType == "string")
  conn:on("message", function(message)
    if self.is_over then return end
    local ok, why = decoder:add(message, received, self)
    if not ok then broken(self, why) end
  end)
  conn:on("close", function(reason, details) self:closed(reason, details) end)
  if conn.protocol == 3 then
    connect(self, "/", {})
  else
    self.timer = server.reactor.after(server.settings.connectTimeout, function()
      self.timer = nil
      if next(self.sockets) == nil then self:close "forced close" end
    end)
  end
  return self
end

return clients
