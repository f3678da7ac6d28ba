--[[
Several connections in one LuaSocket select loop: messages are received as soon as they arrive, without polling.

    lua5.1 examples/select_loop.lua [URL] [SECONDS]

URL is ws://127.0.0.1:8080/echo by default. socket.select takes connections themselves. Ends after SECONDS (10), or when
every connection is lost. Needs LuaSocket.
--]]

local luws = require "luws"
local socket = require "socket"

local url, seconds = arg[1] or "ws://127.0.0.1:8080/echo", tonumber(arg[2]) or 10

local CONNECTIONS = 3

local function handler(conn, opcode, data, name)
  print(name .. (opcode and " received: " or " lost: ") .. data)
  if opcode == false then luws.wsclose(conn) end -- after "message timeout" it is still open
end

local conns = {}
for i = 1, CONNECTIONS do
  local conn, err = luws.wsopen(url, handler, { handler_args = { "connection " .. i }, receive_timeout = 90 })
  if not conn then
    print("cannot open " .. url .. ": " .. err)
    os.exit(1)
  end
  luws.wssend(conn, 1, "hello from connection " .. i)
  conns[i] = conn
end

local stop, sweep = luws.gettime() + seconds, 0
while #conns > 0 and luws.gettime() < stop do
  local now = luws.gettime()
  local ready = socket.select(conns, nil, math.max(0, math.min(1, stop - now)))
  if now >= sweep then -- once a second all of them, so that receive_timeout works on silent ones
    ready, sweep = conns, now + 1
  end
  for _, conn in ipairs(ready) do
    luws.wsreceive(conn) -- if there is more, the next select returns at once
  end
  for i = #conns, 1, -1 do
    if not conns[i].connected then luws.wsclose(table.remove(conns, i)) end -- or reconnect
  end
end
for _, conn in ipairs(conns) do luws.wsclose(conn) end
for _, conn in ipairs(conns) do luws.wswait(conn, 1) end -- for the servers' answers, which wsclose does not wait for
print("done")
