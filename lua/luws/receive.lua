--[[
Passes events to handlers and sends the default replies: the work of wsreceive and wshandleincoming.

Handlers may do anything, even to this connection, so its phase is checked after each of them. A handler's error goes to
the log and no further.
--]]

local native, import = ...
local clock, close, connection, guard, log = import("clock"), import("close"), import("connection"), import("guard"),
  import("log")
local options, quick, send, sink, trace = import("options"), import("quick"), import("send"), import("sink"),
  import("trace")

local receive = {}

options.register {
  { "handler_args", nil, options.of_type("table") }, -- array: further arguments for the handlers
  { "control_handler", nil, options.callable }, -- called before the default reply to a control frame
  { "receive_timeout", 0, options.at_least(0) }, -- s without a byte from the peer; 0: never
  { "ping_interval", 0, options.at_least(0) }, -- s without a byte from the peer until it is sent a ping; 0: never
  { "ping_timeout", nil, options.at_least(0) }, -- s without one after that until it is given up; nil: ping_interval
  { "receive_chunk_size", nil, options.at_least(1) }, -- bytes that one wsreceive reads at most; nil: chosen by us
}

local next_event, done = quick.next_event, native.done
local is_pending, is_busy = native.is_pending, native.is_busy

local EVENT = native.event_numbers()
local TEXT, BINARY, ENOUGH = EVENT.text, EVENT.binary, EVENT.enough

-- Not every Lua has room on its stack for more arguments than this.
local MOST_ARGUMENTS = 4000

-- One call in Lua 5.1 and LuaJIT.
local maxn = table.maxn or function(array) -- luacheck: ignore
  local last = 0
  for k in pairs(array) do
    if type(k) == "number" and k > last then last = k end
  end
  return last
end

--- Returns the length of an array with holes. A field `n` gives it where trailing values are nil.
local function length(array)
  return math.min(type(array.n) == "number" and array.n or maxn(array), MOST_ARGUMENTS)
end

--- finished(conn, ok, result [, text]): returns what a handler has returned; nil if it has raised an error, which goes
-- to the log. A server's connection ends with that.
local function finished(conn, ok, result, text)
  if ok then return result end
  log.handler_failed((text or "the handler of %s raised an error"):format(guard.name(conn)), result)
  local state = quick.state_of(conn)
  if state and state.owner and state.phase ~= "closed" then close.close(state, 1011, "", "handler error") end
end

--- call(how, conn, state, handler, opcode, data): calls a handler by `how`, a function of guard. Returns what the
-- handler returns; nil if it raised an error. Reading the options may have closed the connection; a closed one tells
-- nothing but its end.
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

--- tell_news(conn, state): tells the handler about the end of the connection, once; then has it opened again, if that
-- is wanted.
function receive.tell_news(conn, state)
  local news = state.news
  if news and state.owner then
    state.news = nil -- a server tells its on_close
  elseif news then
    -- If this is broken off, the session still knows whether the handler was reached; so it is, once.
    if not state.is_telling or native.was_interrupted(state.session) then
      if state.session then native.hand_over(state.session) end
      state.is_telling = true
      local ok, err = guard.try(tell, conn, state, false, news)
      if not ok then
        -- Where handlers can yield, nobody knows whether it was reached.
        if guard.is_nested() then state.keeper, state.outbox, state.over = nil, nil, "interrupted" end
        error(err, 0)
      end
    end
    state.news = nil
  end
  state.is_telling = nil
  if state.keeper and state.phase == "closed" then state.keeper:lost(conn, state, news or state.over) end
end

--- greeting(conn, state): does the work of greet, and may be broken off. Before the handler was reached, that ends the
-- connection, as for a message; after that, it is done again, except for the handler.
local function greeting(conn, state)
  local handler = state.opening.open_handler
  if handler and not state.was_greeted then
    native.hand_over(state.session)
    state.was_greeted, state.is_greeting = true, true
    local ok, err = guard.call(state, handler, conn)
    state.is_greeting = false
    finished(conn, ok, err, "the open_handler of %s raised an error")
  end
  local outbox = state.outbox
  if outbox and state.phase == "open" then outbox:flush(conn, state) end
  -- If something is left, there was no memory for it.
  state.greets = outbox ~= nil and state.phase == "open" and not outbox:is_empty()
  connection.settle(state)
end

--- greet(conn, state): calls the user's open_handler, once, because the connection is open. Then sends the messages
-- that have waited for that.
local function greet(conn, state)
  if state.is_greeting then
    -- The handler calls wsreceive; unless the call was broken off where nothing is caught.
    if guard.can_yield or native.is_delivering(state.session) then return end
    state.is_greeting = false
  end
  local ok, err = guard.try(greeting, conn, state)
  if ok then return end
  -- Where handlers can yield, nobody knows whether it was reached.
  if state.is_greeting and guard.is_nested() then close.interrupted(state) end
  state.is_greeting = false
  error(err, 0)
end

--- control(conn, state, opcode, data): calls the user's control_handler, and sends the default reply unless that
-- handler returned false.
local function control(conn, state, opcode, data)
  local handler = options.of(conn).control_handler
  if opcode == EVENT.pong and state.keepalive and state.keepalive.is_answer(conn, state, data) then handler = nil end
  if handler ~= nil then
    handler = guard.for_yielding(state, handler)
    if call(guard.call_yielding, conn, state, handler, opcode, data) == false then return end
  end
  if state.phase == "closed" then return end
  if opcode == EVENT.ping then
    -- What was gathered goes first. It must not count as a backlog, because pings are ignored behind one.
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

--- failure(state, why): ends a connection whose session has failed.
local function failure(state, why)
  local hop = native.failure(state.session)
  done(state.session)
  if state.is_lossy then why = why .. " (through SockProxy, which can lose bytes)" end
  if hop == "proxy" then why = import("proxy").PREFIX .. why end -- TLS to it
  close.failed(state, why, (hop == "tls" or hop == "proxy") and "receiver error: " .. why or why)
end

--- handle(conn, state, event, data, now): handles one event. `now` is the time of day.
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
    local why = sink.piece(conn, state, data, event == EVENT.last)
    if why then close.close(state, 1011, "", why) end
  elseif event == EVENT.working then
    done(state.session)
  elseif event == EVENT.failure then
    failure(state, data)
  elseif event == EVENT.interrupted then
    close.interrupted(state)
  else
    conn.lastPing = now
    control(conn, state, event, data)
  end
end

--- events(conn, state, has_begun): delivers events one after the other for the length of a turn, which may have begun
-- already. Sets state.more if there are more. Stops when the connection is over. Returns how many bytes are waiting to
-- be sent, if that is known.
local function events(conn, state, has_begun)
  -- Until an event is delivered the collector may run, and with it a finaliser that receives.
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
  -- Complete frames are a sign of life. A connection that was closed meanwhile is not updated.
  if state.phase ~= "closed" and data then conn.lastPing = now end
  return waiting
end

--- adopt(conn, state, has_begun): passes changed options to the session if they affect what comes out of it, but not
-- during a delivery. Returns the options table.
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

--- deliver(conn, state, has_begun): delivers what the session holds, then writes as much of the queue as there is room
-- for.
local function deliver(conn, state, has_begun)
  if not has_begun and (state.tracing or log.settings.debug_mode) then trace(conn, state) end
  local waiting = events(conn, state, has_begun)
  if state.phase == "closed" then return end
  if state.tracing then trace(conn, state) end
  if waiting ~= 0 and native.outgoing(state.session) > 0 then connection.write(state) end
end

--- tell_drained(conn, state): calls the drain_handler, because the queue is empty again.
local function tell_drained(conn, state)
  local handler = options.of(conn).drain_handler
  local callee = handler ~= nil and guard.for_yielding(state, handler)
  connection.await_drain(state, false)
  if callee and state.phase == "open" then finished(conn, guard.call_yielding(state, callee, conn)) end
end

--- finish(state): ends a connection that will receive nothing more, or can send nothing more.
local function finish(state)
  local why = state.ended or state.broken
  if why == "interrupted" then
    close.interrupted(state)
  elseif why then
    close.finish(state, why, "receiver error: " .. why)
  end
end

--- is_overdue(state, given): returns whether the peer has been silent for longer than receive_timeout.
local function is_overdue(state, given)
  local limit = options.number(given, "receive_timeout")
  return limit ~= 0 and clock.now() >= connection.silent_since(state) + limit
end

--- may_be_gone(state): returns whether the keepalive has something to do.
local function may_be_gone(state)
  return state.keepalive ~= nil and clock.now() >= native.keepalive_due(state.number)
end

--- Returns whether both close frames have been exchanged. If control_handler has suppressed our reply, the user sends
-- it.
local function is_closed(state)
  local sent, _, received = native.close_state(state.session)
  return sent ~= nil and received ~= nil
end

--- receive_some(conn, state, is_read, more, has_begun): does the work of wsreceive when there may be something to do.
-- `is_read`: it has read already; `more`: there may be more to read right now; `has_begun`: delivery has begun.
local function receive_some(conn, state, is_read, more, has_begun)
  local given = adopt(conn, state, has_begun)
  if state.phase == "closed" then return nil, state.over end -- reading an inherited option has closed it
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
  if connection.is_drained(state) then tell_drained(conn, state) end
  if state.phase ~= "open" or state.ended or state.broken then
    if state.phase ~= "closed" and not state.more then
      if state.ended or (state.broken and not count) then
        finish(state)
      elseif state.phase == "closing" and is_closed(state) then
        close.finish(state, "closed", "receiver error: closed")
      end
    end
    receive.tell_news(conn, state)
  end
  if state.phase ~= "closed" then
    if conn.options ~= given then given = options.of(conn) end
    -- A peer is silent only if all that it has sent has been read and delivered.
    local is_silent = not (count and count > 0) and not state.more
    if is_silent and may_be_gone(state) then
      state.keepalive.turn(conn, state)
      receive.tell_news(conn, state)
    end
    if is_silent and state.phase ~= "closed" and given.receive_timeout ~= nil and is_overdue(state, given) then
      state.told_silent = clock.now() -- so that it is told once per receive_timeout
      if state.keeper then -- whatever the handler is told then, the connection is lost
        close.finish(state, "message timeout", "message timeout", true)
        receive.tell_news(conn, state)
      else
        tell(conn, state, false, "message timeout")
        if state.phase ~= "closed" then return nil, "message timeout" end
      end
    end
  end
  if state.phase == "closed" then return nil, state.over end
  connection.settle(state)
  return more or state.more, count or 0
end

--- held(conn, state, now): does the work of wsreceive for a connection that is not to be read now. Returns when there
-- is more to do at the latest, or nil. A peer that has taken nothing for as long as it may be silent is gone.
function receive.held(conn, state, now)
  if native.outgoing(state.session) > 0 then connection.write(state) end
  if connection.is_drained(state) then tell_drained(conn, state) end
  if state.broken then finish(state) end
  local due = nil
  if state.stuck and state.keepalive then
    local interval, patience = state.keepalive.times(state.opening)
    due = state.stuck + interval + patience
    if now >= due then close.finish(state, "ping timeout", "ping timeout", true) end
  end
  receive.tell_news(conn, state)
  return due
end

--- receive(conn, state, count, more, turn): does what quick.poll has left of a wsreceive. `turn` is true if a turn has
-- begun, or the handler's error if the turn ended with one.
function receive.receive(conn, state, count, more, turn)
  if state.greets then
    greet(conn, state)
    if state.turn then return true, 0 end -- others take what comes
  end
  if state.message then send.check(state, false) end
  if turn and turn ~= true then finished(conn, false, turn) end
  if state.phase == "closed" then
    receive.tell_news(conn, state)
    return nil, state.over
  end
  if count == false then -- poll has found nothing else to do
    if is_busy(state.session) or not (may_be_gone(state) or is_overdue(state, options.of(conn))) then
      return false, 0
    end
    count = 0
  end
  if count then
    state.unread = state.unread + count
  elseif more then
    state.ended = more
  end
  -- If poll has read already, the nesting was not too deep, unless it is counted for each coroutine.
  if (not count or guard.is_nested()) and (guard.is_deep() or is_busy(state.session)) then return false, 0 end
  return guard.entry(receive_some, state, close.interrupted, conn, state, count ~= nil, count and more, turn)
end

local function inject(conn, state)
  adopt(conn, state)
  if state.phase == "closed" then return end
  deliver(conn, state)
  receive.tell_news(conn, state)
end

--- inject(conn, state, data): does the work of wshandleincoming on a connection that is not closed. Returns whether the
-- bytes were taken.
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

--- reset(conn, state): discards a message or frame that has arrived only in part.
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
