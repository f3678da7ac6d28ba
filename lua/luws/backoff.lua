--[[
When to try again after a connection was lost or could not be opened: the settings of the option reconnect, and what
they and a failure mean for the next attempt. Knows no connections.
--]]

local native, import, world = ...
local clock, options = import("clock"), import("options")

local backoff = {}

local reconnect_rows = {
  { "first", 1, options.at_least(0) }, -- s before the first attempt
  { "most", 60, options.at_least(0) }, -- s before an attempt at most
  { "factor", 2, options.at_least(1) }, -- by which the time grows with each attempt
  { "jitter", 0.5, options.between(0, 1) }, -- the part of the time that is left to chance
  { "stable", 30, options.at_least(0) }, -- s of being open after which it begins with `first` again
  { "attempts", nil, options.whole(1) }, -- how many in a row may fail; nil: any number
  { "on", nil, options.callable }, -- on(conn, why, attempt): false: give up; a number: s before the attempt
}

--- settings(value): returns a complete table for a value of the option, or nil and what is wrong with it.
function backoff.settings(value) return options.complete("reconnect", reconnect_rows, value) end

-- Refusals that trying again hardly cures: who may not come in today may not come in in a minute.
local FIRM = { [401] = true, [403] = true, [404] = true }

-- The same of failures by their kind; `denied` is a proxy's refusal. A certificate that is not valid at this time may
-- be so by our own clock only: a board without a battery begins in the past, until the network tells it the time.
local FIRM_KINDS = { certificate = true, denied = true, options = true }
local UNTIMELY = "untimely"

-- More powers than these are no different from infinity.
local MOST_POWERS = 1000

-- No server is waited for longer than this (in seconds), whatever it says.
local DAY = 86400

local random = world.random or native.random

--- is_firm(failure): returns whether trying again hardly cures this failure.
function backoff.is_firm(failure)
  local status = failure.response and failure.response.status
  return FIRM[status] or FIRM_KINDS[failure.kind] or failure.kind == UNTIMELY or false
end

--- asked(response): returns how many seconds a server has asked us to wait (RFC 9110 section 10.2.3); 0 for none. A
-- date is taken by the server's own clock, if it has told its time.
local function asked(response)
  local headers = response and response.headers
  local value = headers and headers["retry-after"]
  if type(value) ~= "string" then return 0 end
  local seconds = tonumber(value:match "^%s*(%d+)%s*$")
  if not seconds then
    local time = native.http_date(value)
    if not time then return 0 end
    seconds = time - (native.http_date(headers.date or "") or clock.time())
  end
  return math.max(0, math.min(seconds, DAY))
end

--- delay(settings, attempt, failure, was_open): returns after how many seconds the attempt of this number, from 1, is
-- to be made; nil for not at all. `failure` is that of the attempt before, nil after a loss; `was_open`: the connection
-- has been open before.
function backoff.delay(settings, attempt, failure, was_open)
  if settings.attempts and attempt > settings.attempts then return nil end
  local seconds = settings.first
  if seconds > 0 then seconds = seconds * settings.factor ^ math.min(attempt - 1, MOST_POWERS) end
  if failure and backoff.is_firm(failure) then
    if not was_open and failure.kind ~= UNTIMELY then return nil end
    seconds = settings.most
  end
  seconds = math.min(seconds, settings.most) * (1 - settings.jitter * random())
  return math.max(seconds, asked(failure and failure.response))
end

return backoff
