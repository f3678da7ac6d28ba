--[[
The client's end of a session of Engine.IO 4: opens it by a transport, answers pings, goes over to a WebSocket, and says
how it has ended. Events are those of npm's engine.io-client; they come in turns of the reactor only.
--]]

local _, import = ...
local clock, emitter, failure, json = import("clock"), import("emitter"), import("engineio/failure"),
  import("json").public
local packets, places = import("engineio/packets"), import("engineio/client/place")
local queue, settings = import("engineio/queue"), import("engineio/settings")
local main_reactor = import("reactor").public

local TRANSPORTS = { polling = import("engineio/client/polling"), websocket = import("engineio/client/websocket") }

local sockets = {}

local emit, is_heard = emitter.emit, emitter.is_heard

local Socket = {}
Socket.__index = Socket
emitter.extend(Socket)

-- Whether the last session that was opened has come to use a WebSocket (rememberUpgrade).
local had_websocket = false

local open

--- lists(list, name): returns whether a list has this element.
local function lists(list, name)
  for _, element in ipairs(list) do
    if element == name then return true end
  end
  return false
end

--- cancel(self, name): ends a timer.
local function cancel(self, name)
  if self[name] then self[name]:cancel() end
  self[name] = nil
end

--- closed(self, reason, details): the session is over, for this reason.
local function closed(self, reason, details)
  if self.readyState == "closed" then return end
  cancel(self, "heartbeat")
  cancel(self, "patience")
  self.readyState = "closed"
  if self.probe then self.probe:discard() end
  if self.transport then self.transport:close() end
  self.id, self.place.sid, self.probe, self.on_drained = nil, nil, nil, nil
  emit(self, "close", reason, details)
  self.waiting, self.unsent = queue.new(), 0
end

--- failed(self, err): the transport has failed.
local function failed(self, err)
  had_websocket = false
  if self.own.tryAllTransports and #self.transports > 1 and self.readyState == "opening" then
    table.remove(self.transports, 1)
    self.transport:close()
    return open(self)
  end
  emit(self, "error", err)
  closed(self, "transport error", err)
end

--- watch(self): the server has to ping within this time. Only pings begin it again: what the client sends says nothing
-- about the server.
local function watch(self)
  local seconds = self.ping_interval + self.ping_timeout
  cancel(self, "heartbeat")
  self.expires = clock.now() + seconds
  self.heartbeat = self.reactor.after(seconds, function() closed(self, "ping timeout") end)
end

local drained_later

--- flush(self): gives the transport what it takes.
local function flush(self)
  local transport, is_held = self.transport, self.readyState == "closed" or self.is_upgrading
  if is_held or not transport.writable or self.waiting:is_empty() then return end
  local is_polling = transport.name == "polling"
  local list = self.waiting:take(is_polling and packets.MOST or math.huge, is_polling and self.max_payload or nil)
  self.unsent = self.unsent + #list
  transport:send(list)
  if self:hasListeners "flush" then self.reactor.after(0, function() emit(self, "flush") end) end
  -- A WebSocket that takes more has no word for it.
  if transport.writable then drained_later(self) end
end

--- drained(self): the transport has taken what it was given.
local function drained(self)
  if self.readyState == "closed" then return end
  self.unsent = 0
  flush(self)
  if not self.waiting:is_empty() or self.unsent > 0 then return end
  emit(self, "drain")
  local f = self.on_drained
  self.on_drained = nil
  if f then f() end
end

--- drained_later(self): has `drained` called in the next turn.
function drained_later(self)
  if self.is_drain_due then return end
  self.is_drain_due = true
  self.reactor.after(0, function()
    self.is_drain_due = false
    if self.transport.name == "websocket" and self.transport.writable then drained(self) end
  end)
end

local function push(self, kind, data, compress)
  if self.readyState == "closing" or self.readyState == "closed" then return end
  local transport = self.transport
  local is_usual = transport.put and transport.writable and self.waiting:is_empty() and not self.is_upgrading
    and not is_heard(self, "packetCreate", "flush")
  if is_usual then
    self.unsent = self.unsent + 1
    transport:put(kind, data, compress)
    if transport.writable then drained_later(self) end
    return
  end
  if self:hasListeners "packetCreate" then
    self.reactor.after(0, function() emit(self, "packetCreate", { type = kind, data = data }) end)
  end
  self.waiting:add { kind = kind, data = data, compress = compress }
  flush(self)
end

--- pong(self): answers a ping. One answer is enough for those that come while it waits.
local function pong(self)
  local last = self.waiting:newest()
  if not last or last.kind ~= "pong" then push(self, "pong") end
end

local on_packet

--- use(self, transport): makes this the transport of the session.
local function use(self, transport)
  self.transport = transport
  transport.on = {
    open = function() end,
    packet = function(kind, data) on_packet(self, kind, data) end,
    drain = function() drained(self) end,
    error = function(err) failed(self, err) end,
    close = function(details) closed(self, "transport close", details) end,
  }
end

--- probe(self): tries to go over to a WebSocket. Whatever becomes of that, nothing is lost.
local function probe(self)
  local transport = TRANSPORTS.websocket.new(self.place)
  self.probe, had_websocket = transport, false
  local function give_up(why)
    if self.probe ~= transport then return end
    self.probe, self.is_upgrading = nil, false
    transport:close()
    if self.transport.resume then self.transport:resume() end
    emit(self, "upgradeError", failure.new("probe error: " .. why.message, why.description))
    if self.on_upgrade_over then return self.on_upgrade_over() end
    flush(self)
  end
  --- The present transport is at rest: all that it has brought was told.
  local function go_over()
    if self.probe ~= transport or self.readyState == "closed" then return end
    self.probe = nil
    use(self, transport)
    transport:send { { kind = "upgrade" } }
    self.is_upgrading = false
    emit(self, "upgrade", transport)
    if self.on_upgrade_over then return self.on_upgrade_over() end
    flush(self)
  end
  transport.on = {
    open = function() transport:send { { kind = "ping", data = "probe" } } end,
    packet = function(kind, data)
      if self.is_upgrading then return end
      if kind ~= "pong" or data ~= "probe" then return give_up(failure.new "unexpected packet") end
      self.is_upgrading, had_websocket = true, true
      emit(self, "upgrading", transport)
      if self.probe == transport then self.transport:pause(go_over) end
    end,
    drain = function() end,
    error = give_up,
    close = function() give_up(failure.new "transport closed") end,
  }
  transport:open()
end

--- handshake(self, text): the session is open.
local function handshake(self, text)
  local data = json.decode(text or "")
  local is_valid = type(data) == "table" and type(data.sid) == "string" and type(data.pingInterval) == "number"
    and type(data.pingTimeout) == "number" and data.sid ~= ""
  if not is_valid or self.readyState ~= "opening" then
    return failed(self, failure.new("server error", "the server's handshake is not one of Engine.IO 4"))
  end
  emit(self, "handshake", data)
  if self.readyState ~= "opening" then return end
  self.id, self.place.sid = data.sid, data.sid
  self.ping_interval, self.ping_timeout = data.pingInterval / 1000, data.pingTimeout / 1000
  self.max_payload = tonumber(data.maxPayload)
  self.readyState, had_websocket = "open", self.transport.name == "websocket"
  watch(self)
  emit(self, "open")
  flush(self)
  if self.readyState ~= "open" or not self.own.upgrade or self.transport.name == "websocket" then return end
  local offered = type(data.upgrades) == "table" and data.upgrades or {}
  if lists(offered, "websocket") and lists(self.transports, "websocket") then probe(self) end
end

function on_packet(self, kind, data)
  if self.readyState == "closed" then return end
  if self:hasListeners "packet" then emit(self, "packet", { type = kind, data = data }) end
  if self.readyState == "opening" and kind ~= "open" then
    failed(self, failure.new("server error", "the server has sent other packets before its handshake"))
  elseif kind == "message" then
    data = data == nil and "" or data
    emit(self, "data", data)
    emit(self, "message", data)
  elseif kind == "ping" then
    watch(self)
    pong(self)
    emit(self, "ping")
  elseif kind == "open" then
    handshake(self, data)
  elseif kind == "pong" then
    failed(self, failure.new("server error", "the server has sent a pong, which nobody has asked for"))
  end
end

function open(self)
  local names = self.transports
  if not names[1] then
    self.reactor.after(0, function()
      emit(self, "error", failure.new "No transports available")
      closed(self, "transport error")
    end)
    return
  end
  local name = names[1]
  if self.own.rememberUpgrade and had_websocket and lists(names, "websocket") then name = "websocket" end
  use(self, TRANSPORTS[name].new(self.place))
  self.transport:open()
end

--- send(data [, options]): sends a message: a string in UTF-8, or a binary value. What is sent after the end is
-- dropped. With options.compress = false it is not compressed. Returns the socket.
function Socket:send(data, options)
  packets.check(data)
  push(self, "message", data, packets.compress(options))
  return self
end

Socket.write = Socket.send

--- hasPingExpired(): returns whether the server should have pinged before now. That is so after a suspension of the
-- machine; then the session is over in the next turn, and what would be sent is lost.
function Socket:hasPingExpired() return self.expires ~= nil and clock.now() > self.expires end

--- bufferedPackets(): returns how many packets wait for the transport.
function Socket:bufferedPackets() return self.waiting:count() end

--- close(): ends the session, once what is buffered has left. Its event comes in a later turn.
function Socket:close()
  if self.readyState ~= "opening" and self.readyState ~= "open" then return self end
  local was_open = self.readyState == "open"
  self.readyState = "closing"
  local function finish() closed(self, "forced close") end
  local function finish_after_upgrade()
    if not self.is_upgrading then return finish() end
    self.on_upgrade_over = function()
      self.on_upgrade_over = nil
      if self.waiting:is_empty() then return finish() end
      self.on_drained = finish
      flush(self)
    end
  end
  if was_open and (not self.waiting:is_empty() or self.unsent > 0) and not self.is_upgrading then
    self.on_drained = finish_after_upgrade
  else
    self.reactor.after(0, finish_after_upgrade)
  end
  self.patience = self.reactor.after(self.own.close_timeout, finish)
  return self
end

--- check(url, given): raises an error for a wrong URL or a wrong option.
function sockets.check(url, given)
  local own, shared = settings.client(given)
  places.new(url, own, shared)
end

--- connect(url, given): opens a session. Returns its socket; raises an error for a wrong URL or a wrong option.
function sockets.connect(url, given)
  local own, shared = settings.client(given)
  local self = setmetatable({
    own = own, place = places.new(url, own, shared), reactor = shared.reactor or main_reactor,
    id = nil, readyState = "opening", transport = nil, transports = {},
    waiting = queue.new(), -- packets that the transport was not given yet
    unsent = 0, -- how many it was given and has not taken
    probe = nil, is_upgrading = false, -- another transport, and whether it was found good
    on_drained = nil, on_upgrade_over = nil, -- what closing waits for
    is_drain_due = false,
    heartbeat = nil, expires = nil, patience = nil, -- timers
    ping_interval = nil, ping_timeout = nil, max_payload = nil, -- the server's
  }, Socket)
  for i, name in ipairs(own.transports) do self.transports[i] = name end
  open(self)
  return self
end

return sockets
