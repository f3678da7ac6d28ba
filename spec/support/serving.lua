-- Servers of luws.server for specs, over real sockets: a server whose handlers note what they are told, clients that
-- are luws's own, and raw ones that send any bytes.
--
--   local s = serving.start { on_message = ... }
--   local reply = s:raw "GET / HTTP/1.1\r\n\r\n"     -- all that the server sends, up to the end
--   local client = s:connect "/chat"                 -- client.conn, client.told
--   after_each(serving.over)                         -- ends all of it
--
-- It steps the reactor, which drives both ends, and knows nothing of what a spec is about.

local log = require "spec.support.log"
local luws = require "luws"
local reactor = require "luws.reactor"
local server = require "luws.server"
local socket = require "socket"
local stepping = require "spec.support.stepping"

local serving = {}

serving.PATIENCE = stepping.PATIENCE

-- How long another program may take that talks to a server, in seconds. On a busy machine some take ten times as long.
local PROGRAM = 40

local started, raws, clients = {}, {}, {}

local Serving = {}
Serving.__index = Serving
serving.methods = Serving -- for servers that were started otherwise

serving.till, serving.rest = stepping.till, stepping.rest

--- start([options]): returns a server at a free port. Its field `events` has what its handlers were told: "open", {
-- opcode, data }, "drain", { code, reason }. Handlers in the options are called as well.
function serving.start(options)
  local given, events = {}, {}
  for name, value in pairs(options or {}) do given[name] = value end
  if not (given.port or given.unix or given.fd or given.listeners) then given.port = 0 end
  local self = setmetatable({ events = events, conns = {} }, Serving)
  local function also(name, note)
    local own = given[name]
    given[name] = function(...)
      note(...)
      if own then return own(...) end
    end
  end
  also("on_open", function(conn)
    self.conns[#self.conns + 1] = conn
    events[#events + 1] = "open"
  end)
  also("on_message", function(_, opcode, data) events[#events + 1] = { opcode, data } end)
  also("on_drain", function() events[#events + 1] = "drain" end)
  also("on_close", function(_, code, reason) events[#events + 1] = { code, reason } end)
  self.srv = assert(server.listen(given))
  started[#started + 1] = self
  local host, port = self.srv:address()
  self.host, self.port = host, port
  return self
end

--- connect([path [, options]]): opens a WebSocket. Returns a table with its `conn`, and what its handler was `told`.
function Serving:connect(path, options)
  local client = { told = {} }
  local given = { wait = false, reactor = reactor }
  for name, value in pairs(options or {}) do given[name] = value end
  local url = ("%s://%s:%d%s"):format(self.scheme or "ws", self.host, self.port, path or "/")
  client.conn = assert(luws.wsopen(url, function(_, ...) client.told[#client.told + 1] = { ... } end, given))
  clients[#clients + 1] = client
  serving.till(function() return client.conn.connected or client.conn.close_code end)
  return client
end

--- dial(): returns a raw socket that is connected to the server.
function Serving:dial()
  local raw = assert(socket.connect(self.host, self.port))
  raw:settimeout(0)
  raws[#raws + 1] = raw
  return raw
end

--- read(raw, done): returns what a raw socket receives until done(all) is true, or up to the end; and whether it has
-- ended.
function serving.read(raw, done)
  local all, ended = "", false
  serving.till(function()
    local data, why, part = raw:receive(65536)
    all = all .. (data or part or "")
    ended = why == "closed"
    return ended or done and done(all)
  end, 0.001)
  return all, ended
end

--- raw(bytes [, done]): sends any bytes, and returns what comes back: up to the end, or until done(all) is true. Where
-- the server has ended its side, this one is closed, too: it would linger.
function Serving:raw(bytes, done)
  local raw = self:dial()
  raw:send(bytes)
  local all, ended = serving.read(raw, done)
  if ended then raw:close() end
  return all, ended
end

--- request(lines): returns the bytes of a request with these lines, and with a Host.
function serving.request(...)
  local lines = { ... }
  table.insert(lines, 2, "Host: h")
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

--- upgrade(path, ...): returns the bytes of an upgrade request, with more lines.
function serving.upgrade(path, ...)
  return serving.request("GET " .. path .. " HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade",
    "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", ...)
end

--- status(reply): returns the status of a response, as a number.
function serving.status(reply) return tonumber(reply:match "^HTTP/1.1 (%d+)") end

--- parse(text): returns a response as a table with status, headers (by names in lower case) and body; and what comes
-- after it.
function serving.parse(text)
  local head, rest = text:match "^(.-\r\n)\r\n(.*)$"
  assert(head, text)
  local response = { status = tonumber(head:match "^HTTP/1%.1 (%d+)"), headers = {} }
  for name, value in head:gmatch "\r\n([^:]+): ([^\r]*)" do response.headers[name:lower()] = value end
  local length = tonumber(response.headers["content-length"]) or #rest
  response.body = rest:sub(1, length)
  return response, rest:sub(length + 1)
end

--- run(...): runs a program with these arguments, and steps until it has ended. Returns its output (both streams), and
-- its exit status.
function serving.run(...)
  local words, path = { ... }, os.tmpname()
  for i, word in ipairs(words) do words[i] = "'" .. tostring(word):gsub("'", "'\\''") .. "'" end
  local command = ("timeout %d %s"):format(PROGRAM, table.concat(words, " "))
  os.execute(("(%s; echo \"status $?\") >%s 2>&1 </dev/null &"):format(command, path))
  local output, status
  serving.till(function()
    local file = assert(io.open(path))
    output, status = file:read("*a"):match "^(.*)status (%d+)\n$"
    file:close()
    return status
  end, nil, 2 * PROGRAM) -- it ends before, and what it has said is shown
  os.remove(path)
  return output, tonumber(status)
end

--- over(): ends all of it, and checks that the reactor has nothing more to do in time. The log is printed again.
function serving.over()
  log.stop()
  for _, raw in ipairs(raws) do raw:close() end
  for _, client in ipairs(clients) do luws.wsclose(client.conn) end
  for _, self in ipairs(started) do self.srv:close { timeout = 0 } end
  raws, clients, started = {}, {}, {}
  stepping.come_to_rest()
end

return serving
