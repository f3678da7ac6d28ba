--[[
The time, as one world has it. Another world brings its own clock, with the same functions.
--]]

local native, _, world = ...

local clock = {
  --- now(): seconds on a clock that only goes forward, and that nobody sets.
  now = native.now,
  --- The clock of sessions, where that is not the system's (native.virtual_clock).
  native = nil,
  --- time(): seconds since 1970 with their fraction.
  time = native.time,
}

--- sleep(seconds): a signal interrupts the system's sleep, so that Lua can run the hook it has for it.
function clock.sleep(seconds)
  local deadline = native.now() + seconds
  repeat until native.sleep(deadline - native.now()) ~= false
end

return world.clock or clock
