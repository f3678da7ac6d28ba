--[[
What the lower parts know of a server: the owner of the connections that it has accepted. Makes their sessions, counts
them, and tells the server's handlers that they are open and that they have ended.
--]]

local native, import, world = ...
local clock, close, connection, guard, log = import("clock"), import("close"), import("connection"), import("guard"),
  import("log")
local drive, linger, publish, quick = import("drive"), import("linger"), import("publish"), import("quick")
local exchange, rooms = import("server/exchange"), import("server/rooms")
local wires = world.wires or import("wires/native") -- for sockets that were accepted

local owners = {}

local Owner = {}
Owner.__index = Owner

-- Beside the connections that are open, this many may be on the way to it.
local HALF_OPEN = 1024

--- new(read): returns an owner without connections. `read` is what server/options has read.
function owners.new(read)
  local opening, shared = read.opening, read.shared
  local traffic = native.traffic()
  local self = setmetatable({
    secure = nil, -- the parameters of sessions with TLS
    handlers = read.handlers, own = read.own, opening = opening, shared = shared,
    trusted = read.own.trusted_proxies or {}, -- as server/options reads it
    routes = {}, -- arrays of prefix and handlers, the longest prefix first
    alive = {}, -- the states of which something is left
    half_open = {}, half_open_count = 0, -- those that are not open yet, and never were
    open = {}, open_count = 0, -- connections
    accepted = 0, refused_count = 0, ids = 0, traffic = traffic,
    closing = false, -- whether the server is being closed
    abort = nil, abort_at = nil, -- the timer that ends what is left then, and its time
    rooms = rooms.new(read.own.slow),
    parameters = {
      role = "http", max_payload_size = opening.max_payload_size, fragment_size = opening.fragment_size,
      validate_utf8 = opening.validate_utf8, allow_long_lengths = opening.allow_long_lengths,
      coalesce = opening.coalesce, max_buffered = opening.max_buffered, deflate = read.deflate, clock = clock.native,
      seed = world.seed and world.seed(), traffic = traffic,
    },
  }, Owner)
  if read.acceptor then self:use(read.acceptor) end
  function opening.open_handler(conn)
    local on_open = quick.state_of(conn).exchange.handlers.on_open
    if on_open then on_open(conn, conn.request) end
  end
  function shared.drain_handler(conn)
    local on_drain = quick.state_of(conn).exchange.handlers.on_drain
    if on_drain then on_drain(conn) end
  end
  return self
end

--- use(acceptor): has those who connect from now on get its certificates.
function Owner:use(acceptor)
  self.secure = { acceptor = acceptor }
  for name, value in pairs(self.parameters) do self.secure[name] = value end
end

--- accept(socket, address, port, secure): takes over a connection.
function Owner:accept(socket, address, port, secure)
  local session, number = native.session(secure and self.secure or self.parameters)
  if not session then
    wires.drop(socket)
    log.error("a connection cannot be accepted: %s", number)
    return
  end
  local state = connection.new(self.opening)
  state.owner, state.session, state.number = self, session, number
  state.wire, state.socket = wires.make(state, socket)
  self.accepted = self.accepted + 1
  self.half_open[state], self.half_open_count = true, self.half_open_count + 1
  self.alive[state] = true
  exchange.begin(state, { address = address, port = port, secure = secure })
  drive.enter(state)
end

--- failed(state, why): ends a connection on whose way to a WebSocket something has raised an error: what a handler has
-- returned, or a debug hook.
function Owner.failed(state, why)
  log.handler_failed("a request cannot be answered", guard.text(why) or type(why))
  if state.phase ~= "closed" then close.finish(state, "interrupted", nil, true) end
end

--- has_room_to_accept(): returns whether one more connection may be accepted.
function Owner:has_room_to_accept()
  return self.open_count + self.half_open_count < self.own.max_connections + HALF_OPEN
end

--- has_room(): returns whether one more connection may be open.
function Owner:has_room() return self.open_count < self.own.max_connections end

function Owner:is_closing() return self.closing end

--- is_gone(): returns whether nothing is left of any connection.
function Owner:is_gone() return next(self.alive) == nil end

--- refused(place, request, status, why): a request was refused; without one (nil) it could not be read. There is no
-- status if TLS has failed.
function Owner:refused(place, request, status, why)
  self.refused_count = self.refused_count + 1
  local on_refuse = self.own.on_refuse
  if not on_refuse then return end
  local refusal = {
    remote = place.address, remote_port = place.port, target = request and request.target, status = status, why = why,
  }
  local ok, err = guard.free(on_refuse, refusal)
  if not ok then log.handler_failed("the on_refuse of a server raised an error", err) end
end

--- add_route(prefix, handlers): these handlers are asked about requests whose path is that of the prefix or below it,
-- in place of those that were given for it before.
function Owner:add_route(prefix, handlers)
  for _, route in ipairs(self.routes) do
    if route.prefix == prefix then
      route.handlers = handlers
      return
    end
  end
  table.insert(self.routes, { prefix = prefix, handlers = handlers })
  table.sort(self.routes, function(a, b) return #a.prefix > #b.prefix end)
end

--- Returns whether a path is that of a prefix, or below it.
local function is_below(path, prefix)
  if path:sub(1, #prefix) ~= prefix then return false end
  return #path == #prefix or prefix:sub(-1) == "/" or path:sub(#prefix + 1, #prefix + 1) == "/"
end

--- handlers_for(path): returns the handlers for requests of this path.
function Owner:handlers_for(path)
  for _, route in ipairs(self.routes) do
    if is_below(path, route.prefix) then return route.handlers end
  end
  return self.handlers
end

local function ignored() end

--- leave_half_open(state): the connection is open, or over.
local function leave_half_open(self, state)
  if not self.half_open[state] then return end
  self.half_open[state], self.half_open_count = nil, self.half_open_count - 1
end

--- opened(state): makes the table of a connection that has become a WebSocket.
function Owner:opened(state)
  leave_half_open(self, state)
  local ex = state.exchange
  local request = ex.request
  local target = {
    secure = ex.place.secure, host = request.remote, port = request.remote_port, resource = request.target,
  }
  local conn = publish.accepted(state, target, ex.handlers.on_message or ignored, self.shared)
  self.ids = self.ids + 1
  conn.id, conn.request = self.ids, request
  conn.subprotocol = ex.subprotocol
  self.open[conn], self.open_count = true, self.open_count + 1
  self.rooms:enter(conn, state)
  state.exchange = { handlers = ex.handlers, on_fail = ex.on_fail } -- the rest was for the requests
  native.set_driven(state.number, true)
  state.greets = true
  connection.write(state)
  connection.settle(state)
  if state.item then state.item:notice() end
end

--- tell_closed(self, state, conn): calls on_close.
local function tell_closed(self, state, conn)
  -- At its end linger has noted it, and freed the session.
  if state.lingering and not state.lingering.over then linger.note(state.lingering) end
  self.open[conn], self.open_count = nil, self.open_count - 1
  local on_close = state.was_greeted and state.exchange.handlers.on_close
  if not on_close then return end
  local ok, err = guard.free(on_close, conn, conn.close_code or 1006, conn.close_reason or "")
  if not ok then log.handler_failed(("the on_close of %s raised an error"):format(guard.name(conn)), err) end
end

--- closed(state, is_gone): the connection is over. Tells its on_close once the closing handshake is over, too.
-- `is_gone`: nothing is left of it.
function Owner:closed(state, is_gone)
  local conn, lingering = state.conn, state.lingering
  if not state.was_greeted then exchange.give_up(state) end
  if conn then self.rooms:exit(conn, state) end
  local is_told = is_gone or not lingering or lingering.answered
  if conn and self.open[conn] and is_told then tell_closed(self, state, conn) end
  if not is_gone then return end
  leave_half_open(self, state)
  self.alive[state] = nil
  if self.abort and self:is_gone() then self.abort:cancel() end
end

return owners
