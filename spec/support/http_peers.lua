-- A server of plain HTTP and WebSockets in a world in memory (world.lua), which the spec plays request by request.
--
--   local server = http_peers.new(w)
--   ... the program makes a request to http://peer.test/ ...
--   local request = server:next()                  -- method, target, path, query (a table), headers, body
--   request:respond("ok")                          -- or respond(body, { status =, headers = })
--   request:accept()                               -- it becomes a WebSocket, whose messages are in request.messages
--   request:send(1, "Hello")
--   request:vanish()                               -- its connection ends
--
-- A function `server.on_request(request)` takes the requests instead of the list. `server.connections` counts. It knows
-- the engine in the server's role; it knows nothing of what is tested.

local http_peers = {}

local Request = {}
Request.__index = Request

--- respond([body [, options]]): answers. Options: status (200), headers (array of { name, value }), is_last.
function Request:respond(body, options)
  options = options or {}
  body = body or ""
  local peer, headers = self.peer, options.headers or {}
  assert(peer.native.reply(peer.session, options.status or 200, headers, body, #body, not options.is_last))
  self.is_answered = true
  peer.wire:write()
  if options.is_last then peer.line:finish() end
  peer:advance() -- what has come meanwhile
end

--- accept([headers]): goes on as a WebSocket.
function Request:accept(headers)
  local peer = self.peer
  self.messages = {}
  assert(peer.native.open(peer.session, nil, headers or {}))
  peer.socket, self.is_answered = self, true
  peer.wire:write()
end

--- send(opcode, data), close([code]): a message, a close frame.
function Request:send(opcode, data)
  assert(self.peer.native.send(self.peer.session, opcode, data, true))
  self.peer.wire:write()
end

function Request:close(code)
  assert(self.peer.native.close(self.peer.session, code or 1000, ""))
  self.peer.wire:write()
end

--- vanish(): ends the connection, without a word.
function Request:vanish() self.peer.line:finish() end

--- is_gone(): returns whether the client has ended the connection.
function Request:is_gone() return self.peer.line.finished or self.peer.line.gone end

local function query_of(text)
  local query = {}
  for name, value in (text or ""):gmatch "([^&=]+)=?([^&]*)" do
    query[name] = value:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  end
  return query
end

local Peer = {}
Peer.__index = Peer

local function new_request(peer)
  local method, target, headers = peer.native.request_head(peer.session)
  local path, query = target:match "^([^?]*)%??(.*)$"
  return setmetatable({
    peer = peer, method = method, target = target, path = path, query = query_of(query), headers = headers, body = "",
    messages = nil, is_answered = false,
  }, Request)
end

--- Tells of a message of the client, or answers its close frame.
function Peer:message(event, data)
  local socket = self.socket
  if event == 1 or event == 2 then
    table.insert(socket.messages, { event, data })
    if socket.on_message then socket:on_message(event, data) end
  elseif event == 8 then
    socket.close_frame = data
    self.native.reply_close(self.session)
    self.wire:write()
  end
end

function Peer:advance()
  local native, numbers = self.native, self.server.numbers
  while true do
    repeat local count = self.wire:read(65536) until not count or count == 0
    local event, data = native.next(self.number)
    if not event then break end
    native.done(self.session)
    if event == numbers.request then
      self.request = new_request(self)
      assert(native.take_body(self.session, 2 ^ 30))
    elseif event == numbers.body then
      self.request.body = data
      self.server:take(self.request)
    elseif self.socket then
      self:message(event, data)
    else
      error("the server of the spec got what is no request: " .. tostring(data))
    end
  end
  self.wire:write()
end

local Server = {}
Server.__index = Server

function Server:take(request)
  if self.on_request then return self.on_request(request) end
  table.insert(self.requests, request)
end

--- next([seconds]): returns the next request, once it has come; nil if none comes in that time (10 s by default).
function Server:next(seconds)
  self:pass(seconds or 10, function() return self.requests[1] ~= nil end)
  return table.remove(self.requests, 1)
end

--- pass(seconds [, done]): lets time pass, and the reactor do what is due, for so long or until done().
function Server:pass(seconds, done)
  local w = self.world
  local deadline = w.clock.now() + seconds
  local function is_done() return done ~= nil and done() end
  repeat
    local due = w.reactor.timeout() or math.huge
    w.clock.pass(math.min(deadline - w.clock.now(), due), function() return w.reactor.dirty() or is_done() end)
    if w.reactor.dirty() then w.reactor.step(0) end
  until is_done() or w.clock.now() >= deadline and not w.reactor.dirty()
end

--- new(w): returns a server that takes all connections of this world from now on.
function http_peers.new(w)
  local server = setmetatable({
    world = w, requests = {}, connections = 0, on_request = nil, numbers = w.native.event_numbers(),
  }, Server)
  function server.new_connection()
    server.connections = server.connections + 1
    local peer = setmetatable({ world = w, server = server, native = w.native, request = nil, socket = nil }, Peer)
    peer.session, peer.number = w.native.session {
      role = "http", seed = 1, max_payload_size = 2 ^ 30, fragment_size = 0, max_buffered = 2 ^ 30,
    }
    return peer
  end
  w.next_peer = server
  return server
end

return http_peers
