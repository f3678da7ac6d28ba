-- Identity without an authority, or in addition to one: client certificates, server fingerprints, what a connection
-- reports about its server, and the warning about servers that were not verified. spec/support/pki.sh describes each
-- certificate.

local child = require "spec.support.child"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local ssl = require "ssl"
local wss = require "spec.support.wss"
local unpack = require "spec.support.compat".unpack

local VERSIONS = { "tlsv1_2", "tlsv1_3" }

--- The options for a client's certificate.
local function identity(certificate, key, password)
  return {
    ssl_certificate = certificate and servers.pki(certificate),
    ssl_key = key and servers.pki(key),
    ssl_password = password,
  }
end

describe("a client's certificate", function()
  -- title, its file, that of its key, its password, and whose it is
  local forms = {
    { "with a key in PKCS#8", "client.pem", "client.key" },
    { "with a key in SEC1, its curve before it", "client.pem", "client-sec1.key" },
    { "with an RSA key in PKCS#8", "client-rsa.pem", "client-rsa.key", nil, "RSA" },
    { "with an RSA key in PKCS#1", "client-rsa.pem", "client-rsa-pkcs1.key", nil, "RSA" },
    { "in one file with its key", "client-both.pem", "client-both.pem" },
    { "with the chain to an authority", "client-chain.pem", "client-chain.key" },
    { "in PKCS#12", "client.p12", nil, "secret" },
    { "in PKCS#12 with the chain", "client-chain.p12", nil, "secret" },
    { "in PKCS#12 with an empty password", "client-empty.p12", nil, "" },
    { "in PKCS#12 without a password", "client-empty.p12" },
    { "with a password that is not needed", "client.pem", "client.key", "secret" },
  }
  for _, form in ipairs(forms) do
    local title, certificate, key, password, kind = unpack(form, 1, 5)
    it("is shown " .. title, function()
      for _, version in ipairs(VERSIONS) do
        local seen = wss.open(luws, { clients = "required", newest = version }, identity(certificate, key, password))
        assert.is_true(seen.opened, seen.message)
        assert.equal(kind and "commonName=luws RSA client" or "commonName=luws client", seen.client)
        assert.equal(version, seen.version)
      end
    end)
  end

  it("is shown to those who ask for one", function()
    local options = identity("client.pem", "client.key")
    assert.equal("commonName=luws client", wss.open(luws, { clients = "optional" }, options).client)
    for server, given in pairs {
      [{}] = options,
      [{ clients = "optional" }] = {},
      [{ clients = "optional", newest = "tlsv1_2" }] = {},
    } do
      local seen = wss.open(luws, server, given)
      assert.is_true(seen.opened, seen.message)
      assert.is_nil(seen.client)
    end
  end)

  it("is that of its own connection", function()
    local server = { clients = "optional" }
    for _ = 1, 2 do
      assert.equal("commonName=luws client", wss.open(luws, server, identity("client.pem", "client.key")).client)
      assert.is_nil(wss.open(luws, server, {}).client)
      assert.equal("commonName=luws RSA client",
        wss.open(luws, server, identity("client-rsa.pem", "client-rsa.key")).client)
    end
  end)

  it("is shown beside verification", function()
    local options = identity("client.pem", "client.key")
    options.ssl_verify, options.ssl_cafile = "peer", servers.ca_file()
    assert.equal("commonName=luws client", wss.open(luws, { clients = "required" }, options).client)
    assert.is_nil(wss.open(luws, { clients = "required", certificate = "unknown" }, options).client)
  end)

  -- title, the options, and the server's message, which differs between TLS 1.2 and TLS 1.3
  local refusals = {
    { "is missed", {}, { "handshake failure", "certificate required" } },
    { "is another authority's", { "client-unknown.pem", "client-unknown.key" }, { "unknown ca", "unknown ca" } },
  }
  for _, case in ipairs(refusals) do
    for i, version in ipairs(VERSIONS) do
      it(case[1] .. ", and the server says so with " .. version, function()
        -- With TLS 1.3, the client's handshake is over when the server checks this.
        for _ = 1, 5 do
          local seen = wss.open(luws, { clients = "required", newest = version }, identity(unpack(case[2])))
          assert.is_false(seen.opened)
          assert.matches("^Failed SSL negotation: .*" .. case[3][i], seen.message)
          assert.equal("", seen.raw)
        end
      end)
    end
  end
end)

describe("wsopen says what is wrong with a client's certificate:", function()
  -- title, its file, that of its key, its password; the option of the message, its file, and words
  local OTHERS = "not the key of the certificate"
  local cases = {
    { "no such file", { "none.pem", "client.key" }, "certificate", "none.pem", "No such file" },
    { "no such file of the key", { "client.pem", "none.key" }, "key", "none.key", "No such file" },
    { "a folder", { "trusted", "client.key" }, "certificate", "trusted", "file" },
    { "a folder for the key", { "client.pem", "trusted" }, "key", "trusted", "file" },
    { "no certificate", { "client.key", "client.key" }, "certificate", "client.key", "no PEM certificate" },
    { "no PEM", { "trusted/README", "client.key" }, "certificate", "README", "no PEM certificate" },
    { "no key", { "client.pem", "client.pem" }, "key", "client.pem", "no PEM private key" },
    { "no PEM of the key", { "client.pem", "trusted/README" }, "key", "README", "no PEM private key" },
    { "another's key", { "client.pem", "rekeyed.key" }, "key", "rekeyed.key", OTHERS },
    { "an RSA key for EC", { "client.pem", "client-rsa.key" }, "key", "client-rsa.key", OTHERS },
    { "an EC key for RSA", { "client-rsa.pem", "client.key" }, "key", "client.key", OTHERS },
    { "no key given", { "client.pem" }, "certificate", "client.pem", "ssl_key is missing" },
    { "no certificate given", { nil, "client.key" }, "key", "client.key", "ssl_certificate is missing" },
    { "a wrong password", { "client.p12", nil, "wrong" }, "certificate", "client.p12", "wrong ssl_password" },
    { "no password", { "client.p12" }, "certificate", "client.p12", "wrong ssl_password" },
    { "an empty password", { "client.p12", nil, "" }, "certificate", "client.p12", "wrong ssl_password" },
    { "a password where it is empty", { "client-empty.p12", nil, "x" }, "certificate", "client-empty.p12", "wrong" },
    { "two keys", { "client.p12", "client.key", "secret" }, "key", "client.key", "PKCS#12" },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local message = wss.message(luws, identity(unpack(case[2], 1, 3)))
      assert.equal(("bad option 'ssl_%s'"):format(case[3]), message:match "^bad option '[%w_]+'", message)
      for i = 4, 5 do assert.truthy(message:find(case[i], 1, true), message) end
      -- OpenSSL's own wording is meant for its developers.
      assert.is_nil(message:find("error:", 1, true), message)
    end)
  end

  it("an archive that OpenSSL 3 no longer reads, and what to do", function()
    local file = io.open((servers.pki "client-legacy.p12"))
    if not file then return pending "this openssl cannot make one" end
    file:close()
    local message = wss.message(luws, identity("client-legacy.p12", nil, "secret"))
    assert.truthy(message:find("bad option 'ssl_certificate'", 1, true), message)
    assert.truthy(message:find("openssl pkcs12 -legacy", 1, true), message)
  end)

  for _, name in ipairs { "client-encrypted.key", "client-traditional.key" } do
    it("an encrypted key (" .. name .. "), and how to decrypt it", function()
      local message = wss.message(luws, identity("client.pem", name, "secret"))
      assert.equal("bad option 'ssl_key'", message:match "^bad option '[%w_]+'", message)
      local arguments = message:match "openssl (pkcs8 .- FILE)"
      assert.truthy(arguments, message)
      local decrypted = os.tmpname()
      wss.openssl(arguments:gsub("FILE$", decrypted) .. " -passin pass:secret")
      local options = identity("client.pem")
      options.ssl_key = decrypted
      local seen = wss.open(luws, { clients = "required" }, options)
      os.remove(decrypted)
      assert.is_true(seen.opened, seen.message)
    end)
  end
end)

local public_keys = {} -- a public key in PEM: its fingerprint, for many certificates have the same

--- Returns the fingerprints of a certificate and of its public key, computed without luws.
local function fingerprints(name)
  local certificate = assert(ssl.loadcertificate(servers.leaf(name .. ".pem")))
  local key = certificate:pubkey()
  public_keys[key] = public_keys[key] or "sha256/" .. wss.openssl("x509 -in @" .. name .. ".pem -noout -pubkey | "
    .. "openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64 -A")
  return certificate:digest "sha256":upper():gsub("%x%x", ":%0"):sub(2), public_keys[key]
end

--- Converts a fingerprint to hexadecimal SHA-256, or back.
local function hexadecimal(base64)
  local digits = wss.openssl("base64 -d -A <<'END' | od -An -v -tx1\n" .. base64:gsub("^sha256/", "") .. "\nEND")
  return (digits:gsub("%s+", ":"):gsub("^:", ""):gsub(":$", ""))
end

describe("a server's fingerprint", function()
  local certificate, public = fingerprints "server"
  local printed = wss.openssl "x509 -in @server.pem -noout -sha256 -fingerprint"
  local other, other_public = fingerprints "rekeyed"
  local authority = servers.ca_file()

  -- title, ssl_fingerprint
  local forms = {
    { "in capital letters with colons", certificate },
    { "as openssl prints it", printed },
    { "in lower case", certificate:lower() },
    { "without colons", (certificate:gsub(":", "")) },
    { "of its public key", public },
    { "of its public key in hexadecimal", hexadecimal(public) },
    { "among others", { other, other_public, public } },
    { "of the certificate and of the key", { certificate, public } },
    { "in an array", { certificate } },
  }
  for _, form in ipairs(forms) do
    it("verifies its identity, " .. form[1], function()
      for _, version in ipairs(VERSIONS) do
        local seen = wss.open(luws, { newest = version }, { ssl_fingerprint = form[2] })
        assert.is_true(seen.opened, seen.message)
        assert.is_true(seen.tls.verified)
      end
      local seen = wss.open(luws, {}, { ssl = { fingerprint = form[2], verify = "none" } })
      assert.is_true(seen.opened, seen.message)
    end)
  end

  it("of the public key is that of a renewed certificate, too", function()
    assert.is_true(wss.open(luws, { certificate = "renewed" }, { ssl_fingerprint = public }).opened)
    assert.is_false(wss.open(luws, { certificate = "renewed" }, { ssl_fingerprint = certificate }).opened)
  end)

  it("verifies servers that no authority would trust", function()
    for _, name in ipairs { "self-signed", "self-signed-v1", "expired", "wrong-host", "unknown", "no-intermediate" } do
      local own = fingerprints(name)
      local seen = wss.open(luws, { certificate = name }, { ssl_fingerprint = own })
      assert.is_true(seen.opened, seen.message)
      assert.same({ true, own }, { seen.tls.verified, seen.tls.fingerprint })
    end
  end)

  -- title, the server, and the options
  local mismatches = {
    { "that is another's", {}, { ssl_fingerprint = other } },
    { "of another's public key", {}, { ssl_fingerprint = other_public } },
    { "of none of several", {}, { ssl_fingerprint = { other, other_public } } },
    { "of the authority", {}, { ssl_fingerprint = (fingerprints "ca") } },
    { "of an authority in the chain", { certificate = "chain" }, { ssl_fingerprint = (fingerprints "intermediate") } },
    { "that is another's, with TLS 1.2", { newest = "tlsv1_2" }, { ssl_fingerprint = other } },
    { "although it is trusted", {}, { ssl_verify = "peer", ssl_cafile = authority, ssl_fingerprint = other } },
  }
  for _, case in ipairs(mismatches) do
    it("ends it before the request, " .. case[1], function()
      local seen = wss.open(luws, case[2], case[3])
      assert.is_false(seen.opened)
      -- The message says what to write instead, once the user knows that this is the right server.
      assert.matches("^Failed SSL negotation: .*fingerprint", seen.message)
      for _, own in ipairs { fingerprints(case[2].certificate or "server") } do
        assert.truthy(seen.message:find(own, 1, true), seen.message)
      end
      assert.equal("", seen.raw)
      -- In TLS 1.3 the client has not yet sent its part of the handshake, and so has not identified itself.
      assert.equal(case[2].newest, seen.version)
    end)
  end

  it("is not enough where verification was asked for", function()
    local own = fingerprints "unknown"
    local options = { ssl_verify = "peer", ssl_cafile = authority, ssl_fingerprint = own }
    local seen = wss.open(luws, { certificate = "unknown" }, options)
    assert.matches("unable to get local issuer certificate", seen.message)
    assert.is_false(seen.opened)
    options.ssl_fingerprint = { own, certificate }
    assert.is_true(wss.open(luws, {}, options).opened)
  end)
end)

describe("conn.tls", function()
  local OURS = "CN=luws test CA"
  local LONG = "CN=localhost,O=Söhne\\, Hub & Co.,C=DE"
  -- the certificate: its subject, its issuer, and its expiry time, where known
  local cases = {
    server = { "CN=localhost", OURS },
    renewed = { "CN=localhost", OURS },
    chain = { "CN=localhost", "CN=luws intermediate CA" },
    huge = { "CN=localhost", OURS },
    expired = { "CN=localhost", OURS, 1577836800 },
    future = { "CN=localhost", OURS, 4073587200 }, -- after 2049, which certificates write in another way
    unknown = { "CN=localhost", "CN=luws other CA" },
    ["self-signed"] = { LONG, LONG },
    ["self-signed-v1"] = { "CN=localhost", "CN=localhost" },
    ["false-authority"] = { "CN=luws false", "CN=localhost" },
  }
  for name, case in pairs(cases) do
    it("describes " .. name, function()
      local certificate, public = fingerprints(name)
      for _, version in ipairs(VERSIONS) do
        local tls = wss.open(luws, { certificate = name, newest = version }, {}).tls
        assert.same({
          verified = false, fingerprint = certificate, public_key = public, subject = case[1], issuer = case[2],
          not_after = case[3] or tls.not_after, version = version:gsub("tlsv1_", "TLSv1."), cipher = tls.cipher,
        }, tls)
        assert.matches("^[%u%d_-]+$", tls.cipher) -- a name, and no number
        -- The others were made for two days, at most a day ago.
        local left = tls.not_after - os.time()
        assert.is_true(case[3] ~= nil or left > 86400 / 2 and left <= 2 * 86400, left)
      end
    end)
  end

  it("is nil for ws", function()
    local peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" } }
    local conn = assert(luws.wsopen(peer.url, nil, { ssl_verify = "peer" }))
    assert.is_nil(conn.tls)
    luws.wsclose(conn)
    peer:close()
  end)
end)

describe("the warning about servers that are not verified", function()
  -- Opens a connection for each pair of arguments, a URL and the name of a set of options, and prints what is logged.
  local PROGRAM = [[
    local luws = require "luws"
    local SETS = {
      none = {}, peer = { ssl_verify = "peer", ssl_cafile = arg[1] }, fingerprint = { ssl_fingerprint = arg[2] },
    }
    if arg[3] == "luup" then
      luup = { log = function(message, level) print("logged " .. level, message) end }
    end
    for i = 4, #arg, 2 do
      local conn, message = luws.wsopen(arg[i], nil, SETS[arg[i + 1] ])
      print(conn and "opened" or message)
      luws.wsclose(conn)
      package.loaded.luws = nil
      luws = i % 4 == 0 and luws.instance "another" or require "luws"
    end
  ]]
  local POLITE = { { "upgrade" }, { "read_frame" }, { "close" } }
  local certificate = fingerprints "server"

  it("is given once per process", function()
    local ws, secure = scripted.peer(POLITE), scripted.peer { tls = true, unpack(POLITE) }
    local again = scripted.peer { tls = true, unpack(POLITE) }
    local function run(how, ...)
      local output, status = child.program(PROGRAM, servers.ca_file(), certificate, how, ...)
      assert.equal(0, status, output)
      return output
    end
    assert.equal(("opened\n"):rep(4),
      run("luup", ws.url, "none", secure.url, "peer", secure.url, "fingerprint", ws.url, "peer"))
    for how, prefix in pairs { luup = "logged 2\t", print = "2\t" } do
      local warning, rest = run(how, ws.url, "none", secure.url, "none", secure.url, "none", again.url, "none",
        secure.url, "peer", again.url, "none"):match "^opened\n([^\n]*)\n(.*)$"
      assert.equal(prefix, warning:sub(1, #prefix))
      assert.matches("verif", warning)
      assert.matches("ssl_verify", warning)
      assert.equal(("opened\n"):rep(5), rest)
    end
    for _, peer in ipairs { ws, secure, again } do peer:close() end
  end)

  it("is not given for a connection that was not opened", function()
    local refuses = scripted.peer { tls = true, { "request" }, { "send", "HTTP/1.1 404 Not Found\r\n\r\n" } }
    assert.equal("upgrade failed; HTTP/1.1 404 Not Found\n",
      (child.program(PROGRAM, servers.ca_file(), certificate, "luup", refuses.url, "none")))
    refuses:close()
  end)
end)
