--[[
Events to handlers, and the default replies. Does no I/O of its own: the pump does.

Handlers may do anything, to this connection too: after each of them the state is looked at afresh.
A handler's error goes to the log and no further.
--]]

local native, import = ...
local log, options, pump = import("log"), import("options"), import("pump")

local dispatch = {}

local TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9

local unpack = unpack or table.unpack -- luacheck: ignore (Lua 5.2 and later)

--- The length of an array with holes; `n` says more than the keys can where the last values are nil.
local function length(array)
  if type(array.n) == "number" then return array.n end
  local last = 0
  for k in pairs(array) do
    if type(k) == "number" and k > last then last = k end
  end
  return last
end

-- The arguments of `run`, for xpcall takes none in Lua 5.1. They are read before any code of the user's
-- is run, so that a handler may cause another call.
local callee, connection, opcode_argument, data_argument

local function run()
  local handler, conn, opcode, data = callee, connection, opcode_argument, data_argument
  callee, connection, data_argument = nil, nil, nil
  local args = options.of(conn).handler_args
  if type(args) ~= "table" then return handler(conn, opcode, data) end
  return handler(conn, opcode, data, unpack(args, 1, length(args)))
end

local function describe(err)
  local ok, text = pcall(tostring, err)
  return debug.traceback(ok and tostring(text) or type(err), 2)
end

--- call(handler, conn, opcode, data): what the handler returns; nil if it raised an error.
local function call(handler, conn, opcode, data)
  callee, connection, opcode_argument, data_argument = handler, conn, opcode, data
  local ok, result = xpcall(run, describe)
  if ok then return result end
  log.error("the handler of %s raised an error: %s", tostring(conn), result)
end

local function tell(conn, opcode, data)
  local handler = conn.msghandler
  if handler ~= nil then
    call(handler, conn, opcode, data)
  elseif log.debugging() then
    log.debug("%s has no handler for %s", tostring(conn), log.bytes(data))
  end
end

--- finish(conn, state, reason, wait): ends the connection from within; the user is not told here. `reason`
-- is what wsreceive says from then on. Waits for at most `wait` seconds for the peer. Without a `wait`, the
-- socket stays: a peer that has broken a rule and is still sending needs time to read that it did, and
-- wsclose is where there is time.
function dispatch.finish(conn, state, reason, wait)
  state.over = reason
  conn.connected, conn.closing = false, true
  if wait then
    pump.close(state, wait)
  else
    pump.goodbye(state)
    state.lingering = { session = state.session, wire = state.wire, ended = state.ended }
  end
  local sent, received, code, text = state.session:close_state()
  conn.close_code, conn.close_reason, conn.was_clean = code, text, sent and received
  state.session, state.wire = nil, nil
end

local function end_with(conn, state, reason, text, wait)
  dispatch.finish(conn, state, reason, wait)
  tell(conn, false, text)
end

--- control(conn, state, opcode, data): the user's handler, and the default reply unless it forbids that.
local function control(conn, state, opcode, data)
  local session = state.session
  local handler = options.of(conn).control_handler
  if handler ~= nil and call(handler, conn, opcode, data) == false then return end
  if state.session ~= session then return end
  if opcode == PING then
    session:pong(data)
  elseif opcode == CLOSE then
    session:reply_close()
    end_with(conn, state, "closed", "receiver error: closed", 0)
  end
end

--- events(conn, state): delivers everything that has come. Stops when the connection is over.
local function events(conn, state)
  local session, now = state.session, native.time()
  while state.session == session do
    local opcode, data = session:next_event()
    if opcode == nil then
      local frames = session:frames()
      if frames ~= state.frames then
        state.frames, state.heard, conn.lastPing = frames, native.monotonic(), now
      end
      return
    elseif opcode == TEXT or opcode == BINARY then
      conn.lastMessage, conn.lastPing = now, now
      if state.log then state.log(conn, "received", opcode, data) end
      tell(conn, opcode, data)
    elseif opcode then
      conn.lastPing = now
      if state.log then state.log(conn, "received", opcode, data) end
      control(conn, state, opcode, data)
    else
      end_with(conn, state, data, data)
    end
  end
end

local function log_frame(conn, verb, opcode, data)
  log.debug("%s %s opcode %d, %d bytes %s", tostring(conn), verb, opcode, #data, log.bytes(data))
end

--- logger(): log_frame, when debugging.
function dispatch.logger() return log.debugging() and log_frame or nil end

--- timed_out(conn, state): whether the peer has been silent for too long. Told once in each such time.
local function timed_out(conn, state)
  local limit = options.number(options.of(conn), "receive_timeout")
  if limit == 0 or native.monotonic() - state.heard <= limit then return false end
  state.heard = native.monotonic()
  tell(conn, false, "message timeout")
  return true
end

--- incoming(conn, state): delivers what the session holds, and sends what that calls for.
function dispatch.incoming(conn, state)
  state.log = dispatch.logger()
  events(conn, state)
  local session = state.session
  if session and session:outgoing() > 0 then state.wire.write(session) end
end

--- Whether both close frames are through; where control_handler has forbidden our answer, the user gives it.
local function is_closed(state)
  local sent, received = state.session:close_state()
  return sent and received
end

--- receive(conn, state): what wsreceive does with a connection that is not over.
function dispatch.receive(conn, state)
  local settings = options.of(conn)
  local size = settings.max_payload_size
  if size ~= state.size then
    state.size = size
    state.session:limit(options.number(settings, "max_payload_size"))
  end
  local count, more = pump.receive(state, options.chunk_size(settings))
  dispatch.incoming(conn, state)
  if state.session and (state.ended or conn.closing and is_closed(state)) then
    local why = state.ended or "closed"
    end_with(conn, state, why, "receiver error: " .. why, 0)
  end
  if state.over then return nil, state.over end
  if count == 0 and timed_out(conn, state) then return nil, "message timeout" end
  return more, count
end

return dispatch
