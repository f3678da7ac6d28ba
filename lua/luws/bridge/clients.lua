--[[
The bridge's clients: takes their requests by luws.server, asks the backend who their peers are, connects to those, and
joins both. Says what is told to the log.
--]]

local _, import = ...
local address, guard, json, peers, relays = import("bridge/address"), import("guard"), import("json").public,
  import("bridge/peers"), import("bridge/relay")
local clock, server, tallies = import("clock"), import("server").public, import("bridge/tally")

local clients = {}

-- What the client is told; the log says more.
local TEXTS = {
  [403] = "the peer is not allowed", [404] = "there is no peer for this request", [500] = "internal server error",
  [502] = "the peer cannot be reached", [503] = "too many connections", [504] = "the peer cannot be reached in time",
}

local Clients = {}
Clients.__index = Clients

local function client_of(request) return address.client(request.remote, request.remote_port) end

--- refusal(self, request, status, why): notes that a request is refused. Returns the response.
local function refusal(self, request, status, why)
  self.tally:refused(client_of(request), request.target, status, why)
  return { status = status, body = (TEXTS[status] or "refused") .. "\n", is_last = true }
end

--- status_of(self): returns the response that tells how the bridge does.
local function status_of(self)
  local body = json.encode(self:stats())
  return { body = body .. "\n", headers = { ["Content-Type"] = "application/json", ["Cache-Control"] = "no-store" } }
end

--- preface(self, request): returns the line that tells a peer who the client is (the PROXY protocol, version 1), if
-- that is wanted.
local function preface(self, request)
  if not self.settings.proxy_protocol then return nil end
  return address.preface(request.remote, request.remote_port, request.socket:getsockname())
end

--- options_of(self, found, request): returns the options of the native function relay_stream for a peer that a backend
-- has found.
local function options_of(self, found, request)
  local options = relays.options(self.settings, found.framing)
  options.preface = preface(self, request)
  if found.address.scheme == "tls" then options.tls = { verify = "peer", cafile = self.settings.tls_peer_ca } end
  return options
end

--- accept(self, request, found, record, peer): goes on with a request whose peer is there.
local function accept(self, request, found, record, peer)
  local pending = { peer = peer, found = found, record = record }
  local function give_up()
    if self.accepted[request] ~= pending then return end
    self.accepted[request] = nil
    peer:close()
  end
  self.accepted[request] = pending
  local ok = request:accept { subprotocol = found.subprotocol, on_fail = give_up }
  if not ok then give_up() end
end

--- on_request(self, request): decides about a request.
local function on_request(self, request)
  local read = self.settings
  local response, why = read.access:refusal(request)
  if response then
    self.tally:refused(client_of(request), request.target, response.status, why)
    response.is_last = true
    return response
  end
  if read.status == request.path then return status_of(self) end
  if request:problem() then return nil end -- the server refuses it
  if self.server:count() + self.connecting >= read.max_connections then
    return refusal(self, request, 503, "too many connections")
  end
  local ok, found, status, wrong = guard.free(read.backend, request)
  if not ok then return refusal(self, request, 500, "the backend raised an error: " .. tostring(found)) end
  if not found then return refusal(self, request, status or 404, wrong or "the backend has no peer for it") end
  local record = {
    client = client_of(request), endpoint = request.target, peer = address.text(found.address),
    subprotocol = found.subprotocol,
  }
  local function allows(...) return read.access:allows(...) end
  local function done(peer, failed, reason)
    self:forget(request)
    if peer then return accept(self, request, found, record, peer) end
    request:refuse(refusal(self, request, failed, ("%s: %s"):format(record.peer, reason)))
  end
  read.log:connecting(record)
  self.connecting = self.connecting + 1
  self.attempts[request] =
    peers.connect(found.address, allows, options_of(self, found, request), read.connect_timeout, done)
  return server.later
end

--- forget(request): the peer for a request is not being connected to any more. Returns the attempt, if there was one.
function Clients:forget(request)
  local attempt = self.attempts[request]
  if not attempt then return nil end
  self.attempts[request], self.connecting = nil, self.connecting - 1
  return attempt
end

--- on_abort(self, request): the client has gone before the peer was there.
local function on_abort(self, request)
  local attempt = self:forget(request)
  if not attempt then return end
  attempt:close()
  self.tally:refused(client_of(request), request.target, nil, "the client has gone")
end

local function on_open(self, conn, request)
  local pending = self.accepted[request]
  self.accepted[request] = nil
  local record = pending.record
  record.subprotocol, record.begun = conn.subprotocol, clock.now()
  self.records[conn] = record
  record.relay = self.relays:join(conn, pending.peer, pending.found.framing)
  self.tally:opened(record)
end

local function on_close(self, conn, code)
  local record = self.records[conn]
  self.records[conn] = nil
  if record then self.tally:closed(record, conn.close_code_sent or code) end
end

--- stats(): as those of bridge/tally.
function Clients:stats()
  local stats = self.tally:stats()
  stats.connections = self.server:count() -- with those that on_open is still to be told of
  return stats
end

--- addresses(): returns where it listens, as URLs.
function Clients:addresses()
  return address.urls(self.server:addresses(), self.settings.tls_cert and "wss" or "ws")
end

--- address(): returns host and port of the first listener, or its path.
function Clients:address() return self.server:address() end

--- reload(): reads the certificates again. Returns true; or nil and why not.
function Clients:reload() return self.server:reload() end

--- close(seconds): takes nobody any more, and closes all connections with code 1001.
function Clients:close(seconds)
  self.server:close { code = 1001, timeout = seconds }
  for _, attempt in pairs(self.attempts) do attempt:close() end
  self.attempts, self.connecting = {}, 0
  self.relays:close(seconds)
end

--- is_closed(): returns whether nothing is left.
function Clients:is_closed() return self.server:is_closed() and self.relays:is_empty() end

--- listen(settings): begins to take clients. Returns an object; or nil and why it cannot listen.
function clients.listen(read)
  local self = setmetatable({
    settings = read, server = nil, tally = tallies.new(read.log),
    attempts = {}, connecting = 0, -- peers that are being connected to, by the requests
    accepted = {}, -- requests whose peers are there, until they are WebSockets
    records = {}, -- what is known of the connections that are open
    relays = relays.set(read),
  }, Clients)
  local given = {
    listeners = read.places, methods = { "GET" }, max_connections = read.max_connections,
    trusted_proxies = read.trusted_proxies,
    max_payload_size = read.max_message, max_buffered = 0, deflate = read.compress,
    upgrade_timeout = read.handshake_timeout, answer_timeout = read.connect_timeout + 1,
    ping_interval = read.ping, ping_timeout = read.pong_timeout,
    on_request = function(request) return on_request(self, request) end,
    on_abort = function(request) on_abort(self, request) end,
    on_open = function(conn, request) on_open(self, conn, request) end,
    on_close = function(conn, code) on_close(self, conn, code) end,
    on_refuse = function(refused)
      self.tally:refused(client_of(refused), refused.target or "-", refused.status, refused.why)
    end,
  }
  for name, value in pairs(read.tls) do given[name] = value end
  local made, why = server.listen(given)
  if not made then return nil, why end
  self.server = made
  return self
end

return clients
