-- What the reactor costs with many connections: `make bench-reactor` runs this, with the least that a server could do
-- on another core.
--
--   many.lua URL COUNT
--
-- Prints as a table: how many connections it opens in a second, what each takes of this process, what a step with
-- nothing to do takes, and how long the echo of a message takes, for one connection and for all of them.

local luws = require "luws"
local measure = require "spec.support.measure"
local reactor = require "luws.reactor"

local url, count = arg[1], tonumber(arg[2])

local STEPS, ECHOES, ROUNDS = 100000, 2000, 5
local MOST_IN_OPENING = 200 -- the server's queue of connections that it has not accepted is not long

local answered = 0
local function on_message() answered = answered + 1 end

local conns = {}

--- Opens connections until there are so many. Returns how many it opened in a second.
local function open_up_to(wanted)
  local begun, opened, asked = luws.gettime(), #conns, #conns
  local before = opened
  local function on_open(conn)
    opened = opened + 1
    conns[opened] = conn
  end
  local function handler(_, opcode, data)
    if opcode == false then error(data) end
    on_message()
  end
  local options = { wait = false, open_handler = on_open, close_timeout = 0 }
  while opened < wanted do
    while asked < wanted and asked - opened < MOST_IN_OPENING do
      asked = asked + 1
      assert(luws.wsopen(url, handler, options))
    end
    reactor.step(10)
  end
  return (opened - before) / (luws.gettime() - begun)
end

--- Returns the microseconds that one call of f takes, at best of several rounds.
local function microseconds(calls, f)
  local best = math.huge
  for _ = 1, ROUNDS do
    local begun = luws.gettime()
    for i = 1, calls do f(i) end
    best = math.min(best, (luws.gettime() - begun) / calls * 1e6)
  end
  return best
end

local function idle() reactor.step(0) end

--- Sends a message on one of the connections, and waits for the echo.
local function echo(i)
  local wanted = answered + 1
  luws.wssend(conns[i * 7919 % #conns + 1], 1, "sixteen bytes...")
  while answered < wanted do reactor.step(10) end
end

local rows = {}
local function add_row()
  reactor.run(0.2) -- what is left of opening
  rows[#rows + 1] = { count = #conns, idle = microseconds(STEPS, idle), echo = microseconds(ECHOES, echo) }
end

open_up_to(1)
add_row()
local before = measure.resident()
local rate = open_up_to(count)
local memory = (measure.resident() - before) / (count - 1) / 1024
add_row()

for _, row in ipairs(rows) do
  print(("%6d connections: a step with nothing to do %.2f us, an echo %.1f us"):format(row.count, row.idle, row.echo))
end
print(("an echo takes %.2f times as long with %d connections as with one"):format(rows[2].echo / rows[1].echo, count))
print(("%.0f connections opened in a second, %.1f KiB of this process for each"):format(rate, memory))
for _, conn in ipairs(conns) do luws.wsclose(conn) end
reactor.run(5)
