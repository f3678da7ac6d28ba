--[[
Events to handlers, the default replies, and the end of a connection. What is read and when is the pump's.

Handlers may do anything, to this connection too: after each of them the state is looked at afresh.
A handler's error goes to the log and no further.
--]]

local native, import = ...
local log, loop, options, protect, pump =
  import("log"), import("loop"), import("options"), import("protect"), import("pump")

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

-- Streams: a message that goes to an LTN12 sink as it comes.

--- begin(conn, state, opcode): a message begins: asks the user for a sink.
local function begin(conn, state, opcode)
  local session, choose = state.session, options.read(options.of(conn), "sink")
  if choose == nil then return end
  local ok, sink = protect.call(function() return choose(conn, opcode) end, protect.trace)
  if not ok then log.error("the option sink of %s raised an error: %s", protect.text(conn), sink) end
  if not ok or state.session ~= session or sink == nil or sink == false then return end
  if options.callable(sink) then
    log.error("the sink of %s is no function but a %s", protect.text(conn), type(sink))
    return
  end
  state.sink = sink
  session:stream()
end

--- feed(conn, state, data, err): gives the sink a piece (nil: the end; with `err`, a bad one). A sink that fails gets
-- no more, and the rest of its message goes nowhere.
local function feed(conn, state, data, err)
  local sink, session = state.sink, state.session
  if data == nil then state.sink = nil end
  local ok, taken, why = protect.call(function() return sink(data, err) end, protect.trace)
  if ok and (taken or data == nil) then return end
  state.sink = nil
  if data ~= nil and state.session and state.session == session then session:forget() end
  log.error("the sink of %s failed: %s", protect.text(conn), ok and (protect.text(why) or "?") or taken)
end

--- trace(conn, state): when debugging, a line in the log for each frame since the last call. Never the payload.
function dispatch.trace(conn, state)
  local wanted = log.debugging()
  if wanted ~= state.tracing then
    state.tracing = wanted
    state.session:set_trace(wanted)
  end
  if not wanted then return end
  for _, line in ipairs(state.session:trace()) do log.debug("%s %s", protect.text(conn), line) end
end

--- leave(conn, state, reason): the connection is over; `reason` is what wsreceive says from then on. What the
-- closing handshake has come to is for the user to read, and the socket is left to `linger`.
local function leave(conn, state, reason)
  if not state.session then return end -- somebody else has, while a socket's method yielded
  if state.tracing then dispatch.trace(conn, state) end
  local sent, received, code, text = state.session:close_state()
  conn.close_code, conn.close_reason, conn.was_clean = code, text, sent and received
  state.lingering = { session = state.session, wire = state.wire, ended = state.ended }
  state.over, state.session, state.wire = reason, nil, nil
  loop.release(state.socket)
  if state.sink then feed(conn, state, nil, reason) end
end

--- begin_end(conn, state): to come before anything is closed.
local function begin_end(conn, state)
  conn.connected, conn.closing = false, true
  if state.unwatch then state.unwatch() end
end

--- reset(conn, state): forgets a message or frame that has come in part.
function dispatch.reset(conn, state)
  local session = state.session
  if state.sink then feed(conn, state, nil, "reset") end
  if state.session ~= session then return end -- the sink has closed it
  if state.injected then
    session:reset()
  else
    session:forget() -- the rest of it is still to come
  end
end

--- linger(state, seconds): frees the socket of a connection that is over; the peer has so long to end first.
function dispatch.linger(state, seconds)
  local lingering = state.lingering
  state.lingering = nil
  if lingering then pump.linger(lingering, seconds) end
end

--- finish(conn, state, reason, seconds): ends the connection; the user is not told here. Waits for at most so
-- long for the peer's part in it.
function dispatch.finish(conn, state, reason, seconds)
  begin_end(conn, state)
  pump.close(state, seconds)
  leave(conn, state, reason)
  dispatch.linger(state, 0)
end

--- A close code as a number that the engine can judge; 1000 for none.
local function close_code(code)
  local number = tonumber(code) or 1000
  return number >= 0 and number <= 65535 and math.floor(number) or 0
end

--- close(conn, state, code, reason): ends the connection from our side, with this close frame if none was sent.
function dispatch.close(conn, state, code, reason)
  local ok, why = state.session:close(close_code(code), type(reason) == "string" and reason or "")
  if not ok and why ~= "closing" then
    log.warning("%s is closed with code 1000: %s", protect.text(conn), why)
    state.session:close(1000, "")
  end
  dispatch.finish(conn, state, "not connected", options.number(options.of(conn), "close_timeout"))
  log.debug("%s is closed", protect.text(conn))
end

--- fail(conn, state, reason): ends the connection with a peer that has broken a rule. It may still be sending
-- and needs time to read that it did; wsclose is where there is time, so the socket stays until then.
local function fail(conn, state, reason)
  begin_end(conn, state)
  pump.goodbye(state)
  leave(conn, state, reason)
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
    dispatch.finish(conn, state, "closed", 0)
    tell(conn, false, "receiver error: closed")
  end
end

-- A handler may call wsreceive, whose handler may, and so on, over several connections. There is an end to that (of the
-- C stack, in PUC Lua): further down nothing is received. Each coroutine has a stack of its own, and may be given up
-- in a handler for good.
local DEEPEST = 50
local depth = setmetatable({}, { __mode = "k" }) -- by coroutine: of events within events

--- events(conn, state): delivers everything that has come. Stops when the connection is over.
local function events(conn, state)
  local session, now = state.session, native.time()
  while session and state.session == session do
    local opcode, data, of_tls = session:next_event()
    if state.session ~= session then return end -- a finaliser has closed it
    if state.tracing then dispatch.trace(conn, state) end
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
      begin(conn, state, data)
    elseif opcode == "piece" or opcode == "last" then
      if state.sink and data ~= "" then feed(conn, state, data) end
      if opcode == "last" then
        conn.lastMessage, conn.lastPing = now, now
        if state.sink then feed(conn, state, nil) end
      end
    elseif opcode then
      conn.lastPing = now
      control(conn, state, opcode, data)
    else
      local why = conn.proxied and data .. " (through SockProxy, which can lose bytes)" or data
      fail(conn, state, why)
      tell(conn, false, of_tls and "receiver error: " .. why or why)
    end
  end
end

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
  if not state.session then return end
  dispatch.trace(conn, state)
  local root = protect.root()
  if protect.broken_off() then depth[root] = nil end
  depth[root] = (depth[root] or 0) + 1
  events(conn, state)
  depth[root] = depth[root] - 1
  local session = state.session
  if session and state.tracing then dispatch.trace(conn, state) end
  if session and session:outgoing() > 0 then state.wire.write(session) end
end

--- Whether both close frames are through; where control_handler has forbidden our answer, the user gives it.
local function is_closed(state)
  local sent, received = state.session:close_state()
  return sent and received
end

--- receive(conn, state): what wsreceive does with a connection that is not over.
function dispatch.receive(conn, state)
  if (depth[protect.root()] or 0) >= DEEPEST then return false, 0 end
  local settings = options.of(conn)
  local size = options.read(settings, "max_payload_size")
  if size ~= state.size then
    state.size = size
    state.session:limit(options.number(settings, "max_payload_size"))
  end
  local announce = options.read(settings, "sink") ~= nil
  if announce ~= state.announce then
    state.announce = announce
    state.session:announce(announce)
  end
  local count, more = pump.receive(state, options.chunk_size(settings))
  if count > 0 then state.injected = false end
  dispatch.incoming(conn, state)
  if state.session and (state.ended or state.closing and is_closed(state)) then
    local why = state.ended or "closed"
    dispatch.finish(conn, state, why, 0)
    tell(conn, false, "receiver error: " .. why)
  end
  if state.over then return nil, state.over end
  if timed_out(conn, state) then return nil, "message timeout" end
  return more, count
end

return dispatch
