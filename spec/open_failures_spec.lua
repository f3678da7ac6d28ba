-- How wsopen fails: with the contract's texts, within its deadline (in memory, on a virtual clock), and without leaking
-- a descriptor. What it says of wrong arguments is in open_spec.lua.

local luws = require "luws"
local memory_socket = require "spec.support.memory_socket"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local sockets = require "spec.support.sockets"
local world = require "spec.support.world"
local unpack = require "spec.support.compat".unpack

local function ignore() end

describe("wsopen returns false and why", function()
  local peers = {}

  --- Returns a peer that ends with the test.
  local function keep(new)
    peers[#peers + 1] = new
    return new
  end

  after_each(function()
    while peers[1] do table.remove(peers):close() end
  end)

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
