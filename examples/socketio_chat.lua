-- A chat over Socket.IO: whoever opens http://127.0.0.1:8080/ talks to the others. The page and Socket.IO share a port.
--
--   npm install socket.io-client
--   lua5.1 examples/socketio_chat.lua [PORT [FOLDER]]
--
-- The page is socketio_chat.html, in the folder of this file. It uses npm's client for browsers, which is in FOLDER,
-- node_modules/socket.io-client/dist by default.

local server = require "luws.server"
local socketio = require "luws.socketio"

local port, client = tonumber((...) or 8080), select(2, ...) or "node_modules/socket.io-client/dist"
local folder = debug.getinfo(1, "S").source:match "^@(.*)/" or "."

local function fail(why)
  io.stderr:write(why, "\n")
  os.exit(1)
end

local srv, why = server.listen {
  port = port,
  on_request = function(request)
    local script = request.path:match "^/client(/.*)$"
    if script then return server.file(client, script) end
    if request.path == "/" then return server.file(folder, "/socketio_chat.html") end
    return { status = 404, body = "not found\n" }
  end,
}
if not srv then fail(why) end

local chat
chat, why = socketio.server { server = srv }
if not chat then fail(why) end

chat:use(function(socket, following)
  local name = socket.handshake.auth.name
  if type(name) ~= "string" or name == "" then return following "a name is needed" end
  socket.data.name = name
  following()
end)

chat:on("connection", function(socket)
  local name = socket.data.name
  chat:emit("said", name, "is here, with " .. #chat:fetchSockets() - 1 .. " others")
  socket:on("say", function(text, ack)
    if type(text) == "string" then socket.broadcast:emit("said", name, text) end
    if ack then ack(os.date "%H:%M") end
  end)
  socket:on("disconnect", function() chat:emit("said", name, "has left") end)
end)

print(("http://%s:%d/"):format(srv:address()))
io.stdout:flush()
assert(srv:run { signals = true })
