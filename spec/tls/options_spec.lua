-- The TLS options of wsopen: LuaSec's names and values, in every form in which they may be given; their effect on the
-- wire; and that none is silently ignored.
--
-- Options for certificates are in certificates_spec.lua and identity_spec.lua.

local luws = require "luws"
local servers = require "spec.support.servers"
local ssl = require "ssl"
local wss = require "spec.support.wss"
local unpack = require "spec.support.compat".unpack

local OLDEST, NEWEST = "tlsv1", "tlsv1_3"

--- Checks that wsopen refuses these options before it dials, with all of these words.
local function refused(options, ...)
  local message = wss.message(luws, options)
  assert.equal("bad option ", message:match("^bad option "), message)
  for _, word in ipairs { ... } do assert.truthy(message:find(word, 1, true), message .. "\nlacks: " .. word) end
end

--- Checks that wsopen accepts these options: it dials, in vain.
local function accepted(options)
  assert.equal("Connection to 127.0.0.1:1 failed: connection refused", wss.message(luws, options))
end

describe("the version of TLS", function()
  -- the server's versions, the options, and the version they agree on; nil: none
  local both = { "tlsv1_2", "tlsv1_3" }
  local cases = {
    { both, {}, "tlsv1_3" },
    { { "tlsv1_2", "tlsv1_2" }, {}, "tlsv1_2" },
    { { "tlsv1_3", "tlsv1_3" }, {}, "tlsv1_3" },
    { { "tlsv1", "tlsv1_2" }, {}, "tlsv1_2" },
    { { "tlsv1_1", "tlsv1_1" }, {} },
    { { "tlsv1", "tlsv1" }, {} },

    { both, { ssl_protocol = "any" }, "tlsv1_3" },
    { both, { ssl_protocol = "all" }, "tlsv1_3" },
    { both, { ssl_protocol = "sslv23" }, "tlsv1_3" },
    { { "tlsv1", "tlsv1" }, { ssl_protocol = "any" } },
    { { "tlsv1", "tlsv1" }, { ssl_protocol = "all" } },
    { { "tlsv1", "tlsv1" }, { ssl_protocol = "sslv23" } },
    { both, { ssl_protocol = { "any" } }, "tlsv1_3" },
    { both, { ssl_protocol = {} }, "tlsv1_3" },
    { { "tlsv1", "tlsv1_1" }, { ssl_protocol = {} } },

    -- exactly that one
    { both, { ssl_protocol = "tlsv1_2" }, "tlsv1_2" },
    { both, { ssl_protocol = { "tlsv1_2" } }, "tlsv1_2" },
    { { "tlsv1_2", "tlsv1_2" }, { ssl_protocol = { "tlsv1_2", "tlsv1_3" } }, "tlsv1_2" },
    { { "tlsv1_3", "tlsv1_3" }, { ssl_protocol = { "tlsv1_2", "tlsv1_3" } }, "tlsv1_3" },
    { { OLDEST, NEWEST }, { ssl_protocol = "tlsv1_2" }, "tlsv1_2" },
    { { "tlsv1_3", "tlsv1_3" }, { ssl_protocol = "tlsv1_2" } },
    { both, { ssl_protocol = "tlsv1_3" }, "tlsv1_3" },
    { { "tlsv1_2", "tlsv1_2" }, { ssl_protocol = "tlsv1_3" } },
    -- Whoever asks for an old one gets no newer one instead.
    { { "tlsv1_1", "tlsv1_1" }, { ssl_protocol = "tlsv1_1" }, "tlsv1_1" },
    { { OLDEST, NEWEST }, { ssl_protocol = "tlsv1_1" }, "tlsv1_1" },
    { { "tlsv1", "tlsv1" }, { ssl_protocol = "tlsv1" }, "tlsv1" },
    { { OLDEST, NEWEST }, { ssl_protocol = "tlsv1" }, "tlsv1" },
    { { "tlsv1_2", "tlsv1_2" }, { ssl_protocol = "tlsv1" } },
    { { "tlsv1", "tlsv1" }, { ssl_protocol = "tlsv1_1,tlsv1_2" } },
    { { "tlsv1", "tlsv1_1" }, { ssl_protocol = "tlsv1,tlsv1_1,tlsv1_2,tlsv1_3" }, "tlsv1_1" },
    { { OLDEST, NEWEST }, { ssl_protocol = "tlsv1,tlsv1_1,tlsv1_2,tlsv1_3" }, "tlsv1_3" },

    -- all but those
    { both, { ssl_options = "no_tlsv1_3" }, "tlsv1_2" },
    { { "tlsv1_3", "tlsv1_3" }, { ssl_options = "no_tlsv1_3" } },
    { both, { ssl_options = "no_tlsv1_2" }, "tlsv1_3" },
    { { "tlsv1_2", "tlsv1_2" }, { ssl_options = "no_tlsv1_2" } },
    { both, { ssl_options = "all,no_sslv3,no_tlsv1,no_tlsv1_1,no_tlsv1_3" }, "tlsv1_2" },
    { both, { ssl_options = "all, no_tlsv1_3" }, "tlsv1_2" },
    { both, { ssl_options = { "all", "no_tlsv1", "no_tlsv1_1", "no_tlsv1_3" } }, "tlsv1_2" },
    { { OLDEST, NEWEST }, { ssl_options = { "no_tlsv1_2" } }, "tlsv1_3" },
    { both, { ssl_protocol = "any", ssl_options = { "all", "no_sslv2", "no_sslv3" } }, "tlsv1_3" },
    { both, { ssl_protocol = "tlsv1_2", ssl_options = "no_tlsv1_3" }, "tlsv1_2" },

    -- LuaSec's own table
    { both, { ssl = { protocol = "tlsv1_2" } }, "tlsv1_2" },
    { both, { ssl = { options = { "all", "no_tlsv1_3" } } }, "tlsv1_2" },
    { both, { ssl = { protocol = "tlsv1_2" }, ssl_protocol = "tlsv1_3" }, "tlsv1_3" },
    { both, { ssl = { protocol = "tlsv1_2" }, ssl_options = "all" }, "tlsv1_2" },
  }

  local function text(options)
    return luws.dump(options):gsub("^{ ", ""):gsub(" }$", "")
  end

  for _, case in ipairs(cases) do
    local least, newest, options, version = case[1][1], case[1][2], case[2], case[3]
    it(("between %s and %s, with %s, is %s"):format(least, newest, text(options), version or "none"), function()
      local seen = wss.open(luws, { least = least, newest = newest }, options)
      assert.same({ version }, { seen.version })
      assert.equal(version ~= nil, seen.opened)
      assert.equal(version and version:gsub("tlsv1_?", "TLSv1."):gsub("%.$", ""), seen.tls and seen.tls.version)
      if not version then assert.matches("^Failed SSL negotation: %a", seen.message) end
    end)
  end

  it("is refused if no version is left", function()
    for _, options in ipairs {
      { ssl_options = "no_tlsv1_2,no_tlsv1_3" }, { ssl_protocol = "tlsv1_2", ssl_options = { "no_tlsv1_2" } },
      { ssl = { protocol = "tlsv1_3", options = "no_tlsv1_3" } },
    } do
      refused(options, "'ssl_options'", "no TLS version is left")
    end
  end)
end)

describe("wsopen accepts LuaSec's", function()
  it("verify words, each of which verifies except none", function()
    for words, verified in pairs {
      none = false, peer = true, client_once = true, fail_if_no_peer_cert = true, ["peer,fail_if_no_peer_cert"] = true,
    } do
      for _, verify in ipairs { words, words:find "," and { words:match "(.*),(.*)" } or { words } } do
        local trusted = wss.open(luws, {}, { ssl_verify = verify, ssl_cafile = servers.ca_file() })
        assert.same({ true, verified }, { trusted.opened, trusted.tls.verified })
        assert.equal(not verified, wss.open(luws, { certificate = "unknown" }, { ssl_verify = verify }).opened)
      end
    end
    assert.is_true(wss.open(luws, { certificate = "unknown" }, { ssl_verify = {} }).opened)
  end)

  it("options that are in effect anyway, or mean nothing to a client", function()
    for _, word in ipairs {
      "all", "allow_unsafe_legacy_renegotiation", "cipher_server_preference", "cookie_exchange",
      "dont_insert_empty_fragments", "ephemeral_rsa", "legacy_server_connect", "microsoft_big_sslv3_buffer",
      "no_compression", "no_query_mtu", "no_session_resumption_on_renegotiation", "no_sslv2", "no_sslv3", "no_ticket",
      "no_tlsv1", "no_tlsv1_1", "single_dh_use", "single_ecdh_use", "tls_rollback_bug",
    } do
      accepted { ssl_options = word }
      accepted { ssl_options = { "all", word } }
      accepted { ssl = { options = word } }
    end
  end)

  -- These would restrict or change what is sent, but the TLS library has no setting for them.
  local refused_words = {
    cleanse_plaintext = true, no_encrypt_then_mac = true, no_extended_master_secret = true, no_renegotiation = true,
    no_ssl_mask = true,
  }

  it("options, all that this LuaSec has, except those that would be silently ignored", function()
    local count = 0
    for word in pairs(ssl.config.options) do
      count = count + 1
      if refused_words[word] then
        for _, words in ipairs { word, "all," .. word, { "all", word } } do
          refused({ ssl_options = words }, "'ssl_options'", ("invalid option (%s)"):format(word))
        end
      else
        accepted { ssl_options = word }
        accepted { ssl = { options = { "all", word } } }
      end
    end
    assert.is_true(count > 20, count)
  end)

  it("mode client", function()
    accepted { ssl_mode = "client" }
    accepted { ssl = { mode = "client" } }
  end)

  it("table as LuaSec's users have it", function()
    local parameters = {
      mode = "client", protocol = "any", verify = { "peer", "fail_if_no_peer_cert" },
      options = { "all", "no_sslv2", "no_sslv3", "no_tlsv1" },
      cafile = servers.ca_file(), capath = servers.pki "trusted",
      certificate = servers.pki "client.pem", key = servers.pki "client.key", password = "secret",
      alpn = { "http/1.1" },
    }
    local seen = wss.open(luws, { clients = "required" }, { ssl = parameters })
    assert.is_true(seen.opened, seen.message)
    assert.same({ true, "http/1.1" }, { seen.tls.verified, seen.tls.alpn })
    assert.equal("commonName=luws client", seen.client)
  end)
end)

describe("the table ssl", function()
  local outsider = { certificate = "wrong-host" }

  it("holds unless an option with the prefix says otherwise", function()
    local authority, other = wss.paths("ca.pem", "other-ca.pem")
    for i, case in ipairs {
      { false, { verify = "peer", cafile = authority }, {} },
      { true, { verify = "peer", cafile = authority, verify_hostname = false }, {} },
      { true, { verify = "peer", cafile = authority }, { ssl_verify_hostname = false } },
      { false, { verify = "peer", cafile = authority, verify_hostname = false }, { ssl_verify_hostname = true } },
      { true, { verify = "peer", cafile = authority }, { ssl_verify = "none" } },
      { false, { verify = "none", cafile = authority }, { ssl_verify = "peer" } },
      { true, { verify = "peer", cafile = authority, sni = "other.example" }, {} },
      { false, { verify = "peer", cafile = authority, sni = "other.example" }, { ssl_sni = "localhost" } },
      { true, { verify = "peer", cafile = authority, sni = "localhost" }, { ssl_sni = "other.example" } },
      { false, { verify = "peer", cafile = authority, sni = "other.example" }, { ssl_sni = false } },
      { false, { verify = "peer", cafile = authority, verify_hostname = false }, { ssl_cafile = other } },
    } do
      case[3].ssl = case[2]
      assert.equal(case[1], wss.open(luws, outsider, case[3]).opened, "case " .. i)
    end
  end)

  it("may inherit, as may the options themselves", function()
    local function child(parent) return setmetatable({}, { __index = parent }) end
    local options = { ssl = child { verify = "peer", cafile = servers.ca_file() } }
    assert.is_false(wss.open(luws, outsider, options).opened)
    assert.is_false(wss.open(luws, outsider, child(options)).opened)
    assert.is_false(wss.open(luws, outsider, child { ssl_verify = "peer" }).opened)
  end)

  it("is a table", function()
    for _, value in ipairs { true, "client", 1 } do refused({ ssl = value }, "'ssl'", "table expected") end
  end)
end)

describe("wsopen refuses by its name", function()
  for _, name in ipairs {
    "depth", "dhparam", "psk", "dane", "verifyext", "certificates", "verfy", "Verify", "fingerprints", "cipher",
  } do
    it(name, function()
      for _, value in ipairs { "x", 1, {}, true, print } do
        refused({ ["ssl_" .. name] = value }, "'ssl_" .. name .. "'")
        refused({ ssl = { [name] = value } }, "'ssl_" .. name .. "'")
      end
    end)
  end

  it("its neighbour in a table that is otherwise right", function()
    refused({ ssl = { mode = "client", protocol = "any", depth = 5 }, ssl_verify = "none" }, "'ssl_depth'")
  end)
end)

describe("wsopen refuses", function()
  local missing = wss.paths "missing.pem"
  local long, many = ("x"):rep(256), {}
  for i = 1, 65 do many[i] = ("x"):rep(255) end -- a byte each for the length: 64 of them are 16 KiB
  -- the option, a value, and words of the message
  local cases = {
    { "protocol", "sslv3", "invalid protocol", "(sslv3)" },
    { "protocol", "sslv2", "invalid protocol", "(sslv2)" },
    { "protocol", "TLSv1_2", "invalid protocol", "(TLSv1_2)" },
    { "protocol", "", "invalid protocol", "()" },
    { "protocol", 1.2, "expected", "number" },
    { "protocol", { "tlsv1", "tlsv1_2" }, "not contiguous", "(tlsv1,tlsv1_2)" },
    { "protocol", "tlsv1_1, tlsv1_3", "not contiguous", "(tlsv1_1,tlsv1_3)" },
    { "protocol", { "tlsv1_2", "" }, "invalid protocol", "()" },
    { "protocol", { "tlsv1_2", nil, "tlsv1_3" }, "expected", "holes" },
    { "mode", "server" },
    { "mode", "both", "invalid mode", "(both)" },
    { "mode", true, "expected", "boolean" },
    { "verify", "maybe", "invalid verify option", "(maybe)" },
    { "verify", "peer,maybe", "invalid verify option", "(maybe)" },
    { "verify", { "peer", "maybe" }, "invalid verify option", "(maybe)" },
    { "verify", true, "expected", "boolean" },
    { "verify", { true }, "expected", "boolean" },
    { "verify", { peer = true }, "expected" },
    { "verify", { "none", nil, "peer" }, "expected" },
    { "options", "nonsense", "invalid option", "(nonsense)" },
    { "options", "all,nonsense", "invalid option", "(nonsense)" },
    { "options", { "all", "nonsense" }, "invalid option", "(nonsense)" },
    { "options", "no_tlsv1_4", "invalid option", "(no_tlsv1_4)" },
    { "options", "no_renegotiation", "invalid option", "(no_renegotiation)" },
    { "options", 5, "expected", "number" },
    { "options", { "all", 5 }, "expected", "number" },

    { "cafile", missing, missing, "No such file" },
    { "cafile", { servers.ca_file(), missing }, missing, "No such file" },
    { "cafile", servers.pki "trusted", "file" },
    { "cafile", servers.pki "client.key", "client.key", "no PEM certificate" },
    { "cafile", servers.pki "trusted/README", "README", "no PEM certificate" },
    { "cafile", "/dev/zero", "/dev/zero", "regular file" },
    { "cafile", {}, "empty" },
    { "cafile", "", "No such file" },
    { "cafile", true, "expected", "boolean" },
    { "capath", missing, missing, "No such file" },
    { "capath", servers.ca_file(), servers.ca_file(), "directory" },
    { "capath", "spec/vectors", "spec/vectors", "no PEM certificate" },
    { "capath", { servers.pki "trusted" }, "string expected", "table" },

    { "alpn", "", "" },
    { "alpn", { "http/1.1", "" } },
    { "alpn", long, "255" },
    { "alpn", { "http/1.1", long }, "255" },
    { "alpn", "http\255", "not valid UTF-8" },
    { "alpn", { "http/1.1", "\195" }, "not valid UTF-8" },
    { "alpn", many, "too many" },
    { "alpn", 5, "expected", "number" },
    { "alpn", { "http/1.1", 5 }, "expected", "number" },
    { "verify_hostname", "no", "boolean expected", "string" },
    { "verify_hostname", 0, "boolean expected", "number" },
    { "verify_hostname", true, 'ssl_verify = "peer"' }, -- of nobody but those who are verified
    { "sni", "" },
    { "sni", true, "expected", "boolean" },
    { "sni", 5, "expected", "number" },
    { "sni", "two words", "two words" },
    { "sni", "127.0.0.1", "127.0.0.1" },
    { "sni", "::1", "::1" },
    { "sni", "a\0b" },
    { "sni", long },
    { "sni", ("x"):rep(64) .. ".example" },
    { "sni", "a..b" },
    { "fingerprint", "" },
    { "fingerprint", "AA:BB" },
    { "fingerprint", ("AA:"):rep(31) .. "GG", "hexadecimal" },
    { "fingerprint", ("AA:"):rep(32) .. "AA" },
    { "fingerprint", "sha1 Fingerprint=" .. ("AA:"):rep(19) .. "AA", "SHA-256" },
    { "fingerprint", ("AA:"):rep(19) .. "AA", "SHA-256" },
    { "fingerprint", "sha256/AAAA" },
    { "fingerprint", "sha256/!" },
    { "fingerprint", { ("AA"):rep(32), "BB" }, "BB" },
    { "fingerprint", {}, "empty" }, -- would be no restriction at all
    { "fingerprint", { ("AA"):rep(32), false }, "expected", "boolean" },
    { "fingerprint", false, "expected", "boolean" },
    { "password", 5, "string expected", "number" },
    { "password", function() end, "its function returned a nil" }, -- LuaSec calls it, too
    { "password", function() error("no") end, "its function raised an error" },
    { "ciphers", "", "no cipher match ()" },
    { "ciphers", "NONSENSE", "no cipher match (NONSENSE)" },
    { "ciphers", "TLS_AES_128_GCM_SHA256", "no cipher match" }, -- of TLS 1.3
    { "ciphers", "DEFAULT:@SECLEVEL=9", "invalid command (DEFAULT:@SECLEVEL=9)" },
    { "ciphers", "DEFAULT:@LEVEL=0", "invalid command" },
    { "ciphers", "ALL\0:!RC4", "NUL" },
    { "ciphers", "\255", "not valid UTF-8" },
    { "ciphers", { "ALL" }, "string expected", "table" },
    { "ciphersuites", "", "no cipher match ()" },
    { "ciphersuites", "AES128-SHA", "no cipher match (AES128-SHA)" },
    { "ciphersuites", "TLS_AES_128_GCM_SHA256\0", "NUL" },
    { "ciphersuites", 1, "string expected", "number" },
    { "curve", "", "not a curve" },
    { "curve", "P-255", "not a curve, or not a list of curves (P-255)" },
    { "curve", "P-256\0", "NUL" },
    { "curve", false, "string expected", "boolean" },
    { "curveslist", "P-256:P-255", "not a curve, or not a list of curves (P-256:P-255)" },
    { "curveslist", { "P-256" }, "string expected", "table" },
    { "certificate", { "a.pem" }, "string expected", "table" },
    { "key", true, "string expected", "boolean" },
  }
  for _, case in ipairs(cases) do
    local name, value = case[1], case[2]
    local shown = luws.dump(value)
    it(("ssl_%s = %s"):format(name, #shown > 60 and shown:sub(1, 60) .. "..." or shown), function()
      refused({ ["ssl_" .. name] = value }, "'ssl_" .. name .. "'", select(3, unpack(case)))
      refused({ ssl = { [name] = value } }, "'ssl_" .. name .. "'", select(3, unpack(case)))
    end)
  end

  it("wrong options for ws, too", function()
    for option, value in pairs {
      ssl_cafile = missing, ssl_ciphers = "NONE", ssl_verify = "maybe", ssl = { depth = 1 },
    } do
      local conn, message = luws.wsopen("ws://127.0.0.1:1/", nil, { [option] = value })
      assert.is_false(conn)
      assert.matches("^bad option 'ssl_", message)
    end
  end)

  it("damaged files, by name", function()
    local file = io.open(servers.ca_file())
    local pem = file:read "*a"
    file:close()
    for _, text in ipairs {
      "", pem:sub(1, #pem / 2), pem:gsub("END", "end"), pem:gsub("\n.", "\n!", 2),
      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    } do
      local path = os.tmpname()
      file = io.open(path, "w")
      file:write(text)
      file:close()
      local message = wss.message(luws, { ssl_cafile = path })
      os.remove(path)
      assert.truthy(message:find("bad option 'ssl_cafile'", 1, true) and message:find(path, 1, true), message)
    end
  end)
end)

describe("application protocols (ALPN)", function()
  -- what the server knows, the preferred one first; what is offered; and what is selected
  local cases = {
    { "http/1.1", "http/1.1", "http/1.1" },
    { "a,http/1.1", { "http/1.1", "a" }, "a" },
    { "b,c", { "a", "b", "c" }, "b" },
    { "c", { "a", "b", "c" }, "c" },
    { "a,b", "b", "b" },
    { "x", { "a", "b" } },
    { "http/1.1" },
    { "", "http/1.1" },
    { "a,b", "a,b" }, -- one protocol, with a comma in its name
    { ("x"):rep(255), ("x"):rep(255), ("x"):rep(255) },
  }
  for _, case in ipairs(cases) do
    local title = ("of %q, offered %s: %s"):format(case[1], luws.dump(case[2]), tostring(case[3]))
    it(#title < 80 and title or "of the longest name", function()
      for _, version in ipairs { "tlsv1_2", "tlsv1_3" } do
        local seen = wss.open(luws, { alpn = case[1], newest = version }, { ssl_alpn = case[2] })
        assert.is_true(seen.opened, seen.message)
        assert.same({ case[3] }, { seen.alpn })
        assert.same({ case[3] }, { seen.tls.alpn })
      end
    end)
  end
end)
