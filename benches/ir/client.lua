--[[
Does one operation of luws COUNT times for run.py, which counts the instructions:

  client.lua KIND COUNT MOST URL SIZE

run.py is the peer. Nothing here depends on time, and the number of calls of luws is fixed. Where bytes must have
arrived or left, the program asks for that with a line on its standard output, and waits for a line on its standard
input. It always asks MOST times, whatever COUNT is, so that the cost of asking cancels out in the difference of two
runs.

The collector is stopped during the operations and does its work at the end. Otherwise the figure would depend on how
many of its cycles happened during the run.
--]]

local kind, count, most, url, size = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4], tonumber(arg[5])

local function finish()
  collectgarbage()
  collectgarbage()
  print("end")
  io.stdout:flush()
  os.exit(0) -- at once: what the module does when the state closes is not counted
end

if kind == "require" then
  for _ = 1, count do require "luws" end
  finish()
end

local luws, reactor = require "luws", nil
local wsopen, wssend, wsreceive, wsclose = luws.wsopen, luws.wssend, luws.wsreceive, luws.wsclose

local messages, bytes = 0, 0
local function handler(_, opcode, data)
  if opcode then
    messages, bytes = messages + 1, bytes + #data
  else
    error("the connection is lost: " .. tostring(data))
  end
end

local function open()
  return assert(wsopen(url, handler, { max_payload_size = 65536 }))
end

--- ask(what): makes the peer do something, and returns when it is done.
local function ask(what)
  io.stdout:write(what, "\n")
  io.stdout:flush()
  return io.stdin:read("*l") or os.exit(1)
end

--- each_turn(turn, before, after): takes COUNT turns. Asks the peer for `before` before each of them and for `after`
-- after it, if these are given. Then asks for nothing until it has asked as often as in the longest run.
local function each_turn(turn, before, after)
  for i = 1, most do
    local wanted = i <= count
    if before then ask(wanted and before or "none") end
    if wanted then turn() end
    if after then ask(wanted and after or "none") end
  end
end

local operation = {}

function operation.poll()
  local conn = open()
  return function()
    for _ = 1, count do wsreceive(conn) end
  end
end

--- Calls wsreceive once for each batch, which the peer has sent by then. A message may need several batches.
function operation.receive()
  local conn = open()
  return function()
    each_turn(function() wsreceive(conn) end, "send")
    ask("count " .. messages .. " " .. bytes)
  end
end

function operation.send()
  local conn, data = open(), ("The quick brown fox jumps over the lazy dog. "):rep(size / 45 + 1):sub(1, size)
  return function()
    each_turn(function() assert(wssend(conn, 1, data)) end, nil, "take")
  end
end

--- The peer answers when this program sleeps.
function operation.open()
  return function()
    for _ = 1, count do
      local conn = open()
      wsclose(conn)
      luws.wswait(conn, 10)
      assert(conn.was_clean, "the connection was not closed in order")
    end
  end
end

-- The same by the reactor.

--- Opens a connection that the reactor drives, and steps until it is open.
local function open_driven()
  reactor = require "luws.reactor"
  local conn = assert(wsopen(url, handler, { wait = false, max_payload_size = 65536 }))
  repeat reactor.step() until conn.connected
  return conn
end

function operation.idle()
  open_driven()
  reactor.run(0.1)
  return function()
    for _ = 1, count do reactor.step(0) end
  end
end

operation["driven receive"] = function()
  open_driven()
  reactor.run(0.1)
  return function()
    each_turn(function() reactor.step(0) end, "send")
    ask("count " .. messages .. " " .. bytes)
  end
end

operation["driven open"] = function()
  return function()
    for _ = 1, count do
      local conn = open_driven()
      wsclose(conn)
      reactor.run()
      assert(conn.was_clean, "the connection was not closed in order")
    end
  end
end

--- Passes in frames that do not come from the socket.
function operation.incoming()
  local conn, frame = open(), "\129" .. string.char(size) .. ("x"):rep(size)
  return function()
    for _ = 1, count do assert(luws.wshandleincoming(frame, conn)) end
    ask("count " .. messages .. " " .. bytes)
  end
end

local run = operation[kind]()
collectgarbage()
collectgarbage("stop")
run()
finish()
