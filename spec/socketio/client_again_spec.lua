-- The client of Socket.IO above an engine in memory: a program that connects or disconnects at unusual times. Time is
-- virtual.

local engines = require "spec.support.engines"
local world = require "spec.support.world"

local note = engines.note

local e, io

before_each(function()
  e = engines.new(world.new())
  io = e.io
end)

local function connected(...) return e:connected(...) end

describe("a namespace that is left before the server has answered", function()
  local one, two, engine, told

  before_each(function()
    one, engine = connected()
    two = io("http://a.test/x", { auth = { n = 1 } })
    told = note(two, {}, "connect", "connect_error", "disconnect")
    e:turn()
    assert.same({ '0/x,{"n":1}' }, engine:heard())
    two:disconnect()
  end)

  it("is left by the answer", function()
    engine:say('0/x,{"sid":"s2"}', '2/x,["m"]')
    e:turn()
    assert.same({ "1/x," }, engine:heard())
    assert.same({ {}, true, nil }, { told, one.connected, engine.is_closed })
  end)

  for answer, expected in pairs {
    ['0/x,{"sid":"s2"}'] = { "1/x,", '0/x,{"n":2}' }, ['4/x,{"message":"no"}'] = { '0/x,{"n":2}' },
  } do
    it("is asked for again after the answer " .. answer, function()
      two.auth = { n = 2 }
      two:connect()
      e:turn()
      assert.same({}, engine:heard())
      engine:say(answer)
      e:turn()
      assert.same(expected, engine:heard())
      engine:say '0/x,{"sid":"s3"}'
      e:turn()
      assert.same({ { { "connect" } }, "s3", "s1" }, { told, two.id, one.id })
    end)
  end

  it("is asked for at once over another connection", function()
    two:connect()
    engine:lose "transport close"
    e:turn(2)
    e:last():open()
    e:turn()
    assert.same({ "0", '0/x,{"n":1}' }, e:last():heard())
  end)
end)

describe("connecting again by a listener", function()
  it("that is told of 'disconnect' takes the place of the manager's attempt", function()
    local socket, engine = connected()
    socket:on("disconnect", function() socket:connect() end)
    for i = 2, 4 do
      engine:lose "transport close"
      e:turn()
      engine = e:last()
      engine:open():say('0{"sid":"s' .. i .. '"}')
      e:turn(60)
      assert.same({ "s" .. i, i, nil }, { socket.id, #e.made, engine.is_closed })
    end
  end)

  it("connects by a new engine after 'io server disconnect', because the server may end the old one", function()
    local socket, engine, told = connected()
    local is_closed
    socket:on("disconnect", function()
      is_closed = engine.is_closed
      socket:connect()
      engine:lose "transport close"
    end)
    engine:say "1"
    e:turn()
    e:last():open():say '0{"sid":"s2"}'
    e:turn(60)
    assert.same({ { "disconnect", "io server disconnect" }, { "connect" } }, told)
    assert.same({ true, "s2", 2 }, { is_closed, socket.id, #e.made })
  end)

  it("that is told of the first connect_error is the only attempt", function()
    local socket = io "http://a.test"
    socket:once("connect_error", function() socket:connect() end)
    e:last():fail "x"
    e:turn()
    assert.equal(2, #e.made)
    e:last():open():say '0{"sid":"s"}'
    e:turn(60)
    assert.same({ "s", 2, nil }, { socket.id, #e.made, e:last().is_closed })
  end)

  it("or by a program takes the place of an attempt that waits for its time", function()
    for _, event in ipairs { "none", "reconnect_attempt" } do
      local socket, engine = connected { forceNew = true }
      local manager = socket.io
      manager:on("reconnect_attempt", function() manager:open() end)
      engine:lose "transport close"
      e:turn(event == "none" and 0.1 or 2)
      manager:open()
      local count = #e.made
      e:last():open():say '0{"sid":"s"}'
      e:turn(60)
      assert.same({ "s", count, nil }, { socket.id, #e.made, e:last().is_closed })
      e:last():lose "transport close"
      e:turn(2)
      assert.equal(count + 1, #e.made)
      manager:close()
    end
  end)
end)

it("goes on with its attempts if an option is wrong by then, as after the loss of a file", function()
  local interface = e.world.import("engineio").public
  local connect = interface.connect
  local socket, engine = connected()
  local told = note(socket, {}, "connect", "connect_error", "disconnect")
  function interface.connect() error("bad option 'ssl_cafile': No such file or directory (ca.pem)", 0) end
  engine:lose "transport close"
  e:turn(1.1)
  assert.same({ { "disconnect", "transport close" },
    { "connect_error", "bad option 'ssl_cafile': No such file or directory (ca.pem)" } }, told)
  interface.connect = connect
  e:turn(10)
  e:last():open():say '0{"sid":"s2"}'
  e:turn()
  assert.same({ { "connect" }, "s2" }, { told[#told], socket.id })
end)
