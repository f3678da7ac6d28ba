--[[
The listeners of a server: makes them from its options, and accepts connections in the turns of the reactor. Knows
nothing of what becomes of a connection.
--]]

local native, import, world = ...
local guard, log, turns = import("guard"), import("log"), import("turns")

local listeners = {}

-- At most this many connections are accepted in one turn, so that the others have theirs.
local MOST = 64

-- If there is no descriptor left, or the server is full, the next attempt is made after this many seconds.
local PAUSE = 0.1

-- A lack of descriptors goes to the log once in this many seconds.
local SELDOM = 60

-- The first descriptor that systemd passes on (sd_listen_fds(3)).
local FIRST = 3

-- A listener of the system. A world in memory has others (mock/listener.lua), with the same fields and methods.
local System = {}
System.__index = System

--- system(listener): wraps a native listener. Fields: host and port, or path.
local function system(listener)
  local host, port = native.listener_place(listener)
  return setmetatable({ native = listener, host = port and host or nil, port = port, path = not port and host or nil },
    System)
end

--- accept(): returns a socket, and address and port of its peer; nil if nobody waits; nil and why nobody can be
-- accepted, and whether that may pass.
function System:accept() return native.listener_accept(self.native) end

--- watch(item): gives an item of the reactor a turn when somebody waits. Returns true; or nil and why that cannot be.
function System:watch(item)
  local fd = native.listener_fd(self.native)
  local ok, why = item:watch(fd)
  self.fd = ok and fd or nil
  return ok, why
end

--- close(): nobody listens here any more.
function System:close()
  if self.fd then turns.unwatch(self.fd) end
  native.listener_close(self.native)
end

--- bracketed(host): returns a host as it is in a URL: an IPv6 address has brackets (RFC 3986 section 3.2.2).
function listeners.bracketed(host) return host:find(":", 1, true) and "[" .. host .. "]" or host end

--- authority(host, port): returns both as text, as in a URL (RFC 3986 section 3.2).
function listeners.authority(host, port) return ("%s:%d"):format(listeners.bracketed(host), port) end

--- canonical(host): returns an IP address in the one way in which those of peers are written: an IPv4 address in the
-- notation of IPv6 as what it is. Returns nil for what is none, such as a name.
function listeners.canonical(host)
  local literal, zone = host:match "^([^%%/]+)(%%?[^/]*)$"
  if not literal then return nil end
  local target = native.parse_url(("ws://%s/"):format(listeners.bracketed(literal)))
  local found = target and target.host or ""
  return found:match "^::ffff:(%d+%.%d+%.%d+%.%d+)$" or found:match "^%d+%.%d+%.%d+%.%d+$"
    or found:find(":", 1, true) and found .. zone or nil
end

--- passed(): returns how many descriptors systemd has passed on to this process; nil if it has not.
function listeners.passed()
  return tonumber(os.getenv "LISTEN_PID") == native.process() and tonumber(os.getenv "LISTEN_FDS") or nil
end

--- Returns the listeners of one place, as native objects; or nil and why there are none, with the name of the place.
local function made(place)
  if place.unix then
    local listener, why = native.listen_unix(place.unix, place.backlog, place.mode)
    return listener and { listener }, why, place.unix
  elseif place.fd == "systemd" then
    local count = listeners.passed()
    if not count then return nil, "systemd has passed none", "systemd's sockets" end
    local found = {}
    for fd = FIRST, FIRST + count - 1 do
      local listener, why = native.listen_fd(fd)
      if not listener then return nil, why, "descriptor " .. fd end
      found[#found + 1] = listener
    end
    return found
  elseif place.fd then
    local listener, why = native.listen_fd(place.fd)
    return listener and { listener }, why, "descriptor " .. place.fd
  end
  local found, why = native.listen_tcp(place.host, place.port, place.backlog, place.reuseport)
  return found, why, listeners.authority(place.host, place.port)
end

--- Returns the listeners of one place; or nil and why there are none, with the name of the place.
local function listen(place)
  local found, why, name = made(place)
  for i, listener in ipairs(found or {}) do found[i] = system(listener) end
  return found, why, name
end

local Listener = {}
Listener.__index = Listener

--- open(places): listens at all of these places (server/options). Returns an array of listeners, in which nobody
-- accepts yet; or nil and why one of them cannot be listened at.
function listeners.open(places)
  local all = {}
  for _, place in ipairs(places) do
    local found, why, name = (world.listen or listen)(place)
    if not found then
      for _, listener in ipairs(all) do listener:close() end
      return nil, ("Listening on %s failed: %s"):format(name, why)
    end
    for _, one in ipairs(found) do
      all[#all + 1] = setmetatable({
        source = one, host = one.host, port = one.port, path = one.path, secure = place.tls or false, item = nil,
        told = -math.huge,
      }, Listener)
    end
  end
  return all
end

--- starve(listener, why, now): waits until there is a descriptor again. Its peers wait as long.
local function starve(listener, why, now)
  if now - listener.told >= SELDOM then
    listener.told = now
    log.warning("no connection can be accepted for now: %s", why)
    guard.collect() -- connections that nobody holds keep theirs until then
  end
end

--- accept_some(listener, now): accepts who waits. Returns the results of a turn.
local function accept_some(listener, now)
  for _ = 1, MOST do
    if not listener.source then return false end -- closed by a handler
    if not listener.has_room() then return false, now + PAUSE end
    local socket, address, port = listener.source:accept()
    if socket then
      listener.accepted(socket, address, port, listener.secure)
    elseif not address then
      return false
    elseif port then
      starve(listener, address, now)
      return false, now + PAUSE
    else
      log.error("a listener has failed: %s", address)
      listener:close()
      return false
    end
  end
  return true
end

--- begin(listener, has_room, accepted): does the work of listeners.begin for one.
local function begin(listener, has_room, accepted)
  listener.has_room, listener.accepted = has_room, accepted
  local item = turns.item(function(_, now) return accept_some(listener, now) end)
  turns.enter(item)
  local ok, why = listener.source:watch(item)
  if not ok then
    item:leave()
    return nil, why
  end
  listener.item = item
  item:notice()
  return true
end

--- begin(all, has_room, accepted): has the reactor accept connections at these listeners, as long as has_room() says
-- that there is room for one more, and calls accepted(socket, address, port, secure) for each. Returns true; or nil and
-- why that cannot be, and then nobody listens any more.
function listeners.begin(all, has_room, accepted)
  for _, listener in ipairs(all) do
    local ok, why = begin(listener, has_room, accepted)
    if not ok then
      for _, one in ipairs(all) do one:close() end
      return nil, "the reactor cannot watch a listener: " .. why
    end
  end
  return true
end

--- address(all): returns host and port of the first listener; or its path, if it is a unix domain socket's. Nothing
-- once it is closed.
function listeners.address(all)
  local first = all[1]
  if not first or not first:is_open() then return nil end
  if first.path then return first.path end
  return first.host, first.port
end

--- close(): nobody listens here any more.
function Listener:close()
  if not self.source then return end
  if self.item then self.item:leave() end
  self.source:close()
  self.item, self.source = nil, nil
end

--- notice(): there is room again.
function Listener:notice()
  if self.item then self.item:notice() end
end

--- is_open(): returns whether it accepts connections.
function Listener:is_open() return self.source ~= nil end

return listeners
