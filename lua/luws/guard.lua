--[[
Calls user code from inside the driver, and contains everything that unusual hosts need for that:

- PUC Lua 5.1, where a yield cannot cross pcall or a C function. Message handlers cannot yield there. A control_handler
  and a sink can: they run in a coroutine of their own, whose yields are passed on. In a coroutine, the methods of
  users' sockets and LTN12 sources are called without pcall.
- Hosts whose debug hooks raise errors: those that limit scripts, and lua itself on Ctrl-C.
- Programs whose finalisers raise errors or call luws, at any point where the collector runs.
- Schedulers that abandon coroutines in the middle of a call.

If one of these interrupts the driver between taking something and noting it, the connection concerned ends with
"interrupted". Nothing is repaired, because nobody can know what was lost or doubled. Marks show that it happened: the
session knows whether an event that it has handed over was delivered (src/lua/raw/delivery.rs), a turn knows whether its
holder came back, and where handlers can yield, `calling` below notes that one is about to be called.

In coroutines of PUC Lua 5.1 with a user's socket, two cases cannot be told apart from others. If a socket method raises
an error and its coroutine lives on, the coroutine seems to be still inside the method, so nobody else receives anything
until it calls luws again or ends. And if a finaliser calls luws on the connection whose socket is at work, this looks
like a call after such an error, so it interrupts the connection.
--]]

local native = ...

local guard = {}

local attempt, deliver = native.attempt, native.deliver
local resume, status, yield = coroutine.resume, coroutine.status, coroutine.yield
guard.unpack = unpack or table.unpack -- luacheck: ignore (Lua 5.2 and later)

-- The program may have given us an environment that lacks some globals, or that raises an error for missing ones.
local globals = package.loaded._G or _G
local debug = rawget(globals, "debug") or {}
local traceback_here = debug.traceback or function(message) return message end
local traceback = debug.traceback or function(_, message) return message end
guard.metatable_of = debug.getmetatable or getmetatable

local collector = rawget(globals, "collectgarbage") or function() end

-- What the collector does when a connection is made, as if this many KiB had been allocated. That is about what a
-- connection over wss takes outside of Lua, which the collector does not see. Without it, a large heap could grow so
-- slowly that dropped connections take all descriptors before the collector comes; with it, a cycle over 90 MiB is
-- complete after some hundred connections.
local PER_CONNECTION = 64

-- PUC Lua 5.1 does not say whether its collector runs.
local says_running = pcall(collector, "isrunning")

--- Returns whether the collector runs, or was stopped by the program; nil if Lua does not say.
local function is_running()
  if says_running then return collector("isrunning") end
end

--- collect_some(): pays for a connection, if the collector runs. A step would start one that was stopped.
function guard.collect_some()
  if is_running() then pcall(collector, "step", PER_CONNECTION) end
end

--- collect(): runs a whole cycle of the collector, even if it is stopped. Finalisers may raise errors.
function guard.collect()
  local was_stopped = is_running() == false
  pcall(collector)
  if was_stopped then pcall(collector, "stop") end
end

--- Whether a function under pcall can yield: in LuaJIT, and in Lua 5.2 and later. Testing it would raise an error in
-- hosts that have their own coroutines and load us outside any of them.
local yields_through_pcall = rawget(globals, "jit") ~= nil or _VERSION ~= "Lua 5.1"
guard.can_yield = yields_through_pcall

--- without_yields(f, ...): pcall(f, ...), in which nothing can yield in any version of Lua.
guard.without_yields = native.without_yields

--- running(): returns the running coroutine; nil for the main one, in every version of Lua, and where nothing can
-- yield.
local running = native.running
guard.running = running

--- is_fenced(): returns whether the running coroutine cannot yield here because PUC Lua 5.1 has a C function, such as
-- pcall, between the coroutine's beginning and here.
function guard.is_fenced()
  if yields_through_pcall or not debug.getinfo then return false end
  for level = 2, math.huge do
    local frame = debug.getinfo(level, "S")
    if not frame then return false end
    if frame.what == "C" then return true end
  end
end

--- text(value): returns tostring(value); or nil and why tostring fails.
function guard.text(value)
  local ok, text = pcall(tostring, value)
  if not ok then
    local told, why = pcall(tostring, text)
    return nil, told and type(why) == "string" and why or "its __tostring fails"
  end
  if type(text) ~= "string" then return nil, "its __tostring does not return a string" end
  return text
end

--- has_text(value): returns whether tostring gives more than the type and address of a value.
function guard.has_text(value)
  local kind = type(value)
  if kind == "number" or kind == "string" or kind == "boolean" then return true end
  local meta = guard.metatable_of(value)
  return type(meta) == "table" and rawget(meta, "__tostring") ~= nil
end

--- name(conn): returns the name of a connection for the log.
function guard.name(conn) return guard.text(conn) or "a connection" end

--- Returns an error as text, with the stack of the place where it was raised.
local function trace(err)
  return traceback_here(guard.text(err) or type(err), 2)
end

--- is_callable(value): returns whether a value can be called.
function guard.is_callable(value)
  if type(value) == "function" then return true end
  local meta = guard.metatable_of(value)
  return type(meta) == "table" and meta.__call ~= nil
end

local MAIN = {}

--- Returns the running coroutine, or a stand-in for the main one.
local function this() return running() or MAIN end

--- Returns whether catching errors here would block yields.
local function is_bare() return not yields_through_pcall and running() ~= nil end

-- For each coroutine except the main one, where handlers can yield: the number of nested deliveries (elsewhere it is
-- counted natively), and the connection whose handler is about to be called.
local function by_coroutine() return setmetatable({}, { __mode = "k" }) end
local depth, calling = by_coroutine(), by_coroutine()

local DEEPEST = 25

--- is_deep(): returns whether deliveries are nested as deep as is allowed.
function guard.is_deep()
  if native.is_deep() then return true end
  local thread = yields_through_pcall and running()
  return thread and (depth[thread] or 0) >= DEEPEST or false
end

local function after_nested(thread, before, ...)
  calling[thread], depth[thread] = nil, before
  return ...
end

--- Calls f(...) under xpcall, where it may yield.
local function call_nested(state, thread, f, ...)
  local before = depth[thread]
  depth[thread] = (before or 0) + 1
  calling[thread] = state
  native.done(state.session)
  -- A finaliser may have closed the connection since the event was taken. Only the end is told then, without an opcode
  -- to a handler, and without a piece to a sink.
  local first, opcode = ...
  if first ~= nil and opcode and state.phase == "closed" then return after_nested(thread, before, true) end
  return after_nested(thread, before, xpcall(f, trace, ...))
end

--- call(state, f, ...): calls a message handler with what the session has handed over. Returns true and the handler's
-- results; or false and its error with the stack.
function guard.call(state, f, ...)
  local thread = yields_through_pcall and running()
  if thread then return call_nested(state, thread, f, ...) end
  return deliver(state.number, trace, f, ...)
end

guard.trace = trace

--- trace_of(thread, err): returns an error that a coroutine has ended with as text, with its stack.
function guard.trace_of(thread, err) return traceback(thread, guard.text(err) or type(err)) end

--- catches(): returns whether errors are caught here (by entry), so that nothing stays guarded after them.
function guard.catches() return not is_bare() end

--- is_nested(): returns whether message handlers are called from Lua here (so they can yield), and not natively.
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

--- Returns a coroutine that calls f, which may be a callable table.
local function new_coroutine(f)
  return coroutine.create(function(...) return f(...) end)
end

--- for_yielding(state, f): returns what call_yielding must be given for f. Creating it may run the collector, and
-- thereby any finaliser.
function guard.for_yielding(state, f)
  if yields_through_pcall or not running() then return f end
  local ok, thread = native.shelter(state.session, new_coroutine, f)
  if not ok then error(thread, 0) end -- raised by a finaliser
  return thread
end

--- call_yielding(state, f, ...): the same as `call`, for functions that may yield in every version of Lua.
function guard.call_yielding(state, f, ...)
  if type(f) ~= "thread" then return guard.call(state, f, ...) end
  return after_begin(f, deliver(state.number, nil, resume, f, ...))
end

local NOBODY = { number = 0 }

--- run(f, ...): calls a function that may yield and has nothing to do with an event. Returns the same as `call`.
function guard.run(f, ...)
  return guard.call_yielding(NOBODY, guard.for_yielding(NOBODY, f), ...)
end

--- try(f, ...): the same as pcall, for functions that may yield. Where pcall would block yields, errors go on to the
-- caller of luws.
function guard.try(f, ...)
  if is_bare() then return true, f(...) end
  return pcall(f, ...)
end

--- interrupted_by(err, state, interrupted, held, is_calling): handles an error that has left the driver: interrupts the
-- connection if the marks ask for that, and raises the error again.
local function interrupted_by(err, state, interrupted, held, is_calling)
  native.unguard(state.number)
  local wire = state.wire
  local is_stuck = wire.held and wire:held() > held
  if is_calling or is_stuck or native.was_interrupted(state.session) then interrupted(state) end
  error(err, 0)
end

--- free(f, ...): calls a function that has nothing to do with a connection, and may not yield. Returns true and its
-- results; or false and its error with the stack.
function guard.free(f, ...) return deliver(0, trace, f, ...) end

--- caught(f, ...): the same as pcall, but nothing can yield in it in any version of Lua.
function guard.caught(f, ...) return attempt(0, f, ...) end

local function after_entry(state, interrupted, thread, before, held, ok, ...)
  local is_calling = calling[thread] == state
  calling[thread], depth[thread] = nil, before
  if ok then return ... end
  interrupted_by((...), state, interrupted, held, is_calling)
end

--- entry(f, state, interrupted, ...): calls f(...), the work of an API function on this connection, which returns at
-- most two values. Errors that do not come from handlers are caught here, where that is possible; the connection is
-- interrupted if the error came between taking something and noting it. Elsewhere the marks tell the next call.
function guard.entry(f, state, interrupted, ...)
  local thread = running()
  if thread and not yields_through_pcall then return f(...) end
  local wire = state.wire
  local held = wire.held and wire:held() or 0 -- by the calls around this one
  if thread then
    local before = depth[thread]
    calling[thread] = nil
    return after_entry(state, interrupted, thread, before, held, pcall(f, ...))
  end
  local ok, first, second = attempt(state.number, f, ...)
  if ok then return first, second end
  interrupted_by(first, state, interrupted, held, false)
end

-- A turn is a lock on something that only one coroutine may do at a time, and that may yield.

--- turn(): makes a turn that is free. Its field `inside` says that the holder is in user code.
function guard.turn()
  return { taken = false, inside = false, owner = setmetatable({}, { __mode = "v" }) }
end

--- take(turn): returns true if the turn is ours now, false while somebody else holds it, nil if its holder was
-- interrupted.
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
    -- This call is nested in one that holds the turn, from user code or a finaliser: where errors are caught, no
    -- interrupted holder leaves the turn taken.
    if is_bare() then return nil end
    return false
  end
  -- The status of the main coroutine cannot be seen from another one.
  if owner == MAIN or status(owner) ~= "dead" then return false end
  return nil
end

--- give_back(turn): frees the turn.
function guard.give_back(turn)
  turn.taken = false
end

--- is_ours(turn): returns whether the running coroutine holds the turn.
function guard.is_ours(turn) return turn.taken and turn.owner[1] == this() end

--- is_broken_off(turn, is_outside): returns whether the holder of the turn will not come back. `is_outside`: the holder
-- cannot be making this call from inside its user code.
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

--- method(turn, f, ...): the same as `try`, for the user code that this turn was taken for.
function guard.method(turn, f, ...)
  turn.inside = true
  return outside(turn, guard.try(f, ...))
end

local new_proxy = rawget(globals, "newproxy") -- missing in Lua 5.2 and later, where tables have finalisers

--- finaliser(f): returns an object; f is called when it is collected.
function guard.finaliser(f)
  if not new_proxy then return setmetatable({}, { __gc = f }) end
  local proxy = new_proxy(true)
  getmetatable(proxy).__gc = f
  return proxy
end

return guard
