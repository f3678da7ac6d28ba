--[[
What the functions of the API do (luws.lua), except what the native side has done already: checks what they are given,
and hands on to opener, send, receive and close, on top of the life cycle in connection.lua.

Loaded by the first call that needs it, with nearly all of the driver.
--]]

local native, import, world = ...
local clock, close, connection, guard, linger, log = import("clock"), import("close"), import("connection"),
  import("guard"), import("linger"), import("log")
local opener, options, planning, publish = import("opener"), import("options"), import("planning"), import("publish")
local quick, receive, send, wait = import("quick"), import("receive"), import("send"), import("wait")
local worlds = import("worlds")

local calls = {}

publish.api = log.settings
worlds.set_home(publish.metatable, log.settings)

local lingering = linger.waiting

--- Every API function calls this first: it advances the connections that linger.
local function tick()
  if lingering[1] then linger.advance() end
end

function calls.gettime()
  tick()
  return clock.time()
end

function calls.sleep(seconds)
  tick()
  clock.sleep(tonumber(seconds) or 0)
  tick()
end

local EVENT = native.event_numbers()
local CLOSE = EVENT.close
local OPCODES = {
  [EVENT.text] = true, [EVENT.binary] = true, [CLOSE] = true, [EVENT.ping] = true, [EVENT.pong] = true,
}

local state_of, live = quick.state_of, publish.live

--- target(url): returns where a URL leads; or nil and an error to be raised if it is not valid, as LuWS does.
function calls.target(url)
  tick()
  local target, why = planning.parse(url)
  -- A finaliser may call this while the Lua state is being closed. Then every deadline is over.
  if target or clock.now() == math.huge then return target end
  return nil, "Invalid protocol/address for WebSocket open in URL" .. why
end

--- open(target, url, handler, given): does the rest of wsopen.
function calls.open(target, url, handler, given)
  if not target then return false, "the Lua state is being closed" end
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
    other.debug_mode = log.settings.debug_mode
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

--- send(conn, rest, opcode, data): does what send_now has left of a wssend.
function calls.send(conn, rest, opcode, data)
  tick()
  local state = state_of(conn)
  if not state then return absent(conn, "wssend", false, opcode, data) end
  if state.opening.send_handler then return send_and_tell(conn, state, opcode, data) end
  return send_any(conn, state, rest, opcode, data)
end

function calls.wsflush(conn)
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

--- received(conn, ...): does what poll has left of a wsreceive.
function calls.received(conn, ...) return noticed(conn, receive_more(conn, ...)) end

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

function calls.wswait(conn, seconds)
  tick()
  return noticed(conn, wait_for(conn, seconds))
end

--- Returns whether a WebSocket object, whose connection is driven already and may be another instance's, is not over.
local function is_driven(object) return import("reactor").public.add(object.connection) end

function calls.watch(conn)
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

function calls.wsclose(conn, code, reason)
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

function calls.wsreset(conn)
  tick()
  local state = live(conn)
  if not state then
    absent(conn, "wsreset", nil)
  elseif state.phase ~= "connecting" then
    receive.reset(conn, state)
  end
end

function calls.wslastping(conn)
  tick()
  return type(conn) == "table" and tonumber(rawget(conn, "lastPing")) or 0
end

function calls.wshandleincoming(data, conn)
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

return calls
