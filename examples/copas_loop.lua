--[[
Two connections in copas, each in its own thread, which reads like a program without an event loop.

    lua5.1 examples/copas_loop.lua [URL]

URL is the URL of an echo server, ws://127.0.0.1:8080/echo by default. The other threads run only while a thread waits
for messages; wsopen and wssend block them all, for at most their timeouts. Needs copas (Debian: lua-copas).
--]]

local copas = require "copas" -- before anything that loads LuaSocket's own http
local luws = require "luws"

local url = arg[1] or "ws://127.0.0.1:8080/echo"

local closed = {} -- connections
local threads, failed = 0, false

local function talk(name)
  local answer, failure
  local is_url, conn, err = pcall(luws.wsopen, url, function(_, opcode, data)
    if opcode == false then failure = data else answer = data end
  end)
  if not is_url then return nil, conn end
  if not conn then return nil, "cannot open " .. url .. ": " .. err end
  for i = 1, 3 do
    luws.wssend(conn, 1, name .. " " .. i)
    answer = nil
    while not (answer or failure) do
      -- Waits until something arrives, then calls wsreceive, which calls the handler.
      local bytes, why = copas.receive(conn)
      if not bytes then failure = failure or why end
    end
    if not answer then break end
    print("received: " .. answer)
  end
  luws.wsclose(conn)
  closed[#closed + 1] = conn
  return not failure, failure
end

for _, name in ipairs { "one", "two" } do
  threads = threads + 1
  copas.addthread(function()
    local ok, why = talk(name)
    if not ok then
      print(name .. " failed: " .. why)
      failed = true
    end
    threads = threads - 1
  end)
end

-- copas.loop() would do if it ends by itself (since copas 2).
while threads > 0 do copas.step(1) end
for _, conn in ipairs(closed) do luws.wswait(conn, 1) end -- for the servers' answers, which wsclose does not wait for
print("done")
os.exit(failed and 1 or 0)
