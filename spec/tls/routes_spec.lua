-- wss over routes other than our own socket: the user's sockets, tables that send and receive in small pieces, and
-- SockProxy. TLS must not be affected by how a route splits bytes, and a route must not hide a truncated stream.

local luws = require "luws"
local openssl = require "spec.support.openssl"
local poll = require "spec.support.poll"
local servers = require "spec.support.servers"
local socket = require "socket"
local unpack = require "spec.support.compat".unpack

local CLOSED = "receiver error: closed"

local seen

local function handler(_, opcode, data) seen[#seen + 1] = { opcode, data } end

local function direct(host, port) return socket.connect(host, port) end

--- Returns a table over a socket that does no more than LuaSocket promises: a limited number of bytes at a time, with
-- "timeout" for the rest, and now and then only "timeout" (each of which costs a pause).
local function in_bits(most)
  return function(host, port)
    local inner, outer, sends, receives = assert(direct(host, port)), {}, 0, 0

    function outer.send(_, data)
      sends = sends + 1
      if sends % 200 == 0 then return nil, "timeout", 0 end
      local sent, why, partial = inner:send(data:sub(1, most))
      if sent and sent < #data and sends % 100 == 0 then return nil, "timeout", sent end
      return sent, why, partial
    end

    function outer.receive(_, max)
      receives = receives + 1
      if receives % 200 == 0 then return nil, "wantread", "" end
      local data, why, partial = inner:receive(math.min(max, most))
      if data and #data < max then return nil, "timeout", data end
      return data, why, partial
    end

    function outer.settimeout(_, ...) return inner:settimeout(...) end

    function outer.close(_) return inner:close() end

    return outer
  end
end

local function through_proxy() return { port = servers.start("sockproxy").good, required = true } end

-- The large message has a size that each route handles quickly.
local routes = {
  -- spec/foreign_spec.lua has messages over this
  { name = "a socket of LuaSocket", options = function() return { connect = direct } end },
  { name = "a table that does a byte at a time", large = 1600,
    options = function() return { connect = in_bits(1) } end },
  { name = "a table that does 1001 bytes at a time", large = 2 ^ 20,
    options = function() return { connect = in_bits(1001) } end },
  { name = "SockProxy", large = 2 ^ 20, options = function() return { sockproxy = through_proxy() } end },
}

for _, route in ipairs(routes) do
  for _, version in ipairs { "tls12", "tls13" } do
    describe(("over %s, %s:"):format(route.name, version), function()
      local conn

      local function open(steps)
        seen = {}
        local options = route.options()
        options.max_payload_size = 2 ^ 21
        conn = assert(luws.wsopen(openssl.url(version, steps), handler, options))
        assert.equal(options.sockproxy ~= nil, conn.proxied)
      end

      after_each(function() luws.wsclose(conn) end)

      --- Closes the connection; over the program's own socket, nothing waits for the server's answer.
      local function close_cleanly(code)
        luws.wsclose(conn, code)
        assert.is_true(luws.wswait(conn, 5))
        assert.same({ code, "" }, { conn.close_code_sent, conn.close_reason_sent })
        if conn.proxied then assert.same({ code, true }, { conn.close_code, conn.was_clean }) end
      end

      if route.large then
        it("messages, and a clean end", function()
          open { "upgrade", "echo" }
          for i, text in ipairs { "", "Hello", ("0123456789abcdef"):rep(route.large / 16), "and on" } do
            assert.is_true(luws.wssend(conn, 2, text))
            poll(luws, conn, function() return seen[i] end)
            assert.is_true(#seen == i and seen[i][2] == text, i)
          end
          close_cleanly(4001)
        end)
      end

      it("the server's close frame", function()
        open { "upgrade", { "seal", "\129\4last\136\2\3\232" }, "push", "frame", "goodbye", "cut" }
        poll(luws, conn)
        assert.same({ { 1, "last" }, { false, CLOSED } }, seen)
        assert.same({ 1000, true }, { conn.close_code, conn.was_clean })
      end)

      for name, steps in pairs {
        ["in a frame"] = { { "seal", "\129\4last\129\10half" }, "push", "cut" },
        ["in a record"] = { { "seal", "\129\4last" }, { "seal", "\129\5Hello" }, { "push", -1 }, "cut" },
        ["with TLS's goodbye and no close frame"] = { { "seal", "\129\4last" }, "push", "goodbye", "cut" },
      } do
        it("the end of the stream " .. name, function()
          open { "upgrade", unpack(steps) }
          local _, more, why = poll(luws, conn)
          assert.same({ nil, "closed" }, { more, why })
          assert.same({ { 1, "last" }, { false, CLOSED } }, seen)
          assert.same({ 1006, false }, { conn.close_code, conn.was_clean })
        end)
      end

      it("an alert", function()
        open { "upgrade", { "seal", "\129\4last" }, "push", { "inject", "\23\3\3\0\32" .. ("x"):rep(32) } }
        poll(luws, conn)
        assert.same({ 2, 1, "last", false }, { #seen, seen[1][1], seen[1][2], seen[2][1] })
        assert.matches("bad record mac", seen[2][2])
      end)

      it("TLS records of its own between messages", function()
        local news = version == "tls12" and "renegotiate" or { "update", 1 }
        open { "upgrade", news, "push", "echo=1", news, "push", "echo=1", news, "push", "echo" }
        for turn = 1, 4 do
          assert.is_true(luws.wssend(conn, 1, "number " .. turn))
          poll(luws, conn, function() return seen[turn] end)
          assert.same({ 1, "number " .. turn }, seen[turn])
        end
        close_cleanly(1000)
      end)
    end)
  end
end
