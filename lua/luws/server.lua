--[[
The module luws.server: WebSocket servers (RFC 6455), whose connections are the same objects as a client's. Checks what
it is given; the work is done in server/*. The reactor that drives connections of clients drives a server's as well.
--]]

local native, import = ...
import("calls") -- whose functions take the connections
local listeners, owners, settings = import("server/listeners"), import("server/owner"), import("server/options")
local pull, responses, shutdown = import("server/pull"), import("server/responses"), import("server/shutdown")
local reactor, worlds = import("reactor").public, import("worlds")

local Server = {}
local meta = { __index = Server }

local public = {
  later = responses.LATER,
  --- file(folder, path): the response that is a file below the folder, by the path of a request; 404 if there is none.
  file = responses.file,
  --- spawn(f): an on_open that runs f(conn, request) as a coroutine.
  spawn = pull.spawn,
}

--- listen(options): listens, and accepts connections from then on in the turns of the reactor. Returns the server; or
-- nil and why not.
function public.listen(given)
  local read, wrong = settings.read(given)
  if not read then return nil, wrong end
  local listen = worlds.serves(read.shared.reactor)
  if listen then return listen(given) end
  local all, why = listeners.open(read.places)
  if not all then return nil, why end
  local queue = pull.queue(read.handlers)
  local owner = owners.new(read)
  local self = setmetatable({
    owner = owner, listeners = all, tls = read.tls, queue = queue, process = native.process(),
  }, meta)
  owner.server = self
  local ok
  ok, why = listeners.begin(all, function() return owner:has_room_to_accept() end, function(...)
    owner:accept(...)
    shutdown.watch(self)
  end)
  if not ok then return nil, why end
  return self
end

--- step([seconds]): one turn of everything that the reactor drives, this server included. Returns how much was done; or
-- nil and "closed" once nothing is left of the server.
function Server:step(seconds)
  if self:is_closed() then return nil, "closed" end
  return reactor.step(seconds)
end

--- next([seconds]): for a server that was given no handlers: returns the next event, and what it has with it. Waits for
-- at most that time. Returns nil and "timeout", or nil and "closed" once nothing is left of the server.
function Server:next(seconds)
  if not self.queue then return nil, "the server has handlers" end
  return self.queue:next(self, seconds)
end

--- run([options]): steps until the server is closed, and nothing is left of it. Options: signals, done.
function Server:run(given) return shutdown.run(self, given) end

--- close([options]): shuts the server down. Options: code, reason, timeout.
function Server:close(given) return shutdown.close(self, given) end

--- is_closed(): returns whether nothing is left of the server.
function Server:is_closed() return self.owner.closing and self.owner:is_gone() end

--- For outer loops: the reactor's.
function Server.pollfd() return reactor.pollfd() end
function Server.getfd() return reactor.getfd() end
function Server.events() return reactor.events() end
function Server.timeout() return reactor.timeout() end
function Server.dirty() return reactor.dirty() end

--- reload(): reads the certificates again. Connections that are open keep theirs. Returns true; or nil and why they
-- stay as they are.
function Server:reload()
  if not self.tls then return true end
  local acceptor, why = native.acceptor(self.tls)
  if not acceptor then return nil, why end
  self.owner:use(acceptor)
  return true
end

--- address(): returns host and port of the first listener; or its path, if it is a unix domain socket's. Nothing once
-- the server is closed.
function Server:address() return listeners.address(self.listeners) end

--- addresses(): returns an array of all listeners, as tables with host and port, or path.
function Server:addresses()
  local all = {}
  for i, listener in ipairs(self.listeners) do
    all[i] = { host = listener.host, port = listener.port, path = listener.path }
  end
  return all
end

--- connections(): iterates over the connections that are open.
function Server:connections()
  local all, i = {}, 0
  for conn in pairs(self.owner.open) do all[#all + 1] = conn end
  return function()
    i = i + 1
    return all[i]
  end
end

--- count(): returns how many connections are open.
function Server:count() return self.owner.open_count end

--- join(conn, room), leave(conn, room): a room is any value but nil and NaN. Return whether that has changed anything.
-- A connection leaves all rooms at its end.
function Server:join(conn, room) return self.owner.rooms:join(conn, room) end

function Server:leave(conn, room) return self.owner.rooms:leave(conn, room) end

--- members(room): returns an array of the connections in a room.
function Server:members(room) return self.owner.rooms:members(room) end

--- broadcast(room, opcode, data [, except]): sends a message to the members of a room, or to all connections if it is
-- nil; not to the connection `except`. Never waits. Returns how many took it; or nil and what is wrong.
function Server:broadcast(room, opcode, data, except)
  return self.owner.rooms:broadcast(room, opcode, data, except)
end

--- multicast(conns, opcode, data [, compress]): sends a message to these connections, an array. Its frames are made
-- once; they are not compressed if `compress` is false. Never waits. Returns how many took it, and an array of those
-- that did not; or nil and what is wrong.
function Server:multicast(conns, opcode, data, compress)
  return self.owner.rooms:multicast(conns, opcode, data, compress)
end

--- route(prefix, handlers): these handlers are asked, in place of the server's, about requests whose path is the
-- prefix, or below it. Returns the server; or nil and what is wrong.
function Server:route(prefix, given)
  if type(prefix) ~= "string" or prefix:sub(1, 1) ~= "/" then
    return nil, "bad argument #1 to 'route' (a path that begins with / expected)"
  end
  if type(given) ~= "table" then
    return nil, ("bad argument #2 to 'route' (table expected, got %s)"):format(type(given))
  end
  local handlers, wrong = settings.handlers(given)
  if not handlers then return nil, wrong end
  self.owner:add_route(prefix, handlers)
  return self
end

--- stats(): returns how many connections were accepted, how many requests were refused, and how many connections are
-- open; how many messages they have received and sent, all together, and how many bytes of data are in those.
function Server:stats()
  local owner = self.owner
  local found = { accepted = owner.accepted, refused = owner.refused_count, open = owner.open_count }
  found.messages_received, found.bytes_received, found.messages_sent, found.bytes_sent =
    native.traffic_counts(owner.traffic)
  return found
end

return { public = public }
