-- The client of luws.engineio in a world in memory (world.lua), with a server that the spec plays (http_peers.lua).
--
--   local s = played.new()                         -- s.w, s.engineio, s.server
--   local get = s:polling { upgrade = false }      -- opens a session; the GET that is held
--   local ws = s:websocket()                       -- opens a session by a WebSocket
--   s.socket:send "x"                              -- the client's end of the last session
--   s:news()                                       -- what it was told
--
-- It knows nothing of what a spec is about.

local http_peers = require "spec.support.http_peers"
local world = require "spec.support.world"

local played = {}

local HANDSHAKE = '0{"sid":"s1","upgrades":[%s],"pingInterval":300,"pingTimeout":200,"maxPayload":%d}'

local EVENTS = { "open", "message", "ping", "upgrade", "upgradeError", "error", "close" }

local Played = {}
Played.__index = Played

--- Returns the arguments of an event in a form that can be compared.
local function shown(name, value, more)
  if name == "upgrade" then return value.name end
  if type(value) == "userdata" then return "binary " .. tostring(value) end
  if name == "close" then return more and more.description and value .. ": " .. more.description or value end
  return value ~= nil and tostring(value) or nil
end

--- connect([options]): opens a session, whose events are noted in `told`. Returns its socket.
function Played:connect(options)
  self.socket = self.engineio.connect("http://peer.test/ignored", options)
  for _, name in ipairs(EVENTS) do
    self.socket:on(name, function(...)
      local text = shown(name, ...)
      self.told[#self.told + 1] = text and name .. " " .. text or name
    end)
  end
  return self.socket
end

--- next_request(): returns the next request, which has to come.
function Played:next_request()
  local request = self.server:next()
  assert(request, "no request has come")
  return request
end

--- shake_hands(request [, options]): answers the request for a handshake. Options: upgrades (as in JSON), maxPayload,
-- headers, and more, which comes after the packet.
function played.shake_hands(request, options)
  options = options or {}
  local body = HANDSHAKE:format(options.upgrades or "", options.maxPayload or 1000000) .. (options.more or "")
  if request.messages then
    request:send(1, body)
  else
    request:respond(body, { headers = options.headers })
  end
end

--- polling([options [, shake]]): opens a session by polling. Returns the GET that is held.
function Played:polling(options, shake)
  self:connect(options)
  played.shake_hands(self:next_request(), shake)
  return self:next_request()
end

--- websocket([options]): opens a session by a WebSocket. Returns that.
function Played:websocket(options)
  options = options or {}
  options.transports = { "websocket" }
  self:connect(options)
  local ws = self:next_request()
  ws:accept()
  played.shake_hands(ws)
  self:pass()
  return ws
end

--- pass([seconds]): lets time pass: long enough for what needs none, by default.
function Played:pass(seconds) self.server:pass(seconds or 0.01) end

--- news(): returns what was told since the last call.
function Played:news()
  local last = self.told
  self.told = {}
  return last
end

--- texts(ws): returns the messages that have come over a WebSocket.
function played.texts(ws)
  local list = {}
  for i, message in ipairs(ws.messages) do list[i] = (message[1] == 2 and "binary " or "") .. message[2] end
  return list
end

--- new(): returns a world with a client and its server.
function played.new()
  local w = world.new()
  return setmetatable({
    w = w, engineio = w.import("engineio").public, server = http_peers.new(w), socket = nil, told = {},
  }, Played)
end

return played
