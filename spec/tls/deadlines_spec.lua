-- wsopen's deadlines for wss: if a server is silent, slow, or stops half-way, wsopen fails in time and leaks nothing.
-- The servers speak real TLS, so the time is real. The defaults, and servers that get nowhere near TLS, are in
-- ../open_failures_spec.lua on a virtual clock.

local luws = require "luws"
local openssl = require "spec.support.openssl"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local sockets = require "spec.support.sockets"
local unpack = require "spec.support.compat".unpack

local LIMIT, SLACK = 0.04, 0.25 -- seconds

--- Checks that wsopen fails with this message, no earlier than the deadline and soon after it.
local function assert_in_time(message, url, options)
  servers.start "openssl" -- starting it must not count
  local best
  -- A busy machine may exceed the slack once, but only a wrong deadline exceeds it every time.
  for _ = 1, 3 do
    local before, started = sockets.count(), luws.gettime()
    local result, why = luws.wsopen(url, nil, options)
    local took = luws.gettime() - started
    assert.same({ false, message }, { result, why })
    sockets.assert_at_most(before)
    assert.is_true(took > LIMIT - 0.005, took)
    best = math.min(best or took, took)
    if best < LIMIT + SLACK then return end
  end
  error(("wsopen took %.3f s, with a limit of %.3f s"):format(best, LIMIT))
end

local TLS, UPGRADE = "Failed SSL negotation: timeout", "upgrade failed; timeout"

-- what the server does, its port of openssl_server.py, its steps, and whose deadline it is
local cases = {
  { "sends its part of the handshake byte by byte, TLS 1.2", "drip12", nil, TLS },
  { "sends its part of the handshake byte by byte, TLS 1.3", "drip13", nil, TLS },
  { "stops in its hello, TLS 1.2", "hello12", nil, TLS },
  { "stops in its hello, TLS 1.3", "hello13", nil, TLS },
  { "stops in its certificate, TLS 1.2", "certificate12", nil, TLS },
  { "stops in its certificate, TLS 1.3", "certificate13", nil, TLS },
  { "says nothing behind TLS 1.2's handshake", "tls12", { "hold" }, UPGRADE },
  { "says nothing behind TLS 1.3's handshake", "tls13", { "hold" }, UPGRADE },
  { "stops in the record with the response", "tls", { { "seal", "HTTP/1.1 101 " }, { "push", 9 }, "hold" }, UPGRADE },
  { "stops behind a part of the response", "tls", { { "seal", "HTTP/1.1 101 " }, "push", "hold" }, UPGRADE },
  { "speaks of keys instead of responding", "tls13", { { "update", 1, 50 }, "push", "hold" }, UPGRADE },
  { "wants another handshake instead of responding", "tls12", { "renegotiate", "push", "hold" }, UPGRADE },
}

local function limits(message)
  return { connect_timeout = message == UPGRADE and 10 or LIMIT, upgrade_timeout = message == UPGRADE and LIMIT or 10 }
end

describe("wsopen's deadline for wss holds against a server that", function()
  for _, case in ipairs(cases) do
    local name, port, steps, message = unpack(case)
    it(name, function() assert_in_time(message, openssl.url(port, steps), limits(message)) end)
  end

  it("accepts and says nothing", function()
    local peer = scripted.peer { { "hold" } }
    assert_in_time(TLS, peer.url:gsub("^ws", "wss"), limits(TLS))
    peer:close()
  end)

  it("does not accept", function()
    local peer = scripted.silent { tls = true, address = "127.0.0.1" }
    assert_in_time(("Connection to 127.0.0.1:%d failed: timeout"):format(peer.port), peer.url, limits())
    peer:close()
  end)
end)

describe("and over the user's own socket against one that", function()
  for at = 1, #cases, 4 do
    local name, port, steps, message = unpack(cases[at])
    it(name, function()
      local options = limits(message)
      options.connect = function(host, to) return socket.connect(host, to) end
      assert_in_time(message, openssl.url(port, steps), options)
    end)
  end
end)
