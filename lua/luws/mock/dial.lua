--[[
Dials in a world in memory (wires/native.lua has the contract): they take the time that the world says, and have its
answer.
--]]

local _, import = ...
local sockets = import("mock/socket")

local dials = {}

local Dial = {}
Dial.__index = Dial

function Dial:advance(seconds)
  local net = self.net
  if self.is_held then return nil end
  if not net.clock.pass(seconds, function() return net.clock.now() >= self.at end) then return nil end
  if self.why then return nil, self.why end
  local near, why = net:attach(self.host, self.port)
  if not near then return nil, why end
  return net.memory.wire(self.session, near, net.clock), sockets.handle(near)
end

function Dial:due()
  return self.at < math.huge and math.max(0, self.at - self.net.clock.now()) or nil
end

function Dial:untried() return { self.host } end
function Dial.descriptors() return {} end
function Dial.wake() return true end
function Dial.is_queued() return false end
function Dial:hold() self.is_held = true end
function Dial:go_on() self.is_held = false end
function Dial.cancel() end

--- new(net, state, host, port): begins to connect.
function dials.new(net, state, host, port)
  local seconds, why = net:fate(host, port)
  local at = net.clock.now() + seconds
  if at > net.clock.now() and at < math.huge then net.clock.after(seconds, function() end, "a dial") end
  return setmetatable({ net = net, host = host, port = port, session = state.session, at = at, why = why }, Dial)
end

return dials
