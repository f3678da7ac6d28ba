-- Servers of luws.engineio in worlds of luws.mock, where the times that the protocol has pass at once: with a client of
-- the module, and request by request.

local engineio = require "luws.engineio"
local http = require "luws.http"
local luws = require "luws"
local luws_server = require "luws.server"
local mock = require "luws.mock"

local reactor, seen

--- Has the ends of an engine's sessions noted in `seen`. Returns the engine.
local function note(engine)
  return engine:on("connection", function(socket)
    socket:on("close", function(reason) seen[#seen + 1] = reason end)
  end)
end

--- Returns an engine in the world; it pings every 25 s by default.
local function listen(interval)
  return assert(engineio.listen { reactor = reactor, host = "peer.test", port = 8080, pingInterval = interval })
end

--- Makes a request for a session by polling.
local function get()
  local url, result = "http://peer.test:8080/engine.io/?EIO=4&transport=polling", nil
  assert(http.request(url, { reactor = reactor }, function(response) result = response end))
  while not result do reactor.step(1) end
end

before_each(function()
  reactor, seen = mock.net().reactor, {}
end)

for what, make in pairs {
  listen = listen,
  attach = function()
    local srv = assert(luws_server.listen { reactor = reactor, host = "peer.test", port = 8080 })
    return engineio.attach(srv, { reactor = reactor })
  end,
} do
  it("pings in the time of its world, made by " .. what, function()
    note(assert(make()))
    local pings, socket = 0, engineio.connect("http://peer.test:8080", { reactor = reactor })
    socket:on("ping", function() pings = pings + 1 end)
    reactor.run(105)
    assert.same({ 4, "open", "websocket", {} }, { pings, socket.readyState, socket.transport.name, seen })
    get() -- a client that never asks again
    reactor.run(44)
    assert.same({}, seen)
    reactor.run(2)
    assert.same({ "ping timeout" }, seen)
  end)
end

it("waits half a minute for the GET that takes the end of a session along", function()
  local engine = note(listen(1e6))
  get()
  local _, socket = next(engine.clients)
  socket:close()
  reactor.run(29)
  assert.same({ {}, "closing" }, { seen, socket.readyState })
  reactor.run(2)
  assert.same({ { "forced close" }, "closed", 0 }, { seen, socket.readyState, engine.clientsCount })
end)

it("gives a client ten seconds to go over to a WebSocket", function()
  local engine = note(listen(1e6))
  get()
  local id, socket = next(engine.clients)
  local url, over = "ws://peer.test:8080/engine.io/?EIO=4&transport=websocket&sid=" .. id, nil
  local function told(_, opcode) over = opcode == false end
  local conn = assert(luws.wsopen(url, told, { reactor = reactor, wait = false }))
  reactor.run(9)
  assert.same({ true, nil, true }, { conn.connected, over, socket.upgrading })
  reactor.run(2)
  assert.same({ true, false, "open", {} }, { over, socket.upgrading, socket.readyState, seen })
end)
