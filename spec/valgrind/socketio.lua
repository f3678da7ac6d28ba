-- Socket.IO, for everything.lua: a server and its clients in one process, by each transport, with packets of each kind,
-- right ones and wrong ones.

local io = require "luws.socketio"
local till = require "spec.support.stepping".till

local PATIENCE = 20 -- seconds

local function talks(transport)
  local server = assert(io.server { port = 0, connectionStateRecovery = {} })
  server:on("connection", function(socket)
    socket:on("error", function() end)
    socket:on("m", function(...)
      local args = { ... }
      args[#args](args[1], args[2])
      socket:emit("back", args[2])
    end)
  end)
  local url = "http://127.0.0.1:" .. server.port
  local socket, got = io(url, { transports = { transport } }), {}
  local bytes = io.binary "\0\255"
  socket:on("back", function(value) got[1] = value end)
  socket:emit("m", { list = io.array { io.null, 1.5 } }, bytes, function(_, value) got[2] = value end)
  till(function() return got[1] and got[2] end)
  assert(io.is_binary(got[1]) and got[1] == bytes and tostring(got[2]) == "\0\255" and #got[2] == 2)
  assert(got[1]:sub(1, 1) == "\0" and not io.is_binary "x")
  local done
  io.spawn(function() done = select(2, socket:emitWithAck("m", "x", bytes)) end)
  till(function() return done == "x" end)
  for _, wrong in ipairs { print, "\255", { [{}] = 1 }, { { bytes, print } } } do
    assert(not pcall(socket.emit, socket, "m", bytes, wrong, true))
  end
  socket.io.engine:send '2["connect"]'
  local reason
  socket:on("disconnect", function(why) reason = why end)
  till(function() return reason and socket.connected end)
  assert(reason == "transport close", reason)
  socket:disconnect()
  local closed
  server:close(function() closed = true end)
  till(function() return closed end)
end

local function mistakes()
  assert(not pcall(io.connect, 5))
  assert(not pcall(io.binary, 5))
  assert(not pcall(io.server, { connectTimeout = "x" }))
  assert(not pcall(io.array, 5))
  local manager = io.Manager("http://127.0.0.1:1", { reconnection = false })
  local failed
  manager:on("error", function(err) failed = err.message end)
  till(function() return failed end)
  assert(failed == "xhr poll error")
  io.step(0)
  assert(io.getfd() >= 0 and (io.timeout() or 0) >= 0)
  io.spawn(io.stop)
  io.run(PATIENCE)
end

return {
  { "events by polling", talks, "polling" },
  { "events by a WebSocket", talks, "websocket" },
  { "mistakes", mistakes },
}
