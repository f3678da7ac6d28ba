--[[
Tests without a network and without waiting, for programs that use luws: require it as luws.mock. A world (net) has a
clock that a test advances, servers whose end of each connection the test holds, and faults. The protocol is the real
one, at both ends; only the wire and the time are not.
--]]

local _, import = ...
local link, luup, nets, websockets = import("mock/link"), import("mock/luup"), import("mock/net"),
  import("mock/websocket")

local public = {
  --- net([options]): makes a world.
  net = nets.new,
  --- luup(options): loads a Luup plugin into a world.
  luup = luup.start,
  --- random(from, to): a value for a fault that is drawn each time.
  random = link.random,
  --- WebSocket(url [, delay [, net]]): an object in the manner of the browsers'.
  WebSocket = websockets.new,
}

--- echo([options]): returns options of a server that sends messages back.
function public.echo(options)
  local echoing = { echo = true }
  for name, value in pairs(options or {}) do echoing[name] = value end
  return echoing
end

for _, name in ipairs { "CONNECTING", "OPENING", "OPEN", "CLOSING", "CLOSED" } do public[name] = websockets[name] end

return { public = public }
