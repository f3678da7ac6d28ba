--[[
luws: a WebSocket client (RFC 6455) for Lua programs that poll, with the functions of LuWS.

  wsopen(url, handler, options)   a connection, or false and why not
  wssend(conn, opcode, data)      true, or false and why not
  wsreceive(conn)                 delivers what has come to the handler
  wsclose(conn)
  wsreset, wslastping, wshandleincoming, dump
  watch                           has openLuup's scheduler receive
  wswait, gettime, sleep          for programs that have no event loop

The README documents each of them for the user. This file knows what they mean and checks what they are given;
the work is done in open, send, dispatch (events and handlers), close and pump (bytes).
--]]

local native, import = ...
if type(native) ~= "table" then
  error("this file is compiled into luws.so and is of no use by itself; take its folder out of package.path", 0)
end
local close, dispatch, log, loop, open, options, protect, pump, send = import("close"), import("dispatch"),
  import("log"), import("loop"), import("open"), import("options"), import("protect"), import("pump"), import("send")

local luws = {
  -- yyddd, as LuWS had it: plugins compare it with `<`
  _VERSION = 26324,
  -- true: a line in the log for each frame; may be switched at any time
  debug_mode = false,
  --- dump(value): the value as text, tables with their contents, for a log.
  dump = log.dump,
}

--- gettime(): seconds since 1970 with their fraction, as LuaSocket's.
function luws.gettime() return native.time() end

--- sleep(seconds): does nothing for so long, as LuaSocket's.
function luws.sleep(seconds)
  pump.sleep(tonumber(seconds) or 0)
end

local CLOSE = 8
local OPCODES = { [1] = true, [2] = true, [8] = true, [9] = true, [10] = true }

-- Under this key a connection table holds its state. When the table is dropped, so is the state, and
-- with it go the native objects that own the socket.
local STATE = {}

--- The state of a connection of this module's, or nil for anything else.
local function state_of(conn)
  return type(conn) == "table" and rawget(conn, STATE) or nil
end

-- The methods need functions that are defined further down.
local methods = loop.methods(state_of, function(conn) return luws.wsreceive(conn) end,
  function(...) luws.wsclose(...) end)

local Connection = {}

function Connection:__tostring()
  return ("luws-websock[%s:%s]"):format(protect.text(self.ip) or "?", protect.text(self.port) or "?")
end

function Connection:__index(key)
  -- as the browsers' WebSocket has it: bytes that were sent and have not left yet
  if key == "bufferedAmount" then
    local state = state_of(self)
    return state and state.session and state.session:outgoing() or 0
  end
  return methods[key]
end

--- wsopen(url, handler [, options]): opens a connection. Blocks until it is open, or for at most connect_timeout
-- (twice, if that is used up before TLS begins) and upgrade_timeout; with sockproxy for its timeout, too. A response
-- that refuses it has half a second to come.
-- Returns the connection, or false and why not; and, if the server refused the upgrade by an HTTP response, a
-- table of its status, reason, headers and body (the first 4096 bytes). A URL that is none raises an error, as
-- in LuWS.
function luws.wsopen(url, handler, given)
  local target, why = open.parse(url)
  if not target and not native.gone then error("Invalid protocol/address for WebSocket open in URL" .. why, 2) end
  local wrong = handler ~= nil and options.callable(handler)
  if wrong then return false, ("bad argument #2 to 'wsopen' (%s)"):format(wrong) end
  if given ~= nil and type(given) ~= "table" then
    return false, ("bad argument #3 to 'wsopen' (table expected, got %s)"):format(type(given))
  end
  if native.gone then return false, native.gone end
  local settings = given or {}
  local state, response
  state, why, response = open.open(target, settings)
  if response then return false, why, response end
  if not state then return false, why end

  local session, now = state.session, native.time()
  local subprotocol, headers = session:response()
  local conn = setmetatable({
    [STATE] = state,
    connected = true,
    closing = false,
    proto = target.secure and "wss" or "ws",
    ip = target.host,
    port = target.port,
    path = target.resource,
    options = settings,
    msghandler = handler,
    socket = state.socket,
    proxied = state.proxied,
    sockproxy_pid = session:pid(),
    subprotocol = subprotocol,
    response_headers = headers,
    tls = session:peer(),
    lastMessage = now,
    lastPing = now,
  }, Connection)
  log.debug("%s is open", tostring(conn))
  if conn.tls and not conn.tls.verified and native.first_unverified() then
    log.warning('the certificate of %s:%s was not verified, for ssl_verify is "none" (this is said once, for all '
      .. 'connections); set ssl_verify = "peer" or ssl_fingerprint', conn.ip, conn.port)
  end
  return conn
end

--- wssend(conn, opcode, data): sends a message (1 text, 2 binary) or a control frame (8 close, 9 ping,
-- 10 pong). Data is a string, an LTN12 source, or anything that tostring makes something of.
-- Returns true, or false and why not. Waits for at most send_timeout while the socket has no room (from a
-- source: for each chunk).
function luws.wssend(conn, opcode, data)
  local state = state_of(conn)
  if not (state and state.session) then return false, "not connected" end
  if state.closing then return false, "closing" end
  local number = tonumber(opcode)
  -- 0 is for us to choose, for the fragments of a message that come from its source
  if not OPCODES[number] then
    return false, ("bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got %s)")
      :format(protect.text(opcode) or type(opcode))
  end
  if type(data) == "function" then
    if number >= CLOSE then return false, "bad argument #3 to 'wssend' (a control frame takes no source)" end
    return send.source(conn, state, number, data)
  end
  if type(data) ~= "string" then
    local text, why = protect.text(data)
    if not text then return false, ("bad argument #3 to 'wssend' (%s)"):format(why) end
    -- A control frame without data is an empty one.
    data = data == nil and number >= CLOSE and "" or text
  end
  local ok, why = send.frame(conn, state, number, data, true)
  if ok then return true end
  return false, why
end

--- wsreceive(conn): reads once, and calls the handler for each complete message. Never blocks.
-- Returns whether there may be more at once, and how many bytes came; or nil and why no more will come.
function luws.wsreceive(conn)
  local state = state_of(conn)
  if not state then return nil, "not connected" end
  if state.over then return nil, state.over end
  return dispatch.receive(conn, state)
end

--- wswait(conn [, seconds]): waits until wsreceive has something to do, or for at most so long; without
-- a time, until it has. Returns whether it has.
function luws.wswait(conn, seconds)
  local state = state_of(conn)
  if not (state and state.session) or methods.dirty(conn) then return true end
  local session, wire, now = state.session, state.wire, native.monotonic()
  local left = seconds == nil and math.huge or tonumber(seconds) or 0
  local limit = methods.timeout(conn) or math.huge -- until "message timeout" is to be told
  local deadline = now + math.min(left, limit)
  repeat
    if wire.wait(true, session:sendable() > 0, math.min(deadline - now, wire.step)) then return true end
    if state.session ~= session then return true end -- a method of the user's socket has closed it
    now = native.monotonic()
  until now >= deadline
  return limit <= left
end

--- watch(conn): inside openLuup, has the scheduler receive whenever something has come, until the end of the
-- connection. Returns true, or false and why not.
function luws.watch(conn)
  local state = state_of(conn)
  if not (state and state.session) then return false, "not connected" end
  return loop.watch(conn, state, luws.wsreceive)
end

--- wsclose(conn [, code [, reason]]): ends the connection and frees everything; 1000 is the default code.
-- May be called at any time, any number of times, on anything. Waits for at most close_timeout
-- for the peer's close frame.
function luws.wsclose(conn, code, reason)
  local state = state_of(conn)
  if state then close.by_user(conn, state, code, reason) end
end

--- wsreset(conn): forgets a message or frame that has come in part.
function luws.wsreset(conn)
  local state = state_of(conn)
  if state and state.session then dispatch.reset(conn, state) end
end

--- wslastping(conn): when the last complete frame came, in seconds as os.time has them; 0 for no
-- connection.
function luws.wslastping(conn)
  return type(conn) == "table" and tonumber(rawget(conn, "lastPing")) or 0
end

--- wshandleincoming(data, conn): takes bytes as if they had come from the socket (for wss: from the TLS layer).
-- Returns true, or nil and why no more will come.
function luws.wshandleincoming(data, conn)
  local state = state_of(conn)
  if not state then return nil, "not connected" end
  if state.over then return nil, state.over end
  if type(data) ~= "string" then
    return nil, ("bad argument #1 to 'wshandleincoming' (string expected, got %s)"):format(type(data))
  end
  dispatch.inject(conn, state, data)
  if state.over then return nil, state.over end
  return true
end

return luws
