-- Worlds without a network, for everything.lua: each function of luws.mock, and worlds that are dropped.

local luws = require "luws"
local mock = require "luws.mock"
local server = require "luws.server"

local function conversation()
  local net = mock.net { seed = 3 }
  local scripted = net:listen("ws://hub.test/", mock.echo {
    deflate = true, faults = { split_reads = mock.random(1, 9), short_writes = 5, delay = 0.1 },
  })
  local answer
  local conn = assert(luws.wsopen("ws://hub.test/", function(_, opcode, data)
    answer = opcode and data or answer
  end, net:options { deflate = true }))
  assert(luws.wssend(conn, 1, ("text "):rep(100)))
  net:settle()
  assert(answer == ("text "):rep(100) and scripted:accept():received(1) == answer)
  luws.wsclose(conn)
  net:settle()
  net:finish()
end

local function losses()
  local list = { { reset_after = 300 }, { stall_after = 250 }, { corrupt_at = 3 }, { drop_at = "upgrade" } }
  for _, faults in ipairs(list) do
    local net = mock.net()
    net:listen("ws://hub.test/", { faults = faults })
    local conn = luws.wsopen("ws://hub.test/", print, net:options { wait = false, receive_timeout = 5 })
    net:advance(20)
    luws.wssend(conn, 1, ("x"):rep(400))
    net:advance(20)
    luws.wsclose(conn)
    net:advance(5)
  end
end

local function object()
  local ws = mock.WebSocket("ws://hub.test/", 1)
  ws.net:advance(2)
  assert(ws:receive "x" and ws:send "y" and ws.readyState == mock.OPEN)
  -- It is dropped as it is.
end

local function plugin()
  local host = mock.luup { folder = "examples/luup-plugin", plugin = "WSListener", openLuup = true,
    service = "urn:example-com:serviceId:WSListener1" }
  local scripted = host.net:listen("ws://hub.test/", mock.echo())
  host:set(7, "URL", "ws://hub.test/")
  host:startup(7)
  host.net:advance(100)
  assert(host:action(7, "Send", { Text = "hello" }) and scripted.attempts == 1)
  host.net:advance(100)
  assert(host:get(7, "Message") == "hello")
  host:stop()
end

local function servers()
  for _, ending in ipairs { "closed", "dropped" } do
    local net, count = mock.net { faults = { delay = 0.1 } }, 0
    local srv = assert(server.listen {
      port = 80, reactor = net.reactor, on_message = function(conn) conn.server:broadcast(nil, 2, "\0\255") end,
    })
    local function handler() count = count + 1 end
    local conns = {}
    for i = 1, 3 do conns[i] = assert(luws.wsopen("ws://localhost/", handler, net:options())) end
    for i = 1, 3 do luws.wssend(conns[i], 1, "x") end
    net:advance(1)
    assert(count == 9 and srv:count() == 3)
    if ending == "closed" then
      srv:close()
      net:settle()
      assert(srv:is_closed())
    end
  end
end

return {
  { "a conversation", conversation }, { "losses", losses }, { "an object", object }, { "a plugin", plugin },
  { "servers", servers },
}
