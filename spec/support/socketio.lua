-- What the programs of spec/interop/socketio_* do, with luws.socketio: a server, and a client that prints what it sees.

local io = require "luws.socketio"
local unpack = require "spec.support.compat".unpack

local socketio = {}

local function serve(nsp)
  nsp:use(function(socket, following)
    if socket.handshake.auth.token ~= "bad" then return following() end
    following { message = "no", data = { code = 1 } }
  end)
  nsp:on("connection", function(socket)
    local function on(name, f) socket:on(name, f) end
    socket:emit("auth", socket.handshake.auth)
    on("message", function(...) socket:emit("message-back", ...) end)
    on("message-with-ack", function(...)
      local count, args = select("#", ...), { ... }
      args[count](unpack(args, 1, count - 1))
    end)
    on("ask", function()
      socket:emit("question", 1, function(...) socket:emit("answered", ...) end)
    end)
    on("burst", function(count)
      for i = 1, count do socket:emit("item", i) end
    end)
    on("join", function(room, ack)
      socket:join(room)
      ack()
    end)
    on("tell", function(room, ...) socket:to(room):emit("told", ...) end)
    on("leave", function() socket:disconnect() end)
    on("kick", function() socket:disconnect(true) end)
    on("lose", function() socket.conn:close() end)
  end)
end

--- server(options): starts a server, and returns it.
function socketio.server(options)
  local server = assert(io.server(options))
  serve(server.sockets)
  serve(server:of "/custom")
  return server
end

--- shown(value): returns what was received as text, the same in every language.
local function shown(value)
  if value == nil or value == io.null then return "null" end
  if io.is_binary(value) then
    return "<" .. tostring(value):gsub(".", function(c) return ("%02x"):format(c:byte()) end) .. ">"
  end
  if type(value) ~= "table" then return io.json.encode(value) end
  local parts = {}
  if getmetatable(value) == io.array_mt then
    for i, element in ipairs(value) do parts[i] = shown(element) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for key, element in pairs(value) do parts[#parts + 1] = key .. ":" .. shown(element) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

local function list(...)
  local args = {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    args[i] = value == nil and io.null or value
  end
  return io.array(args)
end

local ARGUMENTS = {
  1, "2 \195\169\240\159\152\128", { list = { true, io.null, -1.5 }, none = {} }, io.binary "\1\2\3",
  { deep = { io.binary "" } },
}

--- talk(url, transports, step): does all that a server offers. step(done) waits until done() is true. Returns a list of
-- lines, one for each step.
function socketio.talk(url, transports, step)
  local lines = {}
  local options = { transports = transports, reconnection = false, auth = { token = "t" }, forceNew = true }

  local function print(what, value) lines[#lines + 1] = what .. " " .. shown(value) end

  --- Returns a function that waits for the next event of this name, and returns its arguments as an array.
  local function following(socket, name)
    local got
    socket:once(name, function(...) got = list(...) end)
    return function()
      step(function() return got end)
      return got
    end
  end

  local function acknowledged(socket, ...)
    local got
    local args = { ... }
    args[#args + 1] = function(...) got = list(...) end
    socket:emit(unpack(args))
    return function()
      step(function() return got end)
      return got
    end
  end

  local socket = io(url, options)
  local auth = following(socket, "auth")
  following(socket, "connect")()
  print("auth", auth())
  print("ack", acknowledged(socket, "message-with-ack", unpack(ARGUMENTS))())
  local back = following(socket, "message-back")
  socket:emit("message", unpack(ARGUMENTS))
  print("back", back())
  socket:once("question", function(number, ack) ack(number + 1, io.binary "x") end)
  local answered = following(socket, "answered")
  socket:emit "ask"
  print("answered", answered())
  local items = {}
  socket:on("item", function(item) items[#items + 1] = item end)
  socket:emit("burst", 200)
  step(function() return #items == 200 end)
  local are_in_order, acks = true, {}
  for i, item in ipairs(items) do
    are_in_order = are_in_order and item == i
    acks[i] = acknowledged(socket, "message-with-ack", item)
  end
  print("burst", are_in_order)
  for i, ack in ipairs(acks) do are_in_order = are_in_order and ack()[1] == i end
  print("acks", are_in_order)
  local other = io(url .. "/custom", options)
  following(other, "connect")()
  acknowledged(socket, "join", "room")()
  local second = io(url, options)
  following(second, "connect")()
  acknowledged(second, "join", "room")()
  local told = following(second, "told")
  socket:emit("tell", "room", "hello", io.binary "y")
  print("told", told())
  second:disconnect()
  print("refused", following(io(url .. "/unknown", options), "connect_error")()[1].message)
  options.auth = { token = "bad" }
  local no = following(io(url, options), "connect_error")()[1]
  print("refused", io.array { no.message, no.data })
  local gone = following(socket, "disconnect")
  socket:emit "leave"
  print("gone", gone()[1])
  other:disconnect()
  return lines
end

return socketio
