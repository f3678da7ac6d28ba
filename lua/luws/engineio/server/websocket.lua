--[[
A server's transport by a WebSocket. polling has what transports have in common.
--]]

local _, import = ...
local failure, luws = import("engineio/failure"), import("luws")
local NOBODY = import("engineio/server/polling").NOBODY

local websocket = {}

local WebSocket = { name = "websocket" }
WebSocket.__index = WebSocket

local TEXT, BINARY = 1, 2

--- new(codec, request, conn, own): makes the transport over a connection of luws.server.
function websocket.new(codec, request, conn, own)
  -- The server may have been made for other messages.
  if conn.options.max_payload_size ~= own.maxHttpBufferSize then
    local options = {}
    for name, value in pairs(conn.options) do options[name] = value end
    options.max_payload_size = own.maxHttpBufferSize
    conn.options = options
  end
  return setmetatable({
    codec = codec, conn = conn, on = NOBODY, takes_binary = request.query_table.b64 == nil,
    writable = true, is_closed = false,
  }, WebSocket)
end

--- received(opcode, data): a message has come.
function WebSocket:received(opcode, data)
  local codec = self.codec
  local kind, value
  if opcode == TEXT then kind, value = codec.parse(data) else kind, value = codec.parse_bytes(data) end
  if kind == "close" then return self:close() end
  self.on.packet(kind or "error", value)
end

--- drained(): the connection takes more.
function WebSocket:drained()
  if self.writable or self.is_closed then return end
  self.writable = true
  self.on.ready()
end

--- over(code, reason): the connection has ended.
function WebSocket:over(code, reason)
  if self.is_closed then return end
  local conn, on = self.conn, self.on
  self.is_closed, self.writable, self.on = true, false, NOBODY
  -- We have sent a close frame, and the peer has not: it has broken a rule.
  if code == 1006 and conn.close_code_sent then
    return on.error(failure.new("websocket error", ("closed with code %d"):format(conn.close_code_sent)))
  end
  on.close { code = code, reason = reason }
end

--- put(kind, data [, compress]): sends a packet, uncompressed if `compress` is false. Returns whether it was taken; if
-- not, on.ready is called when there is room.
function WebSocket:put(kind, data, compress)
  local frame, is_binary = self.codec.frame(kind, data, self.takes_binary)
  local conn = self.conn
  if compress == false then conn:compress(false) end
  local is_taken = luws.wssend(conn, is_binary and BINARY or TEXT, frame)
  if compress == false then conn:compress(true) end
  if not is_taken then self.writable = false end
  return is_taken
end

--- send(list): sends packets. Returns how many were taken.
function WebSocket:send(list)
  for i, packet in ipairs(list) do
    if not self:put(packet.kind, packet.data, packet.compress) then return i - 1 end
  end
  return #list
end

--- close(f): ends the transport, and calls f().
function WebSocket:close(f)
  if self.is_closed then return end
  local on = self.on
  self.is_closed, self.writable, self.on = true, false, NOBODY
  luws.wsclose(self.conn)
  if f then f() else on.close() end
end

--- discard(): nothing that the end would have to wait for.
function WebSocket.discard() end

--- leave(): the session is over.
function WebSocket:leave()
  self.on = NOBODY
  self:close()
end

return websocket
