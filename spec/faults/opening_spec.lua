-- What becomes of wsopen if nothing can be reached, or if the network fails while SockProxy is asked. In memory and in
-- virtual time. From the first byte for the server on, memory_spec.lua has what becomes of it.

local log = require "spec.support.log"
local relay = require "spec.support.relay"
local world = require "spec.support.world"
local unpack = require "spec.support.compat".unpack

local NEVER = { math.huge }
local CONNECT_TIMEOUT, PROXY_TIMEOUT = 1.5, 0.75
local TARGET, PROXY = "Connection to peer.test:80 failed: ", "Connection to 127.0.0.1:2504 failed: "

--- Returns what wsopen returns as its message, how long it took, and the connection.
local function open(w, sockproxy)
  local began = w.clock.now()
  local conn, why = w.luws.wsopen("ws://peer.test/", nil, {
    connect_timeout = CONNECT_TIMEOUT, upgrade_timeout = 0.5, sockproxy = sockproxy,
  })
  return why, w.clock.now() - began, conn
end

describe("wsopen", function()
  local logged

  before_each(function() logged = log.start() end)
  after_each(log.stop)

  -- what cannot be reached; the attempts to connect: seconds, and why each fails; the options of sockproxy; the
  -- message, when it comes, and how many attempts were given up
  for _, case in ipairs {
    { "a server that refuses", { { 0, "connection refused" } }, nil, TARGET .. "connection refused", 0, 1 },
    { "a server that refuses late", { { 1.2, "connection refused" } }, nil, TARGET .. "connection refused", 1.2, 1 },
    { "a server that never answers", { NEVER }, nil, TARGET .. "timeout", CONNECT_TIMEOUT, 1 },
    { "a server that answers too late", { { 1.51 } }, nil, TARGET .. "timeout", CONNECT_TIMEOUT, 1 },
    {
      "a SockProxy that refuses", { { 0.25, "connection refused" } }, { required = true },
      "SockProxy failed: " .. PROXY .. "connection refused", 0.25, 1,
    },
    {
      "a SockProxy that never answers", { NEVER }, { required = true }, "SockProxy failed: " .. PROXY .. "timeout",
      PROXY_TIMEOUT, 1,
    },
    {
      "neither of both", { NEVER, NEVER }, {}, TARGET .. "timeout", PROXY_TIMEOUT + CONNECT_TIMEOUT, 2,
    },
    { "a server that answers late, but in time", { { 1.49 } }, nil, nil, 1.49, 0 },
    { "no SockProxy, but the server", { { 0.25, "connection refused" }, { 1.25 } }, {}, nil, 1.5, 1 },
    { "no SockProxy that answers, but the server", { NEVER, { 1.25 } }, {}, nil, PROXY_TIMEOUT + 1.25, 1 },
  } do
    local name, dials, sockproxy, message, time, cancelled = unpack(case, 1, 6)
    it(("%s if it reaches %s, in time"):format(message and "fails" or "succeeds", name), function()
      local w = world.new()
      w.dials = dials
      w:peer()
      if sockproxy then sockproxy.timeout = PROXY_TIMEOUT end
      local why, took, conn = open(w, sockproxy)
      assert.equal(message, why)
      assert.near(time, took, 1e-6)
      assert.same({ cancelled, not message }, { w.cancelled, conn and conn.connected })
    end)
  end

  --- Opens a connection through SockProxy with a fault. Without it, another peer is there for the second attempt.
  -- Returns the same as `open`, and the relay.
  local function open_through(w, how, required)
    local made
    w:peer { proxy = true, hangs_up = true }
    w.relay = relay.between(w, how, function(created)
      made = created
      w.relay = nil
      w:peer()
    end)
    local why, took, conn = open(w, { required = required, timeout = PROXY_TIMEOUT })
    return made, why, took, conn
  end

  -- How many bytes SockProxy and its client exchange before the server's first.
  local ASKED = {
    up = #"CONN peer.test:80 RTIM=0 PACE=0\n", down = #"OK TOGGLEDBITS-SOCKPROXY 21350 4711\nOK CONN 4711\n",
  }

  local ENDS = { ends = "the peer closed the connection", vanishes = "the peer closed the connection",
    breaks = "timed out" }

  for _, fault in ipairs(relay.FATAL) do
    for _, way in ipairs { "up", "down" } do
      it(("fails in time, or goes on without SockProxy, if the network %s %s while it is asked"):format(fault, way),
        function()
          local w = world.new()
          local _, none = open_through(w, {}, true)
          assert.is_nil(none)
          local warnings = 0
          for at = 0, ASKED[way] - 1 do
            local how = { fault = fault, way = way, at = at }
            local why = ENDS[fault] or "timeout"
            local seconds = ENDS[fault] and 0 or PROXY_TIMEOUT
            local made, message, took = open_through(w, how, true)
            assert.equal("SockProxy failed: " .. why, message, at)
            assert.near(seconds, took, 1e-6)
            assert.is_truthy(made.closed_at)

            local conn
            made, message, took, conn = open_through(w, how, false)
            assert.is_nil(message)
            assert.near(seconds, took, 1e-6)
            assert.is_truthy(made.closed_at)
            assert.same({ false, nil }, { conn.proxied, conn.sockproxy_pid })
            w.luws.wsclose(conn)
            w.luws.wswait(conn)
            warnings = warnings + 1
          end
          assert.equal(warnings, #logged)
        end)
    end
  end
end)
