--[[
The ways in which wsopen opens a connection: it waits, it returns at once, or it yields to other coroutines. The steps
of opening are in open; who takes them, if nobody waits, is the reactor (drive) or the program by wsreceive.
--]]

local native, import = ...
local clock, close, guard, log, open, publish, wait = import("clock"), import("close"), import("guard"), import("log"),
  import("open"), import("publish"), import("wait")

local opener = {}

local function is_over(state) return state.phase ~= "connecting" end

--- Has a connection opened again when it is lost, if its options say so.
local function keep(state, target)
  if state.reconnect then state.keeper = import("reconnect").new(state.reconnect, target) end
end

--- Opens a connection while the program waits. Returns the same as wsopen; so do the others.
local function waiting(state, target, handler, given)
  wait.till(state, is_over, math.huge)
  local failure = state.failure
  if failure and failure.response then return false, failure.text, failure.response end
  if failure then return false, failure.text end
  local conn = publish.new(state, target, handler, given)
  keep(state, target)
  publish.opened(conn, state)
  if state.opening.reactor then import("drive").enter(state) end
  return conn
end

--- Returns a connection that the reactor opens.
local function later(state, target, handler, given)
  local failure, drive = state.failure, import("drive")
  if failure and not failure.hop then return false, failure.text end -- the options are wrong
  local conn = publish.new(state, target, handler, given)
  if not failure and not state.opening.wait then keep(state, target) end
  drive.enter(state)
  if failure then drive.opened(conn, state) end
  return conn
end

--- resumer(thread, state): returns a function that resumes a coroutine which waits in wsopen. If that has died,
-- nobody gets the connection.
local function resumer(thread, state)
  return function()
    if coroutine.status(thread) ~= "suspended" then
      close.by_user(state)
      return
    end
    local ok, err = coroutine.resume(thread)
    if not ok then log.error("a coroutine that opened a connection failed: %s", guard.text(err) or type(err)) end
  end
end

--- Opens a connection while other coroutines run.
local function yielding(state, target, handler, given)
  local thread, reactor = guard.running(), import("reactor")
  local conn, wrong = later(state, target, handler, given)
  if not conn then return false, wrong end
  local function is_done() return is_over(state) end
  local paused, why = reactor.pause(is_done)
  if paused == false then
    close.by_user(state)
    return false, why
  end
  if not paused then
    reactor.public.attach() -- if there is a loop that drives it, such as luv's; otherwise the program does
    local resume = resumer(thread, state)
    state.waiter = function() import("turns").later(resume) end
    while not is_done() do coroutine.yield() end
    state.waiter = nil
  end
  local failure = state.failure
  if not failure then
    keep(state, target)
    if state.keeper then state.keeper:opened(conn, state) end
    return conn
  end
  state.news = nil -- it is told here
  return false, failure.text, failure.response
end

--- open(target, handler, given): does the work of wsopen. Returns the same.
function opener.open(target, handler, given)
  local state, why = open.begin(target, given)
  if not state then return false, why end
  -- What the reactor drives is not garbage before it is closed, and then it has no descriptor any more.
  if state.opening.wait then guard.collect_some() end
  local how = state.opening.wait == "yield" and yielding or state.opening.wait and waiting or later
  return how(state, target, handler, given)
end

-- Stands for the wire of a connection that is held up by others; what they do is looked at after this many seconds.
local LOOK = 0.05
local held = {}

function held.wait(_, _, _, seconds) clock.sleep(math.min(seconds, LOOK)) end

--- wait(conn, state, deadline): waits until the opening of a connection is over, which nobody has waited for so far.
-- Returns whether it is.
function opener.wait(conn, state, deadline)
  local drive = import("drive")
  local function advance(now)
    local due = drive.opening(conn, state)
    local wire = state.is_in ~= false and state.wire or held
    local is_writing = due and state.session and native.sendable(state.session) > 0
    return wire, true, is_writing, due or now
  end
  return wait.on(advance, function() return is_over(state) end, deadline)
end

return opener
