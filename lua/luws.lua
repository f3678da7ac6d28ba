--[[
luws: a WebSocket client (RFC 6455) for Lua programs that poll, with the functions of LuWS.

  wsopen(url, handler, options)   a connection, or false and why not
  wssend(conn, opcode, data)      true, or false and why not
  wsreceive(conn)                 delivers what has come to the handler
  wsclose(conn)
  wsreset, wslastping, wshandleincoming, dump
  wswait, gettime, sleep          for programs that have no event loop

The README documents each of them for the user. This file knows what they mean; how bytes travel is
in pump, how handlers are called in dispatch.
--]]

local native, import = ...
if type(native) ~= "table" then
  error("this file is compiled into luws.so and is of no use by itself; take its folder out of package.path", 0)
end
local dispatch, log, options, pump =
  import("dispatch"), import("log"), import("options"), import("pump")

local luws = {
  -- yyddd, as LuWS had it: plugins compare it with `<`
  _VERSION = 26324,
  -- true: a line in the log for each frame; may be switched at any time
  debug_mode = false,
  --- dump(value): the value as text, tables with their contents, for a log.
  dump = log.dump,
  --- gettime(): seconds since 1970 with their fraction, as LuaSocket's.
  gettime = native.time,
}

--- sleep(seconds): does nothing for so long, as LuaSocket's.
function luws.sleep(seconds)
  native.sleep(tonumber(seconds) or 0)
end

local CLOSE = 8

-- Of a refused upgrade's body, so many bytes are waited for, and for so many seconds.
local BODY, BODY_TIME = 4096, 0.5

-- Under this key a connection table holds its state. When the table is dropped, so is the state, and
-- with it go the native objects that own the socket.
local STATE = {}

local Connection = {}

function Connection:__tostring()
  return ("luws-websock[%s:%s]"):format(tostring(self.ip), tostring(self.port))
end

function Connection:__index(key)
  -- as the browsers' WebSocket has it: bytes that were sent and have not left yet
  if key == "bufferedAmount" then
    local state = rawget(self, STATE)
    return state and state.session and state.session:outgoing() or 0
  end
end

--- The state of a connection of this module's, or nil for anything else.
local function state_of(conn)
  return type(conn) == "table" and rawget(conn, STATE) or nil
end

local function parse(url)
  if type(url) ~= "string" then return nil, "a string expected, got " .. type(url) end
  local target, why = native.parse_url(url)
  -- A password has no business in a log.
  return target, ("%s: %s"):format(url:gsub("//[^/@]*@", "//***@"), tostring(why))
end

--- The user's socket or ours, as a wire, and the object for conn.socket.
local function connect(target, deadline, session)
  local socket, why = pump.dial(target.host, target.port, deadline - native.monotonic())
  if not socket then
    return nil, ("Connection to %s:%d failed: %s"):format(target.host, target.port, tostring(why))
  end
  session:attach(socket)
  return pump.native_wire(socket), socket
end

local function new_session(target, settings)
  local headers, subprotocols, host = options.headers(settings, target)
  if not headers then return nil, subprotocols end
  local deflate, why = options.deflate(settings)
  if deflate == false then return nil, why end
  return native.session({
    host = target.host,
    host_header = host,
    resource = target.resource,
    headers = headers,
    subprotocols = subprotocols,
    secure = target.secure,
    tls = options.tls(settings),
    max_payload_size = options.get(settings, "max_payload_size"),
    use_masking = options.get(settings, "use_masking"),
    fragment_size = options.get(settings, "fragment_size"),
    deflate = deflate,
  })
end

--- What a server that refused the upgrade has said, or nil if it was none.
local function refusal(state, settings)
  local _, headers, status, reason = state.session:response()
  if status == 0 then return nil end
  local body = pump.body(state, options.chunk_size(settings), BODY, BODY_TIME)
  return { status = status, reason = reason, headers = headers, body = body }
end

--- wsopen(url, handler [, options]): opens a connection. Blocks until it is open, or for at most
-- connect_timeout and upgrade_timeout.
-- Returns the connection, or false and why not; and, if the server refused the upgrade by an HTTP response, a
-- table of its status, reason, headers and body (the first 4096 bytes). A URL that is none raises an error, as in LuWS.
function luws.wsopen(url, handler, given)
  local target, why = parse(url)
  if not target then error("Invalid protocol/address for WebSocket open in URL " .. why, 2) end
  local wrong = handler ~= nil and options.callable(handler)
  if wrong then return false, ("bad argument #2 to 'wsopen' (%s)"):format(wrong) end
  if given ~= nil and type(given) ~= "table" then
    return false, ("bad argument #3 to 'wsopen' (table expected, got %s)"):format(type(given))
  end
  local settings = given or {}
  wrong = options.check(settings)
  if wrong then return false, wrong end

  local session
  session, why = new_session(target, settings)
  if not session then return false, why end
  local deadline = native.monotonic() + options.get(settings, "connect_timeout")
  local wire, socket = connect(target, deadline, session)
  if not wire then return false, socket end
  local state = { session = session, wire = wire, buffered = 0, frames = 0 }
  local ok, step
  ok, step, why = pump.open(state, options.chunk_size(settings), deadline, options.get(settings, "upgrade_timeout"))
  if not ok then
    local response = refusal(state, settings)
    wire.close()
    return false, (step == "tls" and "Failed SSL negotation: " or "upgrade failed; ") .. why, response
  end

  local now = native.time()
  local subprotocol, headers = session:response()
  state.size, state.heard, state.buffered = settings.max_payload_size, native.monotonic(), session:incoming()
  local conn = setmetatable({
    [STATE] = state,
    connected = true,
    closing = false,
    proto = target.secure and "wss" or "ws",
    ip = target.host,
    port = target.port,
    path = target.resource,
    subprotocol = subprotocol,
    response_headers = headers,
    options = settings,
    msghandler = handler,
    socket = socket,
    lastMessage = now,
    lastPing = now,
  }, Connection)
  log.debug("%s is open", tostring(conn))
  return conn
end

--- Queues a frame, whole or a fragment, and writes what the socket takes.
local function send_frame(conn, state, opcode, data, fin)
  local session = state.session
  if not session then return false, "not connected" end
  local timeout = options.number(options.of(conn), "send_timeout")
  -- What is left of an earlier frame goes first; if it cannot, no more is piled upon it. A close frame
  -- is, for it is the last.
  if opcode ~= CLOSE and session:outgoing() > 0 then
    local ok, why = pump.flush(state, timeout)
    if not ok then return false, "send error: " .. why end
  end
  local queued, why = session:send(opcode, data, fin)
  if not queued then
    return false, (why == "closing" or why == "not connected") and why or "send error: " .. why
  end
  if opcode == CLOSE then conn.closing = true end
  local frame_log = dispatch.logger()
  if frame_log then frame_log(conn, "sends", opcode, data) end
  local ok
  ok, why = pump.flush(state, timeout)
  if not ok then return false, "send error: " .. why end
  return true
end

--- A message in fragments, from an LTN12 source: each chunk is one.
local function send_source(conn, state, opcode, source)
  local started = false
  local chunk, why = source()
  repeat
    if why ~= nil and chunk == nil then
      -- What was begun cannot be ended, so nothing else could ever be sent.
      if started then luws.wsclose(conn, 1011) end
      return false, tostring(why)
    end
    local data = chunk == nil and "" or tostring(chunk)
    if chunk ~= nil then chunk, why = source() end
    local fin = chunk == nil and why == nil
    local ok, problem = send_frame(conn, state, started and 0 or opcode, data, fin)
    if not ok then return false, problem end
    started = true
  until fin
  return true
end

--- wssend(conn, opcode, data): sends a message (1 text, 2 binary) or a control frame (8 close, 9 ping,
-- 10 pong). Data is a string, an LTN12 source, or anything that tostring makes something of.
-- Returns true, or false and why not. Waits for at most send_timeout while the socket has no room.
function luws.wssend(conn, opcode, data)
  local state = state_of(conn)
  if not (state and state.session) then return false, "not connected" end
  if conn.closing then return false, "closing" end
  local number = tonumber(opcode)
  -- 0 is for us to choose: the fragments of a message follow from its source
  if not number or number % 1 ~= 0 or number < 1 or number > 15 then
    return false, ("bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got %s)"):format(tostring(opcode))
  end
  if type(data) == "function" then return send_source(conn, state, number, data) end
  if type(data) ~= "string" then
    local ok, text = pcall(tostring, data)
    if not ok then return false, "bad argument #3 to 'wssend' (" .. tostring(text) .. ")" end
    -- A control frame without data is an empty one.
    data = data == nil and number >= CLOSE and "" or text
  end
  return send_frame(conn, state, number, data, true)
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
  local session = state and state.session
  if not session or state.ended or session:incoming() > 0 then return true end
  return state.wire.wait(true, session:outgoing() > 0, seconds == nil and math.huge or tonumber(seconds) or 0)
end

--- A close code as a number that the engine can judge; 1000 for none.
local function close_code(code)
  local number = tonumber(code) or 1000
  return number >= 0 and number <= 65535 and math.floor(number) or 0
end

--- wsclose(conn [, code [, reason]]): ends the connection and frees everything; 1000 is the default code.
-- May be called at any time, any number of times, on anything. Waits for at most close_timeout
-- for the peer's close frame.
function luws.wsclose(conn, code, reason)
  local state = state_of(conn)
  if not state then return end
  local wait = options.number(options.of(conn), "close_timeout")
  if state.session then
    local ok, why = state.session:close(close_code(code), type(reason) == "string" and reason or "")
    if not ok and why ~= "closing" then
      log.warning("%s is closed with code 1000: %s", tostring(conn), why)
      state.session:close(1000, "")
    end
    dispatch.finish(conn, state, "not connected", wait)
    log.debug("%s is closed", tostring(conn))
  elseif state.lingering then
    pump.linger(state.lingering, wait)
    state.lingering = nil
  end
  state.over = "not connected"
end

--- wsreset(conn): forgets a message or frame that has come in part.
function luws.wsreset(conn)
  local state = state_of(conn)
  if state and state.session then state.session:reset() end
end

--- wslastping(conn): when the last complete frame came, in seconds as os.time has them; 0 for no
-- connection.
function luws.wslastping(conn)
  return type(conn) == "table" and tonumber(conn.lastPing) or 0
end

--- wshandleincoming(data, conn): takes bytes as if they had come from the socket. Returns true, or nil
-- and why no more will come.
function luws.wshandleincoming(data, conn)
  local state = state_of(conn)
  if not state then return nil, "not connected" end
  if state.over then return nil, state.over end
  if type(data) ~= "string" then
    return nil, ("bad argument #1 to 'wshandleincoming' (string expected, got %s)"):format(type(data))
  end
  state.session:receive_data(data)
  dispatch.incoming(conn, state)
  if state.over then return nil, state.over end
  return true
end

return luws
