--[[
User code from within the driver, and what odd hosts need for that. What is done for these hosts is done here:

- PUC Lua 5.1, where a yield goes through neither pcall nor a function in C. Message handlers cannot yield there; a
  control_handler and a sink can, in a coroutine of their own that hands its yields on. The methods of users' sockets
  and LTN12 sources are called without pcall in a coroutine.
- Hosts whose debug hooks raise errors: those that limit what a script may do, and lua itself at Ctrl-C.
- Programs whose finalisers raise errors or call luws, at whatever point the collector runs.
- Schedulers that give coroutines up for good in the middle of a call.

If any of these breaks the driver off between taking something and noting it, the connection it happened to is over
("interrupted"): nothing is repaired, for what was lost or doubled cannot be known. Marks tell: the session knows
whether an event that it has handed over was delivered (src/lua/raw/hot.rs), a turn knows whether whoever took it came
back, and where handlers can yield it is noted here that one is about to be called.

Two things cannot be told apart in coroutines of PUC Lua 5.1 with a user's socket. A coroutine that lives on after an
error in the socket's method looks as if it were still in it, so others receive nothing until it calls luws again or
ends. And a finaliser that calls luws on the very connection whose socket is at work looks like the call after such an
error, so it interrupts the connection.
--]]

local native = ...

local guard = {}

local attempt, deliver = native.attempt, native.deliver
local coroutine_running = coroutine.running
local resume, status, yield = coroutine.resume, coroutine.status, coroutine.yield
guard.unpack = unpack or table.unpack -- luacheck: ignore (Lua 5.2 and later)

-- The environment may be one of the program's, which has not all globals, or which raises errors about those that it
-- has not.
local globals = package.loaded._G or _G
local debug = rawget(globals, "debug") or {}
local traceback_here = debug.traceback or function(message) return message end
local traceback = debug.traceback or function(_, message) return message end
guard.metatable_of = debug.getmetatable or getmetatable

--- Whether a function under pcall can yield: LuaJIT, and Lua 5.2 and later. To try it would be an error in hosts that
-- have coroutines of their own and load us where there are none yet.
local yields_through_pcall = rawget(globals, "jit") ~= nil or _VERSION ~= "Lua 5.1"
guard.can_yield = yields_through_pcall

--- The running coroutine; nil in the main one, in every Lua.
local function running()
  local thread, is_main = coroutine_running()
  if is_main then return nil end
  return thread
end

--- text(value): the value as tostring has it; or nil and why tostring fails.
function guard.text(value)
  local ok, text = pcall(tostring, value)
  if not ok then
    local told, why = pcall(tostring, text)
    return nil, told and type(why) == "string" and why or "its __tostring fails"
  end
  if type(text) ~= "string" then return nil, "its __tostring returns no string" end
  return text
end

--- has_text(value): whether tostring says more of it than its type and address.
function guard.has_text(value)
  local kind = type(value)
  if kind == "number" or kind == "string" or kind == "boolean" then return true end
  local meta = guard.metatable_of(value)
  return type(meta) == "table" and rawget(meta, "__tostring") ~= nil
end

--- name(conn): what a connection is called in the log.
function guard.name(conn) return guard.text(conn) or "a connection" end

--- An error as text, with the stack of where it was raised.
local function trace(err)
  return traceback_here(guard.text(err) or type(err), 2)
end

--- is_callable(value): whether it can be called.
function guard.is_callable(value)
  if type(value) == "function" then return true end
  local meta = guard.metatable_of(value)
  return type(meta) == "table" and meta.__call ~= nil
end

local MAIN = {}

--- The running coroutine, or what stands for the main one.
local function this() return running() or MAIN end

--- Whether no error can be caught here without keeping yields from their scheduler.
local function is_bare() return not yields_through_pcall and running() ~= nil end

-- Of each coroutine but the main one, where handlers can yield: deliveries within deliveries (elsewhere counted
-- natively), and the connection whose handler is about to be called.
local function by_coroutine() return setmetatable({}, { __mode = "k" }) end
local depth, calling = by_coroutine(), by_coroutine()

local DEEPEST = 25

--- is_deep(): whether deliveries are within deliveries to the end of what there may be of that.
function guard.is_deep()
  if native.is_deep() then return true end
  local thread = yields_through_pcall and running()
  return thread and (depth[thread] or 0) >= DEEPEST or false
end

local function after_nested(thread, before, ...)
  calling[thread], depth[thread] = nil, before
  return ...
end

--- f(...) under xpcall where it may yield.
local function call_nested(state, thread, f, ...)
  local before = depth[thread]
  depth[thread] = (before or 0) + 1
  calling[thread] = state
  native.done(state.session)
  return after_nested(thread, before, xpcall(f, trace, ...))
end

--- call(state, f, ...): calls a message handler with what the session has handed over. Returns true and what it
-- returns; or false and its error with the stack.
function guard.call(state, f, ...)
  local thread = yields_through_pcall and running()
  if thread then return call_nested(state, thread, f, ...) end
  return deliver(state.number, trace, f, ...)
end

guard.trace = trace

--- catches(): whether errors of what is done here are caught (entry), so that nothing stays guarded after them.
function guard.catches() return not is_bare() end

--- is_nested(): whether message handlers are called by Lua here, so that they can yield, and not natively.
function guard.is_nested()
  return yields_through_pcall and running() ~= nil
end

local function relay(thread, ok, ...)
  if not ok then return false, traceback(thread, guard.text((...)) or type((...))) end
  if status(thread) == "dead" then return true, ... end
  return relay(thread, resume(thread, yield(...)))
end

local function after_begin(thread, begun, ...)
  if not begun then return false, (...) end
  return relay(thread, ...)
end

--- A coroutine for f, which may be a table that can be called.
local function new_coroutine(f)
  return coroutine.create(function(...) return f(...) end)
end

--- for_yielding(state, f): what call_yielding is to be given for f. Making it may run the collector, and so anything.
function guard.for_yielding(state, f)
  if yields_through_pcall or not running() then return f end
  local ok, thread = native.shelter(state.session, new_coroutine, f)
  if not ok then error(thread, 0) end -- a finaliser's
  return thread
end

--- call_yielding(state, f, ...): `call` for what may yield in every Lua.
function guard.call_yielding(state, f, ...)
  if type(f) ~= "thread" then return guard.call(state, f, ...) end
  return after_begin(f, deliver(state.number, nil, resume, f, ...))
end

local NOBODY = { number = 0 }

--- run(f, ...): the same for what has nothing to do with an event.
function guard.run(f, ...)
  return guard.call_yielding(NOBODY, guard.for_yielding(NOBODY, f), ...)
end

--- try(f, ...): pcall, for what may yield; where both cannot be had the error goes on to whoever called luws.
function guard.try(f, ...)
  if is_bare() then return true, f(...) end
  return pcall(f, ...)
end

--- interrupted_by(err, state, interrupted, held, is_calling): an error has left what was done with this connection.
local function interrupted_by(err, state, interrupted, held, is_calling)
  native.unguard(state.number)
  local wire = state.wire
  local is_stuck = wire.held and wire:held() > held
  if is_calling or is_stuck or native.was_interrupted(state.session) then interrupted(state) end
  error(err, 0)
end

local function after_entry(state, interrupted, thread, before, held, ok, ...)
  local is_calling = calling[thread] == state
  calling[thread], depth[thread] = nil, before
  if ok then return ... end
  interrupted_by((...), state, interrupted, held, is_calling)
end

--- entry(f, state, interrupted, ...): f(...), which is what a function of the API does with this connection, and
-- returns two values at most. An error that is not its handlers' is caught here, where that can be, and the connection
-- interrupted if that was between taking something and noting it; elsewhere the marks tell the next call.
function guard.entry(f, state, interrupted, ...)
  local thread, is_main = coroutine_running()
  if is_main then thread = nil end
  if thread and not yields_through_pcall then return f(...) end
  local wire = state.wire
  local held = wire.held and wire:held() or 0 -- by calls that this one is within
  if thread then
    local before = depth[thread]
    calling[thread] = nil
    return after_entry(state, interrupted, thread, before, held, pcall(f, ...))
  end
  local ok, first, second = attempt(state.number, f, ...)
  if ok then return first, second end
  interrupted_by(first, state, interrupted, held, false)
end

-- A turn at something that only one coroutine at a time may do, and that may yield.

--- turn(): one that nobody has. `inside`: who has it is in user code.
function guard.turn()
  return { taken = false, inside = false, owner = setmetatable({}, { __mode = "v" }) }
end

--- take(turn): true if it is ours now, false while somebody is at it; nil if whoever had it was broken off.
function guard.take(turn)
  local thread = this()
  if not turn.taken then
    turn.owner[1] = thread
    turn.taken = true
    return true
  end
  local owner = turn.owner[1]
  if owner == nil then return nil end
  if owner == thread then
    -- A call from within ours, by user code or a finaliser: where errors are caught, nothing else is left behind.
    if is_bare() then return nil end
    return false
  end
  -- Nobody can look into the main coroutine from outside.
  if owner == MAIN or status(owner) ~= "dead" then return false end
  return nil
end

--- give_back(turn).
function guard.give_back(turn)
  turn.taken = false
end

--- is_ours(turn): whether the running coroutine has it.
function guard.is_ours(turn) return turn.taken and turn.owner[1] == this() end

--- is_broken_off(turn, is_outside): whether whoever has it will not come back. `is_outside`: who has it does not call
-- from within its user code.
function guard.is_broken_off(turn, is_outside)
  if not turn.taken then return false end
  local owner = turn.owner[1]
  if owner == nil then return true end
  if owner == this() then return is_bare() and (is_outside or not turn.inside) end
  return owner ~= MAIN and status(owner) == "dead"
end

local function outside(turn, ...)
  turn.inside = false
  return ...
end

--- method(turn, f, ...): `try` for user code that this turn was taken for.
function guard.method(turn, f, ...)
  turn.inside = true
  return outside(turn, guard.try(f, ...))
end

local new_proxy = rawget(globals, "newproxy") -- there is none in Lua 5.2 and later, where tables have finalisers

--- finaliser(f): an object after whose end f is called.
function guard.finaliser(f)
  if not new_proxy then return setmetatable({}, { __gc = f }) end
  local proxy = new_proxy(true)
  getmetatable(proxy).__gc = f
  return proxy
end

return guard
