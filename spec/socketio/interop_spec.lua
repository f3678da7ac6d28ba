-- Against the libraries that others use: npm's socket.io and socket.io-client, of version 4 and of version 2, and
-- python-socketio, in both roles and over all transports. All programs do the same (spec/interop, and
-- spec/support/socketio.lua).

local open = io.open

local io = require "luws.socketio"
local servers = require "spec.support.servers"
local socketio = require "spec.support.socketio"
local stepping = require "spec.support.stepping"

local PATIENCE = 20 -- seconds

--- step(done): steps until done() is true.
local function step(done) stepping.till(done, nil, PATIENCE) end

local TRANSPORTS = { { "polling", "websocket" }, { "websocket" }, { "polling" } }

--- Returns what a program prints that sees all that it should; `changes` has lines for others.
local function expected(changes)
  local lines = {
    'auth [{token:"t"}]', 'ack [1,"2 é😀",{list:[true,null,-1.5],none:{}},<010203>,{deep:[<>]}]',
    'back [1,"2 é😀",{list:[true,null,-1.5],none:{}},<010203>,{deep:[<>]}]', "answered [2,<78>]", "burst true",
    "acks true",
    'told ["hello",<79>]', 'refused "Invalid namespace"', 'refused ["no",{code:1}]', 'gone "io server disconnect"',
  }
  for i, line in pairs(changes or {}) do lines[i] = line end
  return lines
end

describe("a client of luws", function()
  for name, changes in pairs {
    socketio = {}, ["python-socketio"] = { [8] = 'refused "Unable to connect"' },
  } do
    for _, transports in ipairs(TRANSPORTS) do
      it(("talks to %s by %s"):format(name, table.concat(transports, ", ")), function()
        local url = "http://127.0.0.1:" .. servers.start(name).io
        assert.same(expected(changes), socketio.talk(url, transports, step))
      end)
    end
  end

  it("comes back to npm's server with what it has missed", function()
    local url = "http://127.0.0.1:" .. servers.start("socketio").recovering
    local socket = io(url, { reconnectionDelay = 10, forceNew = true })
    local heard, reasons = {}, {}
    socket:on("message-back", function(text) heard[#heard + 1] = text end)
    socket:on("disconnect", function(reason) reasons[#reasons + 1] = reason end)
    socket:emit("message", "before")
    step(function() return heard[1] end)
    local id = socket.id
    socket:emit "lose"
    step(function() return reasons[1] and socket.connected end)
    assert.same({ "transport close", true, id }, { reasons[1], socket.recovered, socket.id })
    socket:disconnect()
  end)
end)

describe("a server of luws", function()
  local server

  after_each(function() server:close() end)

  --- Returns what a program prints that is given the URL of the server.
  local function run(command, transports, version)
    server = socketio.server { port = 0, allowEIO3 = version == "2" }
    local path = os.tmpname()
    os.execute(("(%s http://127.0.0.1:%d %s %s >%s 2>&1; echo end >>%s) &"):format(command, server.port,
      table.concat(transports, ","), version or "", path, path))
    local said
    step(function()
      local file = assert(open(path))
      said = file:read("*a"):match "^(.*)end\n$"
      file:close()
      return said
    end)
    os.remove(path)
    local lines = {}
    for line in said:gmatch "[^\n]+" do lines[#lines + 1] = line end
    return lines
  end

  local CLIENTS = {
    { "npm's socket.io-client 4", "node spec/interop/socketio_client.js" },
    { "npm's socket.io-client 2", "node spec/interop/socketio_client.js", "2" },
    { "python-socketio", "build/interop/venv/bin/python spec/interop/socketio_client.py" },
  }

  for _, client in ipairs(CLIENTS) do
    for _, transports in ipairs(TRANSPORTS) do
      it(("talks to %s by %s"):format(client[1], table.concat(transports, ", ")), function()
        local lines = expected()
        if client[3] then
          lines[1] = "auth [{}]" -- it has no such option
          table.remove(lines, 9)
        end
        assert.same(lines, run(client[2], transports, client[3]))
      end)
    end
  end

  for _, transports in ipairs(TRANSPORTS) do
    it("talks to a client of luws by " .. table.concat(transports, ", "), function()
      server = socketio.server { port = 0 }
      assert.same(expected(), socketio.talk("http://127.0.0.1:" .. server.port, transports, step))
    end)
  end
end)
