--[[
A connection in libuv's event loop, which is also Neovim's: messages are received as soon as they arrive, without
polling.

    lua5.1 examples/luv_loop.lua [URL]

URL is the URL of an echo server, ws://127.0.0.1:8080/echo by default. Needs luv (Debian: lua-luv). In Neovim, whose
loop runs anyway, leave out uv.run and os.exit, and wrap calls of vim.api in vim.schedule.
--]]

local luws = require "luws"
local uv = require "luv" -- in Neovim: vim.loop

local url = arg[1] or "ws://127.0.0.1:8080/echo"

local conn, poll, timer
local received, failure = 0, nil

-- libuv must stop watching a descriptor before it is closed.
local function stop_watching()
  poll:close()
  timer:close()
end

local function leave()
  stop_watching()
  luws.wsclose(conn)
end

local function handler(_, opcode, data)
  if opcode == false then
    failure = data
    leave() -- or stop_watching(), and open a new connection
    return
  end
  received = received + 1
  print(("received %d bytes"):format(#data))
  if received == 3 then return leave() end
  luws.wssend(conn, 2, ("x"):rep(10 ^ (received * 3)))
end

--- Receives all that has arrived, and keeps waiting; also for room, if something that was sent has not left yet.
local function turn()
  repeat local more = luws.wsreceive(conn) until not more
  if conn.connected then poll:start(conn:events(), turn) end
end

local err
conn, err = luws.wsopen(url, handler, { receive_timeout = 90, max_payload_size = 10 ^ 7 })
if not conn then
  print("cannot open " .. url .. ": " .. err)
  os.exit(1)
end
poll, timer = uv.new_poll(conn:pollfd()), uv.new_timer()
timer:start(1000, 1000, turn) -- makes receive_timeout work on a silent connection
luws.wssend(conn, 1, "hello")
turn() -- the first messages may have come together with the upgrade

uv.run() -- ends when nothing is watched any more
luws.wswait(conn, 1) -- for the server's answer, which wsclose does not wait for
print(failure and "lost: " .. failure or "done")
os.exit(failure and 1 or 0)
