-- wsopen: what it sends, and what it accepts; what it says of wrong arguments. How it fails otherwise is in
-- open_failures_spec.lua.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local sockets = require "spec.support.sockets"
local world = require "spec.support.world"

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
