-- wsopen: what it sends, what it accepts, and how it fails: with the contract's texts, within its deadline (in memory,
-- on a virtual clock), and without leaking a descriptor.

local luws = require "luws"
local memory_socket = require "spec.support.memory_socket"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local sockets = require "spec.support.sockets"
local world = require "spec.support.world"
local unpack = require "spec.support.compat".unpack

local function ignore() end

describe("wsopen", function()
  local peers = {}

  --- Returns a peer that ends with the test.
  local function keep(new)
    peers[#peers + 1] = new
    return new
  end

  --- Returns a peer that upgrades as specified, and ends when it gets a (close) frame.
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

    for scheme, steps in pairs {
      ws = { "connect", "lookup", "upgrade" }, wss = { "connect", "lookup", "tls", "upgrade" },
    } do
      it("knows how long each step has taken, and where it has led, over " .. scheme, function()
        local url = servers.url("demo", scheme, "/echo")
        local began = socket.gettime()
        local conn = assert(luws.wsopen(url))
        local took, names, sum = socket.gettime() - began, {}, 0
        for name, seconds in pairs(conn.timings) do
          names[#names + 1], sum = name, sum + seconds
          assert.is_true(seconds >= 0, name)
        end
        table.sort(names)
        assert.same(steps, names)
        assert.is_true(sum > 0 and sum < took + 0.1, sum)
        local address, port, family = conn.socket:getpeername()
        assert.equal(tonumber(url:match ":(%d+)/"), port)
        assert.same({ "127.0.0.1", "inet" }, { address, family })
        luws.wsclose(conn)
        conn.socket:close()
        assert.same({ nil, "closed" }, { conn.socket:getpeername() })
      end)
    end

    it("takes no options, and no handler", function()
      local peer = keep(scripted.peer { { "upgrade" }, { "send", "\129\1a" }, { "read_frame" }, { "close" } })
      local conn = assert(luws.wsopen(peer.url))
      assert.same({}, conn.options)
      luws.wswait(conn, 5)
      assert.same({ false, 3 }, { luws.wsreceive(conn) })
      luws.wsclose(conn)
    end)

    it("calls no handler; frames that came after the response are for the first wsreceive", function()
      -- contract: frames right after the response must be delivered by the next wsreceive
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
        -- users added the line end that the original forgot
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

    it("offers subprotocols, also those given as a header", function()
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

    it("accepts a response split anywhere", function()
      for _, size in ipairs { 1, 2, 50 } do
        local s = world.session()
        s:open { { "upgrade", pieces = size, interval = 0.001, tail = "\129\2hi" }, { "hold" } }
        s:await(1)
        assert.same({ { 1, "hi" } }, s.told)
      end
    end)

    local line = "X-Filler: " .. ("y"):rep(1000) .. "\r\n"
    for name, response in pairs {
      ["whose lines end in bare LFs"] = "HTTP/1.1 101 Yes\nUpgrade: websocket\nConnection: Upgrade\n"
        .. "Sec-WebSocket-Accept: {accept}\nX-Header: a b\n\n",
      ["with folded lines"] = "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection:\r\n Upgrade\r\n"
        .. "Sec-WebSocket-Accept:\r\n\t{accept}\r\nX-Header: a\r\n b\r\n\r\n",
      ["of almost 64 KiB"] = "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        .. line:rep(64) .. "Sec-WebSocket-Accept: {accept}\r\nX-Header: a b\r\n\r\n",
    } do
      it("accepts a response " .. name, function()
        local w = world.new()
        local conn = w:open(w:play { { "upgrade", response = response }, { "hold" } })
        assert.equal("a b", conn.response_headers["x-header"])
      end)
    end
  end)

  describe("raises an error for a URL that is not a WebSocket URL:", function()
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

    for url, shown in pairs {
      ["http://host/x?token=hunter2"] = "http://host/x...: it does not begin with ws:// or wss://",
      ["ws://host:x/p?hunter2"] = "ws://host:x/p...: invalid port number",
      ["ws://host/#access_token=hunter2"] = "ws://host/...: it has a fragment (#), which a WebSocket URL cannot have",
      ["ws://host/a?b=hunter2#c"] = "ws://host/a...: it has a fragment (#), which a WebSocket URL cannot have",
      ["ws://host/\27[2J\r\n"] = "ws://host/\\027[2J\\013\\010: it has a control character in it",
      [("http://x/"):rep(30)] = ("http://x/"):rep(30):sub(1, 200) .. "...: it does not begin with ws:// or wss://",
    } do
      it("without its query, on one short line: " .. shown, function()
        local _, err = pcall(luws.wsopen, url, ignore)
        assert.equal("Invalid protocol/address for WebSocket open in URL " .. shown, err:match("Invalid.*"))
      end)
    end
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
        "bad option 'upgrade_headers' (more than one Host)",
        ignore,
        { upgrade_headers = { Host = "a", host = "b" } },
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
    for _, name in ipairs {
      "Content-Length", "content-length", "Transfer-Encoding", "Trailer", "TE", "Expect", "HTTP2-Settings",
    } do
      local message = ("bad option 'upgrade_headers' (%s cannot be in an upgrade request)"):format(name)
      cases[#cases + 1] = { message, ignore, { upgrade_headers = { [name] = "0" } } }
    end
    for _, name in ipairs {
      "Upgrade", "Connection", "Sec-WebSocket-Version", "sec-websocket-key", "Sec-WebSocket-Accept",
      "Sec-WebSocket-Extensions",
    } do
      local message = ("bad option 'upgrade_headers' (%s belongs to the handshake)"):format(name)
      cases[#cases + 1] = { message, ignore, { upgrade_headers = { [name] = "x" } } }
    end
    for _, case in ipairs(cases) do
      it(case[1], function()
        -- Nobody listens there: errors in the options are reported before anything is dialled.
        assert.same({ false, case[1] }, { luws.wsopen("wss://127.0.0.1:1/", case[2], case[3]) })
      end)
    end
  end)

  describe("returns false and why", function()
    -- what the server does, its steps, the message, and whether it is tried with real sockets, too
    local refused = { "upgrade", status = "HTTP/1.1 404 Not Found" }
    local cases = {
      { "answers 404", { refused }, "upgrade failed; HTTP/1.1 404 Not Found", true },
      { "closes at once", { { "close" } }, "upgrade failed; the peer closed the connection (is it wss?)", true },
      {
        "closes after the request",
        { { "request" }, { "close" } },
        "upgrade failed; the peer closed the connection (is it wss?)", true,
      },
      { "resets", { { "request" }, { "reset" } }, "upgrade failed; the peer closed the connection (is it wss?)", true },
      {
        "dies in the middle of the response",
        { { "request" }, { "send", "HTTP/1.1 101 Switching Protocols\r\nUpgr" }, { "close" } },
        "upgrade failed; the peer closed the connection", true,
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
        "upgrade failed; the answer is TLS (is it wss?)",
      },
      {
        "has a wrong Sec-WebSocket-Accept",
        { { "upgrade", replace = { ["Sec-WebSocket-Accept"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" } }, { "hold" } },
        "upgrade failed; Sec-WebSocket-Accept does not match the request's key", true,
      },
      {
        "has an escape sequence in a name that it selects",
        { { "upgrade", headers = { "Sec-WebSocket-Protocol: \155[2J\194\155x" } }, { "hold" } },
        "upgrade failed; the server selected a subprotocol that was not offered: \\x9b[2J\\xc2\\x9bx",
      },
      {
        "selects an extension with an endless name",
        { { "upgrade", headers = { "Sec-WebSocket-Extensions: " .. ("x"):rep(9999) } }, { "hold" } },
        "upgrade failed; the server selected an extension that was not offered: " .. ("x"):rep(445) .. "...",
      },
      {
        "has a name of an extension that is no token",
        { { "upgrade", headers = { 'Sec-WebSocket-Extensions: a\194\155b "' } }, { "hold" } },
        "upgrade failed; Sec-WebSocket-Extensions: unfinished quoted string",
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
        "upgrade failed; the head is over 65536 bytes", true,
      },
      {
        "is an old one and refuses",
        { { "request" }, { "send", "HTTP/1.0 401 Unauthorized\r\n\r\n" }, { "close" } },
        "upgrade failed; HTTP/1.0 401 Unauthorized",
      },
    }
    for _, case in ipairs(cases) do
      local name, steps, message, is_real = unpack(case)
      it(("when the server %s, at once"):format(name), function()
        local w = world.new()
        w:play(steps)
        assert.same({ false, message }, { unpack({ w.luws.wsopen("ws://peer.test/", ignore) }, 1, 2) })
        assert.equal(0, w.clock.now())
      end)

      for _, tls in ipairs(is_real and { false, true } or {}) do
        it(("when the server %s, and frees the socket (%s)"):format(name, tls and "wss" or "ws"), function()
          local peer = keep(scripted.peer { tls = tls, unpack(steps) })
          local before = sockets.count()
          local result, text = luws.wsopen(peer.url, ignore)
          -- A server that has spoken TLS is of the kind the URL asks for.
          assert.same({ false, tls and message:gsub(" %(is it wss%?%)", "") or message }, { result, text })
          sockets.assert_at_most(before)
        end)
      end
    end

    --- Checks that wsopen fails with this message, at this time of the world's clock, and closes the wire.
    local function assert_fails_at(time, message, w, url, options)
      local result, text, response = w.luws.wsopen(url, ignore, options)
      assert.same({ false, message }, { result, text })
      assert.near(time, w.clock.now(), 1e-6)
      local peer = w.next_peer.connections[1]
      assert.is_truthy(peer.line.finished)
      return response
    end

    local DRIP = "HTTP/1.1 101 Switching Protocols\r\nX: " .. ("y"):rep(1000)
    local RECORD = "\22\3\3\64\0\2" .. ("\0"):rep(1000)
    for _, case in ipairs {
      { "never answers", "ws", { { "hold" } }, 5 },
      { "never reads", "ws", { { "wait" }, receive_buffer = 10 }, 5 },
      { "drips a byte now and then", "ws", { { "request" }, { "drip", DRIP, 0.05 }, { "hold" } }, 5 },
      { "does not answer TLS's hello", "wss", { { "hold" } }, 15 },
      { "never reads TLS's hello", "wss", { { "wait" }, receive_buffer = 10 }, 15 },
      { "drips a record of TLS", "wss", { { "read" }, { "drip", RECORD, 0.05 }, { "hold" } }, 15 },
      { "stops in a record of TLS", "wss", { { "read" }, { "send", RECORD }, { "hold" } }, 15 },
    } do
      local name, scheme, steps, default = unpack(case)
      local option = scheme == "ws" and "upgrade_timeout" or "connect_timeout"
      local message = scheme == "ws" and "upgrade failed; timeout" or "Failed SSL negotation: timeout"
      for limit, told in pairs { [default] = "by default", [0.2] = "by the option", [0] = "of 0" } do
        it(("when the server %s, by the deadline of %s: %g s, %s"):format(name, option, limit, told), function()
          for _, of_users in ipairs { false, true } do
            local s = world.session()
            s:new_peer(steps)
            assert_fails_at(limit, message, s.world, scheme .. "://peer.test/", {
              [option] = limit ~= default and limit or nil,
              connect = of_users and memory_socket.connecting(s, {}) or nil,
            })
          end
        end)
      end
    end

    it("and each cookie of its own, for commas in cookies do not separate them", function()
      local cookies = { "a=1; Expires=Thu, 01 Jan 2032 00:00:00 GMT", "b=2" }
      for _, count in ipairs { 0, 1, 2 } do
        local given = { unpack(cookies, 1, count) }
        local lines = {}
        for i, cookie in ipairs(given) do lines[i] = (i == 1 and "Set-Cookie: " or "set-cookie: ") .. cookie end
        for _, status in ipairs { "HTTP/1.1 101 Yes", "HTTP/1.1 403 No" } do
          local w = world.new()
          w:play { { "upgrade", status = status, headers = { "X-A: 1", "X-A: 2", unpack(lines) } }, { "hold" } }
          local conn, _, response = w.luws.wsopen("ws://peer.test/", ignore)
          local headers = conn and conn.response_headers or response.headers
          assert.same(count > 0 and given or nil, headers["set-cookie"])
          assert.equal("1, 2", headers["x-a"])
        end
      end
    end)

    it("and what the server said in its refusal, as soon as that has come", function()
      local head = "HTTP/1.1 403 Forbidden\r\nX-Why: token\r\nx-why: expired\r\n"
      -- the response, its body, and when it has come: 100 bytes come every 10 ms
      for _, case in ipairs {
        { head .. "Content-Length: 7\r\n\r\nexpired and more", "expired", 0 },
        { head .. "Content-Length: 9999\r\n\r\n" .. ("x"):rep(9999), ("x"):rep(4096), 0.41 },
        { head .. "\r\nuntil the end", "until the end", 0.01 },
      } do
        local w = world.new()
        w:play { { "request" }, { "pieces", case[1], 100, 0.01 }, { "close" } }
        local response = assert_fails_at(case[3], "upgrade failed; HTTP/1.1 403 Forbidden", w, "ws://peer.test/")
        assert.same({ 403, "Forbidden", "token, expired", case[2] },
          { response.status, response.reason, response.headers["x-why"], response.body })
      end
    end)

    for name, case in pairs {
      ["for half a second"] = { nil, 0.5 }, ["but for no longer than upgrade_timeout"] = { 0.25, 0.25 },
    } do
      it("and waits for the rest of a refusal, " .. name, function()
        for _, bytes in ipairs {
          "Content-Length: 9\r\n\r\npart", "\r\npart", "Transfer-Encoding: chunked\r\n\r\n9\r\npart",
        } do
          local w = world.new()
          w:play { { "request" }, { "send", "HTTP/1.1 403 Forbidden\r\n" .. bytes }, { "hold" } }
          local response = assert_fails_at(case[2], "upgrade failed; HTTP/1.1 403 Forbidden", w, "ws://peer.test/",
            { upgrade_timeout = case[1] })
          assert.equal("part", response.body)
        end
      end)
    end

    it("when nobody listens", function()
      local peer = keep(scripted.refused())
      local before = sockets.count()
      assert.same({ false, ("Connection to 127.0.0.1:%d failed: connection refused"):format(peer.port) },
        { luws.wsopen(peer.url, ignore) })
      sockets.assert_at_most(before)
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
        { luws.wsopen(peer.url, ignore, { connect_timeout = 0.05 }) })
      local took = socket.gettime() - started
      assert.is_true(took > 0.04 and took < 5, took) -- by a real clock
      sockets.assert_at_most(before)
    end)

    it("when the server does not speak TLS", function()
      for _, answer in ipairs { "HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail.example ESMTP\r\n" } do
        local w = world.new()
        w:play { { "read" }, { "send", answer }, { "hold" } }
        local result, message = w.luws.wsopen("wss://peer.test/", ignore)
        assert.is_false(result)
        assert.matches("^Failed SSL negotation: %a", message)
        assert.is_nil(message:find("timeout", 1, true))
        assert.equal(0, w.clock.now())
      end
    end)

    it("when the server's certificate is not trusted", function()
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

  it("sends the host name to the server, so that it can choose its certificate (SNI)", function()
    local peer = polite { tls = true }
    luws.wsclose(assert(luws.wsopen(peer.url, ignore)))
    assert.equal("localhost", peer:result().sni)
  end)

  it("frees the socket of a connection that is dropped", function()
    local peer = keep(scripted.peer { { "upgrade" }, { "read_to_eof" } })
    local before = sockets.count()
    for _ = 1, 10 do assert(luws.wsopen(peer.url, ignore)) end
    sockets.assert_at_most(before)
  end)
end)
