-- Whom wss trusts: which server certificates are accepted, for which host, and how the others are reported.
-- spec/support/pki.sh describes each certificate.

local luws = require "luws"
local servers = require "spec.support.servers"
local wss = require "spec.support.wss"
local unpack = require "spec.support.compat".unpack

local ALL = {
  "server", "renewed", "rekeyed", "expired", "future", "wrong-host", "wrong-name", "wrong-address", "wildcard",
  "wrong-purpose", "self-signed", "self-signed-v1", "unknown", "no-intermediate", "chain", "false-authority", "huge",
}

-- What OpenSSL says, in the words that its versions have in common.
local AUTHORITY, SELF_SIGNED = "unable to get local issuer certificate", "self.signed certificate"
local HOST, ADDRESS = "hostname mismatch", "ip address mismatch"

--- Opens a connection, which must succeed or fail for the given reason.
local function check(server, options, reason)
  local seen = wss.open(luws, server, options)
  if not reason then
    assert.is_true(seen.opened, seen.message)
    assert.is_nil(seen.error)
    return seen
  end
  assert.is_false(seen.opened)
  assert.matches("^Failed SSL negotation: ", seen.message)
  assert.matches(reason, seen.message:lower())
  -- The server is told by an alert, and has received nothing of the request.
  assert.matches("^step 0 %(tls%): .*ALERT", seen.error)
  assert.equal("", seen.raw)
  return seen
end

describe("without verification, wss trusts", function()
  for _, name in ipairs(ALL) do
    it(name, function()
      local seen = check({ certificate = name }, name == "server" and {} or { ssl_verify = "none" })
      assert.is_false(seen.tls.verified)
    end)
  end

  it("everybody, whatever authorities there are, and for any host", function()
    check({ certificate = "unknown" }, { ssl_cafile = servers.ca_file() })
    check({ certificate = "unknown" }, { ssl_verify_hostname = false })
    check({ certificate = "wrong-host", address = "127.0.0.2" }, {})
    check({ certificate = "wrong-host", address = "::1" }, {})
  end)
end)

describe("with verification", function()
  -- title, the server (its certificate first), further options, and the reason for which it is refused
  local cases = {
    { "trusts what the authority has signed for the host", { "server" } },
    { "trusts another certificate for the same key", { "renewed" } },
    { "trusts another certificate with another key", { "rekeyed" } },
    { "trusts a chain", { "chain" } },
    { "trusts a chain of 80 KB", { "huge" } },

    { "refuses what has expired", { "expired" }, {}, "certificate has expired" },
    { "refuses what is not valid yet", { "future" }, {}, "certificate is not yet valid" },
    { "refuses a client's certificate", { "wrong-purpose" }, {}, "certificate purpose" },
    { "refuses another authority's", { "unknown" }, {}, AUTHORITY },
    { "refuses a chain with a gap", { "no-intermediate" }, {}, AUTHORITY },
    { "refuses what signs itself", { "self-signed" }, {}, SELF_SIGNED },
    { "refuses what signs itself, X.509 version 1", { "self-signed-v1" }, {}, SELF_SIGNED },
    { "refuses what a server has signed", { "false-authority" }, {}, "invalid ca certificate" },

    -- hosts
    { "refuses another host's", { "wrong-host" }, {}, HOST },
    { "takes an address of the certificate for no name", { "wrong-name" }, {}, HOST },
    { "takes a name of the certificate for no address", { "wrong-address", address = "127.0.0.1" }, {}, ADDRESS },
    { "trusts the name, whatever the address", { "wrong-address" } },
    { "trusts the address, whatever the name", { "wrong-name", address = "127.0.0.1" } },
    { "trusts an IPv4 address", { "server", address = "127.0.0.1" } },
    { "trusts an IPv6 address", { "server", address = "::1" } },
    { "trusts an IPv6 address in a longer form", { "server", address = "::1", host = "[0:0::0:1]" } },
    { "refuses an address that the certificate has not", { "server", address = "127.0.0.2" }, {}, ADDRESS },
    { "refuses an IPv6 address that it has not", { "wrong-name", address = "::1" }, {}, ADDRESS },
    { "does not care for the case of a name", { "server", host = "LocalHost" } },

    -- verify_hostname
    {
      "trusts any host, if told to",
      { "wrong-host" }, { ssl_verify_hostname = false },
    },
    {
      "trusts any address, if told to",
      { "wrong-host", address = "127.0.0.2" }, { ssl_verify_hostname = false },
    },
    {
      "trusts no other authority for that",
      { "unknown" }, { ssl_verify_hostname = false }, AUTHORITY,
    },
    {
      "trusts nothing that has expired for that",
      { "expired" }, { ssl_verify_hostname = false }, "certificate has expired",
    },

    -- cafile and capath
    { "trusts what signs itself, by its file", { "self-signed" }, { cafile = "self-signed.pem" } },
    { "trusts it for its address", { "self-signed", address = "127.0.0.1" }, { cafile = "self-signed.pem" } },
    { "trusts it for no other host", { "self-signed", address = "::1" }, { cafile = "self-signed.pem" }, ADDRESS },
    { "trusts X.509 version 1, by its file", { "self-signed-v1" }, { cafile = "self-signed-v1.pem" } },
    { "trusts only the authority that it is given", { "server" }, { cafile = "other-ca.pem" }, "certificate" },
    { "trusts the authority in a file with other text", { "server" }, { cafile = "ca-text.pem" } },
    { "trusts the other authority", { "unknown" }, { cafile = "other-ca.pem" } },
    { "trusts several authorities: the first", { "server" }, { cafile = { "ca.pem", "other-ca.pem" } } },
    { "trusts several authorities: the last", { "unknown" }, { cafile = { "ca.pem", "other-ca.pem" } } },
    { "fills a gap from a file", { "no-intermediate" }, { cafile = { "ca.pem", "intermediate.pem" } } },
    { "trusts no authority below one that is not trusted", { "chain" }, { cafile = "intermediate.pem" }, "issuer" },
    { "trusts a folder", { "server" }, { cafile = false, capath = "trusted" } },
    { "trusts all of a folder", { "unknown" }, { cafile = false, capath = "trusted" } },
    { "trusts nothing but a folder", { "self-signed" }, { cafile = false, capath = "trusted" }, SELF_SIGNED },
    { "trusts a folder and a file: the folder's", { "unknown" }, { cafile = "ca.pem", capath = "trusted" } },
    { "trusts a folder and a file: the file's", { "self-signed" }, { cafile = "self-signed.pem", capath = "trusted" } },
    -- The server sends ca with its own certificate, which does not make ca trusted.
    { "trusts the system's authorities, not ours", { "server" }, { cafile = false }, "certificate" },

    -- sni
    { "trusts the name of ssl_sni", { "wildcard" }, { ssl_sni = "hub.luws.example" } },
    { "trusts it in place of an address", { "wildcard", address = "127.0.0.1" }, { ssl_sni = "hub.luws.example" } },
    { "does not ask for the host's then", { "server" }, { ssl_sni = "hub.luws.example" }, HOST },
    { "does not ask for the address's then", { "wrong-name", address = "127.0.0.1" }, { ssl_sni = "localhost" }, HOST },
    { "takes a wildcard for one label", { "wildcard" }, { ssl_sni = "a.hub.luws.example" }, HOST },
    { "takes a wildcard for one label at least", { "wildcard" }, { ssl_sni = "luws.example" }, HOST },
    { "does without SNI", { "server" }, { ssl_sni = false } },
    { "asks for the host's without SNI, too", { "wrong-host" }, { ssl_sni = false }, HOST },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local given, reason = case[3], case[4]
      local server = { certificate = case[2][1], host = case[2].host, address = case[2].address }
      local options = { ssl_verify = "peer", ssl_cafile = servers.ca_file() }
      for name, value in pairs(given or {}) do
        if name == "cafile" then
          options.ssl_cafile = value and { wss.paths(unpack(type(value) == "table" and value or { value })) } or nil
        elseif name == "capath" then
          options.ssl_capath = servers.pki(value)
        else
          options[name] = value
        end
      end
      local seen = check(server, options, reason)
      if not reason then assert.is_true(seen.tls.verified) end
    end)
  end
end)

describe("the files of authorities", function()
  it("are read for each connection", function()
    local path = os.tmpname()
    local function copy(name)
      local from, to = io.open(servers.pki(name)), io.open(path, "w")
      to:write(from:read "*a")
      from:close()
      to:close()
    end
    local options = { ssl_verify = "peer", ssl_cafile = path }
    copy "other-ca.pem"
    check({}, options, "certificate")
    copy "ca.pem"
    check({}, options)
    copy "other-ca.pem"
    check({}, options, "certificate")
    os.remove(path)
    assert.is_false(luws.wsopen("wss://127.0.0.1:1/", nil, options))
  end)

  it("have no effect on other connections", function()
    local ours, theirs = wss.paths("ca.pem", "other-ca.pem")
    for _ = 1, 2 do
      check({ certificate = "unknown" }, { ssl_verify = "peer", ssl_cafile = theirs })
      check({ certificate = "unknown" }, { ssl_verify = "peer", ssl_cafile = ours }, AUTHORITY)
      check({ certificate = "unknown" }, { ssl_verify = "peer" }, AUTHORITY)
      check({ certificate = "unknown" }, { ssl_verify = "none", ssl_cafile = ours })
    end
  end)
end)

describe("the name sent to the server (SNI)", function()
  local cases = {
    { "is the host's", {}, {}, "localhost" },
    { "is never an address", { address = "127.0.0.1" }, {} },
    { "is never an IPv6 address", { address = "::1" }, {} },
    { "is that of ssl_sni", {}, { ssl_sni = "hub.luws.example" }, "hub.luws.example" },
    { "is that of ssl_sni for an address, too", { address = "::1" }, { ssl_sni = "localhost" }, "localhost" },
    { "is that of ssl_sni, in ASCII", {}, { ssl_sni = "hüb.luws.example" }, "xn--hb-xka.luws.example" },
    { "is not sent with ssl_sni = false", {}, { ssl_sni = false } },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      for _, verify in ipairs { "none", "peer" } do
        case[3].ssl_verify, case[3].ssl_cafile, case[3].ssl_verify_hostname = verify, servers.ca_file(), false
        assert.same({ case[4] }, { check(case[2], case[3]).sni })
      end
    end)
  end

  it("is not the Host header's", function()
    local seen = check({ certificate = "wildcard" }, { ssl_sni = "hub.luws.example" })
    assert.matches("^localhost:%d+$", seen.headers.host)
  end)
end)
