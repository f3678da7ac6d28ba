--[[
Where a server of luws.server listens in a world in memory: takes the clients that dial there until the server accepts
them. It has the fields and methods of a listener of the system (server/listeners.lua); what it accepts is an end of a
wire in memory. It knows nothing of what the server does.
--]]

local _, import = ...
local link, sockets = import("mock/link"), import("mock/socket")

local listeners = {}

-- Ports that are chosen: for servers that want any, and of clients.
local FIRST_PORT = 49152

-- The host under which a client connects, as this world's servers see it.
local CLIENT = "127.0.0.1"

local Listener = {}
Listener.__index = Listener

--- Returns the next port of a world that nobody has.
local function next_port(net)
  net.port = (net.port or FIRST_PORT - 1) + 1
  return net.port
end

--- listen(net, place): returns the listeners of one place (server/options), in an array; or nil and why there are none,
-- with the name of the place.
function listeners.listen(net, place)
  if not place.port then
    return nil, "a world in memory has no such sockets", place.unix or "descriptor " .. place.fd
  end
  local port = place.port > 0 and place.port or next_port(net)
  local self = setmetatable({
    net = net, host = place.host, port = port, who = ("the server at %s:%d"):format(place.host, port),
    is_secure = place.tls, faults = net.faults, backlog = place.backlog, waiting = {}, item = nil,
  }, Listener)
  if net.places:is_taken(place.host, port) then
    return nil, "address already in use", ("%s:%d"):format(place.host, port)
  end
  net.places:enter(self, place.host, port)
  return { self }
end

--- delay_of_dial(): returns after how many seconds a dial has its answer.
function Listener:delay_of_dial() return self.net:draw(self.faults and self.faults.delay or 0) end

--- meet(): a client has dialled. Returns its end of the wire; or nil and why not.
function Listener:meet()
  local net = self.net
  if #self.waiting >= self.backlog then return nil, "connection refused" end
  local near, far, between = link.between(net.memory, self.faults, {
    clock = net.clock, random = net.random, who = self.who,
  })
  net:track { who = "a connection to " .. self.who, line = far, link = between, expected = {} }
  self.waiting[#self.waiting + 1] = far
  if self.item then self.item:notice() end
  return near
end

function Listener:accept()
  local line = table.remove(self.waiting, 1)
  if line then return line, CLIENT, next_port(self.net) end
  return nil
end

function Listener:watch(item)
  self.item = item
  return true
end

function Listener:close()
  self.net.places:leave(self)
  for _, line in ipairs(self.waiting) do line:close() end
  self.waiting = {}
end

--- wires(net): returns what makes wires of what was accepted (wires/native.lua has the same functions).
function listeners.wires(net)
  return {
    make = function(state, line)
      return net.memory.wire(state.session, line, net.clock), sockets.handle(line)
    end,
    drop = function(line) line:close() end,
  }
end

return listeners
