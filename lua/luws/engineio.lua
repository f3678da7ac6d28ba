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
}

--- connect(url [, options]): opens a session at a server. Returns its socket, whose events come in turns of the
-- reactor; raises an error for a wrong URL or a wrong option.
function public.connect(url, given)
  local other = worlds.elsewhere(given, "engineio")
  if other then return other.connect(url, given) end
  return clients.connect(url, given)
end

--- listen(options): listens for sessions. Returns the engine, or nil and what is wrong; so does the next one.
function public.listen(given)
  local other = worlds.elsewhere(given, "engineio")
  if other then return other.listen(given) end
  return servers.listen(given)
end

--- attach(server [, options]): has a server of luws.server take sessions.
function public.attach(srv, given)
  local other = worlds.elsewhere(given, "engineio")
  if other then return other.attach(srv, given) end
  return servers.attach(srv, given)
end

return { public = public }
