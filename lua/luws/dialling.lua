--[[
Stands for the wire of a connection while a name is looked up and its addresses are tried. Knows nothing of what comes
then.
--]]

local _, import, world = ...
local wires = import("wires/native")

local dialling = {}

-- A signal does not interrupt a name look-up, so one wait takes no longer than this (in seconds).
local STEP = 0.2

local Dialling = { came = 0 }
Dialling.__index = Dialling

--- begin(state, host, port): begins to connect. The field `dial` is what does it (wires/native.lua); `wire` and `more`
-- are what it returned at the end of the last wait.
function dialling.begin(state, host, port)
  local dial = world.dial or wires.dial
  return setmetatable({ dial = dial(state, host, port) }, Dialling)
end

function Dialling:wait(_, _, seconds)
  self.wire, self.more = self.dial:advance(math.min(seconds, STEP))
end

function Dialling:close()
  if self.wire then self.wire:close() else self.dial:cancel() end
end

--- wake(item): gives the reactor's item a turn once the name has been looked up, which may be the case by now.
-- Returns false if nobody can tell it.
function Dialling:wake(item)
  if self.is_awaited then return true end
  local is_awaited = self.dial:wake(item)
  if is_awaited == nil then return false end
  self.is_awaited = true
  if not is_awaited then item:notice() end
  return true
end

--- descriptors(): returns those of the attempts to connect that were begun since the last call.
function Dialling:descriptors() return self.dial:descriptors() end

--- look_up(): does what can be done without waiting while the dial is held. Returns the name's addresses; nil if they
-- are not known yet; nil and why not.
function Dialling:look_up()
  local why = self.more
  if not why then
    local _
    _, why = self.dial:advance(0)
  end
  if why then return nil, why end
  return self.dial:untried()
end

--- timeout(): returns why there was not enough time.
function Dialling:timeout()
  return self.dial:is_queued() and "timeout; too many name look-ups are waiting" or "timeout"
end

return dialling
