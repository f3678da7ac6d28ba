--[[
Events to handlers, and the default replies: what wsreceive and wshandleincoming do.

Handlers may do anything, to this connection too: after each of them its phase is looked at. A handler's error goes to
the log and no further.
--]]

local native, import = ...
local clock, close, connection, guard, log = import("clock"), import("close"), import("connection"), import("guard"),
  import("log")
local options, quick, sink, trace = import("options"), import("quick"), import("sink"), import("trace")

local receive = {}

options.register {
  { "handler_args", nil, options.of_type("table") }, -- array: further arguments for the handlers
  { "control_handler", nil, options.callable }, -- called before the default reply to a control frame
  { "receive_timeout", 0, options.at_least(0) }, -- s without a complete frame; 0: never
  { "receive_chunk_size", nil, options.at_least(1) }, -- bytes that one wsreceive reads at most; nil: as seems right
}

local next_event, done = quick.next_event, native.done
local is_pending, is_busy = native.is_pending, native.is_busy

local EVENT = native.event_numbers()
local TEXT, BINARY, ENOUGH = EVENT.text, EVENT.binary, EVENT.enough

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
    -- What has been gathered goes first, and does not count as a backlog for which pings are passed over.
    if state.opening.coalesce > 0 then
      done(state.session)
      connection.write(state)
    end
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
  if event == TEXT or event == BINARY then
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

--- events(conn, state, has_begun): delivers what has come, one event after the other, as long as the turn lasts, which
-- may have begun; state.more says whether there is more. Stops when the connection is over. Returns how many bytes wait
-- to be sent, if that is known.
local function events(conn, state, has_begun)
  -- Until an event is delivered, the collector may run, and a finaliser that receives.
  local guards = guard.catches()
  local usual = not (state.tracing or guard.is_nested()) and state.given or nil
  local now = clock.time()
  local event, data, waiting = next_event(conn, usual, now, not has_begun, guards)
  state.more = false
  while event ~= nil do
    if event == false then
      finished(conn, false, data)
    elseif event == ENOUGH then
      state.more = true
      break
    else
      handle(conn, state, event, data, now)
    end
    event, data, waiting = next_event(conn, usual, now, false, guards)
  end
  -- Complete frames that have come are a sign of life. Of a connection that is closed meanwhile nothing is told.
  if state.phase ~= "closed" and data then conn.lastPing = now end
  return waiting
end

--- adopt(conn, state, has_begun): options that have been changed since, in so far as they say what comes out of the
-- session; not while it delivers. Returns them all.
local function adopt(conn, state, has_begun)
  local given = conn.options
  if given == nil or given ~= state.given then
    given = options.of(conn)
    state.given = given
  end
  if has_begun then return given end
  local size, sinks = given.max_payload_size, given.sink ~= nil
  if size ~= state.size then
    state.size = size
    native.limit(state.session, options.number(given, "max_payload_size"))
  end
  if sinks ~= (state.announces or false) then
    state.announces = sinks
    native.announce(state.session, sinks)
  end
  return given
end

--- deliver(conn, state, has_begun): delivers what the session holds, and writes what is queued then, as far as there is
-- room.
local function deliver(conn, state, has_begun)
  if not has_begun and (state.tracing or log.settings.debug_mode) then trace(conn, state) end
  local waiting = events(conn, state, has_begun)
  if state.phase == "closed" then return end
  if state.tracing then trace(conn, state) end
  if waiting ~= 0 and native.outgoing(state.session) > 0 then connection.write(state) end
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

--- is_overdue(state, given): whether the peer has been silent for too long.
local function is_overdue(state, given)
  local limit = options.number(given, "receive_timeout")
  return limit ~= 0 and clock.now() >= native.heard(state.number) + limit
end

--- Whether both close frames are through; where control_handler has forbidden our answer, the user gives it.
local function is_closed(state)
  local sent, _, received = native.close_state(state.session)
  return sent ~= nil and received ~= nil
end

--- receive_some(conn, state, is_read, more, has_begun): what wsreceive does when there may be something to be done.
-- `is_read`: it has read already; `more`: there may be more of that at once; `has_begun`: it delivers already.
local function receive_some(conn, state, is_read, more, has_begun)
  local given = adopt(conn, state, has_begun)
  if state.phase == "closed" then return nil, state.over end -- what the options inherit from has closed it
  local count
  if is_read then
    count, state.unread = state.unread, 0
  else
    count, more = connection.take(state, options.number(given, "receive_chunk_size"))
    if state.phase == "closed" then return nil, state.over end -- a method of a user's socket has closed it
  end
  if count and count > 0 then state.injected = false end
  if count or state.more or state.ended or is_pending(state.session) then
    deliver(conn, state, has_begun)
  elseif native.outgoing(state.session) > 0 then
    connection.write(state)
  end
  if state.phase ~= "open" or state.ended or state.broken then
    if state.phase ~= "closed" and not state.more then
      if state.ended or (state.broken and not count) then
        finish(state)
      elseif state.phase == "closing" and is_closed(state) then
        close.finish(state, "closed", "receiver error: closed")
      end
    end
    if state.news then receive.tell_news(conn, state) end
  end
  if state.phase ~= "closed" then
    if conn.options ~= given then given = options.of(conn) end
    if given.receive_timeout ~= nil and is_overdue(state, given) then
      native.set_heard(state.number, clock.now()) -- it is told once in each such time
      tell(conn, state, false, "message timeout")
      if state.phase ~= "closed" then return nil, "message timeout" end
    end
  end
  if state.phase == "closed" then return nil, state.over end
  connection.settle(state)
  return more or state.more, count or 0
end

--- receive(conn, state, count, more, turn): what wsreceive does with what quick.poll has left. `turn`: of one that has
-- begun true, or the error of the handler's that it has ended with.
function receive.receive(conn, state, count, more, turn)
  if turn and turn ~= true then finished(conn, false, turn) end
  if state.phase == "closed" then
    receive.tell_news(conn, state)
    return nil, state.over
  end
  if count == false then -- that was all it has seen
    if is_busy(state.session) or not is_overdue(state, options.of(conn)) then return false, 0 end
    count = 0
  end
  if count then
    state.unread = state.unread + count
  elseif more then
    state.ended = more
  end
  -- What has been read at once was read by nobody who is too deep, unless that is counted for each coroutine.
  if (not count or guard.is_nested()) and (guard.is_deep() or is_busy(state.session)) then return false, 0 end
  return guard.entry(receive_some, state, close.interrupted, conn, state, count ~= nil, count and more, turn)
end

local function inject(conn, state)
  adopt(conn, state)
  if state.phase == "closed" then return end
  deliver(conn, state)
  receive.tell_news(conn, state)
end

--- inject(conn, state, data): what wshandleincoming does with a connection that is not closed; whether the bytes were
-- taken.
function receive.inject(conn, state, data)
  if is_busy(state.session) then return false end -- in a finaliser
  native.receive_plain(state.session, data)
  if not state.injected then
    state.injected = true
    connection.settle(state)
  end
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
