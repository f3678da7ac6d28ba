--[[
The end of a connection, in whatever way it comes: by wsclose, by the peer's close frame, with the stream, because the
peer broke a rule, or because the driver was broken off. What is left to do for the peer is for `linger`; a sink hears
here that its message breaks off, and `news` says what the handler is to be told.
--]]

local native, import = ...
local cqueues, guard, linger, log, options = import("hosts/cqueues"), import("guard"), import("linger"), import("log"),
  import("options")
local connection, sink, trace = import("connection"), import("sink"), import("trace")

local close = {}

options.register {
  { "close_timeout", 0.5, options.at_least(0) }, -- s that a closed connection waits for the peer's part in it
}

--- The option of that name as it is now; or, if the user's table cannot be read, as it was.
local function close_timeout(state)
  local ok, seconds = pcall(function() return options.number(options.of(state.conn), "close_timeout") end)
  return ok and seconds or state.opening.close_timeout
end

--- finish(state, over, news, is_failed): ends a connection: `over` is what wsreceive says from now on, `news` what the
-- handler is to be told. Does nothing to one that is closed already; whether it was not.
function close.finish(state, over, news, is_failed)
  if state.phase == "closed" then return false end
  local conn = state.conn
  if state.tracing then trace(conn, state) end
  if state.unwatch then state.unwatch() end -- as long as it has a descriptor
  connection.closed(state, over, news)
  cqueues.release(state.socket)
  log.tell_untold()
  linger.begin(state, close_timeout(state), is_failed)
  if state.sink then sink.break_off(conn, state, over) end
  return true
end

--- failed(state, why, news): the peer has broken a rule, or TLS has failed.
function close.failed(state, why, news)
  return close.finish(state, why, news, true)
end

--- interrupted(state): the driver was broken off between taking something and noting it.
function close.interrupted(state)
  return close.finish(state, "interrupted", "receiver error: interrupted", true)
end

--- A close code as a number that the engine can judge; 1000 for none.
local function close_code(code)
  local number = tonumber(code) or 1000
  return number >= 0 and number <= 65535 and math.floor(number) or 0
end

--- close(state, code, reason): ends a connection from our side, with this close frame if none was sent.
function close.close(state, code, reason)
  local conn, session = state.conn, state.session
  local ok, why = native.close(session, close_code(code), type(reason) == "string" and reason or "")
  if not ok and why:find("^invalid close frame") then
    log.warning("%s is closed with code 1000: %s", guard.name(conn), why)
    native.close(session, 1000, "")
  elseif why == "busy" then -- in a finaliser
    state.close_frame = { code = close_code(code), reason = type(reason) == "string" and reason or "" }
  end
  close.finish(state, "not connected", nil)
  log.debug("%s is closed", guard.name(conn))
end

--- by_user(state, code, reason): what wsclose does, whatever has become of the connection: no handler is called any
-- more.
function close.by_user(state, code, reason)
  if state.phase ~= "closed" then
    close.close(state, code, reason)
  elseif state.lingering then
    linger.insist(state.lingering)
  end
  state.over, state.news = "not connected", nil
end

return close
