-- The server of Socket.IO above engines in memory: what clients get back that were away. Time is virtual.

local engines = require "spec.support.engines"
local world = require "spec.support.world"

local e, server

local function say(conn, ...)
  conn:say(...)
  e:turn()
end

describe("recovery of the connection's state", function()
  --- Returns the id, the secret and the last offset of what a client has heard.
  local function facts(conn)
    local heard = conn:heard()
    local pid, sid = heard[1]:match '"pid":"(.-)","sid":"(.-)"'
    return sid, pid, heard[#heard]:match ',"([^"]*)"%]$'
  end

  local function come_back(pid, offset)
    local conn = e:accept()
    say(conn, ('0{"pid":"%s","offset":"%s"}'):format(pid, offset))
    return conn
  end

  local conn, socket

  local function begin(recovery)
    e = engines.new(world.new())
    server = e.io.server { connectionStateRecovery = recovery }
    server:on("connection", function(new) socket = new end)
    conn = e:accept()
    say(conn, "0")
  end

  before_each(function() begin { maxDisconnectionDuration = 10000 } end)

  it("gives back id, rooms and data, and what was missed", function()
    socket:join "a"
    socket.data.name = "x"
    socket:emit("m", 1)
    local sid, pid, offset = facts(conn)
    conn:lose "transport close"
    e:turn()
    server:to("a"):emit("in a", 1)
    server:to("b"):emit "in b"
    server:except("a"):emit "not in a"
    server.volatile:emit "volatile"
    server:to(sid):emit("for it", e.io.binary "x")
    server:emit "all"
    local again = come_back(pid, offset)
    local heard = again:heard()
    assert.equal(('0{"pid":"%s","sid":"%s"}'):format(pid, sid), heard[1])
    assert.matches('^2%["in a",1,"[^"]+"%]$', heard[2])
    assert.matches('^51%-%["for it",{"_placeholder":true,"num":0},"[^"]+"%]$', heard[3])
    assert.matches('^2%["all","[^"]+"%]$', heard[5])
    assert.equal(5, #heard)
    assert.same({ true, "x", sid }, { socket.recovered, socket.data.name, socket.id })
    assert.is_true(socket.rooms.a)
  end)

  it("comes after certain ends only, and not after its time, and once", function()
    for reason, expected in pairs {
      ["transport error"] = true, ["ping timeout"] = true, ["transport close"] = true, ["parse error"] = false,
    } do
      socket:emit "m"
      local _, pid, offset = facts(conn)
      conn:lose(reason)
      e:turn()
      conn = come_back(pid, offset)
      assert.equal(expected, socket.recovered, reason)
    end
    socket:emit "m"
    local _, pid, offset = facts(conn)
    socket:disconnect()
    e:turn()
    conn = come_back(pid, offset)
    assert.is_false(socket.recovered)
    socket:emit "m"
    _, pid, offset = facts(conn)
    conn:lose "transport close"
    e:turn(11)
    server:emit "m"
    conn = come_back(pid, offset)
    assert.is_false(socket.recovered)
    conn = come_back("unknown", "unknown")
    assert.is_false(socket.recovered)
  end)

  it("skips the middlewares, unless they are wanted", function()
    for _, case in ipairs { { {}, 0 }, { { skipMiddlewares = true }, 0 }, { { skipMiddlewares = false }, 1 } } do
      begin(case[1])
      local asked = 0
      server:use(function(_, following)
        asked = asked + 1
        following()
      end)
      socket:emit "m"
      local _, pid, offset = facts(conn)
      conn:lose "transport close"
      e:turn()
      conn = come_back(pid, offset)
      assert.same({ true, case[2] }, { socket.recovered, asked })
    end
  end)

  it("adds no offset to what is to be acknowledged, or volatile", function()
    conn:heard()
    socket:emit("a", function() end)
    socket.volatile:emit "b"
    assert.same({ '20["a"]', '2["b"]' }, conn:heard())
  end)

  it("keeps no more clients than its bounds", function()
    local store = server.sockets.adapter.sessions
    for i = 1, 10100 do store:persist { pid = "p" .. i, rooms = {} } end
    assert.same({ 10000, nil }, { store.last_session - store.first_session + 1, store.by_pid.p100 })
    assert.is_truthy(store.by_pid.p101)
  end)

  it("keeps no more events than its bounds", function()
    for i = 1, 10100 do server:emit("m", i) end
    local store = server.sockets.adapter.sessions
    assert.equal(10000, store.last - store.first + 1)
    local count = 0
    for _ in pairs(store.places) do count = count + 1 end
    assert.equal(10000, count)
  end)
end)
