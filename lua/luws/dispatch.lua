--[[
Events to handlers, and the default replies. What is read and when is the pump's.

Handlers may do anything, to this connection too: after each of them the state is looked at afresh.
A handler's error goes to the log and no further.
--]]

local native, import = ...
local close, log, options, protect, pump, sink, trace = import("close"), import("log"), import("options"),
  import("protect"), import("pump"), import("sink"), import("trace")

local dispatch = {}

local TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9

local unpack = unpack or table.unpack -- luacheck: ignore (Lua 5.2 and later)

-- More arguments than this do not fit on every Lua's stack.
local MOST_ARGUMENTS = 4000

--- The length of an array with holes; `n` says more than the keys can where the last values are nil.
local function length(array)
  if type(array.n) == "number" then return math.min(array.n, MOST_ARGUMENTS) end
  local last = 0
  for k in pairs(array) do
    if type(k) == "number" and k > last then last = k end
  end
  return math.min(last, MOST_ARGUMENTS)
end

-- The arguments of `run`, for xpcall takes none in Lua 5.1. A handler may cause another call, and so may a finaliser,
-- at any time: each call leaves them as they were.
local callee, connection, opcode_argument, data_argument

local function run()
  local handler, conn, opcode, data = callee, connection, opcode_argument, data_argument
  callee, connection, data_argument = nil, nil, nil
  local args = options.of(conn).handler_args
  if type(args) ~= "table" then return handler(conn, opcode, data) end
  return handler(conn, opcode, data, unpack(args, 1, length(args)))
end

--- call(handler, conn, opcode, data, may_yield): what the handler returns; nil if it raised an error.
local function call(handler, conn, opcode, data, may_yield)
  local callee_before, connection_before, opcode_before, data_before =
    callee, connection, opcode_argument, data_argument
  callee, connection, opcode_argument, data_argument = handler, conn, opcode, data
  local ok, result
  if may_yield then
    ok, result = protect.call(run, protect.trace)
  else
    ok, result = xpcall(run, protect.trace)
  end
  callee, connection, opcode_argument, data_argument =
    callee_before, connection_before, opcode_before, data_before
  if ok then return result end
  log.error("the handler of %s raised an error: %s", protect.text(conn) or "a connection", result)
end

local function tell(conn, opcode, data)
  local handler = conn.msghandler
  if handler ~= nil then
    call(handler, conn, opcode, data)
  elseif log.debugging() then
    log.debug("%s has no handler for %s", protect.text(conn), log.bytes(data))
  end
end

--- reset(conn, state): forgets a message or frame that has come in part.
function dispatch.reset(conn, state)
  local session = state.session
  if state.sink then sink.break_off(conn, state, "reset") end
  if state.session ~= session then return end -- the sink has closed it
  if state.injected then
    session:reset()
  else
    session:forget() -- the rest of it is still to come
  end
end

--- control(conn, state, opcode, data): the user's handler, and the default reply unless it forbids that.
local function control(conn, state, opcode, data)
  local session = state.session
  local handler = options.read(options.of(conn), "control_handler")
  if handler ~= nil and call(handler, conn, opcode, data, true) == false then return end
  if state.session ~= session then return end
  if opcode == PING then
    session:pong(data)
  elseif opcode == CLOSE then
    session:reply_close()
    if close.finish(conn, state, "closed", 0) then tell(conn, false, "receiver error: closed") end
  end
end

--- events(conn, state): delivers everything that has come. Stops when the connection is over. What came while a handler
-- was sending is left to the next call: a peer that always has more could keep this one for ever.
local events = protect.delivery(function(conn, state)
  local session, now = state.session, native.time()
  while session and state.session == session do
    local opcode, data, of_tls
    if state.buffered == 0 or session:incoming() > state.buffered then
      opcode, data, of_tls = session:next_event()
    end
    if state.session ~= session then return end -- a finaliser has closed it
    if state.tracing then trace(conn, state) end
    if opcode == nil then
      local frames = session:frames()
      if frames ~= state.frames then
        state.frames, state.heard, conn.lastPing = frames, native.monotonic(), now
      end
      return
    elseif opcode == TEXT or opcode == BINARY then
      conn.lastMessage, conn.lastPing = now, now
      tell(conn, opcode, data)
    elseif opcode == "begin" then
      sink.begin(conn, state, data)
    elseif opcode == "piece" or opcode == "last" then
      if opcode == "last" then conn.lastMessage, conn.lastPing = now, now end
      if state.sink then sink.piece(conn, state, data, opcode == "last") end
    elseif opcode then
      conn.lastPing = now
      control(conn, state, opcode, data)
    else
      local why = conn.proxied and data .. " (through SockProxy, which can lose bytes)" or data
      if close.fail(conn, state, why) then tell(conn, false, of_tls and "receiver error: " .. why or why) end
    end
  end
end)

--- timed_out(conn, state): whether the peer has been silent for too long. Told once in each such time.
local function timed_out(conn, state)
  local limit = options.number(options.of(conn), "receive_timeout")
  if limit == 0 or native.monotonic() - state.heard <= limit then return false end
  state.heard = native.monotonic()
  tell(conn, false, "message timeout")
  return true
end

--- adopt(conn, state): options that have been changed since, in so far as they say what comes out of the session.
local function adopt(conn, state)
  local settings, session = options.of(conn), state.session
  local size = options.read(settings, "max_payload_size")
  if size ~= state.size then
    state.size = size
    session:limit(options.number(settings, "max_payload_size"))
  end
  local announce = options.read(settings, "sink") ~= nil
  if announce ~= state.announce then
    state.announce = announce
    session:announce(announce)
  end
end

--- deliver(conn, state): delivers what the session holds, and sends what that calls for.
local function deliver(conn, state)
  adopt(conn, state)
  if not state.session then return end -- what the options inherit from has closed it
  trace(conn, state)
  events(conn, state)
  local session = state.session
  if session and state.tracing then trace(conn, state) end
  if session and session:outgoing() > 0 then state.wire.write(session) end
end

--- inject(conn, state, data): what wshandleincoming does with a connection that is not over.
function dispatch.inject(conn, state, data)
  state.session:receive_plain(data)
  state.injected = true
  if protect.is_deep() then
    state.buffered = state.session:incoming() -- for the next wsreceive
  else
    state.buffered = 0
    deliver(conn, state)
  end
end

--- Whether both close frames are through; where control_handler has forbidden our answer, the user gives it.
local function is_closed(state)
  local sent, received = state.session:close_state()
  return sent and received
end

--- receive(conn, state): what wsreceive does with a connection that is not over.
function dispatch.receive(conn, state)
  if protect.is_deep() then return false, 0 end
  local count, more = pump.receive(state, options.chunk_size(options.of(conn)))
  if count > 0 then state.injected = false end
  if state.session then deliver(conn, state) end -- a method of a user's socket may have closed it
  local ended = state.ended and state.buffered == 0
  -- Where sockets and handlers yield, others may have read what came before the end and not delivered it yet.
  if ended and state.session then events(conn, state) end
  if state.session and (ended or state.closing and is_closed(state)) then
    local why = state.ended or "closed"
    if close.finish(conn, state, why, 0) then tell(conn, false, "receiver error: " .. why) end
  end
  if not state.over and timed_out(conn, state) then return nil, "message timeout" end
  if state.over then return nil, state.over end
  return more or state.buffered > 0, count
end

return dispatch
