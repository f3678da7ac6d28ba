--[[
Many connections, none of which is waited for, in the event loop of your choice:

    lua5.1 examples/reactor_loop.lua [URL] [LOOP] [COUNT]

URL is ws://127.0.0.1:8080/echo by default. LOOP is run (the reactor's own, the default), select (LuaSocket's), copas,
cqueues, luv, or frames (a loop that does something else as well, like a game's). COUNT is how many connections (100).
--]]

local luws = require "luws"
local reactor = require "luws.reactor"

local url, loop, count = arg[1] or "ws://127.0.0.1:8080/echo", arg[2] or "run", tonumber(arg[3]) or 100

local left, answered, failed = count, 0, 0

local function is_done() return left == 0 end

local function handler(conn, opcode, data)
  if opcode == false then
    failed = failed + 1
    if failed == 1 then print("lost: " .. data) end
  else
    answered = answered + 1
  end
  luws.wsclose(conn)
  left = left - 1
  if is_done() then reactor.stop() end
end

for i = 1, count do
  -- Nothing is waited for here: the server may be slow, or not even there.
  local conn, err = luws.wsopen(url, handler, {
    wait = false,
    open_handler = function(conn) luws.wssend(conn, 1, "hello from connection " .. i) end,
  })
  assert(conn, err) -- only for options that are wrong
end

local loops = {}

loops.run = reactor.run

function loops.select()
  local socket = require "socket"
  while not is_done() do
    if socket.select({ reactor }, nil, 1)[1] then reactor.step(0) end
  end
end

function loops.copas()
  local copas = require "copas"
  reactor.attach "copas"
  while not is_done() do copas.step(1) end
end

function loops.cqueues()
  local controller = require("cqueues").new()
  controller:wrap(function() reactor.attach "cqueues" end)
  while not is_done() do assert(controller:step(1)) end
end

function loops.luv()
  local uv = require "luv"
  reactor.attach "luv"
  while not is_done() do uv.run "once" end
end

function loops.frames()
  while not is_done() do
    reactor.step(0)
    luws.sleep(1 / 60) -- here the frame would be drawn
  end
end

assert(loops[loop], "no such loop: " .. loop)()
reactor.run(1) -- says goodbye to the servers
print(("%d of %d connections had an answer"):format(answered, count))
os.exit(failed == 0 and 0 or 1)
