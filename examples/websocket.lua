-- The WebSocket object of browsers: sends some messages to an echo server, and closes when all have come back.
--
--   lua5.1 examples/websocket.lua [URL [CAFILE]]
--
-- URL is that of an echo server (`make server` runs one). CAFILE has the authority that has signed the certificate of a
-- wss server, if the system does not know it.

local WebSocket = require "luws.websocket"

local url, ca_file = arg[1] or "ws://127.0.0.1:8080/echo", arg[2]
local texts = { "hello", "from Lua", "with a smile 🙂" }
local count, status = 0, 0

local ws = WebSocket(url, nil, { ssl_cafile = ca_file })
print("connecting to " .. ws.url)

function ws.onopen()
  for _, text in ipairs(texts) do ws:send(text) end
  ws:send({ 1, 2, 255 })
  print("open, " .. ws.bufferedAmount .. " bytes sent")
end

function ws.onmessage(event)
  count = count + 1
  print("received: " .. (event.binary and #event.data .. " bytes" or event.data))
  if count == #texts + 1 then ws:close(1000, "that was all") end
end

function ws.onerror(event)
  print("failed: " .. event.message)
  status = 1
end

function ws.onclose(event) print(("closed: %d, %s"):format(event.code, event.wasClean and "clean" or "not clean")) end

WebSocket.run()
os.exit(status)
