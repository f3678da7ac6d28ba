-- Options for TLS, for everything.lua, each in a way that works, and in one that fails.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local pki = servers.pki

--- Opens and closes a connection to a server with these options. `fails`: a part of why it is not opened; nil: it is.
local function opens(server, options, fails)
  local peer = scripted.peer { tls = server, { "upgrade" }, { "read_frame" }, { "close" } }
  local conn, why = luws.wsopen(peer.url, nil, options)
  if fails then
    assert(conn == false and why:find(fails, 1, true), tostring(why))
  else
    assert(conn, why)
    assert(type(conn.tls.verified) == "boolean")
    luws.wsclose(conn)
    luws.wswait(conn, 5)
  end
  peer:close()
end

--- What wsopen says about options before it dials.
local function refused(options)
  local conn, why = luws.wsopen("wss://127.0.0.1:1/", nil, options)
  assert(conn == false and why:find("^bad option"), tostring(why))
end

local ca = servers.ca_file()
local peer_of_ca = { ssl_verify = "peer", ssl_cafile = ca }

local function plus(options)
  local all = { ssl_verify = "peer", ssl_cafile = ca }
  for name, value in pairs(options) do all[name] = value end
  return all
end

return {
  { "an authority", opens, {}, peer_of_ca },
  { "the system's authorities", opens, { certificate = "unknown" }, { ssl_verify = "peer" }, "verify failed" },
  { "a folder of authorities", opens, {}, { ssl_verify = "peer", ssl_capath = pki "trusted" } },
  { "the signatures only", opens, { certificate = "wrong-host" }, plus { ssl_verify_hostname = false } },
  { "a wrong host", opens, { certificate = "wrong-host" }, peer_of_ca, "mismatch" },
  { "an expired certificate", opens, { certificate = "expired" }, peer_of_ca, "certificate verify failed" },
  { "a chain", opens, { certificate = "chain" }, peer_of_ca },
  { "no chain", opens, { certificate = "no-intermediate" }, peer_of_ca, "certificate verify failed" },
  { "a huge certificate", opens, { certificate = "huge" }, peer_of_ca },
  { "a fingerprint", opens, {}, { ssl_fingerprint = { ("00"):rep(32), ("11"):rep(32) } }, "fingerprint" },
  { "a client's certificate", opens, { clients = "required" },
    plus { ssl_certificate = pki "client.pem", ssl_key = pki "client.key" } },
  { "a client's certificate in PKCS#12", opens, { clients = "required", newest = "tlsv1_2" },
    plus { ssl_certificate = pki "client.p12", ssl_password = function() return "secret" end } },
  { "a client's certificate, with OpenSSL directly", opens, { clients = "required" },
    plus { ssl_certificate = pki "client-chain.pem", ssl_key = pki "client-chain.key", ssl_curve = "P-256" } },
  { "a wrong password", refused, { ssl_certificate = pki "client.p12", ssl_password = "wrong" } },
  { "a password that fails", refused,
    { ssl_certificate = pki "client.p12", ssl_password = function() error "no" end } },
  { "no such file", refused, { ssl_cafile = "/nonexistent" } },
  { "not a certificate", refused, { ssl_cafile = pki "server.key" } },
  { "a version", opens, {}, plus { ssl_protocol = "tlsv1_2", ssl_options = { "all", "no_tlsv1_3" } } },
  { "no version", opens, { newest = "tlsv1_2" }, plus { ssl_protocol = "tlsv1_3" }, "Failed SSL" },
  { "an old device", opens, { least = "tlsv1", newest = "tlsv1" },
    plus { ssl_protocol = "tlsv1", ssl_ciphers = "ALL:@SECLEVEL=0" } },
  { "ciphers", opens, { newest = "tlsv1_2" }, plus { ssl_ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" } },
  { "suites and curves", opens, {}, plus { ssl_ciphersuites = "TLS_AES_256_GCM_SHA384",
    ssl_curveslist = "X25519:P-256" } },
  { "no such cipher", refused, { ssl_ciphers = "NONSENSE" } },
  { "no such curve", refused, { ssl_curve = "P-0" } },
  { "a protocol, a name and a mode", opens, { alpn = "http/1.1" },
    plus { ssl_alpn = { "h2", "http/1.1" }, ssl_sni = "localhost", ssl_mode = "client" } },
  { "no name", opens, {}, { ssl_sni = false } },
  { "a table", opens, {}, { ssl = { verify = "peer", cafile = ca } } },
  { "no such option", refused, { ssl_nonsense = 1 } },
}
