--[[
A plugin's receive loop: polls once a second, and stays connected. A lost connection comes back by itself, after delays
that grow with each attempt that fails.

    lua5.1 examples/polling_plugin.lua [URL] [SECONDS]

On a Luup system each turn of the loop is a luup.call_delay; here it is a sleep. Ends after SECONDS (10).
--]]

local luws = require "luws"

local url, seconds = arg[1] or "ws://127.0.0.1:8080/echo", tonumber(arg[2]) or 10

local function log(...) print(os.date("%H:%M:%S"), ...) end

local function message_handler(_, opcode, data)
  if opcode == false then
    log("lost: " .. data)
  else
    log("received: " .. data)
  end
end

local conn, err = luws.wsopen(url, message_handler, {
  wait = false, -- not even the first attempt stops everything else, and it is tried again like the others
  ping_interval = 20, -- a healthy server is never silent for long, and a dead one is noticed
  open_handler = function(c) -- each time that it is open
    log("connected to " .. url)
    luws.wssend(c, 1, "hello from the plugin")
  end,
  reconnect = {
    jitter = 0.1,
    on = function(_, why, attempt) log(("not connected: %s; attempt %d follows"):format(why, attempt)) end,
  },
})
if not conn then error(err, 0) end -- an option is wrong

--- Takes one turn. Returns after how many seconds the next is due: sooner than in a second if luws asks for it.
local function turn()
  if luws.wsreceive(conn) then return 0 end -- there is more: take the next turn at once
  return math.min(1, conn:timeout() or 1)
end

local stop = luws.gettime() + seconds
while luws.gettime() < stop do
  luws.sleep(math.min(turn(), math.max(0, stop - luws.gettime())))
end
luws.wsclose(conn)
luws.wswait(conn, 1) -- for the server's answer, which wsclose does not wait for
log("done")
