--[[
Counts a bridge's connections and the bytes that they carry, and tells the log of each.

A connection is a table with what the log shows of it (client, endpoint, peer, subprotocol: bridge/log); `begun`, the
time; and once it is open `relay` (bridge/relay).
--]]

local _, import = ...
local clock = import("clock")

local Tally = {}
Tally.__index = Tally

--- refused(client, endpoint, status, why): a client was refused; without a status, nobody is there to be answered.
function Tally:refused(client, endpoint, status, why)
  self.refusals = self.refusals + 1
  self.log:refused(client, endpoint, status, why)
end

--- opened(connection): a client is connected with its peer.
function Tally:opened(connection)
  self.total = self.total + 1
  self.open[connection] = true
  self.log:opened(connection)
end

--- closed(connection, code): the client has left.
function Tally:closed(connection, code)
  local relay = connection.relay
  relay:leave()
  self.open[connection] = nil
  connection.bytes_in, connection.bytes_out = relay:counts()
  connection.code, connection.why, connection.seconds = code, relay.why, clock.now() - connection.begun
  self.bytes_in, self.bytes_out = self.bytes_in + connection.bytes_in, self.bytes_out + connection.bytes_out
  self.log:closed(connection)
end

--- stats(): returns how many connections are open and have been, how many clients were refused, and the bytes of data
-- from the clients and to them.
function Tally:stats()
  local bytes_in, bytes_out, count = self.bytes_in, self.bytes_out, 0
  for connection in pairs(self.open) do
    local from, to = connection.relay:counts()
    bytes_in, bytes_out, count = bytes_in + from, bytes_out + to, count + 1
  end
  return {
    connections = count, total = self.total, refused = self.refusals, bytes_in = bytes_in, bytes_out = bytes_out,
  }
end

local tally = {}

--- new(log): returns a tally of nothing.
function tally.new(log)
  return setmetatable({ log = log, open = {}, total = 0, refusals = 0, bytes_in = 0, bytes_out = 0 }, Tally)
end

return tally
