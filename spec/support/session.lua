-- A connection to a scripted peer, what its handler was told, and the end of both, for specs that have one connection
-- at a time.
--
--   local s = session.new(luws, { tls = true })
--   after_each(function() s:close() end)
--
--   s:open { { "send", "\129\5Hello" }, { "hold" } }
--   s:await(1)
--   assert.same({ { 1, "Hello" } }, s.told)
--
-- Its fields: conn and peer (a spec may assign its own, to be closed with the rest), told (the handler's arguments
-- after the connection, call by call) and calls (the same with the connection, and the number of arguments in n). It
-- knows how to open, receive and close; it knows nothing of what arrives, nor of the sockets used.

local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"

local session = {}

local Session = {}
Session.__index = Session

--- new(luws, options): returns a session. Options: tls (whether the peers speak it), answers (whether they answer close
-- frames: then the connection lingers for the answer as it does by default; otherwise it is closed at once).
function session.new(luws, options)
  options = options or {}
  return setmetatable({ luws = luws, tls = options.tls, answers = options.answers, told = {}, calls = {} }, Session)
end

--- Replaces the peer with one that plays exactly these steps (and has these options of scripted.peer).
function Session:new_peer(steps)
  steps.tls = self.tls
  if self.peer then self.peer:close() end
  self.peer = scripted.peer(steps)
  return self.peer
end

--- Returns a handler that fills told and calls, which it empties first. A call for another connection is recorded as
-- such, which no spec expects.
function Session:recorder()
  local told, calls = {}, {}
  self.told, self.calls = told, calls
  return function(...)
    calls[#calls + 1] = { n = select("#", ...), ... }
    told[#told + 1] = rawequal(self.conn, (...)) and { select(2, ...) } or { "of another connection", ... }
  end
end

--- Opens a connection to a peer that plays these steps after the upgrade; they may begin with an upgrade of their own.
-- Nothing is recorded if a handler is given.
function Session:open(steps, options, handler)
  local script = {}
  for key, value in pairs(steps) do script[key] = value end
  if not (script[1] and script[1][1] == "upgrade") then table.insert(script, 1, { "upgrade" }) end
  self:new_peer(script)
  options = options or {}
  if not self.answers then options.close_timeout = options.close_timeout or 0 end
  local recorder = self:recorder()
  self.conn = assert(self.luws.wsopen(self.peer.url, handler or recorder, options))
  return self.conn
end

--- Calls poll with this connection.
function Session:poll(done, seconds) return poll(self.luws, self.conn, done, seconds) end

--- Receives until the handler has been called `count` times. Returns the same as poll.
function Session:await(count)
  return self:poll(function() return self.told[count] end)
end

--- Closes the connection, if there is one, and then the peer. Nothing lingers after that.
function Session:close()
  self.luws.wsclose(self.conn)
  if self.peer then self.peer:close() end
  self.luws.wswait(self.conn, 5)
  self.conn, self.peer = nil, nil
end

return session
