-- Connections in worlds of luws.mock, for specs.

local luws = require "luws"

local mocked = {}

--- open(net, server, options): opens a connection. Returns it, its peer, and what its handler is told.
function mocked.open(net, server, options)
  local told = {}
  local conn = assert(luws.wsopen(server.url, function(_, ...) told[#told + 1] = { ... } end, net:options(options)))
  return conn, server:accept(), told
end

return mocked
