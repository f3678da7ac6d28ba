-- The client of Socket.IO above an engine in memory: events in both directions, what is buffered, acknowledgements and
-- their time, which is virtual.

local engines = require "spec.support.engines"
local log = require "spec.support.log"
local world = require "spec.support.world"

local note, pack, take = engines.note, engines.pack, engines.take

local e, io

before_each(function()
  e = engines.new(world.new())
  io = e.io
end)

local function connected(...) return e:connected(...) end

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

  it("that come before the server has let us in may end the connection, and what is buffered is kept", function()
    local socket = io("http://a.test")
    local told, answer = note(socket, {}, "m", "connect", "disconnect"), nil
    socket:emit("first", 1, function(...) answer = pack(...) end)
    socket:emit "second"
    socket:once("m", function() socket:disconnect() end)
    e:last():open():say('2["m",1]', '2["m",2]', '0{"sid":"s1"}')
    e:turn()
    assert.same({ { "m", 1 }, { "disconnect", "io client disconnect" } }, told)
    assert.same({ "0", "1" }, e:last():heard())
    socket:connect()
    e:last():open():say('0{"sid":"s2"}', "30[7]")
    e:turn()
    assert.same({ "0", '20["first",1]', '2["second"]' }, e:last():heard())
    assert.same({ n = 1, 7 }, answer)
  end)

  it("that come before the server has let us in are bounded", function()
    local large = '2["m","' .. ("x"):rep(16 * 1024 * 1024) .. '"]'
    for _, case in ipairs { { '2["m"]', 10000 }, { large, 3 } } do
      local socket = io("http://a.test", { forceNew = true })
      local told = note(socket, {}, "disconnect")
      local engine = e:last():open()
      for _ = 1, case[2] do engine:say(case[1]) end
      e:turn()
      assert.same({ {}, case[2] }, { told, #socket.receiveBuffer })
      engine:say(case[1])
      e:turn()
      assert.same({ "disconnect", "parse error" }, { told[1][1], told[1][2] })
      assert.same({ {}, true }, { socket.receiveBuffer, engine.is_closed })
      socket:disconnect()
    end
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

  it("tells those who listen to all that is sent, and nobody of what is only buffered or dropped", function()
    local socket, engine = connected()
    local told = {}
    local function tell(what) return function(...) told[#told + 1] = table.concat({ what, ... }, " ") end end
    local last = tell "last"
    socket:onAnyOutgoing(last):prependAnyOutgoing(tell "first")
    socket:emit("a", 1)
    assert.same({ "first a 1", "last a 1" }, take(told))
    assert.equal(last, socket:listenersAnyOutgoing()[2])
    socket:offAnyOutgoing(last)
    engine:lose "transport close"
    e:turn()
    socket:emit "b"
    socket.volatile:emit "c"
    assert.same({}, told)
    e:turn(2)
    e:last():open():say '0{"sid":"s2"}'
    e:turn()
    assert.same({ "first b" }, told)
    socket:offAnyOutgoing()
    assert.same({}, socket:listenersAnyOutgoing())
  end)

  it("buffers what a server would not get that should have pinged before now", function()
    local socket, engine = connected()
    engine.has_expired = true -- as after a suspension of the machine
    socket:emit "a"
    socket.volatile:emit "b"
    assert.same({ {}, 1 }, { engine:heard(), #socket.sendBuffer })
    engine:lose "ping timeout"
    e:turn(2)
    e:last():open():say '0{"sid":"s2"}'
    e:turn()
    assert.same({ "0", '2["a"]' }, e:last():heard())
  end)

  it("keeps what is buffered after the event for which a listener has ended the connection", function()
    local socket = io "http://a.test"
    local answers, left = {}, nil
    for _, name in ipairs { "a", "b", "c" } do
      socket:timeout(60000):emit(name, function(err) answers[#answers + 1] = { name, err and err.message } end)
    end
    socket:onAnyOutgoing(function(name)
      if name ~= "b" or left then return end
      left = true
      socket:disconnect()
      socket:emit "d"
    end)
    e:last():open():say '0{"sid":"s1"}'
    e:turn()
    assert.same({ "0", '20["a"]', "1" }, e:last():heard())
    assert.same({ { "a", "socket has been disconnected" } }, answers)
    socket:connect()
    e:last():open():say '0{"sid":"s2"}'
    e:turn()
    assert.same({ "0", '21["b"]', '22["c"]', '2["d"]' }, e:last():heard())
    assert.equal(0, #socket.sendBuffer)
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
