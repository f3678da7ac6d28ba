-- A process whose memory runs out: it is never ended. What there is no memory for is an error, other connections go on,
-- and the memory of the failed one is free again.

local child = require "spec.support.child"
local servers = require "spec.support.servers"

-- For all programs: `luws`; `open(path, options)`; `converse(conn)`, which has a text echoed; `await(conn)`, which
-- receives until something was told, and returns what that and wsreceive say; `fill()`, which takes all memory but some
-- MiB until `free()`; and `size()`, the address space that the process takes, in KiB.
local PRELUDE = [[
  luup = { log = function() end }
  local luws = require "luws"
  local base, arguments = ..., { select(2, ...) }
  local told = {}
  local function handler(_, opcode, data)
    told[#told + 1] = opcode and ("message of %d bytes"):format(#data) or "end: " .. tostring(data)
  end
  local function open(path, options)
    options = options or {}
    options.max_payload_size, options.send_timeout = 2 ^ 30, 60
    return assert(luws.wsopen(base .. path, handler, options))
  end
  local function await(conn)
    local more, why
    told = {}
    repeat
      if not luws.wswait(conn, 20) then return "nothing came" end
      more, why = luws.wsreceive(conn)
    until more == nil or told[1]
    return table.concat(told, ", ") .. "; " .. (more == nil and tostring(why) or "open")
  end
  local function converse(conn)
    assert(luws.wssend(conn, 1, "hello"))
    return await(conn)
  end
  local held = {}
  local function fill()
    for _, size in ipairs { 2 ^ 24, 2 ^ 22, 2 ^ 20, 2 ^ 20, 2 ^ 20, 2 ^ 20 } do
      collectgarbage()
      local refused = 0 -- LuaJIT looks for room at random, and may miss what there is
      repeat
        local ok, text = pcall(string.rep, "x", size + #held)
        if ok then held[#held + 1] = text else refused = refused + 1 end
      until refused == (jit and 8 or 1)
    end
    collectgarbage()
  end
  -- LuaJIT 2.1's own machine code does not survive this loop.
  if jit then jit.off(fill) end
  local function free()
    held = {}
    collectgarbage()
    collectgarbage()
  end
  local function size()
    for line in io.lines "/proc/self/status" do
      local kib = line:match "^VmSize:%s+(%d+)"
      if kib then return tonumber(kib) end
    end
  end
]]

local MEMORY = 100000 -- KiB

--- Runs a program in this much memory (KiB), and returns its lines. It must end by itself.
local function run(program, memory, ...)
  local output, status = child.run { input = PRELUDE .. program, memory = memory or MEMORY, ... }
  assert.equal(0, status, output)
  local lines = {}
  for line in output:gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

local missing = not io.open "/proc/self/status" and "this system has no /proc"

describe("without memory,", function()
  if missing then return pending(missing) end

  -- 60 MB: more than the session can get, or more than Lua can get after that.
  for name, case in pairs {
    ["for the session"] = { memory = 75000 },
    ["for Lua's string"] = { memory = 128000 },
    ["over wss"] = { memory = 75000, scheme = "wss" },
    ["for fragments"] = { memory = 75000, path = "&fragment=1000" },
    ["for what it inflates to"] = { memory = 75000, options = "deflate = true" },
    ["of a user's socket"] = {
      memory = 75000, options = "connect = function(host, port) return require('socket').connect(host, port) end",
    },
  } do
    it("a large message ends its connection with 1009: " .. name, function()
      local program = ([[
        local other, conn = open "/echo", open("/flood?size=60000000&count=1%s", { %s })
        print(await(conn))
        print(conn.close_code_sent, conn.close_reason_sent, conn.connected)
        luws.wswait(conn, 5)
        print(size() < 40000)
        print(converse(other))
      ]]):format(case.path or "", case.options or "")
      assert.same({
        "end: not enough memory; not enough memory", "1009\tnot enough memory\tfalse", "true",
        "message of 5 bytes; open",
      }, run(program, case.memory, servers.url("demo", case.scheme or "ws", "")))
    end)
  end

  for _, scheme in ipairs { "ws", "wss" } do
    for name, options in pairs {
      ["a large message is not sent"] = "",
      ["fragments are not sent"] = scheme == "ws" and "fragment_size = 1000" or nil,
      ["a large message is not compressed and sent"] = scheme == "ws" and "deflate = { level = 1 }" or nil,
    } do
      it(name .. ", and the connection goes on: " .. scheme, function()
        assert.same({
          "false\tsend error: not enough memory", "false\tsend error: not enough memory", "message of 5 bytes; open",
          "true", "message of 8000000 bytes; open",
        }, run(([[
          local conn = open("/echo", { %s })
          -- Beyond the 32 KiB that DEFLATE sees, it repeats.
          local block = {}
          for i = 1, 50000 do block[i] = string.char(math.random(33, 126)) end
          local large = table.concat(block):rep(160)
          fill()
          print(luws.wssend(conn, 2, large))
          print(luws.wssend(conn, 1, large))
          free()
          print(converse(conn))
          print(luws.wssend(conn, 2, large))
          large = nil
          print(await(conn))
        ]]):format(options), MEMORY, servers.url("demo", scheme, "")))
      end)
    end
  end

  it("a message from a source that was begun ends its connection with 1011", function()
    assert.same({ "false\tsend error: not enough memory", "1011\tfalse", "message of 5 bytes; open" }, run([[
      local conn, other = open "/echo", open "/echo"
      local chunks = { "small", ("x"):rep(8000000) }
      fill()
      print(luws.wssend(conn, 2, function() return table.remove(chunks, 1) end))
      print(conn.close_code_sent, conn.connected)
      free()
      print(converse(other))
    ]], nil, servers.url("demo", "ws", "")))
  end)

  it("what a program passes in itself is an error", function()
    assert.same({
      "nil\tnot enough memory", "end: not enough memory", "false", "false\tstring", "false\tstring",
      "message of 5 bytes; open",
    }, run([[
      local conn, other = open "/echo", open "/echo"
      local large = "\130\127\0\0\0\0" .. string.char(0, 128, 0, 0) .. ("x"):rep(2 ^ 23)
      local name = ("x"):rep(2 ^ 23)
      local url = base .. "/" .. name
      fill()
      print(luws.wshandleincoming(large, conn))
      print(table.concat(told, ", "))
      print(conn.connected)
      local function show(_, ok, why) -- a URL may not be valid either
        print(false, type(ok == false and why or ok))
      end
      show(pcall(luws.wsopen, url))
      show(pcall(luws.wsopen, base, nil, { upgrade_headers = { Name = name } }))
      free()
      print(converse(other))
    ]], nil, servers.url("demo", "ws", "")))
  end)
end)
