--[[
Items and their turns. An item stands for whatever is driven: a connection (drive), a timer or a descriptor of the
program (reactor). It has its turn when its descriptor, its time or a notice says so; so what is idle costs nothing.
Descriptors of connections tell what changes, so an item whose turn has left something to do says that it wants another.

A step waits until somebody's turn is due, and gives the turns. User code is called from turns, and cannot yield there:
whoever waits in it would stop everything else.
--]]

local native, import, world = ...
local clock, guard, timers = import("clock"), import("guard"), import("timers")

local turns = {}

--- The time between two turns of what has no descriptor that can be watched, in seconds.
turns.POLL = 0.05

-- The poller: what waits. A world of its own may bring another, with the same functions.

local poller_wait = native.poller_wait

--- Makes a poller of the system's. fd() returns a descriptor that shows that there is something to do, or -1.
-- wait(seconds, into) returns false in a fork; nil if nothing has happened; otherwise how many tokens it has put into
-- the array `into`, each followed by what has happened.
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
  function made.wait(seconds, into) return poller_wait(poller, seconds, into) end
  made.has_edges = made.fd() >= 0
  return made
end

local poller, broken -- broken: why there is none

--- ready_poller(): makes the poller if there is none. Returns it, or nil and why there cannot be one.
local function ready_poller()
  if not poller then poller, broken = (world.poller or system_poller)(turns.is_due) end
  if not poller then return nil, broken end
  local why = poller.is_foreign()
  if why then return nil, why end
  return poller
end

-- Items

local items, tokens = {}, 0

--- The state of items that are no reason to go on: a run ends when only they are left.
turns.ASIDE = {}
local ASIDE, count = turns.ASIDE, 0 -- and how many of the others are in

local heap = timers.new()
local queue, head, tail = {}, 1, 0 -- those whose turn is due
local stepping, stopped = false, false
local steps = 0 -- how many have begun
local afterwards = {} -- what is to be called after the present step
local on_busy = {} -- what is to be called when there is something to drive again

-- Whether nothing has interrupted a change of the above. An error may be caught by whoever called for the change.
local is_sound = true

-- Whether an outer loop has our descriptor, and the time that its timer is set to.
local is_watched, armed = false, nil

--- arm(): sees to it that the descriptor becomes readable when the next turn is due.
local function arm()
  if not is_watched or stepping or not poller then return end
  local first = heap:first()
  local time = (head <= tail or not is_sound) and 0 or first and first.time or nil
  if time == armed or poller.is_foreign() then return end
  armed = time
  poller.set_timer(time)
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
  if self.state ~= ASIDE then count = count - 1 end
  if items[self.token] then items[self.token] = nil end -- if it is not there, that could need memory
  self.token = nil
  is_sound = before
end

--- item(turn [, state]): makes an item, which has no turns before it is entered. turn(item, now, happened) has what has
-- happened to its descriptors (the sum of 1: readable, 2: writable, 4: ended), and returns whether it wants another
-- turn at once, and the time at which it wants one at the latest, or nil. It must not raise errors of user code.
-- `state` is what its turns need.
function turns.item(turn, state)
  -- Room for all fields from the beginning costs less, and for one more it would be twice as much.
  return setmetatable({
    token = nil, turn = turn, is_due = false, happened = 0, state = state,
    time = nil, order = nil, place = nil, -- the heap's
  }, Item)
end

--- enter(item [, time]): puts an item in. Its field token is nil once it is out. `time` is the time of its first turn,
-- if that is known.
function turns.enter(item, time)
  local before = is_sound
  is_sound = false
  local is_counted = item.state ~= ASIDE
  item.token, tokens = tokens + 1, tokens + 1
  if is_counted then count = count + 1 end
  items[tokens] = item
  if time then heap:add(item, time) end
  is_sound = before
  if is_counted and count == 1 then
    for _, f in ipairs(on_busy) do f() end
  end
  if time then arm() end
end

--- unwatch(fd): nobody has turns any more for what happens to this descriptor.
function turns.unwatch(fd)
  if poller then poller.remove(fd) end
end

--- on_busy(f): calls f() whenever there is something to drive again. Within f no user code may be called.
function turns.on_busy(f) on_busy[#on_busy + 1] = f end

--- later(f): calls f() after the present step, where it may call everything. f must not raise errors.
function turns.later(f) afterwards[#afterwards + 1] = f end

-- Steps

local taking -- who has a turn

-- What the poller has told: tokens, each followed by what has happened to it; and how many of them are to be noted.
local told, untold = {}, 0

--- note(): gives turns to what the poller has told of.
local function note()
  for i = 1, 2 * untold, 2 do
    local item, happened = items[told[i]], told[i + 1]
    if item then
      if happened > item.happened then item.happened = happened end
      if not item.is_due then
        queue[tail + 1] = item
        tail = tail + 1
        item.is_due = true
      end
    end
  end
  untold = 0
end

--- recover(): gives everything a turn, because an interruption may have lost somebody's. Whose turn was broken off may
-- not have its descriptors watched.
local function recover()
  is_sound = false
  if taking and taking.state and taking.state ~= ASIDE then taking.state.is_polled = true end
  taking = nil
  heap, queue, head, tail, count = timers.new(), {}, 1, 0, 0
  local all = {}
  for token, item in pairs(items) do
    item.place, item.is_due = nil, false
    if item.token then all[#all + 1] = token else items[token] = nil end
  end
  table.sort(all)
  for _, token in ipairs(all) do
    local item = items[token]
    item:notice()
    if item.state ~= ASIDE then count = count + 1 end
  end
  is_sound = true
end

--- give(): gives their turns to those that are due now. Returns how many there were.
local function give()
  local now = clock.now()
  local entry, newest = heap:first(), heap.order
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
      item.is_due, taking = false, item
      local again, time = item:turn(now, item.happened)
      item.happened, taking = 0, nil
      if again then item:notice() elseif time then item:at(time) end
    end
  end
  return done
end

--- wait(deadline): lets the poller wait until the deadline (on the clock), or not at all if somebody's turn is due or
-- there is no deadline. Returns false if there is nothing to wait for.
local function wait(deadline)
  local left = 0
  if deadline and head > tail then
    local first = heap:first()
    left = math.max(0, math.min(deadline, first and first.time or math.huge) - clock.now())
    if left == math.huge and count == 0 then return false end
  end
  local found = poller.wait(left, told)
  if found == false then error("reactor: " .. poller.is_foreign(), 0) end
  untold = found or 0
  return true
end

--- work(seconds): waits for at most that time until somebody's turn is due. Returns how many turns it gave.
local function work(seconds)
  steps = steps + 1
  local deadline = seconds > 0 and clock.now() + seconds or nil
  local done = 0
  repeat
    if untold == 0 and not wait(deadline) then return 0 end -- step may have waited
    note()
    done = done + give()
  until done > 0 or stopped or not deadline or clock.now() >= deadline
  return done
end

--- guarded(f, argument): calls f(argument). The mark is set where an error is caught, so that none leaves the reactor
-- stepping.
local function guarded(f, argument)
  stepping = true
  local result = f(argument)
  stepping = false
  return result
end

local function after_work(ok, result)
  armed = nil -- an end of the timer is not told
  if not ok then stepping = false end
  if not (ok and is_sound) then recover() end
  if is_watched then arm() end
  if not ok then error(result, 0) end -- a debug hook's, or a finaliser's
  while afterwards[1] do table.remove(afterwards, 1)() end
  return result
end

--- guard_step(name, f, argument): calls f(argument), which gives turns, for the API function `name`.
local function guard_step(name, f, argument)
  if stepping then error(("reactor: %s called from a handler"):format(name), 0) end
  if not poller then
    local _, why = ready_poller()
    if not poller then error("reactor: " .. why, 0) end
  end
  if not is_sound then recover() end
  return after_work(guard.without_yields(guarded, f, argument))
end

--- step(seconds): does one step. Returns how many turns it gave: 0 if nothing happened, or if there is nothing to wait
-- for.
function turns.step(seconds)
  if seconds == 0 and head > tail and is_sound and not stepping and poller and untold == 0 then
    local found = poller.wait(0, told)
    if found == nil then
      local first = heap:first()
      if not first or first.time > clock.now() then
        steps = steps + 1
        return 0
      end
    end
    untold = found or 0 -- to be noted where no finaliser can step meanwhile
  end
  return guard_step("step", work, seconds)
end

--- run_some(deadline): runs until something is to be done between the steps.
local function run_some(deadline)
  while not stopped and count > 0 and not afterwards[1] do
    local left = deadline - clock.now()
    if left <= 0 then break end
    work(left)
  end
end

--- run(deadline): steps until stop() is called, the deadline (on the clock) is over, or nothing is left to drive.
function turns.run(deadline)
  stopped = false
  repeat guard_step("run", run_some, deadline) until stopped or count == 0 or clock.now() >= deadline
  stopped = false -- a later step is not to end early
end

--- stop(): ends the present run() once its turns are over.
function turns.stop() stopped = true end

-- What is asked from outside. None of these raises an error.

--- is_stepping(): returns whether a step is being done.
function turns.is_stepping() return stepping end

--- steps(): returns how many steps have begun.
function turns.steps() return steps end

--- is_idle(): returns whether there is nothing to drive.
function turns.is_idle() return count == 0 end

--- is_due(): returns whether a step has something to do by now, as far as is known without asking the system.
function turns.is_due()
  local first = heap:first()
  return head <= tail or not is_sound or first ~= nil and first.time <= clock.now()
end

--- left(): returns after how many seconds a step has something to do at the latest; nil if no time is known.
function turns.left()
  if head <= tail or not is_sound then return 0 end
  local first = heap:first()
  return first and math.max(0, first.time - clock.now()) or nil
end

--- fd(): returns the descriptor that becomes readable when a step has something to do; -1 if there is none.
function turns.fd()
  local ok, made = pcall(ready_poller)
  if not ok or not made then return -1 end
  if not is_watched then
    is_watched = true
    arm()
  end
  return made.fd()
end

return turns
