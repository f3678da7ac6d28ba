--[[
Keeps a connection alive with pings that have a number and a time in them, and knows from their pongs how long a round
trip takes. A peer that answers no more is noticed, also where only frames of the program's own count.
--]]

local _, import = ...
local guard, log = import("guard"), import("log")
local reactor = import("reactor").public
local fold, rows, tap = import("record/fold"), import("record/rows"), import("record/tap")

local lag = {}

local Lag = {}
Lag.__index = Lag

local PING = 9

-- Seconds between pings, and how many of them may stay without a pong.
local INTERVAL, MISSING = 20, 3

--- Ends a connection whose peer is gone, so that it is lost and may be opened again.
local function give_up(self, here, missing)
  local conn = here.ref[1]
  if not conn then return end
  if self.on_dead then
    local ok, err = guard.free(self.on_dead, conn, missing)
    if not ok then log.handler_failed("the on_dead of a heartbeat raised an error", err) end
    return
  end
  local socket = not here.is_object and conn.socket
  if socket and socket.close then socket:close() else tap.close(here, nil, nil) end
end

--- turn(): sends a ping, or gives up. The reactor calls it; a program that has none calls it itself.
function Lag:turn()
  local here = self.recording.ends[self.conn]
  if not (here and here.is_open) then
    self.missing = 0
    return
  end
  if self.missing >= self.limit then
    local missing = self.missing
    self.missing = 0
    self.recording:came({ ["in"] = "dead", conn = self.conn, missing = missing })
    return give_up(self, here, missing)
  end
  self:ping()
end

--- ping(): sends a ping now. Returns true; or nil and why not.
function Lag:ping()
  local recording = self.recording
  local now = recording:time()
  self.number, self.missing = self.number + 1, self.missing + 1
  local payload = ("%d %.6f"):format(self.number, now)
  local here = recording.ends[self.conn]
  local ok, why = tap.send_quietly(recording, here, PING, payload)
  local fields = rows.put_data({ out = "ping", conn = self.conn, number = self.number, outside = true }, payload, false)
  fields.error = why
  recording:add(fields)
  return ok, why
end

--- pong(data): returns the seconds since the ping that it answers; nil if it answers none of ours.
function Lag:pong(data)
  local number, sent = data:match "^(%d+) (%d+%.%d+)$"
  number, sent = tonumber(number), tonumber(sent)
  if not number or number > self.number or number <= self.answered then return nil end
  self.answered, self.missing = number, 0
  local rtt = math.max(0, self.recording:time() - sent)
  self.known = fold.lag(self.known, rtt)
  self.last, self.smoothed = self.known.last, self.known.smoothed
  self.minimum, self.deviation = self.known.minimum, self.known.deviation
  return rtt
end

--- heard(seconds): the peer has just said what its time is. Returns by how much its clock is ahead of the recording's,
-- if it took half of a round trip to come here.
function Lag:heard(seconds)
  self.skew = seconds - (self.recording:time() - (self.smoothed or 0) / 2)
  return self.skew
end

--- stop(): sends no more pings.
function Lag:stop()
  self.is_stopped = true
  if self.timer then self.timer:cancel() end
  if self.recording.lags[self.conn] == self then self.recording.lags[self.conn] = nil end
end

local function again(self)
  self.timer = self.reactor.after(self.interval, function()
    if self.is_stopped then return end
    again(self)
    self:turn()
  end)
end

--- new(recording, options): begins. Options: conn (the name of the connection), interval (seconds), missing (pongs),
-- on_dead (a function of the connection), reactor (for the timer; false: the program calls turn).
function lag.new(recording, options)
  local self = setmetatable({
    recording = recording, conn = options.conn, interval = options.interval or INTERVAL,
    limit = options.missing or MISSING, on_dead = options.on_dead, number = 0, answered = 0, missing = 0,
    reactor = options.reactor == nil and reactor or options.reactor, is_stopped = false,
    -- Once it is known: last, smoothed, minimum, deviation, skew.
  }, Lag)
  if recording.player then return self end -- pings are not the handlers' work
  local before = recording.lags[options.conn]
  if before then before:stop() end
  recording.lags[options.conn] = self
  if self.reactor then again(self) end
  return self
end

return lag
