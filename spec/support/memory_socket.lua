-- A socket for options.connect that is a plain table. It has LuaSocket's methods, and leads to a peer in memory that
-- runs the engine in server role and echoes (world.lua).
--
--   local socket = memory_socket.new { send = function(self, bytes) return self:take(bytes:sub(1, 1)) end }
--   conn = luws.wsopen("ws://memory/", handler, { connect = function() return socket end })
--   assert.equal(1, #socket.peer.events)
--
-- It knows what LuaSocket promises of its methods, and nothing of who calls them.

local sockets = require "spec.support.sockets"
local world = require "spec.support.world"
local unpack = require "spec.support.compat".unpack

local memory_socket = {}

local MOST_CALLS = 100000 -- at one moment; more mean an endless loop

local Socket = {}
Socket.__index = Socket

--- take(bytes): sends as many of the bytes as there is room for. Returns how many that was.
function Socket:take(bytes)
  local count = math.min(#bytes, self.line:room())
  self.line:send(bytes:sub(1, count))
  self.world.clock.run() -- the peer reads and answers
  return count
end

--- give(max): returns what a receive returns of the bytes that have arrived.
function Socket:give(max)
  self.world.clock.run()
  return self.line:take(max)
end

--- waiting(): returns how many bytes have arrived and were not received yet.
function Socket:waiting() return self.line:waiting() end

--- Runs a fault in place of a method. Returns whether there is one, and what it returns.
local function faulty(self, name, ...)
  local now = self.world.clock.now()
  self.calls = now == self.called and self.calls + 1 or 1
  self.called = now
  if self.calls > MOST_CALLS then error("this loop has no end: the socket is asked again and again", 0) end
  self.late = self.late + self.closed
  local fault = self.faults[name]
  local results = fault and { fault(self, ...) } or {}
  return next(results) ~= nil, unpack(results, 1, 3)
end

local function send(self, bytes, is_faulty, ...)
  if is_faulty then return ... end
  if self.line.broken then return nil, self.line.broken, 0 end
  local count = self:take(bytes)
  if count == #bytes then return count end
  return nil, "timeout", count
end

function Socket:send(bytes)
  self.sends = self.sends + 1
  return send(self, bytes, faulty(self, "send", bytes))
end

local function receive(self, max, is_faulty, ...)
  if is_faulty then return ... end
  local line = self.line
  self.world.clock.pass(self.seconds, function() return line:waiting() >= max or line.finished end)
  if line:waiting() >= max then return self:give(max) end
  return nil, line.finished or "timeout", self:give(max)
end

function Socket:receive(max)
  self.receives = self.receives + 1
  return receive(self, max, faulty(self, "receive", max))
end

function Socket:settimeout(seconds)
  self.late = self.late + self.closed
  self.seconds = seconds
  self.timeouts[tostring(seconds)] = true
  return 1
end

function Socket:close()
  self.closed = self.closed + 1
  self.line:close()
  if self.faults.close then self.faults.close(self) end
  return 1
end

--- new([faults [, world [, peer]]]): returns a socket. faults.send(socket, bytes) and faults.receive(socket, max) may
-- replace the method: what they return is returned, unless they return nothing; faults.close(socket) is called in
-- close. Faults may be changed at any time. With a world, waits take that world's time, otherwise none; with a peer of
-- that world (world.lua, player.lua), the socket leads to that peer. Fields: peer; sends, receives, closed (numbers of
-- calls), late (calls after close), timeouts (the set of values given to settimeout).
function memory_socket.new(faults, w, peer)
  w = w or world.new()
  if peer and peer.new_connection then peer = peer:new_connection() end
  peer = peer or w:peer():echo()
  return setmetatable({
    world = w, peer = peer, line = w:attach(peer), faults = faults or {}, seconds = 0,
    calls = 0, sends = 0, receives = 0, closed = 0, late = 0, timeouts = {},
  }, Socket)
end

--- connecting(session, replaced): the same as sockets.connecting, to the current peer of a session of world.lua.
function memory_socket.connecting(session, replaced)
  return function() return sockets.over(memory_socket.new({}, session.world, session.peer), replaced) end
end

return memory_socket
