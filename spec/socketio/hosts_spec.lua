-- Waiting for answers in the coroutines of other people's event loops, in a fresh interpreter each.

local child = require "spec.support.child"

local COMMON = [[
local io_ = require "luws.socketio"
local reactor = require "luws.reactor"

local function talk()
  local server = assert(io_.server { port = 0 })
  server:on("connection", function(socket)
    socket:on("ask", function(number, ack) ack(number + 1, nil) end)
  end)
  local socket = io_("http://127.0.0.1:" .. server.port)
  print(socket:emitWithAck("ask", 1))
  os.exit(0)
end
]]

local LOOPS = {
  copas = [[
    local copas = require "copas"
    assert(reactor.attach "copas")
    copas.addthread(talk)
    copas.loop()
  ]],
  cqueues = [[
    local loop = require "cqueues".new()
    loop:wrap(function()
      assert(reactor.attach "cqueues")
      talk()
    end)
    loop:loop()
  ]],
  luv = [[
    local uv = require "luv"
    assert(reactor.attach "luv")
    local timer = uv.new_timer()
    timer:start(0, 0, coroutine.wrap(talk))
    uv.run()
  ]],
}

describe("emitWithAck", function()
  for name, loop in pairs(LOOPS) do
    it("lets others go on in a coroutine of " .. name, function()
      local output, status = child.run { input = COMMON .. loop }
      assert.same({ "true\t2\tnil\n", 0 }, { output, status })
    end)
  end
end)
