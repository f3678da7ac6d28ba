-- A connection to a scripted peer, what its handler was told, and the end of both, for specs that have one at a time.
--
--   local s = session.new(luws, { tls = true })
--   after_each(function() s:close() end)
--
--   s:open { { "send", "\129\5Hello" }, { "hold" } }
--   s:await(1)
--   assert.same({ { 1, "Hello" } }, s.told)
--
-- Its fields: conn and peer (a spec may put its own there, to be closed with the rest), told (what the handler was
-- given after the connection, call by call) and calls (the same with the connection, and how many values in n).
-- It knows how to open, to receive and to close; it knows nothing of what comes, nor of which sockets.

local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"

local session = {}

local Session = {}
Session.__index = Session

--- Options: tls (whether the peers speak it), answers (whether they answer close frames: what lingers after the end
-- then waits for that as it does by default; otherwise it is closed at once).
function session.new(luws, options)
  options = options or {}
  return setmetatable({ luws = luws, tls = options.tls, answers = options.answers, told = {}, calls = {} }, Session)
end

--- A peer that plays exactly these steps (and has these options of scripted.peer), in place of the last.
function Session:new_peer(steps)
  steps.tls = self.tls
  if self.peer then self.peer:close() end
  self.peer = scripted.peer(steps)
  return self.peer
end

--- A handler that fills told and calls, which are empty then. A call for another connection is told as one, which no
-- spec expects.
function Session:recorder()
  local told, calls = {}, {}
  self.told, self.calls = told, calls
  return function(...)
    calls[#calls + 1] = { n = select("#", ...), ... }
    told[#told + 1] = rawequal(self.conn, (...)) and { select(2, ...) } or { "of another connection", ... }
  end
end

--- A connection to a peer that plays these steps after the upgrade, which they may begin with to have it otherwise.
-- With a handler of its own nothing is recorded.
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

--- What poll does with the connection.
function Session:poll(done, seconds) return poll(self.luws, self.conn, done, seconds) end

--- Receives until the handler was called so many times; what poll returns.
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
