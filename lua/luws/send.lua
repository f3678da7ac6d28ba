--[[
wssend's work: messages and fragments into the session, and out of it as far as the socket takes them.
--]]

local native, import = ...
local close, options, protect, pump, trace =
  import("close"), import("options"), import("protect"), import("pump"), import("trace")

local send = {}

local CLOSE = 8

-- Where one coroutine is sending and others go on queueing, there is an end to that: so many bytes.
local QUEUE = 16 * 1024 * 1024

--- frame(conn, state, opcode, data, fin): one frame, or one message. Returns true, or false and why not; and whether
-- it was queued, so that it will be sent though perhaps later.
function send.frame(conn, state, opcode, data, fin)
  local session = state.session
  if not session then return false, "not connected", false end
  local deadline = native.monotonic() + options.number(options.of(conn), "send_timeout")
  -- What is left of an earlier frame goes first; if it cannot, no more is piled upon it. A close frame
  -- is, for it is the last.
  if opcode ~= CLOSE and session:outgoing() > 0 then
    local ok, why = pump.flush(state, deadline - native.monotonic())
    if ok and session:outgoing() > QUEUE then ok, why = nil, "timeout" end
    if not ok then
      return false, "send error: " .. why .. (why == "timeout" and "; nothing of this was sent" or ""), false
    end
  end
  trace(conn, state)
  local queued, why = session:send(opcode, data, fin)
  if not queued then
    return false, (why == "closing" or why == "not connected") and why or "send error: " .. why, false
  end
  if opcode == CLOSE then conn.closing, state.closing = true, true end
  if state.tracing then trace(conn, state) end
  local ok
  ok, why = pump.flush(state, deadline - native.monotonic())
  if not ok then return false, "send error: " .. why, true end
  return true, nil, true
end

--- source(conn, state, opcode, source): a message from an LTN12 source, each chunk a fragment. A message that was begun
-- and cannot be ended ends the connection, for nothing else could ever be sent.
function send.source(conn, state, opcode, source)
  local begun = false
  local function give_up(problem)
    if begun and state.session then close.close(conn, state, 1011, "") end
    return false, problem
  end
  --- The next chunk as text; nil at the end, or nil and why there is none.
  local function pull()
    local ok, chunk, why = protect.call(source)
    if not ok then
      give_up()
      error(chunk, 0) -- the source's error is the caller's
    end
    -- As in LTN12's own pump, false is the end as well.
    if not chunk then return nil, why ~= nil and (protect.text(why) or type(why)) or nil end
    if type(chunk) ~= "string" then
      return nil, ("bad argument #3 to 'wssend' (the source returned a %s)"):format(type(chunk))
    end
    return chunk
  end

  local chunk, problem = pull()
  if problem then return false, problem end
  repeat
    local data = chunk or ""
    if chunk then chunk, problem = pull() end
    if problem and not begun then return false, problem end
    local fin = not chunk and not problem
    local ok, why, queued = send.frame(conn, state, begun and 0 or opcode, data, fin)
    begun = begun or queued
    -- A last fragment that is queued needs nothing more, as a message that is a string.
    if not ok and fin and queued then return false, why end
    if not ok then return give_up(why) end
    if problem then return give_up(problem) end
  until fin
  return true
end

return send
