--[[
The module luws.websocket: the WebSocket object of browsers (the WHATWG's WebSockets standard), on top of the functions
that every program has: wsopen without waiting, wssend, wsclose, and the reactor. Whatever the network does is an event,
which is told by the reactor's turns and nowhere else; only a program's mistakes raise errors.

The object that the program has holds a state, which the connection's handlers hold as well. The state holds the object
only as long as there are listeners that may still be called (`hold`).
--]]

local native, import = ...
local guard, log = import("guard"), import("log")
local luws, main_reactor = import("luws"), import("reactor").public
local data, events = import("websocket/data"), import("websocket/events")
local setup = import("websocket/setup")

local CONNECTING, OPEN, CLOSING, CLOSED = 0, 1, 2, 3
local CONSTANTS = { CONNECTING = CONNECTING, OPEN = OPEN, CLOSING = CLOSING, CLOSED = CLOSED }

-- Opcodes.
local TEXT, CLOSE, PING = 1, 8, 9

-- The most bytes in a control frame (RFC 6455 section 5.5), and in the reason of a close frame.
local MOST_CONTROL, MOST_REASON = 125, 123

-- What a handler of luws is told when a connection has ended, in order or not: conn.was_clean says which.
local ENDED = "receiver error: closed"

local LOST, UNACKNOWLEDGED = "message timeout", "the server has selected none of the subprotocols"

local WebSocket, constants = {}, {}

-- Tasks

--- report(state, err, event): passes on the error of a listener.
local function report(state, err, event)
  local f = WebSocket.onerror
  if guard.is_callable(f) then
    local ok, other = guard.free(f, err, event)
    if ok then return end
    err = other
  end
  log.handler_failed(("a listener of %s raised an error"):format(state.origin), err)
end

-- The listeners for which an object is kept, by its readyState.
local KEPT_FOR = {
  [CONNECTING] = { "open", "message", "error", "close", "ping", "pong" },
  [OPEN] = { "message", "error", "close", "ping", "pong" },
  [CLOSING] = { "error", "close" },
  [CLOSED] = {},
}

--- hold(state): keeps the object as long as there are listeners that may still be called.
local function hold(state)
  local self = state.self[1]
  state.held = nil
  for _, kind in ipairs(KEPT_FOR[state.readyState]) do
    if self and events.has(self, kind) then state.held = self end
  end
end

--- set_state(state, value): changes readyState. Returns the object, or nil if it has been collected.
local function set_state(state, value)
  local self = state.self[1]
  state.readyState = value
  hold(state)
  return self
end

--- fire(self, event): calls the listeners for an event, if there are any.
local function fire(self, event)
  if not self or not events.has(self, event.type) then return end
  event.isTrusted = true
  events.dispatch(self, event)
end

--- over(state): the connection is closed: nothing more will ever come.
local function over(state)
  if state.readyState == CLOSED then return end
  local conn, failure, code, reason = state.conn, state.failure, nil, nil
  local is_ended = not failure and (state.told or ENDED) == ENDED
  if conn and (is_ended or state.is_full) then code, reason = conn.close_code, conn.close_reason end
  local is_clean = is_ended and conn.was_clean or false
  if state.timer then state.timer:cancel() end
  local self = set_state(state, CLOSED)
  if not is_clean then fire(self, { type = "error", message = failure or state.told or "closed" }) end
  fire(self, { type = "close", wasClean = is_clean, code = code or 1006, reason = reason or "" })
end

--- fail(state, why [, code]): ends a connection that has failed on our side; without a code, at once. The events follow
-- in a turn of their own.
local function fail(state, why, code)
  state.failure = state.failure or why
  set_state(state, CLOSING)
  local conn = state.conn
  if not conn then return end
  if not code then conn.options.close_timeout = 0 end
  luws.wsclose(conn, code or 1002)
end

--- watch(state, self): notices when nobody has the object any more. Its newest finaliser counts: one that is younger
-- than the connection's comes before those when the Lua state is closed.
local watch

local function opened(state, conn)
  if state.readyState ~= CONNECTING then return end
  if state.wants_subprotocol and conn.subprotocol == nil then return fail(state, UNACKNOWLEDGED) end
  state.protocol = conn.subprotocol or ""
  state.extensions = conn.response_headers["sec-websocket-extensions"] or ""
  local self = set_state(state, OPEN)
  if not self then return end
  watch(state, self)
  fire(self, { type = "open" })
end

local function message(state, opcode, bytes)
  local self = state.self[1]
  if state.readyState ~= OPEN or not self or not events.has(self, "message") then return end
  local event = { type = "message", data = bytes, origin = state.origin, lastEventId = "", binary = opcode ~= TEXT }
  if event.binary then data.shape(event, state.binaryType) end
  fire(self, event)
end

--- Returns the handlers of the connection.
local function handlers(state)
  local function handler(_, opcode, bytes)
    if opcode then
      message(state, opcode, bytes)
    elseif bytes == LOST and state.conn.connected then
      fail(state, LOST)
    else
      state.told = state.told or bytes
    end
  end
  local function control(_, opcode, bytes)
    if state.readyState ~= OPEN then return end
    if opcode == CLOSE then
      set_state(state, CLOSING)
    else
      fire(state.self[1], { type = opcode == PING and "ping" or "pong", data = bytes })
    end
  end
  return handler, control, function(conn) opened(state, conn) end, function() over(state) end
end

-- Closing

--- await_answer(state): gives up if the server does not answer our close frame in time. The time begins again as long
-- as the server takes what was sent before.
local function await_answer(state)
  local left = state.conn.bufferedAmount
  state.timer = state.reactor.after(state.close_timeout, function()
    local now = state.conn.bufferedAmount
    if now > 0 and now < left then return await_answer(state) end
    fail(state, "the server has not answered the close frame")
  end)
end

--- start_closing(state, code, reason): begins the closing handshake.
local function start_closing(state, code, reason)
  set_state(state, CLOSING)
  local ok, why = luws.wssend(state.conn, CLOSE, data.close_payload(code, reason))
  if ok or why == "closing" or why == "not connected" then return await_answer(state) end
  luws.wsclose(state.conn, code, reason) -- it is broken, or this is a finaliser
end

-- The newest of all finalisers is called before all others when the Lua state is closed.
local newest, is_ending = nil, false

local function watch_end()
  local mark = {}
  newest = { mark = mark }
  newest.guard = guard.finaliser(function() is_ending = is_ending or newest.mark == mark end)
end

--- forgotten(state): ends the connection of an object that nobody has any more. This runs in a finaliser.
local function forgotten(state)
  local ready, conn = state.readyState, state.conn
  if ready >= CLOSING or not conn then return end
  state.readyState = CLOSING
  if ready == OPEN and not is_ending then
    luws.wssend(conn, CLOSE, "")
    conn.options.close_timeout = state.close_timeout
  end
  luws.wsclose(conn, 1001)
end

local GUARD = {}

function watch(state, self)
  local mark = {}
  state.mark = mark
  rawset(self, GUARD, guard.finaliser(function()
    if state.mark == mark then forgotten(state) end
  end))
  watch_end()
end

-- The account of what was sent

--- account(state): begins a new account in each turn of the reactor. Returns the state.
local function account(state)
  local turn = state.reactor.steps()
  if state.turn ~= turn then
    state.turn, state.added = turn, 0
    state.waiting = state.conn and state.conn.bufferedPayload or 0
  end
  return state
end

-- The object

local STATE = {}

--- Returns the state of the object that a method is called on.
local function state_of(self, name)
  local state = type(self) == "table" and rawget(self, STATE)
  if state then return state end
  error(("calling '%s' on bad self (WebSocket expected, got %s)"):format(name, type(self)), 3)
end

local methods = setmetatable({}, { __index = events.methods })

--- send(data [, how]): sends a string as text, or with "binary" as bytes. A table of bytes, and with LuaJIT an array of
-- its ffi (with its length if it is a pointer), are bytes.
function methods:send(given, how)
  local state = state_of(self, "send")
  local bytes, opcode = data.read(2, given, how)
  if state.readyState == CONNECTING then
    error("InvalidStateError: the connection is not open yet", 2)
  end
  account(state)
  if state.readyState == OPEN then
    local before = state.conn.bufferedPayload
    local ok, why = luws.wssend(state.conn, opcode, bytes)
    if data.is_invalid(why) then data.refuse(2) end
    if ok or #bytes > 0 and state.conn.bufferedPayload >= before + #bytes then
      state.added = state.added + #bytes
      return
    end
    if data.is_full(why) then
      state.is_full = true
      fail(state, why, 1011)
    end
  elseif opcode == TEXT and native.check_text(TEXT, bytes) then
    data.refuse(2)
  end
  state.lost = state.lost + #bytes
end

--- close([code [, reason]]): closes the connection. What was sent before goes first.
function methods:close(code, reason)
  local state = state_of(self, "close")
  code, reason = data.read_close(2, code, reason, MOST_REASON)
  if state.readyState == CONNECTING then
    fail(state, "closed before the connection was established")
  elseif state.readyState == OPEN then
    start_closing(state, code, reason)
  end
end

--- ping([data]): sends a ping with at most 125 bytes. Browsers have no such method.
function methods:ping(payload)
  local state = state_of(self, "ping")
  if payload == nil then payload = "" end
  if type(payload) ~= "string" then events.wrong(2, "ping", 1, "string expected, got " .. type(payload)) end
  if #payload > MOST_CONTROL then events.wrong(2, "ping", 1, "at most 125 bytes expected") end
  if state.readyState == CONNECTING then error("InvalidStateError: the connection is not open yet", 2) end
  if state.readyState == OPEN then luws.wssend(state.conn, PING, payload) end
end

-- The methods of the connection that event loops call; and what they return if there never was one.
local LOOPS = {
  getfd = -1, pollfd = -1, dirty = false, events = "r", timeout = 0, settimeout = 1, receive = false,
}

for name, nothing in pairs(LOOPS) do
  methods[name] = function(self)
    local conn = state_of(self, name).conn
    if conn then return conn[name](conn) end
    return nothing
  end
end

local fields = {}

function fields.readyState(state) return state.readyState end
function fields.url(state) return state.url end
function fields.protocol(state) return state.protocol end
function fields.extensions(state) return state.extensions end
function fields.connection(state) return state.conn end

function fields.bufferedAmount(state)
  account(state)
  return state.waiting + state.added + state.lost
end

function fields.responseHeaders(state)
  local conn = state.conn
  local response = conn and conn.response
  return conn and (conn.response_headers or response and response.headers)
end

local ON = { onopen = "open", onmessage = "message", onerror = "error", onclose = "close", onping = "ping",
  onpong = "pong" }

local Object = {}

function Object:__index(key)
  local method = methods[key]
  if method ~= nil then return method end
  local field = fields[key]
  if field then return field(rawget(self, STATE)) end
  local state = rawget(self, STATE)
  if key == "binaryType" then return state.binaryType end
  if ON[key] then return events.handler(self, ON[key]) end
  return CONSTANTS[key]
end

function Object:__newindex(key, value)
  local state = rawget(self, STATE)
  if fields[key] or CONSTANTS[key] then
    error(("attempt to assign read-only field '%s'"):format(key), 2)
  elseif key == "binaryType" then
    state.binaryType = data.read_type(2, value)
  elseif ON[key] then
    events.set_handler(self, ON[key], value)
  else
    rawset(self, key, value)
  end
end

function Object:__tostring() return ("WebSocket (%s)"):format(rawget(self, STATE).origin) end

--- open(state, address, subprotocols, options): opens the connection of a new object. Wrong options are an error.
local function open(state, address, subprotocols, options)
  local handler, control, open_handler, close_handler = handlers(state)
  options.subprotocols = subprotocols[1] and subprotocols or nil
  options.control_handler, options.open_handler, options.close_handler = control, open_handler, close_handler
  -- A valid URL may have a host that cannot be a name.
  local ok, conn, why = pcall(luws.wsopen, address.target, handler, options)
  if ok and conn then
    state.conn = conn
    return
  end
  why = ok and why or guard.text(conn) or type(conn)
  if why:find("^bad ") then error(why, 3) end
  state.failure = why
  state.reactor.after(0, function() over(state) end)
end

--- new(url [, protocols [, options]]): returns an object that connects.
local function new(_, url, protocols, given)
  local options, own = setup.options(2, given)
  local address = setup.address(2, url, own.base)
  local subprotocols = setup.subprotocols(2, protocols)
  local self = {}
  local state = {
    readyState = CONNECTING,
    url = address.url,
    origin = address.origin,
    protocol = "",
    extensions = "",
    binaryType = "string",
    wants_subprotocol = subprotocols[1] ~= nil,
    close_timeout = own.close_timeout,
    reactor = type(options.reactor) == "table" and options.reactor or main_reactor,
    conn = nil,
    self = setmetatable({ self }, { __mode = "v" }), -- the object
    held = nil, -- the object, if there are listeners that may still be called
    mark = nil, -- of its newest finaliser
    told = nil, -- what the handler of the connection was told about its end
    failure = nil, -- why it has failed on our side
    is_full = false, -- it has failed because max_buffered was too small
    timer = nil, -- until when the server has time to answer our close frame
    turn = nil, -- the turn of this account of sent bytes:
    waiting = 0, -- what was waiting when it began
    added = 0, -- what was sent since
    lost = 0, -- what was given to send and will never leave
  }
  self[STATE] = state
  events.new(self, function(...) report(state, ...) end, function() hold(state) end)
  setmetatable(self, Object)
  open(state, address, subprotocols, options)
  watch(state, self)
  return self
end

-- The module

--- run([seconds]), step([seconds]), stop(): those of the reactor.
WebSocket.run, WebSocket.step, WebSocket.stop = main_reactor.run, main_reactor.step, main_reactor.stop

--- AbortController(): returns one, whose signal addEventListener takes.
function WebSocket.AbortController()
  return events.controller(function(err)
    log.handler_failed("a listener of an AbortController's signal raised an error", err)
  end)
end

--- callback_socket(socket): returns a socket for the option connect, from one that has callbacks.
function WebSocket.callback_socket(socket)
  local made = import("websocket/callback_socket")(2, socket)
  return made
end

constants.__index = CONSTANTS
constants.__call = new

function constants.__newindex(class, key, value)
  if CONSTANTS[key] then error(("attempt to assign read-only field '%s'"):format(key), 2) end
  rawset(class, key, value)
end

return { public = setmetatable(WebSocket, constants) }
