-- Steps of the reactor, for specs in which it drives one end or both over real sockets.
--
-- It knows nothing of what is waited for.

local luws = require "luws"
local reactor = require "luws.reactor"

local stepping = {}

--- Seconds for what takes less on any machine.
stepping.PATIENCE = 10

--- till(done [, wait [, patience [, what]]]): steps until done() is true, for so many seconds at most. Returns what it
-- has returned. `wait` is for how long a step may wait, for specs in which the other end moves only between the steps;
-- `what` is what the error says if it takes too long.
function stepping.till(done, wait, patience, what)
  local deadline = luws.gettime() + (patience or stepping.PATIENCE)
  while true do
    local result = done()
    if result then return result end
    assert(luws.gettime() < deadline, "it takes too long" .. (what and ": " .. what or ""))
    reactor.step(wait or 0.02)
  end
end

--- rest(seconds): steps for that time.
function stepping.rest(seconds)
  local deadline = luws.gettime() + seconds
  repeat reactor.step(0.005) until luws.gettime() >= deadline
end

--- come_to_rest([patience]): steps until the reactor has nothing more to do; after so many seconds that is an error.
function stepping.come_to_rest(patience)
  patience = patience or stepping.PATIENCE
  local begun = luws.gettime()
  reactor.run(patience)
  assert(luws.gettime() - begun < patience, "something is left to be driven")
end

return stepping
