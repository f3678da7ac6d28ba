-- An engine of luws.engineio for specs, over real sockets, and clients that are played request by request.
--
--   local e = engine.start { pingInterval = 50 }     -- e.engine; e.seen has what its sockets were told
--   local response = e:get "transport=polling"       -- status, headers, body; EIO=4 goes without saying
--   local sid = e:handshake()                        -- of a session by polling
--   e:post(sid, "4hello")
--   local ws = e:websocket("transport=websocket")    -- ws.messages, ws:send(opcode, data), ws:close(); or nil, why
--   after_each(engine.over)
--
-- It steps the reactor, which drives both ends, and knows nothing of what a spec is about.

local engineio = require "luws.engineio"
local http = require "luws.http"
local luws = require "luws"
local reactor = require "luws.reactor"
local stepping = require "spec.support.stepping"

-- How long the ends of all connections may take, in seconds.
local PATIENCE = 5

local engine = {}

local started, conns = {}, {}

engine.till, engine.rest = stepping.till, stepping.rest

local Engine = {}
Engine.__index = Engine

--- note(socket): notes what a socket of the server is told.
function Engine:note(socket)
  self.sockets[#self.sockets + 1] = socket
  for _, name in ipairs { "message", "upgrade", "close" } do
    socket:on(name, function(value, details)
      local text = name == "upgrade" and value.name or value
      if type(text) == "userdata" then text = "binary " .. tostring(text) end
      local why = name == "close" and type(details) == "table" and details.message
      self.seen[#self.seen + 1] = name .. " " .. text .. (why and ": " .. why or "")
    end)
  end
end

--- start([options]): returns an engine at a free port.
function engine.start(options)
  local given = { port = 0 }
  for name, value in pairs(options or {}) do given[name] = value end
  local self = setmetatable({ engine = assert(engineio.listen(given)), sockets = {}, seen = {}, errors = {} }, Engine)
  self.engine:on("connection", function(socket) self:note(socket) end)
  self.engine:on("connection_error", function(err)
    self.errors[#self.errors + 1] = { err.code, err.message, err.context and err.context.name }
  end)
  self.base, self.eio = ("http://127.0.0.1:%d/engine.io/"):format(self.engine.port), "4"
  started[#started + 1] = self.engine
  return self
end

--- news(): returns what the sockets were told since the last call.
function Engine:news()
  local seen = self.seen
  self.seen = {}
  return seen
end

--- ask(query, options): makes a request. Returns a function that returns its response once it is there.
function Engine:ask(query, options)
  local result
  local request = assert(http.request(self.base .. "?EIO=" .. self.eio .. "&" .. query, options, function(response, why)
    result = response or { status = why }
  end))
  return function() return result end, request
end

--- get(query [, options]): makes a request, and waits for its response.
function Engine:get(query, options) return engine.till((self:ask(query, options))) end

--- poll(sid): begins to wait for packets. Returns the same as ask.
function Engine:poll(sid) return self:ask("transport=polling&sid=" .. sid) end

--- post(sid, body [, headers]): sends packets. Returns the response.
function Engine:post(sid, body, headers)
  return self:get("transport=polling&sid=" .. sid, { method = "POST", body = body, headers = headers })
end

--- handshake([more]): begins a session by polling. Returns its name, and the response.
function Engine:handshake(more)
  local response = self:get("transport=polling" .. (more or ""))
  return response.body:match '"sid":"([^"]+)"', response
end

--- packets(body): returns the packets in a body.
function engine.packets(body)
  local list = {}
  for packet in (body .. "\30"):gmatch "(.-)\30" do list[#list + 1] = packet end
  return list
end

local WebSocket = {}
WebSocket.__index = WebSocket

function WebSocket:send(opcode, data) assert(luws.wssend(self.conn, opcode, data)) end

function WebSocket:close() luws.wsclose(self.conn) end

--- await(count): waits for so many messages. Returns them.
function WebSocket:await(count)
  engine.till(function() return #self.messages >= count or self.over end)
  return self.messages
end

--- websocket(query [, options]): opens a WebSocket. Its messages are texts, or { data } if they are binary.
function Engine:websocket(query, options)
  local self_ = setmetatable({ messages = {}, over = nil, conn = nil }, WebSocket)
  local given = { wait = false, reactor = reactor, open_handler = function() self_.is_open = true end }
  for name, value in pairs(options or {}) do given[name] = value end
  local url = self.base:gsub("^http", "ws") .. "?EIO=" .. self.eio .. "&" .. query
  self_.conn = assert(luws.wsopen(url, function(_, opcode, data)
    if not opcode then
      self_.over = data
    else
      table.insert(self_.messages, opcode == 1 and data or { data })
    end
  end, given))
  conns[#conns + 1] = self_.conn
  engine.till(function() return self_.is_open or self_.over end)
  if not self_.is_open then return nil, self_.conn.response, self_.over end
  return self_
end

--- over(): ends all engines, and checks that the reactor has nothing more to do in time.
function engine.over()
  for _, conn in ipairs(conns) do luws.wsclose(conn) end
  for _, one in ipairs(started) do
    one:close()
    one.srv:close { timeout = 0 }
  end
  started, conns = {}, {}
  stepping.come_to_rest(PATIENCE)
end

return engine
