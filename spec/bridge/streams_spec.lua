-- A bridge between clients and peers with streams: what goes through it, and what becomes of one side at the other's
-- end.

local bridging = require "spec.support.bridging"
local luws = require "luws"
local serving = require "spec.support.serving"

local till, frame, read = bridging.till, bridging.frame, bridging.read

after_each(bridging.over)

--- started(options): returns a bridge to a new TCP server, and that.
local function started(options)
  local peer, given = bridging.listen(), {}
  for name, value in pairs(options or {}) do given[name] = value end
  given.host = peer.address
  return bridging.start(given), peer
end

--- joined(options): returns a bridge, a client and the peer.
local function joined(options)
  local b, server = started(options)
  local client = b:connect "/"
  return b, client, server:accept()
end

--- open(options): the same with a raw client.
local function open(options)
  local b, server = started(options)
  local raw = b:open "/"
  return b, raw, server:accept()
end

--- close_of(bytes): returns the code of the close frame at the end of what a server has sent.
local function close_of(bytes)
  local high, low = bytes:match "\136[\2-\125](.)(.)[^\136]*$"
  return high and high:byte() * 256 + low:byte()
end

describe("a bridge", function()
  it("passes messages of both kinds to the peer as they are, and what the peer sends as messages", function()
    local _, client, peer = joined()
    local large = ("0123456789"):rep(50000)
    for _, message in ipairs { { 1, "Hello, " }, { 2, "\0\255" }, { 1, "" }, { 2, large } } do
      luws.wssend(client.conn, message[1], message[2])
    end
    assert.equal("Hello, \0\255" .. large, peer:read(9 + #large))
    peer:send "text \195\188"
    till(function() return client.told[1] end)
    peer:send "\255"
    till(function() return client.told[2] end)
    assert.same({ { 1, "text \195\188" }, { 2, "\255" } }, client.told)
  end)

  it("cuts what the peer sends by its framing, whole lines with the kind of each", function()
    local _, client, peer = joined { framing = "newline", framing_config = "lf" }
    peer:send "one\n\255\ntw"
    till(function() return #client.told == 2 end)
    peer:send "o\nrest"
    till(function() return #client.told == 3 end)
    peer:close()
    till(function() return client.conn.close_code end)
    assert.same({ { 1, "one\n" }, { 2, "\255\n" }, { 1, "two\n" }, { 1, "rest" } },
      { client.told[1], client.told[2], client.told[3], client.told[4] })
    assert.equal(1000, client.conn.close_code)
  end)

  it("gives the peer the beginning of a message before its end has come, and answers pings between", function()
    local _, raw, peer = open()
    raw:send(frame(1, "one ", true) .. frame(9, "ping") .. frame(0, "two ", true))
    assert.equal("one two ", peer:read(8))
    assert.equal("\138\4ping", read(raw, function(all) return #all == 6 end))
    raw:send(frame(0, "three") .. "\130\255\0\0\0\0\0\1\0\0\0\0\0\0begin") -- of 65536 bytes
    assert.equal("threebegin", peer:read(10))
  end)

  it("takes the bytes of a client one by one", function()
    local _, raw, peer = open()
    for octet in (frame(1, "a", true) .. frame(0, "bc") .. frame(2, "d")):gmatch "." do
      raw:send(octet)
      serving.rest(0.001)
    end
    assert.equal("abcd", peer:read(4))
  end)

  for _, case in ipairs {
    { "a text that is not UTF-8", frame(1, "\255"), 1007 },
    { "a text that is not UTF-8, in a fragment", frame(1, "\195", true) .. frame(0, "a"), 1007 },
    { "a frame without a mask", "\129\1a", 1002 },
    { "reserved bits", "\193\129\0\0\0\0a", 1002 },
    { "a message of more than max_message", frame(2, ("x"):rep(101)), 1009 },
    { "a fragmented message of more than max_message", frame(2, ("x"):rep(60), true) .. frame(0, ("x"):rep(60)), 1009 },
    { "the header of a frame that is longer than max_message", frame(2, ("x"):rep(101)):sub(1, 6), 1009 },
    { "the header of the longest frame that there can be", "\130\255\127" .. ("\255"):rep(7) .. "\1\2\3\4", 1009 },
    { "the header of a frame that is longer than that", "\130\255\128" .. ("\0"):rep(7), 1002 },
    {
      "the header of a fragment that would make the message longer than max_message",
      frame(2, ("x"):rep(60), true) .. frame(0, ("x"):rep(41)):sub(1, 6), 1009,
    },
  } do
    it("closes with " .. case[3] .. " for " .. case[1], function()
      local _, raw, peer = open { max_message = 100 }
      raw:send(frame(1, "before") .. case[2])
      assert.equal(case[3], close_of(read(raw)))
      assert.equal("before", peer:read(6))
      assert.is_true(select(2, peer:read()))
    end)
  end

  it("takes messages up to max_message, one after the other", function()
    local _, raw, peer = open { max_message = 100 }
    raw:send(frame(2, ("x"):rep(100)) .. frame(2, ("y"):rep(60), true) .. frame(0, ("y"):rep(40)) .. frame(1, "z"))
    assert.equal(("x"):rep(100) .. ("y"):rep(100) .. "z", peer:read(201))
  end)

  it("closes with 1009 if the peer's message is longer than max_segment", function()
    local b, client, peer = joined { framing = "newline", max_segment = 100 }
    peer:send(("x"):rep(99) .. "\r\n" .. ("x"):rep(98) .. "\r\n")
    till(function() return client.conn.close_code end)
    assert.equal(1009, client.conn.close_code)
    till(function() return b:said "code 1009: a message of the peer is longer than 100 bytes" end)
  end)

  it("closes with 1011 if the peer gives a message a length that none can have", function()
    local b, client, peer = joined { framing = "dynamic32", framing_config = "static=-5" }
    peer:send "\0\0\0\0"
    till(function() return client.conn.close_code end)
    assert.equal(1011, client.conn.close_code)
    till(function() return b:said "code 1011: peer: the peer gives a message a length below one byte" end)
  end)

  it("compresses if it is told to, and the client offers it", function()
    for _, compress in ipairs { true, false } do
      local b, peer = started { compress = compress }
      local client = b:connect("/", { deflate = true })
      local near = peer:accept()
      assert.equal(compress, client.conn.response_headers["sec-websocket-extensions"] ~= nil)
      local large = ("0123456789"):rep(20000)
      luws.wssend(client.conn, 1, large)
      assert.equal(large, near:read(#large))
      near:send "0123456789"
      till(function() return client.told[1] end)
      assert.same({ 1, "0123456789" }, client.told[1])
    end
  end)

  local V4, V6 = "PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n", "PROXY TCP6 ::1 ::1 %d %d\r\n"
  for _, case in ipairs {
    { "over IPv4", "127.0.0.1", nil, V4 },
    { "over IPv6", "::1", nil, V6 },
    { "over IPv4, at all addresses of both kinds", "::", "127.0.0.1", V4 },
    { "over IPv6, at all addresses of both kinds", "::", "::1", V6 },
    { "over a unix domain socket", nil, nil, "PROXY UNKNOWN\r\n" },
  } do
    local place, host, line = case[2], case[3], case[4]
    for kind, listen in pairs { TCP = bridging.listen, ["the unix domain"] = bridging.listen_unix } do
      it(("tells a peer of %s who a client is that comes %s, before everything else"):format(kind, case[1]), function()
        local server = listen()
        local b = bridging.start {
          host = server.address, listen = place or "unix://" .. bridging.path(), proxy_protocol = true,
        }
        b.host = host or b.host
        local raw = b:open "/"
        local _, port = raw:getsockname()
        raw:send(frame(1, "x"))
        local expected = line:format(port, b.port)
        assert.equal(expected .. "x", server:accept():read(#expected + 1))
      end)
    end
  end

  it("believes a proxy that it trusts who the client is, in its log, too", function()
    local b, server = started { proxy_protocol = true, trusted_proxies = "127.0.0.1" }
    b:open("/", "X-Forwarded-For: 192.0.2.9, 127.0.0.1")
    local line = ("PROXY TCP4 192.0.2.9 127.0.0.1 0 %d\r\n"):format(b.port)
    assert.equal(line, server:accept():read(#line))
    till(function() return b:said "^open: 192.0.2.9 / %->" end)
  end)
end)

describe("the end of a client", function()
  it("that closes ends the peer after what was queued, and its code is echoed", function()
    local b, client, peer = joined()
    luws.wssend(client.conn, 1, "last")
    luws.wsclose(client.conn, 4001, "bye")
    assert.same({ "last", true }, { peer:read() })
    till(function() return client.conn.was_clean end)
    assert.equal(4001, client.conn.close_code)
    till(function() return b:said "closed: 127.0.0.1:%d+ / %-> tcp://.* 4 bytes in, 0 bytes out, .* code 4001$" end)
    assert.equal(0, b.bridge:stats().connections)
  end)

  it("that is gone ends the peer after what it has sent", function()
    local b, raw, peer = open()
    raw:send(frame(1, "last"))
    raw:close()
    assert.same({ "last", true }, { peer:read() })
    till(function() return b:said "code 1006" end)
  end)

  it("that resets its connection ends the peer", function()
    local b, raw, peer = open()
    raw:setoption("linger", { on = true, timeout = 0 })
    raw:close()
    assert.is_true(select(2, peer:read()))
    till(function() return b:said "code 1006" end)
  end)
end)

describe("the end of a peer", function()
  it("brings the client all that it has sent, in messages that it takes by default, and then 1000", function()
    local b, client, peer = joined()
    local large = ("0123456789"):rep(200000)
    peer:send(large)
    peer:close()
    till(function() return client.conn.close_code end)
    local all = {}
    for i, message in ipairs(client.told) do all[i] = message[1] and message[2] or "" end
    assert.equal(large, table.concat(all))
    assert.same({ 1000, true }, { client.conn.close_code, client.conn.was_clean })
    till(function() return b:said "2000000 bytes out, .* code 1000$" end)
  end)

  it("lets the client's last messages through to a peer that still reads", function()
    local _, raw, peer = open()
    peer:shutdown()
    assert.equal("\136\2\3\232", read(raw, function(all) return #all == 4 end))
    raw:send(frame(1, "last words") .. frame(8, "\3\232"))
    assert.same({ "last words", true }, { peer:read() })
    assert.same({ "", true }, { read(raw) })
  end)

  it("is no error of a client that ends the connection without an answer", function()
    local b, raw, peer = open()
    peer:shutdown()
    assert.equal("\136\2\3\232", read(raw, function(all) return #all == 4 end))
    raw:close()
    till(function() return b:said "code 1000$" end)
    assert.is_true(select(2, peer:read()))
  end)

  it("by an error brings 1011, after what it had sent", function()
    local b, client, peer = joined()
    peer:send "last"
    till(function() return client.told[1] end)
    peer:reset()
    till(function() return client.conn.close_code end)
    assert.same({ 1, "last" }, client.told[1])
    assert.equal(1011, client.conn.close_code)
    till(function() return b:said "code 1011: peer: closed" end)
  end)
end)

describe("a side that does not end when the other has", function()
  it("has 2 seconds for that, whichever it is", function()
    -- Both at once, since the time is real.
    local closing, client, open_end = joined()
    local _, raw, peer = open()
    luws.wsclose(client.conn)
    peer:shutdown()
    assert.is_true(select(2, open_end:read()))
    closing.bridge:close()
    local begun, busy, left = luws.gettime(), os.clock(), nil
    local function after() return luws.gettime() - begun end
    local function note()
      left = left or closing.bridge:is_closed() and after()
      return left
    end
    assert.same({ "\136\2\3\232", true }, { read(raw, function() return note() and false end) })
    local cut_off = after()
    assert.is_true(select(2, peer:read()))
    till(note)
    assert.is_true(cut_off > 1.9 and cut_off < 4, cut_off)
    assert.is_true(left > 1.9 and left < 4, left)
    assert.is_true(os.clock() - busy < 1, "it spins")
  end)
end)

describe("a side that does not read", function()
  local COUNT, PIECE = 200, ("x"):rep(65536)

  it("stops the peer of that client, and nobody else", function()
    local b, server = started()
    local slow = b:open "/slow"
    local peer = server:accept()
    local sent = bridging.flood(peer.raw, slow, PIECE:rep(COUNT))
    local other = b:connect "/other"
    local near = server:accept()
    near:send "quick"
    till(function() return other.told[1] end)
    -- All of it is there when the client reads.
    peer:shutdown()
    local all = read(slow, function(all) return all:sub(-4) == "\136\2\3\232" end)
    assert.is_true(#all > sent and #all < sent * 1.01)
  end)

  it("stops the client of that peer, and nobody else", function()
    local b, server = started()
    local fast = b:open "/fast"
    local peer = server:accept()
    local bytes = frame(2, PIECE):rep(COUNT)
    local sent = bridging.flood(fast, peer.raw, bytes)
    local other = b:connect "/other"
    local near = server:accept()
    luws.wssend(other.conn, 1, "quick")
    assert.equal("quick", near:read(5))
    bytes = bytes .. frame(8, "")
    local taken = 0
    till(function()
      local skipped, ended = peer:skip()
      taken = taken + skipped
      if sent < #bytes then
        local last, _, part = fast:send(bytes, sent + 1)
        sent = last or part
      end
      return ended
    end, 0.001)
    assert.equal(COUNT * #PIECE, taken)
    till(function() return b:said(("%d bytes in"):format(taken)) end)
  end)
end)

describe("time", function()
  it("ends a connection without data with 1001, if idle_timeout says so", function()
    local b, client, peer = joined { idle_timeout = 0.15, ping = 0.05, pong_timeout = 5 }
    luws.wssend(client.conn, 1, "x")
    peer:read(1)
    local begun = luws.gettime()
    till(function() return client.conn.close_code end)
    assert.equal(1001, client.conn.close_code)
    local took = luws.gettime() - begun
    assert.is_true(took >= 0.12, took)
    assert.is_true(select(2, peer:read()))
    till(function() return b:said "code 1001: idle" end)
  end)

  it("drops a client that answers no ping, and keeps one that does", function()
    local b, server = started { ping = 0.05, pong_timeout = 0.1 }
    local raw = b:open "/"
    local dead = server:accept()
    local alive = b:connect "/"
    server:accept()
    assert.is_true(select(2, dead:read()))
    assert.equal("\137\8luws", read(raw):sub(1, 6))
    assert.is_true(alive.conn.connected)
    till(function() return b:said "code 1006: ping timeout" end)
  end)

  it("sends no pings if they are turned off, and keeps a client that says nothing", function()
    local b, server = started { ping = 0, pong_timeout = 0.05 }
    local raw = b:open "/"
    server:accept()
    serving.rest(0.2)
    assert.is_nil((raw:receive(1)))
    assert.equal(1, b.bridge:stats().connections)
  end)

  it("does not drop a client that answers, while its peer reads nothing", function()
    local b, server = started { ping = 0.05, pong_timeout = 0.1, buffer = 1024 }
    local raw = b:open "/"
    local peer = server:accept()
    bridging.flood(raw, peer.raw, frame(2, ("x"):rep(65536)):rep(200))
    serving.rest(0.3)
    assert.equal(1, b.bridge:stats().connections)
    peer:close()
  end)
end)

describe("a bridge that is closed", function()
  it("sends 1001 to all, takes nobody, and ends all peers", function()
    local b, client, peer = joined()
    b.bridge:close()
    till(function() return client.conn.close_code end)
    assert.equal(1001, client.conn.close_code)
    assert.is_true(select(2, peer:read()))
    peer:close()
    till(function() return b.bridge:is_closed() end)
    assert.is_nil(b.bridge:address())
    assert.same({ nil, "closed" }, { b.bridge:step(0) })
    assert.is_nil((require("socket").connect(b.host, b.port)))
  end)

  it("counts what has been", function()
    local b, client, peer = joined()
    luws.wssend(client.conn, 1, "12345")
    peer:read(5)
    peer:send "123"
    till(function() return client.told[1] end)
    local counts = { connections = 1, total = 1, refused = 0, bytes_in = 5, bytes_out = 3 }
    assert.same(counts, b.bridge:stats())
    luws.wsclose(client.conn)
    till(function() return b.bridge:stats().connections == 0 end)
    counts.connections = 0
    assert.same(counts, b.bridge:stats())
  end)
end)
