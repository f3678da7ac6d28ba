-- A client of Socket.IO: says a line to the chat of socketio_chat.lua, and prints what the others say.
--
--   lua5.1 examples/socketio_client.lua [URL [NAME [TEXT]]]
--
-- URL is http://127.0.0.1:8080 by default. For https, the certificate is verified with the system's authorities, or
-- with those in the file that SSL_CA names.

local socketio = require "luws.socketio"

local url, name, text = (...) or "http://127.0.0.1:8080", select(2, ...) or "Lua", select(3, ...) or "Hello!"

local socket = socketio(url, {
  auth = function() return { name = name } end, -- asked at each connection
  ssl_cafile = os.getenv "SSL_CA",
})

socket:on("connect", function() print("connected by " .. socket.io.engine.transport.name) end)
socket:on("said", function(who, what) print(who .. ": " .. what) end)
socket:on("disconnect", function(reason) print("disconnected: " .. reason) end)

socket:on("connect_error", function(err)
  print("cannot connect: " .. tostring(err)) -- err.message has JavaScript's words, such as "xhr poll error"
  if not socket.active then os.exit(1) end -- it was refused; otherwise it goes on trying
end)

-- It is sent once there is a connection.
socket:timeout(10000):emit("say", text, function(err, time)
  if err then
    print("nobody answers: " .. err.message)
    os.exit(1)
  end
  print("said at " .. time)
  socket:disconnect()
end)

socketio.run()
