-- The client of Socket.IO above an engine in memory: when it tries again, and what managers do. Time is virtual.

local engines = require "spec.support.engines"
local world = require "spec.support.world"

local note, take = engines.note, engines.take

local w, e, io

before_each(function()
  w = world.new()
  e = engines.new(w)
  io = e.io
end)

local function connected(...) return e:connected(...) end

describe("the delay before an attempt", function()
  --- Returns the delays before the first attempts after the first one, in milliseconds.
  local function delays(opts, random, count)
    opts.forceNew, opts.timeout = true, false
    w.random = random
    io("http://a.test", opts)
    local list = {}
    for i = 1, count do
      local failed_at = w.clock.now()
      e:last():fail "x"
      e:turn(10)
      list[i] = math.floor((e:last().made_at - failed_at) * 1000 + 0.5)
    end
    return list
  end

  it("doubles up to its limit, and is shifted by chance one way or the other", function()
    assert.same({ 1000, 2000, 4000, 5000, 5000 }, delays({ randomizationFactor = 0 }, 0, 5))
    -- floor(0.25 * 10) is even: less; floor(0.35 * 10) is odd: more
    assert.same({ 875, 1750, 3500, 5000 }, delays({}, 0.25, 4))
    assert.same({ 1175, 2350, 4700, 5000 }, delays({}, 0.35, 4))
    assert.same({ 100, 200, 300, 300 }, delays({
      reconnectionDelay = 100, reconnectionDelayMax = 300, randomizationFactor = 0,
    }, 0, 4))
  end)

  it("begins again after a success", function()
    local socket = io("http://a.test", { randomizationFactor = 0 })
    for _ = 1, 3 do
      e:last():fail "x"
      e:turn(6)
    end
    local count = #e.made
    e:last():open():say '0{"sid":"s"}'
    e:turn()
    assert.is_true(socket.connected)
    e:last():lose "transport close"
    e:turn(0.9)
    assert.equal(count, #e.made)
    e:turn(0.2)
    assert.equal(count + 1, #e.made)
  end)

  it("stays a number however many attempts fail", function()
    local socket = io("http://a.test", { reconnectionDelayMax = 100, timeout = false })
    for i = 1, 1100 do
      e:last():fail "x"
      e:turn(0.12)
      assert.equal(i + 1, #e.made)
    end
    assert.is_true(socket.active)
  end)
end)

describe("a manager", function()
  it("tells of its attempts as JavaScript's does", function()
    local socket = io("http://a.test", { reconnectionAttempts = 2, randomizationFactor = 0 })
    local told = note(socket.io, {}, "open", "close", "error", "reconnect_attempt", "reconnect_error", "reconnect",
      "reconnect_failed", "ping")
    note(socket, told, "connect_error")
    e:last():fail "xhr poll error"
    e:turn(1.5)
    e:last():fail "xhr poll error"
    e:turn(2.5)
    e:last():open():ping()
    e:turn()
    assert.same({
      { "error", "xhr poll error" }, { "connect_error", "xhr poll error" }, { "reconnect_attempt", 1 },
      { "error", "xhr poll error" }, { "connect_error", "xhr poll error" }, { "reconnect_error", "xhr poll error" },
      { "reconnect_attempt", 2 }, { "open" }, { "reconnect", 2 }, { "ping" },
    }, take(told))
    e:last():lose "transport close"
    for _ = 1, 2 do
      e:turn(3)
      e:last():fail "websocket error"
    end
    e:turn(60)
    assert.same({ "close", "transport close" }, told[1])
    assert.same({ "reconnect_failed" }, told[#told - 1])
    assert.same({ "reconnect_error", "websocket error" }, told[#told])
    assert.is_true(socket.active)
  end)

  it("makes no other attempt with reconnection = false", function()
    local socket = io("http://a.test", { reconnection = false })
    e:last():fail "x"
    e:turn(60)
    assert.equal(1, #e.made)
    socket:connect()
    assert.equal(2, #e.made)
  end)

  it("has its settings as functions, in milliseconds", function()
    local manager = io("http://a.test", { autoConnect = false }).io
    assert.same({ true, math.huge, 1000, 5000, 0.5, 20000 }, {
      manager:reconnection(), manager:reconnectionAttempts(), manager:reconnectionDelay(),
      manager:reconnectionDelayMax(), manager:randomizationFactor(), manager:timeout(),
    })
    assert.equal(manager, manager:reconnectionDelay(50))
    assert.same({ 50, 5000 }, { manager:reconnectionDelay(), manager:reconnectionDelayMax() })
    assert.has_error(function() manager:reconnectionDelay "x" end,
      "bad option 'reconnectionDelay' (number expected, got string)")
  end)

  it("has options that may be changed before another attempt", function()
    local opts = { query = { version = "1" }, max_payload_size = 1 }
    local socket, engine, told = connected(opts)
    local manager, refused, size = socket.io, nil, nil
    socket:once("connect_error", function(err) refused = err.message end)
    socket:on("m", function(value) size = #value end)
    manager:on("reconnect_attempt", function(count)
      manager.opts.query.version = tostring(count + 1)
      manager.opts.transports = { "websocket" }
      manager.opts.parser = count == 1
      manager.opts.max_payload_size = nil
    end)
    engine:lose "transport close"
    e:turn(10)
    assert.same({ "disconnect", "transport close" }, take(told)[1])
    assert.matches("^bad option 'parser'", refused)
    local given = e:last().given
    assert.same({ "3", { "websocket" }, "/socket.io" }, { given.query.version, given.transports, given.path })
    e:last():open():say('0{"sid":"s2"}', '51-["m",{"_placeholder":true,"num":0}]', io.binary "xx")
    e:turn()
    assert.same({ "connect" }, take(told)[1])
    assert.equal(2, size)
  end)

  it("has a socket for each namespace, and an engine as long as one of them wants it", function()
    local one, engine = connected(nil, "http://a.test/x")
    local two = io "http://a.test/y"
    e:turn()
    assert.same({ "0/y," }, engine:heard())
    engine:say('0/y,{"sid":"s2"}', '2/y,["m",1]', '2/z,["m",2]')
    local told = note(two, note(one, {}, "m"), "m")
    e:turn()
    assert.same({ { "m", 1 } }, told)
    assert.same({ "s1", "s2", 1 }, { one.id, two.id, #e.made })
    one:disconnect()
    assert.is_nil(engine.is_closed)
    two:disconnect()
    assert.is_true(engine.is_closed)
  end)

  it("forgets sockets that are disconnected, and that the program has let go of", function()
    local manager = io.Manager("http://a.test", { autoConnect = false })
    local kept = manager:socket "/kept"
    manager:socket("/wanted"):connect()
    for i = 1, 10 do manager:socket("/" .. i) end
    collectgarbage()
    collectgarbage()
    local names = {}
    for name in pairs(manager.nsps) do names[#names + 1] = name end
    table.sort(names)
    assert.same({ "/kept", "/wanted" }, names)
    assert.equal(kept, manager:socket "kept")
  end)

  it("leaves a namespace when the server lets a socket in that nobody has any more", function()
    local manager = io.Manager("http://a.test", { autoConnect = false })
    manager:socket("/a"):connect()
    local engine = e:last():open()
    manager:socket("/x"):connect()
    e:turn()
    assert.same({ "0/a,", "0/x," }, engine:heard())
    manager:socket("/x"):disconnect()
    collectgarbage()
    collectgarbage()
    engine:say '0/x,{"sid":"s1"}'
    e:turn()
    assert.same({ "1/x," }, engine:heard())
    assert.is_nil(next(manager.stale))
  end)

  it("tells of each packet", function()
    local socket, engine = connected()
    local packets = {}
    socket.io:on("packet", function(packet) packets[#packets + 1] = packet end)
    engine:say '2/y,3["m",null]'
    e:turn()
    assert.same({ { type = 2, nsp = "/y", id = 3, data = { n = 2, "m" } } }, packets)
  end)

  it("ends all its sockets when it is closed", function()
    local socket, engine, told = connected()
    socket.io:close()
    assert.same({ true, false }, { engine.is_closed, socket.connected })
    e:turn(60)
    assert.same({ { { "disconnect", "forced close" } }, 1 }, { told, #e.made })
  end)
end)
