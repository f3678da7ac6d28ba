--[[
Ends connections: by wsclose, by the peer's close frame, when the stream ends, when the peer breaks a rule, or when the
driver was interrupted. Tells a sink that its message is incomplete, and leaves in `news` what the handler is to be
told. What remains to be done for the peer is up to `linger`.
--]]

local native, import = ...
local cqueues, guard, linger, log, options = import("hosts/cqueues"), import("guard"), import("linger"), import("log"),
  import("options")
local connection, open, sink, trace = import("connection"), import("open"), import("sink"), import("trace")

local close = {}

options.register {
  { "close_timeout", 0.5, options.at_least(0) }, -- s that a closed connection lingers for the peer's answer
  { "close_handler", nil, options.callable }, -- close_handler(conn): called by the reactor when nothing is left of it
}

--- Returns the option's present value; or, if the user's table cannot be read, the value that wsopen has read.
local function close_timeout(state)
  local ok, seconds = pcall(function() return options.number(options.of(state.conn), "close_timeout") end)
  return ok and seconds or state.opening.close_timeout
end

--- finish(state, over, news, is_failed): ends a connection. From now on, `over` is what wsreceive returns; `news` is
-- what the handler is to be told. Returns true, or false if the connection was already closed.
function close.finish(state, over, news, is_failed)
  if state.phase == "closed" then return false end
  local conn = state.conn
  if state.tracing then trace(conn, state) end
  local entry = linger.entry(state, close_timeout(state), is_failed)
  if state.phase == "closed" then return false end -- by a finaliser meanwhile
  connection.closed(state, over, news)
  cqueues.release(state.socket)
  log.tell_untold()
  linger.begin(state, entry)
  if state.sink then sink.break_off(conn, state, over) end
  return true
end

--- insist(state): has what an open connection has left at its end dealt with, if an error has broken that off.
function close.insist(state)
  if state.lingering then
    linger.insist(state)
  elseif state.box then
    linger.begin(state, linger.entry(state, close_timeout(state), true))
  end
end

--- failed(state, why, news): ends a connection whose peer has broken a rule, or whose TLS has failed.
function close.failed(state, why, news)
  return close.finish(state, why, news, true)
end

--- interrupted(state): ends a connection on which the driver was interrupted between taking something and noting it.
function close.interrupted(state)
  return close.finish(state, "interrupted", "receiver error: interrupted", true)
end

--- frame(code, reason): returns what the program gives for a close frame as a number that the engine can check (1000 if
-- none is given), and a string.
function close.frame(code, reason)
  local number = tonumber(code) or 1000
  number = number >= 0 and number <= 65535 and math.floor(number) or 0
  return number, type(reason) == "string" and reason or ""
end

--- close(state, code, reason [, over]): ends a connection from our side. Sends this close frame if none was sent
-- before. With `over`, the handler is told why, and wsreceive returns it.
function close.close(state, code, reason, over)
  local conn, session = state.conn, state.session
  code, reason = close.frame(code, reason)
  local ok, why = native.close(session, code, reason)
  if not ok and why:find("^invalid close frame") then
    log.warning("%s is closed with code 1000: %s", guard.name(conn), why)
    native.close(session, 1000, "")
  elseif why == "busy" then -- in a finaliser
    state.close_frame = { code = code, reason = reason }
  end
  close.finish(state, over or "not connected", over)
  log.debug("%s is closed", guard.name(conn))
end

--- by_user(state, code, reason): does what wsclose does, in any state of the connection. No handler is called after
-- this.
function close.by_user(state, code, reason)
  state.keeper, state.outbox, state.plan = nil, nil, nil
  if state.phase == "connecting" then
    open.cancel(state)
  elseif state.phase ~= "closed" then
    close.close(state, code, reason)
  else
    close.insist(state)
  end
  state.over, state.news = "not connected", nil
end

return close
