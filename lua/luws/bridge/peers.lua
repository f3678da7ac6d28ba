--[[
Connects to the peers of a bridge, without waiting: looks the name up, asks whether what was found is allowed, connects
within a time, and finishes TLS. Knows no clients.

A peer is a table with

  native     what carries its bytes (src/lua/relay)
  item       whose turns are given by its socket (turns); whoever takes the peer over sets `turn` and `state` of it
  fd         the descriptor of its socket
--]]

local native, import = ...
local clock, turns = import("clock"), import("turns")

local peers = {}

-- If too many wait at a unix domain socket, it is tried again after this many seconds.
local AGAIN = 0.05

local Peer = {}
Peer.__index = Peer

--- close(): ends everything at once.
function Peer:close()
  if self.dial then native.dial_cancel(self.dial) end
  if self.fd then turns.unwatch(self.fd) end
  if self.native then native.relay_close(self.native) end
  self.dial, self.fd, self.native, self.done = nil, nil, nil, nil
  self.item:leave()
end

--- fail(self, status, why): gives up.
local function fail(self, status, why)
  local done = self.done
  self:close()
  done(nil, status, why)
end

--- watch(self, fd): has the peer's turns follow what happens to a descriptor. One that was an attempt to connect is
-- watched already.
local function watch(self, fd)
  local ok, why, is_known = self.item:watch(fd)
  if ok or is_known then return true end
  fail(self, 502, why)
  return false
end

--- take_over(self, relay): the socket is connected.
local function take_over(self, relay)
  self.native, self.fd = relay, native.relay_fd(relay)
  return watch(self, self.fd)
end

-- The steps. Each returns true if the next may follow at once; otherwise nil and when it is to be repeated at the
-- latest, if its descriptors do not tell.

local function ready(self)
  local is_ready, why = native.relay_open(self.native)
  if why then
    fail(self, 502, why)
  elseif is_ready then
    local done = self.done
    self.done = nil
    done(self)
  end
end

local function connected(self)
  local socket, why = native.dial_advance(self.dial, 0)
  if why then return fail(self, 502, why) end
  for _, fd in ipairs(native.dial_descriptors(self.dial) or {}) do
    if not watch(self, fd) then return nil end
  end
  if not socket then
    local left = native.dial_due(self.dial)
    return nil, left and clock.now() + left
  end
  self.dial = nil
  local relay
  relay, why = native.relay_stream(socket, self.options)
  if not relay then return fail(self, 502, why) end
  self.step = ready
  return take_over(self, relay)
end

--- datagrams(self, found): makes the socket for the first of these addresses for which that can be done.
local function datagrams(self, found)
  local relay, why
  for _, address in ipairs(found) do
    relay, why = native.relay_udp(address, self.address.port, self.options)
    if relay then break end
  end
  if not relay then return fail(self, 502, why) end
  native.dial_cancel(self.dial)
  self.dial, self.step = nil, ready
  return take_over(self, relay)
end

local function resolved(self)
  local _, why = native.dial_advance(self.dial, 0)
  if why then return fail(self, 502, why) end
  local found = native.dial_untried(self.dial)
  if not found then
    if self.is_awaited then return nil end
    self.is_awaited = self.item:wake(self.dial)
    return self.is_awaited == false or nil, self.is_awaited == nil and clock.now() + turns.POLL or nil
  end
  local allowed = {}
  for _, address in ipairs(found) do
    if self.allows(self.address, address) then allowed[#allowed + 1] = address end
  end
  if not allowed[1] then return fail(self, 403, "the peer is not allowed: " .. table.concat(found, ", ")) end
  if self.address.scheme == "udp" then return datagrams(self, allowed) end
  native.dial_retain(self.dial, allowed)
  native.dial_go_on(self.dial)
  self.step = connected
  return true
end

local function local_socket(self)
  if not self.allows(self.address, nil) then return fail(self, 403, "the peer is not allowed") end
  local make = self.address.scheme == "unix" and native.relay_unix or native.relay_unix_dgram
  local relay, why, is_full = make(self.address.path, self.options)
  if is_full then return nil, clock.now() + AGAIN end
  if not relay then return fail(self, 502, why) end
  self.step = ready
  return take_over(self, relay)
end

local function turn(item, now)
  local self, due = item.state, nil
  if self.done and now >= self.deadline then return fail(self, 504, "timeout") end
  local goes_on = true
  while goes_on and self.done do goes_on, due = self.step(self) end
  return false, self.done and math.min(due or math.huge, self.deadline) or nil
end

--- new(options, seconds, done): returns a peer that has its first turn soon.
local function new(options, seconds, done)
  local self = setmetatable({
    native = nil, fd = nil, dial = nil, step = nil, address = nil, allows = nil, is_awaited = false,
    options = options, deadline = clock.now() + seconds, done = done,
  }, Peer)
  self.item = turns.item(turn, self)
  turns.enter(self.item)
  self.item:notice()
  return self
end

--- connect(address, allows, options, seconds, done): connects to a peer (bridge/address). allows(address, resolved)
-- says whether that may be done, for each address of its host; without one if it has a path. `options` are those of the
-- native function relay_stream. Calls done(peer) later; or done(nil, status, why), if that was not possible within
-- `seconds`. Returns a table whose method close() prevents that.
function peers.connect(address, allows, options, seconds, done)
  local self = new(options, seconds, done)
  self.address, self.allows = address, allows
  if address.path then
    self.step = local_socket
    return self
  end
  options.host = address.host
  self.dial, self.step = native.dial(address.host, address.port), resolved
  native.dial_hold(self.dial)
  return self
end

--- adopt(socket, options): returns the peer that is at the other end of a native socket; or nil and why there is none.
function peers.adopt(socket, options)
  local relay, why = native.relay_stream(socket, options)
  if not relay then return nil, why end
  local failure
  local self = new(options, math.huge, function(_, _, wrong) failure = wrong end)
  if not take_over(self, relay) then return nil, failure end
  self.done = nil
  return self
end

return peers
