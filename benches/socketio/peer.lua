-- One end of benches/socketio/run.py, with luws.socketio.
--
--   peer.lua server          prints its port
--   peer.lua client URL N    prints two lines: seconds of its processor, and of the clock, for sending N events and
--                            for receiving N
--
-- The other languages' peers do the same. Events have 64 bytes of text; `done` asks the server how much of the
-- processor it has used since it was asked last.

local io_ = require "luws.socketio"
local gettime = require("luws").gettime

local role, url, count = arg[1], arg[2], tonumber(arg[3])
local CHUNK = 500 -- events that are sent in one turn
local TEXT = ("x"):rep(64)

--- Calls emit() for each of so many events, a chunk in each turn; and then finish().
local function send(left, emit, finish)
  local after = require("luws.reactor").after
  local function turn()
    for _ = 1, math.min(CHUNK, left) do emit() end
    left = left - CHUNK
    if left > 0 then after(0, turn) else finish() end
  end
  turn()
end

if role == "server" then
  local server = assert(io_.server { port = 0, transports = { "websocket" } })
  server:on("connection", function(socket)
    local used = os.clock()
    socket:on("event", function() end)
    socket:on("done", function(ack)
      local now = os.clock()
      ack(now - used)
      used = now
    end)
    socket:on("go", function(n)
      send(n, function() socket:emit("event", TEXT) end, function() socket:emit "done" end)
    end)
  end)
  print(server.port)
  io.stdout:flush()
  io_.run()
else
  local socket = io_(url, { transports = { "websocket" } })
  local used, began

  local function start() used, began = os.clock(), gettime() end

  local function report(of_server)
    print(os.clock() - used, gettime() - began, of_server)
  end

  socket:on("event", function() end)
  socket:on("done", function()
    local mine, clock = os.clock() - used, gettime() - began
    socket:emit("done", function(of_server)
      print(mine, clock, of_server)
      os.exit(0, true)
    end)
  end)
  socket:on("connect", function()
    socket:emit("done", function()
      start()
      send(count, function() socket:emit("event", TEXT) end, function()
        socket:emit("done", function(of_server)
          report(of_server)
          start()
          socket:emit("go", count)
        end)
      end)
    end)
  end)
  io_.run()
end
