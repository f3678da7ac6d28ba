-- Peers on OpenSSL, for specs of what TLS does below a connection: the Lua side of openssl_server.py.
--
--   local url = openssl.url("tls13", { "upgrade", { "seal", "\129\5Hello" }, { "push", 10 }, "frame", "push" })
--
-- The first argument is one of the server's ports, which decides the TLS version, whether the stream comes in pieces,
-- and any fault in the handshake. The steps are the methods step_* of the server. It knows nothing of the client under
-- test.

local servers = require "spec.support.servers"

local openssl = {}

local function hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

--- Returns the URL at which the server plays these steps. Each is a name, or a name with its arguments; strings stand
-- for bytes.
function openssl.url(port, steps)
  local path = {}
  for i, step in ipairs(steps or { "upgrade", "echo" }) do
    if type(step) == "table" then
      local arguments = {}
      for at = 2, #step do arguments[at - 1] = type(step[at]) == "string" and hex(step[at]) or tostring(step[at]) end
      step = step[1] .. "=" .. table.concat(arguments, ",")
    end
    path[i] = step
  end
  return ("wss://localhost:%d/%s"):format(servers.start("openssl")[port], table.concat(path, "/"))
end

return openssl
