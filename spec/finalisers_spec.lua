-- Garbage collection in the middle of luws: any allocation may run any finaliser, which may raise an error or call
-- luws. The process survives. Each message is delivered exactly once and in order, or the connection is over and
-- reports it.
--
-- Finalisers of connections themselves are in module_spec.lua, those between a handler's arguments in
-- handlers_spec.lua, those of a Lua state that is being closed in hosts_spec.lua.

local child = require "spec.support.child"
local servers = require "spec.support.servers"

-- Receives a whole flood, while each turn leaves garbage whose finaliser does something to this connection or to
-- others. Everything is in a pcall, because the finalisers may also run, and fail, in the program's own code.
local PROGRAM = [[
  local url, echo, deed, count, route = ...
  luup = { log = function() end }
  -- LuaJIT itself can crash on an error in a finaliser that its compiled code has run.
  if jit then jit.off() end
  collectgarbage("setpause", 100) -- otherwise Lua 5.2 may not collect at all before the end
  local luws = require "luws"
  local received, finalised, told, ends, says = 0, 0, nil, 0, nil
  local conn
  local other = assert(luws.wsopen(echo, function() end))
  local deeds = {
    ["raises an error"] = function() error("boom", 0) end,
    ["raises a table"] = function() error({}) end,
    ["receives on the connection"] = function() luws.wsreceive(conn) end,
    ["sends and receives on another"] = function() luws.wssend(other, 1, "x") luws.wsreceive(other) end,
    ["asks it"] = function() return conn.bufferedAmount, conn:dirty(), conn:events(), conn:timeout() end,
    ["opens another and drops it"] = function() luws.wsopen("ws://127.0.0.1:1/") end,
  }
  local function litter()
    local proxy = newproxy(true)
    getmetatable(proxy).__gc = function()
      finalised = finalised + 1
      deeds[deed]()
    end
  end
  local function connect(host, port) return require "socket".connect(host, port) end
  conn = assert(luws.wsopen(url, function(_, opcode, data)
    if opcode then
      received = received + 1
      if #data ~= 16 then os.exit(3) end
    else
      told, ends = data, ends + 1
    end
  end, { receive_chunk_size = 1000, connect = route == "luasocket" and connect or nil }))
  local function turn()
    for _ = 1, 5 do pcall(litter) end
    local ok, more, why = pcall(luws.wsreceive, conn)
    if ok and more == nil then says = why end
    if ok and more == false then pcall(luws.wswait, conn, 1) end
    -- When a finaliser raises an error, PUC Lua does not collect again until memory use has doubled.
    collectgarbage "restart"
  end
  local deadline = os.time() + 30
  local function receive_all()
    repeat pcall(turn) until told and says or os.time() > deadline
  end
  repeat until pcall(receive_all)
  collectgarbage "stop"
  io.write(finalised > 0 and "finalised" or "no finaliser ran", " ", ends, " ", received == count + 0 and "all"
    or received < count + 0 and "some" or "too many", " ", tostring(told), " ", tostring(says), "\n")
]]

local COUNT = 5000

local ALL = "finalised 1 all receiver error: closed closed\n"

for _, route in ipairs { "ws", "wss", "luasocket" } do
  local scheme = route == "wss" and "wss" or "ws"
  describe("a flood over " .. route .. " is received exactly once, or its end is reported,", function()
    for deed, may_end in pairs {
      ["raises an error"] = true,
      ["raises a table"] = true,
      ["receives on the connection"] = false,
      ["sends and receives on another"] = false,
      ["asks it"] = false,
      ["opens another and drops it"] = false,
    } do
      it("with a finaliser that " .. deed, function()
        local url = servers.url("demo", scheme, "/flood?size=16&count=" .. COUNT)
        local echo = servers.url("demo", scheme, "/echo")
        local output, status = child.program(PROGRAM, url, echo, deed, tostring(COUNT), route)
        assert.equal(0, status, output)
        -- If an error is raised between taking a message and delivering it, the connection is over; in a method of
        -- the user's socket it is that socket's error.
        local ended = may_end and output:match "^finalised 1 some receiver error: (%a+)"
        if ended == "interrupted" or ended and route == "luasocket" then return end
        assert.equal(ALL, output)
      end)
    end
  end)
end

-- Of objects that become garbage in the same cycle, the youngest is finalised first: an object that is older than its
-- connection finds the native parts of that connection already finalised.
describe("a finaliser of an object that is older than its connection, both garbage at the same time,", function()
  local FINALISER = [[
    if jit then jit.off() end -- machine code would hold what it was made for
    luup = { log = function() end }
    local luws, url, ca_file = require "luws", ...
    local said = {}
    local function say(...)
      for i = 1, select("#", ...) do said[#said + 1] = tostring((select(i, ...))) end
      if select("#", ...) == 0 then said[1] = "nothing" end
    end
    do
      local object, proxy = {}, newproxy(true)
      getmetatable(proxy).__gc = function()
        local conn = object.conn
        local ok, why = pcall(function() %s end)
        if not ok then said = { "error: " .. type(why) .. " " .. tostring(why) } end
      end
      object.proxy = proxy
      object.conn = assert(luws.wsopen(url, nil, { ssl_verify = "peer", ssl_cafile = ca_file }))
    end
    collectgarbage()
    collectgarbage()
    io.write(table.concat(said, " "), "\n")
    -- The rest of the program continues.
    local told
    local conn = assert(luws.wsopen(url, function(_, _, data) told = data end))
    luws.wssend(conn, 1, "hello")
    local deadline = luws.gettime() + 10
    repeat luws.wswait(conn, 1) luws.wsreceive(conn) until told or luws.gettime() > deadline
    io.write(tostring(told), "\n")
  ]]

  for call, expected in pairs {
    ["luws.wssend(conn, 1, 'bye')"] = "false not connected",
    ["luws.wssend(conn, 1, function() return nil end)"] = "false not connected",
    ["luws.wsreceive(conn)"] = "nil closed",
    ["luws.wshandleincoming('\\129\\1x', conn)"] = "true",
    ["luws.wsreset(conn)"] = "nothing",
    ["luws.wswait(conn)"] = "true",
    ["luws.watch(conn)"] = "false this is not openLuup",
    ["luws.wsclose(conn)"] = "nothing",
    ["conn:close()"] = "1",
    ["conn.bufferedAmount"] = "0",
    ["conn:getfd(), conn:pollfd(), conn:dirty(), conn:events(), conn:timeout()"] = "-1 -1 false r",
  } do
    for _, scheme in ipairs { "ws", "wss" } do
      it(("finds the connection closed: %s, over %s"):format(call, scheme), function()
        local program = FINALISER:format(("say(%s)"):format(call))
        local output, status = child.program(program, servers.url("demo", scheme, "/echo"), servers.ca_file())
        assert.equal(expected .. "\nhello\n", output)
        assert.equal(0, status)
      end)
    end
  end
end)
