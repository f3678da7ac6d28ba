-- luws.engineio and others: npm's engine.io and engine.io-client, of revisions 4 and 3, and python-engineio, in both
-- roles.

local engine = require "spec.support.engine"
local engineio = require "luws.engineio"
local servers = require "spec.support.servers"
local serving = require "spec.support.serving"

after_each(engine.over)

local MESSAGES = { "hello", "é€😀", engineio.binary "\0\1\255", ("x"):rep(50000), engineio.binary(("\7"):rep(30000)) }
for i = 1, 60 do MESSAGES[#MESSAGES + 1] = "m" .. i end

--- session(url, transports): opens a session that sends all messages. Returns what it sees: events and messages.
local function session(url, transports)
  local socket = engineio.connect(url, { transports = transports, withCredentials = true })
  local self = { socket = socket, events = {}, messages = {}, pings = 0 }
  for _, name in ipairs { "open", "error", "upgradeError", "upgrade", "close" } do
    socket:on(name, function(value)
      local word = name == "close" and value or name == "error" and tostring(value)
      self.events[#self.events + 1] = name .. (word and " " .. word or "")
    end)
  end
  socket:on("message", function(data) self.messages[#self.messages + 1] = data end)
  socket:on("ping", function() self.pings = self.pings + 1 end)
  for _, message in ipairs(MESSAGES) do socket:send(message) end
  socket:send "burst"
  return self
end

describe("the client", function()
  for _, server in ipairs { "engineio", "python-engineio" } do
    it("gets along with " .. server, function()
      local url, sessions = ("http://127.0.0.1:%d"):format(servers.start(server).http), {}
      local ways = { { "polling" }, { "websocket" }, { "polling", "websocket" } }
      for i, transports in ipairs(ways) do sessions[i] = session(url, transports) end
      for i, one in ipairs(sessions) do
        local transports = ways[i]
        engine.till(function()
          return #one.messages == #MESSAGES + 50 and one.pings > 0 and (i < 3 or one.events[2] == "upgrade")
        end)
        for j, message in ipairs(MESSAGES) do assert.is_true(one.messages[j] == message, j) end
        for j = 0, 49 do assert.equal("burst " .. j, one.messages[#MESSAGES + 1 + j]) end
        assert.equal(transports[#transports], one.socket.transport.name)
        if i == 3 then one.socket:send "close" else one.socket:close() end
        engine.till(function() return one.events[#one.events]:find "^close" end)
        assert.same(i == 3 and { "open", "upgrade", "close transport close" } or { "open", "close forced close" },
          one.events)
      end
    end)
  end
end)

local function echo(e)
  e.engine:on("connection", function(socket)
    socket:on("message", function(data)
      if data == "burst" then
        for i = 0, 49 do socket:send("burst " .. i) end
      elseif data == "close" then
        socket:close()
      else
        socket:send(data)
      end
    end)
  end)
end

describe("the server", function()
  for _, case in ipairs {
    { "npm's engine.io-client", "node", "spec/interop/engineio_client.js", [[
4 polling, open, 115 messages, close forced close
4 websocket, open, 115 messages, close forced close
4 polling,websocket, open, upgrade websocket, 115 messages, close transport close
3 polling, open, 115 messages, close forced close
3 websocket, open, 115 messages, close forced close
3 polling,websocket, open, upgrade websocket, 115 messages, close transport close
]] },
    { "python-engineio", "build/interop/venv/bin/python", "spec/interop/engineio_client.py", [[
4 polling, open, polling, 115 messages, close client disconnect
4 websocket, open, websocket, 115 messages, close client disconnect
4 polling,websocket, open, websocket, 115 messages, close transport error
]] },
  } do
    it("gets along with " .. case[1], function()
      local e = engine.start { pingInterval = 300, pingTimeout = 5000, allowEIO3 = true, perMessageDeflate = true }
      echo(e)
      local said, status = serving.run(case[2], case[3], ("http://127.0.0.1:%d"):format(e.engine.port))
      assert.same({ case[4], 0 }, { said, status })
      engine.till(function() return e.engine.clientsCount == 0 end)
    end)
  end
end)
