-- The examples that are servers, as a user runs them: what they say, and how they answer and end.

local bridging = require "spec.support.bridging"
local child = require "spec.support.child"
local servers = require "spec.support.servers"
local socket = require "socket"
local unpack = require "spec.support.compat".unpack

local serving -- an example that is a server
after_each(child.over)

--- Starts an example that is a server, with these arguments. Returns what it says first.
local function serve(...)
  serving = child.serve { ... }
  return serving.line
end

describe("examples/echo_server.lua", function()
  for _, scheme in ipairs { "ws", "wss" } do
    it("answers examples/echo.lua over " .. scheme .. ", and ends in order", function()
      local ca = scheme == "wss" and servers.ca_file() or nil
      local pki = ca and ca:match "^(.*/)"
      local url = serve("examples/echo_server.lua", 0, ca and pki .. "server.pem", ca and pki .. "server.key")
      local output, status = child.run { "examples/echo.lua", url, ca }
      assert.is_truthy(output:find("large:  1 MiB of binary came back the same", 1, true), output)
      assert.is_truthy(output:find("close:  the server answered 4000, cleanly", 1, true), output)
      assert.equal(0, status)
      assert.same({ "", 0 }, { serving:stop "INT" })
    end)
  end

  it("says why it cannot listen", function()
    assert.same({ "Listening on 127.0.0.1:1 failed: permission denied\n", 1 },
      { child.run { "examples/echo_server.lua", "1", environment = "setpriv --reuid=65534 --clear-groups" } })
  end)
end)

describe("examples/chat_server.lua", function()
  it("gives out its page, and lets those in a room talk to each other", function()
    local url = serve("examples/chat_server.lua", 0)
    local page = io.popen("curl -s " .. url):read "*a"
    assert.is_truthy(page:find("new WebSocket", 1, true), page)
    local luws, told = require "luws", {}
    local function open(room, name)
      local conn = assert(luws.wsopen(url:gsub("^http", "ws") .. room, function(_, opcode, data)
        if opcode then told[#told + 1] = name .. " hears " .. data end
      end))
      luws.wssend(conn, 1, name)
      return conn
    end
    local ann = open("a", "Ann")
    luws.wswait(ann, 5)
    luws.wsreceive(ann)
    local other, bob = open("b", "Eve"), open("a", "Bob")
    luws.wswait(bob, 5)
    luws.wssend(bob, 1, "hi")
    while #told < 3 do
      luws.wswait(ann, 5)
      luws.wsreceive(ann)
    end
    assert.same({
      'Ann hears {"text":"is here, with 0 others","who":"Ann"}',
      'Ann hears {"text":"is here, with 1 others","who":"Bob"}',
      'Ann hears {"text":"hi","who":"Bob"}',
    }, told)
    for _, conn in ipairs { ann, bob, other } do
      luws.wsclose(conn)
      luws.wswait(conn, 5)
    end
    assert.same({ "", 0 }, { serving:stop() })
  end)
end)

describe("examples/bridge.lua", function()
  after_each(bridging.over)

  it("makes a message of each telegram of the meter, and leads nowhere but to its devices", function()
    local luws, told = require "luws", {}
    local meter, other = bridging.listen(), bridging.listen()
    local said = serve("examples/bridge.lua", 0, "meter=" .. meter.address, "other=" .. other.address)
    local url = said:match "^luws bridge: listening at (ws://127%.0%.0%.1:%d+)$"
    local function open(path, origin)
      return luws.wsopen(url .. path, function(_, _, data) told[#told + 1] = data end,
        { upgrade_headers = { Origin = origin } })
    end
    local conn = assert(open("/meter", "http://localhost:8000"))
    local device = meter:accept()
    for _, part in ipairs { "/KFM5\r\n\r\n1-0:1.8.1(1)\r", "\n!522", "B\r\n/KFM5\r\n!0A1B\r\n/KF" } do
      device:send(part)
      socket.sleep(0.01)
    end
    while #told < 2 and luws.wswait(conn, 5) do luws.wsreceive(conn) end
    assert.same({ "/KFM5\r\n\r\n1-0:1.8.1(1)\r\n!522B\r\n", "/KFM5\r\n!0A1B\r\n" }, told)
    assert.matches("404", select(2, open "/elsewhere"))
    assert.matches("403", select(2, open("/other", "https://evil.example")))
    luws.wsclose(conn)
    device:close()
    local output, status = serving:stop "INT"
    assert.matches("^luws bridge: open: 127.0.0.1:%d+ /meter %-> tcp://127.0.0.1:%d+\n", output)
    assert.equal(0, status)
  end)

  it("says what is wrong with its words", function()
    for _, case in ipairs {
      { "usage: lua5.1 examples/bridge.lua PORT NAME=ADDRESS...\n", "0" },
      { "NAME=ADDRESS expected, not meter\n", "0", "meter" },
    } do
      assert.same({ case[1], 1 }, { child.run { "examples/bridge.lua", unpack(case, 2) } })
    end
    local output, status = child.run { "examples/bridge.lua", "none", "meter=tcp://127.0.0.1:1" }
    assert.matches("port", output)
    assert.equal(1, status)
  end)
end)
