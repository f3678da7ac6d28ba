--[[
A user's socket as a wire for the pump: a LuaSocket TCP object, a LuaSec object, or a table with the same
methods (send, receive, settimeout, close). Knows no WebSocket.

All that it asks of the socket are LuaSocket's promises: with a time-out of 0 nothing blocks, "timeout",
"wantread" and "wantwrite" mean "not now", and what was received or sent before an error comes with it. The
methods may yield, as those of an event loop's sockets do. One that raises an error has failed with that.
--]]

local native, import = ...
local log, options, protect = import("log"), import("options"), import("protect")

local foreign = {}

-- The most that is given to one send; the rest follows.
local PIECE = 65536

-- A socket that returns from a wait at once with nothing is not asked again before so many seconds are over.
local PAUSE = 0.002

local LATER = { timeout = true, wantread = true, wantwrite = true }

--- An error of the socket's as text.
local function told(err)
  if err == nil then return "an error without a message" end
  return protect.text(err) or type(err)
end

--- check(socket): nil, or what is wrong with it.
function foreign.check(socket)
  if type(socket) ~= "table" and type(socket) ~= "userdata" then
    return "a socket expected, got " .. type(socket)
  end
  for _, name in ipairs { "send", "receive", "settimeout", "close" } do
    local ok, method = pcall(function() return socket[name] end)
    if not ok or options.callable(method) then
      return "a socket expected, got a " .. type(socket) .. " without " .. name
    end
  end
end

--- wire(socket): what the pump works with; see there.
function foreign.wire(socket)
  local wire = { step = 0.2 } -- for LuaSocket's sockets go on waiting behind a signal
  local held = "" -- what a wait has brought
  local over -- why nothing more will come
  -- A method of the socket may yield, and another coroutine come here meanwhile: it must wait its turn. By what is
  -- done, who is at it; one that was given up while it waited goes with the collector.
  local at_work = setmetatable({}, { __mode = "v" })

  local does = { receive = {}, send = {} } -- the functions that do it

  --- For one of these functions: whether somebody else is at it, or this coroutine from within a method.
  local function is_busy(work)
    local owner = at_work[work]
    if owner == nil or type(owner) == "thread" and coroutine.status(owner) == "dead" then return false end
    -- Whoever has it no longer on the stack was broken off at it by an error: of a hook, of a finaliser, of a yield
    -- through a pcall of the program's. This very call is there, too.
    if owner == protect.running() then return protect.calls_of(does[work]) > 1 end
    -- Nobody can look into the main coroutine from outside.
    return type(owner) ~= "thread" or protect.calls_of(does[work], owner) > 0
  end

  --- Receives at most `max` bytes within so many seconds; what came.
  local function receive(max, seconds)
    if is_busy "receive" then return "" end
    at_work.receive = protect.running()
    local ok, data, why, partial = protect.call(function()
      socket:settimeout(seconds)
      return socket:receive(max)
    end)
    at_work.receive = nil
    if not ok then data, why, partial = nil, told(data), nil end
    if data ~= nil and type(data) ~= "string" then
      data, why, partial = nil, "its receive returned a " .. type(data), nil
    end
    if data == nil and not LATER[why] then over = why == nil and "closed" or told(why) end
    return data or type(partial) == "string" and partial or ""
  end
  does.receive[receive] = true

  function wire.read(session, max)
    local data = held
    held = ""
    if #data < max and not over then data = data .. receive(max - #data, 0) end
    if data ~= "" then return session:receive_data(data), #data >= max end
    if not over then return nil, "timeout" end
    session:receive_end()
    return nil, over
  end

  --- Sends the bytes; how many went, and why that is not all.
  local function put(bytes)
    local ok, last, why, partial = protect.call(function()
      socket:settimeout(0)
      return socket:send(bytes)
    end)
    if not ok then return 0, told(last) end
    local count = last or partial or 0
    if type(count) ~= "number" or count < 0 or count > #bytes or count % 1 ~= 0 then
      return 0, "its send returned " .. (type(count) == "number" and tostring(count) or "a " .. type(count))
    end
    if last and count > 0 then return count end
    return count, (last or LATER[why]) and "timeout" or why == nil and "closed" or told(why)
  end

  function wire.write(session)
    -- Whoever is at it sends what has been queued since, too.
    if is_busy "send" then return true end
    at_work.send = protect.running()
    local count, why
    repeat
      local bytes = session:peek(PIECE)
      if bytes == "" then break end
      count, why = put(bytes)
      session:sent(count)
    until why
    at_work.send = nil
    if why then return nil, why end
    -- What is left then has to wait for something that must come first.
    if session:outgoing() > 0 then return nil, "timeout" end
    return true
  end
  does.send[wire.write] = true

  -- LuaSocket can wait for one thing at a time; where both will do, what there is to be sent is asked about
  -- often, and waiting is for what comes.
  function wire.wait(read, write, seconds)
    if held ~= "" or over then return true end
    local before = native.monotonic()
    if read then
      held = receive(1, math.min(seconds, write and PAUSE or 86400))
      if held ~= "" or over then return true end
    end
    local left = seconds - (native.monotonic() - before)
    if left > 0 and native.monotonic() - before < PAUSE then native.sleep(math.min(left, PAUSE)) end
    return write
  end

  -- There is no half-close among the methods that every socket has.
  function wire.shutdown() end

  function wire.close()
    local ok, why = protect.call(function() socket:close() end)
    if not ok then log.warning("a socket of the program's cannot be closed: %s", told(why)) end
  end

  --- Whether bytes are here that no descriptor tells of.
  function wire.dirty()
    if held ~= "" then return true end
    local dirty = socket.dirty
    return dirty and socket:dirty() and true or false
  end

  return wire
end

return foreign
