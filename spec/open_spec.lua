-- wsopen: what it sends, what it accepts, and how it fails: with the contract's texts, within its deadline, and
-- without losing a descriptor.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local sockets = require "spec.support.sockets"

local function ignore() end

describe("wsopen", function()
  local peers = {}

  --- A peer that ends with the test.
  local function keep(new)
    peers[#peers + 1] = new
    return new
  end

  --- A peer that upgrades as it is told to, and ends when it gets a (close) frame.
  local function polite(how)
    local upgrade = { "upgrade", headers = how.headers, pieces = how.pieces, tail = how.tail }
    return keep(scripted.peer { tls = how.tls, address = how.address, upgrade, { "read_frame" }, { "close" } })
  end

  after_each(function()
    while peers[1] do table.remove(peers):close() end
  end)

  describe("on success", function()
    it("returns exactly one value, a table that knows what it is", function()
      local peer = polite {}
      local options = {}
      local results = { luws.wsopen(peer.url .. "path?query", ignore, options) }
      assert.equal(1, #results)
      local conn = results[1]
      assert.equal("table", type(conn))
      assert.equal("luws-websock[127.0.0.1:" .. peer.port .. "]", tostring(conn))
      assert.same({ true, false, "ws", "127.0.0.1", peer.port, "/path?query" },
        { conn.connected, conn.closing, conn.proto, conn.ip, conn.port, conn.path })
      assert.equal(options, conn.options)
      assert.equal(ignore, conn.msghandler)
      assert.equal(0, conn.bufferedAmount)
      assert.is_true(conn.socket:getfd() >= 0)
      for _, field in ipairs { "lastMessage", "lastPing" } do
        assert.is_true(math.abs(conn[field] - socket.gettime()) < 5, field)
      end
      luws.wsclose(conn)
    end)

    it("takes no options, and no handler", function()
      local peer = keep(scripted.peer { { "upgrade" }, { "send", "\129\1a" }, { "read_frame" }, { "close" } })
      local conn = assert(luws.wsopen(peer.url))
      assert.same({}, conn.options)
      luws.wswait(conn, 5)
      assert.same({ false, 3 }, { luws.wsreceive(conn) })
      luws.wsclose(conn)
    end)

    it("calls no handler; what came behind the response is for the first wsreceive", function()
      -- contract: frames right behind the response must be delivered by the next wsreceive
      local peer = polite { tail = "\129\5first\130\2\0\255" }
      local seen = {}
      local conn = assert(luws.wsopen(peer.url, function(_, opcode, data) seen[#seen + 1] = opcode .. data end))
      assert.same({}, seen)
      local more, nb = luws.wsreceive(conn)
      assert.same({ false, 11 }, { more, nb })
      assert.same({ "1first", "2\0\255" }, seen)
      luws.wsclose(conn)
    end)

    it("sends the request of RFC 6455 section 4.1, with a fresh key", function()
      local peer = polite {}
      local keys = {}
      for i = 1, 2 do
        luws.wsclose(assert(luws.wsopen(peer.url .. "chat", ignore)))
        local seen = peer:result(i)
        assert.equal("GET /chat HTTP/1.1", seen.request_line)
        assert.equal("127.0.0.1:" .. peer.port, seen.headers.host)
        assert.equal("websocket", seen.headers.upgrade:lower())
        assert.equal("upgrade", seen.headers.connection:lower())
        assert.equal("13", seen.headers["sec-websocket-version"])
        assert.is_nil(seen.headers["sec-websocket-extensions"])
        keys[i] = seen.headers["sec-websocket-key"]
        assert.equal(24, #keys[i])
      end
      assert.are_not.equal(keys[1], keys[2])
    end)

    it("sends the user's headers and the URL's credentials", function()
      local peer = polite {}
      local url = peer.url:gsub("//", "//user:p%%40ss@")
      luws.wsclose(assert(luws.wsopen(url, ignore, {
        -- people in the field added the line end that the original forgot
        upgrade_headers = {
          ["X-Token"] = "secret\r\n", Origin = "http://hub", ["X-Number"] = 5, Host = "other", ["X-Latin"] = "caf\233",
        },
      })))
      local headers = peer:result().headers
      assert.same({ "secret", "http://hub", "5", "other", "Basic dXNlcjpwQHNz", "caf\233" }, {
        headers["x-token"], headers.origin, headers["x-number"], headers.host, headers.authorization,
        headers["x-latin"],
      })
    end)

    it("tries all addresses of a name, and IPv6", function()
      -- on 127.0.0.1 only; localhost may be ::1 first
      local peer = polite {}
      luws.wsclose(assert(luws.wsopen("ws://localhost:" .. peer.port .. "/", ignore)))
      peer = polite { address = "::1" }
      local conn = assert(luws.wsopen("ws://[::1]:" .. peer.port .. "/", ignore))
      assert.equal("::1", conn.ip)
      assert.equal("luws-websock[::1:" .. peer.port .. "]", tostring(conn))
      luws.wsclose(conn)
      assert.equal("[::1]:" .. peer.port, peer:result().headers.host)
    end)

    it("offers subprotocols, also those that come as a header", function()
      for _, options in ipairs {
        { subprotocols = { "chat", "superchat" } },
        { upgrade_headers = { ["Sec-WebSocket-Protocol"] = "chat, superchat" } },
      } do
        local peer = polite { headers = { "Sec-WebSocket-Protocol: superchat" } }
        local conn = assert(luws.wsopen(peer.url, ignore, options))
        assert.equal("superchat", conn.subprotocol)
        luws.wsclose(conn)
        assert.equal("chat, superchat", peer:result().headers["sec-websocket-protocol"])
      end
    end)

    it("accepts a response in any pieces", function()
      for _, size in ipairs { 1, 2, 50 } do
        local peer = polite { pieces = size, tail = "\129\2hi" }
        luws.wsclose(assert(luws.wsopen(peer.url, ignore)))
      end
    end)
  end)

  describe("raises an error for what is not a WebSocket URL:", function()
    for _, url in ipairs { "", "http://host/", "ws:/host", "ws://", "ws://host:99999/", "ws://host/#x", 5, true, {} } do
      it(tostring(url), function()
        local ok, err = pcall(luws.wsopen, url, ignore)
        assert.is_false(ok)
        assert.equal("string", type(err))
        assert.truthy(err:find("Invalid protocol/address for WebSocket open in URL", 1, true), err)
      end)
    end

    it("without its password", function()
      for _, url in ipairs {
        "ws://user:hunter2@host:x/", "ws://user:p@hunter2@host:x/", "ws://u:se/hunter2@host:x", "wss:/u:hunter2@host",
      } do
        local _, err = pcall(luws.wsopen, url, ignore)
        assert.is_nil(err:find("hunter2", 1, true), err)
      end
    end)
  end)

  describe("returns false and names the argument or option:", function()
    local cases = {
      { "bad argument #2 to 'wsopen' (function expected, got table)", {} },
      { "bad argument #2 to 'wsopen' (function expected, got string)", "handler" },
      { "bad argument #3 to 'wsopen' (table expected, got number)", ignore, 5 },
      { "bad option 'receive_timeout' (number expected, got string)", ignore, { receive_timeout = "5" } },
      { "bad option 'receive_timeout' (a number of at least 0 expected, got -1)", ignore, { receive_timeout = -1 } },
      {
        "bad option 'receive_chunk_size' (a number of at least 1 expected, got 0)",
        ignore,
        { receive_chunk_size = 0 },
      },
      { "bad option 'handler_args' (table expected, got number)", ignore, { handler_args = 1 } },
      { "bad option 'control_handler' (function expected, got table)", ignore, { control_handler = {} } },
      { "bad option 'use_masking' (boolean expected, got string)", ignore, { use_masking = "no" } },
      { "bad option 'upgrade_headers' (table expected, got string)", ignore, { upgrade_headers = "X: y" } },
      {
        'bad option \'upgrade_headers\' (header name "X Y" is not a token)',
        ignore,
        { upgrade_headers = { ["X Y"] = "z" } },
      },
      {
        "bad option 'upgrade_headers' (the value of header X has a control character in it)",
        ignore,
        { upgrade_headers = { X = "y\r\nEvil: 1" } },
      },
      {
        "bad option 'upgrade_headers' (X: string or number expected, got table)",
        ignore,
        { upgrade_headers = { X = {} } },
      },
      {
        "bad option 'upgrade_headers' (Sec-WebSocket-Key belongs to the handshake)",
        ignore,
        { upgrade_headers = { ["Sec-WebSocket-Key"] = "x" } },
      },
      { "bad option 'subprotocols' (an element is not a token)", ignore, { subprotocols = { "a b" } } },
      { "bad option 'ssl_verfy' (unknown)", ignore, { ssl_verfy = "peer" } },
      { "bad option 'ssl_options': invalid option (no_renegotiation)", ignore, { ssl_options = "no_renegotiation" } },
      {
        "bad option 'upgrade_headers' (the value of header Host is not ASCII)",
        ignore,
        { upgrade_headers = { Host = "\255" } },
      },
      {
        "bad option 'sockproxy' (port: whole number from 1 to 65535 expected, got 0)",
        ignore,
        { sockproxy = { port = 0 } },
      },
      { "bad option 'sockproxy' (service: missing)", ignore, { sockproxy = { device = 1 } } },
      { "bad option 'deflate' (levle: unknown)", ignore, { deflate = { levle = 9 } } },
      { "bad option 'connect' (function expected, got string)", ignore, { connect = "socket" } },
      { "bad option 'ssl_mode': a WebSocket client is a TLS client (server)", ignore, { ssl_mode = "server" } },
      { "bad option 'ssl_protocol': invalid protocol (sslv3)", ignore, { ssl_protocol = "sslv3" } },
      { "bad option 'ssl_verify': invalid verify option (maybe)", ignore, { ssl_verify = { "peer", "maybe" } } },
      { "bad option 'ssl_options': invalid option (nonsense)", ignore, { ssl_options = "all,nonsense" } },
      {
        "bad option 'ssl_options': no TLS version is left (no_tlsv1_2,no_tlsv1_3)",
        ignore,
        { ssl_options = { "no_tlsv1_2", "no_tlsv1_3" } },
      },
      { "bad option 'ssl_cafile': No such file or directory (/none)", ignore, { ssl_cafile = "/none" } },
    }
    for _, case in ipairs(cases) do
      it(case[1], function()
        -- Nobody listens there: what is wrong with the options is said before anything is dialled.
        assert.same({ false, case[1] }, { luws.wsopen("wss://127.0.0.1:1/", case[2], case[3]) })
      end)
    end
  end)

  describe("returns false and why", function()
    -- the script of the server, options, and the message; PORT stands for the server's port
    local refused = { "upgrade", status = "HTTP/1.1 404 Not Found" }
    local cases = {
      { "answers 404", { refused }, "upgrade failed; HTTP/1.1 404 Not Found" },
      { "closes at once", { { "close" } }, "upgrade failed; the peer closed the connection" },
      { "closes after the request", { { "request" }, { "close" } }, "upgrade failed; the peer closed the connection" },
      { "resets", { { "request" }, { "reset" } }, "upgrade failed; the peer closed the connection" },
      {
        "dies in the middle of the response",
        { { "request" }, { "send", "HTTP/1.1 101 Switching Protocols\r\nUpgr" }, { "close" } },
        "upgrade failed; the peer closed the connection",
      },
      {
        "answers garbage",
        { { "send", "\0\1\2garbage" }, { "hold" } },
        'upgrade failed; the answer is not HTTP: "\\x00\\x01\\x02garbage"',
      },
      {
        "is another service",
        { { "send", "220 mail.example ESMTP\r\n" }, { "hold" } },
        'upgrade failed; the answer is not HTTP: "220 mail.example ESMTP"',
      },
      {
        "speaks TLS",
        { { "request" }, { "send", "\21\3\1\0\2\2\70" }, { "close" } },
        "upgrade failed; the answer is TLS: is this a wss server?",
      },
      {
        "has a wrong Sec-WebSocket-Accept",
        { { "upgrade", replace = { ["Sec-WebSocket-Accept"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" } }, { "hold" } },
        "upgrade failed; Sec-WebSocket-Accept does not match the request's key",
      },
      {
        "has no Upgrade header",
        { { "upgrade", replace = { Upgrade = false } }, { "hold" } },
        'upgrade failed; the response has no "Upgrade: websocket"',
      },
      {
        "has no Connection header",
        { { "upgrade", replace = { Connection = false } }, { "hold" } },
        'upgrade failed; the response has no "Connection: Upgrade"',
      },
      {
        "selects an extension that was not offered",
        { { "upgrade", headers = { "Sec-WebSocket-Extensions: permessage-deflate" } }, { "hold" } },
        "upgrade failed; the server selected an extension that was not offered: permessage-deflate",
      },
      {
        "selects a subprotocol that was not offered",
        { { "upgrade", headers = { "Sec-WebSocket-Protocol: chat" } }, { "hold" } },
        "upgrade failed; the server selected a subprotocol that was not offered: chat",
      },
      {
        "sends a head without end",
        { { "request" }, { "send", "HTTP/1.1 101 x\r\nX: " }, { "send", ("y"):rep(1024), times = 65 }, { "hold" } },
        "upgrade failed; the head is over 65536 bytes",
      },
      {
        "is an old one and refuses",
        { { "request" }, { "send", "HTTP/1.0 401 Unauthorized\r\n\r\n" }, { "close" } },
        "upgrade failed; HTTP/1.0 401 Unauthorized",
      },
      { "never answers", { { "hold" } }, "upgrade failed; timeout", { upgrade_timeout = 0.2 } },
      {
        "drips a byte now and then",
        { { "request" }, { "drip", "HTTP/1.1 101 Switching Protocols\r\n", 0.05 }, { "hold" } },
        "upgrade failed; timeout",
        { upgrade_timeout = 0.3 },
      },
    }
    for _, case in ipairs(cases) do
      for _, tls in ipairs { false, true } do
        local name, steps, message, options = unpack(case)
        it(("when the server %s (%s)"):format(name, tls and "wss" or "ws"), function()
          local script = { tls = tls }
          for i, step in ipairs(steps) do script[i] = step end
          local peer = keep(scripted.peer(script))
          local before, started = sockets.count(), socket.gettime()
          local result, text = luws.wsopen(peer.url, ignore, options)
          assert.same({ false, message }, { result, text })
          assert.is_true(socket.gettime() - started < 3)
          assert.equal(before, sockets.count())
        end)
      end
    end

    it("and what the server has said, if it refused", function()
      local head = "HTTP/1.1 403 Forbidden\r\nX-Why: token\r\nx-why: expired\r\n"
      for _, case in ipairs {
        { head .. "Content-Length: 7\r\n\r\nexpired and more", "expired" },
        { head .. "Content-Length: 9999\r\n\r\n" .. ("x"):rep(9999), ("x"):rep(4096) },
        { head .. "\r\nuntil the end", "until the end" },
      } do
        local peer = keep(scripted.peer { { "request" }, { "pieces", case[1], 1000, 0.001 }, { "close" } })
        local result, message, response = luws.wsopen(peer.url, ignore)
        assert.same({ false, "upgrade failed; HTTP/1.1 403 Forbidden" }, { result, message })
        assert.same({ 403, "Forbidden", "token, expired", case[2] },
          { response.status, response.reason, response.headers["x-why"], response.body })
      end
    end)

    it("when nobody listens", function()
      local peer = keep(scripted.refused())
      local before = sockets.count()
      assert.same({ false, ("Connection to 127.0.0.1:%d failed: connection refused"):format(peer.port) },
        { luws.wsopen(peer.url, ignore) })
      assert.equal(before, sockets.count())
    end)

    it("when the name is unknown", function()
      local result, message = luws.wsopen("ws://no-such-host.invalid/", ignore)
      assert.is_false(result)
      assert.truthy(message:find("^Connection to no%-such%-host%.invalid:80 failed: %a"), message)
    end)

    it("when the address does not answer, by the deadline", function()
      local peer = keep(scripted.silent())
      local before, started = sockets.count(), socket.gettime()
      assert.same({ false, ("Connection to 127.0.0.1:%d failed: timeout"):format(peer.port) },
        { luws.wsopen(peer.url, ignore, { connect_timeout = 0.2 }) })
      local took = socket.gettime() - started
      assert.is_true(took > 0.15 and took < 1, took)
      assert.equal(before, sockets.count())
    end)

    it("when TLS is not answered, by the deadline", function()
      local peer = keep(scripted.peer { { "hold" } })
      assert.same({ false, "Failed SSL negotation: timeout" },
        { luws.wsopen(peer.url:gsub("^ws", "wss"), ignore, { connect_timeout = 0.2 }) })
    end)

    it("when the server does not speak TLS", function()
      local peer = keep(scripted.peer { { "request" }, { "hold" } })
      local result, message = luws.wsopen(peer.url:gsub("^ws", "wss"), ignore, { connect_timeout = 0.2 })
      assert.is_false(result)
      assert.equal("Failed SSL negotation: ", message:match("^Failed SSL negotation: "), message)
    end)

    it("when the server's certificate is not to be trusted", function()
      local peer = keep(scripted.peer { tls = true, { "upgrade" }, { "hold" } })
      local result, message = luws.wsopen(peer.url, ignore, { ssl_verify = "peer" })
      assert.is_false(result)
      assert.equal("Failed SSL negotation: ", message:match("^Failed SSL negotation: "), message)
      assert.truthy(message:find("certificate", 1, true), message)
    end)

    it("when the certificate is for another host", function()
      local peer = keep(scripted.peer { tls = true, address = "127.0.0.2", { "upgrade" }, { "hold" } })
      local verify = { ssl_verify = "peer", ssl_cafile = servers.ca_file() }
      local result, message = luws.wsopen(peer.url:gsub("localhost", "127.0.0.2"), ignore, verify)
      assert.is_false(result)
      assert.equal("Failed SSL negotation: ", message:match("^Failed SSL negotation: "), message)
    end)
  end)

  it("shows the name of the host to the server, for it to choose its certificate (SNI)", function()
    local peer = polite { tls = true }
    luws.wsclose(assert(luws.wsopen(peer.url, ignore)))
    assert.equal("localhost", peer:result().sni)
  end)

  it("frees the socket of a connection that is dropped", function()
    local peer = keep(scripted.peer { { "upgrade" }, { "read_to_eof" } })
    local before = sockets.count()
    for _ = 1, 10 do assert(luws.wsopen(peer.url, ignore)) end
    assert.equal(before, sockets.count())
  end)
end)
