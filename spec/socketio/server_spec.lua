-- The server of Socket.IO above engines in memory: who is let in, events, clients of version 2, options.

local engines = require "spec.support.engines"
local log = require "spec.support.log"
local world = require "spec.support.world"

local note = engines.note

local w, e, io, server

local function start(options)
  w = world.new()
  e = engines.new(w)
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

describe("connecting to a namespace", function()
  it("gives an id, and tells the namespace", function()
    local sockets, others = {}, {}
    server:on("connection", function(socket) sockets[#sockets + 1] = socket end)
    server:on("connect", function(socket) others[#others + 1] = socket end) -- another name for it
    local conn = e:accept()
    say(conn, "0")
    local socket = sockets[1]
    assert.same({ '0{"sid":"' .. socket.id .. '"}' }, conn:heard())
    assert.matches("^%x+$", socket.id)
    assert.equal(32, #socket.id)
    assert.not_equal(conn.id, socket.id)
    assert.same({ [socket.id] = true }, socket.rooms)
    assert.same({ true, false, false }, { socket.connected, socket.disconnected, socket.recovered })
    assert.equal(server.sockets, socket.nsp)
    assert.equal(socket, server.sockets.sockets[socket.id])
    assert.same({ conn, conn.request }, { socket.conn, socket.request })
    assert.same({ 1, 1, true }, { #sockets, #others, others[1] == socket })
  end)

  it("has a handshake", function()
    local _, socket = client(nil, '{"token":"t"}', {
      request = { headers = { origin = "http://b.test" }, url = "/socket.io/?a=1", query = { a = "1" } },
    })
    local handshake = socket.handshake
    assert.same({ token = "t" }, handshake.auth)
    assert.same({ "192.0.2.1", true, false, "/socket.io/?a=1", { a = "1" } },
      { handshake.address, handshake.xdomain, handshake.secure, handshake.url, handshake.query })
    assert.equal(w.clock.time() * 1000, handshake.issued)
    assert.equal("string", type(handshake.time))
  end)

  it("is refused if there is no such namespace", function()
    server:of "known"
    local conn = e:accept()
    say(conn, "0/unknown,", "0/known,", "0")
    local heard = conn:heard()
    assert.equal('4/unknown,{"message":"Invalid namespace"}', heard[1])
    assert.matches('^0/known,{"sid"', heard[2])
    assert.matches('^0{"sid"', heard[3])
    assert.equal(server:of "/known", server:of "known")
    assert.equal(server:of "/", server.sockets)
    assert.has_error(function() server:of "a,b" end)
  end)

  it("is asked of middlewares, in order, at once or later", function()
    local order, go_on = {}, nil
    server:use(function(socket, following)
      order[#order + 1] = { 1, socket.connected }
      socket:join "early"
      go_on = following
    end)
    server:use(function(_, following)
      order[#order + 1] = { 2 }
      following()
      following { message = "twice" }
    end)
    local told = note(server, {}, "connection")
    local conn = e:accept()
    say(conn, "0")
    assert.same({ { { 1, false } }, {}, {} }, { order, told, conn:heard() })
    server:to("early"):emit "too early"
    go_on()
    assert.same({ { 1, false }, { 2 } }, order)
    assert.same({}, told) -- in the next turn
    e:turn()
    assert.equal(1, #told)
    assert.equal(1, #conn:heard())
    server:to("early"):emit "m"
    assert.same({ '2["m"]' }, conn:heard())
  end)

  it("is refused by the error of a middleware, with its data", function()
    local errors = { { message = "no", data = { code = 1 } }, "text", nil }
    local place = 0
    server:use(function(_, following)
      place = place + 1
      if errors[place] == nil then error "broken" end
      following(errors[place])
    end)
    local told = note(server, {}, "connection")
    local conn = e:accept()
    log.start()
    say(conn, "0", "0", "0")
    log.stop()
    assert.same({ '4{"data":{"code":1},"message":"no"}', '4{"message":"text"}', '4{"message":"internal error"}' },
      conn:heard())
    assert.same({}, told)
    assert.same({}, server.sockets.adapter.rooms)
    assert.equal("open", conn.readyState)
  end)

  it("is refused even if the error cannot be sent", function()
    local errors = { { message = "no", data = print }, { message = "\255" } }
    for place, protocol in ipairs { 4, 3 } do
      start()
      server:use(function(_, following) following(errors[place]) end)
      local conn = e:accept { protocol = protocol }
      local lines = log.capture(function() say(conn, protocol == 4 and "0" or nil) end)
      assert.same({ protocol == 4 and '4{"message":"error"}' or '4"error"' }, conn:heard())
      assert.matches("the error for a client that is refused cannot be sent: ", lines[1])
    end
  end)

  it("goes through a hundred middlewares without nesting them", function()
    for _ = 1, 300 do server:use(function(_, following) following() end) end
    local _, socket = client()
    assert.is_true(socket.connected)
  end)

  it("comes to nothing if the client leaves meanwhile", function()
    local go_on
    server:use(function(socket, following)
      socket:join "x"
      go_on = following
    end)
    local told = note(server, {}, "connection")
    local conn = e:accept()
    say(conn, "0")
    conn:lose "transport close"
    e:turn()
    go_on()
    e:turn()
    assert.same({ {}, {} }, { told, server.sockets.adapter.sids })
  end)

  it("has its time, after which the connection ends", function()
    start { connectTimeout = 1000 }
    local early, late = e:accept(), e:accept()
    say(early, "0")
    e:turn(1.1)
    assert.same({ "open", "closed" }, { early.readyState, late.readyState })
  end)
end)

describe("a socket", function()
  it("hears events, and acknowledges them once", function()
    local conn, socket = client()
    local acks = {}
    socket:on("m", function(a, ack)
      acks[#acks + 1] = ack
      ack(a, nil)
      ack "again"
    end)
    say(conn, '27["m",1]', '28["m",{"a":null}]')
    assert.same({ '37[1,null]', '38[{"a":null},null]' }, conn:heard())
    conn:lose "transport close"
    e:turn()
    acks[1] "late"
    assert.same({}, conn:heard())
  end)

  it("sends events, and is answered", function()
    local conn, socket = client()
    local answers = {}
    local function note_answer(err, ...) answers[#answers + 1] = { err and tostring(err), ... } end
    assert.equal(socket, socket:emit("a", 1, io.binary "x"))
    socket:emit("b", function(...) answers[#answers + 1] = { ... } end)
    socket:timeout(1000):emit("c", note_answer)
    socket:timeout(1000):emit("d", note_answer)
    socket:send "e"
    local heard = conn:heard()
    assert.same({ '51-["a",1,{"_placeholder":true,"num":0}]', '20["b"]', '21["c"]', '22["d"]', '2["message","e"]' },
      { heard[1], heard[3], heard[4], heard[5], heard[6] })
    conn:say('30["x"]', '31["y"]', '31["again"]')
    e:turn(1.1)
    assert.same({ { "x" }, { nil, "y" }, { "operation has timed out" } }, answers)
    assert.has_error(function() socket:emit("disconnecting") end, '"disconnecting" is a reserved event name')
    assert.has_error(function() socket:emit("a", print, 1) end, "argument 1: cannot encode a function")
  end)

  it("has middlewares for events, whose errors are its 'error'", function()
    local conn, socket = client()
    local seen = {}
    socket:use(function(event, following)
      seen[#seen + 1] = event
      if event[1] == "bad" then return following "no" end
      event[2] = "changed"
      following()
    end)
    local told = note(socket, {}, "m", "error")
    say(conn, '2["m",1,null]', '2["bad"]')
    assert.same({ { "m", "changed" }, { "error", "no" } }, told)
    assert.equal(3, seen[1].n)
    local logged = log.capture(function()
      socket:off "error"
      say(conn, '2["bad"]')
    end)
    assert.matches("nobody listens to 'error' of a socket: no", logged[1])
  end)

  it("has listeners for anything, in both directions", function()
    local conn, socket = client()
    local told = {}
    socket:onAny(function(...) told[#told + 1] = { "in", ... } end)
    socket:onAnyOutgoing(function(...) told[#told + 1] = { "out", ... } end)
    say(conn, '2["m",1]')
    socket:emit("n", 2)
    server:emit "all"
    assert.same({ { "in", "m", 1 }, { "out", "n", 2 }, { "out", "all" } }, told)
  end)

  it("drops what is volatile if the transport cannot take it", function()
    local conn, socket = client()
    socket.volatile:emit "a"
    conn.transport.writable = false
    socket.volatile:emit "b"
    server.volatile:emit "c"
    socket:emit "d"
    assert.same({ '2["a"]', '2["d"]' }, conn:heard())
  end)

  it("waits for an answer with emitWithAck", function()
    local conn, socket = client()
    w.reactor.after(1, function() conn:say '30["yes"]' end)
    assert.same({ true, "yes" }, { socket:emitWithAck "ask" })
    local ok, err = socket:timeout(10):emitWithAck "ask"
    assert.same({ nil, "operation has timed out" }, { ok, tostring(err) })
  end)

  it("keeps the server going when a handler raises an error", function()
    local conn, socket = client()
    socket:on("m", function() error "no" end)
    local logged = log.capture(function() say(conn, '2["m"]') end)
    assert.equal(1, #logged)
    assert.same({ "open", true }, { conn.readyState, socket.connected })
  end)
end)

it("methods that are called with a dot in place of the colon raise an error, and send nothing", function()
  local conn, socket = client()
  local client_socket, engine = e:connected()
  for _, object in ipairs {
    client_socket, client_socket.volatile, socket, socket.volatile, socket.broadcast, server, server.sockets,
    server:to "room", server.localOnly,
  } do
    for _, method in ipairs { "emit", "send", "timeout" } do
      local ok, err = pcall(object[method], "hello", "world")
      assert.is_false(ok)
      assert.matches("^calling '%w+' on bad self %(object expected, got string; call it with a colon", err)
    end
  end
  for _, object in ipairs { client_socket, socket } do
    assert.has_error(function() object.onAny(print) end, "calling 'onAny' on bad self (object expected, got function; "
      .. "call it with a colon, as in object:onAny(...))")
  end
  e:turn()
  assert.same({ {}, {} }, { conn:heard(), engine:heard() })
end)

describe("clients of version 2", function()
  local function old() return e:accept { protocol = 3, id = "old" } end

  it("are in '/' at once, with the engine's id", function()
    local sockets = {}
    server:on("connection", function(socket) sockets[#sockets + 1] = socket end)
    local conn = old()
    assert.same({ "0" }, conn:heard())
    assert.same({ 1, "old" }, { #sockets, sockets[1].id })
    local told = note(sockets[1], {}, "m")
    say(conn, '2["m",1]')
    assert.same({ { "m", 1 } }, told)
  end)

  it("have ids with their namespace, and auth in its query", function()
    local auth
    server:of("/adm"):use(function(socket, following)
      auth = socket.handshake.auth
      if auth.token == "bad" then following { message = "no" } else following() end
    end)
    local conn = old()
    say(conn, "0/adm?token=x%20y,", '2/adm,["m"]')
    assert.same({ "0", "0/adm," }, conn:heard())
    assert.same({ token = "x y" }, auth)
    assert.equal("/adm#old", next(server:of("/adm").sockets))
    conn = old()
    say(conn, "0/adm?token=bad", "0/none")
    assert.same({ "0", '4/adm,"no"', '4/none,"Invalid namespace"' }, conn:heard())
  end)
end)

describe("io.server", function()
  it("shares the listener of another server, and hands the engine's options on", function()
    start { server = "srv", path = "/x", pingInterval = 5, port = 3000 }
    assert.equal("srv", e.server.srv)
    assert.same({ path = "/x", pingInterval = 5, port = 3000 }, e.server.given)
    assert.same({ e.server, 3000 }, { server.engine, server.port })
  end)

  it("takes it that what is not there is turned off", function()
    start { adapter = false, parser = false, serveClient = false, path = "/x", httpCompression = false }
    assert.same({ path = "/x", httpCompression = false }, e.server.given)
  end)

  it("raises an error for wrong options", function()
    for message, options in pairs {
      ["bad option 'connectTimeout' (number expected, got string)"] = { connectTimeout = "x" },
      ["bad option 'connectionStateRecovery' (table expected, got number)"] = { connectionStateRecovery = 5 },
      ["bad option 'maxDisconnectionDuration' (number expected, got boolean)"] = {
        connectionStateRecovery = { maxDisconnectionDuration = true },
      },
      ["unknown option 'maxDisconectionDuration' (maxDisconnectionDuration?)"] = {
        connectionStateRecovery = { maxDisconectionDuration = 5 },
      },
      ["unknown option 'connectTimout' (connectTimeout?)"] = { connectTimout = 5 },
      ["bad option 'adapter' (luws.socketio keeps rooms in this process only; leave it out, and have all clients come "
        .. "to one server)"] = { adapter = {} },
      ["bad option 'parser' (luws.socketio has Socket.IO's own parser only; leave it out, at both ends)"] = {
        parser = {},
      },
      ["bad option 'serveClient' (luws.socketio has no client for browsers to serve; leave it out, and have pages load "
        .. "npm's)"] = { serveClient = true },
    } do
      assert.has_error(function() io.server(options) end, message)
    end
  end)
end)
