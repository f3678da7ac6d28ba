-- A server and a client of Socket.IO in a world of luws.mock: engines, requests and WebSockets are the real ones, and
-- time passes only as the test says.

local io = require "luws.socketio"
local luws_server = require "luws.server"
local mock = require "luws.mock"

describe("in a world of luws.mock, Socket.IO", function()
  for _, transports in ipairs { { "polling" }, { "websocket" }, { "polling", "websocket" } } do
    it("talks and keeps its connection by " .. table.concat(transports, ", "), function()
      local net = mock.net()
      local reactor = net.reactor
      local srv = transports[2] and assert(luws_server.listen { reactor = reactor, host = "peer.test", port = 8080 })
      local server = assert(io.server(srv and { reactor = reactor, server = srv }
        or { reactor = reactor, host = "peer.test", port = 8080 }))
      local told = {}
      server:on("connection", function(socket)
        socket:on("ask", function(number, ack) ack(number + 1) end)
        socket:on("disconnect", function(reason) told[#told + 1] = reason end)
      end)
      local socket = io("http://peer.test:8080", { reactor = reactor, transports = transports })
      socket:on("disconnect", function(reason) told[#told + 1] = reason end)
      assert.same({ true, 2 }, { socket:emitWithAck("ask", 1) })
      reactor.run(3600)
      assert.same({}, told)
      assert.equal(transports[#transports], socket.io.engine.transport.name)
      assert.same({ true, 8 }, { socket:emitWithAck("ask", 7) })
      socket:disconnect()
      reactor.run(10)
      table.sort(told)
      assert.same({ "client namespace disconnect", "io client disconnect" }, told)
    end)
  end
end)
