--[[
Where the servers of luws.server live that listen in a world in memory: in a world of their own with the same clock and
places, as if they were another process. So they go on whatever the program waits for, as servers elsewhere do. Their
reactor is stepped by the clock.
--]]

local _, import, world = ...
local listeners = import("mock/listener")

local process = {}

--- Returns a poller whose timer is the clock's: it steps the reactor when something is due. While it waits (a program
-- runs the server), what the world's own reactor drives goes on.
local function poller_of(net, own, is_due)
  local clock = net.clock
  local poller = net.memory.poller(clock, is_due)
  local timer, next_time
  local function step()
    timer = nil
    if not own.turns.is_stepping() then own.reactor.step(0) end -- a handler waits; it is set again after that
  end
  function poller.set_timer(time)
    if timer then clock.cancel(timer) end
    timer = time and clock.after(math.max(0, time - clock.now()), step, "a server") or nil
  end
  local wait = poller.wait
  function poller.wait(seconds)
    if seconds == 0 then return wait(0) end
    return clock.pass(seconds, function()
      if not net.is_stepping() then net.reactor.step(0) end
      local left = net.reactor.timeout()
      if left and clock.now() + left ~= next_time then
        next_time = clock.now() + left
        clock.after(left, function() end, "a program")
      end
      return is_due()
    end) and 0 or nil
  end
  return poller
end

--- new(net, seams): returns listen(options), the one of luws.server for servers in this world. `seams` are what parts
-- ask the world for; what servers ask it for is added.
function process.new(net, seams)
  local own = {}
  function seams.poller(is_due) return poller_of(net, own, is_due) end
  function seams.listen(place) return listeners.listen(net, place) end
  seams.wires = listeners.wires(net)
  world.instance("luws", seams)
  own.turns, own.reactor = seams.import("turns"), seams.import("reactor").public
  own.reactor.getfd() -- from now on, its timer is set
  local server = seams.import("server").public
  return function(options)
    local given = {}
    for name, value in pairs(options) do given[name] = value end
    given.reactor = own.reactor
    return server.listen(given)
  end
end

return process
