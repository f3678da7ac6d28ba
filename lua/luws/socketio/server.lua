--[[
A Socket.IO server: its namespaces, over a server of Engine.IO. What a program does with the server itself, it does
with the namespace "/".
--]]

local _, import = ...
local clients, engines = import("socketio/server/client"), import("engineio").public
local emitter, guard, log = import("emitter"), import("guard"), import("log")
local namespaces, parser, settings = import("socketio/server/namespace"), import("socketio/parser"),
  import("socketio/settings")
local main_reactor, waiting = import("reactor").public, import("socketio/waiting")

local servers = {}

local Server, meta = {}, {}

--- of(name [, on_connection]): returns a namespace, which is made if need be. In place of a name it may be given a
-- table { pattern = ... }, with a pattern of Lua, or a function(name, auth, next), which returns whether there is to
-- be such a namespace, or calls next(err, allowed): then it is the parent of all namespaces that are made in this
-- way.
function Server:of(name, on_connection)
  local nsp
  if on_connection ~= nil and not guard.is_callable(on_connection) then
    error(("bad argument #2 to 'of' (function expected, got %s)"):format(type(on_connection)), 2)
  end
  if type(name) == "table" or guard.is_callable(name) then
    nsp = self:parent(name)
  else
    local full, wrong = parser.namespace(name)
    if not full then error(("bad argument #1 to 'of' (%s)"):format(wrong), 2) end
    nsp = self.namespaces[full] or self:make(full)
  end
  if on_connection then nsp:on("connection", on_connection) end
  return nsp
end

--- make(name): makes a namespace.
function Server:make(name)
  local nsp = namespaces.new(self, name)
  self.namespaces[name] = nsp
  if name ~= "/" then emitter.emit(self.sockets, "new_namespace", nsp) end
  return nsp
end

--- accepts_of(given): returns a function(name, auth, next) for what `of` was given in place of a name.
local function accepts_of(given)
  if guard.is_callable(given) then return given end
  local pattern = given.pattern
  if type(pattern) ~= "string" then
    error("bad argument #1 to 'of' (a name, a function or { pattern = string } expected)", 0)
  end
  local ok, why = pcall(string.find, "", pattern)
  if not ok then error(("bad argument #1 to 'of' (pattern: %s)"):format(why), 0) end
  return function(name) return name:find(pattern) ~= nil end
end

--- parent(given): makes a parent of namespaces.
function Server:parent(given)
  local accepts = accepts_of(given)
  local nsp = namespaces.new_parent(self, "/_" .. #self.parents, accepts)
  self.parents[#self.parents + 1] = nsp
  return nsp
end

--- decide(parent, name, auth, decided): asks a parent whether there is to be a namespace. Calls decided(allowed).
local function decide(parent, name, auth, decided)
  local is_called = false
  local function once(err, allowed)
    if is_called then return end
    is_called = true
    decided(not err and allowed and true or false)
  end
  local ok, returned = guard.free(parent.accepts, name, auth, once)
  if not ok then
    log.handler_failed("the function of a namespace raised an error", returned)
    once(nil, false)
  elseif returned ~= nil then
    once(nil, returned)
  end
end

-- Limits for what clients can have a parent make: how many namespaces there are at a time, and how many bytes the name
-- of one has.
local MOST_CHILDREN, MOST_NAME = 10000, 1000

--- adopt(server, parent, name): returns a child of a parent, which is made if need be; nil if there are too many. Those
-- that nobody is in make room for others then, even if they may stay otherwise.
local function adopt(server, parent, name)
  if server.namespaces[name] then return server.namespaces[name] end
  if parent.child_count >= MOST_CHILDREN then
    for _, child in pairs(parent.children) do child:tidy(true) end
    if parent.child_count >= MOST_CHILDREN then return nil end
  end
  local nsp = parent:child(name)
  server.namespaces[name] = nsp
  function nsp.on_empty(is_forced)
    if not (is_forced or server.settings.cleanupEmptyChildNamespaces) or server.namespaces[name] ~= nsp then return end
    server.namespaces[name] = nil
    parent:forget(name)
  end
  emitter.emit(server.sockets, "new_namespace", nsp)
  return nsp
end

--- find(name, auth, found): calls found(nsp) with a namespace for a client; found() if there is none.
function Server:find(name, auth, found)
  if self.namespaces[name] then return found(self.namespaces[name]) end
  if #name > MOST_NAME then return found(nil) end
  local function try(place)
    local parent = self.parents[place]
    if not parent then return found(nil) end
    decide(parent, name, auth, function(allowed)
      if allowed then found(adopt(self, parent, name)) else try(place + 1) end
    end)
  end
  try(1)
end

--- close([f]): disconnects all clients and stops listening. f() is called once that is done.
function Server:close(f)
  waiting.in_turn(self.reactor, function()
    local list = {}
    for client in pairs(self.clients) do list[#list + 1] = client end
    for _, client in ipairs(list) do client:close "server shutting down" end
    self.engine:close()
  end)
  if f then self.reactor.after(0, f) end
end

-- What the namespace "/" has is the server's, too.
function meta:__index(key)
  local own = Server[key]
  if own ~= nil then return own end
  local sockets = rawget(self, "sockets")
  local value = sockets and sockets[key]
  if type(value) ~= "function" then return value end
  return function(given, ...)
    emitter.check_self(given, key)
    return value(sockets, ...)
  end
end

-- The bytes of a packet together with its binary values, in messages of the largest size.
local MOST_MESSAGES = 10

--- new(options): makes a server, which listens unless it is given another one, `server`, to share.
function servers.new(given)
  local own, others = settings.read("server", given)
  local srv = others.server
  others.server = nil
  if others.path == nil then others.path = "/socket.io" end
  local recovery = own.connectionStateRecovery
  local self = setmetatable({
    settings = own,
    recovery = recovery and settings.read("recovery", recovery) or false,
    reactor = others.reactor or main_reactor,
    namespaces = {}, -- by their names
    parents = {},
    clients = {}, -- a set
  }, meta)
  self.sockets = self:make "/"
  local engine, why
  if srv then engine, why = engines.attach(srv, others) else engine, why = engines.listen(others) end
  if not engine then return nil, why end
  self.engine, self.port = engine, engine.port
  self.most_size = (others.maxHttpBufferSize or 1e6) * MOST_MESSAGES
  engine:on("connection", function(conn) clients.new(self, conn) end)
  return self
end

return servers
