--[[
A virtual clock: it starts at 0, advances only while something waits, and then calls what is due. Each load of this file
makes another one. It is the clock of a world in memory, and knows nothing of what happens there.

At one moment only so much can be done: a program that goes round and round without waiting would never end, so it is
ended with the name of who is to blame.
--]]

local native = ...

local EPOCH = 1700000000 -- os.time's value when the clock starts, in seconds

local clock = {
  native = native.virtual_clock(), -- the clock that sessions use
  -- A wait that nothing ends within this many seconds is a mistake.
  patience = math.huge,
  -- The most turns at one moment.
  limit = 1000000,
  -- Why this world is over, if it is.
  spun = nil,
}

local now, turns = 0, 0
-- How many turns those with a name had, and those that only their place in the program tells; of the second half of
-- what the limit allows, as most worlds never get there.
local named, places = {}, {}

-- A list, each with the next one. Finalisers run here, too, so nothing may allocate while it changes.
local timers = { time = -math.huge, next = false }

function clock.now() return now end

--- place(): returns where the program is: the first place on the stack that is not in luws.
function clock.place()
  for level = 2, 200 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if info.currentline > 0 and not info.source:find("^@luws[/.]") then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
  end
  return "an unknown place"
end

--- Returns the name with the highest count, and that count.
local function most_of(counts)
  local most, who = 0, nil
  for name, count in pairs(counts) do
    if count > most or count == most and name < who then most, who = count, name end
  end
  return who, most
end

-- Who has a name is to blame if it had at least this part of the turns; otherwise it is the program that calls.
local TO_BLAME = 0.05

local function stop()
  local who, count = most_of(named)
  if count < TO_BLAME * clock.limit then who = "the program at " .. (most_of(places) or clock.place()) end
  clock.spun = ("this world does not come to rest: %d turns at one moment, at %g s; it is %s that goes on and on")
    :format(turns, now, who)
  error(clock.spun, 0)
end

--- turn([who]): notes that something is done. Raises an error if too much is done at one moment.
function clock.turn(who)
  if clock.spun then error(clock.spun, 0) end
  turns = turns + 1
  if turns <= clock.limit / 2 then return end
  local counts = who and named or places
  who = who or clock.place()
  counts[who] = (counts[who] or 0) + 1
  if turns > clock.limit then stop() end
end

--- time(): returns seconds since 1970.
function clock.time()
  clock.turn()
  return EPOCH + now
end

--- after(seconds, f [, who]): calls f() after that time. Returns a timer; cancel(timer) prevents it.
function clock.after(seconds, f, who)
  local timer, before = { time = now + seconds, f = f, who = who or "a timer", next = false }, timers
  while before.next and before.next.time <= timer.time do before = before.next end
  before.next, timer.next = timer, before.next
  return timer
end

function clock.cancel(timer)
  local before = timers
  while before.next and before.next ~= timer do before = before.next end
  if before.next then before.next = timer.next end
end

--- run(): calls what is due. Returns whether there was anything.
function clock.run()
  local any = false
  while timers.next and timers.next.time <= now do
    local timer = timers.next
    timers.next = timer.next
    any = true
    clock.turn(timer.who)
    timer.f()
  end
  if not any then clock.turn() end
  return any
end

--- next_time(): returns when something is due next; infinity if nothing is.
function clock.next_time() return timers.next and timers.next.time or math.huge end

--- next_name(): returns the name of what that is, or nil.
function clock.next_name() return timers.next and timers.next.who end

--- set(time): advances to this time. Calls nothing.
function clock.set(time)
  if time <= now then return end
  now, turns = time, 0
  if next(named) or next(places) then named, places = {}, {} end
  native.set_clock(clock.native, now)
end

--- pass(seconds, done): lets time pass until done() is true, or for this long. Returns whether it is true.
function clock.pass(seconds, done)
  local deadline, patience = now + seconds, now + clock.patience
  while true do
    clock.run()
    if done() then return true end
    local following = clock.next_time()
    local time = math.min(following, deadline)
    if time > patience or time == math.huge then error("this wait has no end: nothing is going to happen", 0) end
    clock.set(time)
    if following > deadline then return false end
  end
end

function clock.sleep(seconds)
  clock.pass(math.max(0, seconds), function() return false end)
end

return clock
