-- A server that sends each message back.
--
--   lua5.1 examples/echo_server.lua [PORT [CERTIFICATE KEY]]
--
-- Listens at 127.0.0.1; PORT is 8080 if none is given, and 0 is any that is free. With a certificate and its key (PEM
-- files) it is one of wss. Ends in order on Ctrl-C.

local luws = require "luws"
local server = require "luws.server"

local port, certificate, key = ...

local srv, why = server.listen {
  port = tonumber(port or 8080), ssl_certificate = certificate, ssl_key = key,
  max_payload_size = 16 * 1024 * 1024,
  on_message = function(conn, opcode, data) luws.wssend(conn, opcode, data) end,
}
if not srv then
  io.stderr:write(why, "\n")
  os.exit(1)
end
print(("%s://%s:%d/"):format(certificate and "wss" or "ws", srv:address()))
io.stdout:flush()
assert(srv:run { signals = true })
