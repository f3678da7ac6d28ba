--[[
The clock of a world. A world other than the real one brings its own clock, with the same functions.
--]]

local native, _, world = ...

local clock = {
  --- now(): seconds on a monotonic clock.
  now = native.now,
  --- The clock that sessions use, if it is not the system's (native.virtual_clock).
  native = nil,
  --- time(): seconds since 1970, with a fraction.
  time = native.time,
}

--- sleep(seconds): pauses for this time. A signal interrupts the system's sleep, so that Lua can run its hook for it.
function clock.sleep(seconds)
  local deadline = native.now() + seconds
  repeat until native.sleep(deadline - native.now()) ~= false
end

return world.clock or clock
