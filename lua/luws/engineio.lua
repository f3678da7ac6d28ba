--[[
The module luws.engineio: Engine.IO, the layer below Socket.IO, as a client and as a server. The work is done in
engineio/*.
--]]

local _, import = ...
local binary, clients, servers = import("binary"), import("engineio/client/socket"), import("engineio/server")
local worlds = import("worlds")

local public = {
  --- The revision of the protocol.
  protocol = 4,
  --- binary(bytes): makes a binary value of a string. is_binary(value): whether any value is one.
  binary = binary.new, is_binary = binary.is,
  --- listen(options): listens for sessions. attach(server [, options]): has a server of luws.server take sessions. Each
  -- returns the engine, or nil and what is wrong.
  listen = servers.listen, attach = servers.attach,
}

--- connect(url [, options]): opens a session at a server. Returns its socket, whose events come in turns of the
-- reactor; raises an error for a wrong URL or a wrong option.
function public.connect(url, given)
  local elsewhere = type(given) == "table" and worlds.elsewhere(given.reactor, "engineio")
  if elsewhere then return elsewhere.connect(url, given) end
  return clients.connect(url, given)
end

return { public = public }
