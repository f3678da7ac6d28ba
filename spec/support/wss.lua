-- Opens and closes one wss connection to a scripted server, for specs of TLS.
--
--   local seen = wss.open(luws, { certificate = "expired" }, { ssl_verify = "peer" })
--   assert.matches("expired", seen.message)
--
-- It knows the scripted server's options for TLS, and nothing of what should come of them.

local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local wss = {}

--- Opens a connection with these options to a server with those options (see scripted.lua; also `host`, for the URL,
-- and `address`, where it listens), and closes it. Returns the server's record, with what the client has seen: `opened`
-- (whether it was opened), `message` (why not) and `tls` (conn.tls).
function wss.open(luws, server, options)
  local tls = {}
  for key, value in pairs(server) do
    if key ~= "host" and key ~= "address" then tls[key] = value end
  end
  local peer = scripted.peer { tls = tls, address = server.address, { "upgrade" }, { "read_frame" }, { "close" } }
  local url = server.host and ("wss://%s:%d/"):format(server.host, peer.port) or peer.url
  local conn, message = luws.wsopen(url, nil, options)
  if conn then luws.wsclose(conn) end
  local seen = peer:result()
  peer:close()
  seen.opened, seen.message, seen.tls = conn and true, message, conn and conn.tls or nil
  return seen
end

--- Returns what wsopen says about these options, with a server that is not there.
function wss.message(luws, options)
  local conn, message = luws.wsopen("wss://127.0.0.1:1/", nil, options)
  assert(conn == false, "the port 1 is not expected to answer")
  return message
end

--- Returns the paths of these test certificates.
function wss.paths(...)
  local paths = { ... }
  for i, name in ipairs(paths) do paths[i] = servers.pki(name) end
  return (unpack or table.unpack)(paths)
end

--- Returns what openssl prints; `command` is its arguments, with @ for the folder of the certificates.
function wss.openssl(command)
  local pipe = assert(io.popen("openssl " .. command:gsub("@", servers.pki "")))
  local said = pipe:read "*a"
  pipe:close()
  return said
end

return wss
