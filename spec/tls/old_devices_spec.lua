-- The options for servers that are too old for TLS as it is by default: old versions, ciphers, short keys, no secure
-- renegotiation. Each weakens the connection that asks for it, by nothing but what it asks for, and no other one; the
-- log says so. OpenSSL's security levels are at work here: level 2, Debian's, allows none of this.

local log = require "spec.support.log"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local wss = require "spec.support.wss"

local ALLOW = "DEFAULT:@SECLEVEL=0"
local DHE = { certificate = "rsa", newest = "tlsv1_2", ciphers = "DHE:@SECLEVEL=0" }
local WEAK = { certificate = "weak", ciphers = ALLOW }

--- verified(options): the same options, which verify the server, too.
local function verified(options)
  options.ssl_verify, options.ssl_cafile = "peer", servers.ca_file()
  return options
end

local function open(server, options)
  local seen = wss.open_once(luws, server, options)
  if seen.opened then assert.is_nil(seen.message) end
  return seen
end

describe("an old server", function()
  -- what it is, its options, the client's options, and what comes of it: part of the message, or the cipher
  for _, case in ipairs {
    { "with a key of 1,024 bits", WEAK, {} }, -- not verified, so nobody looks at it
    { "with a key of 1,024 bits", WEAK, verified {}, "EE certificate key too weak" },
    { "with a key of 1,024 bits", WEAK, verified { ssl_ciphers = "DEFAULT:@SECLEVEL=1" } },
    { "with a key of 1,024 bits", WEAK, { ssl_ciphers = ALLOW } },
    { "with a key of 1,024 bits", WEAK, verified { ssl_ciphers = ALLOW } },
    { "with a key of 1,024 bits", WEAK, verified { ssl_ciphers = "DEFAULT" }, "EE certificate key too weak" },
    { "with a group of 1,024 bits", DHE, {}, "dh key too small" },
    { "with a group of 1,024 bits", DHE, verified { ssl_ciphers = ALLOW } },
    { "with TLS 1.0", { least = "tlsv1", newest = "tlsv1" }, verified { ssl_protocol = "tlsv1" } },
    { "with TLS 1.1", { least = "tlsv1_1", newest = "tlsv1_1" }, verified { ssl_protocol = "tlsv1_1" } },
    { "with TLS 1.1", { least = "tlsv1_1", newest = "tlsv1_1" }, { ssl_protocol = "tlsv1_1", ssl_ciphers = ALLOW } },
    { "with TLS 1.1", { least = "tlsv1_1", newest = "tlsv1_1" }, { ssl_ciphers = ALLOW }, "alert protocol version" },
    { "with TLS 1.1, a short key and a short group",
      { certificate = "weak", least = "tlsv1_1", newest = "tlsv1_1", ciphers = "DHE:@SECLEVEL=0" },
      verified { ssl_protocol = { "tlsv1", "tlsv1_1" } } },
  } do
    local name, server, options, message = case[1], case[2], case[3], case[4]
    it(name .. (message and " is refused" or " is connected to") .. ", with " .. luws.dump(options), function()
      local seen = open(server, options)
      if not message then
        assert.is_true(seen.opened, seen.message)
        assert.equal(options.ssl_verify == "peer", seen.tls.verified)
      else
        assert.is_false(seen.opened)
        assert.truthy(seen.message:find(message, 1, true), seen.message)
      end
    end)
  end

  it("is verified like any other", function()
    for _, case in ipairs {
      { { host = "127.0.0.1", certificate = "weak", ciphers = ALLOW }, verified { ssl_ciphers = ALLOW }, "address" },
      { WEAK, verified { ssl_ciphers = ALLOW, ssl_sni = "other.example" }, "hostname mismatch" },
      { WEAK, { ssl_ciphers = ALLOW, ssl_verify = "peer", ssl_cafile = servers.pki "other-ca.pem" }, "local issuer" },
      { WEAK, { ssl_ciphers = ALLOW, ssl_fingerprint = ("00"):rep(32) }, "fingerprint mismatch" },
      { { least = "tlsv1", newest = "tlsv1", certificate = "expired" }, verified { ssl_protocol = "tlsv1" },
        "has expired" },
    } do
      local seen = open(case[1], case[2])
      assert.is_false(seen.opened)
      assert.truthy(seen.message:find(case[3], 1, true), seen.message)
    end
  end)

  it("gets the client's certificate, even one with a short key", function()
    for version in pairs { tlsv1 = 1, tlsv1_1 = 1 } do
      local options = verified { ssl_protocol = version, ssl_certificate = servers.pki "client.p12" }
      options.ssl_password = "secret"
      local seen = open({ least = version, newest = version, clients = "required" }, options)
      assert.same({ true, "commonName=luws client", version }, { seen.opened, seen.client, seen.version })
    end
    local certificate, key = wss.paths("weak.pem", "weak.key")
    local options = { ssl_ciphers = ALLOW, ssl_certificate = certificate, ssl_key = key }
    assert.matches("connection refused", wss.message(luws, options))
    options.ssl_ciphers = "DEFAULT"
    assert.equal(("bad option 'ssl_certificate': ee key too small (%s)"):format(certificate),
      wss.message(luws, options))
  end)
end)

describe("the client offers", function()
  local function agreed(server, options)
    local seen = open(server, options)
    return seen.cipher or seen.message
  end

  it("the ciphers of ssl_ciphers up to TLS 1.2, and those of ssl_ciphersuites for 1.3", function()
    for cipher, options in pairs {
      ["AES256-SHA"] = { ssl_ciphers = "AES256-SHA" },
      ["ECDHE-RSA-AES128-SHA"] = { ssl_ciphers = "ECDHE+AES128+SHA1:!ECDSA", ssl = { ciphers = "AES256-SHA" } },
      ["DHE-RSA-AES128-SHA"] = { ssl = { ciphers = "DHE-RSA-AES128-SHA" } },
    } do
      assert.equal(cipher, agreed({ certificate = "rsa", newest = "tlsv1_2", ciphers = "ALL:@SECLEVEL=0" },
        { ssl_ciphers = options.ssl_ciphers or options.ssl.ciphers .. ":@SECLEVEL=0" }))
    end
    for _, cipher in ipairs { "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256" } do
      assert.equal(cipher, agreed({}, { ssl_ciphersuites = cipher }))
      assert.equal(cipher, agreed({}, { ssl = { ciphersuites = cipher } }))
    end
    assert.matches("handshake failure", agreed({ certificate = "rsa", newest = "tlsv1_2", ciphers = "AES128-SHA" },
      { ssl_ciphers = "AES256-SHA" }))
  end)

  it("the curves of ssl_curve, or of ssl_curveslist instead", function()
    local server = { certificate = "rsa", newest = "tlsv1_2", curve = "secp384r1", ciphers = "ECDHE" }
    for _, case in ipairs {
      { {}, true }, { { ssl_curve = "P-384" }, true }, { { ssl_curve = "secp384r1" }, true },
      { { ssl_curve = "P-256" }, false }, { { ssl_curveslist = "X25519:P-256" }, false },
      { { ssl_curveslist = "X25519:P-384", ssl_curve = "P-256" }, true },
      { { ssl_curveslist = "X25519", ssl = { curve = "P-384" } }, false },
    } do
      local seen = open(server, case[1])
      assert.equal(case[2], seen.opened, luws.dump(case[1]) .. ": " .. tostring(seen.message))
    end
  end)
end)

describe("a server without secure renegotiation (RFC 5746)", function()
  -- Its ServerHello, which has no extensions, is all that is needed.
  local body = "\3\3" .. ("\1"):rep(32) .. "\0\192\47\0"
  local hello = "\22\3\3\0" .. string.char(#body + 4) .. "\2\0\0" .. string.char(#body) .. body

  for words, expected in pairs {
    [""] = "unsafe legacy renegotiation disabled",
    ["all,legacy_server_connect"] = "the peer closed the connection",
    ["allow_unsafe_legacy_renegotiation"] = "the peer closed the connection",
  } do
    it(words == "" and "is refused" or "is accepted with " .. words, function()
      local peer = scripted.peer { { "read", 200 }, { "send", hello }, { "close" } }
      local conn, message = luws.wsopen(peer.url:gsub("^ws", "wss"), nil, { ssl_options = words ~= "" and words or {} })
      peer:close()
      assert.same({ false, "Failed SSL negotation: " .. expected }, { conn, message })
    end)
  end
end)

describe("what one connection asks for", function()
  local logged

  setup(function() log.spend_warning(luws) end)
  before_each(function() logged = log.start() end)
  after_each(log.stop)

  it("holds for no other one", function()
    for _ = 1, 2 do
      assert.is_true(open(DHE, { ssl_ciphers = ALLOW }).opened)
      assert.is_false(open(DHE, {}).opened)
      assert.is_false(open(DHE, { ssl_ciphers = "DEFAULT" }).opened)
      assert.is_false(open(DHE, { ssl_protocol = "tlsv1_2" }).opened)
      assert.is_true(open(DHE, { ssl_protocol = "tlsv1_1,tlsv1_2" }).opened)
      assert.is_false(open({ least = "tlsv1_1", newest = "tlsv1_1" }, { ssl_ciphers = ALLOW }).opened)
    end
  end)

  it("is in the log, once for each connection that was opened", function()
    for _, case in ipairs {
      { WEAK, { ssl_ciphers = "DEFAULT:@SECLEVEL=0" }, "ssl_ciphers = @SECLEVEL=0" },
      { WEAK, { ssl_ciphers = "DEFAULT:@SECLEVEL=0" }, "ssl_ciphers = @SECLEVEL=0" },
      { { newest = "tlsv1_1", least = "tlsv1" }, { ssl = { protocol = { "tlsv1", "tlsv1_1" } } },
        "ssl_protocol = tlsv1, ssl_protocol = tlsv1_1" },
      { {}, { ssl_options = "all, legacy_server_connect" }, "ssl_options = legacy_server_connect" },
      { {}, { ssl_ciphers = "HIGH:@SECLEVEL=2", ssl_protocol = "tlsv1_2,tlsv1_3", ssl_options = "all,no_tlsv1" } },
      { {}, {} },
      { { newest = "tlsv1_2" }, { ssl_protocol = "tlsv1_1", ssl_options = "all" } }, -- not opened
    } do
      local before = #logged
      open(case[1], case[2])
      local lines = {}
      for i = before + 1, #logged do
        lines[#lines + 1] = logged[i][1] .. " " .. logged[i][2]:gsub("localhost:%d+", "HOST:PORT")
      end
      local line = "2 luws: the strength of TLS with HOST:PORT is not verified because of " .. (case[3] or "")
      assert.same(case[3] and { line } or {}, lines)
    end
  end)

  it("is not used over a user's own socket less than over ours", function()
    local seen = open(WEAK, verified { ssl_ciphers = ALLOW, connect = function(host, port)
      return socket.connect(host, port)
    end })
    assert.is_true(seen.opened and seen.tls.verified)
  end)
end)
