--[[
Tells of the packets in a payload, in as many turns of the reactor as they need: a body of a million bytes may have half
a million of them, and others are to have their turns meanwhile. Knows no packets.
--]]

local payload = {}

-- At most this many are told of in one turn, as many as drive takes from a WebSocket.
local PACKETS = 64

--- each(reactor, next_packet, f, done): calls f(kind, data) for each packet that next_packet() returns, the first ones
-- at once, until it returns false; then done().
function payload.each(reactor, next_packet, f, done)
  local function go_on()
    for _ = 1, PACKETS do
      local kind, data = next_packet()
      if not kind or f(kind, data) == false then return done() end
    end
    reactor.after(0, go_on)
  end
  go_on()
end

return payload
