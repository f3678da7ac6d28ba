--[[
A user's socket as a wire for the pump: a LuaSocket TCP object, a LuaSec object, or a table with the same
methods (send, receive, settimeout, close). Knows no WebSocket.

All that it asks of the socket are LuaSocket's promises: with a time-out of 0 nothing blocks, "timeout",
"wantread" and "wantwrite" mean "not now", and what was received or sent before an error comes with it. The
methods may yield, as those of an event loop's sockets do; nothing here is under pcall for that reason.
--]]

local native = ...

local foreign = {}

-- The most that is given to one send; the rest follows.
local PIECE = 65536

-- A socket that returns from a wait at once with nothing is not asked again before so many seconds are over.
local PAUSE = 0.002

local LATER = { timeout = true, wantread = true, wantwrite = true }

--- check(socket): nil, or what is wrong with it.
function foreign.check(socket)
  if type(socket) ~= "table" and type(socket) ~= "userdata" then
    return "a socket expected, got " .. type(socket)
  end
  for _, name in ipairs { "send", "receive", "settimeout", "close" } do
    local ok, method = pcall(function() return socket[name] end)
    if not (ok and method) then return "a socket expected, got a " .. type(socket) .. " without " .. name end
  end
end

--- wire(socket): what the pump works with; see there.
function foreign.wire(socket)
  local wire = {}
  local held = "" -- what a wait has brought
  local over -- why nothing more will come
  -- A method of the socket may yield, and another coroutine come here meanwhile: it must wait its turn.
  local receiving, sending = false, false

  --- Receives at most `max` bytes within so many seconds; what came.
  local function receive(max, seconds)
    if receiving then return "" end
    receiving = true
    socket:settimeout(seconds)
    local data, why, partial = socket:receive(max)
    receiving = false
    if data == nil and not LATER[why] then over = tostring(why or "closed") end
    return data or partial or ""
  end

  function wire.read(session, max)
    local data = held
    held = ""
    if #data < max and not over then data = data .. receive(max - #data, 0) end
    if data ~= "" then return session:receive_data(data), #data >= max end
    if not over then return nil, "timeout" end
    session:receive_end()
    return nil, over
  end

  --- Sends what the socket takes.
  function wire.write(session)
    if sending then return nil, "timeout" end
    local bytes = session:peek(PIECE)
    while bytes ~= "" do
      sending = true
      socket:settimeout(0)
      local last, why, partial = socket:send(bytes)
      sending = false
      local count = tonumber(last or partial) or 0
      session:sent(count)
      if not last then return nil, LATER[why] and "timeout" or tostring(why or "closed") end
      if count <= 0 then return nil, "timeout" end
      bytes = session:peek(PIECE)
    end
    -- What is left then has to wait for something that must come first.
    if session:outgoing() > 0 then return nil, "timeout" end
    return true
  end

  -- LuaSocket can wait for one thing at a time; where both will do, what there is to be sent is asked about
  -- often, and waiting is for what comes.
  function wire.wait(read, write, seconds)
    if held ~= "" or over then return true end
    local before = native.monotonic()
    if read then
      held = receive(1, write and math.min(seconds, PAUSE) or math.min(seconds, 86400))
      if held ~= "" or over then return true end
    end
    local left = seconds - (native.monotonic() - before)
    if left > 0 and native.monotonic() - before < PAUSE then native.sleep(math.min(left, PAUSE)) end
    return write
  end

  -- There is no half-close among the methods that every socket has.
  function wire.shutdown() end

  function wire.close() socket:close() end

  --- Whether bytes are here that no descriptor tells of.
  function wire.dirty()
    if held ~= "" then return true end
    local dirty = socket.dirty
    return dirty and socket:dirty() and true or false
  end

  return wire
end

return foreign
