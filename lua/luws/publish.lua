--[[
The table that the user gets for a connection: what is in it from the beginning, what is added once the connection is
open or has failed to open, and its methods. The state of the connection is in it under a private key.
--]]

local native, import = ...
local clock, connection, guard, linger, log = import("clock"), import("connection"), import("guard"), import("linger"),
  import("log")
local methods, quick = import("methods"), import("quick")

local publish = {}

-- The keys under which a connection table holds its state and the number of its session. When the table is collected,
-- so are the state and the native objects that own the socket.
local STATE, NUMBER = log.STATE, log.NUMBER

local state_of = quick.state_of

--- live(conn): returns the state of a connection that is not closed, or nil; nil for anything else, too.
local function live(conn)
  local state = state_of(conn)
  return state and state.phase ~= "closed" and state or nil
end

publish.live = live

--- The functions of the API, which methods call; luws sets it.
publish.api = nil

local made = methods.make(live, function(conn) return publish.api.wsreceive(conn) end,
  function(...) publish.api.wsclose(...) end)

--- The methods of connections.
publish.methods = made

local Connection = {}

--- The metatable of connections.
publish.metatable = Connection

function Connection:__tostring()
  return ("luws-websock[%s:%s]"):format(guard.text(self.ip) or "?", guard.text(self.port) or "?")
end

-- Fields whose values are found when somebody asks for them.
local getters = {}

--- As in the browsers' WebSocket: bytes that were passed to wssend and have not left yet.
function getters.bufferedAmount(conn)
  local state = state_of(conn)
  if not state then return 0 end
  local kept = state.outbox and state.outbox:size() or 0
  return kept + (state.phase ~= "connecting" and connection.outgoing(state) or 0)
end

--- The data of messages that have not left yet, even while the connection lingers, and what never has.
function getters.bufferedPayload(conn)
  local state = state_of(conn)
  if not (state and state.session) then return 0 end
  local lingering = state.lingering
  local unsent = lingering and lingering.over and lingering.unsent or native.unsent(state.session)
  return unsent + (state.outbox and state.outbox:size() or 0)
end

--- How long each step of the last opening has taken.
function getters.timings(conn)
  local state = state_of(conn)
  return state and state.timings
end

-- Those of a server's connections, which have 16 other fields (see `new`).

function getters.remote(conn)
  local request = rawget(conn, "request")
  return request and request.remote
end

function getters.server(conn)
  local state = state_of(conn)
  return state and state.owner and state.owner.server
end

function Connection:__index(key)
  local getter = getters[key]
  if getter then return getter(self) end
  return made[key]
end

--- new(state, target, handler, given): returns the table for a connection. `given` is the user's table of options.
function publish.new(state, target, handler, given)
  local now = clock.time()
  local conn = setmetatable({
    [STATE] = state,
    [NUMBER] = false,
    connected = false,
    closing = false,
    proto = target.secure and "wss" or "ws",
    ip = target.host,
    port = target.port,
    path = target.resource,
    options = given,
    msghandler = handler,
    lastMessage = now,
    lastPing = now,
    -- Once it is open. Room for them from the beginning costs less. Those that few connections have are not here, for
    -- Lua's tables have room for 16 fields or for 32.
    socket = nil,
    proxied = nil,
    response_headers = nil,
    subprotocol = nil,
  }, Connection)
  state.conn, state.given = conn, given
  if state.opening.queue > 0 then state.outbox = import("outbox").new(state.opening.queue) end
  return conn
end

--- accepted(state, target, handler, given): the same for one that a server has accepted, and that is open now.
function publish.accepted(state, target, handler, given)
  local conn = publish.new(state, target, handler, given)
  conn[NUMBER], conn.connected, conn.socket = state.number, true, state.socket
  conn.tls = target.secure and native.peer(state.session) or nil
  if state.opening.ping_interval > 0 then import("keepalive").begin(state) end
  if log.debugging() then log.debug("%s is open", tostring(conn)) end
  return conn
end

--- settle_place(conn, target): notes where the opening has ended, which redirects may have led elsewhere.
local function settle_place(conn, target)
  conn.proto, conn.ip, conn.port, conn.path =
    target.secure and "wss" or "ws", target.host, target.port, target.resource
end

--- opened(conn, state): completes the table of a connection that is open now.
function publish.opened(conn, state)
  local session, plan, now = state.session, state.plan, clock.time()
  conn[NUMBER] = state.number
  settle_place(conn, plan.target)
  conn.connected = true
  conn.socket = state.socket
  conn.proxied = plan.proxy ~= nil
  state.is_lossy = plan.proxy and plan.proxy.kind == "sockproxy"
  conn.sockproxy_pid = plan.proxy and native.proxy_detail(session) or nil
  conn.subprotocol, conn.response_headers = native.response(session)
  conn.tls = plan.target.secure and native.peer(session) or nil
  conn.lastMessage, conn.lastPing = now, now
  state.plan = nil -- needed only for opening
  if state.keeper then state.keeper:opened(conn, state) end
  if state.opening.open_handler or state.outbox and not state.outbox:is_empty() then
    state.greets = true
    connection.settle(state)
  end
  if state.opening.ping_interval > 0 then import("keepalive").begin(state) end
  linger.watch(state)
  if log.debugging() then log.debug("%s is open", tostring(conn)) end
  if conn.tls and not conn.tls.verified and native.first_unverified() then
    log.warning('the certificate of %s:%s was not verified because ssl_verify is "none" (logged once, for all '
      .. 'connections); set ssl_verify = "peer" or ssl_fingerprint', conn.ip, conn.port)
  end
  if state.weaknesses then
    log.warning("the strength of TLS with %s:%s is not verified because of %s", conn.ip, conn.port, state.weaknesses)
  end
end

--- failed(conn, state): completes the table of a connection that nobody has waited for, and that could not be opened.
function publish.failed(conn, state)
  local failure = state.failure
  if state.plan then settle_place(conn, state.plan.target) end -- none: a forked child does not even try
  state.plan, state.news = nil, failure.text
  conn.response, conn.tls = failure.response, failure.tls
  conn.close_code, conn.close_reason, conn.was_clean = 1006, "", false
end

return publish
