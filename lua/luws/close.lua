--[[
The end of a connection, in whatever way it comes: by wsclose, by the peer's close frame, with the stream, or because
the peer broke a rule. What bytes that takes is the pump's; no handler is called here.
--]]

local _, import = ...
local log, loop, options, protect, pump, sink, trace = import("log"), import("loop"), import("options"),
  import("protect"), import("pump"), import("sink"), import("trace")

local close = {}

--- begin_end(conn, state): to come before anything is closed.
local function begin_end(conn, state)
  conn.connected, conn.closing = false, true
  if state.unwatch then state.unwatch() end
end

--- leave(conn, state, reason): the connection is over; `reason` is what wsreceive says from then on. What the
-- closing handshake has come to is for the user to read, and the socket is left to `linger`. Whether it was not yet,
-- so that the user is to be told.
local function leave(conn, state, reason)
  if not state.session then return false end -- somebody else has, while a socket's method yielded
  if state.tracing then trace(conn, state) end
  local sent, received, code, text = state.session:close_state()
  conn.close_code, conn.close_reason, conn.was_clean = code, text, sent and received
  state.lingering = { session = state.session, wire = state.wire, ended = state.ended }
  state.over, state.session, state.wire = reason, nil, nil
  loop.release(state.socket)
  if state.sink then sink.break_off(conn, state, reason) end
  return true
end

--- linger(state, seconds): frees the socket of a connection that is over; the peer has so long to end first.
function close.linger(state, seconds)
  local lingering = state.lingering
  state.lingering = nil
  if lingering then pump.linger(lingering, seconds) end
end

--- finish(conn, state, reason, seconds): ends the connection; the user is not told here, but whether it was not over
-- yet is what it returns. Waits for at most so long for the peer's part in it.
function close.finish(conn, state, reason, seconds)
  begin_end(conn, state)
  pump.close(state, seconds)
  local was_open = leave(conn, state, reason)
  close.linger(state, 0)
  return was_open
end

--- A close code as a number that the engine can judge; 1000 for none.
local function close_code(code)
  local number = tonumber(code) or 1000
  return number >= 0 and number <= 65535 and math.floor(number) or 0
end

--- close(conn, state, code, reason): ends the connection from our side, with this close frame if none was sent.
function close.close(conn, state, code, reason)
  local ok, why = state.session:close(close_code(code), type(reason) == "string" and reason or "")
  if not ok and why ~= "closing" then
    log.warning("%s is closed with code 1000: %s", protect.text(conn), why)
    state.session:close(1000, "")
  end
  close.finish(conn, state, "not connected", options.number(options.of(conn), "close_timeout"))
  log.debug("%s is closed", protect.text(conn))
end

--- fail(conn, state, reason): ends the connection with a peer that has broken a rule. It may still be sending
-- and needs time to read that it did; wsclose is where there is time, so the socket stays until then. Returns what
-- finish does.
function close.fail(conn, state, reason)
  begin_end(conn, state)
  pump.goodbye(state)
  return leave(conn, state, reason)
end

--- by_user(conn, state, code, reason): what wsclose does, whatever has become of the connection.
function close.by_user(conn, state, code, reason)
  if state.session then
    close.close(conn, state, code, reason)
  elseif state.lingering then
    close.linger(state, options.number(options.of(conn), "close_timeout"))
  end
  state.over = "not connected"
end

return close
