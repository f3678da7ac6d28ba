-- Luup plugins in worlds of luws.mock (the example plugin has more: spec/plugin_spec.lua).

local files = require "spec.support.files"
local luws = require "luws"
local mock = require "luws.mock"

local URL = "ws://hub.test/events"

describe("mock.luup", function()
  local SERVICE = "urn:example-com:serviceId:WSListener1"
  local host

  local function start(openLuup)
    host = mock.luup { folder = "examples/luup-plugin", plugin = "WSListener", openLuup = openLuup, service = SERVICE }
    return host.net
  end

  after_each(function() host:stop() end)

  for _, openLuup in ipairs { true, false } do
    it("runs a plugin for 10,000 seconds with three losses" .. (openLuup and ", in openLuup" or ""), function()
      local net = start(openLuup)
      local server = net:listen(URL, mock.echo())
      host:set(7, "URL", URL)
      assert.same({ true, "Ready", "WSListener" }, { host:startup(7) })
      net:advance(1)
      assert.same({ "connected", "1700000000" }, { host:get(7, "Status"), host:get(7, "LastUpdate") })
      local peer = server:accept()
      peer:send "news"
      net:advance(1)
      assert.equal("news", host:get(7, "Message"))
      assert.is_true(host:action(7, "Send", { Text = "hello" }))
      for _, lose in ipairs { "drop", "reset", "close" } do
        net:advance(2500)
        assert.equal("connected", host:get(7, "Status"))
        peer[lose](peer)
        net:advance(3)
        peer = assert(server:accept(), lose)
      end
      net:advance(10000 - net:now())
      assert.same({ "connected", 4, 0 }, { host:get(7, "Status"), server.attempts, host.failure[7] })
      assert.is_true(#peer.pings >= 35)
      host:set(7, "URL", "")
      net:advance(5)
      net:finish()
    end)
  end

  it("runs a plugin whose implementation names its files and its functions", function()
    local folder = files.unused()
    assert(os.execute("mkdir " .. folder))
    for name, text in pairs {
      ["I_Old1.xml"] = "<implementation><files>L_Old1.lua L_Old2.lua</files><functions>function start(device)\n"
        .. "  if limit &gt; 1 then luup.call_delay('old_poll', 5, device) end\n  return true\nend</functions>"
        .. "<startup>start</startup></implementation>",
      ["L_Old1.lua"] = "local luws = require 'luws'\nlocal limit = 2\nfunction old_open()\n"
        .. "  return luws.wsopen('ws://hub.test/events', function(_, _, data) heard = data end)\nend\n",
      ["L_Old2.lua"] = "function old_poll(device)\n  conn = conn or old_open()\n  luws.wsreceive(conn)\n"
        .. "  luup.variable_set('urn:old', 'Heard', heard or '', tonumber(device))\n"
        .. "  luup.call_delay('old_poll', 1, device)\nend\n",
    } do
      files.write(folder .. "/" .. name, text)
    end
    host = mock.luup { folder = folder, plugin = "Old", service = "urn:old" }
    local server = host.net:listen(URL)
    assert.is_true(host:startup(7))
    host.net:advance(5)
    server:accept():send "news"
    host.net:advance(2)
    assert.equal("news", host:get(7, "Heard"))
    assert.is_nil(rawget(_G, "old_poll"))
    os.execute("rm -r " .. folder)
  end)

  it("puts everything back", function()
    local time, date, path, before = os.time, os.date, package.path, rawget(_G, "luup")
    local net = start(true)
    assert.equal(1700000000, os.time())
    net:advance(5)
    assert.same({ 1700000005, "2023-11-14 22:13:25" }, { os.time(), os.date "!%Y-%m-%d %H:%M:%S" })
    assert.equal(net.luws, require "luws")
    host:stop()
    assert.same({ time, date, path, luws }, { os.time, os.date, package.path, require "luws" })
    assert.equal(before, rawget(_G, "luup"))
    assert.is_nil(rawget(_G, "WSListener_turn"))
    assert.is_nil(package.loaded["L_WSListener1"])
    assert.is_nil(package.loaded["openLuup.scheduler"])
  end)

  it("fails a test whose plugin raises an error", function()
    local net = start(false)
    rawset(_G, "plugin_that_fails", function() error "oh" end)
    rawget(_G, "luup").call_delay("plugin_that_fails", 1, "")
    local ok, err = pcall(net.advance, net, 1)
    assert.is_false(ok)
    assert.matches("plugin_that_fails: spec/mock/[a-z]+_spec.lua:%d+: oh", err)
  end)

  it("gives the plugin the modules of its world, and takes them back", function()
    local before = package.loaded["luws.websocket"]
    local net = start(true)
    net:listen("ws://hub.test/", mock.echo())
    local told
    local ws = require "luws.websocket" "ws://hub.test/"
    function ws.onopen() ws:send "hello" end
    function ws.onmessage(event) told = event.data end
    local srv = assert(require "luws.server".listen { port = 80, on_open = function() end })
    net:run()
    assert.same({ "hello", true }, { told, (luws.wsopen("ws://localhost/", nil, net:options())) and true })
    ws:close()
    srv:close()
    net:settle()
    host:stop()
    assert.equal(before, package.loaded["luws.websocket"])
  end)

  it("gives the plugin Socket.IO and Engine.IO of its world", function()
    local net = start(true)
    local io, told = require "luws.socketio", {}
    local server = assert(io.server { port = 3000 })
    server:on("connection", function(socket)
      socket:on("ask", function(text, answer) answer(text .. "!") end)
    end)
    local socket = io "http://localhost:3000"
    socket:emit("ask", "well", function(answer) told.answer = answer end)
    local bare = assert(require "luws.engineio".connect("http://localhost:3000", { path = "/socket.io" }))
    bare:on("open", function() told.is_open = true end)
    net:advance(2)
    assert.same({ answer = "well!", is_open = true }, told)
    bare:close()
    socket:close()
    server:close()
    net:settle()
  end)
end)
