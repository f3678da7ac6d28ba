-- The client of Socket.IO above an engine in memory: each row of its states, what is buffered, acknowledgements, and
-- time, which is virtual.

local engines = require "spec.support.engines"
local log = require "spec.support.log"
local world = require "spec.support.world"

local note = engines.note

local w, e, io

before_each(function()
  w = world.new()
  e = engines.new(w)
  io = e.io
end)

local function pack(...) return { n = select("#", ...), ... } end

--- Returns a socket that is connected as "s1", its engine, and a list of what it is told from now on.
local function connected(opts, url)
  local socket = io(url or "http://a.test", opts)
  local engine = e:last()
  engine:open():say((url and "0/x," or "0") .. '{"sid":"s1"}')
  e:turn()
  engine:heard()
  local told = note(socket, {}, "connect", "connect_error", "disconnect")
  return socket, engine, told
end

local function take(list)
  local taken = {}
  for i, row in ipairs(list) do taken[i], list[i] = row, nil end
  return taken
end

describe("io(url, opts)", function()
  it("takes the namespace, the query and the server from the URL", function()
    for url, expected in pairs {
      ["http://a.test"] = { "http://a.test", "/" }, ["ws://a.test:80/"] = { "http://a.test:80", "/" },
      ["https://a.test/chat?a=1&b=%2F+x"] = { "https://a.test", "/chat", { a = "1", b = "/ x" } },
      ["wss://[::1]:3000/a/b#c"] = { "https://[::1]:3000", "/a/b" }, ["a.test/x"] = { "https://a.test", "/x" },
    } do
      local socket = io(url, { forceNew = true })
      assert.same(expected, { e:last().uri, socket.nsp, e:last().given.query })
    end
    io("http://b.test?a=1", { query = { c = "2" } })
    assert.same({ c = "2" }, e:last().given.query)
  end)

  it("shares a manager by scheme, host, port and path, unless that is not wanted", function()
    local first = io "http://a.test/one"
    for _, same in ipairs { "http://a.test/two", "http://A.test:80/three", "ws://a.test/four" } do
      assert.equal(first.io, io(same).io)
    end
    for _, case in ipairs {
      { "http://a.test/one" }, { "https://a.test/x" }, { "http://a.test:81/x" }, { "http://b.test/x" },
      { "http://a.test/x", { path = "/y" } }, { "http://a.test/x", { forceNew = true } },
      { "http://a.test/z", { multiplex = false } },
    } do
      assert.not_equal(first.io, io(case[1], case[2]).io, case[1])
    end
  end)

  it("raises an error for what is wrong with its arguments", function()
    for message, case in pairs {
      ["bad argument #1 to 'io' (string expected, got nil)"] = {},
      ["bad argument #2 to 'io' (table expected, got string)"] = { "http://a.test", "x" },
      ["bad argument #1 to 'io' (unknown scheme 'ftp')"] = { "ftp://a.test" },
      ["bad argument #1 to 'socket' (a namespace cannot have a comma in its name)"] = { "http://a.test/a,b" },
      ["bad argument #1 to 'socket' (the name of a namespace is not UTF-8)"] = { "http://a.test/\255" },
      ["bad option 'timeout' (a number of milliseconds or false expected, got x)"] = { "http://a.test",
        { timeout = "x" } },
      ["bad option 'reconnectionDelay' (a number of at least 0 expected, got -1)"] = { "http://a.test",
        { reconnectionDelay = -1 } },
      ["bad option 'auth' (table or function expected, got string)"] = { "http://a.test", { auth = "x" } },
      ["bad option 'retries' (it needs ackTimeout)"] = { "http://a.test", { retries = 1 } },
      ["bad option 'binaryType' ('binary' or 'string' expected, got blob)"] = { "http://a.test",
        { binaryType = "blob" } },
    } do
      local ok, why = pcall(io, case[1], case[2])
      assert.is_false(ok)
      assert.equal(message, (why:gsub("^[^ ]+:%d+: ", "")))
    end
  end)

  it("calls nobody before the reactor has its turn", function()
    local socket = io "http://a.test"
    local told = note(socket, {}, "connect", "connect_error")
    e:last():open():say '0{"sid":"s1"}'
    assert.same({}, told)
    e:turn()
    assert.same({ { "connect" } }, told)
  end)
end)

describe("connecting", function()
  it("asks to be let in with auth, and has an id then", function()
    local socket = io("http://a.test/x", { auth = { token = "t" } })
    assert.same({ false, true, true }, { socket.connected, socket.disconnected, socket.active })
    e:last():open()
    e:turn()
    assert.same({ '0/x,{"token":"t"}' }, e:last():heard())
    e:last():say '0/x,{"sid":"s1"}'
    e:turn()
    assert.same({ true, false, "s1", false }, { socket.connected, socket.disconnected, socket.id, socket.recovered })
    assert.same({ "open", 1 }, { socket.io.state, #e.made })
  end)

  it("asks once, even if the socket is made while the engine is being opened", function()
    local first = io "http://a.test"
    first.io:on("open", function() io "http://a.test/x" end)
    e:last():open()
    e:turn()
    assert.same({ "0", "0/x," }, e:last():heard())
    e:last():say('0{"sid":"s1"}', '0/x,{"sid":"s2"}')
    e:turn()
    local second = first.io:socket "/x"
    second:disconnect()
    second:connect()
    e:turn()
    assert.same({ "1/x,", "0/x," }, e:last():heard())
  end)

  it("asks a function for auth at each connection, which returns it or calls back", function()
    local count, later = 0, nil
    local socket = io("http://a.test", {
      auth = function(give)
        count = count + 1
        if count == 1 then return { n = 1 } end
        if count == 2 then give { n = 2 } else later = give end
      end,
    })
    for i = 1, 2 do
      e:last():open():say '0{"sid":"s"}'
      e:turn()
      assert.same({ '0{"n":' .. i .. "}" }, e:last():heard())
      e:last():lose "transport close"
      e:turn(2)
    end
    e:last():open()
    e:turn()
    assert.same({}, e:last():heard())
    later { n = 3 }
    later { n = 4 }
    assert.same({ '0{"n":3}' }, e:last():heard())
    -- An answer for a connection that is lost meanwhile is not sent over the next one.
    socket.auth = function(give) later = give end
    e:last():lose "transport close"
    e:turn(2)
    e:last():open()
    e:turn()
    local late = later
    e:last():lose "transport close"
    e:turn(4)
    e:last():open()
    e:turn()
    late { n = 5 }
    assert.same({}, e:last():heard())
  end)

  it("is refused by what is wrong with auth", function()
    for message, auth in pairs {
      ["auth: cannot encode a function"] = { f = print },
      ["auth: table expected, got number"] = function() return 5 end,
      ["auth: the function raised an error"] = function() error "no" end,
    } do
      log.start()
      local socket = io("http://a.test", { auth = auth, forceNew = true })
      local told = note(socket, {}, "connect_error")
      e:last():open()
      e:turn()
      log.stop()
      local got = told[1][2]:gsub("auth: f: ", "auth: ")
      assert.same({ message, false }, { got, socket.active })
    end
  end)

  it("tells of a refusal, which is not tried again, with its data", function()
    for packet, expected in pairs {
      ['4{"message":"no","data":{"code":1}}'] = { "no", { code = 1 } },
      ['4"Unable to connect"'] = { "Unable to connect" },
      ['4{}'] = { "error" },
    } do
      local socket = io("http://a.test", { forceNew = true })
      local errors = {}
      socket:on("connect_error", function(err) errors[#errors + 1] = err end)
      local engine = e:last()
      engine:open():say(packet)
      e:turn(60)
      assert.same(expected, { errors[1].message, errors[1].data })
      assert.equal(expected[1], tostring(errors[1]))
      assert.same({ 1, false, true }, { #errors, socket.active, engine.is_closed })
      assert.equal(engine, e:last())
    end
  end)

  it("says that a server of version 2 is one", function()
    local socket = io "http://a.test"
    local told = note(socket, {}, "connect_error")
    e:last():open():say "0"
    e:turn()
    assert.equal("the server speaks Socket.IO v2.x, and this client v3.x and v4.x", told[1][2])
    assert.is_false(socket.active)
  end)

  it("gives up an attempt after its time, and tries again", function()
    local socket = io("http://a.test", { timeout = 3000 })
    local told = note(socket, {}, "connect_error")
    local first = e:last()
    e:turn(2.9)
    assert.same({}, told)
    e:turn(0.2)
    assert.same({ { "connect_error", "timeout" } }, told)
    assert.same({ true, true }, { socket.active, first.is_closed })
    e:turn(2)
    assert.equal(2, #e.made)
    first:open() -- too late
    e:turn()
    assert.equal("opening", socket.io.state)
  end)

  it("has no time limit if the option is false", function()
    local told = note(io("http://a.test", { timeout = false }), {}, "connect_error")
    e:turn(1000)
    assert.same({}, told)
  end)

  it("happens when the program wants it, with autoConnect = false", function()
    local socket = io("http://a.test", { autoConnect = false })
    e:turn(10)
    assert.same({ 0, false }, { #e.made, socket.active })
    assert.equal(socket, socket:connect())
    e:last():open():say '0{"sid":"s1"}'
    e:turn()
    assert.is_true(socket.connected)
    assert.equal(socket, socket:connect())
    assert.equal(1, #e.made)
  end)
end)

describe("the end of a connection", function()
  for _, row in ipairs {
    { "ping timeout", true }, { "transport close", true }, { "transport error", true },
  } do
    it("by '" .. row[1] .. "' is told, and followed by another attempt", function()
      local socket, engine, told = connected()
      engine:lose(row[1], { description = "x" })
      e:turn()
      assert.same({ "disconnect", row[1], { description = "x" } }, take(told)[1])
      assert.same({ false, true }, { socket.connected, socket.active })
      assert.is_nil(socket.id)
      e:turn(2)
      assert.equal(2, #e.made)
      e:last():open():say '0{"sid":"s2"}'
      e:turn()
      assert.same({ { "connect" } }, take(told))
      assert.equal("s2", socket.id)
    end)
  end

  it("by a packet that breaks the protocol is told, and followed by another attempt", function()
    for _, text in ipairs { "9", '2["connect"]', "2", "51-[]" } do
      local _, engine, told = connected { forceNew = true }
      engine:say(text)
      e:turn()
      assert.same("parse error", take(told)[1][2])
      assert.is_true(engine.is_closed)
      local count = #e.made
      e:turn(2)
      assert.equal(count + 1, #e.made)
    end
  end)

  it("by the server is final", function()
    local socket, engine, told = connected()
    engine:say "1"
    e:turn(60)
    assert.same({ { "disconnect", "io server disconnect" } }, told)
    assert.same({ false, true, 1 }, { socket.active, engine.is_closed, #e.made })
  end)

  it("by the program is final, and told in the next turn", function()
    local socket, engine, told = connected()
    assert.equal(socket, socket:disconnect())
    assert.same({ "1" }, engine:heard())
    assert.same({ false, false, true }, { socket.connected, socket.active, engine.is_closed })
    assert.same({}, told)
    e:turn(60)
    assert.same({ { "disconnect", "io client disconnect" } }, told)
    assert.equal(1, #e.made)
    socket:disconnect()
    e:turn()
    assert.equal(1, #told)
  end)

  it("by the program is final during an attempt, and between two", function()
    for _, seconds in ipairs { 0, 0.4, 1, 30 } do
      local socket = io("http://a.test", { forceNew = true, timeout = 500 })
      local told = note(socket, {}, "connect", "disconnect")
      e:turn(seconds)
      socket:close()
      local count = #e.made
      e:last():open()
      e:turn(60)
      assert.same({ count, {} }, { #e.made, told })
    end
  end)

  it("can be followed by connect() at once", function()
    local socket, _, told = connected()
    socket:disconnect():connect()
    assert.equal(2, #e.made)
    e:last():open():say '0{"sid":"s2"}'
    e:turn()
    assert.same({ { "disconnect", "io client disconnect" }, { "connect" } }, told)
  end)
end)

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

describe("events", function()
  it("are heard by all listeners, in order, those for anything first", function()
    local socket, engine = connected()
    local heard = {}
    local function hear(what) return function(...) heard[#heard + 1] = { what, ... } end end
    local any = hear "any"
    socket:on("m", hear "on"):once("m", hear "once")
    socket:onAny(any):prependAny(hear "first")
    engine:say('2["m",1,null,{"a":[]}]', '2["m"]', "2[7]")
    e:turn()
    assert.equal(8 + 1, #heard)
    assert.same({ "first", "m", 1, nil, { a = {} } }, heard[1])
    assert.same({ "any", "on", "once" }, { heard[2][1], heard[3][1], heard[4][1] })
    assert.same({ { "first", "m" }, { "any", "m" }, { "on" }, { "first", "7" }, { "any", "7" } },
      { heard[5], heard[6], heard[7], heard[8], heard[9] })
    assert.equal(2, #socket:listenersAny())
    socket:offAny(any)
    assert.equal(1, #socket:listenersAny())
    socket:offAny()
    assert.same({}, socket:listenersAny())
  end)

  it("go on after a listener has raised an error", function()
    local socket, engine = connected()
    local heard = {}
    socket:onAny(function() error "any" end)
    socket:on("m", function() error "first" end)
    note(socket, heard, "m")
    local logged = log.capture(function()
      engine:say('2["m",1]', '2["m",2]')
      e:turn()
    end)
    assert.same({ { "m", 1 }, { "m", 2 } }, heard)
    assert.equal(4, #logged)
  end)

  it("that come before the server has let us in are heard before 'connect'", function()
    local socket = io "http://a.test"
    local told = note(socket, {}, "m", "connect")
    e:last():open():say('2["m",1]', '0{"sid":"s1"}', '2["m",2]')
    e:turn()
    assert.same({ { "m", 1 }, { "connect" }, { "m", 2 } }, told)
  end)

  it("that come before the server has let us in are bounded", function()
    local socket = io "http://a.test"
    local told = note(socket, {}, "disconnect")
    local engine = e:last():open()
    for _ = 1, 10001 do engine:say '2["m"]' end
    e:turn()
    assert.same({ "disconnect", "parse error" }, { told[1][1], told[1][2] })
    assert.same({ {}, true }, { socket.receiveBuffer, engine.is_closed })
  end)

  it("have binary values, which can be strings", function()
    for kind, expected in pairs { binary = io.binary "xy", string = "xy" } do
      local socket, engine = connected { binaryType = kind, forceNew = true }
      local told = note(socket, {}, "m")
      engine:say('51-["m",{"a":{"_placeholder":true,"num":0}}]', io.binary "xy")
      e:turn()
      assert.is_true(told[1][2].a == expected)
    end
  end)

  it("are acknowledged by a function, once, and over their own connection only", function()
    local socket, engine = connected()
    local answers = {}
    socket:on("m", function(a, b, ack) answers[#answers + 1] = pack(a, b, ack) end)
    engine:say('25["m",1,null]', '26["m"]')
    e:turn()
    local ack, second = answers[1][3], answers[2][1]
    assert.has_error(function() ack(print) end, "argument 1: cannot encode a function")
    ack("a", nil)
    ack "again"
    assert.same({ '35["a",null]' }, engine:heard())
    engine:lose "transport close"
    e:turn(2)
    e:last():open():say '0{"sid":"s2"}'
    e:turn()
    e:last():heard()
    second()
    assert.same({}, e:last():heard())
  end)
end)

describe("emit", function()
  it("sends at once, in order, with acknowledgements by growing ids", function()
    local socket, engine = connected()
    local answers = {}
    local function note_answer(...) answers[#answers + 1] = pack(...) end
    assert.equal(socket, socket:emit("a", 1, nil))
    socket:emit("b", note_answer)
    socket:emit("c", {}, note_answer)
    socket:send("x", io.null)
    assert.same({ '2["a",1,null]', '20["b"]', '21["c",{}]', '2["message","x",null]' }, engine:heard())
    engine:say('31["y",null]', "30[]", '30["again"]', "399[]")
    e:turn()
    assert.same({ { n = 2, "y" }, { n = 0 } }, answers)
  end)

  it("raises an error for names that are reserved and values that cannot be sent, and sends nothing", function()
    local socket, engine = connected()
    for _, name in ipairs { "connect", "connect_error", "disconnect", "disconnecting", "newListener",
      "removeListener" } do
      assert.has_error(function() socket:emit(name) end, ('"%s" is a reserved event name'):format(name))
    end
    assert.has_error(function() socket:emit(5) end, "bad argument #1 to 'emit' (string expected, got number)")
    assert.has_error(function() socket:emit("m", 1, { a = { print } }) end,
      "argument 2: a[1]: cannot encode a function")
    assert.has_error(function() socket:emit("m", "\255", print) end,
      "argument 1: the string is not UTF-8; use io.binary for bytes")
    socket:emit("m", function() end)
    assert.same({ '20["m"]' }, engine:heard()) -- no id was used up
  end)

  it("sends binary values after their packet", function()
    local socket, engine = connected()
    socket:emit("m", io.binary "a", { b = io.binary "b" })
    local heard = engine:heard()
    assert.equal('52-["m",{"_placeholder":true,"num":0},{"b":{"_placeholder":true,"num":1}}]', heard[1])
    assert.same({ "a", "b" }, { tostring(heard[2]), tostring(heard[3]) })
  end)

  it("buffers while there is no connection, and sends before 'connect' is told", function()
    local socket = io "http://a.test"
    local answers, order = {}, {}
    socket:onAnyOutgoing(function(name) order[#order + 1] = name end)
    socket:on("connect", function()
      order[#order + 1] = "connected"
      socket:emit "c"
    end)
    local list = { 1 }
    socket:emit("a", list)
    list[1] = 2
    socket:emit("b", io.binary "x", function(...) answers[#answers + 1] = pack(...) end)
    assert.same({ 2, "a", 0 }, { #socket.sendBuffer, socket.sendBuffer[1].data[1], #order })
    e:last():open()
    e:turn()
    assert.same({ "0" }, e:last():heard())
    e:last():say '0{"sid":"s1"}'
    e:turn()
    local heard = e:last():heard()
    assert.same({ '2["a",[1]]', '51-0["b",{"_placeholder":true,"num":0}]', '2["c"]' }, { heard[1], heard[2], heard[4] })
    assert.same({ "a", "b", "connected", "c" }, order)
    assert.equal(0, #socket.sendBuffer)
    e:last():say '30["yes"]'
    e:turn()
    assert.same({ { n = 1, "yes" } }, answers)
  end)

  it("keeps the acknowledgements of what is buffered when a connection is lost, and forgets the others", function()
    local socket, engine = connected()
    local answers = {}
    local function note_answer(what)
      return function(err, answer) answers[#answers + 1] = { what, err and tostring(err), answer } end
    end
    socket:emit("lost", note_answer "lost")
    socket:timeout(60000):emit("told", note_answer "told")
    engine:lose "transport close"
    e:turn()
    assert.same({ { "told", "socket has been disconnected" } }, take(answers))
    socket:timeout(60000):emit("kept", note_answer "kept")
    e:turn(2)
    e:last():open():say('0{"sid":"s2"}', '32["yes"]', '30["no"]')
    e:turn()
    assert.same({ { "kept", nil, "yes" } }, answers)
  end)

  it("does not buffer without bounds", function()
    local socket = io("http://a.test", { autoConnect = false })
    for _ = 1, 10000 do assert(socket:emit "m") end
    assert.same({ nil, "the send buffer is full" }, { socket:emit "m" })
    local other = io("http://b.test", { autoConnect = false })
    local half = ("x"):rep(32 * 1024 * 1024 - 100)
    assert(other:emit("m", half) and other:emit("m", half))
    assert.same({ nil, "the send buffer is full" }, { other:emit("m", half) })
  end)
end)

describe("flags", function()
  it("volatile: drops what cannot be sent at once, and never buffers it", function()
    local socket, engine = connected()
    socket.volatile:emit("a", 1)
    engine.transport.writable = false
    socket.volatile:emit("b", 1)
    socket:emit "c"
    assert.same({ '2["a",1]', '2["c"]' }, engine:heard())
    engine:lose "transport close"
    e:turn()
    socket.volatile:emit "d"
    assert.equal(0, #socket.sendBuffer)
    e:turn(2)
    e:last():open():say '0{"sid":"s2"}'
    e:turn()
    assert.same({ "0" }, e:last():heard())
  end)

  it("timeout: an acknowledgement that does not come is an error, and what was buffered is not sent", function()
    local socket, engine = connected()
    local answers = {}
    local function note_answer(err, ...) answers[#answers + 1] = { err and err.message, ... } end
    socket:timeout(1000):emit("a", note_answer)
    socket:timeout(1000):emit("b", note_answer)
    engine:say '31["yes"]'
    e:turn(0.9)
    assert.same({ { nil, "yes" } }, take(answers))
    e:turn(0.2)
    assert.same({ { "operation has timed out" } }, take(answers))
    engine:say '30["late"]'
    e:turn()
    assert.same({}, answers)
    engine:lose "transport close"
    e:turn()
    socket:timeout(100):emit("c", note_answer)
    socket:emit "d"
    e:turn(0.5)
    assert.same({ { "operation has timed out" } }, answers)
    e:turn(2)
    e:last():open():say '0{"sid":"s2"}'
    e:turn()
    assert.same({ "0", '2["d"]' }, e:last():heard())
    assert.has_error(function() socket:timeout "x" end,
      "bad argument #1 to 'timeout' (milliseconds expected, got x)")
  end)

  it("ackTimeout is the time of all acknowledgements that have none of their own", function()
    local socket, engine = connected { ackTimeout = 500 }
    local answers = {}
    local function note_answer(...) answers[#answers + 1] = pack(...) end
    socket:emit("a", note_answer)
    socket:timeout(10):emit("b", note_answer)
    engine:say '30["yes"]'
    e:turn(0.1)
    assert.same({ n = 2, nil, "yes" }, answers[1])
    assert.equal("operation has timed out", answers[2][1].message)
  end)

  it("compress: says so to the engine", function()
    local socket, engine = connected()
    socket:compress(false):emit "a"
    socket:compress(true).volatile:emit "b"
    socket:emit "c"
    assert.same({ { compress = false }, { compress = true }, false },
      { engine.options[1], engine.options[2], engine.options[3] })
  end)

  it("can be combined, and change nothing but what is sent through them", function()
    local socket, engine = connected()
    local view = socket.volatile:timeout(100):compress(false)
    local told = {}
    view:emit("a", function(err) told[#told + 1] = tostring(err) end)
    view:send "b"
    socket:emit "c"
    assert.same({ '20["a"]', '2["message","b"]', '2["c"]' }, engine:heard())
    assert.is_false(engine.options[3])
    e:turn(1)
    assert.same({ "operation has timed out" }, told)
  end)
end)

describe("retries", function()
  local socket, engine, answers

  local function ask(name)
    socket:emit(name, function(err, answer) answers[#answers + 1] = { name, err and tostring(err), answer } end)
  end

  before_each(function()
    socket, engine = connected { retries = 2, ackTimeout = 1000 }
    answers = {}
  end)

  it("send one event at a time, until it is acknowledged", function()
    ask "a"
    ask "b"
    socket:emit "c"
    socket.volatile:emit "v"
    assert.same({ '20["a"]', '2["v"]' }, engine:heard())
    e:turn(1.5)
    assert.same({ '21["a"]' }, engine:heard())
    engine:say '31["yes"]'
    e:turn()
    assert.same({ { "a", nil, "yes" } }, take(answers))
    assert.same({ '22["b"]' }, engine:heard())
    engine:say "32[]"
    e:turn()
    assert.same({ '23["c"]' }, engine:heard())
  end)

  it("give up after so many, and go on with the next", function()
    ask "a"
    ask "b"
    e:turn(3.5)
    assert.same({ { "a", "operation has timed out" } }, answers)
    assert.same({ '20["a"]', '21["a"]', '22["a"]', '23["b"]' }, engine:heard())
  end)

  it("send again after a reconnection, and in order", function()
    ask "a"
    engine:lose "transport close"
    e:turn()
    ask "b"
    e:turn(2)
    e:last():open():say '0{"sid":"s2"}'
    e:turn()
    assert.same({ "0", '21["a"]' }, e:last():heard())
    e:last():say "31[]"
    e:turn()
    assert.same({ '22["b"]' }, e:last():heard())
  end)

  it("send again what it was when it was given, and keep so much", function()
    local value = { list = { 1, io.binary "x" } }
    socket:emit("a", value)
    value.list = print
    engine:heard()
    e:turn(1.1)
    local heard = engine:heard()
    assert.same({ '51-1["a",{"list":[1,{"_placeholder":true,"num":0}]}]', "x" }, { heard[1], tostring(heard[2]) })
    for _ = 2, 10000 do assert(socket:emit "m") end
    assert.same({ nil, "the send buffer is full" }, { socket:emit "m" })
  end)

  it("raise an error for values that cannot be sent, and queue nothing", function()
    assert.has_error(function() socket:emit("a", print, 1) end, "argument 1: cannot encode a function")
    ask "b"
    assert.same({ '20["b"]' }, engine:heard())
  end)
end)

describe("recovery of the connection's state", function()
  it("asks for what was missed, and notices whether it was recovered", function()
    local socket = io("http://a.test", { auth = { a = 1 } })
    e:last():open():say('0{"sid":"s1","pid":"p1"}', '2["m",1,"o1"]', '2["m",2]', '2["m",3,"o2"]')
    e:turn()
    assert.is_false(socket.recovered)
    e:last():lose "transport close"
    e:turn(2)
    local told = note(socket, {}, "m", "connect")
    e:last():open()
    e:turn()
    assert.same({ '0{"a":1,"offset":"o2","pid":"p1"}' }, e:last():heard())
    e:last():say('0{"sid":"s1","pid":"p1"}', '2["m",4,"o3"]')
    e:turn()
    assert.is_true(socket.recovered)
    assert.same({ { "connect" }, { "m", 4, "o3" } }, told)
    e:last():lose "transport close"
    e:turn(2)
    e:last():open():say '0{"sid":"s9","pid":"p9"}'
    e:turn()
    assert.is_false(socket.recovered)
  end)
end)

describe("emitWithAck", function()
  it("waits by stepping the reactor", function()
    local socket, engine = connected()
    w.reactor.after(1, function() engine:say '30["yes",null,3]' end)
    assert.same({ n = 4, true, "yes", nil, 3 }, pack(socket:emitWithAck "ask"))
    local ok, err = socket:timeout(500):emitWithAck "ask"
    assert.same({ nil, "operation has timed out" }, { ok, tostring(err) })
    w.reactor.after(1, function() engine:lose "transport close" end)
    ok, err = socket:emitWithAck "ask"
    assert.same({ nil, "socket has been disconnected" }, { ok, tostring(err) })
    assert.has_error(function() socket:emitWithAck("ask", print) end, "argument 1: cannot encode a function")
  end)

  it("yields in a coroutine that io.spawn runs, so that others go on", function()
    local socket, engine = connected()
    local done = {}
    for i = 0, 1 do
      io.spawn(function(name)
        local _, answer = socket:emitWithAck(name)
        done[#done + 1] = { name, answer }
      end, "ask" .. i)
    end
    assert.same({}, engine:heard())
    e:turn()
    assert.same({ '20["ask0"]', '21["ask1"]' }, engine:heard())
    engine:say('31["b"]', '30["a"]')
    e:turn()
    assert.same({ { "ask1", "b" }, { "ask0", "a" } }, done)
  end)

  it("cannot wait in a handler, and says so", function()
    local socket, engine = connected()
    local err
    socket:on("m", function() err = select(2, pcall(socket.emitWithAck, socket, "ask")) end)
    engine:say '2["m"]'
    e:turn()
    assert.equal("emitWithAck cannot wait in a handler; call it in a function that io.spawn runs", err)
    assert.same({}, engine:heard())
  end)

  it("logs the error of a spawned function", function()
    local logged = log.capture(function()
      io.spawn(function() error "no" end)
      e:turn()
    end)
    assert.matches("a spawned function raised an error", logged[1])
    assert.has_error(function() io.spawn(5) end)
  end)
end)
