--[[
Opens a lost connection again, as the same table: the option reconnect. When it tries is decided in backoff and by the
program's own function; the steps are those of open, taken by whoever drives the connection (drive).

A connection that is lost gets a new state, which is connecting: at first it only waits for its time. The old state
keeps what lingers. A keeper remembers across the states of a connection what the next attempt depends on. It is in the
present state as `keeper`, so wsclose ends everything by taking it out there.
--]]

local native, import = ...
local backoff, clock, close, connection = import("backoff"), import("clock"), import("close"), import("connection")
local guard, log, open, options = import("guard"), import("log"), import("open"), import("options")
local quick = import("quick")

local STATE, NUMBER = log.STATE, log.NUMBER

local reconnect = {}

local Keeper = {}
Keeper.__index = Keeper

--- new(settings, target): returns a keeper for a connection to this target.
function reconnect.new(settings, target)
  return setmetatable({
    settings = settings,
    target = target,
    process = native.process(), -- a forked child leaves the connection to its parent
    attempt = 0, -- the number of the last attempt
    since = nil, -- when the connection was opened last; nil if it never was
    left = nil, -- the lingering entry of the last connection
    is_deciding = false, -- the program's function is being called
    has_warned = false, -- the log says that trying hardly helps
  }, Keeper)
end

--- Returns whether a connection is still in this state, and is to be kept by this keeper.
local function is_kept(keeper, conn, state) return quick.state_of(conn) == state and state.keeper == keeper end

--- Does the work of decide, and may be interrupted. Without a failure, the connection was lost.
local function choose(self, conn, why, failure)
  local wanted = options.of(conn).reconnect
  if not wanted or native.not_ours(self.process) then return nil end
  local settings = backoff.settings(wanted) or self.settings -- if they are wrong, the next attempt will say so
  self.settings = settings
  local was_stable = not failure and self.since and clock.now() - self.since >= settings.stable
  if was_stable then self.attempt = 0 end
  self.attempt = self.attempt + 1
  local attempt = self.attempt
  local delay = backoff.delay(settings, attempt, failure, self.since ~= nil)
  if not settings.on or settings.attempts and attempt > settings.attempts then return delay end
  self.is_deciding = true
  local ok, answer = guard.free(settings.on, conn, why, attempt)
  self.is_deciding = false
  if not ok then
    log.handler_failed(("the reconnect.on of %s raised an error"):format(guard.name(conn)), answer)
  elseif answer == false then
    return nil
  elseif type(answer) == "number" and answer >= 0 then
    return answer
  end
  return delay
end

--- decide(conn, why, failure): asks the settings and the program about the next attempt. Returns after how many seconds
-- it is to be made, nil for giving up; then the error, if this was interrupted.
function Keeper:decide(conn, why, failure)
  local ok, delay = guard.caught(choose, self, conn, why, failure)
  if ok then return delay end
  self.is_deciding = false
  return nil, delay
end

--- The step that waits for the time of an attempt, and begins it. The options are read again: the program may have put
-- a new token into them.
local function wait_step(state, now)
  if now < state.retry_at then return false, false, state.retry_at end
  state.retry_at = nil
  local why = native.not_ours(state.keeper.process)
    or not options.of(state.conn).reconnect and "the option reconnect was switched off"
  if why then
    connection.attempt_failed(state, { text = why })
    return false, false, math.huge
  end
  return open.again(state, state.keeper.target, options.of(state.conn))
end

--- retry(state, delay): has the step wait for so many seconds. Its failure has been dealt with then.
local function retry(state, delay)
  state.retry_at = state.retry_at or clock.now() + delay
  state.step = wait_step
  state.failure = nil
end

--- opened(conn, state): notes that the connection is open.
function Keeper:opened(conn, state)
  if self.left then
    self.left.conn[1] = nil -- what becomes of the last connection concerns nobody any more
    conn.close_code, conn.close_reason, conn.was_clean = nil, nil, nil
    conn.close_code_sent, conn.close_reason_sent = nil, nil
    conn.latency, conn.latency_smoothed = nil, nil
  end
  conn.response, self.left = nil, nil
  self.settings, self.since, self.has_warned = state.reconnect, clock.now(), false
  if not state.reconnect then state.keeper = nil end -- the option was switched off meanwhile
end

--- lost(conn, state, why): deals with the end of a connection that was open, of which the handler was told.
function Keeper:lost(conn, state, why)
  if self.is_deciding or not is_kept(self, conn, state) then return end
  local delay, interruption = self:decide(conn, why, nil)
  if not is_kept(self, conn, state) then return end -- wsclose
  if not delay then
    state.keeper, state.outbox = nil, nil
    if interruption then
      state.over = "interrupted"
      error(interruption, 0)
    end
    log.debug("%s is not opened again", guard.name(conn))
    return
  end
  close.insist(state)
  log.debug("%s is lost: %s; trying again in %.1f s", guard.name(conn), why, delay)
  local following = connection.new(state.opening)
  following.conn, following.keeper, following.outbox = conn, self, state.outbox
  retry(following, delay)
  self.left = state.lingering
  conn.closing, conn.socket = false, nil
  conn[STATE], conn[NUMBER] = following, false -- from here on, the old state is not looked at any more
  state.keeper, state.outbox = nil, nil
end

--- failed(conn, state): deals with an attempt that has failed.
function Keeper:failed(conn, state)
  if self.is_deciding then return end
  if state.retry_at then return retry(state) end -- it was broken off
  local failure = state.failure
  conn.response = failure.response
  local delay, interruption = self:decide(conn, failure.text, failure)
  if state.phase ~= "connecting" then -- wsclose
    state.failure = nil
    return
  end
  if not delay then
    if interruption then
      failure = { text = "interrupted" }
    elseif self.since then
      failure.text = "gave up: " .. failure.text
    end
    state.keeper, state.outbox = nil, nil
    connection.failed(state, failure)
    if interruption then error(interruption, 0) end
    return
  end
  if backoff.is_firm(failure) and not self.has_warned then
    self.has_warned = true
    log.warning("%s cannot be opened: %s; it is tried again and again (logged once)", guard.name(conn), failure.text)
  else
    log.debug("%s cannot be opened: %s; trying again in %.1f s", guard.name(conn), failure.text, delay)
  end
  retry(state, delay)
end

return reconnect
