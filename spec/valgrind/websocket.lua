-- The WebSocket object, for everything.lua: each of its functions, over luws's own sockets and over those of a program.

local servers = require "spec.support.servers"
local socket = require "socket"
local WebSocket = require "luws.websocket"

local PATIENCE = 20 -- seconds

--- Returns options with the authority of the servers.
local function options(scheme, connect)
  return { ssl_cafile = scheme == "wss" and servers.ca_file() or nil, connect = connect, origin = "http://here" }
end

--- Talks to an echo server, and closes.
local function talks(scheme, connect)
  local ws, seen = WebSocket(servers.url("demo", scheme, "/echo"), nil, options(scheme, connect)), {}
  local controller = WebSocket.AbortController()
  ws:addEventListener("message", function() error "never" end, { signal = controller.signal })
  controller:abort()
  ws.binaryType = "table"
  function ws.onopen()
    ws:send "text"
    ws:send { 1, 2, 3 }
    ws:ping "ping"
    assert(ws.bufferedAmount == 7)
  end
  function ws.onmessage(event)
    seen[#seen + 1] = event.data
    if #seen == 2 then ws:close(3000, "enough") end
    error "on purpose"
  end
  function ws.onerror(event) seen[#seen + 1] = event.message end
  ws:addEventListener("close", { handleEvent = function(_, event) seen.code = event.code end }, { once = true })
  WebSocket.run(PATIENCE)
  return ws, seen
end

--- Does what a program should not.
local function mistakes()
  for _, call in ipairs {
    function() WebSocket "nowhere" end, function() WebSocket("ws://h/#") end, function() WebSocket("ws://\255/") end,
    function() WebSocket("ws://h/", "a b") end, function() WebSocket("ws://h/", nil, { wait = true }) end,
    function() WebSocket("ws://127.0.0.1:1/"):send "early" end, function() WebSocket.callback_socket {} end,
    function() WebSocket("ws://127.0.0.1:1/").url = 1 end, function() WebSocket("ws://127.0.0.1:1/"):close(1) end,
  } do
    local ok, why = pcall(call)
    assert(not ok and type(why) == "string")
  end
  WebSocket("ws://a..b/")
  WebSocket.step(0)
end

--- An object over a socket that pushes what has come.
local function pushes()
  local inner = { closed = false }
  function inner.send() end
  function inner:close() self.closed = true end
  local failed
  local ws = WebSocket("ws://127.0.0.1:1/", nil, { connect = function() return WebSocket.callback_socket(inner) end })
  function ws.onerror(event) failed = event.message end
  WebSocket.step(0)
  inner.onmessage "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
  WebSocket.run(PATIENCE)
  assert(failed and failed:find("404", 1, true) and inner.closed, failed)
end

--- Returns a function that talks over this scheme and this connect function.
local function talking(scheme, connect)
  return function()
    local ws, seen = talks(scheme, connect)
    assert(ws.readyState == 3 and seen.code == 3000 and seen[1] == "text", seen[1])
  end
end

local function connect(host, port) return socket.connect(host, port) end

return {
  { "over ws", talking "ws" }, { "over wss", talking "wss" },
  { "over ws and a socket of the program's", talking("ws", connect) },
  { "over wss and a socket of the program's", talking("wss", connect) },
  { "mistakes", mistakes }, { "objects that nobody has", function() for _ = 1, 3 do collectgarbage() end end },
  { "over a socket with callbacks", pushes }, { "stop", WebSocket.stop },
}
