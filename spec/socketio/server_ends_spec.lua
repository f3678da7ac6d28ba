-- The server of Socket.IO above engines in memory: how sockets end, whoever ends them, and clients that break the
-- protocol.

local engines = require "spec.support.engines"
local unpack = require "spec.support.compat".unpack
local world = require "spec.support.world"

local note = engines.note

local e, io, server

before_each(function()
  e = engines.new(world.new())
  io = e.io
  server = io.server {}
end)

local function client(...) return e:client(server, ...) end

local function say(conn, ...)
  conn:say(...)
  e:turn()
end

describe("a client that breaks the protocol", function()
  for what, messages in pairs {
    ["with an event before it is connected"] = { '2["m"]' },
    ["with an event for a namespace it is not in"] = { "0", '2/other,["m"]' },
    ["with a second CONNECT"] = { "0", "0" },
    ["with CONNECT_ERROR"] = { "0", '4"no"' },
    ["with DISCONNECT before it is connected"] = { "1" },
  } do
    it(what .. " is disconnected with 'forced close'", function()
      local told = {}
      server:on("connection", function(socket) note(socket, told, "disconnect", "error") end)
      local conn = e:accept()
      say(conn, unpack(messages))
      assert.equal("closed", conn.readyState)
      assert.same(messages[2] and { { "disconnect", "forced close" } } or {}, told)
    end)
  end

  it("with a second CONNECT while the first is decided on is disconnected", function()
    server:use(function() end)
    local conn = e:accept()
    say(conn, "0", "0")
    assert.equal("closed", conn.readyState)
  end)

  for message, messages in pairs {
    ["unknown packet type"] = { "9" }, ["invalid payload"] = { '2["disconnect"]' },
    ["text in place of binary data"] = { "51-[\"m\"]", '2["m"]' },
    ["illegal attachments"] = { '51-["m",{"_placeholder":true,"num":3}]' }, ["too many attachments"] = { "51001-[]" },
  } do
    it("with a packet that is wrong (" .. message .. ") has an 'error', and is disconnected", function()
      local conn, socket = client()
      local told = note(socket, {}, "error", "disconnecting", "disconnect")
      say(conn, messages[1], messages[2])
      assert.same({ { "error", message }, { "disconnecting", "forced close" }, { "disconnect", "forced close" } }, told)
      assert.equal("closed", conn.readyState)
    end)
  end

  it("by packets that are too large is disconnected", function()
    server = io.server { maxHttpBufferSize = 10 }
    local conn, socket = client()
    local told = note(socket, {}, "error")
    say(conn, '53-["m"]', io.binary(("x"):rep(60)), io.binary(("x"):rep(60)))
    assert.same({ { "error", "the binary values of a packet are too large" } }, told)
    assert.equal("closed", conn.readyState)
  end)

  it("by asking for too many namespaces is disconnected", function()
    server:of { pattern = "^/%d+$" }
    local conn = e:accept()
    for i = 1, 1000 do conn:say(("0/%d,"):format(i)) end
    e:turn()
    assert.equal("open", conn.readyState)
    say(conn, "1/5,", "0/none,", "0/1001,")
    assert.equal("open", conn.readyState)
    say(conn, "0/1002,")
    assert.equal("closed", conn.readyState)
  end)

  it("leaves the others alone", function()
    local good, bad = client(), client()
    bad:say(("["):rep(10))
    good:say '20["m"]'
    server.sockets.sockets[next(server.sockets.sockets)]:on("m", print)
    e:turn()
    assert.same({ "open", "closed" }, { good.readyState, bad.readyState })
  end)
end)

describe("the end of a socket", function()
  for reason in pairs { ["ping timeout"] = 1, ["transport close"] = 1, ["transport error"] = 1, ["parse error"] = 1 } do
    it("by '" .. reason .. "' is told before and after it has left its rooms", function()
      local conn, socket = client()
      socket:join "a"
      local rooms = {}
      socket:on("disconnecting", function() rooms[#rooms + 1] = socket.rooms.a or "none" end)
      socket:on("disconnect", function() rooms[#rooms + 1] = socket.rooms.a or "none" end)
      local told = note(socket, {}, "disconnecting", "disconnect")
      conn:lose(reason, "details")
      e:turn()
      assert.same({ { "disconnecting", reason, "details" }, { "disconnect", reason, "details" } }, told)
      assert.same({ true, "none" }, rooms)
      assert.same({ {}, {}, false }, { server.sockets.sockets, server.sockets.adapter.rooms, socket.connected })
      socket:join "b"
      assert.same({}, server.sockets.adapter.rooms)
    end)
  end

  it("by the client's DISCONNECT ends the namespace only", function()
    local conn, socket = client()
    local told = note(socket, {}, "disconnect")
    say(conn, "1")
    assert.same({ { "disconnect", "client namespace disconnect" } }, told)
    assert.equal("open", conn.readyState)
    say(conn, "0")
    assert.equal(1, #conn:heard())
  end)

  local REASON = "server namespace disconnect"

  it("by disconnect() ends the namespace, and by disconnect(true) the connection", function()
    for _, close in ipairs { false, true } do
      server:of "/x"
      local conn, socket = client()
      say(conn, "0/x,")
      conn:heard()
      local told = note(socket, {}, "disconnecting", "disconnect")
      socket:disconnect(close)
      assert.same({}, told)
      e:turn()
      assert.same({ { "disconnecting", REASON }, { "disconnect", REASON } }, told)
      assert.same(close and { "1", "1/x," } or { "1" }, conn:heard())
      assert.equal(close and "closed" or "open", conn.readyState)
    end
  end)

  it("is told to the client once, however often it is wanted", function()
    local conn, socket = client()
    socket:on("disconnecting", function() socket:disconnect() end)
    socket:disconnect():disconnect()
    assert.same({ "1" }, conn:heard())
    e:turn()
    assert.same({ {}, false }, { conn:heard(), socket.connected })
  end)

  it("in a handler is told at once", function()
    local conn, socket = client()
    local told = note(socket, {}, "disconnect")
    local count
    socket:on("m", function()
      socket:disconnect()
      count = #told
    end)
    say(conn, '2["m"]')
    assert.equal(1, count)
  end)

  it("tells those who wait for answers with a time", function()
    local conn, socket = client()
    local told
    socket:timeout(1000):emit("m", function(err) told = err.message end)
    conn:lose "transport close"
    e:turn()
    assert.equal("socket has been disconnected", told)
  end)

  it("tells those who ask afterwards", function()
    local conn, socket = client()
    conn:lose "transport close"
    e:turn()
    local told = {}
    local function note_in(name)
      return function(err) told[#told + 1] = name .. ": " .. err.message end
    end
    socket:timeout(1000):emit("m", note_in "timeout")
    socket:emit("m", note_in "emit") -- wants no errors
    io.spawn(function() note_in "emitWithAck"(select(2, socket:emitWithAck "m")) end)
    assert.same({}, told)
    e:turn()
    e:turn()
    assert.same({ "timeout: socket has been disconnected", "emitWithAck: socket has been disconnected" }, told)
  end)

  it("comes to all when the server is closed", function()
    local conn, socket = client()
    local told = note(socket, {}, "disconnect")
    local is_done
    server:close(function() is_done = #told == 1 end)
    assert.same({}, told)
    e:turn()
    assert.same({ { "disconnect", "server shutting down" } }, told)
    assert.same({ "closed", true, true }, { conn.readyState, e.server.is_closed, is_done })
  end)
end)
