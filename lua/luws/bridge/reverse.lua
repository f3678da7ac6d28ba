--[[
The bridge's other direction: takes clients of TCP (or of unix domain sockets), connects for each to a WebSocket server,
and joins both.
--]]

local _, import = ...
local address, clock, close, listeners, luws = import("bridge/address"), import("clock"), import("close"),
  import("server/listeners"), import("luws")
local peers, quick, relays, secrets, tallies = import("bridge/peers"), import("quick"), import("bridge/relay"),
  import("secrets"), import("bridge/tally")

local reverse = {}

-- In how many seconds a server has to take what is queued for it, and to answer the close frame; as luws.server's
-- clients.
local CLOSING = 5

local Reverse = {}
Reverse.__index = Reverse

--- finish(self, client, code): a client is gone.
local function finish(self, client, code)
  if not self.clients[client] then return end
  self.clients[client], self.count = nil, self.count - 1
  if client.relay then
    self.tally:closed(client, code)
  else
    client.link:close()
    self.tally:refused(client.client, client.peer, 502, client.why or "closed")
  end
end

local function opened(self, client, conn)
  client.subprotocol = conn.subprotocol
  client.relay = self.relays:join(conn, client.link, self.settings.target.framing)
  self.tally:opened(client)
end

--- accept(self, socket, host, port): takes a client, and connects to the server for it.
local function accept(self, socket, host, port)
  local read, target = self.settings, self.settings.target
  local peer, wrong = peers.adopt(socket, relays.options(read, target.framing))
  if not peer then
    read.log:error("a client cannot be taken: %s", wrong)
    return
  end
  local client = {
    link = peer, client = address.client(host, port), endpoint = "-", peer = secrets.url(target.url),
    begun = clock.now(),
  }
  self.clients[client], self.count = true, self.count + 1
  read.log:connecting(client)
  client.options = {
    wait = false, subprotocols = target.subprotocol, ssl_verify = "peer", ssl_cafile = read.tls_peer_ca,
    max_payload_size = read.max_message, max_buffered = 0, deflate = read.compress,
    connect_timeout = read.connect_timeout, upgrade_timeout = read.handshake_timeout,
    ping_interval = read.ping, ping_timeout = read.pong_timeout, close_timeout = CLOSING,
    open_handler = function(opened_one) opened(self, client, opened_one) end,
    close_handler = function(ended) finish(self, client, ended.close_code_sent or ended.close_code or 1006) end,
  }
  client.conn, wrong = luws.wsopen(target.url, function(_, _, why) client.why = why end, client.options)
  if client.conn then return end
  client.why = wrong
  finish(self, client)
end

--- stats(): those of bridge/tally.
function Reverse:stats() return self.tally:stats() end

--- addresses(): returns where it listens, as URLs.
function Reverse:addresses() return address.urls(self.listeners, "tcp") end

--- address(): returns host and port of the first listener, or its path.
function Reverse:address() return listeners.address(self.listeners) end

--- reload(): there are no certificates.
function Reverse.reload() return true end

--- close(seconds): takes nobody any more, and closes all connections with code 1001, within this time.
function Reverse:close(seconds)
  self.is_closing = true
  for _, one in ipairs(self.listeners) do one:close() end
  local left = {}
  for client in pairs(self.clients) do left[#left + 1] = client end
  for _, client in ipairs(left) do
    local state = quick.state_of(client.conn)
    if client.relay and state.phase ~= "closed" then
      client.options.close_timeout = seconds
      close.close(state, 1001, "", "closed")
    elseif not client.relay then
      luws.wsclose(client.conn)
      finish(self, client)
    end
  end
  self.relays:close(seconds)
end

--- is_closed(): returns whether nothing is left.
function Reverse:is_closed() return self.is_closing and next(self.clients) == nil and self.relays:is_empty() end

--- listen(settings): begins to take clients. Returns an object; or nil and why it cannot listen.
function reverse.listen(read)
  for _, place in ipairs(read.places) do place.backlog = place.backlog or 1024 end
  local all, why = listeners.open(read.places)
  if not all then return nil, why end
  local self = setmetatable({
    settings = read, listeners = all, tally = tallies.new(read.log), is_closing = false,
    clients = {}, count = 0, -- records of those that are connected, or being connected
    relays = relays.set(read),
  }, Reverse)
  local ok
  ok, why = listeners.begin(all, function() return self.count < read.max_connections end,
    function(...) accept(self, ...) end)
  if not ok then return nil, why end
  return self
end

return reverse
