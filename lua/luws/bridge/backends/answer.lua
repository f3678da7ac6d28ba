--[[
What backends have in common. A backend is a function of a request (as luws.server has it) that returns

  { address = of the peer (bridge/address), framing = what to do with its bytes (bridge/framing),
    subprotocol = the one to select, or nil }

or nil, the status to refuse the request with, and why, for the log.
--]]

local _, import = ...
local address, framing, plugin = import("bridge/address"), import("bridge/framing"), import("bridge/plugin")

local answer = {}

--- framing(name, config): returns what to do with the bytes of a peer. `name` is that of a framing function, of a file
-- that returns one (and is given its config), or a function; nil is "auto". Or returns nil and what is wrong.
function answer.framing(name, config)
  local path = plugin.path(name)
  if path then
    local made, why = plugin.load(path, config)
    if not made then return nil, why end
    name, config = made, nil
  end
  return framing.parse(name or "auto", config)
end

--- make(peer [, default]): returns the answer with these fields, which are text: host, port, framing, framing_config
-- and subprotocol; or nil, the name of a field, and what is wrong with it. `default` is the port if there is none.
function answer.make(peer, default)
  local of, wrong = address.parse(peer.host, peer.port, default)
  if not of then return nil, "host", wrong end
  local spec
  spec, wrong = answer.framing(peer.framing, peer.framing_config)
  if not spec then return nil, "framing", wrong end
  return { address = of, framing = spec, subprotocol = peer.subprotocol }
end

return answer
