-- Finalisers that do anything at any time must not crash the process. The long run is `make torture`.

local child = require "spec.support.child"
local servers = require "spec.support.servers"

local PROGRAM = debug.getinfo(1, "S").source:match "^@(.*)_spec%.lua$" .. "/torture.lua"

for _, scheme in ipairs { "ws", "wss" } do
  for _, size in ipairs { 16, 5000 } do
    it(("a process survives finalisers that do anything: %s, messages of %d bytes"):format(scheme, size), function()
      local url = servers.url("demo", scheme, ("/flood?size=%d&count=5000"):format(size))
      local output, status = child.run { PROGRAM, url, "1", "20000" }
      assert.matches("survived\n$", output)
      assert.equal(0, status)
    end)
  end
end

it("a finaliser may open a connection while another is being opened", function()
  -- This once crashed PUC Lua 5.1: both were inside a protected call of the binding and took each other's function.
  local output, status = child.program [[
    luup = { log = function() end }
    local luws = require "luws"
    collectgarbage("setpause", 60)
    collectgarbage("setstepmul", 400)
    local finalised, busy = 0, false
    local function litter()
      local proxy = newproxy(true)
      getmetatable(proxy).__gc = function()
        finalised = finalised + 1
        if busy then return end
        busy = true
        pcall(luws.wsopen, "ws://a\1b/")
        busy = false
      end
    end
    for i = 1, 5000 do
      for _ = 1, i % 7 do litter() end
      luws.wsopen("ws://127.0.0.1:1/")
    end
    print(finalised > 12500)
  ]]
  assert.same({ "true\n", 0 }, { output, status })
end)
