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

docs/api.md documents them for users. This file checks their arguments; the work is done in opener, send, receive and
close, on top of the life cycle in connection.lua. The table that wsopen returns is made in publish.lua.
--]]

local native, import, world = ...
if type(native) ~= "table" then
  error("this file is compiled into luws.so and is of no use by itself; take its folder out of package.path", 0)
end
local clock, close, connection, guard, linger, log = import("clock"), import("close"), import("connection"),
  import("guard"), import("linger"), import("log")
local opener, options, planning, publish = import("opener"), import("options"), import("planning"), import("publish")
local quick, receive, send, wait = import("quick"), import("receive"), import("send"), import("wait")
local worlds = import("worlds")

local luws = log.settings
publish.api = luws
worlds.set_home(publish.metatable, luws)
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

local state_of, poll, send_now = quick.state_of, quick.poll, quick.send_now
local live = publish.live

--- wsopen(url, handler [, options]): opens a connection. Blocks for at most connect_timeout plus upgrade_timeout; with
-- sockproxy, plus its timeout; if the upgrade is refused, plus half a second for the body of the response. Returns the
-- connection, or false and why not; if the server refused the upgrade with an HTTP response, also a table of its
-- status, reason, headers and body (the first 4096 bytes). Raises an error if the URL is not valid, as LuWS does.
function luws.wsopen(url, handler, given)
  tick()
  local target, why = planning.parse(url)
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
  local other = worlds.of_reactor(given.reactor)
  if other then
    other.debug_mode = luws.debug_mode
    return other.wsopen(url, handler, given)
  end
  return opener.open(target, handler, given)
end

--- opcode_of(value): returns the number of an opcode, or nil and what is wrong with it. Opcode 0 is not the caller's to
-- choose: it is used for the fragments of a message from a source.
local function opcode_of(value)
  local number = tonumber(value)
  if OPCODES[number] then return number end
  return nil, ("bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got %s)")
    :format(guard.text(value) or type(value))
end

--- keep(conn, state, opcode, data): does the work of wssend for a message that has to wait (outbox).
local function keep(conn, state, opcode, data)
  local number, why = opcode_of(opcode)
  if not number then return false, why end
  if number >= CLOSE or type(data) == "function" then return false, "not connected" end
  data, why = send.text(conn, state, number, data)
  if not data then return false, why end
  return state.outbox:add(number, data, state.opening.validate_utf8)
end

--- send_checked(conn, state, opcode, data): does the work of wssend for a connection that is open.
local function send_checked(conn, state, opcode, data)
  local number, wrong = opcode_of(opcode)
  if not number then return false, wrong end
  send.check(state, number < CLOSE)
  if state.phase == "closed" then return false, "not connected" end
  if type(data) == "function" then
    if number >= CLOSE then return false, "bad argument #3 to 'wssend' (a control frame takes no source)" end
    return send.source(conn, state, number, data)
  end
  data, wrong = send.text(conn, state, number, data)
  if not data then return false, wrong end
  local ok, why = send.frame(conn, state, number, data, true)
  if ok then return true end
  return false, why
end

--- sent(conn, state, f, ...): calls f(conn, state, ...), which may end the connection, for wssend and wsflush. Returns
-- what they return.
local function sent(conn, state, f, ...)
  local ok, why = guard.entry(f, state, close.interrupted, conn, state, ...)
  receive.tell_news(conn, state)
  if state.item then state.item:notice() end -- what was gathered, and what else only it will send
  if ok then return true end
  return false, why
end

--- absent(conn, name, result, ...): returns what the function of that name returns for something that is no connection
-- of ours: what the function of its own world does, or `result` and "not connected".
local function absent(conn, name, result, ...)
  local other = worlds.of(conn)
  if other then return other[name](conn, ...) end
  return result, "not connected"
end

--- must_wait(conn, state, opcode): returns whether a message has to wait in the outbox of a connection. While that is
-- not open, the outbox is as large as the option queue says then.
local function must_wait(conn, state, opcode)
  local outbox = state.outbox
  if connection.will_open(state) then
    local most = options.number(options.of(conn), "queue")
    if outbox then
      outbox.most = most
    elseif most > 0 then
      outbox = import("outbox").new(most)
      state.outbox = outbox
    end
  end
  return outbox and outbox:comes_first(state, opcode)
end

--- send_any(conn, state, rest, opcode, data): does what send_now has left of a wssend. `rest` is why a message has not
-- left completely, or nil if nothing was queued.
local function send_any(conn, state, rest, opcode, data)
  if must_wait(conn, state, opcode) then return keep(conn, state, opcode, data) end
  if state.phase == "closed" then return false, "not connected" end
  if state.phase == "closing" then return false, "closing" end
  if state.phase == "connecting" then return false, "not connected" end
  if rest then return sent(conn, state, send.rest, rest) end
  return sent(conn, state, send_checked, opcode, data)
end

--- send_and_tell(conn, state, opcode, data): does the work of wssend if there is a send_handler.
local function send_and_tell(conn, state, opcode, data)
  local told, gathered = import("told"), nil
  if type(data) == "function" then data, gathered = told.gathering(data) end
  local ok, why = send_any(conn, state, nil, opcode, data)
  told.sent(conn, state, opcode, gathered and gathered() or data, why)
  return ok, why
end

--- send_more(conn, rest, opcode, data): the same as send_any, for anything that a program gives to wssend.
local function send_more(conn, rest, opcode, data)
  tick()
  local state = state_of(conn)
  if not state then return absent(conn, "wssend", false, opcode, data) end
  if state.opening.send_handler then return send_and_tell(conn, state, opcode, data) end
  return send_any(conn, state, rest, opcode, data)
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
  if not state then return absent(conn, "wsflush", false) end
  if state.phase == "connecting" then return false, "not connected" end
  return sent(conn, state, send.flush)
end

--- result(conn, more, bytes): returns what wsreceive is to return. A connection that will be opened again is not over.
local function result(conn, more, bytes)
  if more == nil and state_of(conn).keeper then return false, 0 end
  return more, bytes
end

--- receive_more(conn, ...): does what poll has left of a wsreceive.
local function receive_more(conn, ...)
  tick()
  local state = state_of(conn)
  if not state then return absent(conn, "wsreceive", nil) end
  if state.owner then return nil, "served" end -- the server receives
  if connection.is_opening(state) and import("drive").opening(conn, state) then return false, 0 end
  return result(conn, receive.receive(conn, state, ...))
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

--- to_drive(conn): returns the state of a connection of which there is something to drive, or nil: it is not closed, or
-- is about to come back.
local function to_drive(conn)
  local state = state_of(conn)
  return state and (state.phase ~= "closed" or state.keeper) and state or nil
end

-- For the reactor's function add, which knows connections by their metatable.
publish.metatable[world.ADOPT] = function(conn)
  local state = to_drive(conn)
  if not state then return false, "not connected" end
  import("drive").enter(state)
  return true
end

--- wait_for(conn, seconds): does the work of wswait.
local function wait_for(conn, seconds)
  local state = state_of(conn)
  if not state then return (absent(conn, "wswait", true, seconds)) end
  if state.owner then return false end -- it would keep the server's other connections waiting
  local left = seconds == nil and math.huge or tonumber(seconds) or 0
  if left ~= left then left = 0 end -- NaN
  local now = clock.now()
  if state.phase == "closed" then
    if state.news or state.keeper or not state.lingering then return true end
    return linger.wait(state.lingering, now + left)
  end
  if state.phase == "connecting" then return opener.wait(conn, state, now + left) end
  if state.opening.coalesce > 0 then connection.write(state) end
  if publish.methods.dirty(conn) then return true end
  local limit = publish.methods.timeout(conn) or math.huge -- until "message timeout" or a ping is due
  local deadline = clock.now() + math.min(left, limit) -- the clock is read after it: not too early for wsreceive
  return guard.entry(wait.readable, state, close.interrupted, state, deadline) or limit <= left
end

--- wswait(conn [, seconds]): waits until wsreceive has something to do, for at most that time, or for as long as it
-- takes if no time is given. After wsclose, waits for the end of the closing handshake instead. Returns whether what it
-- waits for has happened.
function luws.wswait(conn, seconds)
  tick()
  return noticed(conn, wait_for(conn, seconds))
end

--- Returns whether a WebSocket object, whose connection is driven already and may be another instance's, is not over.
local function is_driven(object) return import("reactor").public.add(object.connection) end

--- watch(conn): inside openLuup, makes the scheduler receive whenever something arrives, until the connection ends.
-- Takes a WebSocket object (luws.websocket), too. Returns true, or false and why not.
function luws.watch(conn)
  local state = to_drive(conn)
  if not state then
    local ok, is_live = pcall(is_driven, conn)
    if not (ok and is_live) then return absent(conn, "watch", false) end
  end
  local ok, why = import("reactor").public.attach("openluup")
  if not ok then return false, why == "openluup is not here" and "this is not openLuup" or why end
  if state then import("drive").enter(state) end
  return true
end

--- wsclose(conn [, code [, reason]]): ends the connection. The default code is 1000. May be called at any time,
-- repeatedly, and with any value. Does not wait: later calls of luws or wswait send what is queued and our close frame,
-- and read the peer's answer, for at most close_timeout (linger).
function luws.wsclose(conn, code, reason)
  tick()
  local state = state_of(conn)
  if not state then
    absent(conn, "wsclose", nil, code, reason)
    return
  end
  local is_told = state.opening.send_handler and state.phase ~= "closed"
  close.by_user(state, code, reason)
  if is_told then import("told").closed(conn, state, code, reason) end
end

--- wsreset(conn): discards a message or frame that has arrived only in part.
function luws.wsreset(conn)
  tick()
  local state = live(conn)
  if not state then
    absent(conn, "wsreset", nil)
  elseif state.phase ~= "connecting" then
    receive.reset(conn, state)
  end
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
  local other = not state and worlds.of(conn)
  if other then return other.wshandleincoming(data, conn) end
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
