--[[
A peer in memory: one connection as its server sees it, run by the engine in the server's role. What it does by itself
is what every server does: it accepts the upgrade, answers pings and close frames, and ends the stream after them.
Everything else is its server's functions (server:on) and the test's. It knows nothing of the client.
--]]

local native, import = ...
local arguments, link = import("arguments"), import("mock/link")

local EVENT = native.event_numbers()
local CLOSE, PING, PONG = EVENT.close, EVENT.ping, EVENT.pong
local KIND = { [1] = "text", [2] = "binary" }

local peers = {}

local Peer = {}
Peer.__index = Peer

-- What is read at a time, in bytes.
local READ = 65536

--- Returns a message for an error, on one line.
local function shown(data)
  if type(data) ~= "string" then return tostring(data) end
  local text = data:sub(1, 200):gsub("[%c\127-\255]", function(c) return ("\\%03d"):format(c:byte()) end)
  return '"' .. text .. '"' .. (#data > 200 and ("... (%d bytes)"):format(#data) or "")
end

--- Returns what is different about two strings, for an error.
local function difference(expected, got)
  local at = 1
  while at <= #expected and expected:byte(at) == got:byte(at) do at = at + 1 end
  return ("expected %s\n     got %s\n  they differ from byte %d on"):format(shown(expected), shown(got), at)
end

--- Returns why a message is not what was expected, or nil.
local function mismatch(expected, message)
  if type(expected) == "function" then
    local ok, why = expected(message.data, message.kind)
    if ok then return nil end
    return ("got %s, which %s"):format(shown(message.data), why and tostring(why) or "the function does not accept")
  end
  if type(expected) == "table" then
    if message.data:find(expected.pattern) then return nil end
    return ("expected a match of %s\n     got %s"):format(shown(expected.pattern), shown(message.data))
  end
  if message.data == expected then return nil end
  return difference(expected, message.data)
end

--- Compares the messages that have come with what is expected, in order. Returns what is wrong, or nil.
local function compare(peer)
  while peer.expected[1] and peer.messages[peer.compared + 1] do
    peer.compared = peer.compared + 1
    local expected = table.remove(peer.expected, 1)
    local why = mismatch(expected, peer.messages[peer.compared])
    if why then return ("message %d to %s: %s"):format(peer.compared, peer.server.url, why) end
  end
end

--- Calls a function of the server's, if there is one. Its errors fail the test.
local function tell(peer, event, ...)
  local server = peer.server
  if server.script then server.script:happened(peer, event) end
  local f = server.listeners[event]
  if not f then return end
  local ok, err = pcall(f, peer, ...)
  if not ok then peer.net:failed(("%s, at '%s': %s"):format(peer.who, event, tostring(err))) end
end

--- Notes how the connection has ended.
local function ended(peer, code, reason, clean)
  if peer.closed then return end
  peer.closed = { code = code, reason = reason, clean = clean }
  peer.net:forget(peer)
  tell(peer, "close", code, reason, clean)
end

--- Returns code and reason of a close frame that has come.
local function close_frame(peer)
  local _, _, code, reason = native.close_state(peer.session)
  return code or 1005, reason or ""
end

local function on_close(peer)
  if peer.server:drops_at "closing" then return peer:reset() end
  local code, reason = close_frame(peer)
  local function answer()
    native.reply_close(peer.session)
    peer.wire:write()
    peer.line:close()
    ended(peer, code, reason, true)
  end
  local delay = peer.net:draw(peer.server.close_delay or 0)
  if delay > 0 then peer.net.clock.after(delay, answer, peer.who) else answer() end
end

local function on_message(peer, opcode, data)
  peer.messages[#peer.messages + 1] = { data = data, kind = KIND[opcode] }
  local wrong = compare(peer)
  if wrong then peer.net:failed(wrong) end
  tell(peer, "message", data, KIND[opcode])
end

local function on_event(peer, event, data)
  if event == CLOSE then return on_close(peer) end
  if event == PING then
    peer.pings[#peer.pings + 1] = data
    if peer.server.answers ~= false then native.pong(peer.session, data) end
    return tell(peer, "ping", data)
  end
  if event == PONG then
    peer.pongs[#peer.pongs + 1] = data
    return tell(peer, "pong", data)
  end
  on_message(peer, event, data)
end

--- Handles the upgrade request, after the server's delay.
local function on_request(peer)
  peer.request = {}
  peer.request.resource, peer.request.headers, peer.request.subprotocols = native.request(peer.session)
  local server = peer.net:server_of(peer)
  if not server then
    native.refuse(peer.session, 404, "nothing listens at " .. peer.request.resource)
    peer.wire:write()
    peer.line:finish()
    return ended(peer, 1006, "", false)
  end
  peer.server = server
  if server:drops_at "upgrade" then return peer:reset() end
  local function answer()
    if peer.closed or peer.line.broken then return end
    server:answer(peer)
    peer:take_in()
  end
  local delay = peer.net:draw(server.delay or 0)
  if delay > 0 then peer.net.clock.after(delay, answer, peer.who) else answer() end
end

--- take_in(): reads what has arrived, and deals with it.
function Peer:take_in()
  local wire = self.wire
  while wire:read(READ) do end
  while not self.closed do
    local event, data = native.next(self.number)
    if not event then break end
    native.done(self.session)
    if event == EVENT.request then
      on_request(self)
    elseif event == EVENT.failure then
      self.failure = data
    else
      on_event(self, event, data)
    end
  end
  if not wire.closed then wire:write() end
  if self.failure and not self.closed then
    self.line:close()
    ended(self, 1006, self.failure, false)
  end
  if self.line.finished and not self.closed then
    self.line:close()
    ended(self, 1006, "", false)
  end
end

--- accept(protocol [, response]): accepts the upgrade, with this response instead of the right one. In that, {accept}
-- stands for what the client has to be told.
function Peer:accept(protocol, response)
  native.accept(self.session, protocol)
  self.protocol, self.is_open = protocol, true
  if response then
    local right = native.peek(self.session, READ)
    native.sent(self.session, #right)
    self:raw((response:gsub("{accept}", right:match "Sec%-WebSocket%-Accept: (%S+)")))
  end
  self.wire:write()
  table.insert(self.server.opened, self)
  if self.server:drops_at "open" then return self:reset() end
  tell(self, "open", self.request)
end

--- send(data [, kind]): sends a message: "text", or "binary". Returns true; or nil and why not.
function Peer:send(data, kind)
  arguments.check("send", 1, data, "string")
  if self.closed or not self.is_open then return nil, "not connected" end
  local ok, why = native.send(self.session, kind == "binary" and 2 or 1, data, true)
  if not ok then return nil, why end
  self.wire:write()
  return true
end

local function control(name, opcode)
  return function(self, data)
    if data ~= nil then arguments.check(name, 1, data, "string") end
    if self.closed or not self.is_open then return nil, "not connected" end
    local ok, why = native.send(self.session, opcode, data or "", true)
    if not ok then return nil, why end
    self.wire:write()
    return true
  end
end

--- ping([data]), pong([data]): send a control frame.
Peer.ping, Peer.pong = control("ping", PING), control("pong", PONG)

--- close([code [, reason]]): sends a close frame.
function Peer:close(code, reason)
  if code ~= nil then arguments.check("close", 1, code, "number") end
  if reason ~= nil then arguments.check("close", 2, reason, "string") end
  if self.closed or not self.is_open then return nil, "not connected" end
  local ok, why = native.close(self.session, code or 1000, reason or "")
  if not ok then return nil, why end
  self.wire:write()
  return true
end

--- raw(bytes): puts any bytes on the wire, as if the server had written them. Not over TLS.
function Peer:raw(bytes)
  arguments.check("raw", 1, bytes, "string")
  if self.is_tls then error("raw: this peer speaks TLS", 2) end
  self.line:send(bytes)
end

--- half_close(): ends the stream to the client; what the client sends still arrives.
function Peer:half_close() self.line:finish() end

--- drop(): ends the stream in both directions, without a close frame.
function Peer:drop()
  self.line:close()
  ended(self, 1006, "", false)
end

--- reset(): the same at once: what is under way is lost.
function Peer:reset()
  self.line.other:clear()
  self.line:clear()
  self.link.reset()
  ended(self, 1006, "", false)
end

--- pause(), resume(): stop and go on reading. There is room for `bytes` more meanwhile (0).
function Peer:pause(bytes)
  if bytes ~= nil then arguments.check("pause", 1, bytes, "number") end
  self.is_paused, self.line.capacity = true, bytes or 0
end

function Peer:resume()
  self.is_paused, self.line.capacity = false, math.huge
  local near = self.line.other
  if near.on_room then near.on_room() end
  self:notice()
end

--- received([number]): returns the data of that message, or nil; without a number, a list of them.
function Peer:received(number)
  if number then return self.messages[number] and self.messages[number].data end
  local all = {}
  for i, message in ipairs(self.messages) do all[i] = message.data end
  return all
end

--- expect(message, ...): the next messages must be these, in this order. A message is a string; a function of its data
-- and its kind, which returns whether it is right, or nil and why not; or { pattern = "..." }. Raises an error if one
-- that has come already is different; one that comes later fails the test in run, advance, settle or finish.
function Peer:expect(...)
  for i = 1, select("#", ...) do
    local expected = select(i, ...)
    local kind = type(expected)
    local is_pattern = kind == "table" and type(expected.pattern) == "string"
    if kind ~= "string" and kind ~= "function" and not is_pattern then
      error(("bad argument #%d to 'expect' (string, function or pattern expected, got %s)"):format(i, kind), 2)
    end
    self.expected[#self.expected + 1] = expected
  end
  local wrong = compare(self)
  if wrong then error(wrong, 2) end
end

--- notice(): has the peer read as soon as the world goes on.
function Peer:notice()
  if self.is_due then return end
  self.is_due = true
  self.net.clock.after(0, self.advance, self.who)
end

--- new(net, server): returns a peer, and the client's end of its wire.
function peers.new(net, server)
  local who = "the peer at " .. server.url
  local peer = setmetatable({
    net = net, server = server, who = who, messages = {}, expected = {}, compared = 0, pings = {}, pongs = {},
    closed = nil, request = nil, protocol = nil, failure = nil, is_tls = server.certificate ~= nil,
  }, Peer)
  local why
  peer.session, peer.number = native.session {
    role = "server", seed = net.seed(), clock = net.clock.native, deflate = server.deflate, fragment_size = 0,
    max_payload_size = server.max_payload_size or 2 ^ 30, certificate = server.certificate, key = server.key,
  }
  if not peer.session then
    why = peer.number
    return nil, why
  end
  local near
  near, peer.line, peer.link = link.between(net.memory, server.faults, {
    clock = net.clock, random = net.random, who = who,
  })
  peer.wire = net.memory.wire(peer.session, peer.line, net.clock)
  function peer.advance()
    peer.is_due = false
    if not peer.is_paused and not peer.closed then peer:take_in() end
  end
  function peer.line.on_input() peer:notice() end
  peer.line.on_room = function() if not peer.closed and native.outgoing(peer.session) > 0 then peer:notice() end end
  return peer, near
end

return peers
