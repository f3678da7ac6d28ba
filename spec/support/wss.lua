-- Opens and closes one wss connection to a scripted server, for specs of TLS.
--
--   local seen = wss.open(luws, { certificate = "expired" }, { ssl_verify = "peer" })
--   assert.matches("expired", seen.message)
--
-- It knows the scripted server's options for TLS, and nothing of what should come of them.

local assert = require "luassert"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local wss = {}

-- native-tls's own list of ciphers. An option that native-tls cannot pass on makes luws use OpenSSL directly; this one
-- changes nothing else.
local USUAL = "DEFAULT:!aNULL:!eNULL:!MD5:!3DES:!DES:!RC4:!IDEA:!SEED:!aDSS:!SRP:!PSK"

--- directly(options): the same options, with which luws uses OpenSSL directly.
function wss.directly(options)
  return setmetatable({ ssl_ciphers = USUAL }, { __index = options })
end

--- both_ways(it, use): `it` for tests that open connections with the options that use(options) is to apply: each runs
-- once with native-tls, and once with OpenSSL.
function wss.both_ways(it, use)
  return function(name, test)
    it(name, function()
      use(function(options) return options end)
      test()
    end)
    it(name .. " (OpenSSL)", function()
      use(wss.directly)
      test()
    end)
  end
end

local function open(luws, server, options)
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

--- Opens a connection with these options to a server with those options (see scripted.lua; also `host`, for the URL,
-- and `address`, where it listens), and closes it. Returns the server's record, with what the client has seen: `opened`
-- (whether it was opened), `message` (why not) and `tls` (conn.tls).
-- Does it a second time with OpenSSL directly, where everything must be the same.
function wss.open(luws, server, options)
  local seen = open(luws, server, options)
  local again = open(luws, server, wss.directly(options))
  for _, name in ipairs { "opened", "message", "tls", "version", "alpn", "sni", "client", "close_notify" } do
    assert.same({ [name] = seen[name] }, { [name] = again[name] })
  end
  return seen
end

--- The same, with these options only.
wss.open_once = open

--- Returns what wsopen says about these options, with a server that is not there.
function wss.message(luws, options)
  local conn, message = luws.wsopen("wss://127.0.0.1:1/", nil, options)
  assert(conn == false, "the port 1 is not expected to answer")
  return message
end

--- The same, and checks that it says so with OpenSSL directly, too.
function wss.same_message(luws, options)
  local message = wss.message(luws, options)
  assert.equal(message, wss.message(luws, wss.directly(options)))
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
