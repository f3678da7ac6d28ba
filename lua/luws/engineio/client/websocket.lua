--[[
A client's transport by a WebSocket. polling has what transports have in common.
--]]

local _, import = ...
local failure, luws, packets = import("engineio/failure"), import("luws"), import("engineio/packets")
local main_reactor = import("reactor").public

local websocket = {}

local WebSocket = { name = "websocket" }
WebSocket.__index = WebSocket

local TEXT, BINARY = 1, 2

-- More bytes than this are not queued in the connection: what comes then waits above it.
local HIGH = 1024 * 1024

-- At most this many bytes come before the data of a frame.
local HEADER = 14

--- new(place): makes the transport to a place.
function websocket.new(place)
  return setmetatable({
    place = place, on = nil, reactor = place.shared.reactor or main_reactor,
    state = "closed", -- opening, open, closed
    writable = false, -- it takes packets now
    takes_binary = not place.own.forceBase64,
    conn = nil,
    given = 0, -- at least as many bytes as wait in the connection
  }, WebSocket)
end

--- told(self, conn, opcode, data): the handler of the connection.
local function told(self, conn, opcode, data)
  if self.conn ~= conn or self.state == "closed" then return end
  if opcode == TEXT then
    local kind, value = packets.parse(data)
    if kind == "close" then -- python-engineio says so, and leaves the rest to the client
      local on = self.on
      self:close()
      return on.close { description = "transport closed by the server" }
    end
    if kind then return self.on.packet(kind, value) end
    return self:fail(failure.new("server error", "the server has sent something that is no packet"))
  elseif opcode == BINARY then
    return self.on.packet(packets.parse_bytes(data))
  end
  -- We have sent a close frame, and the peer has not: it has broken a rule.
  local has_failed = self.state == "opening" or conn.close_code == 1006 and conn.close_code_sent ~= nil
  if has_failed then
    local response = conn.response
    local context = response and { status = response.status, responseText = response.body }
    return self:fail(failure.new("websocket error", data, context))
  end
  local on = self.on
  self.state, self.writable = "closed", false
  on.close { description = "websocket connection closed", context = { code = conn.close_code or 1006, reason = data } }
end

--- fail(err): nothing more can come, or be sent.
function WebSocket:fail(err)
  local on = self.on
  self:close()
  on.error(err)
end

function WebSocket:open()
  local place, own = self.place, self.place.own
  self.state = "opening"
  local options = place:options {
    wait = false, send_timeout = 0, max_buffered = 0, close_timeout = own.close_timeout,
    max_payload_size = own.max_payload_size,
    upgrade_headers = place:headers(), subprotocols = own.protocols, deflate = own.perMessageDeflate or nil,
    reactor = self.reactor,
    open_handler = function(conn)
      if self.conn ~= conn or self.state ~= "opening" then return end
      self.state, self.writable = "open", true
      self.on.open()
    end,
    drain_handler = function()
      if self.state ~= "open" or self.writable then return end
      self.writable = true
      self.on.drain()
    end,
  }
  local conn, why = luws.wsopen(place:url "websocket", function(...) told(self, ...) end, options)
  self.conn = conn or nil
  if conn then return end
  self.reactor.after(0, function()
    if self.state == "opening" then self:fail(failure.new("websocket error", why)) end
  end)
end

--- put(kind, data [, compress]): sends a packet, uncompressed if `compress` is false. If it takes no more then
-- (`writable`), on.drain is called when it does. Returns whether it was taken; if not, the transport is over in the
-- next turn.
function WebSocket:put(kind, data, compress)
  local conn = self.conn
  local frame, is_binary = packets.frame(kind, data, self.takes_binary)
  if compress == false then conn:compress(false) end
  local ok, why = luws.wssend(conn, is_binary and BINARY or TEXT, frame)
  if compress == false then conn:compress(true) end
  if not ok then
    self.writable = false
    self.reactor.after(0, function()
      if self.state == "open" then self:fail(failure.new("websocket error", why)) end
    end)
    return false
  end
  self.given = self.given + #frame + HEADER
  if self.given <= HIGH then return true end -- to ask the connection each time would be expensive
  self.given = conn.bufferedAmount
  self.writable = self.given <= HIGH
  return true
end

--- send(list): sends packets, as put.
function WebSocket:send(list)
  for _, packet in ipairs(list) do
    if not self:put(packet.kind, packet.data, packet.compress) then return end
  end
end

function WebSocket:close()
  if self.state == "closed" then return end
  self.state, self.writable = "closed", false
  if self.conn then luws.wsclose(self.conn) end
end

WebSocket.discard = WebSocket.close

return websocket
