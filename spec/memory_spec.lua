-- The memory that idle connections take: buffers for traffic are shared by all connections of a Lua state. What is left
-- of it when they are closed. And what each plugin's instance takes: what was compiled is shared by all.

local child = require "spec.support.child"
local odd_host = require "spec.support.odd_host"
local servers = require "spec.support.servers"

-- Runs in a process of its own, with nothing else in its memory, and prints how many bytes each connection takes.
local PROGRAM = [[
  local luws, url, received = require "luws", ..., 0

  local function resident()
    for line in io.lines "/proc/self/status" do
      local kib = line:match "^VmRSS:%s+(%d+)"
      if kib then return kib * 1024 end
    end
  end

  local conns = {}
  local function open(count)
    for i = 1, count do
      local conn = assert(luws.wsopen(url, function() received = received + 1 end, { max_payload_size = 2 ^ 24 }))
      conns[#conns + 1] = conn
      -- Messages of every size, but not so large that the allocator's habits would be measured.
      assert(luws.wssend(conn, 2, ("x"):rep(i % 10 == 0 and 50000 or 1000)))
      repeat luws.wswait(conn, 5) luws.wsreceive(conn) until received == #conns
    end
    luws.sleep(1.1)
    for _ = 1, 64 do luws.wsreceive(conns[1]) end -- well after the last large message
    collectgarbage()
    collectgarbage()
  end

  open(50)
  local before = resident()
  open(400)
  print(math.floor((resident() - before) / 400))
]]

-- The tables of Lua 5.2 and 5.3 take more.
local MOST = (_VERSION == "Lua 5.2" or _VERSION == "Lua 5.3") and 12 or 8 -- KiB

describe("an idle connection", function()
  it(("takes at most %d KiB over ws, whatever was sent and received"):format(MOST), function()
    if not io.open "/proc/self/status" then return pending "this system has no /proc" end
    local output, status = child.run { servers.url("demo", "ws", "/echo"), input = PROGRAM }
    assert.equal(0, status, output)
    local bytes = tonumber(output:match "%d+")
    assert.is_true(bytes <= MOST * 1024, output)
  end)
end)

-- Connections over TLS that come and are closed; then nothing else happens. What they took is in small pieces. The heap
-- is that of malloc: LuaJIT has one of its own, which does not shrink at once.
local GIVES_BACK = [[
  local luws, url, ca_file = require "luws", ...
  local function heap()
    local is_heap = false
    for line in io.lines "/proc/self/smaps" do
      if line:find "^%x+%-%x+ " then is_heap = line:find("[heap]", 1, true) end
      local kib = is_heap and line:match "^Rss:%s+(%d+)"
      if kib then return tonumber(kib) end
    end
  end
  local function open(count)
    local conns = {}
    for i = 1, count do
      conns[i] = assert(luws.wsopen(url, nil, { ssl_verify = "peer", ssl_cafile = ca_file, close_timeout = 5 }))
    end
    return conns
  end
  local function close(conns)
    for _, conn in ipairs(conns) do luws.wsclose(conn) end
    for _, conn in ipairs(conns) do assert(luws.wswait(conn, 60)) end
  end
  close(open(20))
  collectgarbage()
  collectgarbage()
  local before = heap()
  local conns = open(300)
  local most = heap()
  close(conns)
  conns = nil
  for _ = 1, 3 do collectgarbage() end
  print(most - before, heap() - before)
]]

it("the memory of connections that were closed is given back, without another call", function()
  if not io.open "/proc/self/smaps" then return pending "this system has no /proc" end
  local output, status = odd_host.run {
    input = GIVES_BACK, servers.url("demo", "wss", "/echo"), servers.ca_file(),
  }
  assert.equal(0, status, output)
  local taken, left = output:match "^(%d+)\t(%-?%d+)\n$"
  assert.is_true(tonumber(taken) > 4000, output)
  assert.is_true(tonumber(left) < tonumber(taken) / 4, output)
end)

it("an instance of the module takes at most 100 KiB, once there is another", function()
  local output, status = child.program [[
    local luws = require "luws"
    local instances = {}
    local function make(count)
      for i = 1, count do
        local own = luws.instance "plugin"
        assert(not own.wsopen("ws://127.0.0.1:1/"))
        instances[#instances + 1] = own
      end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    local before = make(2)
    print((make(10) - before) / 10)
  ]]
  assert.equal(0, status, output)
  assert.is_true(tonumber(output) < 100, output)
end)
