--[[
Pings a peer that has been silent for ping_interval, and ends the connection if it stays silent. What is to be done
when, src/session/keepalive.rs decides. Part of wsreceive, and loaded only for connections that want it.
--]]

local native, import = ...
local clock, close, connection, trace = import("clock"), import("close"), import("connection"), import("trace")

local keepalive = {}

-- How much of the last round trip goes into the smoothed one (RFC 6298 section 2).
local SHARE = 1 / 8

--- times(opening): returns after how many seconds of silence a peer is asked, and how many it has to answer then.
function keepalive.times(opening) return opening.ping_interval, opening.ping_timeout or opening.ping_interval end

--- begin(state): begins with a connection that is open now.
function keepalive.begin(state)
  native.set_keepalive(state.session, keepalive.times(state.opening))
  state.keepalive = keepalive
end

--- turn(conn, state): does what is due. Must be called when all that the peer has sent was delivered.
function keepalive.turn(conn, state)
  local is_asked = native.keep_alive(state.session, clock.now())
  if is_asked then
    if state.tracing then trace(conn, state) end
    connection.write(state)
  elseif is_asked == false then
    close.finish(state, "ping timeout", "ping timeout", true)
  end
end

--- is_answer(conn, state, pong): returns whether a pong answers one of our own pings, and notes how long it took.
function keepalive.is_answer(conn, state, pong)
  local is_ours, latency = native.keepalive_answer(state.session, pong)
  if latency then
    local smoothed = conn.latency_smoothed
    conn.latency = latency
    conn.latency_smoothed = type(smoothed) == "number" and smoothed + (latency - smoothed) * SHARE or latency
  end
  return is_ours
end

return keepalive
