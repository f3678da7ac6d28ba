--[[
luws listen: a server to try clients with. It echoes, broadcasts, greets, or has a person talk to the clients.
--]]

local native, import = ...
local input, kinds, luws = import("command/input"), import("kinds"), import("luws")
local opening, output = import("command/opening"), import("command/output")
local blame, listeners, server = import("blame"), import("server/listeners"), import("server").public

local STATUS = opening.STATUS

-- While more bytes than this wait to be sent to a client, nothing is received from it, and no line is read for it.
local MOST_WAITING = 256 * 1024

local listen = {
  summary = "accepts connections: echoes, broadcasts, greets, or talks",
  usage = "luws listen [OPTION]... PORT",
  argument = "the port",
  description = "Accepts WebSocket connections at 127.0.0.1, and sends each message back to where it came from.",
  options = {
    { "host", value = "ADDRESS", help = "listens at this address; 0.0.0.0 or :: for all (127.0.0.1)" },
    { "echo", help = "sends messages back, which is what it does anyway" },
    { "broadcast", help = "sends messages to all other clients" },
    { "execute", short = "x", value = "TEXT", many = true,
      help = "sends TEXT to each new client, and nothing else; repeatable" },
    { "talk", help = "sends lines of the input to all clients, and prints their messages" },
    { "subprotocol", short = "s", value = "NAME", many = true, help = "speaks this subprotocol; repeatable" },
    { "compress", help = "takes compression, if the client offers it" },
    { "log", help = "prints who comes and goes, and what messages they send" },
  },
  notes = "PORT 0 is any that is free. Ctrl-C closes all connections with code 1001.",
}

-- What it can do, by the options for that; the first one is done without any.
local MODES = { "echo", "broadcast", "execute", "talk" }

--- mode_of(values): returns which of these is to be done; nil if it is more than one.
local function mode_of(values)
  local found
  for _, name in ipairs(MODES) do
    if values[name] and found then return nil end
    found = values[name] and name or found
  end
  return found or MODES[1]
end

--- tell(conn, opcode, data): sends a message to one of many clients. One that does not take it is closed.
local function tell(conn, opcode, data)
  if not luws.wssend(conn, opcode, data) then luws.wsclose(conn, 1013, "too slow") end
end

-- Does what is to be done with a message, by mode.
local answer = {}

function answer.echo(_, conn, opcode, data)
  luws.wssend(conn, opcode, data)
  if conn.bufferedAmount > MOST_WAITING then conn:pause() end
end

function answer.broadcast(srv, conn, opcode, data)
  for other in srv:connections() do
    if other ~= conn then tell(other, opcode, data) end
  end
end

function answer.execute() end

function answer.talk(_, _, opcode, data) output[opcode == 1 and "text" or "binary"](data) end

--- read_lines(srv): sends each line of the input to all clients. Returns the input, which is paused until there are
-- some.
local function read_lines(srv)
  local lines
  lines = input.start(function(line)
    output.entered()
    for conn in srv:connections() do
      tell(conn, 1, line)
      if conn.bufferedAmount > MOST_WAITING then lines:pause() end
    end
    output.prompt()
  end, function(why)
    output.leave_prompt()
    if why then output.fail("the input cannot be read: " .. why) end
    if output.is_interactive then srv:close { timeout = 2 } end
  end)
  lines:pause()
  return lines
end

--- run(values, port): listens until a signal comes. Returns the exit status; or nil and what is wrong.
function listen.run(values, port)
  local number = kinds.whole(0, 65535)(port, true)
  if not number then return nil, ("a port from 0 to 65535 expected, got '%s'"):format(port) end
  local mode = mode_of(values)
  if not mode then return nil, "only one of --echo, --broadcast, --execute and --talk can be done" end
  local srv, why, lines
  local function say(conn, ...)
    if not values.log then return end
    local text = output.visible(("#%d "):format(conn.id) .. string.format(...))
    if mode == "talk" then output.say(text) else output.plain(text) end
  end
  srv, why = server.listen {
    host = values.host, port = number, subprotocols = values.subprotocol, deflate = values.compress or false,
    max_payload_size = opening.MOST, max_buffered = 2 * opening.MOST,
    on_open = function(conn, request)
      say(conn, "open: %s %s", request.remote, request.path)
      for _, text in ipairs(values.execute or {}) do luws.wssend(conn, 1, text) end
      if not lines then return end
      lines:resume()
      output.prompt()
    end,
    on_message = function(conn, opcode, data)
      if mode ~= "talk" then say(conn, "%s", opcode == 1 and "text: " .. data or ("binary: %d bytes"):format(#data)) end
      answer[mode](srv, conn, opcode, data)
    end,
    on_drain = function(conn)
      conn:resume()
      if lines then lines:resume() end
    end,
    on_close = function(conn, code, reason)
      say(conn, "closed: %d%s", code, reason ~= "" and " " .. reason or "")
      if not lines or srv:count() > 0 then return end
      lines:pause()
      output.leave_prompt()
    end,
  }
  if not srv then
    if blame(why) then return nil, opening.named(why) end
    output.fail(why)
    return STATUS.unconnected
  end
  native.raise_descriptor_limit() -- if it cannot be, clients wait once there are too many
  opening.on_signal(function() srv:close { timeout = 2 } end)
  if mode == "talk" then lines = read_lines(srv) end
  output.say(("listening at ws://%s/"):format(listeners.authority(srv:address())), "green")
  opening.run(function() return srv:is_closed() end)
  return opening.signal_status() or STATUS.ended
end

return listen
