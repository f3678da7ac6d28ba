--[[
The reactor: one descriptor and one function that drive everything which is not waited for. There is one for each world,
and so one for the real sockets of a Lua state, whatever instances of luws are in it.

It has items: connections (drive), timers and descriptors of the program. An item has its turn when its descriptor, its
time or a notice says so; so what is idle costs nothing. Descriptors of connections tell what changes, so an item whose
turn has left something to do says that it wants another. Knows nothing of WebSocket.

User code is called from a turn, and cannot yield there: whoever waits in it would stop everything else.
--]]

local native, import, world = ...
local clock, guard, log, timers = import("clock"), import("guard"), import("log"), import("timers")

-- How often what has no descriptor that can be watched has its turn, in seconds.
local POLL = 0.05

local reactor = {}

-- The poller: what waits. A world of its own may bring another, with the same functions.

--- Makes a poller of the system's. fd() returns a descriptor that shows that there is something to do, or -1.
local function system_poller()
  local poller, why = native.poller()
  if not poller then return nil, why end
  local made = {}
  function made.fd() return native.poller_fd(poller) end
  function made.is_foreign() return native.poller_is_foreign(poller) end
  function made.add(...) return native.poller_add(poller, ...) end
  function made.remove(fd) native.poller_remove(poller, fd) end
  function made.set_writing(token, writing) native.poller_set_writing(poller, token, writing) end
  function made.wake(dial, token) return native.poller_wake(poller, dial, token) end
  function made.set_timer(time) native.poller_set_timer(poller, time) end
  function made.wait(seconds, into) return native.poller_wait(poller, seconds, into) end
  made.has_edges = made.fd() >= 0
  return made
end

local poller, broken -- broken: why there is none

--- ready(): makes the poller if there is none. Returns it, or nil and why there cannot be one.
local function ready_poller()
  if not poller then poller, broken = (world.poller or system_poller)(reactor.public) end
  if not poller then return nil, broken end
  if poller.is_foreign() then return nil, "this process is a fork, and the reactor is its parent's" end
  return poller
end

-- Items

local items, tokens, count = {}, 0, 0
local heap = timers.new()
local queue, head, tail = {}, 1, 0 -- those whose turn is due
local stepping, stopped = false, false
local afterwards = {} -- what is to be called after the present step
local on_busy = {} -- what is to be called when there is something to drive again

-- Whether nothing has interrupted a change of the above. An error may be caught by whoever called for the change.
local is_sound = true

-- Whether an outer loop has our descriptor, and the time that its timer is set to.
local is_watched, armed = false, nil

--- arm(): sees to it that the descriptor becomes readable when the next turn is due.
local function arm()
  if not is_watched or stepping or not poller or poller.is_foreign() then return end
  local first = heap:first()
  local time = (head <= tail or not is_sound) and 0 or first and first.time or nil
  if time ~= armed then
    armed = time
    poller.set_timer(time)
  end
end

local Item = {}
Item.__index = Item

--- notice(): gives the item a turn as soon as possible.
function Item:notice()
  if self.is_due or not self.token then return end
  queue[tail + 1] = self
  tail = tail + 1
  self.is_due = true
  arm()
end

--- at(time): gives the item a turn at this time (on the clock) or earlier; nil for no time.
function Item:at(time)
  if not self.token or not time or time == math.huge or self.place and self.time <= time then return end
  local before = is_sound
  is_sound = false
  heap:remove(self)
  heap:add(self, time)
  is_sound = before
  arm()
end

--- watch(fd [, read, write]): gives the item a turn whenever something changes at this descriptor; or, with read and
-- write, as long as it is readable or writable. Returns true, or nil, why not, and whether somebody watches it already.
function Item:watch(fd, ...)
  local made, why = ready_poller()
  if not made then return nil, why end
  return made.add(fd, self.token, ...)
end

--- wake(dial): gives the item a turn once a dial's name has been looked up. Returns false if it has been meanwhile;
-- nil if there is no poller.
function Item:wake(dial)
  local made = ready_poller()
  if not made then return nil end
  return made.wake(dial, self.token)
end

--- wants_room(wanted): for pollers that do not tell of changes: whether it waits for room.
function Item:wants_room(wanted)
  if poller and not poller.has_edges then poller.set_writing(self.token, wanted) end
end

--- leave(): takes the item out.
function Item:leave()
  if not self.token then return end
  local before = is_sound
  is_sound = false
  heap:remove(self)
  items[self.token], count = nil, count - 1
  self.token = nil
  is_sound = before
end

--- unwatch(fd): gives it no turns any more for what happens to this descriptor.
function Item.unwatch(_, fd)
  if poller then poller.remove(fd) end
end

--- reactor.enter(turn): makes an item, whose field token is nil once it is out. turn(item, now, happened) has what has
-- happened to its descriptors (the sum of 1: readable, 2: writable, 4: ended), and returns whether it wants another
-- turn at once, and the time at which it wants one at the latest, or nil. It must not raise errors of user code.
function reactor.enter(turn)
  local before = is_sound
  is_sound = false
  tokens, count = tokens + 1, count + 1
  local item = setmetatable({ token = tokens, turn = turn, is_due = false, happened = 0 }, Item)
  items[tokens] = item
  is_sound = before
  if count == 1 then
    for _, f in ipairs(on_busy) do f() end
  end
  return item
end

--- later(f): calls f() after the present step, where it may call everything. f must not raise errors.
function reactor.later(f) afterwards[#afterwards + 1] = f end

--- reactor.POLL: the time between two turns of what has no descriptor, in seconds.
reactor.POLL = POLL

-- Steps

local function take_turn(item, now)
  item.is_due = false
  local again, time = item.turn(item, now, item.happened)
  item.happened = 0
  if not item.token then return end
  if again then item:notice() else item:at(time) end
end

-- What the poller has told: tokens, each followed by what has happened to it; and how many of them are to be noted.
local told, untold = {}, 0

--- note(): gives turns to what the poller has told of.
local function note()
  for i = 1, 2 * untold, 2 do
    local item = items[told[i]]
    if item then
      item.happened = math.max(item.happened, told[i + 1])
      item:notice()
    end
  end
  untold = 0
end

--- wait(seconds): lets the poller wait, and gives turns to what it tells of. Returns false if nothing has happened.
local function wait(seconds)
  local found = poller.wait(seconds, told)
  if not found then return false end
  untold = found
  note()
  return true
end

--- recover(): gives everything a turn, because an interruption may have lost somebody's.
local function recover()
  is_sound = false
  heap, queue, head, tail, count = timers.new(), {}, 1, 0, 0
  local all = {}
  for token, item in pairs(items) do
    item.place, item.is_due = nil, false
    if item.token then all[#all + 1] = token else items[token] = nil end
  end
  table.sort(all)
  for _, token in ipairs(all) do items[token]:notice() end
  count = #all
  is_sound = true
end

--- turns(): gives their turns to those that are due now. Returns how many there were.
local function turns()
  local now = clock.now()
  local newest = heap.order
  local entry = heap:first()
  while entry and entry.time <= now and entry.order <= newest do
    heap:remove(entry)
    entry:notice()
    entry = heap:first()
  end
  local done, last = 0, tail
  while head <= last do
    local item = queue[head]
    queue[head] = nil
    head = head + 1
    if item.token then
      done = done + 1
      take_turn(item, now)
    end
  end
  return done
end

local function work(seconds)
  local deadline = clock.now() + seconds
  local done = 0
  note()
  repeat
    local left = 0
    if head > tail then
      local now, first = clock.now(), heap:first()
      left = math.max(0, math.min(deadline, first and first.time or math.huge) - now)
      if left == math.huge and count == 0 then return 0 end
    end
    wait(left)
    done = done + turns()
  until done > 0 or stopped or seconds == 0 or clock.now() >= deadline
  return done
end

local function worked(...)
  stepping = false
  return ...
end

--- guarded(f, ...): calls f(...). The mark is set where an error is caught, so that none leaves the reactor stepping.
local function guarded(f, ...)
  stepping = true
  return worked(f(...))
end

local function after_work(ok, result, ...)
  armed = nil -- an end of the timer is not told
  if not ok then stepping = false end
  if not (ok and is_sound) then recover() end
  arm()
  if not ok then error(result, 0) end -- a debug hook's, or a finaliser's
  while afterwards[1] do table.remove(afterwards, 1)() end
  return result, ...
end

--- step(name, f, ...): calls f(...), which gives turns, for the API function `name`.
local function step(name, f, ...)
  if stepping then error(("reactor: %s called from a handler"):format(name), 0) end
  local made, why = ready_poller()
  if not made then error("reactor: " .. why, 0) end
  if not is_sound then recover() end
  return after_work(guard.without_yields(guarded, f, ...))
end

-- The public functions

--- check(name, index, value, kind): raises an error unless the argument is of this type.
local function check(name, index, value, kind)
  if type(value) == kind then return end
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(index, name, kind, type(value)), 0)
end

--- Returns a number of seconds that an API function was given, at least 0.
local function seconds_of(name, index, value)
  check(name, index, value, "number")
  if value ~= value then error(("bad argument #%d to '%s' (a number expected, got NaN)"):format(index, name), 0) end
  return math.max(0, value)
end

local public = {}
reactor.public = public

--- step([seconds]): waits for at most that time (without it, as long as it takes) until something happens, and deals
-- with it. Returns how much it did: 0 if nothing happened, or if there is nothing to wait for.
function public.step(seconds)
  if seconds == 0 and not stepping and is_sound and head > tail and poller and untold == 0 then
    local found = poller.wait(0, told)
    local first = heap:first()
    if not found and (not first or first.time > clock.now()) then return 0 end
    untold = found or 0 -- to be noted where no finaliser can step meanwhile
  end
  return step("step", work, seconds == nil and math.huge or seconds_of("step", 1, seconds))
end

--- run_some(deadline): runs until something is to be done between the steps.
local function run_some(deadline)
  while not stopped and count > 0 and not afterwards[1] do
    local left = deadline - clock.now()
    if left <= 0 then break end
    work(left)
  end
end

--- run([seconds]): steps until stop() is called, the time is over, or nothing is left to drive.
function public.run(seconds)
  local deadline = clock.now() + (seconds == nil and math.huge or seconds_of("run", 1, seconds))
  stopped = false
  repeat step("run", run_some, deadline) until stopped or count == 0 or clock.now() >= deadline
  stopped = false -- a later step is not to end early
end

--- stop(): ends the present run() once its turns are over.
function public.stop() stopped = true end

--- called(what, f, ...): calls a function of the program. Its errors go to the log.
local function called(what, f, ...)
  local ok, err = guard.free(f, ...)
  if not ok then log.handler_failed(what .. " of the reactor raised an error", err) end
end

local Handle = {}
Handle.__index = Handle

--- cancel(): the timer or the descriptor is not of interest any more. May be called at any time, repeatedly.
function Handle:cancel()
  local item, fd = self.item, self.fd
  self.item, self.fd = nil, nil
  if not item then return end
  item:leave()
  if fd and poller then poller.remove(fd) end
end

--- after(seconds, f): calls f() after that time. Returns an object whose method cancel() prevents it.
function public.after(seconds, f)
  seconds = seconds_of("after", 1, seconds)
  if not guard.is_callable(f) then check("after", 2, f, "function") end
  local time, before = clock.now() + seconds, is_sound
  is_sound = false
  local item = reactor.enter(function(item, now)
    if now < time then return false, time end
    item:leave()
    called("a timer", f)
  end)
  if seconds == math.huge then item:leave() else item:at(time) end
  is_sound = before
  return setmetatable({ item = item }, Handle)
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
  local item = reactor.enter(function(_, _, happened)
    local is_ready_for = happened >= 4 and events or EVENTS[happened % 4]
    if is_ready_for ~= "" then called("a watched descriptor", f, fd, is_ready_for) end
  end)
  local ok, why, is_known = item:watch(fd, read, write)
  if not ok then
    item:leave()
    why = is_known and "it is watched already" or why
    error(("reactor: descriptor %d cannot be watched: %s"):format(fd, why), 0)
  end
  return setmetatable({ item = item, fd = fd }, Handle)
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
local outer = {
  public = public,
  getfd = function() return public.getfd() end,
  dirty = function() return public.dirty() end,
  is_idle = function() return count == 0 end,
}

--- on_busy(f): calls f() whenever there is something to drive again. Within f no user code may be called.
function outer.on_busy(f) on_busy[#on_busy + 1] = f end

function outer.failed(why) log.error("the event loop does not drive the reactor any more: %s", why) end

--- turn(): deals with what has happened. Raises no errors, for those would end the outer loop.
function outer.turn()
  if stepping then return end -- a handler runs the outer loop
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
function public.getfd()
  local ok, made = pcall(ready_poller)
  if not ok or not made then return -1 end
  if not is_watched then
    is_watched = true
    arm()
  end
  return made.fd()
end

public.pollfd = public.getfd

--- dirty(): returns whether step(0) has something to do by now.
function public.dirty()
  local first = heap:first()
  return head <= tail or not is_sound or first ~= nil and first.time <= clock.now()
end

--- timeout(): returns after how many seconds step(0) has something to do at the latest; nil if no time is known.
function public.timeout()
  if head <= tail or not is_sound then return 0 end
  local first = heap:first()
  return first and math.max(0, first.time - clock.now()) or nil
end

function public.events() return "r" end

return reactor
