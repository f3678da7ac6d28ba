--[[
A plugin's receive loop: polls once a second, and reconnects when the connection is lost, waiting longer after each
failure.

    lua5.1 examples/polling_plugin.lua [URL] [SECONDS]

On a Luup system each turn of the loop is a luup.call_delay; here it is a sleep. Ends after SECONDS (10).
--]]

local luws = require "luws"

local url, seconds = arg[1] or "ws://127.0.0.1:8080/echo", tonumber(arg[2]) or 10

local SILENCE = 90 -- seconds of silence after which a connection is considered dead
local RETRY, LONGEST_RETRY = 1, 60 -- seconds between attempts: at first, and at most

local conn
local retry = RETRY

local function log(...) print(os.date("%H:%M:%S"), ...) end

local function message_handler(_, opcode, data)
  if opcode == false then
    log("lost: " .. data)
    luws.wsclose(conn)
    conn = nil
  else
    log("received: " .. data)
  end
end

local function open()
  local err
  conn, err = luws.wsopen(url, message_handler, { receive_timeout = SILENCE })
  if not conn then
    log("cannot connect: " .. err .. "; again in " .. retry .. " s")
    return
  end
  log("connected to " .. url)
  retry = RETRY
  luws.wssend(conn, 1, "hello from the plugin")
end

--- Takes one turn. Returns after how many seconds the next is due.
local function turn()
  if not conn then
    open()
    if conn then return 0 end
    local delay = retry
    retry = math.min(retry * 2, LONGEST_RETRY)
    return delay
  end
  local more, err = luws.wsreceive(conn)
  if not conn then return RETRY end -- the handler has closed it
  if more == nil then
    log("receiving failed: " .. err)
    luws.wsclose(conn)
    conn = nil
    return RETRY
  end
  if more then return 0 end -- more to read: take the next turn at once
  if os.time() - luws.wslastping(conn) > SILENCE / 2 then
    luws.wssend(conn, 9, "") -- a ping: a healthy peer answers, so it is never silent for long
  end
  return 1
end

local stop = luws.gettime() + seconds
while luws.gettime() < stop do
  luws.sleep(math.min(turn(), math.max(0, stop - luws.gettime())))
end
luws.wsclose(conn)
luws.wswait(conn, 1) -- for the server's answer, which wsclose does not wait for
log("done")
