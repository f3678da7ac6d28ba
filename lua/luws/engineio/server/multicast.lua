--[[
Sending one message to many sessions of an engine: its frame is made once for all whose WebSockets take the same. The
others get it as if it were for them alone.
--]]

local _, import = ...
local packets, sockets = import("engineio/packets"), import("engineio/server/socket")

local TEXT, BINARY = 1, 2

-- For fewer sessions than this it is not worth it.
local FEW = 4

--- grouped(list): returns the connections of those sessions that are ready for a frame, as a list of groups whose frame
-- is the same; the sessions by their connections; and the list of the other sessions.
local function grouped(list)
  local groups, by_codec, sessions, others = {}, {}, {}, {}
  for _, socket in ipairs(list) do
    if sockets.is_calm(socket) then
      local transport = socket.transport
      local codec, takes_binary = transport.codec, transport.takes_binary
      local by_kind = by_codec[codec] or {}
      by_codec[codec] = by_kind
      local group = by_kind[takes_binary]
      if not group then
        group = { codec = codec, takes_binary = takes_binary, conns = {} }
        by_kind[takes_binary], groups[#groups + 1] = group, group
      end
      group.conns[#group.conns + 1] = transport.conn
      sessions[transport.conn] = socket
    else
      others[#others + 1] = socket
    end
  end
  return groups, sessions, others
end

--- multicast(srv, list, data, options): sends a message to sessions whose connections are of the server srv.
return function(srv, list, data, options)
  if type(list) ~= "table" then
    error(("bad argument #1 to 'multicast' (list of sockets expected, got %s)"):format(type(list)), 0)
  end
  packets.check(data)
  local groups, sessions, others = {}, nil, list
  if #list >= FEW then groups, sessions, others = grouped(list) end
  for _, group in ipairs(groups) do
    local frame, is_binary = group.codec.frame("message", data, group.takes_binary)
    local opcode = is_binary and BINARY or TEXT
    local _, rest = srv:multicast(group.conns, opcode, frame, packets.compress(options))
    for _, conn in ipairs(rest) do
      others[#others + 1], sessions[conn] = sessions[conn], nil
    end
  end
  for _, socket in pairs(sessions or {}) do sockets.sent(socket) end
  for _, socket in ipairs(others) do socket:send(data, options) end
end
