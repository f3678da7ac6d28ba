-- The server of Socket.IO above engines in memory: rooms and broadcasts, and namespaces.

local engines = require "spec.support.engines"
local world = require "spec.support.world"

local note = engines.note

local e, io, server

local function start(options)
  e = engines.new(world.new())
  io = e.io
  server = io.server(options or {})
  return server
end

before_each(function() start() end)

local function client(...) return e:client(server, ...) end

local function say(conn, ...)
  conn:say(...)
  e:turn()
end

describe("rooms", function()
  local conns, sockets

  --- Returns the numbers of the clients that have heard something, and forgets what they have heard.
  local function heard_by()
    local numbers = {}
    for i, conn in ipairs(conns) do
      local count = #conn:heard()
      assert.is_true(count <= 1, "heard twice")
      if count == 1 then numbers[#numbers + 1] = i end
    end
    return numbers
  end

  before_each(function()
    conns, sockets = {}, {}
    for i = 1, 4 do conns[i], sockets[i] = client() end
    sockets[1]:join "a"
    sockets[2]:join { "a", "b" }
    sockets[3]:join "b"
  end)

  it("choose who hears an event: the union of rooms without the union of exceptions", function()
    for expected, send in pairs {
      ["1234"] = function() server:emit "m" end, ["12"] = function() server:to("a"):emit "m" end,
      ["123"] = function() server:to("a"):to("b"):emit "m" end,
      ["23"] = function() server["in"](server, "b"):emit "m" end,
      ["13"] = function() server:to { "a", "b" }:except(sockets[2].id):emit "m" end,
      ["34"] = function() server:except("a"):emit "m" end, [""] = function() server:to("none"):emit "m" end,
      ["1"] = function() server:to("a"):except { "b" }:emit "m" end,
      ["4"] = function() server:to(sockets[4].id):send "m" end,
      ["234"] = function() sockets[1].broadcast:emit "m" end, ["2"] = function() sockets[1]:to("a"):emit "m" end,
      ["24"] = function() sockets[1]:except(sockets[3].id):emit "m" end,
      ["3"] = function() sockets[2]:to("b"):compress(false):emit "m" end,
      ["14"] = function() sockets[2].localOnly:except("b"):emit "m" end,
      ["124"] = function() sockets[3].broadcast["local"]:write "m" end,
    } do
      send()
      assert.equal(expected, table.concat(heard_by()), expected)
    end
  end)

  it("have flags: what is volatile is dropped for those who cannot take it, and compress is the engine's", function()
    conns[2].transport.writable = false
    server.volatile:emit "m"
    sockets[1].volatile.broadcast:emit "m"
    assert.same({ 1, 0, 2, 2 }, { #conns[1]:heard(), #conns[2]:heard(), #conns[3]:heard(), #conns[4]:heard() })
    conns[2].transport.writable = true
    sockets[4]:compress(false):emit "m"
    server:to("b"):compress(false):emit "m"
    server:to("b"):emit "m"
    local uncompressed = { compress = false }
    assert.same({ uncompressed, uncompressed, false },
      { conns[4].options[1], conns[2].options[1], conns[2].options[2] })
  end)

  it("are left at once, and end with their last member", function()
    local told = note(server.sockets.adapter, {}, "create-room", "join-room", "leave-room", "delete-room")
    sockets[4]:join "c"
    sockets[4]:join "c"
    sockets[4]:leave "c"
    sockets[4]:leave { "none" }
    assert.same({ { "create-room", "c" }, { "join-room", "c", sockets[4].id }, { "leave-room", "c", sockets[4].id },
      { "delete-room", "c" } }, told)
    sockets[2]:leave "a"
    server:to("a"):emit "m"
    assert.same({ 1 }, heard_by())
    assert.has_error(function() sockets[1]:join() end,
      "bad argument #1 to 'join' (name of a room expected, got no value)")
    assert.has_error(function() sockets[1]:leave() end,
      "bad argument #1 to 'leave' (name of a room expected, got no value)")
    assert.has_error(function() server:to { "a", {} } end,
      "bad argument #1 to 'to' (name of a room expected, got table)")
    assert.has_error(function() server:to { a = true } end,
      "bad argument #1 to 'to' (list of rooms expected, got a table with the key a)")
    assert.has_error(function() server:to(print) end,
      "bad argument #1 to 'to' (name of a room expected, got function)")
  end)

  it("do not change an operator that others were made of", function()
    local to_a = server:to "a"
    to_a:except("b"):emit "m"
    assert.same({ 1 }, heard_by())
    to_a:emit "m"
    assert.same({ 1, 2 }, heard_by())
  end)

  it("encode an event once, before anybody is sent anything", function()
    assert.has_error(function() server:emit("m", { print }) end, "argument 1: [1]: cannot encode a function")
    assert.same({}, heard_by())
    server:emit("m", io.binary "x")
    for _, conn in ipairs(conns) do
      local messages = conn:heard()
      assert.same({ '51-["m",{"_placeholder":true,"num":0}]', "x" }, { messages[1], tostring(messages[2]) })
    end
  end)

  it("have their sockets fetched, moved and disconnected", function()
    local function ids(list)
      local set = {}
      for _, socket in ipairs(list) do set[socket.id] = true end
      return set
    end
    assert.equal(4, #server:fetchSockets())
    assert.same(ids { sockets[1], sockets[2] }, ids(server["in"](server, "a"):fetchSockets()))
    server:to("a"):socketsJoin { "x", "y" }
    server:to("b"):socketsLeave "x"
    assert.equal(sockets[1].id, next(server.sockets.adapter.rooms.x))
    assert.same(ids { sockets[1], sockets[2] }, server.sockets.adapter.rooms.y)
    server:to("a"):disconnectSockets()
    e:turn()
    assert.equal(2, #server:fetchSockets())
    assert.equal("open", conns[1].readyState)
    server:disconnectSockets(true)
    e:turn()
    assert.same({ 0, "closed" }, { #server:fetchSockets(), conns[4].readyState })
  end)

  it("acknowledge a broadcast: all answers in the order in which they come", function()
    local told = {}
    local function note_answers(err, list) told[#told + 1] = { err and err.message, list } end
    server:to("a"):timeout(1000):emit("ask", 1, note_answers)
    local id = conns[1]:heard()[1]:match "^2(%d+)"
    assert.equal(1, #conns[2]:heard())
    say(conns[2], "3" .. id .. '["two","more"]')
    assert.same({}, told)
    say(conns[1], "3" .. id .. "[]", "3" .. id .. '["again"]')
    assert.same({ { nil, { "two", io.null } } }, told)
    e:turn(2)
    assert.equal(1, #told)
  end)

  it("acknowledge a broadcast with what has come until its time is over", function()
    local told = {}
    server:timeout(1000):emit("ask", function(err, list) told[#told + 1] = { err and err.message, list } end)
    local id = conns[3]:heard()[1]:match "^2(%d+)"
    conns[3]:say("3" .. id .. "[3]")
    e:turn(1.5)
    assert.same({ { "operation has timed out", { 3 } } }, told)
    say(conns[1], "3" .. id .. "[1]")
    assert.equal(1, #told)
    assert.same({}, sockets[1].acks.waiting)
  end)

  it("acknowledge a broadcast to nobody at once", function()
    local told
    server:to("none"):timeout(1000):emit("ask", function(...) told = { select("#", ...), ... } end)
    assert.is_nil(told)
    e:turn()
    assert.same({ 2, nil, {} }, told)
    assert.same({ true, {} }, { server:to("none"):timeout(10):emitWithAck "ask" })
    assert.has_error(function() server:emit("ask", function() end) end,
      "a broadcast that is to be acknowledged needs a time: use timeout(ms)")
  end)
end)

describe("namespaces", function()
  it("have sockets, rooms and events of their own", function()
    local conn, socket = client "/x"
    local other = client()
    socket:join "a"
    server:to("a"):emit "m"
    server:of("/x"):to("a"):emit("n")
    assert.same({ '2/x,["n"]' }, conn:heard())
    assert.same({}, other:heard())
    assert.same({ "/x", "/" }, { server.namespaces["/x"].name, server.namespaces["/"].name })
  end)

  it("are made by a pattern or a function that is asked in turn", function()
    local asked, go_on = {}, nil
    local told = note(server, {}, "new_namespace")
    local rooms = server:of { pattern = "^/room%-%d+$" }
    server:of(function(name, auth)
      asked[#asked + 1] = { name, auth }
      return auth.k == 1
    end)
    server:of(function(_, _, following) go_on = following end)
    rooms:use(function(socket, following)
      if socket.handshake.auth.bad then following "bad" else following() end
    end)
    local names = {}
    rooms:on("connection", function(socket) names[#names + 1] = socket.nsp.name end)
    local conn = e:accept()
    say(conn, '0/room-1,', '0/room-2,{"bad":1}', '0/other,{"k":1}', '0/none,{"k":2}')
    local heard = conn:heard()
    assert.same({ "/room-1" }, names)
    assert.matches('^0/room%-1,{"sid"', heard[1])
    assert.equal('4/room-2,{"message":"bad"}', heard[2])
    assert.matches('^0/other,{"sid"', heard[3])
    assert.same({ { "/other", { k = 1 } }, { "/none", { k = 2 } } }, asked)
    go_on(nil, false)
    assert.same({ '4/none,{"message":"Invalid namespace"}' }, conn:heard())
    assert.same({ "/room-1", "/room-2", "/other" }, { told[1][2].name, told[2][2].name, told[3][2].name })
    rooms:emit("all", 1)
    assert.same({ '2/room-1,["all",1]' }, conn:heard())
    assert.has_error(function() rooms:fetchSockets() end, "fetchSockets() is not supported on parent namespaces")
    assert.has_error(function() server:of {} end)
    assert.has_error(function() server:of { pattern = "(" } end)
  end)

  it("are not made for a listener that is none", function()
    for _, name in ipairs { "/q", { pattern = "." } } do
      assert.has_error(function() server:of(name, 5) end, "bad argument #2 to 'of' (function expected, got number)")
    end
    assert.same({ nil, {} }, { server.namespaces["/q"], server.parents })
  end)

  it("of a parent have names of at most 1,000 bytes", function()
    server:of { pattern = "." }
    local long = "/" .. ("x"):rep(999)
    local conn = e:accept()
    say(conn, "0" .. long .. "y,", "0" .. long .. ",")
    local heard = conn:heard()
    assert.equal("4" .. long .. 'y,{"message":"Invalid namespace"}', heard[1])
    assert.matches('^0/x+,{"sid"', heard[2])
    assert.is_nil(server.namespaces[long .. "y"])
  end)

  it("of a parent are 10,000 at most: those that nobody is in make room", function()
    local parent = server:of { pattern = "." }
    for i = 1, 11 do
      local conn = e:accept()
      for j = 1, 1000 do
        if i < 11 or j == 1 then conn:say(("0/%d-%d,"):format(i, j)) end
      end
      e:turn()
      if i == 11 then assert.same({ '4/11-1,{"message":"Invalid namespace"}' }, conn:heard()) end
      if i == 10 then
        say(conn, "1/10-1,", "1/10-2,")
        assert.is_truthy(server.namespaces["/10-1"])
        say(conn, "0/again,")
        assert.same({ 9999, nil }, { parent.child_count, server.namespaces["/10-1"] })
        say(conn, "0/10-2,")
        assert.equal(10000, parent.child_count)
      end
    end
  end)

  it("of a parent go with their last socket, if that is wanted", function()
    start { cleanupEmptyChildNamespaces = true }
    local parent = server:of(function() return true end)
    local conn = e:accept()
    say(conn, "0/a,")
    assert.is_truthy(server.namespaces["/a"])
    conn:lose "transport close"
    e:turn()
    assert.same({ nil, {} }, { server.namespaces["/a"], parent.children })
  end)

  it("of a parent go when nobody is let in, and stay as long as somebody may be", function()
    start { cleanupEmptyChildNamespaces = true }
    local parent, asked = server:of(function() return true end), {}
    parent:use(function(socket, go_on)
      socket:join "lobby"
      asked[#asked + 1] = go_on
    end)
    local refused, gone, late = e:accept(), e:accept(), e:accept()
    say(refused, "0/a,")
    say(gone, "0/b,")
    asked[1] "no"
    gone:lose "transport close"
    e:turn()
    assert.same({ nil, nil, {} }, { server.namespaces["/a"], server.namespaces["/b"], parent.children })

    say(refused, "0/a,")
    local nsp = server.namespaces["/a"]
    asked[3](false)
    say(late, "0/a,")
    refused:lose "transport close"
    e:turn()
    assert.equal(nsp, server.namespaces["/a"])
    assert.is_truthy(next(nsp.adapter.rooms.lobby))
    late:lose "transport close"
    e:turn()
    assert.same({ nil, {}, {} }, { server.namespaces["/a"], nsp.adapter.rooms, nsp.adapter.sids })
  end)

  it("send events to other servers, of which there are none", function()
    local told
    server:serverSideEmit("m", 1, function(...) told = { select("#", ...), ... } end)
    e:turn()
    assert.same({ 2, nil, {} }, told)
    for _, name in ipairs { "connect", "connection", "new_namespace" } do
      assert.has_error(function() server:serverSideEmit(name) end, ('"%s" is a reserved event name'):format(name))
    end
  end)
end)
