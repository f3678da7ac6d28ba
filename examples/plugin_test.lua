--[[
A plugin's unit test: the whole plugin of examples/luup-plugin runs in a world without a network and without waiting
(docs/mock.md).

    lua5.1 examples/plugin_test.lua

It needs no server and no Luup system, and takes less than a second for three virtual hours. Any test framework will do;
here there is none.
--]]

local mock = require "luws.mock"

local FOLDER = arg[0]:match "^(.*)plugin_test%.lua$" .. "luup-plugin"
local SERVICE = "urn:example-com:serviceId:WSListener1"
local URL, DEVICE = "wss://hub.example.com/events", 7

local host, net, server

local function status() return host:get(DEVICE, "Status") end

local tests = {}

tests["a message goes into a variable"] = function()
  local peer = server:accept()
  peer:send "the door is open"
  net:run()
  assert(host:get(DEVICE, "Message") == "the door is open")
end

tests["the action Send sends"] = function()
  local peer = server:accept()
  peer:expect("first", "second")
  for _, text in ipairs { "first", "second" } do assert(host:action(DEVICE, "Send", { Text = text })) end
  net:run()
end

tests["a quiet server is pinged, and one that is dead is given up"] = function()
  local peer = server:accept()
  net:advance(3600)
  assert(#peer.pings > 30 and status() == "connected")
  peer:pause() -- it reads no more, and so answers no more
  net:advance(300)
  assert(server.attempts > 1)
end

tests["a lost connection is opened again, later each time"] = function()
  server:accept():drop()
  net:refuse "hub.example.com"
  net:advance(120)
  assert(status() == "not connected: Connection to hub.example.com:443 failed: connection refused")
  assert(server.attempts == 1)
  net:restore "hub.example.com"
  net:advance(60)
  assert(status() == "connected")
end

tests["a network that brings everything in pieces, late, changes nothing"] = function()
  server.faults = { split_reads = mock.random(1, 5), short_writes = mock.random(1, 5), delay = 0.2, jitter = 1 }
  server:accept():drop()
  net:advance(10)
  server:accept():send(("news "):rep(100))
  net:advance(60)
  assert(host:get(DEVICE, "Message") == ("news "):rep(100))
end

local names = {}
for name in pairs(tests) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do
  host = mock.luup { folder = FOLDER, plugin = "WSListener", service = SERVICE, openLuup = true }
  net = host.net
  server = net:listen(URL)
  host:set(DEVICE, "URL", URL)
  host:startup(DEVICE)
  net:advance(1)
  assert(status() == "connected")
  tests[name]()
  host:set(DEVICE, "URL", "") -- so that the plugin closes its connection
  net:advance(30)
  host:stop()
  net:finish() -- nothing that was expected is missing, and nothing is left open
  print("passed: " .. name)
end
print "done"
