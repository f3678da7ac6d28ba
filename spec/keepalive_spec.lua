-- Keepalive: the options ping_interval and ping_timeout, and what is known of the peer from them. In memory, where time
-- passes only as far as something is waited for; at the end with real sockets.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local world = require "spec.support.world"

local HOURS = 6 * 3600

local w

before_each(function() w = world.new() end)

--- What drives a connection until the time is over or wsreceive says that it has ended. Each returns why, if it has.
local drivers = {}

drivers["wsreceive once a second"] = function(conn, seconds)
  for _ = 1, seconds do
    local more, why = w.luws.wsreceive(conn)
    if more == nil then return why end
    w.clock.sleep(1)
  end
end

drivers["wswait"] = function(conn, seconds)
  local deadline = w.clock.now() + seconds
  while w.clock.now() < deadline do
    local more, why = w.luws.wsreceive(conn)
    if more == nil then return why end
    w.luws.wswait(conn, deadline - w.clock.now())
  end
end

drivers["conn:timeout() and conn:dirty()"] = function(conn, seconds)
  local deadline = w.clock.now() + seconds
  while w.clock.now() < deadline do
    if conn:dirty() or conn:timeout() == 0 then
      local more, why = w.luws.wsreceive(conn)
      if more == nil then return why end
    end
    local left = math.min(conn:timeout() or math.huge, deadline - w.clock.now())
    w.clock.pass(left, function() return conn:dirty() end)
  end
end

drivers["the reactor"] = function(conn, seconds)
  assert(conn.connected and w.reactor.add(conn))
  w.reactor.run(seconds)
  if not conn.connected then return select(2, w.luws.wsreceive(conn)) end
end

--- Returns the payloads of the pings that a peer has got.
local function pings(peer)
  local found = {}
  for _, event in ipairs(peer.events) do
    if event[1] == 9 then found[#found + 1] = event[2] end
  end
  return found
end

describe("with ping_interval", function()
  for name, drive in pairs(drivers) do
    describe("and " .. name, function()
      it("a quiet connection is kept for hours", function()
        local conn, peer = w:open(w:peer():echo(), { ping_interval = 20, receive_timeout = 90 })
        assert.is_nil(drive(conn, HOURS))
        assert.same({}, w.told)
        assert.is_true(conn.connected)
        local count = #pings(peer)
        assert.is_true(count >= HOURS / 22 and count <= HOURS / 20, count)
      end)

      it("a peer that is silent is asked once, and given up", function()
        local conn, peer = w:open(w:peer(), { ping_interval = 20, ping_timeout = 10 })
        local begun = w.clock.now()
        assert.equal("ping timeout", drive(conn, 100))
        -- Whoever looks once a second may be late by a second in each half.
        local late = name:find "once a second" and 2 or 0
        local ended = name:find "reactor" and 30 or w.clock.now() - begun -- the reactor runs on
        assert.is_true(ended >= 30 and ended <= 30 + late, ended)
        assert.same({ { false, "ping timeout" } }, w.told)
        assert.equal(1, #pings(peer))
        assert.same({ false, 1006, "", false }, { conn.connected, conn.close_code, conn.close_reason, conn.was_clean })
        assert.same({ nil, "ping timeout" }, { w.luws.wsreceive(conn) })
        assert.same({ false, "not connected" }, { w.luws.wssend(conn, 1, "x") })
        assert.is_not_nil(peer.line.finished)
      end)
    end)
  end

  it("the end comes when both times are over, not before and not later", function()
    local conn = w:open(w:peer(), { ping_interval = 20 })
    w.reactor.add(conn)
    local begun, ended = w.clock.now(), nil
    conn.msghandler = function() ended = w.clock.now() - begun end
    w.reactor.run(39.9)
    assert.is_nil(ended)
    w.reactor.run(0.2)
    assert.equal(40, ended)
  end)

  it("whatever comes puts off the ping, and an answer that is no pong is one", function()
    local peer = w:peer()
    local conn = w:open(peer, { ping_interval = 20, ping_timeout = 10 })
    w.reactor.add(conn)
    for _, second in ipairs { 15, 30, 45, 74 } do
      w.clock.after(second, function() peer:send(1, tostring(second)) end)
    end
    w.reactor.run(64)
    assert.same({}, pings(peer))
    w.reactor.run(20)
    assert.same({ { 1, "15" }, { 1, "30" }, { 1, "45" }, { 1, "74" } }, w.told)
    assert.equal(1, #pings(peer)) -- after 65 seconds; the message of second 74 answers it
    w.reactor.run(50)
    assert.same({ false, "ping timeout" }, w.told[5])
  end)

  it("the latency is known, and smoothed", function()
    local delays = { 0.25, 0.65, 0.1 }
    local peer = w:peer()
    peer.on_event = function(_, event, data)
      assert.equal(9, event)
      w.clock.after(table.remove(delays, 1), function() peer:send(10, data) end)
    end
    local conn = w:open(peer, { ping_interval = 5 })
    w.reactor.add(conn)
    assert.same({}, { conn.latency, conn.latency_smoothed })
    for _, expected in ipairs { { 0.25, 0.25 }, { 0.65, 0.3 }, { 0.1, 0.275 } } do
      w.reactor.run(6)
      assert.is_true(math.abs(conn.latency - expected[1]) < 1e-9, conn.latency)
      assert.is_true(math.abs(conn.latency_smoothed - expected[2]) < 1e-9, conn.latency_smoothed)
    end
  end)

  it("the control_handler sees the program's pongs, and not those of these pings", function()
    local seen = {}
    local conn, peer = w:open(w:peer():echo(), {
      ping_interval = 5,
      control_handler = function(_, opcode, data) seen[#seen + 1] = { opcode, data } end,
    })
    w.reactor.add(conn)
    w.reactor.run(12)
    local before = w.luws.wslastping(conn)
    w.luws.wssend(conn, 9, "mine")
    peer:send(10, "luws, but another")
    w.reactor.run(1)
    assert.same({ { 10, "luws, but another" }, { 10, "mine" } }, seen)
    assert.equal(3, #pings(peer))
    assert.is_true(w.luws.wslastping(conn) > before)
    assert.is_number(conn.latency)
  end)

  it("message timeouts are told at their own times, and do not put off the ping", function()
    local conn, peer = w:open(w:peer(), { ping_interval = 20, ping_timeout = 10, receive_timeout = 8 })
    local told = {}
    conn.msghandler = function(_, _, why) told[#told + 1] = { w.clock.now(), why, #pings(peer) } end
    w.reactor.add(conn)
    w.reactor.run(100)
    assert.same({
      { 8, "message timeout", 0 }, { 16, "message timeout", 0 }, { 24, "message timeout", 1 },
      { 30, "ping timeout", 1 },
    }, told)
  end)

  it("a ping_timeout of 0 means that it only pings", function()
    local conn, peer = w:open(w:peer(), { ping_interval = 20, ping_timeout = 0 })
    w.reactor.add(conn)
    w.reactor.run(3610)
    assert.same({}, w.told)
    assert.is_true(conn.connected)
    assert.equal(180, #pings(peer))
  end)

  it("no ping is sent, and nothing is asked, without it", function()
    local conn, peer = w:open(w:peer())
    assert.is_nil(conn:timeout())
    assert.is_nil(drivers.wswait(conn, 1800))
    assert.same({}, pings(peer))
  end)

  it("conn:timeout() tells the time of the next thing to do", function()
    local conn, peer = w:open(w:peer(), { ping_interval = 20, ping_timeout = 10, receive_timeout = 25 })
    assert.same({ 20, false }, { conn:timeout(), conn:dirty() })
    w.clock.sleep(20)
    assert.same({ 0, true }, { conn:timeout(), conn:dirty() })
    assert.same({ false, 0 }, { w.luws.wsreceive(conn) })
    assert.same({ 5, false }, { conn:timeout(), conn:dirty() })
    w.clock.sleep(1)
    peer:send(10, pings(peer)[1])
    w.luws.wsreceive(conn)
    assert.same({ 20, false }, { conn:timeout(), conn:dirty() })
  end)

  it("a program that was away for an hour reads before it judges, and gives the peer time", function()
    for _, pong_after in ipairs { 0, 3605 } do
      local peer = w:peer()
      local conn = w:open(peer, { ping_interval = 20, ping_timeout = 20 })
      peer.on_event = function(_, _, data)
        w.clock.after(pong_after, function() peer:send(10, data) end)
      end
      w.clock.sleep(20)
      w.luws.wsreceive(conn) -- asks
      w.clock.sleep(3600)
      assert.is_nil(drivers.wswait(conn, 15))
      assert.same({}, w.told)
      assert.is_true(conn.connected)
      w.luws.wsclose(conn)
    end
  end)

  it("a peer that takes what is queued is not given up, and pings do not pile up", function()
    local peer = w:peer()
    local conn = w:open(peer, { ping_interval = 20, ping_timeout = 10, send_timeout = 0 })
    w.reactor.add(conn)
    peer:pause(1000)
    assert.is_true(w.luws.wssend(conn, 2, ("x"):rep(20000)))
    local before = conn.bufferedAmount
    for _ = 1, 15 do -- the peer takes a little every 4 seconds
      w.reactor.run(4)
      assert.is_true(conn.connected)
      peer.wire:read(peer.line:waiting())
      peer.line.other.on_room()
    end
    assert.is_true(conn.bufferedAmount > 0 and conn.bufferedAmount < before)
    w.reactor.run(40)
    assert.same({ { false, "ping timeout" } }, w.told) -- it has stopped
  end)

  it("one ping at most is queued for a peer that reads nothing", function()
    local peer = w:peer()
    local conn = w:open(peer, { ping_interval = 20, ping_timeout = 0, send_timeout = 0 })
    w.reactor.add(conn)
    peer:pause()
    w.reactor.run(1000)
    local first = conn.bufferedAmount
    w.reactor.run(1000)
    assert.same({ 14, 14 }, { first, conn.bufferedAmount })
  end)

  it("a closing handshake that the peer does not answer ends", function()
    local conn = w:open(w:peer(), { ping_interval = 20, ping_timeout = 10 })
    assert.is_true(w.luws.wssend(conn, 8, ""))
    assert.equal("ping timeout", drivers.wswait(conn, 100))
    assert.equal(30, w.clock.now())
  end)

  it("a handler that takes its time, or receives itself, is no silence", function()
    local peer = w:peer():echo()
    local conn = w:open(peer, { ping_interval = 2, ping_timeout = 2 }, function(conn)
      for _ = 1, 5 do
        w.clock.sleep(1)
        w.luws.wsreceive(conn)
      end
    end)
    w.luws.wssend(conn, 1, "x")
    assert.is_nil(drivers.wswait(conn, 30))
    assert.is_true(conn.connected)
  end)

  it("the ping is sent with what was gathered", function()
    local conn, peer = w:open(w:peer(), { ping_interval = 20, coalesce = true })
    w.luws.wssend(conn, 1, "gathered")
    w.clock.sleep(20)
    w.luws.wsreceive(conn)
    w.clock.sleep(0)
    assert.same({ 1, "gathered" }, peer.events[1])
    assert.equal(1, #pings(peer))
  end)
end)

describe("the options of keepalive", function()
  for _, case in ipairs {
    { { ping_interval = "20" }, "bad option 'ping_interval' (number expected, got string)" },
    { { ping_interval = -1 }, "bad option 'ping_interval' (a number of at least 0 expected, got -1)" },
    { { ping_timeout = true }, "bad option 'ping_timeout' (number expected, got boolean)" },
  } do
    it("are refused if they are wrong: " .. case[2], function()
      assert.same({ false, case[2] }, { w.luws.wsopen("ws://peer.test/", nil, case[1]) })
    end)
  end
end)

describe("keepalive over real sockets", function()
  local SHORT = { ping_interval = 0.03, ping_timeout = 5 }

  local function with(options)
    for name, value in pairs(SHORT) do options[name] = value end
    return options
  end

  for _, case in ipairs {
    { "ws", "ws", {} },
    { "wss", "wss", {} },
    { "a user's socket", "ws", { connect = function(host, port) return socket.connect(host, port) end } },
  } do
    it("knows the latency of a server that answers, over " .. case[1], function()
      local conn = assert(luws.wsopen(servers.url("demo", case[2], "/echo"), nil, with(case[3])))
      assert.is_true(poll(luws, conn, function() return conn.latency ~= nil end))
      assert.is_true(conn.latency >= 0 and conn.latency < 5 and conn.latency_smoothed == conn.latency)
      luws.wsclose(conn)
    end)
  end

  it("gives up a server that does not answer, without a descriptor that shows it", function()
    local peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "hold" } }
    local told = {}
    local conn = assert(luws.wsopen(peer.url, function(_, ...) told[#told + 1] = { ... } end,
      { ping_interval = 0.05, ping_timeout = 0.05 }))
    local _, _, why = poll(luws, conn)
    assert.equal("ping timeout", why)
    assert.same({ { false, "ping timeout" } }, told)
    peer:close()
  end)

  it("is driven by a program that only polls", function()
    local peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "hold" } }
    local conn = assert(luws.wsopen(peer.url, nil, { ping_interval = 0.05, ping_timeout = 0.05 }))
    local deadline, result = luws.gettime() + 10, { false }
    while result[1] ~= nil and luws.gettime() < deadline do result = { luws.wsreceive(conn) } end
    assert.equal("ping timeout", result[2])
    assert.equal(1, #peer:result().frames)
    peer:close()
  end)
end)
