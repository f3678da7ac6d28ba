-- What the other specs take for granted about the scripted server's TLS: that it has the certificate, versions and
-- protocols of its script, asks for client certificates as the script says, and records the outcome. The client is
-- LuaSec, not luws. The server without TLS is tested in support_spec.lua.

local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local ssl = require "ssl"

-- RFC 6455 section 1.3 has this key and its hash.
local REQUEST = "GET /chat HTTP/1.1\r\nHost: localhost\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
local RESPONSE = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  .. "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

local function connect(peer)
  local client = assert(socket.connect(peer.host, peer.port))
  client:settimeout(10)
  return client
end

describe("scripted.peer with TLS", function()
  -- The server's name is localhost unless one is given. The options go to LuaSec.
  local function attempt(client, name, options)
    local parameters = {
      mode = "client", protocol = "any", verify = "peer", cafile = servers.ca_file(), alpn = { "http/1.1" },
    }
    for key, value in pairs(options or {}) do parameters[key] = value end
    client = assert(ssl.wrap(client, parameters))
    if name then client:sni(name) end
    client:settimeout(10)
    return client, client:dohandshake()
  end

  local function handshake(...)
    local client, ok, problem = attempt(...)
    assert(ok, problem)
    return client
  end

  it("has a certificate of the test authority, and records name, protocol and close_notify", function()
    local peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "read_to_eof" }, tls = true }
    assert.equal(("wss://localhost:%d/"):format(peer.port), peer.url)
    local client = handshake(connect(peer), "localhost")
    assert(client:send(REQUEST))
    assert.equal(RESPONSE, client:receive(#RESPONSE))
    assert(client:send(scripted.frame { payload = "Hello", mask = true }))
    client:close()
    local seen = peer:result()
    assert.equal("Hello", seen.frames[1].payload)
    assert.same({ "localhost", "http/1.1" }, { seen.sni, seen.alpn })
    assert.is_nil(seen.error)
    assert.is_number(seen.eof)
    assert.is_true(seen.close_notify)
  end)

  it("tells a close_notify from a truncated stream", function()
    local peer = scripted.peer { { "read_to_eof" }, tls = true }
    local plain = connect(peer)
    local fd = plain:getfd()
    local client = handshake(plain, "localhost")
    plain:setfd(fd) -- LuaSec took the descriptor; this ends the stream without its knowledge
    plain:shutdown "send"
    local seen = peer:result()
    assert.is_number(seen.eof)
    assert.is_false(seen.close_notify)
    plain:setfd(-1)
    client:close()
  end)

  it("ends with or without a close_notify", function()
    local cases = { { "close" }, { "shutdown" }, { "close", notify = false }, { "shutdown", notify = false } }
    for _, case in ipairs(cases) do
      local peer = scripted.peer { { "send", "last" }, case, tls = true }
      local client = handshake(connect(peer), "localhost")
      assert.equal("last", client:receive(4))
      -- LuaSec calls a close_notify "closed", and a truncated stream what OpenSSL calls it.
      local _, problem = client:receive(1)
      assert.equal(case.notify ~= false, problem == "closed", problem)
      client:close()
    end
  end)

  it("presents the certificate that the script names", function()
    local cases = {
      { "server" },
      { "chain" },
      { "self-signed", problem = "certificate verify failed" },
      { "rekeyed", key = true },
    }
    for _, case in ipairs(cases) do
      local peer = scripted.peer { { "read_to_eof" }, tls = { certificate = case[1] } }
      local client, ok, problem = attempt(connect(peer), "localhost")
      if case.problem then
        assert.matches(case.problem, problem)
        client:close()
        assert.matches("alert unknown ca", peer:result().error)
      else
        assert.is_true(ok, problem)
        assert.equal(servers.leaf(case[1] .. ".pem"), client:getpeercertificate():pem())
        client:close()
      end
    end
  end)

  it("speaks the versions that the script allows, and records which was selected", function()
    local old = "ALL:@SECLEVEL=0"
    for _, version in ipairs { "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3" } do
      local peer = scripted.peer { { "read_to_eof" }, tls = { least = version, newest = version } }
      handshake(connect(peer), nil, { ciphers = old }):close()
      assert.equal(version, peer:result().version)
      local other = version == "tlsv1_2" and "tlsv1_3" or "tlsv1_2"
      local client, ok, problem = attempt(connect(peer), nil, { protocol = other })
      assert.is_false(ok)
      -- Which of the two notices depends on which is the older.
      assert.truthy(problem:find "alert protocol version" or problem:find "unsupported protocol", problem)
      client:close()
      local seen = peer:result(2)
      assert.matches("^step 0 %(tls%): ", seen.error)
      assert.is_nil(seen.version)
    end
  end)

  it("selects one of its protocols", function()
    local peer = scripted.peer { { "read_to_eof" }, tls = { alpn = "b,a" } }
    for i, case in ipairs { { { "a", "b" }, "b" }, { { "a" }, "a" }, { { "c" } } } do
      handshake(connect(peer), nil, { alpn = case[1] }):close()
      local seen = peer:result(i)
      assert.same({ case[2] }, { seen.alpn })
      assert.is_nil(seen.sni)
    end
  end)

  it("asks for client certificates, and records whose they were", function()
    local cases = {
      { "optional" },
      { "optional", "client", client = "commonName=luws client" },
      { "required", "client", client = "commonName=luws client" },
      { "required", "client-chain", client = "commonName=luws client" },
      { "required", "client-unknown", authority = "other-ca", client = "commonName=luws client" },
      { "optional", "client-unknown", problem = "CERTIFICATE_VERIFY_FAILED" },
      { "required", problem = "PEER_DID_NOT_RETURN_A_CERTIFICATE" },
    }
    for _, case in ipairs(cases) do
      for _, version in ipairs { "tlsv1_2", "tlsv1_3" } do
        local peer = scripted.peer { { "read_to_eof" }, tls = { clients = case[1], authority = case.authority } }
        local client = attempt(connect(peer), nil, {
          protocol = version,
          certificate = case[2] and servers.pki(case[2] .. ".pem"),
          key = case[2] and servers.pki "client.key",
        })
        -- With TLS 1.3, the client's handshake ends before the server has looked at the client's certificate.
        if case.problem then assert.is_nil((client:receive(1))) end
        client:close()
        local seen = peer:result()
        assert.same({ case.client }, { seen.client })
        assert.matches(case.problem or "^nil$", tostring(seen.error))
      end
    end
  end)

  it("begins TLS in the middle of a script", function()
    local peer = scripted.peer { { "read_until", "\n" }, { "send", "OK\n" }, { "tls" }, { "upgrade" } }
    local client = connect(peer)
    client:send "CONN localhost:1\n"
    assert.equal("OK", client:receive())
    client = handshake(client, "localhost")
    client:send(REQUEST)
    assert.equal(RESPONSE, client:receive(#RESPONSE))
    assert.is_nil(peer:result().error)
  end)
end)
