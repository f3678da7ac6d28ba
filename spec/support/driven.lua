-- Connections over real sockets that the reactor drives, for specs: opens them without waiting, and ends all of them.
--
--   local conn, told = driven.open(driven.peer({ { "upgrade" }, { "hold" } }).url)
--
-- It knows the functions of luws and of its reactor, and nothing of what a spec is about.

local luws = require "luws"
local reactor = require "luws.reactor"
local scripted = require "spec.support.scripted"
local stepping = require "spec.support.stepping"

local driven = {}

driven.PATIENCE = stepping.PATIENCE

local conns, peers = {}, {}

--- add(conn): has `finish` end a connection that a spec has opened by itself. Returns it.
function driven.add(conn)
  conns[#conns + 1] = conn
  return conn
end

--- open(url [, options]): opens a connection without waiting. Returns it, and what is told: "open", or the handler's
-- arguments.
function driven.open(url, options)
  local told = {}
  options = options or {}
  options.wait = false
  options.open_handler = function() told[#told + 1] = "open" end
  return driven.add(assert(luws.wsopen(url, function(_, ...) told[#told + 1] = { ... } end, options))), told
end

--- peer(steps): returns a server that plays these steps (scripted).
function driven.peer(steps)
  local made = scripted.peer(steps)
  peers[#peers + 1] = made
  return made
end

--- finish(): ends all connections and servers. Returns whether the reactor had nothing more to do in time.
function driven.finish()
  for _, conn in ipairs(conns) do luws.wsclose(conn) end
  for _, peer in ipairs(peers) do peer:close() end
  conns, peers = {}, {}
  local begun = luws.gettime()
  reactor.run(driven.PATIENCE)
  return luws.gettime() - begun < driven.PATIENCE
end

return driven
