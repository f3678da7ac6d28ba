--[[
The server's end of a session: its transport, its heartbeat, the change to a WebSocket, and its end. Events are those of
npm's engine.io; they come in turns of the reactor only.
--]]

local _, import = ...
local emitter, failure, json, packets = import("emitter"), import("engineio/failure"), import("json").public,
  import("engineio/packets")
local queue, reactor = import("engineio/queue"), import("reactor").public

local sockets = {}

local emit, is_heard = emitter.emit, emitter.is_heard

local Socket = {}
Socket.__index = Socket
emitter.extend(Socket)

-- How often a GET is answered while the client waits for its end to go over to a WebSocket, in seconds.
local UPGRADE_POLL = 0.1

local function cancel(self, name)
  if self[name] then self[name]:cancel() end
  self[name] = nil
end

--- later(self, name, ...): emits an event in the next turn, if anybody listens.
local function later(self, name, value)
  if self:hasListeners(name) then reactor.after(0, function() emit(self, name, value) end) end
end

--- closed(self, reason, details): the session is over. `last` is what a GET that waits is answered.
local function closed(self, reason, details, last)
  if self.readyState == "closed" then return end
  self.readyState = "closed"
  cancel(self, "ping_timer")
  cancel(self, "timeout_timer")
  if self.give_up_upgrade then self.give_up_upgrade() end
  self.transport:leave(last or "close")
  self.waiting, self.on_drained = queue.new(), nil
  self.on_over(self)
  emit(self, "close", reason, details)
end

local function failed(self, err) closed(self, "transport error", err) end

--- drained(self): nothing waits for the transport.
local function drained(self)
  later(self, "drain")
  local f = self.on_drained
  self.on_drained = nil
  if f then f() end
end

--- flush(self): gives the transport what it takes.
local function flush(self)
  local transport, waiting = self.transport, self.waiting
  if self.readyState == "closed" or not transport.writable or waiting:is_empty() then return end
  later(self, "flush")
  repeat
    local list = waiting:take(packets.MOST)
    local count = #list
    local taken = transport:send(list, not waiting:is_empty())
    if taken < count then waiting:put_back(list, taken) end
  until not transport.writable or waiting:is_empty()
  if waiting:is_empty() then drained(self) end
end

--- is_calm(self): returns whether a message can go to the transport with nothing before it, and nobody told of it
-- but by `sent`.
local function is_calm(self)
  local transport = self.transport
  return self.readyState == "open" and transport.put and transport.writable and self.waiting:is_empty()
    and not is_heard(self, "packetCreate", "flush")
end

--- sent(self): a message went to the transport, and nothing waits.
local function sent(self) later(self, "drain") end

sockets.is_calm, sockets.sent = is_calm, sent

--- push(self, kind, data, compress): sends a packet.
local function push(self, kind, data, compress)
  if self.readyState == "closing" or self.readyState == "closed" then return end
  if is_calm(self) and self.transport:put(kind, data, compress) then return sent(self) end
  self.waiting:add { kind = kind, data = data, compress = compress }
  if self:hasListeners "packetCreate" then later(self, "packetCreate", { type = kind, data = data }) end
  flush(self)
  if self.waiting.bytes > self.own.max_buffered then
    self.readyState = "closing" -- nothing more is kept for it, or taken of it
    reactor.after(0, function() failed(self, failure.new("the client is too slow", "more waits for it than may")) end)
  end
end

--- await_pong(self, seconds): the client has to be heard of within that time.
local function await_pong(self, seconds)
  cancel(self, "timeout_timer")
  self.timeout_timer = reactor.after(seconds, function() closed(self, "ping timeout") end)
end

--- ping_later(self): pings after the interval (revision 4).
local function ping_later(self)
  cancel(self, "ping_timer")
  self.ping_timer = reactor.after(self.own.pingInterval, function()
    self.has_more_time = false
    push(self, "ping")
    if self.readyState ~= "closed" then await_pong(self, self.own.pingTimeout) end
  end)
end

--- on_heartbeat(self, kind): the client has sent a ping (revision 3) or a pong (revision 4).
local function on_heartbeat(self, kind)
  if kind ~= (self.protocol == 3 and "ping" or "pong") then
    return failed(self, failure.new "invalid heartbeat direction")
  end
  if self.protocol == 3 then
    await_pong(self, self.own.pingInterval + self.own.pingTimeout)
    push(self, "pong")
  else
    cancel(self, "timeout_timer")
    ping_later(self)
  end
  emit(self, "heartbeat")
end

local function on_packet(self, kind, data)
  if self.readyState ~= "open" then return end
  if self:hasListeners "packet" then emit(self, "packet", { type = kind, data = data }) end
  -- A client that is busy sending may answer late, once.
  if self.protocol ~= 3 and self.timeout_timer and not self.has_more_time and kind ~= "pong" then
    self.has_more_time = true
    await_pong(self, self.own.pingTimeout)
  end
  if kind == "message" then
    data = data == nil and "" or data
    emit(self, "data", data)
    emit(self, "message", data)
  elseif kind == "ping" or kind == "pong" then
    on_heartbeat(self, kind)
  elseif kind == "error" then
    closed(self, "parse error")
  end
end

--- use(self, transport): makes this the transport of the session.
local function use(self, transport)
  self.transport = transport
  transport.on = {
    packet = function(kind, data) on_packet(self, kind, data) end,
    ready = function() flush(self) end,
    error = function(err) failed(self, err) end,
    close = function(details) closed(self, "transport close", details, "noop") end,
  }
end

--- finish(self): closes the transport.
local function finish(self, is_discarded)
  if self.readyState == "closed" then return end
  if is_discarded then self.transport:discard() end
  self.transport:close(function() closed(self, "forced close") end)
end

--- upgrade(self, transport): the client tries another transport, which becomes the session's once it has proved good.
function sockets.upgrade(self, transport)
  self.upgrading = true
  local poll, patience
  local function over()
    self.upgrading, self.give_up_upgrade = false, nil
    for _, timer in pairs { poll, patience } do timer:cancel() end
  end
  local function give_up()
    if not self.give_up_upgrade then return end
    over()
    transport:leave()
  end
  --- Answers the GET that may be held, for the client goes over only when there is none.
  local function check()
    if self.transport.name == "polling" and self.transport.writable then self.transport:send { { kind = "noop" } } end
    poll = reactor.after(UPGRADE_POLL, check)
  end
  local function go_over()
    over()
    self.transport:leave "noop"
    self.upgraded = true
    cancel(self, "timeout_timer")
    use(self, transport)
    emit(self, "upgrade", transport)
    flush(self)
    if self.readyState == "closing" then finish(self) end
  end
  self.give_up_upgrade = give_up
  patience = reactor.after(self.own.upgradeTimeout, give_up)
  transport.on = {
    packet = function(kind, data)
      if kind == "ping" and data == "probe" then
        transport:send { { kind = "pong", data = "probe" } }
        emit(self, "upgrading", transport)
        if poll then poll:cancel() end
        if self.give_up_upgrade then poll = reactor.after(UPGRADE_POLL, check) end
      elseif kind == "upgrade" and self.readyState ~= "closed" then
        go_over()
      else
        give_up()
      end
    end,
    ready = function() end, error = give_up, close = give_up,
  }
end

--- send(data [, options]): sends a message: a string in UTF-8, or a binary value. What is sent after the end is
-- dropped. With options.compress = false it is not compressed. Returns the socket.
function Socket:send(data, options)
  packets.check(data)
  push(self, "message", data, packets.compress(options))
  return self
end

Socket.write = Socket.send

--- close([is_discarded]): ends the session, once what is buffered has left, or without waiting for that. Its event
-- comes in a later turn.
function Socket:close(is_discarded)
  local state = self.readyState
  if state == "closed" or state ~= "open" and not is_discarded then return self end
  self.readyState = "closing"
  -- A GET takes what is buffered and the end along.
  if is_discarded or self.waiting:is_empty() or self.transport.name == "polling" then
    reactor.after(0, function() finish(self, is_discarded) end)
  else
    self.on_drained = function() finish(self) end
  end
  return self
end

--- open(self, upgrades): tells the client of its session, and what it may go over to.
function sockets.open(self, upgrades)
  local own = self.own
  self.readyState = "open"
  push(self, "open", json.encode {
    sid = self.id, upgrades = json.array(upgrades), pingInterval = own.pingInterval * 1000,
    pingTimeout = own.pingTimeout * 1000, maxPayload = own.maxHttpBufferSize,
  })
  if own.initialPacket then push(self, "message", own.initialPacket) end
  if self.protocol == 3 then await_pong(self, own.pingInterval + own.pingTimeout) else ping_later(self) end
end

--- new(id, request, protocol, transport, own, on_over): makes a socket. on_over(socket) is called when it is over,
-- before anybody is told.
function sockets.new(id, request, protocol, transport, own, on_over)
  local self = setmetatable({
    id = id, request = request, protocol = protocol, remoteAddress = request.remote, own = own, on_over = on_over,
    readyState = "opening", transport = nil, upgrading = false, upgraded = false,
    waiting = queue.new(), -- packets that the transport has not taken
    on_drained = nil, -- closes it
    give_up_upgrade = nil, -- ends the attempt to upgrade
    ping_timer = nil, timeout_timer = nil, has_more_time = false,
  }, Socket)
  use(self, transport)
  return self
end

return sockets
