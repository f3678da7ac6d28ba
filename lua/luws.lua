--[[
luws: a WebSocket client (RFC 6455) for Lua programs that poll, with the functions of LuWS.

  wsopen(url, handler, options)   a connection, or false and why not
  wssend(conn, opcode, data)      true, or false and why not
  wsreceive(conn)                 delivers what has come to the handler
  wsclose(conn)
  wsreset, wslastping, wshandleincoming, dump
  wsflush                         sends what was gathered (coalesce)
  watch                           has openLuup's scheduler receive
  wswait, gettime, sleep          for programs that have no event loop

The README documents each of them for the user. This file knows what they mean and checks what they are given; the
work is done in open, send, receive and close, on the life cycle of connection.lua.
--]]

local native, import = ...
if type(native) ~= "table" then
  error("this file is compiled into luws.so and is of no use by itself; take its folder out of package.path", 0)
end
local clock, close, connection, guard, linger, log = import("clock"), import("close"), import("connection"),
  import("guard"), import("linger"), import("log")
local methods, open, receive, send, wait = import("methods"), import("open"), import("receive"), import("send"),
  import("wait")
local options, quick = import("options"), import("quick")

local luws = log.settings
-- yyddd, as LuWS had it: plugins compare it with `<`
luws._VERSION = 26324
-- true: a line in the log for each frame; may be switched at any time
luws.debug_mode = false
--- dump(value): the value as text, tables with their contents, for a log.
luws.dump = log.dump

local lingering = linger.waiting

--- What every function begins with: connections that linger are moved on.
local function tick()
  if lingering[1] then linger.advance() end
end

--- gettime(): seconds since 1970 with their fraction, as LuaSocket's.
function luws.gettime()
  tick()
  return clock.time()
end

--- sleep(seconds): does nothing for that long, as LuaSocket's.
function luws.sleep(seconds)
  tick()
  clock.sleep(tonumber(seconds) or 0)
  tick()
end

local EVENT = native.event_numbers()
local CLOSE = EVENT.close
local OPCODES = {
  [EVENT.text] = true, [EVENT.binary] = true, [CLOSE] = true, [EVENT.ping] = true, [EVENT.pong] = true,
}

-- Under these keys a connection table holds its state, and the number of its session. When the table is dropped, so is
-- the state, and with it go the native objects that own the socket.
local STATE, NUMBER = log.STATE, log.NUMBER

local state_of, poll, send_now = quick.state_of, quick.poll, quick.send_now

--- The same for one that is not closed.
local function live(conn)
  local state = state_of(conn)
  return state and state.phase ~= "closed" and state or nil
end

-- The methods need functions that are defined further down.
local made = methods.make(live, function(conn) return luws.wsreceive(conn) end, function(...) luws.wsclose(...) end)

local Connection = {}

function Connection:__tostring()
  return ("luws-websock[%s:%s]"):format(guard.text(self.ip) or "?", guard.text(self.port) or "?")
end

function Connection:__index(key)
  -- as the browsers' WebSocket has it: bytes that were sent and have not left yet
  if key == "bufferedAmount" then
    local state = live(self)
    return state and connection.outgoing(state) or 0
  end
  return made[key]
end

--- publish(state, target, handler, given): the table that the user gets for an open connection.
local function publish(state, target, handler, given)
  local session, now = state.session, clock.time()
  local subprotocol, headers = native.response(session)
  local conn = setmetatable({
    [STATE] = state,
    [NUMBER] = state.number,
    connected = true,
    closing = false,
    proto = target.secure and "wss" or "ws",
    ip = target.host,
    port = target.port,
    path = target.resource,
    options = given,
    msghandler = handler,
    socket = state.socket,
    proxied = state.plan.proxy ~= nil,
    sockproxy_pid = state.plan.proxy and native.proxy_detail(session) or nil,
    subprotocol = subprotocol,
    response_headers = headers,
    tls = target.secure and native.peer(session) or nil,
    lastMessage = now,
    lastPing = now,
  }, Connection)
  state.conn, state.given = conn, given
  state.plan = nil -- with all that was only needed to open it
  linger.watch(state)
  return conn
end

local function is_opening_over(state) return state.phase ~= "connecting" end

--- wsopen(url, handler [, options]): opens a connection. Blocks until it is open, or for at most connect_timeout and
-- upgrade_timeout; with sockproxy for its timeout, too. The body of a response that refuses it has half a second to
-- come. Returns the connection, or false and why not; and, if the server refused the upgrade by an HTTP response, a
-- table of its status, reason, headers and body (the first 4096 bytes). Raises an error if the URL is not valid, as
-- LuWS does.
function luws.wsopen(url, handler, given)
  tick()
  local target, why = open.parse(url)
  -- A finaliser may still call this while the Lua state is being closed, when every deadline is over.
  if not target and clock.now() == math.huge then return false, "the Lua state is being closed" end
  if not target then error("Invalid protocol/address for WebSocket open in URL" .. why, 2) end
  if handler ~= nil then
    local _, wrong = options.callable(handler)
    if wrong then return false, ("bad argument #2 to 'wsopen' (%s)"):format(wrong) end
  end
  if given ~= nil and type(given) ~= "table" then
    return false, ("bad argument #3 to 'wsopen' (table expected, got %s)"):format(type(given))
  end
  given = given or {}
  local state
  state, why = open.begin(target, given)
  if not state then return false, why end
  wait.till(state, is_opening_over, math.huge)
  local failure = state.failure
  if failure and failure.response then return false, failure.text, failure.response end
  if failure then return false, failure.text end
  local conn = publish(state, target, handler, given)
  if log.debugging() then log.debug("%s is open", tostring(conn)) end
  if conn.tls and not conn.tls.verified and native.first_unverified() then
    log.warning('the certificate of %s:%s was not verified, for ssl_verify is "none" (this is said once, for all '
      .. 'connections); set ssl_verify = "peer" or ssl_fingerprint', conn.ip, conn.port)
  end
  return conn
end

--- send_checked(conn, state, opcode, data): what wssend does on a connection that is open.
local function send_checked(conn, state, opcode, data)
  local number = tonumber(opcode)
  -- 0 is for us to choose, for the fragments of a message that come from its source
  if not OPCODES[number] then
    return false, ("bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got %s)")
      :format(guard.text(opcode) or type(opcode))
  end
  send.check(state, number < CLOSE)
  if state.phase == "closed" then return false, "not connected" end
  if type(data) == "function" then
    if number >= CLOSE then return false, "bad argument #3 to 'wssend' (a control frame takes no source)" end
    return send.source(conn, state, number, data)
  end
  if type(data) ~= "string" then
    local text, why = guard.text(data)
    if not text then return false, ("bad argument #3 to 'wssend' (%s)"):format(why) end
    if number < CLOSE and not state.warned and not guard.has_text(data) then
      state.warned = true
      log.warning('wssend to %s got a %s and sends "%s" (this is said once for each connection)', guard.name(conn),
        type(data), text)
    end
    -- A control frame without data is an empty one.
    data = data == nil and number >= CLOSE and "" or text
  end
  local ok, why = send.frame(conn, state, number, data, true)
  if ok then return true end
  return false, why
end

--- sent(conn, state, f, ...): what wssend and wsflush return of f(conn, state, ...), which may end the connection.
local function sent(conn, state, f, ...)
  local ok, why = guard.entry(f, state, close.interrupted, conn, state, ...)
  if state.news then receive.tell_news(conn, state) end
  if ok then return true end
  return false, why
end

--- send_more(conn, rest, opcode, data): wssend, unless all has left at once; `rest`: why some of it has not.
local function send_more(conn, rest, opcode, data)
  tick()
  local state = state_of(conn)
  if not state or state.phase == "closed" then return false, "not connected" end
  if state.phase == "closing" then return false, "closing" end
  if rest then return sent(conn, state, send.rest, rest) end
  return sent(conn, state, send_checked, opcode, data)
end

--- wssend(conn, opcode, data): sends a message (1 text, 2 binary) or a control frame (8 close, 9 ping, 10 pong). Data
-- is a string, an LTN12 source, or any value that tostring accepts. Returns true, or false and why not. Waits for at
-- most send_timeout while the socket has no room (from a source: for each chunk).
function luws.wssend(conn, opcode, data)
  local ok, why = send_now(conn, opcode, data)
  if ok then return true end
  return send_more(conn, why, opcode, data)
end

--- wsflush(conn): sends what has been gathered because of the option coalesce, and whatever else is queued. Returns
-- true when all of it has left, or false and why not. Waits for at most send_timeout while the socket has no room.
function luws.wsflush(conn)
  tick()
  local state = live(conn)
  if not state then return false, "not connected" end
  return sent(conn, state, send.flush)
end

--- receive_more(conn, ...): wsreceive, from where poll has left it.
local function receive_more(conn, ...)
  tick()
  local state = state_of(conn)
  if not state then return nil, "not connected" end
  if state.message then send.check(state, false) end
  return receive.receive(conn, state, ...)
end

--- wsreceive(conn): reads once, and calls the handler for each complete message. Never blocks. Stops after 1,000 events
-- or 5 milliseconds.
-- Returns whether there may be more at once, and how many bytes came; or nil and why no more will come.
function luws.wsreceive(conn)
  local is_left, first, second, turn = poll(conn)
  if is_left then return receive_more(conn, first, second, turn) end
  if second then return first, second end
  return false, 0
end

--- wswait(conn [, seconds]): waits until wsreceive has something to do, or for at most that long; without a time,
-- until it has. After wsclose it waits for the end of the closing handshake. Returns whether it has come to that.
function luws.wswait(conn, seconds)
  tick()
  local state = state_of(conn)
  if not state then return true end
  local left = seconds == nil and math.huge or tonumber(seconds) or 0
  if left ~= left then left = 0 end -- NaN
  local now = clock.now()
  if state.phase == "closed" then
    if state.news or not state.lingering then return true end
    return linger.wait(state.lingering, now + left)
  end
  if state.opening.coalesce > 0 then connection.write(state) end
  if made.dirty(conn) then return true end
  local limit = made.timeout(conn) or math.huge -- until "message timeout" is to be told
  local deadline = now + math.min(left, limit)
  return guard.entry(wait.readable, state, close.interrupted, state, deadline) or limit <= left
end

--- watch(conn): inside openLuup, has the scheduler receive whenever something has come, until the end of the
-- connection. Returns true, or false and why not.
function luws.watch(conn)
  local state = live(conn)
  if not state then return false, "not connected" end
  return import("hosts/openluup").watch(conn, state, luws.wsreceive)
end

--- wsclose(conn [, code [, reason]]): ends the connection; 1000 is the default code. May be called at any time, any
-- number of times, on anything. Does not wait: what is queued, our close frame and the peer's answer have
-- close_timeout to get through, while luws or wswait is called (linger).
function luws.wsclose(conn, code, reason)
  tick()
  local state = state_of(conn)
  if state then close.by_user(state, code, reason) end
end

--- wsreset(conn): forgets a message or frame that has come in part.
function luws.wsreset(conn)
  tick()
  local state = live(conn)
  if state then receive.reset(conn, state) end
end

--- wslastping(conn): when the last complete frame came, in seconds as os.time has them; 0 for no connection.
function luws.wslastping(conn)
  tick()
  return type(conn) == "table" and tonumber(rawget(conn, "lastPing")) or 0
end

--- wshandleincoming(data, conn): takes bytes as if they had come from the socket (for wss: from the TLS layer).
-- Returns true; or nil and why no more will come, or "busy" in a finaliser that runs while the connection is at work.
function luws.wshandleincoming(data, conn)
  tick()
  local state = state_of(conn)
  if not state then return nil, "not connected" end
  if state.phase == "closed" then return nil, state.over end
  if type(data) ~= "string" then
    return nil, ("bad argument #1 to 'wshandleincoming' (string expected, got %s)"):format(type(data))
  end
  if not receive.inject(conn, state, data) then return nil, "busy" end
  if state.phase == "closed" then return nil, state.over end
  return true
end

return luws
