-- The plugin in examples/luup-plugin, in worlds with a stand-in for Luup: openLuup, and others.

local files = require "spec.support.files"
local mock = require "luws.mock"

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
  local URL = "ws://hub.test/events"
  local host, net, server, opened

  -- opened: for each wsopen, its options and what it has returned.
  local function start(openLuup)
    host = mock.luup { folder = FOLDER, plugin = "WSListener", service = SERVICE, openLuup = openLuup }
    net, opened = host.net, {}
    server = net:listen(URL)
    net:listen("ws://echo.test/", mock.echo())
    local luws = require "L_WSListener_LuWS"
    local wsopen = luws.wsopen
    function luws.wsopen(url, handler, settings)
      local one = { settings = settings }
      opened[#opened + 1] = one
      one.conn = wsopen(url, handler, settings)
      return one.conn
    end
  end

  local function status(device) return host:get(device or DEVICE, "Status") end

  after_each(function()
    host:set(DEVICE, "URL", "") -- so that it closes its connection
    net:advance(30)
    host:stop()
    net:finish()
  end)

  it("starts without a URL, and connects when it gets one", function()
    start(true)
    assert.same({ true, "Ready", "WSListener" }, { host:startup(DEVICE) })
    assert.equal("", host:get(DEVICE, "URL"))
    assert.equal("0", host:get(DEVICE, "LastUpdate"))
    net:advance(1000)
    assert.equal("no URL", status())
    assert.equal(0, #opened)
    host:set(DEVICE, "URL", URL)
    net:run()
    assert.same({ "connected", 1, 0 }, { status(), #opened, host.failure[DEVICE] })
  end)

  it("keeps the URL that it has, and does not connect while it starts", function()
    start(true)
    host:set(DEVICE, "URL", URL)
    host:startup(DEVICE)
    assert.equal(0, #opened)
    net:run()
    assert.equal("connected", status())
  end)

  it("does nothing when it is disabled", function()
    start(true)
    host.attributes[DEVICE] = { disabled = "1" }
    host:set(DEVICE, "URL", URL)
    assert.same({ true, "Disabled", "WSListener" }, { host:startup(DEVICE) })
    net:advance(1000)
    assert.same({ "disabled", 0, 0 }, { status(), #opened, server.attempts })
  end)

  it("says that a URL is not valid, and does not try again", function()
    start(true)
    host:set(DEVICE, "URL", "http://127.0.0.1/")
    host:startup(DEVICE)
    net:advance(1000)
    assert.same({ "bad URL", 1, 1 }, { status(), #opened, host.failure[DEVICE] })
    assert.matches("Invalid protocol/address for WebSocket open in URL", host.logged[#host.logged][1], 1, true)
  end)

  it("serves several devices", function()
    start(true)
    for device = DEVICE, DEVICE + 1 do
      host:set(device, "URL", "ws://echo.test/")
      host:startup(device)
    end
    net:run()
    for device = DEVICE, DEVICE + 1 do
      assert.equal("connected", status(device))
      assert.is_true(host:action(device, "Send", { Text = "to " .. device }))
    end
    net:run()
    for device = DEVICE, DEVICE + 1 do assert.equal("to " .. device, host:get(device, "Message")) end
    host:set(DEVICE + 1, "URL", "")
  end)

  -- The kind of host, and how long it may take until the plugin has noticed something, in seconds.
  for _, mode in ipairs { { "in openLuup", true, 0 }, { "by polling", false, 1 } } do
    local name, openLuup, seconds = mode[1], mode[2], mode[3]
    describe(name, function()
      --- Returns the server's end of the connection.
      local function connect(url)
        start(openLuup)
        host:set(DEVICE, "URL", url or URL)
        host:startup(DEVICE)
        net:advance(seconds)
        assert.equal("connected", status())
        return server:accept()
      end

      it("puts a message into a variable", function()
        local peer = connect()
        assert.equal(openLuup and 0 or 1, host.delay) -- openLuup needs no further call
        assert.same(not openLuup and { device = DEVICE, service = SERVICE, action = "HandleReceive" } or nil,
          opened[1].settings.sockproxy)
        assert.equal("", host:get(DEVICE, "Message"))
        host:set(DEVICE, "LastUpdate", "0")
        peer:send "news"
        net:advance(seconds)
        assert.equal("news", host:get(DEVICE, "Message"))
        assert.is_true(os.time() - host:get(DEVICE, "LastUpdate") <= seconds)
      end)

      it("ignores a binary message, and goes on", function()
        local peer = connect()
        peer:send("\0\1", "binary")
        peer:send "text"
        net:advance(seconds)
        assert.equal("text", host:get(DEVICE, "Message"))
        assert.equal("WSListener #7: a binary message of 2 bytes is ignored", host.logged[#host.logged][1])
      end)

      it("sends by its action", function()
        connect "ws://echo.test/"
        assert.is_true(host:action(DEVICE, "Send", { Text = "Hello, WebSocket!" }))
        net:advance(seconds)
        assert.equal("Hello, WebSocket!", host:get(DEVICE, "Message"))
        assert.is_false(host:action(DEVICE, "Send", { Text = "\255" }))
        assert.matches("^WSListener #7: Send: send error: ", host.logged[#host.logged][1])
      end)

      it("shows that the server has gone away, and that it is back", function()
        local peer = connect()
        assert.equal(0, host.failure[DEVICE])
        net:refuse "hub.test"
        peer:drop()
        net:advance(seconds)
        assert.matches("^not connected: ", status())
        assert.equal(1, host.failure[DEVICE])
        assert.is_false(host:action(DEVICE, "Send", { Text = "anybody?" }))
        net:restore "hub.test"
        net:advance(30)
        assert.same({ "connected", 0, 2 }, { status(), host.failure[DEVICE], server.attempts })
        assert.equal(1, #opened) -- it is the same connection
      end)

      it("shows why it cannot connect, and tries another URL at once", function()
        start(openLuup)
        host:set(DEVICE, "URL", "ws://nobody.test/")
        host:startup(DEVICE)
        net:advance(seconds)
        assert.equal("not connected: Connection to nobody.test:80 failed: connection refused", status())
        assert.equal(1, host.failure[DEVICE])
        host:set(DEVICE, "URL", URL)
        net:advance(seconds)
        assert.same({ "connected", 0, 2 }, { status(), host.failure[DEVICE], #opened })
      end)
    end)
  end

  it("is notified by SockProxy where there is one, and seldom polls then", function()
    start(false)
    host:set(DEVICE, "URL", URL)
    host:startup(DEVICE)
    net:advance(1)
    opened[1].conn.proxied = true -- as luws has it then
    net:advance(1)
    assert.equal(10, host.delay)
    server:accept():send "news"
    net:run()
    assert.equal("", host:get(DEVICE, "Message"))
    assert.same({ 4, 0 }, { host:action(DEVICE, "HandleReceive", { Pid = "99" }) })
    assert.equal("news", host:get(DEVICE, "Message"))
  end)
end)
