-- ssl_fingerprint holds as long as the connection lasts, before the client has identified itself, and for certificates
-- that other checks would reject. The ways to write a fingerprint, and what it matches, are in identity_spec.lua.

local luws = require "luws"
local mime = require "mime"
local openssl = require "spec.support.openssl"
local poll = require "spec.support.poll"
local servers = require "spec.support.servers"
local sockets = require "spec.support.sockets"
local wss = require "spec.support.wss"

--- Returns the fingerprint of a certificate, and that of its public key as curl writes it.
local function fingerprint(name)
  return (wss.openssl("x509 -in @" .. name .. ".pem -noout -sha256 -fingerprint"):gsub("%s+$", ""))
end

local function public_key(name)
  return "sha256//" .. wss.openssl("x509 -in @" .. name .. ".pem -noout -pubkey | openssl pkey -pubin -outform der | "
    .. "openssl dgst -sha256 -binary | openssl base64 -A")
end

local SERVER, PUBLIC = fingerprint "server", public_key "server"
local OTHER = ("00:"):rep(31) .. "00"

describe("a renegotiation (TLS 1.2)", function()
  local conn, seen

  --- A connection whose server shows `certificate` in a second handshake, between the messages a, b and c, after which
  -- it answers one and tells how many handshakes there were. `seen` gets what comes.
  local function open(certificate, options, size)
    seen = {}
    options.receive_chunk_size = size
    -- b comes after the request for the handshake, in the same piece; c after the handshake.
    local url = openssl.url("tls12", { "upgrade", { "seal", "\129\1a" }, { "certificate", certificate }, "renegotiate",
      { "seal", "\129\1b" }, "push", "handshake", { "seal", "\129\1c" }, "push", "echo=1", "tell", "echo" })
    conn = assert(luws.wsopen(url, function(_, opcode, data) seen[#seen + 1] = { opcode, data } end, options))
  end

  after_each(function() luws.wsclose(conn) end)

  local peer = { ssl_verify = "peer", ssl_cafile = servers.ca_file() }

  -- the certificate that it brings, what makes it good enough, and the options
  local good = {
    { "server", "the same", { ssl_fingerprint = SERVER } },
    { "server", "the same public key's", { ssl_fingerprint = PUBLIC } },
    { "renewed", "the same public key's", { ssl_fingerprint = PUBLIC } },
    { "rekeyed", "one of several", { ssl_fingerprint = { SERVER, fingerprint "rekeyed" } } },
    { "rekeyed", "one of several, a public key's", { ssl_fingerprint = { public_key "rekeyed", SERVER } } },
    { "rekeyed", "one that the authority has signed", peer },
    { "unknown", "any without verification", {} },
  }
  for _, case in ipairs(good) do
    it(("that brings %s loses no message: %s"):format(case[1], case[2]), function()
      for _, size in ipairs { 16384, 1 } do -- during the handshake there is no certificate at all
        open(case[1], case[3], size)
        poll(luws, conn, function() return #seen >= 3 end)
        assert.is_true(luws.wssend(conn, 1, "echo"))
        poll(luws, conn, function() return #seen >= 5 end)
        assert.same({ { 1, "a" }, { 1, "b" }, { 1, "c" }, { 1, "echo" }, { 1, "TLSv1.2 2 0" } }, seen)
        luws.wsclose(conn)
        assert.is_true(luws.wswait(conn, 5))
        assert.is_true(conn.was_clean)
      end
    end)
  end

  -- the certificate that it brings, what is wrong with it, the options, and what is said
  local bad = {
    { "rekeyed", "another fingerprint", { ssl_fingerprint = SERVER } },
    { "renewed", "another certificate for the same key", { ssl_fingerprint = SERVER } },
    { "rekeyed", "another public key", { ssl_fingerprint = PUBLIC } },
    { "rekeyed", "another fingerprint, although it is trusted",
      { ssl_fingerprint = SERVER, ssl_verify = "peer", ssl_cafile = servers.ca_file() } },
    { "unknown", "another authority", peer, "certificate verify failed" },
    { "wrong-host", "another host", peer, "certificate verify failed" },
  }
  for _, case in ipairs(bad) do
    it(("that brings %s ends the connection, and nothing after it arrives: %s"):format(case[1], case[2]), function()
      for _, size in ipairs { 16384, 1 } do
        open(case[1], case[3], size)
        local _, more, why = poll(luws, conn)
        assert.is_nil(more)
        if case[4] then
          assert.equal(case[4], why)
        else
          -- The message says what to write instead, once the user knows that this is the right server.
          assert.equal(("certificate fingerprint mismatch: it is %s, that of its public key %s"):format(
            fingerprint(case[1]):match "=(.*)", (public_key(case[1]):gsub("//", "/"))), why)
        end
        assert.same({ { 1, "a" }, { 1, "b" }, { false, "receiver error: " .. why } }, seen)
        assert.same({ false, 1006 }, { conn.connected, conn.close_code })
        local sent = { luws.wssend(conn, 1, "secret") }
        assert.is_false(sent[1])
        assert.same({ nil, 3 }, { (luws.wsreceive(conn)), #seen })
        luws.wsclose(conn)
      end
    end)
  end
end)

describe("a client that knows its server by a fingerprint", function()
  --- The options for a client with a certificate, and the texts that its socket was given to send.
  local function recorded(options)
    local sent = {}
    options.ssl_certificate, options.ssl_key = wss.paths("client.pem", "client.key")
    options.connect = sockets.connecting {
      send = function(inner, data)
        local count, why, part = inner:send(data)
        sent[#sent + 1] = data:sub(1, count or part)
        return count, why, part
      end,
    }
    return options, sent
  end

  for _, clients in ipairs { "required", "optional" } do
    it("does not identify itself to another server, with TLS 1.3: a certificate is " .. clients, function()
      local server = { clients = clients, least = "tlsv1_3" }
      local seen = wss.open(luws, server, (recorded { ssl_fingerprint = SERVER }))
      assert.same({ true, "commonName=luws client" }, { seen.opened, seen.client })

      for _, directly in ipairs { false, true } do
        local options, sent = recorded { ssl_fingerprint = OTHER }
        seen = wss.open_once(luws, server, directly and wss.directly(options) or options)
        assert.is_false(seen.opened)
        assert.matches("certificate fingerprint mismatch", seen.message)
        assert.is_nil(seen.client)
        assert.is_nil(seen.version) -- the server never completed the handshake
        -- Only one handshake record was sent, the ClientHello.
        local bytes = table.concat(sent)
        local kind, _, _, high, low = bytes:byte(1, 5)
        assert.same({ 22, 5 + 256 * high + low }, { kind, #bytes })
      end
    end)
  end
end)

describe("ssl_fingerprint", function()
  it("may be that of a public key as curl writes it, with two slashes", function()
    assert.is_true(wss.open(luws, {}, { ssl_fingerprint = PUBLIC }).opened)
    assert.is_true(wss.open(luws, { certificate = "renewed" }, { ssl_fingerprint = { OTHER, PUBLIC } }).opened)
    assert.is_false(wss.open(luws, { certificate = "rekeyed" }, { ssl_fingerprint = PUBLIC }).opened)
    local message = wss.message(luws, { ssl_fingerprint = "sha256///" .. PUBLIC:sub(9, -2) })
    assert.truthy(message:find("bad option 'ssl_fingerprint'", 1, true), message)
  end)

  it("of a public key matches a certificate that other checks would reject", function()
    local file = assert(io.open(servers.pki "server.pem"))
    local base64 = file:read("*a"):match "%-\n(.-)%-%-%-"
    file:close()
    -- It begins in the thirteenth month; that no authority has signed this does not matter.
    local der, count = mime.unb64(base64):gsub("(\23\r%d%d)%d%d(%d+Z)", "%113%2", 1)
    assert.equal(1, count)
    local path = os.tmpname()
    file = assert(io.open(path .. ".pem", "w"))
    file:write("-----BEGIN CERTIFICATE-----\n", mime.b64(der), "\n-----END CERTIFICATE-----\n")
    file:close()
    local own = wss.openssl("x509 -in " .. path .. ".pem -noout -sha256 -fingerprint")
    local server = { certificate = path }
    for _, given in ipairs { PUBLIC, own, { OTHER, PUBLIC } } do
      local seen = wss.open(luws, server, { ssl_fingerprint = given })
      assert.is_true(seen.opened, seen.message)
      assert.same({
        verified = true, fingerprint = own:match "=(%S+)", public_key = (PUBLIC:gsub("//", "/")),
        version = seen.tls.version, cipher = seen.tls.cipher,
      }, seen.tls)
    end
    for _, given in ipairs { OTHER, SERVER, public_key "rekeyed" } do
      local seen = wss.open(luws, server, { ssl_fingerprint = given })
      assert.is_false(seen.opened)
      assert.truthy(seen.message:find(PUBLIC:gsub("//", "/"), 1, true), seen.message)
    end
    os.remove(path)
    os.remove(path .. ".pem")
  end)

  it("is refused for ws, where there is no certificate", function()
    for _, options in ipairs {
      { ssl_fingerprint = SERVER }, { ssl_fingerprint = { PUBLIC, SERVER } }, { ssl = { fingerprint = SERVER } },
      setmetatable({}, { __index = { ssl_fingerprint = SERVER } }),
    } do
      local conn, message = luws.wsopen("ws://127.0.0.1:1/", nil, options)
      assert.is_false(conn)
      assert.matches("^bad option 'ssl_fingerprint'", message)
    end
  end)
end)
