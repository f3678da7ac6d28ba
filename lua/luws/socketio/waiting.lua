--[[
Waiting for an answer without a function that is called with it: in a coroutine that yields until it is there, or by
stepping the reactor. Knows nothing of what is waited for.
--]]

local _, import, world = ...
local guard, log, luv = import("guard"), import("log"), import("hosts/luv")
local main = import("reactor")

local waiting = {}

local unpack, running = guard.unpack, guard.running

-- The coroutines that spawn has made.
local spawned = setmetatable({}, { __mode = "k" })

local function resume(thread, ...)
  local ok, err = coroutine.resume(thread, ...)
  if not ok then log.handler_failed("a spawned function raised an error", guard.trace_of(thread, err)) end
end

--- spawn(f, ...): runs f(...) in the next turn of the reactor, as a coroutine in which one may wait. Its error goes
-- to the log.
function waiting.spawn(f, ...)
  if not guard.is_callable(f) then
    error(("bad argument #1 to 'spawn' (function expected, got %s)"):format(type(f)), 2)
  end
  local count, given = select("#", ...), { ... }
  local thread = coroutine.create(function() f(unpack(given, 1, count)) end)
  spawned[thread] = true
  main.public.after(0, function() resume(thread) end)
end

--- turns_of(reactor): returns the turns of a reactor's world.
local function turns_of(reactor) return (rawget(reactor, world.HOME) or world).import("turns") end

--- in_turn(reactor, f): calls f in a turn of the reactor: at once if this is one, in its next one otherwise.
function waiting.in_turn(reactor, f)
  if turns_of(reactor).is_stepping() then f() else reactor.after(0, f) end
end

--- step(reactor, is_done): steps until it is done. Returns whether it is.
local function step(reactor, is_done)
  while not is_done() do
    if reactor.step() == 0 and turns_of(reactor).is_idle() and not is_done() then return false end
  end
  return true
end

--- await(reactor, method, start): calls start(done), and waits until done(...) is called, which may be at once.
-- Returns true and what done was given; or nil and why nobody can wait here, or that nothing is left to wait for.
function waiting.await(reactor, method, start)
  local thread, result, is_yielding = running(), nil, false
  local is_ours = thread and spawned[thread]
  local function is_done() return result ~= nil end
  if is_ours and guard.is_fenced() then
    error(method .. " cannot wait inside pcall in Lua 5.1", 0)
  end
  if not is_ours and turns_of(reactor).is_stepping() then
    error(method .. " cannot wait in a handler; call it in a function that io.spawn runs", 0)
  end
  start(function(...)
    if result then return end
    result = { n = select("#", ...), ... }
    if is_yielding then resume(thread) end
  end)
  if not result and (is_ours or thread and luv.is_attached()) then
    is_yielding = true
    repeat coroutine.yield() until result
    is_yielding = false
  end
  if not result then
    local paused = thread and main.pause(is_done)
    if not paused and not step(reactor, is_done) then return nil, "nothing is left to wait for" end
  end
  return true, unpack(result, 1, result.n)
end

return waiting
