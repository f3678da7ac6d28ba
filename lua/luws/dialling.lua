--[[
Where an attempt connects to, and what stands for the wire of a connection while a name is looked up and its addresses
are tried. Knows nothing of what comes then.
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

--- destination(plan): returns the host and port to connect to: those of the proxy, or of the server itself.
function dialling.destination(plan)
  local where = plan.proxy or plan.target
  return where.zone and where.host .. "%" .. where.zone or where.host, where.port
end

-- The most connections that are opened at the same time to servers whose addresses only a proxy knows.
local THROUGH_PROXIES = 8

--- places(state): returns how many connections may be opened at the same time, by place: the server's addresses; or its
-- name, if only others know its addresses. Returns nil while the name is being looked up.
function dialling.places(state)
  local plan, most, found = state.plan, state.opening.connecting_limit, {}
  if plan.proxy or not state.wire then
    found[plan.proxy and plan.proxy.target_host or plan.target.host] = most
    if plan.proxy then found["through proxies"] = THROUGH_PROXIES end
    return found
  end
  local addresses, why = state.wire:look_up()
  state.wire.more = why
  if why then return found end
  for _, address in ipairs(addresses or {}) do found[address] = most end
  return addresses and found
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
