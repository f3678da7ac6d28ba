-- Finalisers that do anything at any time: receive, send, reset, inject, close, raise errors, while the same
-- connections receive a flood. This tests only that the process survives; finalisers_spec.lua tests what is delivered.
--
--   LUA torture.lua URL SEED COUNT: until COUNT finalisers have run. Prints what happened, and "survived".
--
-- Run by torture_spec.lua (few), by `make torture` (a million) and by `make valgrind`.

local url, seed, count = arg[1], tonumber(arg[2]), tonumber(arg[3])
luup = { log = function() end } -- luacheck: ignore
-- LuaJIT itself can crash on an error in a finaliser that its compiled code has run.
if rawget(_G, "jit") then jit.off() end -- luacheck: ignore
local luws = require "luws"

math.randomseed(seed)
collectgarbage("setpause", 60)
collectgarbage("setstepmul", 400)

local CONNECTIONS, DEEPEST, ROUNDS = 3, 20, 1e6
local finalised, messages, opened, errors, depth = 0, 0, 0, 0, 0
local conns = {}

local function pick() return conns[math.random(CONNECTIONS)] end

-- The actions of a finaliser, with their relative frequencies.
local DEEDS = {
  { 1, function() error("boom", 0) end },
  { 1, function() error({}) end },
  { 40, function() luws.wsreceive(pick()) end },
  { 20, function() luws.wssend(pick(), 1, "x") end },
  { 10, function() luws.wsreset(pick()) end },
  { 10, function() luws.wshandleincoming("\129\1y", pick()) end },
  { 1, function() luws.wsclose(pick()) end },
  { 20, function() return pick().bufferedAmount, pick():dirty(), pick():events(), pick():timeout() end },
  { 10, function() collectgarbage("step", 1) end },
  { 10, function() luws.wswait(pick(), 0) end },
  { 1, function() pcall(luws.wsopen, "ws://a\1b/") end },
}
local total = 0
for _, deed in ipairs(DEEDS) do total = total + deed[1] end

local function do_something()
  local x = math.random() * total
  for _, deed in ipairs(DEEDS) do
    x = x - deed[1]
    if x <= 0 then return deed[2]() end
  end
end

local new_proxy = rawget(_G, "newproxy") or function() return setmetatable({}, { __gc = true }) end

local function litter()
  local proxy = new_proxy(true)
  getmetatable(proxy).__gc = function()
    finalised = finalised + 1
    if depth >= DEEPEST then return end
    depth = depth + 1
    local ok, err = pcall(do_something)
    depth = depth - 1
    if not ok then error(err, 0) end
  end
end

local function handler(conn, opcode)
  if not opcode then return end
  messages = messages + 1
  pcall(litter)
  if messages % 1000 == 0 then error("handler") end
  if messages % 997 == 0 then luws.wsreceive(conn) end
  if messages % 5003 == 0 then luws.wsclose(conn) end
end

local function open()
  local chunks = { nil, 700, 5000, 16384 }
  local ok, conn = pcall(luws.wsopen, url, handler, {
    close_timeout = 0,
    max_payload_size = 2 ^ 24,
    receive_chunk_size = chunks[math.random(4)],
    handler_args = math.random(2) == 1 and { 1, 2 } or nil,
    receive_timeout = math.random(2) == 1 and 100 or nil,
  })
  if not (ok and conn) then return nil end
  opened = opened + 1
  return conn
end

local function turn(i)
  for _ = 1, 20 do pcall(litter) end
  conns[i] = conns[i] or open()
  if not conns[i] then return end
  local ok, more = pcall(luws.wsreceive, conns[i])
  if not ok then errors = errors + 1 end
  if ok and more == nil then
    pcall(luws.wsclose, conns[i])
    conns[i] = open() or conns[i]
  end
end

local rounds = 0
local function play()
  while finalised < count and rounds < ROUNDS do
    rounds = rounds + 1
    for i = 1, CONNECTIONS do pcall(turn, i) end
    -- PUC Lua leaves its collector waiting for twice the memory when a finaliser raises an error.
    collectgarbage "restart"
  end
end

repeat local ok = pcall(play) until ok or finalised >= count
collectgarbage "stop"
io.write(("%d finalisers, %d messages, %d connections, %d errors\n"):format(finalised, messages, opened, errors))
io.write(finalised >= count and "survived\n" or "too few finalisers\n")
