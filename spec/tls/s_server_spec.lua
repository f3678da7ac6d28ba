-- wss against `openssl s_server`, the usual server for trying out TLS. With -www it answers every request with a page,
-- which is a refused upgrade; by then the TLS handshake is complete. What else OpenSSL can do beneath an open
-- connection is tested in records_spec.lua and session_spec.lua.

local luws = require "luws"
local servers = require "spec.support.servers"
local wss = require "spec.support.wss"

--- Starts a server for one connection, which ends after a minute at the latest. Returns its URL and a
-- function to end it.
local function start(arguments)
  local command = ("exec timeout 60 openssl s_server -accept 127.0.0.1:0 -naccept 1 -www %s 2>&1 </dev/null")
    :format(arguments:gsub("@([%w-]+%.%w+)", servers.pki))
  local pipe = assert(io.popen(command, "r"))
  for line in pipe:lines() do
    local port = line:match "^ACCEPT .*:(%d+)$"
    if port then return ("wss://localhost:%s/"):format(port), function() pipe:close() end end
  end
  error("openssl s_server does not start")
end

local OWN = "-cert @server.pem -key @server.key "
local SERVED = "^upgrade failed; HTTP/1%.0 200 ok$"

describe("openssl s_server", function()
  local authority = servers.ca_file()
  local peer = { ssl_verify = "peer", ssl_cafile = authority }
  local certificate, key = wss.paths("client.pem", "client.key")

  for _, case in ipairs {
    { "is trusted by its authority", OWN, peer, SERVED },
    { "has TLS 1.2 only", OWN .. "-tls1_2", peer, SERVED },
    { "has TLS 1.3 only", OWN .. "-tls1_3", peer, SERVED },
    { "has TLS 1.2 only where 1.3 is asked for", OWN .. "-tls1_2", { ssl_protocol = "tlsv1_3" },
      "^Failed SSL negotation: .*protocol version" },
    { "has TLS 1.3 only where 1.2 is asked for", OWN .. "-tls1_3", { ssl_protocol = "tlsv1_2" },
      "^Failed SSL negotation: .*protocol version" },
    { "selects a protocol", OWN .. "-alpn http/1.1", { ssl_alpn = { "x", "http/1.1" } }, SERVED },
    { "has a certificate that has expired", "-cert @expired.pem -key @server.key", peer,
      "^Failed SSL negotation: certificate verify failed %(certificate has expired%)$" },
    { "has a certificate of another host", "-cert @wrong-host.pem -key @server.key", peer,
      "^Failed SSL negotation: certificate verify failed %(hostname mismatch%)$" },
    { "is trusted whatever it has", "-cert @expired.pem -key @server.key", {}, SERVED },
    { "is known by its fingerprint", "-cert @self-signed.pem -key @server.key",
      { ssl_fingerprint = wss.openssl "x509 -in @self-signed.pem -noout -sha256 -fingerprint" }, SERVED },
    { "is not known by another's", OWN,
      { ssl_fingerprint = wss.openssl "x509 -in @self-signed.pem -noout -sha256 -fingerprint" },
      "^Failed SSL negotation: certificate fingerprint mismatch: " },
    { "wants a certificate", OWN .. "-Verify 1 -verify_return_error -CAfile @ca.pem",
      { ssl_certificate = certificate, ssl_key = key }, SERVED },
    { "wants a certificate and gets none (TLS 1.2)", OWN .. "-Verify 1 -tls1_2", {},
      "^Failed SSL negotation: .*alert" },
    { "wants a certificate and gets none (TLS 1.3)", OWN .. "-Verify 1 -tls1_3", {},
      "^Failed SSL negotation: .*certificate required" },
  } do
    it(case[1], function()
      local url, stop = start(case[2])
      local result, message = luws.wsopen(url, nil, case[3])
      stop()
      assert.is_false(result)
      assert.matches(case[4], message)
    end)
  end
end)
