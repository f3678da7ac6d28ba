-- Outages in memory, for specs of the option reconnect: a server whose connections can be lost, attempts to connect
-- that fail, and what drives a connection meanwhile.
--
--   local o = outage.new()
--   local server = o:echo_server()
--   local conn, told = o:open(server, { reconnect = true })
--   o:run(conn, 1)
--   o.refuse(5)
--   outage.last_of(server):vanish()
--
-- It knows the world (world.lua), and nothing of what is tested.

local world = require "spec.support.world"

local outage = {}

--- last_of(server): returns the peer of a server's last connection.
function outage.last_of(server) return server.peers[#server.peers] end

--- steps_of(times): returns the differences between successive numbers.
function outage.steps_of(times)
  local steps = {}
  for i = 2, #times do steps[i - 1] = times[i] - times[i - 1] end
  return steps
end

local Outage = {}
Outage.__index = Outage

--- new(): returns a world of its own, with the functions below. Its fields: world, luws.
function outage.new()
  local w = world.new()
  return setmetatable({ world = w, luws = w.luws }, Outage)
end

--- echo_server(): returns a server that echoes and answers close frames.
function Outage:echo_server()
  return self.world:server(function() return self.world:peer():echo() end)
end

--- open(server, options): opens a connection to a server, with reconnect = true if that is not given. Returns it, and
-- what its handlers were told, in order: "open" for open_handler.
function Outage:open(server, options)
  local told = {}
  options = options or {}
  if options.reconnect == nil then options.reconnect = true end
  options.open_handler = options.open_handler or function() told[#told + 1] = "open" end
  local conn = self.world:open(server, options, function(_, ...) told[#told + 1] = { ... } end)
  return conn, told
end

--- run(conn, seconds): has the reactor drive a connection for this time.
function Outage:run(conn, seconds)
  self.world.reactor.add(conn)
  self.world.reactor.run(seconds)
end

--- note_dials(): returns a list of the times at which attempts to connect begin, from now on.
function Outage:note_dials()
  local w, times = self.world, {}
  local next_dial = w.next_dial
  function w.next_dial(...)
    times[#times + 1] = w.clock.now()
    return next_dial(...)
  end
  return times
end

--- refuse(count): has the next attempts to connect fail.
function Outage:refuse(count)
  for i = 1, count do self.world.dials[i] = { 0, "connection refused" } end
end

--- answering(...): returns a peer that answers every request with these lines.
function Outage:answering(...)
  local response = table.concat({ ... }, "\r\n") .. "\r\nContent-Length: 0\r\n\r\n"
  local peer = self.world:peer { plain = true }
  function peer.advance(one)
    if one.line:take():find "\r\n\r\n" then one.line:send(response) end
  end
  return peer
end

-- What drives a connection until the time is over or wsreceive says that it has ended. Each returns why, if it has.

--- poll(conn, seconds): calls wsreceive once a second.
function Outage:poll(conn, seconds)
  for _ = 1, seconds do
    repeat
      local more, why = self.luws.wsreceive(conn)
      if more == nil then return why end
    until not more
    self.world.clock.sleep(1)
  end
end

--- wait(conn, seconds): calls wsreceive whenever wswait returns.
function Outage:wait(conn, seconds)
  local clock = self.world.clock
  local deadline = clock.now() + seconds
  while clock.now() < deadline do
    local more, why = self.luws.wsreceive(conn)
    if more == nil then return why end
    self.luws.wswait(conn, deadline - clock.now())
  end
end

--- ask(conn, seconds): sleeps as long as conn:timeout() and conn:dirty() allow.
function Outage:ask(conn, seconds)
  local clock = self.world.clock
  local deadline = clock.now() + seconds
  while clock.now() < deadline do
    local more, why = self.luws.wsreceive(conn)
    if more == nil then return why end
    local left = math.min(conn:timeout() or math.huge, deadline - clock.now())
    clock.pass(left, function() return conn:dirty() end)
  end
end

--- drive(conn, seconds): leaves it to the reactor.
function Outage:drive(conn, seconds)
  self:run(conn, seconds)
  if not conn.connected then return select(2, self.luws.wsreceive(conn)) end
end

return outage
