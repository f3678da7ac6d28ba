-- A process that opens, uses and closes connections all the time must not grow. Two thirds of them echo a message; each
-- of the others fails in one of the ways of connections.lua, in turn. Afterwards the process has the descriptors and
-- threads that it had after its first rounds, and at most MOST more memory.
--
--   LUA churn.lua SCHEME COUNT    prints what happened, and fails if something is left
--
-- Run by scripts/soak.sh, in the project's folder. How many connections there can be at once is many.lua's matter.

local luws = require "luws"
local measure = require "spec.support.measure"
local socket = require "socket"

local scheme, count = arg[1], tonumber(arg[2])
local MOST = 1024 * 1024 -- bytes

luup = { log = function() end } -- luacheck: ignore (handlers raise errors on purpose)

local echoes, FAILURES = require "spec.soak.connections" (scheme)

local failures = 0

local function play(rounds)
  for i = 1, rounds do
    if i % 3 == 0 then
      failures = failures + 1
      FAILURES[failures % #FAILURES + 1]()
    else
      echoes()
    end
    if i % 100 == 0 then collectgarbage() end -- those that nobody closes must not fill the table of descriptors
  end
end

-- After 128 connections have ended, luws has the system's allocator give back what is free.
local GIVEN_BACK = 128

--- Returns what the process has once everything that was begun is over.
local function rest()
  collectgarbage()
  for _ = 1, 2 * GIVEN_BACK do echoes() end
  collectgarbage()
  luws.sleep(0.1) -- for those that linger
  return measure.descriptors(), measure.threads(), measure.resident()
end

play(30 * #FAILURES) -- the first ones, ten failures of each kind
local descriptors, threads, resident = rest()
local began = socket.gettime()
failures = 0
play(count)
local left_descriptors, left_threads, left_resident = rest()
local grown = left_resident - resident
io.write(("%d connections in %.0f s, %d of them failures of %d kinds; descriptors %d -> %d, threads %d -> %d, "
  .. "resident memory %.1f MiB %+.2f MiB\n"):format(count, socket.gettime() - began, failures, #FAILURES, descriptors,
  left_descriptors, threads, left_threads, resident / 2 ^ 20, grown / 2 ^ 20))
assert(left_descriptors == descriptors and left_threads == threads, "something was left")
assert(grown <= MOST, "the process has grown")
