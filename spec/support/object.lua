-- A WebSocket object (luws.websocket) whose server is a peer in memory (world.lua), and what its listeners were told.
--
--   local o = object.new "a LuaSocket socket"
--   local ws, peer = o:open()                    -- it is OPEN
--   peer:send(1, "Hello")
--   o:run()
--   assert.same({ "1 open", "1 message text Hello" }, o.seen)
--
-- Each event is noted as readyState, type and what it has. It knows the world, and nothing of what is tested.

local memory_socket = require "spec.support.memory_socket"
local world = require "spec.support.world"

local object = {}

--- The kinds of sockets that an object can have here.
object.places = { "luws's own socket", "a socket of the program's" }

local LONG = 600 -- virtual seconds in which everything has happened

--- failing(f, ...): returns the error of a call, or nil.
function object.failing(f, ...)
  local ok, err = pcall(function(...)
    local result = f(...) -- not a tail call, so that the error has a position
    return result
  end, ...)
  return not ok and err or nil
end

local Object = {}
Object.__index = Object

--- new([place]): returns a world with the class WebSocket in it.
function object.new(place)
  local w = world.new()
  return setmetatable({
    world = w, clock = w.clock, WebSocket = w.import "websocket".public, is_foreign = place == object.places[2],
    seen = {}, events = {},
  }, Object)
end

local function shown(event)
  if event.type == "message" then
    return (" %s %s"):format(event.binary and "binary" or "text", tostring(event.data))
  elseif event.type == "close" then
    return (" %s %s%s"):format(tostring(event.code), event.wasClean and "clean" or "unclean",
      event.reason ~= "" and " " .. event.reason or "")
  elseif event.type == "ping" or event.type == "pong" then
    return " " .. event.data
  end
  return ""
end

--- note(ws): notes all events of an object from now on.
function Object:note(ws)
  for _, kind in ipairs { "open", "message", "error", "close", "ping", "pong" } do
    ws:addEventListener(kind, function(event)
      self.seen[#self.seen + 1] = ws.readyState .. " " .. kind .. shown(event)
      self.events[#self.events + 1], self.ended = event, self.clock.now()
    end)
  end
  return ws
end

--- create([options [, protocols [, url]]]): returns an object that connects to the world's next peer.
function Object:create(options, protocols, url)
  options = options or {}
  if self.is_foreign and not options.connect then
    function options.connect()
      if self.dials then
        local why = table.remove(self.dials, 1)
        if why then return nil, why end
      end
      return memory_socket.new({}, self.world, self.world.next_peer)
    end
  end
  self.ws = self:note(self.WebSocket(url or "ws://peer.test/", protocols, options))
  return self.ws
end

--- open([options [, protocols [, peer]]]): returns an object that is OPEN, and its peer, which answers close frames.
function Object:open(options, protocols, peer)
  peer = peer or self.world:peer()
  if not peer.on_event then peer:answer_close() end
  peer.hangs_up = true
  self.world.next_peer = peer
  local ws = self:create(options, protocols)
  self:run(function() return ws.readyState ~= 0 end)
  assert(ws.readyState == 1, "it is not open")
  return ws, peer
end

--- run([done]): has the reactor run until done() is true, or until nothing more happens.
function Object:run(done)
  local deadline = self.clock.now() + LONG
  while not (done and done()) and self.clock.now() < deadline do
    if self.WebSocket.step(deadline - self.clock.now()) == 0 then break end
  end
end

--- last(): returns the event noted last; `ended` is when that was.
function Object:last() return self.events[#self.events] end

return object
