--[[
What wssend does: messages and fragments into the session, and out of it as far as the socket takes them.
--]]

local native, import = ...
local clock, close, connection, guard, options = import("clock"), import("close"), import("connection"),
  import("guard"), import("options")
local trace, wait = import("trace"), import("wait")

local send = {}

-- How many bytes are gathered where the user leaves that to us.
local GATHERED = 16384

--- The option coalesce in bytes, 0 for false.
local function gathered(value)
  if type(value) == "boolean" then return value and GATHERED or 0 end
  if type(value) ~= "number" then return nil, "boolean or number expected, got " .. type(value) end
  return options.at_least(0)(value)
end

options.register {
  { "send_timeout", 5, options.at_least(0) }, -- s that wssend waits for room
  -- bytes: messages are gathered until there are so many, or the next wsreceive, wswait, wsflush or wsclose
  { "coalesce", 0, gathered },
}

local outgoing = native.outgoing

local CLOSE = native.event_numbers().close

-- Upper bound on queued bytes while another coroutine is blocked in a send.
local QUEUE = 16 * 1024 * 1024

--- timer(conn): a function that returns the deadline of a send that begins now; the clock is asked when it is needed.
local function timer(conn)
  local deadline
  return function()
    deadline = deadline or clock.now() + options.number(options.of(conn), "send_timeout")
    return deadline
  end
end

--- Why what is queued cannot be sent any more, or nil.
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

--- await_room(state, deadline): waits until what is queued has left, and reads meanwhile. Returns true, or nil and why
-- something is left.
local function await_room(state, deadline)
  local session = state.session
  local function done() return problem(state) or outgoing(session) == 0 end
  if not wait.till(state, done, deadline()) then return nil, "timeout" end
  local why = problem(state)
  if why then return nil, why end
  return true
end

--- flush(state, deadline): writes what is queued; waits while there is no room.
local function flush(state, deadline)
  local ok, why = connection.write(state)
  if ok or why ~= "timeout" then return ok, why end
  return await_room(state, deadline)
end

--- gathers(state, opcode): whether what is queued may wait for more, after a frame with this opcode.
local function gathers(state, opcode)
  local most = state.opening.coalesce
  return most > 0 and opcode < CLOSE and outgoing(state.session) < most
end

--- flushed(state, deadline): flush, and what it means where the wire was broken off.
local function flushed(state, deadline)
  local ok, why = flush(state, deadline)
  if why == "interrupted" then close.interrupted(state) end
  return ok, why
end

--- frame(conn, state, opcode, data, fin): one frame, or one message. Returns true, or false and why not; and whether
-- it was queued, so that it will be sent though perhaps later.
function send.frame(conn, state, opcode, data, fin)
  if state.phase == "closed" then return false, "not connected", false end
  if native.is_busy(state.session) then return false, "send error: busy", false end -- in a finaliser
  local session, deadline = state.session, timer(conn)
  -- What is left of an earlier frame goes first; if it cannot, no more is piled upon it. A close frame is, for it is
  -- the last.
  if opcode ~= CLOSE and outgoing(session) > 0 and not gathers(state, opcode) then
    local ok, why = flushed(state, deadline)
    if ok and outgoing(session) > QUEUE then ok, why = nil, "timeout" end
    if not ok then
      return false, "send error: " .. why .. (why == "timeout" and "; nothing of this was sent" or ""), false
    end
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
  if not ok then return false, "send error: " .. why, true end
  return true, nil, true
end

--- flush(conn, state): writes what is queued. Returns true, or false and why something is left.
function send.flush(conn, state)
  local ok, why = flushed(state, timer(conn))
  if ok then return true end
  return false, "send error: " .. why
end

--- rest(conn, state, why): what is left to do for a message of which not all could be written at once: there was no
-- room ("timeout"), or why not. Returns true, or false and why something is left.
function send.rest(conn, state, why)
  local ok = false
  if why == "timeout" then ok, why = await_room(state, timer(conn)) else connection.broken(state, why) end
  if ok then return true end
  return false, "send error: " .. why
end

--- The next chunk of a source as text; nil at the end, or nil and why there is none; then whether the source raised
-- that, as an error of the caller's.
local function pulled(ok, chunk, why)
  if not ok then return nil, chunk, true end
  -- As in LTN12's own pump, false is the end as well.
  if not chunk then return nil, why ~= nil and (guard.text(why) or type(why)) or nil end
  if type(chunk) ~= "string" then
    return nil, ("bad argument #3 to 'wssend' (the source returned a %s)"):format(type(chunk))
  end
  return chunk
end

--- What send.source does, whose turn this is.
local function send_chunks(conn, state, opcode, source, turn)
  local begun = false

  --- give_up(why): what wssend returns, of a message that cannot be ended.
  local function give_up(why)
    if state.message == turn then connection.set_message(state, nil) end
    if begun and state.phase ~= "closed" then close.close(state, 1011, "") end
    return false, why
  end

  local function pull()
    local chunk, why, raised = pulled(guard.method(turn, source))
    if raised then
      give_up()
      error(why, 0) -- the source's error is the caller's
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
    -- Before it is begun: whatever breaks this off from now on, the message is not complete.
    if not fin then connection.set_message(state, state.message or turn) end
    local ok, reason, queued = send.frame(conn, state, begun and 0 or opcode, data, fin)
    begun = begun or queued
    if state.message == turn and (fin and queued or not begun) then connection.set_message(state, nil) end
    -- A last fragment that is queued needs nothing more, as a message that is a string.
    if not ok and fin and queued then return false, reason end
    if not ok then return give_up(reason) end
    if why then return give_up(why) end
  until fin
  return true
end

local function after_chunks(state, turn, ok, ...)
  if ok then return ... end
  if state.message == turn then -- it was neither ended nor given up
    connection.set_message(state, nil)
    close.interrupted(state)
  end
  error((...), 0)
end

--- source(conn, state, opcode, source): a message from an LTN12 source, each chunk a fragment. A message that was begun
-- and cannot be ended ends the connection, for nothing else could ever be sent.
function send.source(conn, state, opcode, source)
  local turn = guard.turn()
  guard.take(turn)
  return after_chunks(state, turn, guard.try(send_chunks, conn, state, opcode, source, turn))
end

--- check(state, is_message): ends a connection whose message from a source was broken off (see guard), for it can never
-- be ended; `is_message`: another is to be sent, which is taken for a sign of that where nothing else tells.
function send.check(state, is_message)
  if not state.message or not guard.is_broken_off(state.message, is_message) then return end
  connection.set_message(state, nil)
  close.interrupted(state)
end

return send
