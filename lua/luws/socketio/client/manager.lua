--[[
A Manager of Socket.IO: it has one engine, which it opens again when it is lost, and the sockets that share it, one
for each namespace. Its states and events are those of npm's socket.io-client.

Programs are told of everything in turns of the reactor.
--]]

local native, import, world = ...
local arguments, emitter, engines = import("socketio/arguments"), import("emitter"), import("engineio").public
local engine_sockets, settings = import("engineio/client/socket"), import("socketio/settings")
local failure, parser = import("socketio/failure"), import("socketio/parser")
local sockets, waiting = import("socketio/client/socket"), import("socketio/waiting")
local main_reactor = import("reactor").public

local managers = {}

local emit = emitter.emit

local Manager = {}
Manager.__index = Manager
emitter.extend(Manager)

local random = world.random or native.random

-- More powers of two than these are no different from infinity.
local MOST_POWERS = 60

--- next_delay(manager): returns after how many seconds the next attempt is to be made, and counts it. The formula is
-- that of the JavaScript client.
local function next_delay(manager)
  local own = manager.settings
  local delay = own.reconnectionDelay * 1000 * 2 ^ math.min(manager.attempts, MOST_POWERS)
  manager.attempts = manager.attempts + 1
  if own.randomizationFactor > 0 then
    local chance = random()
    local deviation = math.floor(chance * own.randomizationFactor * delay)
    delay = math.floor(chance * 10) % 2 == 0 and delay - deviation or delay + deviation
  end
  return math.min(delay / 1000, own.reconnectionDelayMax)
end

local function cancel_timer(manager)
  if manager.timer then manager.timer:cancel() end
  manager.timer = nil
end

--- drop(manager): ends the engine, and hears no more of it.
local function drop(manager)
  local engine = manager.engine
  cancel_timer(manager)
  manager.attempt, manager.stale = nil, {}
  if engine then engine:close() end
end

--- active(manager): returns the sockets that want the engine, in the order in which they were made.
local function active(manager)
  local list = {}
  for socket in pairs(manager.wanted) do list[#list + 1] = socket end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

--- failed(manager, err, on_opened): an attempt to open the engine has failed.
local function failed(manager, err, on_opened)
  drop(manager)
  manager.state = "closed"
  emit(manager, "error", err)
  for _, socket in ipairs(active(manager)) do socket:failed(err) end
  if on_opened then
    on_opened(err)
  elseif not manager.is_reconnecting and manager.settings.reconnection and manager.attempts == 0 then
    manager:reconnect()
  end
end

local function opened(manager, on_opened)
  cancel_timer(manager)
  manager.state = "open"
  emit(manager, "open")
  for _, socket in ipairs(active(manager)) do socket:opened() end
  if on_opened then on_opened() end
end

--- received(manager, kind, name, id, ...): a packet has come, for whatever namespace.
local function received(manager, kind, name, id, ...)
  if manager:hasListeners "packet" then
    emit(manager, "packet", { type = kind, nsp = name, id = id, data = arguments.pack(...) })
  end
  local socket = manager.nsps[name]
  if not socket then return end
  if socket:is_stale() then
    socket:answered_late(kind)
  elseif socket.is_wanted then
    socket:received(kind, id, ...)
  end
end

--- closed(manager, reason, details): the engine is over.
local function closed(manager, reason, details)
  drop(manager)
  manager.attempts, manager.state = 0, "closed"
  emit(manager, "close", reason, details)
  for _, socket in ipairs(active(manager)) do socket:closed(reason, details) end
  if manager.settings.reconnection and not manager.is_closing then manager:reconnect() end
end

--- broken(why): the server has broken the protocol.
function Manager:broken(why) closed(self, "parse error", failure.new(why)) end

--- listen(manager, engine, on_opened): has the events of an engine come to the manager, as long as it is its engine.
local function listen(manager, engine, on_opened)
  local attempt = {}
  local decoder = parser.decoder(manager.most_size, manager.settings.binaryType == "string")
  manager.attempt, manager.decoder = attempt, decoder
  local function on(name, f)
    engine:on(name, function(...)
      if manager.attempt == attempt then f(...) end
    end)
  end
  on("open", function() opened(manager, on_opened) end)
  on("error", function(err)
    if manager.state == "open" then
      emit(manager, "error", err)
    else
      failed(manager, err, on_opened)
    end
  end)
  on("ping", function() emit(manager, "ping") end)
  on("message", function(message)
    local ok, why = decoder:add(message, received, manager)
    if not ok then manager:broken(why) end
  end)
  on("close", function(reason, details)
    if manager.state == "open" then
      closed(manager, reason, details)
    else
      failed(manager, failure.new(reason), on_opened)
    end
  end)
end

-- The bytes of a packet with its binary values, at most: JavaScript has no limit.
local MOST_SIZE = 64 * 1024 * 1024

--- read(opts): returns a manager's options, and those of its engines.
local function read(opts)
  local own, others = settings.read("client", opts)
  if others.path == nil then others.path = "/socket.io" end
  return own, others
end

--- connect(manager): opens an engine with the options as they are now: a program may change manager.opts between two
-- attempts. Raises an error if they are wrong; a file may be gone, for instance.
local function connect(manager)
  local _, options = read(manager.opts)
  local engine = engines.connect(manager.uri, options)
  manager.most_size = options.max_payload_size or MOST_SIZE
  return engine
end

--- start(manager, f): begins to open the engine, which is closed.
local function start(manager, f)
  manager.state, manager.is_closing = "opening", false
  local ok, engine = pcall(connect, manager)
  if not ok then
    manager.timer = manager.reactor.after(0, function()
      manager.timer = nil
      failed(manager, failure.of(engine), f)
    end)
    return
  end
  manager.engine = engine
  listen(manager, engine, f)
  local timeout = manager.settings.timeout
  if timeout then
    manager.timer = manager.reactor.after(timeout, function()
      manager.timer = nil
      failed(manager, failure.new "timeout", f)
    end)
  end
end

--- open([f]): opens the engine unless it is open or being opened. Calls f() or f(error) once it is known how that
-- went. It takes the place of an attempt that waits for its time.
function Manager:open(f)
  if self.state ~= "closed" then return self end
  cancel_timer(self)
  self.attempts, self.is_reconnecting = 0, false
  start(self, f)
  return self
end

Manager.connect = Manager.open

--- reconnect(): waits, and tries to open the engine again, unless a listener that was told of its end has done so.
function Manager:reconnect()
  if self.is_reconnecting or self.is_closing or self.state ~= "closed" then return end
  if self.attempts >= self.settings.reconnectionAttempts then
    self.attempts, self.is_reconnecting = 0, false
    emit(self, "reconnect_failed")
    return
  end
  self.is_reconnecting = true
  self.timer = self.reactor.after(next_delay(self), function()
    self.timer = nil
    if self.is_closing then return end
    emit(self, "reconnect_attempt", self.attempts)
    if self.is_closing or self.state ~= "closed" then return end -- by a listener
    start(self, function(err)
      self.is_reconnecting = false
      if err then
        self:reconnect()
        emit(self, "reconnect_error", err)
      else
        local attempts = self.attempts
        self.attempts = 0
        emit(self, "reconnect", attempts)
      end
    end)
  end)
end

--- close(): ends the engine and everything that shares it; it is not opened again by itself.
function Manager:close()
  local was_open, tells = self.state == "open", {}
  self.is_closing, self.is_reconnecting = true, false
  drop(self)
  self.attempts, self.state = 0, "closed"
  for i, socket in ipairs(active(self)) do tells[i] = socket:lost() end
  waiting.in_turn(self.reactor, function()
    emit(self, "close", "forced close")
    for _, tell in ipairs(was_open and tells or {}) do tell("forced close") end
  end)
end

Manager.disconnect = Manager.close

--- want(socket, is_wanted): a socket wants the engine, or does not any more.
function Manager:want(socket, is_wanted)
  socket.is_wanted = is_wanted
  self.wanted[socket] = is_wanted or nil
end

--- close_unused(): ends the engine if no socket wants it any more.
function Manager:close_unused()
  if next(self.wanted) == nil then self:close() end
end

--- socket(name [, opts]): returns the socket of a namespace, which is made and connected if need be.
function Manager:socket(name, opts)
  local namespace, wrong = parser.namespace(name)
  if not namespace then error(("bad argument #1 to 'socket' (%s)"):format(wrong), 2) end
  local socket = self.nsps[namespace]
  if not socket then
    self.count = self.count + 1
    socket = sockets.new(self, namespace, settings.read("client", opts or {}), self.count)
    self.nsps[namespace] = socket
  end
  if self.settings.autoConnect and not socket.is_wanted then socket:connect() end
  return socket
end

--- can_send(): returns whether the engine takes messages. If the server should have pinged before now, as after a
-- suspension of the machine, they would be lost.
function Manager:can_send() return self.state == "open" and not self.engine:hasPingExpired() end

--- is_writable(): returns whether the transport of an engine that is open takes a message at once.
function Manager:is_writable() return self.engine.transport.writable end

--- transmit(options, text, ...): sends a packet: its text, and its binary values.
function Manager:transmit(options, text, ...)
  local engine = self.engine
  engine:send(text, options)
  for i = 1, select("#", ...) do engine:send(select(i, ...), options) end
end

-- What JavaScript's managers have as functions that return a setting, or change it.
for name, unit in pairs {
  reconnection = false, reconnectionAttempts = false, reconnectionDelay = 1000, reconnectionDelayMax = 1000,
  randomizationFactor = false, timeout = 1000,
} do
  Manager[name] = function(self, value)
    local own = self.settings
    if value == nil then
      local now = own[name]
      return unit and now and now * unit or now
    end
    own[name] = settings.read("client", { [name] = value })[name]
    return self
  end
end

--- check(uri, opts): raises an error for what is wrong with them, even if the engine is opened later. Returns the
-- options, and those of its engines.
function managers.check(uri, opts)
  local own, others = read(opts)
  engine_sockets.check(uri, others)
  return own, others
end

--- new(uri [, opts]): makes a manager for a server. Opens the engine unless opts.autoConnect is false.
function managers.new(uri, opts)
  local own, others = managers.check(uri, opts)
  local self = setmetatable({
    uri = uri,
    opts = opts or {},
    settings = own,
    most_size = nil, -- the bytes of a packet with its binary values
    reactor = others.reactor or main_reactor,
    state = "closed", -- or "opening", "open"
    engine = nil,
    attempt = nil, -- stands for the engine as long as it is ours
    -- Sockets by the name of their namespace. Those that do not want the engine, and that the program has let go of,
    -- are collected.
    nsps = setmetatable({}, { __mode = "v" }),
    wanted = {}, -- the set of those that want the engine
    stale = {}, -- the set of those whose answer from the server nobody waits for any more
    count = 0, -- how many sockets were made
    timer = nil, -- of the attempt that is under way, or until the next one
    attempts = 0, -- how many there were since the engine was lost
    decoder = nil, -- reads the packets of the engine
    is_reconnecting = false,
    is_closing = false, -- by the program: there is to be no other attempt
  }, Manager)
  if own.autoConnect then self:open() end
  return self
end

return managers
