-- The module against third-party servers: Python's `websockets` and npm's `ws`, over ws and wss, so that both ends
-- cannot share a misreading of RFC 6455. Our own demo server gets the same tests for the paths that it has.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local unpack = require "spec.support.compat".unpack

local SERVERS = {
  { name = "websockets" },
  { name = "ws" },
  -- Its answer to a close frame has only the code, as RFC 6455 section 5.5.1 asks.
  { name = "demo", without_reason = true, only = { ["/echo"] = true, ["/close"] = true, ["/nowhere"] = true } },
}

-- Functions, because the certificates are made on first use.
local TRANSPORTS = {
  { name = "ws", scheme = "ws", options = function() return {} end },
  { name = "wss, unverified", scheme = "wss", options = function() return { ssl_verify = "none" } end },
  {
    name = "wss, verified", scheme = "wss",
    options = function() return { ssl_verify = "peer", ssl_cafile = servers.ca_file() } end,
  },
}

local MIB = 1024 * 1024
local TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

-- Returns this many bytes, no two neighbours equal, with a period that does not divide a power of two.
local PATTERN = {}
for i = 0, 250 do PATTERN[i + 1] = string.char(i) end
PATTERN = table.concat(PATTERN)

local function bytes(size)
  return PATTERN:rep(math.ceil(size / #PATTERN)):sub(1, size)
end

-- name, opcode, data
local MESSAGES = {
  { "text", TEXT, "Hello, WebSocket!" },
  { "binary, all bytes", BINARY, bytes(251) .. "\251\252\253\254\255" },
  { "an empty text", TEXT, "" },
  { "an empty binary message", BINARY, "" },
  { "text of 1 to 4 bytes a character", TEXT, "z\195\164\226\130\172\240\159\152\128" },
  { "text with NUL, CR and LF", TEXT, "a\0b\r\nc" },
}
-- the lengths at which the header changes its form (RFC 6455 section 5.2), and a large one
for _, size in ipairs { 1, 125, 126, 127, 65535, 65536, 65537, MIB } do
  MESSAGES[#MESSAGES + 1] = { size .. " bytes", BINARY, bytes(size) }
end

local function numbers(count)
  local list = {}
  for i = 1, count do list[i] = "message " .. i end
  return list
end

for _, server in ipairs(SERVERS) do
  for _, transport in ipairs(TRANSPORTS) do
    describe(("with %s over %s, luws"):format(server.name, transport.name), function()
      local conn, messages, controls, ends

      --- Opens a connection that collects messages as { opcode, data }, and the texts of its end in `ends`.
      local function open(path, more)
        messages, controls, ends = {}, {}, {}
        local options = transport.options()
        options.max_payload_size, options.close_timeout = 2 * MIB, 5
        options.control_handler = function(_, opcode, data) controls[#controls + 1] = { opcode, data } end
        for name, value in pairs(more or {}) do options[name] = value end
        local why
        conn, why = luws.wsopen(servers.url(server.name, transport.scheme, path), function(_, opcode, data)
          if opcode then messages[#messages + 1] = { opcode, data } else ends[#ends + 1] = data end
        end, options)
        return conn, why
      end

      local function awaiting(list, count)
        return poll(luws, conn, function() return #list >= count end)
      end

      --- Returns the only message that arrives.
      local function message(name)
        assert.is_true(awaiting(messages, 1), name)
        assert.equal(1, #messages, name)
        return table.remove(messages)
      end

      --- Awaits the end that the server begins; it is reported once, and is final.
      local function assert_ended()
        assert.is_true(awaiting(ends, 1))
        for _ = 1, 3 do assert.same({ nil, "closed" }, { luws.wsreceive(conn) }) end
        assert.same({ "receiver error: closed" }, ends)
        assert.is_false(conn.connected)
        assert.same({ false, "not connected" }, { luws.wssend(conn, TEXT, "late") })
      end

      --- Defines the spec of one path, if the server has it.
      local function on(path, name, body)
        if server.only and not server.only[path:match "^[^?]*"] then return end
        it(name, function()
          local missing = servers.missing(server.name)
          if missing then return pending(missing) end
          body(path)
        end)
      end

      after_each(function()
        luws.wsclose(conn)
        conn = nil
      end)

      for path, verb in pairs { ["/echo"] = "gets back", ["/fragments"] = "puts together" } do
        on(path, verb .. " what it sends", function()
          assert(open(path))
          for _, case in ipairs(MESSAGES) do
            local name, opcode, data = unpack(case)
            assert.is_true(luws.wssend(conn, opcode, data), name)
            local got = message(name)
            assert.equal(opcode, got[1], name)
            assert.is_true(data == got[2], name) -- a difference in 1 MiB is too long to print
          end
          assert.same({}, ends)
        end)
      end

      on("/big?size=1000003", "takes a message larger than many reads", function(path)
        assert(open(path, { receive_chunk_size = 1000 }))
        local got = message()
        assert.equal(BINARY, got[1])
        assert.is_true(bytes(1000003) == got[2], #got[2] .. " bytes")
      end)

      on("/big?size=65536", "takes no message over max_payload_size", function(path)
        assert(open(path, { max_payload_size = 65535 }))
        assert.is_true(awaiting(ends, 1))
        assert.equal("message too big", ends[1]:match "^message too big")
        for _ = 1, 3 do assert.same({ nil, ends[1] }, { luws.wsreceive(conn) }) end
        assert.equal(1, #ends)
        assert.same({}, messages)
        assert.is_false(conn.was_clean)
      end)

      on("/echo", "sends 1,000 messages in one go, and gets them back in order", function(path)
        assert(open(path))
        local sent = numbers(1000)
        for _, text in ipairs(sent) do assert.is_true(luws.wssend(conn, TEXT, text)) end
        assert.is_true(awaiting(messages, #sent))
        for i, text in ipairs(sent) do assert.same({ TEXT, text }, messages[i]) end
        assert.equal(#sent, #messages)
      end)

      on("/ping", "answers a ping while it does nothing but receive", function(path)
        assert(open(path))
        assert.same({ TEXT, "pong received" }, message())
        assert.same({ { PING, "are you there" } }, controls)
      end)

      for _, payload in ipairs { "", "are you there", bytes(125) } do
        on("/echo", ("is answered to a ping of %d bytes"):format(#payload), function(path)
          assert(open(path))
          assert.is_true(luws.wssend(conn, PING, payload))
          assert.is_true(awaiting(controls, 1))
          assert.same({ { PONG, payload } }, controls)
          assert.same({}, messages)
        end)
      end

      -- path, code, reason
      for _, case in ipairs {
        { "/close?code=4001&reason=going,+going", 4001, "going, going" },
        { "/close?code=1000", 1000, "" },
        { "/close?code=1001&reason=%F0%9F%98%80", 1001, "\240\159\152\128" },
        { "/close?code=3000&reason=" .. ("r"):rep(123), 3000, ("r"):rep(123) },
      } do
        on(case[1], ("is notified of a close by the server, code %d"):format(case[2]), function(path)
          assert(open(path))
          assert_ended()
          assert.same({ case[2], case[3], true }, { conn.close_code, conn.close_reason, conn.was_clean })
          assert.equal(CLOSE, controls[1][1])
          assert.equal(case[3], controls[1][2]:sub(3))
          assert.equal(1, #controls)
        end)
      end

      -- arguments of wsclose after the connection, the server's answer
      for _, case in ipairs { { 4000, 4000, "reason" }, { 1000, nil, nil }, { 3999, 3999, ("r"):rep(123) } } do
        on("/echo", ("closes cleanly with %s"):format(tostring(case[2])), function(path)
          assert(open(path))
          luws.wsclose(conn, case[2], case[3])
          assert.is_true(luws.wswait(conn, 5))
          assert.same({ case[1], true, false }, { conn.close_code, conn.was_clean, conn.connected })
          assert.same({ case[2] or 1000, case[3] or "" }, { conn.close_code_sent, conn.close_reason_sent })
          if not server.without_reason then assert.equal(case[3] or "", conn.close_reason) end
          assert.same({ nil, "not connected" }, { luws.wsreceive(conn) })
          assert.same({}, ends)
        end)
      end

      -- options, what the server took
      for _, case in ipairs {
        { { subprotocols = { "soap", "chat" } }, "chat" },
        { { subprotocols = "chat" }, "chat" },
        { { upgrade_headers = { ["Sec-WebSocket-Protocol"] = "chat, soap" } }, "chat" },
        { { subprotocols = { "soap" } }, "" },
        { {}, "" },
      } do
        on("/subprotocol", "agrees on a subprotocol: " .. luws.dump(case[1]), function(path)
          assert(open(path, case[1]))
          assert.same({ TEXT, case[2] }, message())
        end)
      end

      on("/headers", "sends the user's headers, and Host with the port", function(path)
        local port = servers.start(server.name)[transport.scheme]
        local host = transport.scheme == "wss" and "localhost" or "127.0.0.1"
        -- headers, their form in the server's JSON
        for _, case in ipairs {
          {
            -- users of LuWS add the line end that LuWS forgot
            { ["X-Token"] = "a b", ["User-Agent"] = "hub/1", ["X-Line"] = "value\r\n" },
            { '"x-token":"a b"', '"user-agent":"hub/1"', '"x-line":"value"', ('"host":"%s:%d"'):format(host, port) },
          },
          { { Host = "hub.example" }, { '"host":"hub.example"' } },
        } do
          assert(open(path, { upgrade_headers = case[1] }))
          local json = message()[2]
          for _, header in ipairs(case[2]) do assert.truthy(json:find(header, 1, true), json) end
          luws.wsclose(conn)
        end
      end)

      on("/slow", "waits for a slow upgrade, but no longer than it should", function(path)
        local started = luws.gettime()
        assert(open(path))
        assert.is_true(luws.gettime() - started > 0.29)
        assert.is_true(luws.wssend(conn, TEXT, "at last"))
        assert.same({ TEXT, "at last" }, message())
        luws.wsclose(conn)
        assert.same({ false, "upgrade failed; timeout" }, { open(path, { upgrade_timeout = 0.1 }) })
      end)

      on("/echo", "sends the chunks of an LTN12 source as fragments", function(path)
        assert(open(path))
        -- RFC 6455 section 5.4: a fragment may be empty, and may end within a character
        for _, chunks in ipairs { { "Hel", "", "lo" }, { "\240\159", "\152\128" }, { ("x"):rep(70000), "y" }, {} } do
          local at = 0
          assert.is_true(luws.wssend(conn, TEXT, function()
            at = at + 1
            return chunks[at]
          end))
          assert.same({ TEXT, table.concat(chunks) }, message())
        end
      end)

      on("/echo", "sends messages in fragments of fragment_size", function(path)
        for _, size in ipairs { 1, 999 } do
          assert(open(path, { fragment_size = size }))
          assert.is_true(luws.wssend(conn, BINARY, bytes(1000)))
          assert.same({ BINARY, bytes(1000) }, message())
          luws.wsclose(conn)
        end
      end)

      on("/echo", "is refused with 1002 when it does not mask (RFC 6455 section 5.1)", function(path)
        assert(open(path, { use_masking = false }))
        assert.is_true(luws.wssend(conn, TEXT, "naked"))
        assert_ended()
        assert.equal(1002, conn.close_code)
        assert.same({}, messages)
      end)

      on("/nowhere", "is refused with the status line on a path that does not exist", function(path)
        assert.same({ false, "upgrade failed; HTTP/1.1 404 Not Found" }, { open(path) })
      end)

      if server.name == "websockets" then
        on("/private", "is let in with a user and a password", function(path)
          local auth = { user = "me", password = "secret", scheme = "basic" }
          assert(open(path, { auth = auth }))
          assert.truthy(message()[2]:find('"authorization":"Basic bWU6c2VjcmV0"', 1, true))
          luws.wsclose(conn)
          auth.password = "wrong"
          assert.same({ false, "upgrade failed; HTTP/1.1 401 Unauthorized" }, { open(path, { auth = auth }) })
          assert.same({ false, "upgrade failed; HTTP/1.1 401 Unauthorized" }, { open(path) })
        end)
      end
    end)
  end
end

describe("TLS", function()
  local function verified() return { ssl_verify = "peer", ssl_cafile = servers.ca_file() } end

  local function assert_refused(url, options)
    local result, why = luws.wsopen(url, nil, options)
    assert.is_false(result)
    assert.equal("Failed SSL negotation: ", why:sub(1, 23), why)
    assert.truthy(why:find("certificate", 1, true), why)
  end

  for _, server in ipairs(SERVERS) do
    it("is refused when no known authority has signed the certificate of " .. server.name, function()
      local missing = servers.missing(server.name)
      if missing then return pending(missing) end
      assert_refused(servers.url(server.name, "wss", "/echo"), { ssl_verify = "peer" })
    end)

    it("also accepts the addresses in the certificate of " .. server.name, function()
      local missing = servers.missing(server.name)
      if missing then return pending(missing) end
      local url = servers.url(server.name, "wss", "/echo"):gsub("localhost", "127.0.0.1")
      luws.wsclose(assert(luws.wsopen(url, nil, verified())))
    end)
  end

  -- the server's address, and the result with a certificate for localhost, 127.0.0.1 and ::1
  it("is refused when the certificate is for another host", function()
    local peer = scripted.peer { tls = true, address = "127.0.0.2", { "upgrade" }, { "hold" } }
    assert_refused(peer.url, verified())
    assert.is_nil(peer:result().head) -- nothing was sent to the wrong host
    peer:close()
    peer = scripted.peer { tls = true, address = "127.0.0.2", { "upgrade" }, { "read_frame" }, { "close" } }
    luws.wsclose(assert(luws.wsopen(peer.url, nil, { ssl_verify = "none" }))) -- without verification
    assert.is_nil(peer:result().error)
    peer:close()
  end)

  -- RFC 6066 section 3: names only, no addresses
  for host, sni in pairs { ["localhost"] = "localhost", ["LOCALHOST"] = "localhost", ["127.0.0.1"] = false } do
    it(("tells the server which host is wanted: %s"):format(host), function()
      local peer = scripted.peer { tls = true, { "upgrade" }, { "read_frame" }, { "close" } }
      luws.wsclose(assert(luws.wsopen(peer.url:gsub("localhost", host), nil, verified())))
      assert.equal(sni or nil, peer:result().sni)
      peer:close()
    end)
  end
end)
