--[[
luws: a WebSocket client (RFC 6455) with the functions of LuWS.

  wsopen(url, handler, options)   returns a connection, or false and why not
  wssend(conn, opcode, data)      returns true, or false and why not
  wsreceive(conn)                 passes what has arrived to the handler
  wsclose(conn)
  wsreset, wslastping, wshandleincoming, dump
  wsflush                         sends what was gathered (option coalesce)
  watch                           lets openLuup's scheduler receive
  wswait, gettime, sleep          for programs without an event loop

docs/api.md documents them for users. The work is done in calls, which is loaded by the first call that needs it:
loading it, with most of the driver, takes longer than `require`. The usual wssend and wsreceive do without it.
--]]

local native, import = ...
if type(native) ~= "table" then
  error("this file is compiled into luws.so and is of no use by itself; take its folder out of package.path", 0)
end
local log, quick = import("log"), import("quick")

local luws = log.settings
-- yyddd, as in LuWS: plugins compare it with `<`.
luws._VERSION = 26324
-- If true, each frame is logged. May be changed at any time.
luws.debug_mode = false
--- dump(value): returns the value as text for a log, tables with their contents.
luws.dump = log.dump

local poll, send_now = quick.poll, quick.send_now

local loaded

local function calls()
  loaded = loaded or import("calls")
  return loaded
end

--- gettime(): returns the seconds since 1970 with a fraction, like LuaSocket's gettime.
function luws.gettime() return calls().gettime() end

--- sleep(seconds): pauses the program, like LuaSocket's sleep.
function luws.sleep(seconds) return calls().sleep(seconds) end

--- wsopen(url, handler [, options]): opens a connection. Blocks for at most connect_timeout plus upgrade_timeout; with
-- sockproxy, plus its timeout; if the upgrade is refused, plus half a second for the body of the response. Returns the
-- connection, or false and why not; if the server refused the upgrade with an HTTP response, also a table of its
-- status, reason, headers and body (the first 4096 bytes). Raises an error if the URL is not valid, as LuWS does.
function luws.wsopen(url, handler, given)
  local target, wrong = calls().target(url)
  if wrong then error(wrong, 2) end
  return calls().open(target, url, handler, given)
end

--- wssend(conn, opcode, data): sends a message (1 text, 2 binary) or a control frame (8 close, 9 ping, 10 pong). Data
-- is a string, an LTN12 source, or any value that tostring accepts. Returns true, or false and why not. Waits at most
-- send_timeout for room in the socket (with a source, for each chunk). If that is 0, it queues instead, up to
-- max_buffered bytes.
function luws.wssend(conn, opcode, data)
  local ok, why = send_now(conn, opcode, data)
  if ok then return true end
  return calls().send(conn, why, opcode, data)
end

--- wsflush(conn): sends everything that is queued, including what the option coalesce has gathered. Returns true when
-- all of it has left, or false and why not. Waits at most send_timeout for room in the socket.
function luws.wsflush(conn) return calls().wsflush(conn) end

--- wsreceive(conn): reads once, and calls the handler for each complete message. Never blocks. Stops after 1,000 events
-- or 5 milliseconds.
-- Returns whether there may be more right now, and how many bytes arrived; or nil and why no more will come.
function luws.wsreceive(conn)
  local is_left, first, second, turn = poll(conn)
  if is_left then return calls().received(conn, first, second, turn) end
  if second then return first, second end
  return false, 0
end

--- wswait(conn [, seconds]): waits until wsreceive has something to do, for at most that time, or for as long as it
-- takes if no time is given. After wsclose, waits for the end of the closing handshake instead. Returns whether what it
-- waits for has happened.
function luws.wswait(conn, seconds) return calls().wswait(conn, seconds) end

--- watch(conn): inside openLuup, makes the scheduler receive whenever something arrives, until the connection ends.
-- Takes a WebSocket object (luws.websocket), too. Returns true, or false and why not.
function luws.watch(conn) return calls().watch(conn) end

--- wsclose(conn [, code [, reason]]): ends the connection. The default code is 1000. May be called at any time,
-- repeatedly, and with any value. Does not wait: later calls of luws or wswait send what is queued and our close frame,
-- and read the peer's answer, for at most close_timeout (linger).
function luws.wsclose(conn, code, reason) return calls().wsclose(conn, code, reason) end

--- wsreset(conn): discards a message or frame that has arrived only in part.
function luws.wsreset(conn) return calls().wsreset(conn) end

--- wslastping(conn): returns when the last complete frame arrived, in seconds on os.time's scale; 0 if `conn` is not a
-- connection.
function luws.wslastping(conn) return calls().wslastping(conn) end

--- wshandleincoming(data, conn): takes bytes as if they had come from the socket (for wss, from the TLS layer). Returns
-- true; or nil and why no more will come, or "busy" if a finaliser calls it while the connection is at work.
function luws.wshandleincoming(data, conn) return calls().wshandleincoming(data, conn) end

return luws
