-- The option reconnect: a connection that is lost comes back as the same table. In memory, where time passes only as
-- far as something is waited for. reconnect_sockets_spec.lua has the same with real sockets; backoff_spec.lua has when
-- it is tried again, and outbox_spec.lua what is sent meanwhile.

local interpreted = require "spec.support.interpreted"
local outage = require "spec.support.outage"

local DAY = 86400

local CLOSED = { false, "receiver error: closed" }

local last_of = outage.last_of

local o, w, luws

before_each(function()
  o = outage.new()
  w, luws = o.world, o.luws
end)

describe("a lost connection", function()
  local DRIVERS = {
    ["wsreceive once a second"] = "poll", wswait = "wait", ["conn:timeout()"] = "ask", ["the reactor"] = "drive",
  }
  for name, method in pairs(DRIVERS) do
    local function drive(...) return o[method](o, ...) end

    it("comes back as the same table, with " .. name, function()
      local server = o:echo_server()
      local conn, told = o:open(server)
      assert.same({}, told) -- nothing is called inside wsopen
      assert.is_nil(drive(conn, 3))
      last_of(server):vanish()
      assert.is_nil(drive(conn, 10))
      assert.same({ "open", CLOSED, "open" }, told)
      assert.is_true(conn.connected)
      assert.is_true(luws.wssend(conn, 1, "again"))
      assert.is_nil(drive(conn, 3))
      assert.same({ "open", CLOSED, "open", { 1, "again" } }, told)
      assert.equal(2, #server.peers)
      luws.wsclose(conn)
      assert.equal("not connected", drive(conn, 100))
      assert.equal(4, #told)
      assert.equal(2, #server.peers)
    end)

    it("is told of once, however many attempts fail, with " .. name, function()
      local server = o:echo_server()
      local conn, told = o:open(server)
      assert.is_nil(drive(conn, 3))
      o:refuse(5)
      last_of(server):close(1001, "restarting")
      assert.is_nil(drive(conn, 100))
      assert.same({ "open", CLOSED, "open" }, told)
      luws.wsclose(conn)
    end)
  end

  for _, case in ipairs {
    { "a close frame 1000", function(peer) peer:close(1000) end, "receiver error: closed", 1000 },
    { "a close frame 1008", function(peer) peer:close(1008) end, "receiver error: closed", 1008 },
    { "an end", function(peer) peer:finish() end, "receiver error: closed", 1006 },
    { "a broken rule", function(peer) peer:raw "\131\0" end, "reserved opcode 3", 1006 },
    { "a message that is too big", function(peer) peer:send(1, ("x"):rep(70000)) end,
      "message too big (over 65535 bytes: it has 70000; see max_payload_size)", 1006 },
  } do
    local name, lose, why, code = case[1], case[2], case[3], case[4]
    it("may have been lost by " .. name, function()
      local server, seen = o:echo_server(), {}
      local conn, told = o:open(server, {
        reconnect = { on = function(conn, ...) seen[#seen + 1] = { conn.close_code, ... } end },
      })
      o:run(conn, 1)
      lose(last_of(server))
      o:run(conn, 5)
      assert.same({ "open", { false, why }, "open" }, told)
      assert.same({ { code, why, 1 } }, seen)
      assert.is_nil(conn.close_code) -- it is open
    end)
  end

  it("may have been lost by silence", function()
    for _, case in ipairs {
      { { receive_timeout = 30 }, "message timeout" },
      { { ping_interval = 20, ping_timeout = 10, receive_timeout = 300 }, "ping timeout" },
    } do
      local server = w:server(function() return w:peer() end)
      local conn, told = o:open(server, case[1])
      local begun = w.clock.now()
      o:run(conn, 32 - (w.clock.now() - begun))
      assert.same({ "open", { false, case[2] }, "open" }, told)
      assert.same({ true, 2 }, { conn.connected, #server.peers })
      luws.wsclose(conn)
    end
  end)

  it("may have been lost by a source that could not be ended", function()
    local server = o:echo_server()
    local conn, told = o:open(server)
    luws.wsreceive(conn)
    local chunks = { "a", "b" }
    local function source()
      local chunk = table.remove(chunks, 1)
      return chunk, not chunk and "no more" or nil
    end
    assert.same({ false, "no more" }, { luws.wssend(conn, 1, source) })
    o:run(conn, 5)
    assert.same({ "open", "open" }, told)
    assert.is_true(conn.connected)
  end)

  it("is closed, and waits, until its time has come", function()
    local server = o:echo_server()
    local conn = o:open(server, { reconnect = { first = 10 } })
    luws.wsreceive(conn)
    last_of(server):close(4000, "bye")
    w.clock.sleep(0)
    assert.same({ false, 0 }, { luws.wsreceive(conn) })
    w.clock.sleep(4)
    assert.same({ false, false, 4000, "bye" }, { conn.connected, conn.closing, conn.close_code, conn.close_reason })
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "x") })
    assert.same({ false, "not connected" }, { luws.wsflush(conn) })
    assert.same({ nil, "not connected" }, { luws.wshandleincoming("\129\0", conn) })
    assert.same({ -1, -1, "r", false, 0 },
      { conn:getfd(), conn:pollfd(), conn:events(), conn:dirty(), conn.bufferedAmount })
    assert.is_true(conn:timeout() > 5 and conn:timeout() <= 6)
    assert.same({ false, 0 }, { luws.wsreceive(conn) })
    luws.wsreset(conn)
    assert.is_false(luws.wswait(conn, 1))
    assert.is_true(luws.wswait(conn))
    assert.equal(10, math.floor(w.clock.now()))
    assert.is_true(conn.connected)
  end)

  it("is not opened again after wsclose, whenever that was called", function()
    for _, when in ipairs { "told", "on", "waiting", "connecting", "open_handler", "connect" } do
      local server = o:echo_server()
      local conn, told
      local function close_at(moment)
        if moment == when and conn and #server.peers > 0 then luws.wsclose(conn) end
      end
      local options = { reconnect = { on = function() close_at "on" end } }
      if when == "open_handler" then
        local times = 0
        options.open_handler = function()
          times = times + 1
          if times == 2 then close_at "open_handler" end
        end
      end
      conn, told = o:open(server, options)
      luws.wsreceive(conn)
      local opened = #told
      conn.msghandler = function(_, ...)
        told[#told + 1] = { ... }
        close_at "told"
      end
      if when == "connect" then
        conn.options.connect = function()
          close_at "connect"
          return { send = print, receive = print, settimeout = print, close = function() told.closed = true end }
        end
      end
      w.dials = { { 5 } } -- the next attempt takes its time
      last_of(server):vanish()
      o:run(conn, 0.5)
      close_at "waiting"
      o:run(conn, 1)
      close_at "connecting"
      o:run(conn, 100)
      assert.same({ CLOSED }, { told[opened + 1], told[opened + 2] }, when)
      assert.same({ nil, "not connected" }, { luws.wsreceive(conn) }, when)
      assert.same({ false, true }, { conn.connected, conn.closing }, when)
      assert.equal(when == "open_handler" and 2 or 1, #server.peers, when)
      assert.equal(when == "connect" or nil, told.closed, when)
      assert.equal(0, w.reactor.step()) -- nothing is left to be driven
    end
  end)

  it("is not opened again if the program has sent a close frame itself", function()
    local server = o:echo_server()
    local conn, told = o:open(server)
    luws.wsreceive(conn)
    assert.is_true(luws.wssend(conn, 8, ""))
    assert.equal("closed", o:wait(conn, 100))
    assert.same({ "open", CLOSED }, told)
    assert.equal(1, #server.peers)
  end)

  it("may be received from inside the handler that is told of it", function()
    local server = o:echo_server()
    local conn, told = o:open(server)
    conn.msghandler = function(_, ...)
      told[#told + 1] = { ... }
      for _ = 1, 3 do told[#told + 1] = { luws.wsreceive(conn) } end
    end
    o:run(conn, 1)
    last_of(server):vanish()
    o:run(conn, 0.5)
    assert.same({ "open", CLOSED, { false, 0 }, { false, 0 }, { false, 0 } }, told)
    o:run(conn, 5)
    assert.equal("open", told[6])
    assert.is_true(conn.connected)
  end)

  it("is not told of by the linger of the connection before", function()
    local server = w:server(function() return w:peer() end) -- answers no close frame
    local conn = o:open(server, { close_timeout = 60, reconnect = { first = 0 } })
    o:run(conn, 1)
    last_of(server):raw "\131\0"
    o:run(conn, 2)
    assert.is_true(conn.connected)
    assert.is_nil(conn.close_code)
    o:run(conn, 100)
    assert.is_nil(conn.close_code)
  end)
end)

describe("a connection that comes back", function()
  it("may have been opened by a coroutine that yields", function()
    local server, conn, told = o:echo_server(), nil, nil
    local thread = coroutine.create(function() conn, told = o:open(server, { wait = "yield" }) end)
    assert(coroutine.resume(thread))
    while not conn do
      w.reactor.step(1)
      if coroutine.status(thread) == "suspended" then assert(coroutine.resume(thread)) end
    end
    assert.is_nil(o:wait(conn, 1))
    last_of(server):vanish()
    assert.is_nil(o:wait(conn, 10))
    assert.same({ "open", CLOSED, "open" }, told)
    o:run(conn, 1)
    last_of(server):vanish()
    o:run(conn, 20)
    assert.same({ "open", CLOSED, "open", CLOSED, "open" }, told)
  end)

  it("waits for its turn if connecting_limit says so, although wsopen has waited", function()
    local conns = {}
    local server = w:server(function()
      local peer = w:peer()
      function peer.on_request(one)
        w.clock.after(3, function() -- it takes its time
          one:accept()
          one.wire:write()
        end)
      end
      return peer
    end)
    for i = 1, 3 do
      conns[i] = o:open(server, { connecting_limit = 1, reconnect = { first = 1 } })
      o:run(conns[i], 0.1)
    end
    local times = o:note_dials()
    for _, peer in ipairs(server.peers) do peer:vanish() end
    o:run(conns[1], 1.5)
    local function connected()
      local count = 0
      for _, conn in ipairs(conns) do count = count + (conn.connected and 1 or 0) end
      return count
    end
    assert.same({ 3, 0 }, { #times, connected() }) -- the names are looked up at once
    for i = 1, 3 do
      w.reactor.run(3)
      assert.equal(i, connected())
    end
  end)

  it("goes through SockProxy each time, and directly if that is not there", function()
    local server = w:server(function(n) return w:peer({ proxy = n < 3 }):echo() end)
    local conn, told = o:open(server, { sockproxy = true })
    local seen = {}
    for _ = 1, 2 do
      o:run(conn, 3)
      seen[#seen + 1] = { conn.connected, conn.proxied }
      last_of(server):vanish()
    end
    w.dials = { { 0, "connection refused" } }
    o:run(conn, 5)
    seen[#seen + 1] = { conn.connected, conn.proxied }
    assert.same({ { true, true }, { true, true }, { true, false } }, seen)
    assert.same({ "open", CLOSED, "open", CLOSED, "open" }, told)
  end)

  it("is collected if nobody holds it and nobody drives it", function()
    interpreted.begin() -- machine code would hold what it was made for
    finally(interpreted.finish)
    local server = o:echo_server()
    local weak = setmetatable({ (o:open(server)) }, { __mode = "v" })
    luws.wsreceive(weak[1])
    last_of(server):vanish()
    w.clock.sleep(0)
    luws.wsreceive(weak[1])
    w.conn = nil
    for _ = 1, 3 do collectgarbage() end
    assert.is_nil(weak[1])
  end)

  it("may be lost two thousand times, and leaves nothing behind", function()
    local server = w:server(function() return w:peer() end)
    local count, before = 0, nil
    local conn = o:open(server, {
      reconnect = { first = 0, stable = 0 }, close_timeout = 0, open_handler = function() count = count + 1 end,
    })
    o:run(conn, 1)
    conn.msghandler = function() count = count + 1 end
    for i = 1, 2000 do
      last_of(server):vanish()
      server.peers = {}
      repeat w.reactor.step(1) until conn.connected and server.peers[1]
      if i % 500 == 0 then
        for _ = 1, 3 do collectgarbage() end
        local now = collectgarbage "count"
        before = before or now
        assert.is_true(now < before + 16, now - before) -- KiB: a leak of 11 bytes each time
      end
    end
    assert.equal(4000, count)
  end)

  it("goes on for a day with losses, as a plugin has it", function()
    local seed, subscribed, lost, received = 42, 0, 0, 0
    local function random(most)
      seed = (seed * 16807) % 2147483647
      return seed % most
    end
    local server = w:server(function() return w:peer():echo() end)
    local conn = w:open(server, {
      ping_interval = 20, reconnect = true, queue = 1000,
      open_handler = function(c)
        subscribed = subscribed + 1
        luws.wssend(c, 1, "subscribe")
      end,
    }, function(_, opcode)
      if opcode == false then lost = lost + 1 else received = received + 1 end
    end)
    local losses, silences, sent = 0, 0, 0
    for minute = 1, DAY / 60 do
      o:poll(conn, 60)
      if conn.connected then
        assert.is_true(luws.wssend(conn, 1, "minute " .. minute))
        sent = sent + 1
      end
      if minute % 97 == 0 and conn.connected then
        o:poll(conn, 2)
        losses = losses + 1
        if random(2) == 0 then
          last_of(server):vanish()
        else
          last_of(server).is_paused = true -- as if its power was cut
          silences = silences + 1
        end
        for i = 1, random(4) do w.dials[i] = { random(3), "connection refused" } end
      end
    end
    o:poll(conn, 300)
    assert.is_true(conn.connected)
    assert.is_true(losses >= 14 and silences > 3)
    assert.same({ losses, losses + 1, losses + 1 }, { lost, subscribed, #server.peers })
    -- What was sent to a server without power is lost; everything else came back.
    assert.is_true(received >= sent + subscribed - silences and received <= sent + subscribed)
  end)
end)
