-- The client of Socket.IO above an engine in memory: events that are sent again until they are answered, waiting for
-- answers, and getting back what was missed. Time is virtual.

local engines = require "spec.support.engines"
local log = require "spec.support.log"
local world = require "spec.support.world"

local note, pack, take = engines.note, engines.pack, engines.take

local w, e, io

before_each(function()
  w = world.new()
  e = engines.new(w)
  io = e.io
end)

local function connected(...) return e:connected(...) end

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
