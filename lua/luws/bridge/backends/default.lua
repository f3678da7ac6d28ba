--[[
The default backend: all clients have one peer, which the options name.
--]]

local _, import = ...
local answer = import("bridge/backends/answer")

local backend = {}

-- websocksy's: a VNC server here.
local HOST, PORT = "tcp://localhost", "5900"

--- selected(offered, wanted): returns which of the subprotocols that a client offers is the wanted one, ignoring case,
-- in the client's spelling; with "*" it is the first. Returns nil if there is none.
local function selected(offered, wanted)
  if wanted == "*" then return offered[1] end
  for _, name in ipairs(offered) do
    if wanted and name:lower() == wanted:lower() then return name end
  end
end

--- make(own): returns the backend with these options; or nil, the name of an option, and what is wrong with it.
function backend.make(own)
  local found, option, wrong = answer.make({
    host = own.host or HOST, port = own.peer_port, framing = own.framing, framing_config = own.framing_config,
  }, PORT)
  if not found then return nil, option, wrong end
  return function(request)
    local subprotocol = selected(request.subprotocols, own.protocol)
    return { address = found.address, framing = found.framing, subprotocol = subprotocol }
  end
end

return backend
