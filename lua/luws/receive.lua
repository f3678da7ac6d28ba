--[[
Events to handlers, and the default replies: what wsreceive and wshandleincoming do.

Handlers may do anything, to this connection too: after each of them its phase is looked at. A handler's error goes to
the log and no further.
--]]

local native, import = ...
local clock, close, connection, guard, log = import("clock"), import("close"), import("connection"), import("guard"),
  import("log")
local options, sink, trace = import("options"), import("sink"), import("trace")

local receive = {}

options.register {
  { "handler_args", nil, options.of_type("table") }, -- array: further arguments for the handlers
  { "control_handler", nil, options.callable }, -- called before the default reply to a control frame
  { "receive_timeout", 0, options.at_least(0) }, -- s without a complete frame; 0: never
  { "receive_chunk_size", 16384, options.at_least(1) }, -- bytes that one wsreceive reads at most
}

local next_event, done, is_pending, outgoing = native.next_event, native.done, native.is_pending, native.outgoing
local is_busy, coarse = native.is_busy, clock.coarse

local EVENT = native.event_numbers()

-- The most events that one wsreceive delivers, and how long it may take (in seconds): a peer that always has more
-- could keep it for ever.
local MOST_EVENTS, LONGEST = 1000, 0.005

-- One read takes no more, whatever is asked for: space is made before it is known what will come.
local LARGEST_CHUNK = 1024 * 1024

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

local function finished(conn, ok, result)
  if ok then return result end
  log.handler_failed(("the handler of %s raised an error"):format(guard.name(conn)), result)
end

--- call(how, conn, state, handler, opcode, data): what the handler returns; nil if it raised an error. `how` is one of
-- guard's. Reading the options may have closed the connection, and of a closed one only the end is told.
local function call(how, conn, state, handler, opcode, data)
  local args = options.of(conn).handler_args
  local count = type(args) == "table" and length(args)
  if opcode and state.phase == "closed" then return done(state.session) end
  if not count then return finished(conn, how(state, handler, conn, opcode, data)) end
  return finished(conn, how(state, handler, conn, opcode, data, guard.unpack(args, 1, count)))
end

local function tell(conn, state, opcode, data)
  local handler = conn.msghandler
  if handler ~= nil then
    call(guard.call, conn, state, handler, opcode, data)
    return
  end
  done(state.session)
  if log.debugging() then log.debug("%s has no handler for %s", guard.name(conn), log.bytes(data)) end
end

--- tell_news(conn, state): tells the handler of the end, if it has not been told.
function receive.tell_news(conn, state)
  local news = state.news
  if not news then return end
  state.news = nil
  tell(conn, state, false, news)
end

--- control(conn, state, opcode, data): the user's handler, and the default reply unless it forbids that.
local function control(conn, state, opcode, data)
  local handler = options.of(conn).control_handler
  if handler ~= nil then
    handler = guard.for_yielding(state, handler)
    if call(guard.call_yielding, conn, state, handler, opcode, data) == false then return end
  end
  if state.phase == "closed" then return end
  if opcode == EVENT.ping then
    native.pong(state.session, data)
  elseif opcode == EVENT.close then
    native.reply_close(state.session)
    close.finish(state, "closed", "receiver error: closed")
  else
    done(state.session)
  end
end

--- failure(conn, state, why): the session is over.
local function failure(conn, state, why)
  local hop = native.failure(state.session)
  done(state.session)
  if conn.proxied then why = why .. " (through SockProxy, which can lose bytes)" end
  close.failed(state, why, hop == "tls" and "receiver error: " .. why or why)
end

--- handle(conn, state, event, data, now): does what one event calls for. `now` is the time of day.
local function handle(conn, state, event, data, now)
  if state.tracing then
    native.shelter(state.session, trace, conn, state)
    if state.phase == "closed" then return done(state.session) end -- the log has closed it
  end
  if event == EVENT.text or event == EVENT.binary then
    conn.lastMessage, conn.lastPing = now, now
    tell(conn, state, event, data)
  elseif event == EVENT.begin then
    sink.begin(conn, state, data:byte())
  elseif event == EVENT.piece or event == EVENT.last then
    if event == EVENT.last then conn.lastMessage, conn.lastPing = now, now end
    sink.piece(conn, state, data, event == EVENT.last)
  elseif event == EVENT.working then
    done(state.session)
  elseif event == EVENT.failure then
    failure(conn, state, data)
  elseif event == EVENT.interrupted then
    close.interrupted(state)
  else
    conn.lastPing = now
    control(conn, state, event, data)
  end
end

--- note_frames(conn, state, now): complete frames that have come are a sign of life.
local function note_frames(conn, state, now)
  local frames = native.frames(state.session)
  if frames == state.frames then return end
  state.frames, state.heard, conn.lastPing = frames, clock.now(), now or clock.time()
end

--- events(conn, state): delivers what has come, one event after the other, as long as its time lasts; state.more says
-- whether there is more. Stops when the connection is over.
local function events(conn, state)
  local session = state.session
  local due, now
  state.more = false
  for _ = 1, MOST_EVENTS do
    local event, data = next_event(session)
    if state.phase == "closed" then -- a finaliser has closed it
      done(session)
      return
    end
    if not event then
      state.more, state.pending = false, false
      note_frames(conn, state, now)
      return
    end
    if not due then due, now = coarse() + LONGEST, clock.time() end
    handle(conn, state, event, data, now)
    if state.phase == "closed" then return end
    if coarse() >= due then break end
  end
  note_frames(conn, state, now)
  state.more = is_pending(session)
end

--- adopt(conn, state): options that have been changed since, in so far as they say what comes out of the session.
local function adopt(conn, state)
  local settings = options.of(conn)
  local size, sinks = settings.max_payload_size, settings.sink ~= nil
  if size ~= state.size then
    state.size = size
    native.limit(state.session, options.number(settings, "max_payload_size"))
  end
  if sinks ~= (state.announces or false) then
    state.announces = sinks
    native.announce(state.session, sinks)
  end
end

--- deliver(conn, state): delivers what the session holds.
local function deliver(conn, state)
  if state.tracing or log.debugging() then trace(conn, state) end
  events(conn, state)
  if state.phase ~= "closed" and state.tracing then trace(conn, state) end
end

--- flush(state): writes what is queued, as far as there is room.
local function flush(state)
  if state.phase ~= "closed" and outgoing(state.session) > 0 then connection.write(state) end
end

--- finish(state): ends a connection of whose bytes nothing more will come, or to which nothing can be sent any more.
local function finish(state)
  local why = state.ended or state.broken
  if why == "interrupted" then
    close.interrupted(state)
  elseif why then
    close.finish(state, why, "receiver error: " .. why)
  end
end

--- chunk_size(settings): receive_chunk_size as a whole number of bytes that can be read.
local function chunk_size(settings)
  return math.floor(math.max(1, math.min(options.number(settings, "receive_chunk_size"), LARGEST_CHUNK)))
end

--- timed_out(conn, state): whether the peer has been silent for too long. Told once in each such time.
local function timed_out(conn, state)
  local limit = options.number(options.of(conn), "receive_timeout")
  if limit == 0 then return false end
  local now = clock.now()
  if now < state.heard + limit then return false end
  state.heard = now
  tell(conn, state, false, "message timeout")
  return true
end

--- Whether both close frames are through; where control_handler has forbidden our answer, the user gives it.
local function is_closed(state)
  local sent, _, received = native.close_state(state.session)
  return sent ~= nil and received ~= nil
end

local function receive_some(conn, state)
  local size = chunk_size(options.of(conn))
  adopt(conn, state)
  if state.phase == "closed" then return nil, state.over end -- what the options inherit from has closed it
  local count, more = connection.take(state, size)
  if state.phase == "closed" then return nil, state.over end -- a method of a user's socket has closed it
  if count and count > 0 then state.injected = false end
  if count or state.more or state.ended or is_pending(state.session) then deliver(conn, state) end
  flush(state)
  if state.phase ~= "closed" and not state.more then
    if state.ended or state.broken and not count then
      finish(state)
    elseif state.phase == "closing" and is_closed(state) then
      close.finish(state, "closed", "receiver error: closed")
    end
  end
  receive.tell_news(conn, state)
  if state.phase ~= "closed" and timed_out(conn, state) then return nil, "message timeout" end
  if state.phase == "closed" then return nil, state.over end
  return more or state.more, count or 0
end

--- receive(conn, state): what wsreceive does.
function receive.receive(conn, state)
  if state.phase == "closed" then
    receive.tell_news(conn, state)
    return nil, state.over
  end
  if guard.is_deep() or is_busy(state.session) then return false, 0 end
  return guard.entry(receive_some, state, close.interrupted, conn, state)
end

local function inject(conn, state)
  adopt(conn, state)
  if state.phase == "closed" then return end
  deliver(conn, state)
  flush(state)
  receive.tell_news(conn, state)
end

--- inject(conn, state, data): what wshandleincoming does with a connection that is not closed; whether the bytes were
-- taken.
function receive.inject(conn, state, data)
  if is_busy(state.session) then return false end -- in a finaliser
  state.pending = true
  native.receive_plain(state.session, data)
  state.injected = true
  if guard.is_deep() then
    state.more = true -- for the next wsreceive
  else
    guard.entry(inject, state, close.interrupted, conn, state)
  end
  return true
end

--- reset(conn, state): forgets a message or frame that has come in part.
function receive.reset(conn, state)
  if is_busy(state.session) then return end
  if state.sink then sink.break_off(conn, state, "reset") end
  if state.phase == "closed" then return end -- the sink has closed it
  if state.injected then
    native.reset(state.session)
  else
    native.forget(state.session) -- the rest of it is still to come
  end
end

return receive
