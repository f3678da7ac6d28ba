-- A thousand clients at one server: what they take, and one broadcast to all of them.

local child = require "spec.support.child"

local PROGRAM = [==[
local io_ = require "luws.socketio"
local COUNT = 1000
local server = assert(io_.server { port = 0 })
local url = "http://127.0.0.1:" .. server.port

local function memory()
  for line in io.lines "/proc/self/status" do
    local size = line:match "VmRSS:%s*(%d+)"
    if size then return tonumber(size) end
  end
end

local function till(done)
  while not done() do io_.step(1) end
end

local sockets, connected, heard = {}, 0, {}
collectgarbage()
local before = memory()
for i = 1, COUNT do
  local socket = io_(url, { forceNew = true, transports = { "websocket" } })
  socket:on("connect", function() connected = connected + 1 end)
  socket:on("news", function(text) heard[#heard + 1] = text end)
  sockets[i] = socket
end
till(function() return connected == COUNT end)
collectgarbage()
local each = (memory() - before) / COUNT
assert(each < 120, each) -- KiB for both ends
assert(server.engine.clientsCount == COUNT)
server:emit("news", "x")
till(function() return #heard == COUNT end)
for i = 1, COUNT / 2 do sockets[i]:disconnect() end
till(function() return #server:fetchSockets() == COUNT / 2 end)
server:emit("news", "y")
till(function() return #heard == COUNT * 1.5 end)
assert(heard[COUNT] == "x" and heard[COUNT + 1] == "y")
print "done"
]==]

describe("a server with a thousand clients", function()
  it("takes little memory for each, and reaches all of them once", function()
    local output, status = child.run { input = PROGRAM, descriptors = 4096 }
    assert.same({ "done\n", 0 }, { output, status })
  end)
end)
