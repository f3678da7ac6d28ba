-- What a program changes of a connection that comes back, while it is lost: the options reconnect and queue, and who
-- drives it. In memory, where time passes only as far as something is waited for.

local outage = require "spec.support.outage"

local CLOSED = { false, "receiver error: closed" }
local REFUSED = "Connection to peer.test:80 failed: connection refused"

local last_of = outage.last_of

local o, w, luws

before_each(function()
  o = outage.new()
  w, luws = o.world, o.luws
end)

describe("the option reconnect, switched off", function()
  -- when; how that goes; what is told after the loss; how many attempts there are to connect again
  for _, case in ipairs {
    { "while the connection is open", before = true, {}, 0 },
    { "in the handler, at the loss", in_handler = true, {}, 0 },
    { "in the function on", in_on = true, { { false, "gave up: the option reconnect was switched off" } }, 0 },
    { "while the next attempt is waited for", after = 0.5,
      { { false, "gave up: the option reconnect was switched off" } }, 0 },
    { "during an attempt that fails", after = 2, { { false, "gave up: " .. REFUSED } }, 1 },
    { "during an attempt that succeeds", after = 2, is_good = true, { "open" }, 1 },
  } do
    for _, value in ipairs { false, "nothing" } do
      it(("holds %s, as %s"):format(case[1], value or "false"), function()
        local server = o:echo_server()
        local conn, told
        local function switch_off()
          if value then conn.options.reconnect = nil else conn.options.reconnect = false end
        end
        conn, told = o:open(server, { reconnect = { on = case.in_on and switch_off } })
        o:run(conn, 1)
        conn.msghandler = function(_, ...)
          told[#told + 1] = { ... }
          if case.in_handler then switch_off() end
        end
        if case.before then switch_off() end
        w.dials = { { 5, not case.is_good and "connection refused" or nil } }
        local times = o:note_dials()
        last_of(server):vanish()
        o:run(conn, case.after or 0)
        if case.after then switch_off() end
        w.reactor.run(1000)
        assert.same({ "open", CLOSED, case[2][1] }, told)
        assert.equal(case[3], #times)
        assert.equal(case.is_good or false, conn.connected)
        if case.is_good then -- the next loss is the last one
          last_of(server):vanish()
          w.reactor.run(1000)
          assert.same({ "open", CLOSED, "open", CLOSED }, told)
        end
        assert.is_nil((luws.wsreceive(conn)))
        assert.equal(case.is_good and 2 or 1, #server.peers)
        assert.equal(0, w.reactor.step()) -- nothing is left to be driven
      end)
    end
  end

  it("ends a first opening that nobody waits for, with the failure's own text", function()
    o:refuse(9)
    local conn, told = o:open(o:echo_server(), { wait = false })
    w.reactor.run(5)
    assert.same({}, told)
    conn.options.reconnect = false
    w.reactor.run(100)
    assert.same({ { false, "the option reconnect was switched off" } }, told)
  end)

  it("may be switched on again before anybody has looked", function()
    local server = o:echo_server()
    local conn, told = o:open(server)
    o:run(conn, 1)
    conn.options.reconnect = nil
    conn.options.reconnect = true
    last_of(server):vanish()
    o:run(conn, 5)
    assert.same({ "open", CLOSED, "open" }, told)
  end)

  it("has its new settings hold for the next decision", function()
    local server = o:echo_server()
    local conn = o:open(server)
    o:run(conn, 1)
    conn.options.reconnect = { first = 100, most = 100 }
    last_of(server):vanish()
    o:run(conn, 99)
    assert.is_false(conn.connected)
    o:run(conn, 2)
    assert.is_true(conn.connected)
  end)
end)

describe("the option queue, changed", function()
  local server, conn, told

  local function lose(queue)
    server = o:echo_server()
    conn, told = o:open(server, { queue = queue })
    o:run(conn, 1)
    last_of(server):vanish()
    o:run(conn, 0.1)
  end

  for _, case in ipairs {
    { "from none", nil, 5, "12345", true },
    { "from none, for a message that is too large", nil, 5, "123456", false, "send error: buffer full" },
    { "from 0", 0, 5, "12345", true },
    { "from less", 2, 5, "12345", true },
    { "from more", 100, 5, "123456", false, "send error: buffer full" },
    { "to none", 100, nil, "1", false, "not connected" },
    { "to something that is not a number", 100, "x", "1", false, "not connected" },
  } do
    it("holds for the next message: " .. case[1], function()
      lose(case[2])
      conn.options.queue = case[3]
      assert.same({ case[5], case[6] }, { luws.wssend(conn, 1, case[4]) })
      assert.equal(case[5] and #case[4] or 0, conn.bufferedAmount)
      if case[3] == "x" then conn.options.queue = nil end -- an opening would fail because of it
      o:run(conn, 5)
      assert.same({ "open", CLOSED, "open", case[5] and { 1, case[4] } or nil }, told)
    end)
  end

  it("keeps what is there already, though nothing more", function()
    lose(100)
    assert.is_true(luws.wssend(conn, 1, "kept"))
    for _, queue in ipairs { 4, 1, 0 } do
      conn.options.queue = queue
      assert.same({ false, "send error: buffer full" }, { luws.wssend(conn, 1, "x") })
    end
    o:run(conn, 5)
    assert.same({ "open", CLOSED, "open", { 1, "kept" } }, told)
  end)

  it("holds in the handler, at the loss, and in the function on", function()
    server = o:echo_server()
    local function on(c)
      assert.is_true(luws.wssend(c, 1, "from on"))
    end
    conn, told = o:open(server, { reconnect = { on = on } })
    o:run(conn, 1)
    conn.msghandler = function(c, ...)
      told[#told + 1] = { ... }
      if (...) ~= false then return end
      c.options.queue = 100
      assert.is_true(luws.wssend(c, 1, "from the handler"))
    end
    last_of(server):vanish()
    o:run(conn, 5)
    assert.same({ "open", CLOSED, "open", { 1, "from the handler" }, { 1, "from on" } }, told)
  end)

  it("does not hold where a connection does not come back", function()
    server = o:echo_server()
    conn, told = o:open(server, { reconnect = false })
    o:run(conn, 1)
    conn.options.queue = 100
    last_of(server):vanish()
    o:run(conn, 1)
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "x") })
  end)
end)

describe("a lost connection", function()
  for _, where in ipairs { "handler", "on", "handler and on", "neither" } do
    it("is driven from then on if the program has the reactor drive it in: " .. where, function()
      local server, results = o:echo_server(), {}
      local function add(conn) results[#results + 1] = { w.reactor.add(conn) } end
      local conn, told = o:open(server, { reconnect = { on = where:find "on" and add } })
      luws.wsreceive(conn)
      conn.msghandler = function(c, ...)
        told[#told + 1] = { ... }
        if where:find "handler" and (...) == false then add(c) end
      end
      last_of(server):vanish()
      luws.wswait(conn, 1)
      luws.wsreceive(conn) -- the last call that the program makes itself
      for _, result in ipairs(results) do assert.same({ true }, result) end
      w.reactor.run(10)
      assert.equal(where ~= "neither", conn.connected)
      if not conn.connected then return end
      assert.same({ "open", CLOSED, "open" }, told)
      last_of(server):vanish()
      w.reactor.run(10)
      assert.same({ "open", CLOSED, "open", CLOSED, "open" }, told)
      luws.wsclose(conn)
      w.reactor.run(10)
      assert.equal(0, w.reactor.step())
    end)
  end

  it("cannot be driven any more once it was given up", function()
    local server = o:echo_server()
    local conn = o:open(server, { reconnect = { on = function() return false end } })
    luws.wsreceive(conn)
    last_of(server):vanish()
    luws.wswait(conn, 1)
    luws.wsreceive(conn)
    assert.same({ false, "not connected" }, { w.reactor.add(conn) })
  end)

  it("has its close_handler called once, after the last loss", function()
    local server, count = o:echo_server(), 0
    local conn = o:open(server, { close_handler = function() count = count + 1 end })
    o:run(conn, 1)
    for _ = 1, 3 do
      last_of(server):vanish()
      o:run(conn, 40)
      assert.same({ true, 0 }, { conn.connected, count })
    end
    conn.options.reconnect = { on = function() return false end }
    last_of(server):vanish()
    o:run(conn, 40)
    assert.same({ false, 1 }, { conn.connected, count })
  end)
end)
