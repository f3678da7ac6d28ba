-- Plays the steps of scripted.lua's peers in memory and in virtual time, so that a spec can use the same peer with and
-- without a network. Its peers have the functions of scripted.lua's; the head of that file describes the steps.
--
-- It knows the peers of world.lua. Steps and options that need a network are missing: tls and addresses; a reset is
-- only an end of the stream.

local scripted = require "spec.support.scripted"

local player = {}

local PATIENCE = 10 -- virtual seconds that a spec waits for a script

local STEP = 0.001 -- virtual seconds between checks for room

-- Each connection's script is a coroutine. It is resumed when something arrives, and when its time comes.

--- Reads until done() is true or the stream ends.
local function read_until(peer, done)
  peer.line.capacity = math.huge
  while true do
    peer:take_in()
    if done() or peer.line.finished then return end
    coroutine.yield()
  end
end

--- Waits until done() is true, without reading.
local function wait_until(peer, done)
  peer.line.capacity = peer.player.steps.receive_buffer or math.huge
  while not done() do coroutine.yield() end
end

local function sleep(peer, seconds)
  local clock = peer.clock
  local time = clock.now() + seconds
  clock.after(seconds, function() peer:advance() end)
  wait_until(peer, function() return clock.now() >= time end)
end

--- Sends bytes as there is room for them.
local function send(peer, bytes)
  while #bytes > peer.line:room() do
    local room = peer.line:room()
    peer:raw(bytes:sub(1, room))
    bytes = bytes:sub(room + 1)
    sleep(peer, STEP)
  end
  peer:raw(bytes)
end

--- Sends bytes in pieces of this size, with a pause after each.
local function send_pieces(peer, bytes, size, interval)
  for at = 1, #bytes, size do
    send(peer, bytes:sub(at, at + size - 1))
    if interval and interval > 0 then sleep(peer, interval) end
  end
end

local steps = {}

function steps.upgrade(peer, step)
  read_until(peer, function() return peer.request end)
  if not peer.request then return end
  local accept = peer:accept(true):match "Sec%-WebSocket%-Accept: (%S+)"
  local response = scripted.response(step):gsub("{accept}", accept) .. (step.tail or "")
  send_pieces(peer, response, step.pieces or #response, step.interval)
end

function steps.request(peer)
  read_until(peer, function() return peer:came():find("\r\n\r\n", 1, true) end)
end

function steps.read(peer, step)
  local wanted = #peer:came() + (step[2] or step.count or 1)
  read_until(peer, function() return #peer:came() >= wanted end)
end

function steps.read_frame(peer, step)
  local wanted = peer.taken + (step[2] or 1)
  read_until(peer, function()
    local frame = peer.frames[wanted]
    return wanted == 0 or frame and #frame.payload == frame.length
  end)
  peer.taken = wanted
end

function steps.read_to_eof(peer)
  read_until(peer, function() return false end)
end

steps.hold = steps.read_to_eof

function steps.send(peer, step) send(peer, step[2]:rep(step.times or 1)) end
function steps.pieces(peer, step) send_pieces(peer, step[2], step[3], step[4]) end
function steps.drip(peer, step) send_pieces(peer, step[2], 1, step[3]) end
function steps.sleep(peer, step) sleep(peer, step[2]) end

function steps.wait(peer)
  wait_until(peer, function() return peer.player.goes > peer.waits end)
  peer.waits = peer.waits + 1
end

function steps.shutdown(peer) peer:finish() end
function steps.close(peer) peer:vanish() end
steps.reset = steps.close

local Player = {}
Player.__index = Player

--- Returns the peer for the next connection; world.lua calls this.
function Player:new_connection()
  local peer = self.world:peer()
  self.world.next_peer = self
  self.connections[#self.connections + 1] = peer
  peer.player, peer.clock, peer.taken, peer.waits, peer.step = self, self.world.clock, 0, 0, 1
  function peer.on_request() end
  local thread = coroutine.create(function()
    peer.line.other.capacity = self.steps.send_buffer or math.huge
    for i, step in ipairs(self.steps) do
      peer.step = i
      assert(steps[step[1]], "there is no such step in memory: " .. tostring(step[1]))(peer, step)
    end
    peer.step, peer.ended = #self.steps + 1, true
    peer:vanish()
  end)
  function peer.script()
    if coroutine.status(thread) ~= "suspended" then return end
    assert(coroutine.resume(thread))
  end
  return peer
end

--- Returns the record of a connection, with those fields of scripted.lua's record that exist here.
local function record(peer)
  local raw = peer:came()
  local head = raw:match "^(.-\r\n\r\n)"
  return {
    raw = raw, head = head, request_line = head and head:match "^[^\r\n]*",
    headers = peer.request and peer.request.headers,
    frames = peer.frames, step = peer.step, ended = peer.ended or false, eof = peer.line.finished ~= nil,
  }
end

--- Lets time pass until done(peer) is true.
local function awaited(self, number, seconds, done)
  local peer
  local in_time = self.world.clock.pass(seconds or PATIENCE, function()
    peer = self.connections[number or 1]
    return peer and done(peer)
  end)
  if not in_time then
    error(("peer in memory: still at step %s after %g s"):format(peer and peer.step or "0", seconds or PATIENCE), 3)
  end
  return record(peer)
end

function Player:result(number, seconds)
  return awaited(self, number, seconds, function(peer) return peer.ended end)
end

function Player:at(step, number, seconds)
  return awaited(self, number, seconds, function(peer) return peer.step >= step end)
end

function Player:so_far(number)
  local peer = self.connections[number or 1]
  return peer and record(peer)
end

function Player:go()
  self.goes = self.goes + 1
  for _, peer in ipairs(self.connections) do peer:advance() end
end

function Player:close()
  for _, peer in ipairs(self.connections) do peer:vanish() end
end

--- new(world, script): returns a peer that plays these steps on each connection. It has two of scripted.lua's options:
-- receive_buffer is exactly how many bytes there is room for while nothing is read; send_buffer is the same for bytes
-- that the client has not read.
function player.new(world, script)
  return setmetatable({
    world = world, steps = script, connections = {}, goes = 0, url = "ws://peer.test/", host = "peer.test", port = 80,
  }, Player)
end

return player
