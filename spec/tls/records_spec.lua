-- What TLS does beneath an open connection while messages go both ways, none of which may get lost: key updates,
-- tickets, renegotiations, and records split or joined in transit. The peers are OpenSSL itself.

local luws = require "luws"
local openssl = require "spec.support.openssl"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local sockets = require "spec.support.sockets"
local wss = require "spec.support.wss"
local unpack = require "spec.support.compat".unpack

local VERSIONS = { "tls12", "tls13" }

local conn, seen

local apply
local it = wss.both_ways(it, function(options_of) apply = options_of end)

local function open(port, steps, options)
  seen = {}
  local message
  conn, message = luws.wsopen(openssl.url(port, steps), function(_, opcode, data)
    seen[#seen + 1] = { opcode, data }
  end, apply(options or {}))
  return conn, message
end

local function seen_all(count) return function() return #seen >= count end end

--- Sends a text message that tells the server to go on.
local function go() assert.is_true(luws.wssend(conn, 1, "go")) end

--- Calls wsreceive once, when there is something to read.
local function receive()
  assert.is_true(luws.wswait(conn, 10))
  return luws.wsreceive(conn)
end

after_each(function() luws.wsclose(conn) end)

describe("TLS 1.3:", function()
  it("key updates between messages that go both ways", function()
    local steps, turns = { "upgrade" }, 40
    for turn = 1, turns do
      -- every other one asks for the client's
      steps[#steps + 1] = { "seal", "\129\1" .. string.char(64 + turn) }
      steps[#steps + 1] = { "update", turn % 2 }
      steps[#steps + 1] = "echo=1"
    end
    for _, step in ipairs { "frame", "tell", "echo" } do steps[#steps + 1] = step end
    assert(open("tls13", steps))
    local expected = {}
    for turn = 1, turns do
      assert.is_true(luws.wssend(conn, 1, "number " .. turn))
      luws.wsreceive(conn)
      expected[2 * turn - 1] = { 1, string.char(64 + turn) }
      expected[2 * turn] = { 1, "number " .. turn }
    end
    poll(luws, conn, seen_all(2 * turns))
    go()
    poll(luws, conn, seen_all(2 * turns + 1))
    local updates = table.remove(seen)[2]:match("^TLSv1.3 1 (%d+)$")
    assert.is_true(tonumber(updates) > 0, updates) -- OpenSSL may answer several with one
    assert.same(expected, seen)
    luws.wsclose(conn)
    assert.is_true(luws.wswait(conn, 5))
    assert.is_true(conn.was_clean)
  end)

  it("key updates are answered by a client that only receives, and by one that is in the middle of sending", function()
    assert(open("tls13", { "upgrade", "frame", { "update", 1 }, "push", "frame", "tell", { "update", 1 }, "push",
      "echo" }, { max_payload_size = 2 ^ 21 }))
    luws.wsreceive(conn) -- tickets
    go()
    assert.same({ false, 0 }, { receive() })
    go()
    poll(luws, conn, seen_all(1))
    assert.same({ { 1, "TLSv1.3 1 1" } }, seen)
    local large = ("0123456789abcdef"):rep(65536)
    for turn = 2, 4 do
      assert.is_true(luws.wssend(conn, 2, large))
      poll(luws, conn, seen_all(turn))
      assert.is_true(seen[turn][2] == large)
    end
  end)

  it("thousands of key updates", function()
    assert(open("tls13", { "upgrade", { "update", 1, 2000 }, { "seal", "\129\1a" }, "push", "frame", "tell", "echo" }))
    poll(luws, conn, seen_all(1))
    go()
    poll(luws, conn, seen_all(2))
    assert.same({ { 1, "a" }, { 1, "TLSv1.3 1 2000" } }, seen)
  end)

  it("answers to key updates are limited when nobody reads them", function()
    local stuck, sends = false, 0
    assert(open("tls13", { "upgrade", "frame", { "update", 1, 4000 }, "push", "hold" }, {
      close_timeout = 0,
      connect = sockets.connecting {
        send = function(inner, data)
          sends = sends + 1
          if stuck then return nil, "timeout", 0 end
          return inner:send(data)
        end,
      },
    }))
    go()
    stuck = true
    local most = 0
    local _, more, why = poll(luws, conn, function() most = math.max(most, conn.bufferedAmount) end)
    assert.same({ nil, "the peer asks for more answers than it reads" }, { more, why })
    assert.is_true(most > 10000 and most < 100000, most)
    assert.same({ false, 1006, 0 }, { conn.connected, conn.close_code, conn.bufferedAmount })
    assert.is_true(sends < 100, sends)
  end)

  it("tickets alone, and between messages in the same piece", function()
    assert(open("tls13", { "upgrade", "frame", "ticket", "push", "frame", { "seal", "\129\1a" }, "ticket", "ticket",
      { "seal", "\129\1b" }, "push", "echo" }))
    luws.wsreceive(conn) -- those of the handshake
    go()
    assert.same({ false, 0 }, { receive() })
    assert.same({ false, nil }, { conn:dirty(), conn:timeout() })
    go()
    assert.same({ false, 6 }, { receive() })
    assert.same({ { 1, "a" }, { 1, "b" } }, seen)
    luws.wsclose(conn)
    assert.is_true(luws.wswait(conn, 5))
    assert.is_true(conn.was_clean)
  end)
end)

describe("TLS 1.2:", function()
  it("a renegotiation that the server begins while nothing else happens", function()
    assert(open("tls12", { "upgrade", "frame", "renegotiate", "push", "frame", "tell", "echo" }))
    go()
    assert.same({ false, 0 }, { receive() })
    go()
    poll(luws, conn, seen_all(1))
    assert.same({ { 1, "TLSv1.2 2 0" } }, seen)
  end)

  it("renegotiations between messages that go both ways", function()
    local steps, turns = { "upgrade" }, 10
    for turn = 1, turns do
      local letter = string.char(64 + turn)
      -- after the request in the same piece, and after the client's answer to it
      for _, step in ipairs { { "seal", "\129\1a" }, "renegotiate", { "seal", "\129\1" .. letter }, "push", "peek",
        { "seal", "\129\1c" }, "push", "echo=1" } do
        steps[#steps + 1] = step
      end
    end
    steps[#steps + 1] = "tell"
    steps[#steps + 1] = "echo"
    assert(open("tls12", steps))
    local got = {}
    for turn = 1, turns do
      poll(luws, conn, seen_all(4 * turn - 2))
      -- The new handshake may be in progress: this is sent after it.
      assert.is_true(luws.wssend(conn, 1, "number " .. turn))
      poll(luws, conn, seen_all(4 * turn))
      for at = 4 * turn - 3, 4 * turn do got[#got + 1] = seen[at][2] end
      local letter = string.char(64 + turn)
      assert.same({ "a", letter, "c", "number " .. turn }, { unpack(got, 4 * turn - 3) })
    end
    poll(luws, conn, seen_all(4 * turns + 1))
    local handshakes = tonumber(seen[4 * turns + 1][2]:match("^TLSv1.2 (%d+) 0$"))
    assert.is_true(handshakes > 1 and handshakes <= turns + 1, handshakes)
    luws.wsclose(conn)
    assert.is_true(luws.wswait(conn, 5))
    assert.is_true(conn.was_clean)
  end)

  it("a renegotiation that the server does not continue: sent messages wait, and nothing hangs", function()
    assert(open("tls12", { "upgrade", "frame", "renegotiate", { "seal", "\129\1a" }, "push", "peek",
      { "seal", "\129\1b" }, "push", "hold" }, { send_timeout = 0.1, close_timeout = 0.1 }))
    go()
    poll(luws, conn, seen_all(2))
    assert.same({ { 1, "a" }, { 1, "b" } }, seen)
    local started = luws.gettime()
    assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 1, "x") })
    assert.is_true(conn.bufferedAmount > 0)
    assert.same({ false, "send error: timeout; nothing of this was sent" }, { luws.wssend(conn, 1, "y") })
    assert.same({ false, 0 }, { luws.wsreceive(conn) })
    -- Nothing could be written, so the only thing to wait for is the server.
    assert.same({ "r", false }, { conn:events(), luws.wswait(conn, 0.05) })
    luws.wsclose(conn)
    assert.is_true(luws.gettime() - started < 2)
    assert.same({ 1006, false }, { conn.close_code, conn.was_clean })
  end)

  it("a renegotiation in the middle of a large message, in either direction", function()
    local large = ("0123456789abcdef"):rep(65536)
    assert(open("tls12", { "upgrade", "frame", "renegotiate", "push", "echo=1", "renegotiate", "push", "echo=1", "tell",
      "echo" }, { max_payload_size = 2 ^ 21 }))
    go()
    for turn = 1, 2 do
      assert.is_true(luws.wssend(conn, 2, large))
      poll(luws, conn, seen_all(turn))
      assert.is_true(seen[turn][2] == large)
    end
    poll(luws, conn, seen_all(3))
    -- The client decides when to begin another handshake.
    assert.matches("^TLSv1.2 [23] 0$", seen[3][2])
  end)
end)

describe("records split or joined in transit,", function()
  for _, port in ipairs { "bytes12", "bytes13" } do
    it("all in segments of a byte: " .. port, function()
      for _, size in ipairs { 16384, 1 } do
        assert(open(port, nil, { receive_chunk_size = size }))
        for _, text in ipairs { "", "Hello", ("x"):rep(3000) } do
          seen = {}
          assert.is_true(luws.wssend(conn, 1, text))
          poll(luws, conn, seen_all(1))
          assert.same({ { 1, text } }, seen)
        end
        luws.wsclose(conn)
        assert.is_true(luws.wswait(conn, 5))
        assert.same({ 1000, true }, { conn.close_code, conn.was_clean })
      end
    end)
  end

  for _, version in ipairs(VERSIONS) do
    it("each of them split, at any place: " .. version, function()
      local steps, sizes = { "upgrade", "frame" }, { 1, 2, 4, 5, 6, 13, -1 }
      for _, size in ipairs(sizes) do
        for _, step in ipairs { { "seal", "\129\5Hello" }, { "push", size }, "frame", "push", "frame" } do
          steps[#steps + 1] = step
        end
      end
      steps[#steps + 1] = "hold"
      assert(open(version, steps, { close_timeout = 0 }))
      luws.wsreceive(conn) -- tickets
      for turn in ipairs(sizes) do
        go()
        assert.same({ false, 0 }, { receive() })
        assert.same({ false, 0 }, { luws.wsreceive(conn) })
        -- The partial record in TLS is of no use yet, and must not be reported as readable.
        assert.same({ false, nil, turn - 1 }, { conn:dirty(), conn:timeout(), #seen })
        assert.is_false(luws.wswait(conn, 0))
        go()
        assert.same({ false, 7 }, { receive() })
        assert.same({ false, nil, turn }, { conn:dirty(), conn:timeout(), #seen })
        assert.same({ 1, "Hello" }, seen[turn])
      end
    end)

    it("many of them in one read: " .. version, function()
      assert(open(version, { "upgrade", "frame", { "seal", "\129\1x", 200 }, "push", "hold" }, { close_timeout = 0 }))
      luws.wsreceive(conn) -- tickets
      go()
      assert.same({ false, 600 }, { receive() })
      assert.same({ false, 200 }, { conn:dirty(), #seen })
      assert.same({ false, 0 }, { luws.wsreceive(conn) })
    end)

    it("more of them than receive_chunk_size, which is what each wsreceive takes in: " .. version, function()
      local frame = scripted.frame { opcode = 2, payload = ("x"):rep(1000) }
      for size, times in pairs { [5000] = 20, [1000] = 20, [7] = 3, [1] = 2 } do
        assert(open(version, { "upgrade", "frame", { "seal", frame, times }, "push", "hold" },
          { close_timeout = 0, receive_chunk_size = size }))
        repeat until not luws.wsreceive(conn) -- tickets
        go()
        local total, deadline = 0, luws.gettime() + 10
        repeat
          luws.wswait(conn, 1)
          local more, count = luws.wsreceive(conn)
          total = total + count
          assert.is_true(count <= size, count)
          if count == size then assert.is_true(more) end
          -- When `more` is false, TLS holds nothing that the descriptor would not report.
          if not more then assert.is_false(conn:dirty()) end
        until #seen == times or luws.gettime() > deadline
        assert.equal(times * #frame, total)
        repeat until not luws.wsreceive(conn)
        assert.same({ false, 0 }, { luws.wsreceive(conn) })
        luws.wsclose(conn)
      end
    end)
  end
end)
