--[[
luws listen: a server to try clients with. It echoes, broadcasts, or greets.
--]]

local native, import = ...
local arguments, luws, opening, output = import("command/arguments"), import("luws"), import("command/opening"),
  import("command/output")
local blame, listeners, server = import("blame"), import("server/listeners"), import("server").public

local STATUS = opening.STATUS

-- While more bytes than this wait to be sent to a client, nothing is received from it.
local MOST_WAITING = 256 * 1024

local listen = {
  summary = "accepts connections: echoes, broadcasts or greets",
  usage = "luws listen [OPTION]... PORT",
  argument = "the port",
  description = "Accepts WebSocket connections at 127.0.0.1, and sends each message back to where it came from.",
  options = {
    { "host", value = "ADDRESS", help = "listens at this address; 0.0.0.0 or :: for all (127.0.0.1)" },
    { "echo", help = "sends messages back, which is what it does anyway" },
    { "broadcast", help = "sends messages to all other clients" },
    { "execute", short = "x", value = "TEXT", many = true,
      help = "sends TEXT to each new client, and nothing else; repeatable" },
    { "subprotocol", short = "s", value = "NAME", many = true, help = "speaks this subprotocol; repeatable" },
    { "compress", help = "takes compression, if the client offers it" },
    { "log", help = "prints who comes and goes, and what messages they send" },
  },
  notes = "PORT 0 is any that is free. Ctrl-C closes all connections with code 1001.",
}

--- answer(srv, values, conn, opcode, data): does what is to be done with a message.
local function answer(srv, values, conn, opcode, data)
  if values.execute then return end
  if not values.broadcast then
    luws.wssend(conn, opcode, data)
    if conn.bufferedAmount > MOST_WAITING then conn:pause() end
    return
  end
  for other in srv:connections() do
    if other ~= conn and not luws.wssend(other, opcode, data) then luws.wsclose(other, 1013, "too slow") end
  end
end

--- run(values, port): listens until a signal comes. Returns the exit status; or nil and what is wrong.
function listen.run(values, port)
  local number = arguments.whole(65535)(port)
  if not number then return nil, ("a port from 0 to 65535 expected, got '%s'"):format(port) end
  if values.broadcast and (values.echo or values.execute) or values.echo and values.execute then
    return nil, "only one of --echo, --broadcast and --execute can be done"
  end
  local srv, why
  local function say(conn, ...)
    if values.log then output.plain(output.visible(("#%d "):format(conn.id) .. string.format(...))) end
  end
  srv, why = server.listen {
    host = values.host, port = number, subprotocols = values.subprotocol, deflate = values.compress or false,
    max_payload_size = opening.MOST, max_buffered = 2 * opening.MOST,
    on_open = function(conn, request)
      say(conn, "open: %s %s", request.remote, request.path)
      for _, text in ipairs(values.execute or {}) do luws.wssend(conn, 1, text) end
    end,
    on_message = function(conn, opcode, data)
      say(conn, "%s", opcode == 1 and "text: " .. data or ("binary: %d bytes"):format(#data))
      answer(srv, values, conn, opcode, data)
    end,
    on_drain = function(conn) conn:resume() end,
    on_close = function(conn, code, reason) say(conn, "closed: %d %s", code, reason) end,
  }
  if not srv then
    if blame(why) then return nil, opening.named(why) end
    output.fail(("cannot listen at port %d: %s"):format(number, why))
    return STATUS.unconnected
  end
  native.raise_descriptor_limit() -- if it cannot be, clients wait once there are too many
  opening.on_signal(function() srv:close { timeout = 2 } end)
  output.say(("listening at ws://%s/"):format(listeners.authority(srv:address())), "green")
  opening.run(function() return srv:is_closed() end)
  return opening.signal_status() or STATUS.ended
end

return listen
