-- The plugin in examples/luup-plugin, in a stand-in for Luup, with and without openLuup's scheduler and SockProxy.

local files = require "spec.support.files"
local luup = require "spec.support.luup"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local FOLDER = "examples/luup-plugin/"
local SERVICE = "urn:example-com:serviceId:WSListener1"
local DEVICE = 7

local read = files.read

describe("the plugin's files", function()
  it("have the stub as it is", function()
    assert.equal(read "lua/L_MyPlugin_LuWS.lua", read(FOLDER .. "L_WSListener_LuWS.lua"))
  end)

  it("are well-formed", function()
    local script = "import json, sys, xml.dom.minidom as xml; "
      .. "[(json.load if name.endswith('json') else xml.parse)(open(name)) for name in sys.argv[1:]]"
    local command = 'python3 -c "' .. script .. '"'
    for _, name in ipairs { "D_WSListener1.xml", "S_WSListener1.xml", "I_WSListener1.xml", "D_WSListener1.json" } do
      command = command .. " " .. FOLDER .. name
    end
    local status = os.execute(command)
    assert.is_true(status == 0 or status == true)
  end)

  it("agree on the service and its actions", function()
    for _, name in ipairs { "D_WSListener1.xml", "I_WSListener1.xml", "D_WSListener1.json", "L_WSListener1.lua" } do
      assert.matches(SERVICE, read(FOLDER .. name), 1, true)
    end
    local device_type = read(FOLDER .. "D_WSListener1.xml"):match "<deviceType>(.-)<"
    assert.equal(device_type, read(FOLDER .. "D_WSListener1.json"):match '"DeviceType": "(.-)"')
    for _, name in ipairs { "S_WSListener1.xml", "I_WSListener1.xml" } do
      local actions = {}
      for action in read(FOLDER .. name):gmatch "<action>(.-)</action>" do
        actions[#actions + 1] = action:match "<name>(.-)<"
      end
      assert.same({ "Send", "HandleReceive" }, actions)
    end
  end)
end)

describe("the plugin", function()
  local host, peers, opened

  -- opened: the options of each wsopen. Only a spec's own SockProxy is ever contacted.
  local function start(options)
    options.folder, options.plugin, options.service = FOLDER, "WSListener", SERVICE
    host, opened = luup.start(options), {}
    local luws = require "L_WSListener_LuWS"
    local wsopen = luws.wsopen
    function luws.wsopen(url, handler, settings)
      opened[#opened + 1] = settings
      settings.close_timeout = 0 -- not every peer here answers a close frame
      if settings.sockproxy then settings.sockproxy.port = options.proxy or peers.none.port end
      return wsopen(url, handler, settings)
    end
  end

  local function peer(script)
    local new = scripted.peer(script)
    peers[#peers + 1] = new
    return new
  end

  local function status(device) return host:get(device or DEVICE, "Status") end
  local function is_connected() return status() == "connected" end

  before_each(function() peers = { none = scripted.refused() } end)

  after_each(function()
    host:set(DEVICE, "URL", "") -- so that it closes its connection
    host:pass(0)
    host:pass(0)
    host:stop()
    for _, each in pairs(peers) do each:close() end
  end)

  it("starts without a URL, and connects when it gets one", function()
    start { openLuup = true }
    assert.same({ true, "Ready", "WSListener" }, { host:startup(DEVICE) })
    assert.equal("", host:get(DEVICE, "URL"))
    assert.equal("0", host:get(DEVICE, "LastUpdate"))
    host:pass(1000)
    assert.equal("no URL", status())
    assert.equal(0, #opened)
    host:set(DEVICE, "URL", servers.url("demo", "ws", "/echo"))
    host:run(is_connected)
    assert.equal(1, #opened)
    assert.equal(0, host.failure[DEVICE])
  end)

  it("keeps the URL that it has, and does not connect while it starts", function()
    start { openLuup = true }
    host:set(DEVICE, "URL", servers.url("demo", "ws", "/echo"))
    host:startup(DEVICE)
    assert.equal(0, #opened)
    host:run(is_connected)
  end)

  it("does nothing when it is disabled", function()
    start { openLuup = true }
    host.attributes[DEVICE] = { disabled = "1" }
    host:set(DEVICE, "URL", servers.url("demo", "ws", "/echo"))
    assert.same({ true, "Disabled", "WSListener" }, { host:startup(DEVICE) })
    host:pass(1000)
    assert.equal("disabled", status())
    assert.equal(0, #opened)
  end)

  it("says that a URL is not valid, and does not try again", function()
    start { openLuup = true }
    host:set(DEVICE, "URL", "http://127.0.0.1/")
    host:startup(DEVICE)
    host:pass(1000)
    assert.equal("bad URL", status())
    assert.equal(1, #opened)
    assert.equal(1, host.failure[DEVICE])
    assert.matches("Invalid protocol/address for WebSocket open in URL", host.logged[#host.logged][1], 1, true)
  end)

  it("serves several devices", function()
    start { openLuup = true }
    for device = DEVICE, DEVICE + 1 do
      host:set(device, "URL", servers.url("demo", "ws", "/echo"))
      host:startup(device)
    end
    host:run(function() return is_connected() and status(DEVICE + 1) == "connected" end)
    for device = DEVICE, DEVICE + 1 do
      assert.is_true(host:action(device, "Send", { Text = "to " .. device }))
    end
    host:run(function() return host:get(DEVICE, "Message") ~= "" and host:get(DEVICE + 1, "Message") ~= "" end)
    for device = DEVICE, DEVICE + 1 do assert.equal("to " .. device, host:get(device, "Message")) end
    host:set(DEVICE + 1, "URL", "")
  end)

  -- the kind of host, and how many seconds of its clock pass while we wait: none where nothing is polled
  for _, mode in ipairs { { "in openLuup", true, 0 }, { "by polling", false, 1 } } do
    local name, openLuup, seconds = mode[1], mode[2], mode[3]
    describe(name, function()
      local function connect(url)
        start { openLuup = openLuup }
        host:set(DEVICE, "URL", url)
        host:startup(DEVICE)
        host:run(is_connected, seconds)
      end

      it("puts a message into a variable", function()
        local pushing = peer { { "upgrade" }, { "wait" }, { "send", scripted.frame { payload = "news" } }, { "hold" } }
        connect(pushing.url)
        assert.equal(openLuup and 0 or 1, host.delay) -- openLuup needs no further call
        assert.equal(not openLuup, opened[1].sockproxy ~= nil)
        assert.equal(openLuup and 1 or 0, next(host.watched) and 1 or 0)
        assert.equal("", host:get(DEVICE, "Message"))
        host:set(DEVICE, "LastUpdate", "0")
        pushing:go()
        host:run(function() return host:get(DEVICE, "Message") ~= "" end, seconds)
        assert.equal("news", host:get(DEVICE, "Message"))
        assert.is_true(math.abs(host:get(DEVICE, "LastUpdate") - os.time()) < 60)
      end)

      it("ignores a binary message, and goes on", function()
        connect(peer { { "upgrade" }, { "send", "\130\2\0\1" .. "\129\4text" }, { "hold" } }.url)
        host:run(function() return host:get(DEVICE, "Message") ~= "" end, seconds)
        assert.equal("text", host:get(DEVICE, "Message"))
        assert.equal("WSListener #7: a binary message of 2 bytes is ignored", host.logged[#host.logged][1])
      end)

      it("sends by its action", function()
        connect(servers.url("demo", "ws", "/echo"))
        assert.is_true(host:action(DEVICE, "Send", { Text = "Hello, WebSocket!" }))
        host:run(function() return host:get(DEVICE, "Message") ~= "" end, seconds)
        assert.equal("Hello, WebSocket!", host:get(DEVICE, "Message"))
        assert.is_false(host:action(DEVICE, "Send", { Text = "\255" }))
        assert.matches("^WSListener #7: Send: send error: ", host.logged[#host.logged][1])
      end)

      it("shows that the server has gone away, and that it is back", function()
        local going = peer { { "upgrade" }, { "wait" }, { "close" } }
        connect(going.url)
        assert.equal(0, host.failure[DEVICE])
        going:go()
        host:run(function() return not is_connected() end, seconds)
        assert.equal("not connected: receiver error: closed", status())
        assert.equal(1, host.failure[DEVICE])
        assert.is_false(host:action(DEVICE, "Send", { Text = "anybody?" }))
        host:run(is_connected, seconds)
        assert.equal(0, host.failure[DEVICE])
        assert.equal(2, going:connections())
        assert.equal(1, #opened) -- it is the same connection
      end)

      it("shows why it cannot connect, and tries another URL at once", function()
        start { openLuup = openLuup }
        host:set(DEVICE, "URL", peers.none.url)
        host:startup(DEVICE)
        host:run(function() return (status() or "") ~= "" end, seconds)
        assert.matches("^not connected: Connection to .* failed: connection refused$", status())
        assert.equal(1, host.failure[DEVICE])
        host:set(DEVICE, "URL", peer { { "upgrade" }, { "hold" } }.url)
        host:run(is_connected, seconds)
        assert.equal(0, host.failure[DEVICE])
        assert.equal(2, #opened)
      end)
    end)
  end

  it("is notified by SockProxy where there is one", function()
    local proxy = peer {
      { "send", "OK TOGGLEDBITS-SOCKPROXY 1.1 99\n" }, { "read_until", "\n" }, { "send", "OK CONN 99\n" },
      { "upgrade" }, { "wait" }, { "send", scripted.frame { payload = "news" } }, { "hold" },
    }
    start { proxy = proxy.port }
    host:set(DEVICE, "URL", "ws://192.0.2.1:81/events")
    host:startup(DEVICE)
    host:run(is_connected, 1)
    assert.equal(10, host.delay)
    proxy:go()
    proxy:at(7)
    host:run(function()
      assert.same({ 4, 0 }, { host:action(DEVICE, "HandleReceive", { Pid = "99" }) })
      return host:get(DEVICE, "Message") == "news"
    end)
    local notify = "CONN 192.0.2.1:81 NTFY=7/" .. SERVICE .. "/HandleReceive"
    assert.equal(notify, proxy:so_far().raw:sub(1, #notify))
  end)
end)
