--[[
Takes one measurement of a WebSocket client for Lua:

  client.lua MODULE receive|poll|send|echo|open|idle|"wait and echo"|"open many" URL [NAME=VALUE]...

MODULE is the module to `require`: any that has LuWS's wsopen, wssend, wsreceive and wsclose. `steps` is not a module;
it stands for the steps by which a program opens a connection with only LuaSocket and LuaSec. `select` and `waiting`
stand for luws without its reactor: in a loop around LuaSocket's select, or with functions that wait.

  count     number of operations to measure
  warmup    number of operations before them
  size      size of the messages to send in bytes (poll and open send none)
  coalesce  1: small messages are gathered before sending
  limit     max_payload_size, if the module's default is too small
  tools     the folder of floor.so, whose clock all clients use

It prints one line: processor time and wall time per operation in seconds, the median wall time of single operations
(echo and open), how often a receive found nothing, and how many operations there were.
--]]

local name, kind, url = arg[1], arg[2], arg[3]
local options = {}
for i = 4, #arg do
  local key, value = arg[i]:match("^(%w+)=(.*)$")
  options[key] = tonumber(value) or value
end
local count, warmup = options.count, options.warmup

-- All clients use the same clock, and sleep for the same time when there is nothing to receive. Asking again at once
-- would cost processor time, and a fast client more of it than a slow one.
local floor = assert(package.loadlib(options.tools .. "/floor.so", "luaopen_floor"))()
local clock, nap = floor.clock, floor.nap
local cpu = os.clock

local laps, idle = {}, 0
local started_cpu, started

local function start()
  collectgarbage()
  idle = 0
  started_cpu, started = cpu(), clock()
end

local function finish(operations, used, passed)
  used, passed = used or cpu() - started_cpu, passed or clock() - started
  table.sort(laps)
  io.stdout:write(("cpu=%.9e wall=%.9e p50=%.9e idle=%d count=%d\n"):format(used / operations, passed / operations,
    laps[math.ceil(#laps / 2)] or 0, idle, operations))
  io.stdout:flush()
  os.exit(0) -- at once: what the module does when the state closes is not measured
end

--- Returns a module that opens a wss connection by hand.
local function steps()
  local socket, ssl = require "socket", require "ssl"
  local request = "GET %s HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
  local host, port, path = url:match("^wss://([^:/]+):(%d+)(.*)$")
  return {
    wsopen = function()
      local tcp = assert(socket.tcp())
      assert(tcp:connect(host, port))
      tcp:setoption("tcp-nodelay", true)
      local conn = assert(ssl.wrap(tcp, { mode = "client", protocol = "any", verify = "none", options = "all" }))
      conn:sni(host)
      assert(conn:dohandshake())
      assert(conn:send(request:format(path, host, port)))
      assert(conn:receive("*l"):find("101", 1, true))
      repeat until assert(conn:receive("*l")) == ""
      return conn
    end,
    wsclose = function(conn) conn:close() end,
  }
end

local loop = (name == "select" or name == "waiting") and name or "reactor"
local module = name == "steps" and steps() or require(loop == "reactor" and name or "luws")
local wsopen, wssend, wsreceive, wsclose = module.wsopen, module.wssend, module.wsreceive, module.wsclose

local messages, bytes = 0, 0
local function handler(_, opcode, data)
  if opcode then
    messages, bytes = messages + 1, bytes + #data
  else
    error("the connection is lost: " .. tostring(data))
  end
end

local function open()
  local module_options = { max_payload_size = options.limit, coalesce = options.coalesce == 1 or nil }
  local conn, why = wsopen(url, handler, module_options)
  return conn or error("cannot open " .. url .. ": " .. tostring(why))
end

local function message()
  return (("The quick brown fox jumps over the lazy dog. "):rep(math.ceil(options.size / 45)):sub(1, options.size))
end

-- What only luws has: its reactor, and what programs do without that.

--- Returns a connection, and a function that waits until something may have come, for at most this time in seconds, and
-- receives it.
local function open_for_loop()
  local conn = open()
  if loop == "waiting" then
    return conn, function(seconds)
      module.wswait(conn, seconds)
      wsreceive(conn)
    end
  elseif loop == "select" then
    local socket, waiting = require "socket", { conn }
    return conn, function(seconds)
      if socket.select(waiting, nil, seconds)[1] then wsreceive(conn) end
    end
  end
  local reactor = require "luws.reactor"
  reactor.add(conn)
  return conn, reactor.step
end

--- Returns a number of connections.
local function open_many(wanted)
  local conns = {}
  if loop == "waiting" then
    for i = 1, wanted do conns[i] = open() end
    return conns
  end
  local reactor, opened = require "luws.reactor", 0
  local given = { wait = false, open_handler = function() opened = opened + 1 end }
  for i = 1, wanted do conns[i] = assert(wsopen(url, handler, given)) end
  while opened < wanted do reactor.step() end
  return conns
end

local measure = {}

function measure.receive()
  local conn = open()
  while messages < warmup do wsreceive(conn) end
  local before = messages
  start()
  while messages < warmup + count do
    local _, got = wsreceive(conn)
    if got == 0 then
      idle = idle + 1
      nap()
    end
  end
  finish(messages - before)
end

function measure.poll()
  local conn = open()
  for _ = 1, warmup do wsreceive(conn) end
  start()
  for _ = 1, count do wsreceive(conn) end
  finish(count)
end

function measure.send()
  local conn, data = open(), message()
  for _ = 1, warmup do wssend(conn, 1, data) end
  start()
  for _ = 1, count do
    if not wssend(conn, 1, data) then error("cannot send") end
  end
  finish(count)
end

function measure.echo()
  local conn, data = open(), message()
  local function turn()
    local wanted = messages + 1
    wssend(conn, 1, data)
    while messages < wanted do wsreceive(conn) end
  end
  for _ = 1, warmup do turn() end
  start()
  for i = 1, count do
    local before = clock()
    turn()
    laps[i] = clock() - before
  end
  finish(count)
end

-- Measures only the opening. The previous connection gets time to end first.
function measure.open()
  local used, passed = 0, 0
  for i = 1 - warmup, count do
    local before_cpu, before = cpu(), clock()
    local conn = open()
    local lap = clock() - before
    if i > 0 then
      used, passed, laps[i] = used + cpu() - before_cpu, passed + lap, lap
    end
    wsclose(conn)
    if module.wswait then module.wswait(conn, 1) end
    local now = clock()
    while clock() - now < 200e-6 do end -- until the server is done with it
  end
  finish(count, used, passed)
end

function measure.idle()
  local _, turn = open_for_loop()
  for _ = 1, warmup do turn(0) end
  start()
  for _ = 1, count do turn(0) end
  finish(count)
end

measure["wait and echo"] = function()
  local conn, turn = open_for_loop()
  local data = message()
  local function echo()
    local wanted = messages + 1
    wssend(conn, 1, data)
    while messages < wanted do turn(10) end
  end
  for _ = 1, warmup do echo() end
  start()
  for i = 1, count do
    local before = clock()
    echo()
    laps[i] = clock() - before
  end
  finish(count)
end

-- Measures only the opening, of a hundred at a time.
measure["open many"] = function()
  local MANY = 100
  local used, passed, opened = 0, 0, 0
  for i = 0, math.max(1, math.floor(count / MANY)) do
    local before_cpu, before = cpu(), clock()
    local conns = open_many(MANY)
    if i > 0 then -- the first are the warm-up
      used, passed, opened = used + cpu() - before_cpu, passed + clock() - before, opened + MANY
    end
    for _, conn in ipairs(conns) do wsclose(conn) end
    for _, conn in ipairs(conns) do module.wswait(conn, 1) end
  end
  finish(opened, used, passed)
end

measure[kind]()
