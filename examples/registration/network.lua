-- The registration protocol over WebSockets: its server on luws.server, and its clients. `reactor` says where: the
-- reactor of a world of luws.mock, or the real one.

local luws = require "luws"
local protocol = require "examples.registration.protocol"
local server = require "luws.server"

local network = {}

--- listen(options, name, keys, now): returns a server that registers clients (options: those of luws.server's listen
-- for where it is); or nil and why it cannot listen.
function network.listen(options, name, keys, now)
  local book, sessions = protocol.server(name, keys, now), {}
  local given = {
    max_payload_size = 4096,
    on_open = function(conn)
      sessions[conn] = book:open(function(text) luws.wssend(conn, 1, text) end,
        function(code, why) luws.wsclose(conn, code, why) end)
    end,
    on_message = function(conn, _, text) book:receive(sessions[conn], text) end,
    on_close = function(conn)
      book:left(sessions[conn])
      sessions[conn] = nil
    end,
  }
  for option, value in pairs(options) do given[option] = value end
  return server.listen(given)
end

--- connect(rec, url, client, options): connects a client (protocol.client), recorded under its name. Returns it.
function network.connect(rec, url, client, options)
  local given = { wait = false }
  for option, value in pairs(options) do given[option] = value end
  client.conn = assert(rec:wsopen(client.name, url, function(_, opcode, data)
    if opcode then client:receive(data) end
  end, given))
  function client.send(text) luws.wssend(client.conn, 1, text) end
  return client
end

return network
