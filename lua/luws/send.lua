--[[
Sends messages and fragments: puts them into the session, and writes as much as the socket takes. This is the work of
wssend.
--]]

local native, import = ...
local clock, close, connection, guard, options = import("clock"), import("close"), import("connection"),
  import("guard"), import("options")
local log, trace, wait = import("log"), import("trace"), import("wait")

local send = {}

-- How many bytes are gathered if the user leaves that to us.
local GATHERED = 16384

--- Reads the option coalesce as a number of bytes; 0 for false.
local function gathered(value)
  if type(value) == "boolean" then return value and GATHERED or 0 end
  if type(value) ~= "number" then return nil, "boolean or number expected, got " .. type(value) end
  return options.at_least(0)(value)
end

options.register {
  { "send_timeout", 5, options.at_least(0) }, -- s that wssend waits for room; 0: it does not wait
  { "max_buffered", 0, options.at_least(0) }, -- bytes that messages may make wait to be sent; 0: any number
  { "drain_handler", nil, options.callable }, -- called when the queue is empty again
  { "send_handler", nil, options.callable }, -- send_handler(conn, opcode, data, err): called after each wssend (told)
  -- bytes to gather before sending; wsreceive, wswait, wsflush and wsclose send earlier
  { "coalesce", 0, gathered },
}

local has_room, outgoing = native.has_room, native.outgoing

local CLOSE = native.event_numbers().close

-- Upper bound on the bytes queued while another coroutine is blocked in a send, if the user has set no other.
local QUEUE = 16 * 1024 * 1024

local REFUSED = "; nothing of this was sent"

--- text(conn, state, number, data): returns the data of a message or a control frame as a string, or nil and why that
-- cannot be.
function send.text(conn, state, number, data)
  if type(data) == "string" then return data end
  local text, why = guard.text(data)
  if not text then return nil, ("bad argument #3 to 'wssend' (%s)"):format(why) end
  if number < CLOSE and not state.warned and not guard.has_text(data) then
    state.warned = true
    log.warning('wssend to %s got %s and sends "%s" (logged once per connection)', guard.name(conn), type(data), text)
  end
  -- A control frame without data is empty.
  return data == nil and number >= CLOSE and "" or text
end

--- patience(conn, state, is_asked): returns a function that gives the deadline of a send: in send_timeout seconds, and
-- when the peer has taken nothing for that long, which may be over already. If the user asks for a wait (`is_asked`),
-- only the former. Returns nil if the send is not to wait.
local function patience(conn, state, is_asked)
  local given = options.of(conn)
  local seconds = options.number(given, "send_timeout")
  -- Whoever does not wait for a connection does not wait for its room either, unless asked to.
  if seconds == 0 or state.opening.wait == false and given.send_timeout == nil then return nil end
  local deadline = clock.now() + seconds
  return function()
    local stuck = not is_asked and state.stuck
    return stuck and math.min(deadline, stuck + seconds) or deadline
  end
end

--- Returns why the queue cannot be sent any more, or nil.
local function problem(state)
  if state.phase == "closed" then return "closed" end
  if state.broken then return state.broken end
  local failed = native.failed(state.session)
  if failed then
    state.more = true -- for wsreceive to tell
    connection.settle(state)
  end
  return failed
end

--- await_room(state, deadline): waits until the queue has left, and reads meanwhile. Returns true, or nil and why
-- something is left.
local function await_room(state, deadline)
  local session = state.session
  local function done() return problem(state) or outgoing(session) == 0 end
  repeat
    local due = deadline()
    if wait.till(state, done, due) then
      local why = problem(state)
      return not why or nil, why
    end
  until deadline() <= due -- otherwise the peer has taken something meanwhile
  return nil, "timeout"
end

--- flush(state, deadline): writes the queue, and waits if there is no room.
local function flush(state, deadline)
  local ok, why = connection.write(state)
  if ok or why ~= "timeout" or not deadline then return ok, why end
  return await_room(state, deadline)
end

--- flushed(state, deadline): the same as `flush`, and ends the connection if the wire was interrupted.
local function flushed(state, deadline)
  local ok, why = flush(state, deadline)
  if why == "interrupted" then close.interrupted(state) end
  return ok, why
end

--- gathers(state, opcode): returns whether the queue may wait for more messages, after a frame with this opcode.
local function gathers(state, opcode)
  local most = state.opening.coalesce
  return most > 0 and opcode < CLOSE and outgoing(state.session) < most
end

--- make_room(state, size, deadline): sends what was queued before a message or a fragment of this size. Returns true if
-- that can be queued now, or nil and why not. Without a deadline, the rest of an earlier frame may still be there.
local function make_room(state, size, deadline)
  local session = state.session
  local ok, why = flushed(state, deadline)
  if not ok and why ~= "timeout" then return nil, why end
  if not has_room(session, size) then
    connection.await_drain(state, true)
    return nil, "buffer full"
  end
  -- A write by another coroutine that is blocked in it counts as a success.
  local is_bounded = not deadline or state.opening.max_buffered > 0 or outgoing(session) <= QUEUE
  if (ok or not deadline) and is_bounded then return true end
  connection.await_drain(state, true)
  return nil, "timeout" .. REFUSED
end

--- frame(conn, state, opcode, data, fin): sends one frame, or one message. Returns true, or false and why not; then
-- whether the frame was queued, so that it will be sent, perhaps later.
function send.frame(conn, state, opcode, data, fin)
  if state.phase == "closed" then return false, "not connected", false end
  if native.is_busy(state.session) then return false, "send error: busy", false end -- in a finaliser
  local session, deadline = state.session, patience(conn, state)
  -- The rest of an earlier frame goes first. If there is too much of it, no message is queued after it; control frames
  -- are short.
  if opcode < CLOSE and outgoing(session) > 0 and not (gathers(state, opcode) and has_room(session, #data)) then
    local has_made_room, why = make_room(state, #data, deadline)
    if not has_made_room then return false, "send error: " .. why, false end
  end
  trace(conn, state)
  local queued, why = native.send(session, opcode, data, fin)
  if not queued then
    return false, (why == "closing" or why == "not connected") and why or "send error: " .. why, false
  end
  if opcode == CLOSE then connection.closing(state) end
  if state.tracing then trace(conn, state) end
  if gathers(state, opcode) then return true, nil, true end
  local ok
  ok, why = flushed(state, deadline)
  if ok or why == "timeout" and not deadline then return true, nil, true end
  return false, "send error: " .. why, true
end

--- flush(conn, state): writes the queue. Returns true, or false and why something is left.
function send.flush(conn, state)
  local ok, why = flushed(state, patience(conn, state, true))
  if ok then return true end
  return false, "send error: " .. why
end

--- rest(conn, state, why): finishes sending a message that could not be written completely because there was no room
-- (`why` is "timeout") or because the stream is broken. Returns true, or false and why something is left.
function send.rest(conn, state, why)
  if why == "timeout" then
    connection.note_queue(state)
    local deadline = patience(conn, state)
    if not deadline then return true end
    local ok, reason = await_room(state, deadline)
    if ok then return true end
    why = reason
  else
    connection.broken(state, why)
  end
  return false, "send error: " .. why
end

--- Returns the next chunk of a source as text; nil at the end, or nil and an error; then whether the source raised that
-- error, which is then the caller's.
local function pulled(ok, chunk, why)
  if not ok then return nil, chunk, true end
  -- As in LTN12's own pump, false ends the message, too.
  if not chunk then return nil, why ~= nil and (guard.text(why) or type(why)) or nil end
  if type(chunk) ~= "string" then
    return nil, ("bad argument #3 to 'wssend' (the source returned a %s)"):format(type(chunk))
  end
  return chunk
end

--- Sends a message from a source for send.source, under its turn.
local function send_chunks(conn, state, opcode, source, turn)
  local begun = false

  --- give_up(why): returns the results of wssend for a message that cannot be completed.
  local function give_up(why)
    if state.message == turn then connection.set_message(state, nil) end
    if begun and state.phase ~= "closed" then close.close(state, 1011, "") end
    return false, why
  end

  local function pull()
    local chunk, why, raised = pulled(guard.method(turn, source))
    if raised then
      give_up()
      error(why, 0) -- the source's errors belong to the caller
    end
    return chunk, why
  end

  local chunk, why = pull()
  if why then return false, why end
  repeat
    local data = chunk or ""
    if chunk then chunk, why = pull() end
    if why and not begun then return false, why end
    local fin = not chunk and not why
    -- This comes before the first fragment: if anything interrupts the rest, the message is known to be incomplete.
    if not fin then connection.set_message(state, state.message or turn) end
    local ok, reason, queued = send.frame(conn, state, begun and 0 or opcode, data, fin)
    begun = begun or queued
    if state.message == turn and (fin and queued or not begun) then connection.set_message(state, nil) end
    -- A last fragment that is queued needs nothing more, just like a message that is a string.
    if not ok and fin and queued then return false, reason end
    if not ok then return give_up(reason) end
    if why then return give_up(why) end
  until fin
  return true
end

local function after_chunks(state, turn, ok, ...)
  if ok then return ... end
  if state.message == turn then -- it was neither completed nor given up
    connection.set_message(state, nil)
    close.interrupted(state)
  end
  error((...), 0)
end

--- source(conn, state, opcode, source): sends a message from an LTN12 source, each chunk as a fragment. A message that
-- was begun and cannot be completed ends the connection, because nothing else could ever be sent.
function send.source(conn, state, opcode, source)
  local turn = guard.turn()
  guard.take(turn)
  return after_chunks(state, turn, guard.try(send_chunks, conn, state, opcode, source, turn))
end

--- check(state, is_message): ends a connection if a message from a source was interrupted (see guard), because it can
-- never be completed. `is_message`: another message is to be sent, which counts as a sign of that if there is no other.
function send.check(state, is_message)
  if not state.message or not guard.is_broken_off(state.message, is_message) then return end
  connection.set_message(state, nil)
  close.interrupted(state)
end

return send
