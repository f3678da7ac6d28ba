--[[
Connections whose last response was complete, kept for a while for the next request to the same place. Knows what makes
two plans alike; does not know what is asked.
--]]

local native, import = ...
local clock, connection, drive, open = import("clock"), import("connection"), import("drive"), import("open")

local pool = {}

-- A connection is kept for this long (in seconds): less than servers usually do, so requests seldom meet its end.
local IDLE = 3

-- The most connections that are kept.
local MOST = 8

-- Those that are kept, the oldest first.
local kept = {}

--- equal(a, b): returns whether two values are the same, tables by what is in them.
local function equal(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

--- is_alike(state, other): returns whether what one state plans can be asked on the other's connection.
local function is_alike(state, other)
  local plan, present = state.plan, other.plan
  local target, there = plan.target, present.target
  return target.host == there.host and target.port == there.port and target.zone == there.zone
    and target.secure == there.secure and plan.parameters.sni == present.parameters.sni
    and equal(plan.parameters.tls, present.parameters.tls) and equal(plan.proxy, present.proxy)
    and state.opening.connect == other.opening.connect
end

--- is_alive(state): returns whether nothing has come on a connection that is kept: neither its end nor an answer that
-- nobody has asked for (RFC 9112 section 9.2). And whether there may be more to read.
local function is_alive(state)
  local _, more = connection.read(state, 1)
  return not state.ended and native.can_ask(state.session), more
end

local function remove(entry)
  for i, other in ipairs(kept) do
    if other == entry then table.remove(kept, i) end
  end
  drive.leave(entry.state)
end

local function finish(entry)
  remove(entry)
  open.cancel(entry.state)
end

--- take(state): returns a connection, as its state, on which the plan of this state can be asked; nil if there is none.
function pool.take(state)
  for i = #kept, 1, -1 do
    local entry = kept[i]
    if is_alike(state, entry.state) then
      if is_alive(entry.state) then
        remove(entry)
        return entry.state
      end
      finish(entry)
    end
  end
end

--- leave(state): takes over a connection that was used; ends it if no other request can be made on it. The reactor must
-- not be in a turn of it.
function pool.leave(state)
  -- A user's socket may need its own handling at the end.
  if state.opening.connect or not native.can_ask(state.session) then
    drive.leave(state)
    open.cancel(state)
    return
  end
  if #kept >= MOST then finish(kept[1]) end
  local entry = { state = state }
  kept[#kept + 1] = entry
  local ends = clock.now() + IDLE
  -- A server waits for the end of what it has ended, so that is noticed at once.
  drive.set_aside(state, ends, function(now, has_ended)
    local still_alive, more = is_alive(state)
    if still_alive and not has_ended and now < ends then return more end
    finish(entry)
  end)
end

return pool
