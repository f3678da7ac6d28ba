-- Ends of a wss connection below WebSocket: streams truncated in each phase and at each place, and servers that send
-- something other than they should. The peers are OpenSSL itself, or do not speak TLS.

local luws = require "luws"
local openssl = require "spec.support.openssl"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local sockets = require "spec.support.sockets"
local unpack = require "spec.support.compat".unpack

local CLOSED = "receiver error: closed"
local VERSIONS = { "tls12", "tls13" }

local conn, seen, peer

local function handler(_, opcode, data) seen[#seen + 1] = { opcode, data } end

local function open(port, steps, options)
  seen = {}
  local message
  conn, message = luws.wsopen(openssl.url(port, steps), handler, options or {})
  return conn, message
end

local function seen_all(count) return function() return #seen >= count end end

after_each(function()
  luws.wsclose(conn)
  if peer then peer:close() end
  conn, peer = nil, nil
end)

describe("a wss connection whose stream is cut", function()
  local first, second = { "seal", "\129\4last" }, { "seal", "\129\5Hello" }
  -- where; the server's steps after the upgrade; the close code that the user sees, and whether it was clean
  local cases = {
    { "in a frame, between records", { { "seal", "\129\4last\129\10half" }, "push", "cut" } },
    { "in a message, between frames", { { "seal", "\129\4last\1\4half" }, "push", "cut" } },
    { "in the header of a record", { first, "push", second, { "push", 3 }, "cut" } },
    { "behind the header of a record", { first, "push", second, { "push", 5 }, "cut" } },
    { "in a record", { first, "push", second, { "push", 15 }, "cut" } },
    { "in a record, in one piece with what came before", { first, second, { "push", -1 }, "cut" } },
    { "by a reset, in a record", { first, "push", "frame", second, { "push", -1 }, "reset" } },
    { "behind TLS's goodbye, with what cannot be meant", { first, "push", "goodbye", { "raw", "garbage" }, "cut" } },
    { "behind a close frame", { first, { "seal", "\136\2\3\233" }, "push", "cut" }, 1001, true },
    { "behind a close frame, in a record",
      { first, { "seal", "\136\2\3\233" }, second, { "push", -1 }, "cut" }, 1001, true },
  }
  for _, version in ipairs(VERSIONS) do
    for _, case in ipairs(cases) do
      it(("%s: %s"):format(version, case[1]), function()
        for _, size in ipairs { 16384, 1 } do
          assert(open(version, { "upgrade", unpack(case[2]) }, { receive_chunk_size = size }))
          poll(luws, conn, seen_all(1))
          -- The reset waits for this message, so as not to overtake data; the other cases do not read it.
          luws.wssend(conn, 1, "go")
          local _, more, why = poll(luws, conn)
          assert.same({ nil, "closed" }, { more, why })
          assert.same({ { 1, "last" }, { false, CLOSED } }, seen)
          assert.same({ false, case[3] or 1006, "", case[4] or false },
            { conn.connected, conn.close_code, conn.close_reason, conn.was_clean })
          assert.same({ nil, "closed" }, { luws.wsreceive(conn) })
          luws.wsclose(conn)
        end
      end)
    end

    it(version .. ": while it lingers after wsclose for the close frame, which does not come, or does", function()
      for _, case in ipairs {
        { { "frame", "cut" }, 1006, false },
        { { "frame", second, { "push", 15 }, "cut" }, 1006, false },
        { { "frame", { "seal", "\136\2\15\160" }, second, { "push", -1 }, "cut" }, 4000, true },
      } do
        assert(open(version, { "upgrade", unpack(case[1]) }, { close_timeout = 10 }))
        local started = luws.gettime()
        luws.wsclose(conn)
        assert.is_true(luws.wswait(conn, 8))
        assert.is_true(luws.gettime() - started < 5)
        assert.same({ case[2], case[3] }, { conn.close_code, conn.was_clean })
        assert.same({}, seen)
      end
    end)

    it(version .. ": before the upgrade is complete", function()
      for _, steps in ipairs {
        { "cut" }, { "reset" }, { { "seal", "HTTP/1.1 101 x\r\n" }, "push", "cut" },
        { { "seal", "HTTP/1.1 101 x\r\n\r\n" }, { "push", -1 }, "cut" },
      } do
        local before = sockets.count()
        assert.same({ false, "upgrade failed; the peer closed the connection" }, { open(version, steps) })
        sockets.assert_at_most(before)
      end
    end)
  end

  it("in TLS's own handshake", function()
    for _, port in ipairs { "end_hello", "end_certificate" } do
      local before = sockets.count()
      assert.same({ false, "Failed SSL negotation: the peer closed the connection" }, { open(port) })
      sockets.assert_at_most(before)
    end
  end)
end)

describe("an error from a wss server reaches the user,", function()
  local PREFIX = "^Failed SSL negotation: "

  --- Checks that wsopen fails with this message, well before its deadline.
  local function assert_failed(pattern, result, message)
    assert.is_false(result)
    assert.matches(pattern, message)
    assert.is_nil(message:find("timeout", 1, true))
  end

  -- The bytes, and OpenSSL's message for them, if that does not depend on its version. The alerts have the numbers
  -- of RFC 8446 section 6.
  for name, case in pairs {
    ["alert: handshake_failure"] = { "\21\3\3\0\2\2\40", "handshake failure" },
    ["alert: protocol_version"] = { "\21\3\1\0\2\2\70", "protocol version" },
    ["alert: internal_error"] = { "\21\3\3\0\2\2\80", "internal error" },
    ["alert: unrecognized_name"] = { "\21\3\3\0\2\2\112", "unrecognized name" },
    ["alert: close_notify"] = { "\21\3\3\0\2\1\0", "" },
    ["a record of data"] = { "\23\3\3\0\32" .. ("x"):rep(32), "" },
    ["an HTTP response"] = {
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      "wrong version number: the peer does not seem to speak TLS %(is it ws%?%)$",
    },
    ["another protocol's greeting"] = { "220 mail.example ESMTP\r\n", "" },
    ["zeros"] = { ("\0"):rep(100), "" },
  } do
    it("in the handshake: " .. name, function()
      peer = scripted.peer { { "read", 5 }, { "send", case[1] }, { "hold" } }
      assert_failed(PREFIX .. ".*" .. case[2], luws.wsopen(peer.url:gsub("^ws", "wss"), handler))
    end)
  end

  it("when it wants a certificate and gets none, in the handshake or (TLS 1.3) after it", function()
    assert_failed(PREFIX .. ".*handshake failure", open("mutual12"))
    assert_failed(PREFIX .. ".*certificate required", open("mutual13"))
  end)

  -- 32 bytes that claim to be encrypted: from the client (inject: OpenSSL answers with an alert), or to it.
  local record = "\23\3\3\0\32" .. ("x"):rep(32)
  for _, version in ipairs(VERSIONS) do
    for name, case in pairs {
      ["an alert"] = { { "inject", record }, "bad record mac" },
      ["an HTTP response"] = { { "raw", "HTTP/1.1 400 Bad Request\r\n\r\n" }, "" },
      ["a record that was not encrypted"] = { { "raw", record }, "" },
      ["an alert that was not encrypted"] = { { "raw", "\21\3\3\0\2\2\80" }, "" },
    } do
      it(("between the handshake and the upgrade: %s (%s)"):format(name, version), function()
        assert_failed(PREFIX .. ".*" .. case[2], open(version, { case[1], "hold" }))
      end)

      it(("in the open phase, after earlier messages: %s (%s)"):format(name, version), function()
        assert(open(version, { "upgrade", { "seal", "\129\4last" }, "push", case[1], "hold" }))
        local _, more, why = poll(luws, conn)
        assert.is_nil(more)
        assert.matches(case[2] ~= "" and case[2] or "%a%a", why)
        assert.are_not.equal("closed", why)
        assert.same({ { 1, "last" }, { false, "receiver error: " .. why } }, seen)
        assert.same({ false, 1006, false }, { conn.connected, conn.close_code, conn.was_clean })
        assert.same({ nil, why }, { luws.wsreceive(conn) })
        assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "late") })
      end)
    end
  end

  it("and the server is told, by an alert, that its record was wrong", function()
    local sent
    assert(open("tls12", { "upgrade", { "raw", record }, "hold" }, {
      connect = sockets.connecting {
        send = function(inner, data)
          sent = data
          return inner:send(data)
        end,
      },
    }))
    local _, more = poll(luws, conn)
    assert.is_nil(more)
    assert.equal("\21\3\3", sent:sub(1, 3))
  end)

  it("even if it came together with the upgrade response, or byte by byte during a wait", function()
    --- Returns the bytes of one record.
    local function receive_record(inner)
      local header = assert(inner:receive(5))
      return header .. assert(inner:receive(header:byte(4) * 256 + header:byte(5)))
    end

    for _, is_together in ipairs { true, false } do
      local is_requested, is_waiting = false, false
      local steps = is_together and { "upgrade", { "raw", record }, "hold" }
        or { "upgrade", "frame", { "raw", record }, "hold" }
      assert(open("tls12", steps, {
        connect = sockets.connecting {
          send = function(inner, data)
            is_requested = data:byte() == 23 -- application data
            return inner:send(data)
          end,
          receive = function(inner, max)
            if is_waiting and max > 1 then return nil, "timeout", "" end
            if not (is_requested and is_together and max > 1) then return inner:receive(max) end
            is_requested = false
            inner:settimeout(5)
            return nil, "timeout", receive_record(inner) .. receive_record(inner)
          end,
        },
      }))
      if not is_together then
        assert.is_true(luws.wssend(conn, 1, "go"))
        is_waiting = true -- each receive that may return something belongs to a wait
      end
      local _, more, why = poll(luws, conn, nil, 5)
      assert.is_nil(more)
      assert.matches("bad record mac", why)
      assert.same({ { false, "receiver error: " .. why } }, seen)
      luws.wsclose(conn)
    end
  end)

  it("also when wssend reads it while there is no room, and then stops waiting", function()
    local stuck = false
    assert(open("tls13", { "upgrade", "frame", { "raw", record }, "hold" }, {
      send_timeout = 20,
      connect = sockets.connecting {
        send = function(inner, data)
          if stuck then return nil, "timeout", 0 end
          return inner:send(data)
        end,
      },
    }))
    assert.is_true(luws.wssend(conn, 1, "go"))
    stuck = true
    local started = luws.gettime()
    local ok, message = luws.wssend(conn, 1, "y")
    assert.is_false(ok)
    assert.matches("^send error: ", message)
    assert.is_nil(message:find("timeout", 1, true))
    local _, _, why = poll(luws, conn)
    assert.equal("send error: " .. why, message)
    assert.same({ { false, "receiver error: " .. why } }, seen)
    assert.is_true(luws.gettime() - started < 10)
  end)

  for _, name in ipairs { "demo", "websockets", "ws" } do
    it("where the other scheme was meant: " .. name, function()
      local missing = servers.missing(name)
      if missing then return pending(missing) end
      -- A server that waits for the end of a line would wait forever.
      local result, message = luws.wsopen(servers.url(name, "ws", "/echo"):gsub("^ws", "wss"), handler,
        { connect_timeout = 0.5 })
      assert.is_false(result)
      assert.matches(PREFIX .. "%a", message)
      assert_failed("^upgrade failed; %a", luws.wsopen(servers.url(name, "wss", "/echo"):gsub("^wss", "ws"), handler))
    end)
  end
end)
