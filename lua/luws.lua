--[[
luws: a WebSocket client (RFC 6455) for Lua programs that poll, with the functions of LuWS.

  wsopen(url, handler, options)   returns a connection, or false and why not
  wssend(conn, opcode, data)      returns true, or false and why not
  wsreceive(conn)                 passes what has arrived to the handler
  wsclose(conn)
  wsreset, wslastping, wshandleincoming, dump
  wsflush                         sends what was gathered (option coalesce)
  watch                           lets openLuup's scheduler receive
  wswait, gettime, sleep          for programs without an event loop

docs/api.md documents them for users. This file checks their arguments; the work is done in open, send, receive and
close, on top of the life cycle in connection.lua.
--]]

local native, import, world = ...
if type(native) ~= "table" then
  error("this file is compiled into luws.so and is of no use by itself; take its folder out of package.path", 0)
end
local clock, close, connection, guard, linger, log = import("clock"), import("close"), import("connection"),
  import("guard"), import("linger"), import("log")
local methods, open, receive, send, wait = import("methods"), import("open"), import("receive"), import("send"),
  import("wait")
local options, quick = import("options"), import("quick")

-- What drive asks of this file, which loads it only when something is to be driven.
local driven = {}

local function drive()
  local part = import("drive")
  part.api = driven
  return part
end

local luws = log.settings
-- yyddd, as in LuWS: plugins compare it with `<`.
luws._VERSION = 26324
-- If true, each frame is logged. May be changed at any time.
luws.debug_mode = false
--- dump(value): returns the value as text for a log, tables with their contents.
luws.dump = log.dump

local lingering = linger.waiting

--- Every API function calls this first: it advances the connections that linger.
local function tick()
  if lingering[1] then linger.advance() end
end

--- gettime(): returns the seconds since 1970 with a fraction, like LuaSocket's gettime.
function luws.gettime()
  tick()
  return clock.time()
end

--- sleep(seconds): pauses the program, like LuaSocket's sleep.
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

-- The keys under which a connection table holds its state and the number of its session. When the table is collected,
-- so are the state and the native objects that own the socket.
local STATE, NUMBER = log.STATE, log.NUMBER

local state_of, poll, send_now = quick.state_of, quick.poll, quick.send_now

--- Returns the state of a connection that is not closed, or nil.
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
  -- As in the browsers' WebSocket: bytes that were passed to wssend and have not left yet.
  if key == "bufferedAmount" then
    local state = live(self)
    return state and state.phase ~= "connecting" and connection.outgoing(state) or 0
  end
  return made[key]
end

--- publish(state, target, handler, given): makes the table that the user gets for a connection.
local function publish(state, target, handler, given)
  local now = clock.time()
  local conn = setmetatable({
    [STATE] = state,
    [NUMBER] = false,
    connected = false,
    closing = false,
    proto = target.secure and "wss" or "ws",
    ip = target.host,
    port = target.port,
    path = target.resource,
    options = given,
    msghandler = handler,
    lastMessage = now,
    lastPing = now,
    -- Once it is open. Having room for them from the beginning costs less.
    socket = nil,
    proxied = nil,
    sockproxy_pid = nil,
    subprotocol = nil,
    response_headers = nil,
    tls = nil,
    response = nil, -- if it is refused
  }, Connection)
  state.conn, state.given = conn, given
  return conn
end

--- opened(conn, state): completes the table of a connection that is open now.
local function opened(conn, state)
  local session, plan, now = state.session, state.plan, clock.time()
  conn[NUMBER] = state.number
  conn.connected = true
  conn.socket = state.socket
  conn.proxied = plan.proxy ~= nil
  conn.sockproxy_pid = plan.proxy and native.proxy_detail(session) or nil
  conn.subprotocol, conn.response_headers = native.response(session)
  conn.tls = plan.target.secure and native.peer(session) or nil
  conn.lastMessage, conn.lastPing = now, now
  state.plan = nil -- needed only for opening
  if state.opening.open_handler then
    state.greets = true
    connection.settle(state)
  end
  linger.watch(state)
  if log.debugging() then log.debug("%s is open", tostring(conn)) end
  if conn.tls and not conn.tls.verified and native.first_unverified() then
    log.warning('the certificate of %s:%s was not verified because ssl_verify is "none" (logged once, for all '
      .. 'connections); set ssl_verify = "peer" or ssl_fingerprint', conn.ip, conn.port)
  end
  if state.weaknesses then
    log.warning("the strength of TLS with %s:%s is not verified because of %s", conn.ip, conn.port, state.weaknesses)
  end
end

--- driven.opened(conn, state): tells of a connection whose opening, which nobody waits for, is over.
function driven.opened(conn, state)
  local failure = state.failure
  if state.opening.wait == "yield" then drive().leave(state) end -- the rest is its coroutine's
  if state.waiter then state.waiter() end
  if not failure then
    opened(conn, state)
    if state.item then native.set_driven(state.number, true) end
    return
  end
  state.plan, state.news = nil, failure.text
  conn.response = failure.response
  conn.close_code, conn.close_reason, conn.was_clean = 1006, "", false
end

local function is_opening_over(state) return state.phase ~= "connecting" end

--- open_later(state, target, handler, given): returns a connection that the reactor opens.
local function open_later(state, target, handler, given)
  local failure = state.failure
  if failure and not failure.hop then return false, failure.text end -- the options are wrong
  local conn = publish(state, target, handler, given)
  drive().enter(conn, state)
  if failure then driven.opened(conn, state) end
  return conn
end

--- resumer(thread): returns a function that resumes a coroutine which waits in wsopen.
local function resumer(thread)
  return function()
    if coroutine.status(thread) ~= "suspended" then return end
    local ok, err = coroutine.resume(thread)
    if not ok then log.error("a coroutine that opened a connection failed: %s", guard.text(err) or type(err)) end
  end
end

--- open_yielding(state, target, handler, given): opens a connection while other coroutines run. Returns the same as
-- wsopen.
local function open_yielding(state, target, handler, given)
  local thread, reactor = guard.running(), import("reactor")
  local conn, wrong = open_later(state, target, handler, given)
  if not conn then return false, wrong end
  local function is_over() return is_opening_over(state) end
  local paused, why = reactor.pause(is_over)
  if paused == false then
    luws.wsclose(conn)
    return false, why
  end
  if not paused then
    reactor.public.attach() -- if there is a loop that drives it, such as luv's; otherwise the program does
    local resume = resumer(thread)
    state.waiter = function() reactor.later(resume) end
    while not is_over() do coroutine.yield() end
    state.waiter = nil
  end
  local failure = state.failure
  if not failure then return conn end
  state.news = nil -- it is told here
  return false, failure.text, failure.response
end

--- wsopen(url, handler [, options]): opens a connection. Blocks for at most connect_timeout plus upgrade_timeout; with
-- sockproxy, plus its timeout; if the upgrade is refused, plus half a second for the body of the response. Returns the
-- connection, or false and why not; if the server refused the upgrade with an HTTP response, also a table of its
-- status, reason, headers and body (the first 4096 bytes). Raises an error if the URL is not valid, as LuWS does.
function luws.wsopen(url, handler, given)
  tick()
  local target, why = open.parse(url)
  -- A finaliser may call this while the Lua state is being closed. Then every deadline is over.
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
  guard.collect_some()
  local state
  state, why = open.begin(target, given)
  if not state then return false, why end
  if not state.opening.wait then return open_later(state, target, handler, given) end
  if state.opening.wait == "yield" then return open_yielding(state, target, handler, given) end
  wait.till(state, is_opening_over, math.huge)
  local failure = state.failure
  if failure and failure.response then return false, failure.text, failure.response end
  if failure then return false, failure.text end
  local conn = publish(state, target, handler, given)
  opened(conn, state)
  return conn
end

--- send_checked(conn, state, opcode, data): does the work of wssend for a connection that is open.
local function send_checked(conn, state, opcode, data)
  local number = tonumber(opcode)
  -- Opcode 0 is not the caller's to choose: it is used for the fragments of a message from a source.
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
      log.warning('wssend to %s got %s and sends "%s" (logged once per connection)', guard.name(conn),
        type(data), text)
    end
    -- A control frame without data is empty.
    data = data == nil and number >= CLOSE and "" or text
  end
  local ok, why = send.frame(conn, state, number, data, true)
  if ok then return true end
  return false, why
end

--- sent(conn, state, f, ...): calls f(conn, state, ...), which may end the connection, for wssend and wsflush. Returns
-- what they return.
local function sent(conn, state, f, ...)
  local ok, why = guard.entry(f, state, close.interrupted, conn, state, ...)
  if state.news then receive.tell_news(conn, state) end
  if state.item then state.item:notice() end -- what was gathered, and what else only it will send
  if ok then return true end
  return false, why
end

--- send_more(conn, rest, opcode, data): does what send_now has left of a wssend. `rest` is why a message has not left
-- completely, or nil if nothing was queued.
local function send_more(conn, rest, opcode, data)
  tick()
  local state = state_of(conn)
  if not state or state.phase == "closed" then return false, "not connected" end
  if state.phase == "closing" then return false, "closing" end
  if state.phase == "connecting" then return false, "not connected" end
  if rest then return sent(conn, state, send.rest, rest) end
  return sent(conn, state, send_checked, opcode, data)
end

--- wssend(conn, opcode, data): sends a message (1 text, 2 binary) or a control frame (8 close, 9 ping, 10 pong). Data
-- is a string, an LTN12 source, or any value that tostring accepts. Returns true, or false and why not. Waits at most
-- send_timeout for room in the socket (with a source, for each chunk). If that is 0, it queues instead, up to
-- max_buffered bytes.
function luws.wssend(conn, opcode, data)
  local ok, why = send_now(conn, opcode, data)
  if ok then return true end
  return send_more(conn, why, opcode, data)
end

--- wsflush(conn): sends everything that is queued, including what the option coalesce has gathered. Returns true when
-- all of it has left, or false and why not. Waits at most send_timeout for room in the socket.
function luws.wsflush(conn)
  tick()
  local state = live(conn)
  if not state or state.phase == "connecting" then return false, "not connected" end
  return sent(conn, state, send.flush)
end

--- receive_more(conn, ...): does what poll has left of a wsreceive.
local function receive_more(conn, ...)
  tick()
  local state = state_of(conn)
  if not state then return nil, "not connected" end
  if state.phase == "connecting" and drive().opening(conn, state) then return false, 0 end
  if state.greets then receive.greet(conn, state) end
  if state.message then send.check(state, false) end
  return receive.receive(conn, state, ...)
end

--- noticed(conn, ...): tells the reactor, if that drives the connection, that something may be left to do.
local function noticed(conn, ...)
  local state = state_of(conn)
  if state and state.item then state.item:notice() end
  return ...
end

--- wsreceive(conn): reads once, and calls the handler for each complete message. Never blocks. Stops after 1,000 events
-- or 5 milliseconds.
-- Returns whether there may be more right now, and how many bytes arrived; or nil and why no more will come.
function luws.wsreceive(conn)
  local is_left, first, second, turn = poll(conn)
  if is_left then return noticed(conn, receive_more(conn, first, second, turn)) end
  if second then return first, second end
  return false, 0
end

--- driven.received(conn, most): does the same for the reactor, with at most this many events.
function driven.received(conn, most)
  local is_left, first, second, turn = poll(conn, most)
  if is_left then return receive_more(conn, first, second, turn) end
  if second then return first, second end
  return false, 0
end

driven.timeout = made.timeout

-- For the reactor's function add, which knows connections by their metatable.
Connection[world.ADOPT] = function(conn)
  local state = live(conn)
  if not state then return false, "not connected" end
  drive().enter(conn, state)
  return true
end

-- Stands for the wire of a connection that is held up by others; what they do is looked at after this many seconds.
local LOOK = 0.05
local held = {}

function held.wait(_, _, _, seconds) clock.sleep(math.min(seconds, LOOK)) end

--- wait_open(conn, state, deadline): waits until the opening of a connection is over. Returns whether it is.
local function wait_open(conn, state, deadline)
  local function advance(now)
    local due = drive().opening(conn, state)
    local wire = state.is_in ~= false and state.wire or held
    return wire, true, due and native.sendable(state.session) > 0, due or now
  end
  return wait.on(advance, function() return state.phase ~= "connecting" end, deadline)
end

--- wswait(conn [, seconds]): waits until wsreceive has something to do, for at most that time, or for as long as it
-- takes if no time is given. After wsclose, waits for the end of the closing handshake instead. Returns whether what it
-- waits for has happened.
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
  if state.phase == "connecting" then return wait_open(conn, state, now + left) end
  if state.opening.coalesce > 0 then connection.write(state) end
  if made.dirty(conn) then return true end
  local limit = made.timeout(conn) or math.huge -- until "message timeout" is due
  local deadline = clock.now() + math.min(left, limit) -- the clock is read after it: not too early for wsreceive
  return guard.entry(wait.readable, state, close.interrupted, state, deadline) or limit <= left
end

--- watch(conn): inside openLuup, makes the scheduler receive whenever something arrives, until the connection ends.
-- Returns true, or false and why not.
function luws.watch(conn)
  local state = live(conn)
  if not state then return false, "not connected" end
  local ok, why = import("reactor").public.attach("openluup")
  if not ok then return false, why == "openluup is not here" and "this is not openLuup" or why end
  drive().enter(conn, state)
  return true
end

--- wsclose(conn [, code [, reason]]): ends the connection. The default code is 1000. May be called at any time,
-- repeatedly, and with any value. Does not wait: later calls of luws or wswait send what is queued and our close frame,
-- and read the peer's answer, for at most close_timeout (linger).
function luws.wsclose(conn, code, reason)
  tick()
  local state = state_of(conn)
  if state then close.by_user(state, code, reason) end
end

--- wsreset(conn): discards a message or frame that has arrived only in part.
function luws.wsreset(conn)
  tick()
  local state = live(conn)
  if state and state.phase ~= "connecting" then receive.reset(conn, state) end
end

--- wslastping(conn): returns when the last complete frame arrived, in seconds on os.time's scale; 0 if `conn` is not a
-- connection.
function luws.wslastping(conn)
  tick()
  return type(conn) == "table" and tonumber(rawget(conn, "lastPing")) or 0
end

--- wshandleincoming(data, conn): takes bytes as if they had come from the socket (for wss, from the TLS layer). Returns
-- true; or nil and why no more will come, or "busy" if a finaliser calls it while the connection is at work.
function luws.wshandleincoming(data, conn)
  tick()
  local state = state_of(conn)
  if not state then return nil, "not connected" end
  if state.phase == "closed" then return nil, state.over end
  if state.phase == "connecting" then return nil, "not connected" end
  if type(data) ~= "string" then
    return nil, ("bad argument #1 to 'wshandleincoming' (string expected, got %s)"):format(type(data))
  end
  if not receive.inject(conn, state, data) then return nil, "busy" end
  if state.item then state.item:notice() end
  if state.phase == "closed" then return nil, state.over end
  return true
end

return luws
