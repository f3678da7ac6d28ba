--[[
The reactor as programs see it: they step or run it, or hang it into an outer event loop, and have it call functions at
a time, when a descriptor is ready or when a signal comes. There is one for each world, and so one for the real sockets
of a Lua state, whatever instances of luws are in it. Who has a turn and when is in turns.lua.
--]]

local native, import, world = ...
local clock, guard, log, turns = import("clock"), import("guard"), import("log"), import("turns")

local reactor = {}

--- check(name, index, value, kind): raises an error unless the argument is of this type.
local function check(name, index, value, kind)
  if type(value) == kind then return end
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(index, name, kind, type(value)), 0)
end

--- seconds_of(name, index, value): returns a number of seconds that a function of the API was given, at least 0. Raises
-- an error for what is none.
function reactor.seconds_of(name, index, value)
  check(name, index, value, "number")
  if value ~= value then error(("bad argument #%d to '%s' (a number expected, got NaN)"):format(index, name), 0) end
  return math.max(0, value)
end

local public = { [world.HOME] = world } -- as the option reactor of wsopen knows it (worlds)
reactor.public = public

--- step([seconds]): waits for at most that time (without it, as long as it takes) until something happens, and deals
-- with it. Returns how much it did: 0 if nothing happened, or if there is nothing to wait for.
function public.step(seconds)
  if seconds == 0 then return turns.step(0) end
  return turns.step(seconds == nil and math.huge or reactor.seconds_of("step", 1, seconds))
end

--- run([seconds]): steps until stop() is called, the time is over, or nothing is left to drive.
function public.run(seconds)
  turns.run(clock.now() + (seconds == nil and math.huge or reactor.seconds_of("run", 1, seconds)))
end

--- stop(): ends the present run() once its turns are over.
public.stop = turns.stop

--- called(what, f, ...): calls a function of the program. Its errors go to the log.
local function called(what, f, ...)
  local ok, err = guard.free(f, ...)
  if not ok then log.handler_failed(what .. " of the reactor raised an error", err) end
end

local Handle = {}
Handle.__index = Handle

--- cancel(): the timer, the descriptor or the signal is of no interest any more. May be called at any time, repeatedly.
function Handle:cancel()
  local item, fd, signal = self.item, self.fd, self.signal
  self.item, self.fd, self.signal = nil, nil, nil
  if not item then return end
  item:leave()
  if fd then turns.unwatch(fd) end
  if signal then native.signal_end(signal) end
end

--- after(seconds, f): calls f() after that time. Returns an object whose method cancel() prevents it.
function public.after(seconds, f)
  seconds = reactor.seconds_of("after", 1, seconds)
  if not guard.is_callable(f) then check("after", 2, f, "function") end
  local time = clock.now() + seconds
  if time == math.huge then return setmetatable({}, Handle) end -- it never comes
  local function turn(item, now)
    if now < time then return false, time end
    item:leave()
    called("a timer", f)
  end
  local handle = setmetatable({ item = turns.item(turn) }, Handle)
  turns.enter(handle.item, time)
  return handle
end

local EVENTS = { [0] = "", "r", "w", "rw" }

--- watch_fd(fd, events, f): calls f(fd, events) as long as the descriptor is ready for one of the events, "r", "w" or
-- "rw"; an end or an error is told as all of them. Returns an object whose method cancel() ends that, which must be
-- called before the descriptor is closed.
function public.watch_fd(fd, events, f)
  check("watch_fd", 1, fd, "number")
  if fd % 1 ~= 0 or fd < 0 then error("bad argument #1 to 'watch_fd' (not a descriptor: " .. fd .. ")", 0) end
  check("watch_fd", 2, events, "string")
  if events ~= "r" and events ~= "w" and events ~= "rw" then
    error(("bad argument #2 to 'watch_fd' ('r', 'w' or 'rw' expected, got '%s')"):format(events), 0)
  end
  if not guard.is_callable(f) then check("watch_fd", 3, f, "function") end
  local read, write = events ~= "w", events ~= "r"
  local function turn(_, _, happened)
    local is_ready_for = happened >= 4 and events or EVENTS[happened % 4]
    if is_ready_for ~= "" then called("a watched descriptor", f, fd, is_ready_for) end
  end
  local item = turns.item(turn)
  local handle = setmetatable({ item = item, fd = fd }, Handle)
  turns.enter(item)
  local ok, why, is_known = item:watch(fd, read, write)
  if not ok then
    item:leave()
    why = is_known and "it is watched already" or why
    error(("reactor: descriptor %d cannot be watched: %s"):format(fd, why), 0)
  end
  return handle
end

--- watch_signal(name, f): calls f(name) when the signal of that name comes: "INT", "TERM", "HUP", "QUIT", "PIPE",
-- "USR1" or "USR2". Until the object that it returns is cancelled, the signal does nothing else. Does not keep run()
-- from ending.
function public.watch_signal(name, f)
  check("watch_signal", 1, name, "string")
  if not guard.is_callable(f) then check("watch_signal", 2, f, "function") end
  local signal, why = native.signal_watch(name)
  if not signal then error(("reactor: signal %s cannot be watched: %s"):format(name, why), 0) end
  local item = turns.item(function()
    if native.signal_take(signal) then called("a watched signal", f, name) end
  end, turns.ASIDE)
  local fd = native.signal_fd(signal)
  turns.enter(item)
  local ok
  ok, why = item:watch(fd, true, false)
  if not ok then
    item:leave()
    native.signal_end(signal)
    error(("reactor: signal %s cannot be watched: %s"):format(name, why), 0)
  end
  return setmetatable({ item = item, fd = fd, signal = signal }, Handle)
end

--- add(conn): drives a connection until it is over: its handler is called without any wsreceive. Returns true, or false
-- and why not.
function public.add(conn)
  local meta = type(conn) == "table" and guard.metatable_of(conn)
  local adopt = type(meta) == "table" and rawget(meta, world.ADOPT)
  if not adopt then error(("bad argument #1 to 'add' (connection expected, got %s)"):format(type(conn)), 0) end
  return adopt(conn)
end

-- What the files of hosts work with.
local outer = { public = public, on_busy = turns.on_busy, is_idle = turns.is_idle }

function outer.getfd() return public.getfd() end

function outer.dirty() return public.dirty() end

function outer.failed(why) log.error("the event loop does not drive the reactor any more: %s", why) end

--- turn(): deals with what has happened. Raises no errors, for those would end the outer loop.
function outer.turn()
  if turns.is_stepping() then return end -- a handler runs the outer loop
  local ok, err = pcall(public.step, 0)
  if not ok then log.error("the reactor was interrupted: %s", guard.text(err) or type(err)) end
end

-- Outer loops by name, in the order in which they are looked for. Each has is_here() and attach(outer), which returns
-- true, or false and why not; those that run coroutines have pause(outer, done) as well.
local HOSTS = {
  { "openluup", function() return import("hosts/openluup") end },
  { "cqueues", function() return import("hosts/cqueues") end },
  { "copas", function() return import("hosts/copas") end },
  { "luv", function() return import("hosts/luv") end },
}

--- attach([host]): hangs the reactor into an outer loop: "openluup", "cqueues", "copas" or "luv"; without a name, into
-- the one that is here. Returns true; or false and why not. Twice is harmless.
function public.attach(name)
  if name ~= nil then check("attach", 1, name, "string") end
  local known = false
  for _, host in ipairs(HOSTS) do
    if name == nil or name == host[1] then
      known = true
      local loop = host[2]()
      if loop.is_here() then
        if public.getfd() < 0 then return false, "the reactor has no descriptor here; call its step(0)" end
        return loop.attach(outer)
      end
    end
  end
  if not known then
    error(("bad argument #1 to 'attach' (unknown: '%s')"):format(name), 0)
  end
  return false, name and name .. " is not here" or "there is no event loop here"
end

--- reactor.pause(done): lets the event loop that the running coroutine belongs to go on until done() returns true.
-- Returns true; false and why not; or nil if the loop is none that we know.
function reactor.pause(done)
  for _, host in ipairs(HOSTS) do
    local loop = host[2]()
    local is_its = loop.pause and loop.is_here() and (not loop.is_running or loop.is_running())
    if is_its then return loop.pause(outer, done) end
  end
  return nil
end

-- What outer loops call. None of these ever raises an error, and all can be called as methods.

--- getfd(): returns the descriptor that becomes readable when step(0) has something to do; -1 if there is none.
public.getfd = turns.fd
public.pollfd = turns.fd

--- dirty(): returns whether step(0) has something to do by now.
public.dirty = turns.is_due

--- steps(): returns how many steps have begun, those of run() included.
public.steps = turns.steps

--- timeout(): returns after how many seconds step(0) has something to do at the latest; nil if no time is known.
public.timeout = turns.left

function public.events() return "r" end

return reactor
