--[[
Writes down what a connection does, as its handlers and options are called: what comes in before the program's handler
has it, and what the program sends once it has sent it. The program's handlers notice nothing of it. It works on luws's
public surface only: the handler, the options with functions, and the methods and events of WebSocket objects.

An End is what a recording knows of the connection that has a name now (new_end).
--]]

local native, import = ...
local guard, log = import("guard"), import("log")
local luws, data = import("luws"), import("websocket/data")
local rows, secrets = import("record/rows"), import("record/secrets")

local tap = {}

local BINARY, CLOSE, PING, PONG = 2, 8, 9, 10

local SILENT = "message timeout" -- what a handler is told although the connection stays open

--- called(recording, f, ...): calls a function of the program's; what it does meanwhile is done by a handler.
local function called(recording, f, ...)
  if f == nil then return end
  local thread, before = recording:enter()
  if not guard.catches() then -- nothing may be caught here, or it could not yield
    local result = f(...)
    recording:leave(thread, nil) -- an error in an earlier one may have left its mark
    return result
  end
  local count, arguments = select("#", ...), { ... }
  local ok, result = xpcall(function() return f(guard.unpack(arguments, 1, count)) end, guard.trace)
  recording:leave(thread, before)
  if not ok then error(result, 0) end
  return result
end

local function url_of(conn)
  local is_default = conn.port == (conn.proto == "wss" and 443 or 80)
  local host = tostring(conn.ip)
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  return ("%s://%s%s%s"):format(conn.proto, host, is_default and "" or ":" .. tostring(conn.port), tostring(conn.path))
end

--- Returns an End for a name, whose connection or object is not known yet.
local function new_end(name, stand_in)
  return {
    name = name,
    ref = setmetatable({}, { __mode = "v" }), -- the connection or the object, which may be collected
    is_object = false,
    is_begun = false, -- the row is there that says that it is being opened
    is_open = false,
    was_open = false, -- at any time
    is_over = false, -- the row is there that says that it is closed
    stand_in = stand_in, -- what handlers are given in its place
    event = nil, -- the last one of an object
    failure = nil, -- what the last error event of an object has said
  }
end

--- end_of(recording, name, conn): returns the End that a name has now, for a connection or an object.
local function end_of(recording, name, conn)
  local here = recording.known[conn]
  if here then return here end
  here = recording.ends[name]
  if not (here and here.awaits) then here = new_end(name) end
  here.ref[1], here.awaits = conn, nil
  recording.ends[name], recording.known[conn] = here, here
  return here
end

--- begun(recording, here, fields): writes that a connection is being opened, once.
local function begun(recording, here, fields)
  if here.is_begun then return end
  here.is_begun = true
  recording:add(fields)
end

--- open_row(name, url, options): returns the fields of a row for a connection that is opened with these options.
function tap.open_row(name, url, options)
  local protocols = options and options.subprotocols
  if type(protocols) == "string" then protocols = { protocols } end
  return { out = "open", conn = name, url = secrets.url(url), protocols = protocols }
end

--- meet(recording, name, conn): returns the End for a connection. Writes that it is open, if that is new; it may be
-- closed again by now.
local function meet(recording, name, conn)
  local here = end_of(recording, name, conn)
  if not here.is_begun then
    local fields = tap.open_row(name, url_of(conn), conn.options)
    fields.outside = true
    begun(recording, here, fields)
  end
  local was_open = not here.was_open and conn.response_headers ~= nil
  if (conn.connected or was_open) and not here.is_open then
    here.was_open = true
    here.is_open, here.is_over = true, false
    recording:came({ ["in"] = "open", conn = name, protocol = conn.subprotocol })
  end
  return here
end

--- Writes that a connection is over.
local function over(recording, here, fields, told)
  here.is_open, here.is_over = false, true
  recording:came({
    ["in"] = "close", conn = here.name, code = fields.code or 1006, reason = fields.reason or "",
    clean = fields.clean or false, error = told and log.without_secrets(told) or nil,
  })
end

--- Returns how a connection has ended.
local function ending(conn) return { code = conn.close_code, reason = conn.close_reason, clean = conn.was_clean } end

-- What handlers of recordings call, for several recordings of one connection.
local calls = setmetatable({}, { __mode = "k" })

--- handler(recording, name, f): returns a message handler that writes down what comes and calls f.
function tap.handler(recording, name, f)
  local function handler(conn, opcode, bytes, ...)
    local here = meet(recording, name, conn)
    if opcode then
      recording:came(rows.put_data({ ["in"] = "message", conn = name }, bytes, opcode == 2), bytes)
    elseif bytes == SILENT and conn.connected then
      recording:came({ ["in"] = "error", conn = name, error = bytes })
    else
      over(recording, here, ending(conn), bytes)
    end
    return called(recording, f, here.stand_in or conn, opcode, bytes, ...)
  end
  recording.names[handler], calls[handler] = name, f
  return handler
end

--- Returns the name of a connection, by its handler the first time.
local function name_of(recording, conn)
  local here = recording.known[conn]
  if here then return here.name end
  local handler, name = conn.msghandler, nil
  while handler ~= nil and not name do
    name, handler = recording.names[handler], calls[handler]
  end
  return name
end

--- wrapped(recording, f, write): returns a function to take the place of an option of the program's.
local function wrapped(recording, f, write)
  return function(conn, ...)
    local name = name_of(recording, conn)
    if not name then return called(recording, f, conn, ...) end
    local here = meet(recording, name, conn)
    write(here, conn, ...)
    return called(recording, f, here.stand_in or conn, ...)
  end
end

local function nothing() end

--- sent(recording, here, opcode, bytes, why): writes down what was sent, or was not.
local function sent(recording, here, opcode, bytes, why)
  if recording.quiet == here then -- an outbox or a heartbeat writes its own row
    recording.quiet = nil
    return
  end
  local fields = rows.sent(here.name, opcode, bytes)
  if opcode == CLOSE and not why then here.is_open = false end
  fields.error, fields.outside = why, recording:is_outside()
  recording:add(fields)
end

--- options(recording, given): returns a copy of options for wsopen, with which everything is written down.
function tap.options(recording, given)
  local options = {}
  for name, value in next, given or {} do options[name] = value end
  if given then setmetatable(options, guard.metatable_of(given)) end
  local control, send = options.control_handler, options.send_handler
  options.open_handler = wrapped(recording, options.open_handler, nothing)
  options.control_handler = wrapped(recording, control, function(here, _, opcode, bytes)
    if opcode ~= CLOSE then
      local fields = { ["in"] = opcode == PING and "ping" or "pong", conn = here.name }
      recording:came(rows.put_data(fields, bytes, false), bytes)
    elseif control then
      local fields = rows.close(here.name, bytes)
      fields.out, fields["in"] = nil, "closing"
      recording:came(fields)
    end
  end)
  options.send_handler = function(conn, opcode, bytes, why)
    local name = name_of(recording, conn)
    if name then
      sent(recording, meet(recording, name, conn), opcode, bytes, why)
    end
    return called(recording, send, conn, opcode, bytes, why)
  end
  local close = options.close_handler
  options.close_handler = wrapped(recording, close, function(here, conn)
    if not here.is_over then
      over(recording, here, ending(conn))
    end
    if close then recording:came({ ["in"] = "over", conn = here.name }) end
  end)
  local drain = options.drain_handler
  if drain then
    options.drain_handler = wrapped(recording, drain, function(here)
      recording:came({ ["in"] = "drain", conn = here.name })
    end)
  end
  return options
end

--- refusal(options): returns why a connection with these options cannot be recorded, or nil.
function tap.refusal(options)
  if not options or options.sink == nil then return nil end
  return "bad option 'sink' (messages that go to a sink cannot be recorded)"
end

--- wsopen(recording, name, url, f, options): opens a connection that is recorded under a name. Returns what luws.wsopen
-- returns, and raises what it raises.
function tap.wsopen(recording, name, url, f, options)
  if not native.parse_url(url) then return luws.wsopen(url, f, options) end -- which raises an error
  local before = recording.ends[name]
  local here = new_end(name, before and before.stand_in)
  here.awaits = true
  recording.ends[name] = here
  local fields = tap.open_row(name, url, options)
  fields.outside = recording:is_outside()
  begun(recording, here, fields)
  local conn, why, response = luws.wsopen(url, tap.handler(recording, name, f), tap.options(recording, options))
  if conn then
    meet(recording, name, conn)
    return conn
  end
  recording:came({
    ["in"] = "close", conn = name, code = 1006, reason = "", clean = false,
    error = log.without_secrets(tostring(why)), status = response and response.status or nil,
  })
  return conn, why, response
end

-- WebSocket objects

--- Returns whether a listener of an object is being called.
local function is_in_listener(here)
  local event = here.event
  return event ~= nil and event.currentTarget ~= nil
end

--- Calls f, which sends something, as what a listener does if it is one.
local function by_object(recording, here, f)
  if not is_in_listener(here) then return f() end
  local thread, before = recording:enter()
  f()
  recording:leave(thread, before)
end

local events = {}

function events.open(recording, here, event)
  here.is_open, here.is_over = true, false
  local protocol = event.target.protocol
  recording:came({ ["in"] = "open", conn = here.name, protocol = protocol ~= "" and protocol or nil })
end

--- Returns the data of an event as a string, whatever the binaryType is.
local function bytes_of(event)
  if type(event.data) == "string" then return event.data end
  return (data.read(1, event.data, event.size))
end

function events.message(recording, here, event)
  local bytes = bytes_of(event)
  recording:came(rows.put_data({ ["in"] = "message", conn = here.name }, bytes, event.binary), bytes)
end

function events.ping(recording, here, event)
  recording:came(rows.put_data({ ["in"] = "ping", conn = here.name }, event.data, false), event.data)
end

function events.pong(recording, here, event)
  recording:came(rows.put_data({ ["in"] = "pong", conn = here.name }, event.data, false), event.data)
end

function events.error(_, here, event) here.failure = event.message end

function events.close(recording, here, event)
  over(recording, here, { code = event.code, reason = event.reason, clean = event.wasClean },
    here.failure or not event.wasClean and "closed" or nil)
end

--- attach(recording, ws, name): records a WebSocket object from now on. Returns it.
function tap.attach(recording, ws, name)
  local here = end_of(recording, name, ws)
  begun(recording, here, { out = "open", conn = name, url = secrets.url(ws.url), outside = true })
  here.is_object = true
  if ws.readyState == 1 then events.open(recording, here, { target = ws }) end
  for kind, f in pairs(events) do
    ws:addEventListener(kind, function(event)
      here.event = event
      f(recording, here, event)
    end, true) -- before those that do not capture
  end
  local send, close, ping = ws.send, ws.close, ws.ping
  function ws.send(self, given, how)
    local bytes, opcode = data.read(2, given, how)
    local is_open = ws.readyState == 1
    send(self, bytes, opcode == 2 and "binary" or nil)
    local why = not is_open and "not connected" or nil
    by_object(recording, here, function() sent(recording, here, opcode, bytes, why) end)
  end
  function ws.close(self, code, reason)
    local was_over = ws.readyState >= 2
    close(self, code, reason)
    if was_over then return end
    by_object(recording, here, function()
      sent(recording, here, CLOSE, data.close_payload(tonumber(code), reason))
    end)
  end
  function ws.ping(self, bytes)
    local is_open = ws.readyState == 1
    ping(self, bytes)
    if not is_open then return end
    by_object(recording, here, function() sent(recording, here, PING, bytes or "") end)
  end
  return ws
end

-- What a recording does to a connection itself

--- Calls a function that calls methods of an object, whose mistakes are errors. Returns true; or nil and what is wrong.
local function attempt(f)
  local ok, err = pcall(f)
  if ok then return true end
  return nil, ((guard.text(err) or type(err)):gsub("^[^:]*:%d+: ", ""))
end

--- send(here, opcode, bytes): sends something over the connection of an End. Returns true, or nil and why not.
function tap.send(here, opcode, bytes)
  local conn = here and here.ref[1]
  if not conn then return nil, "not connected" end
  if not here.is_object then
    local ok, why = luws.wssend(conn, opcode, bytes)
    return ok or nil, why
  end
  if conn.readyState ~= 1 then return nil, "not connected" end
  if opcode == PONG then return nil, "a WebSocket object sends no pongs" end
  return attempt(function()
    if opcode == PING then conn:ping(bytes) else conn:send(bytes, opcode == BINARY and "binary" or nil) end
  end)
end

--- send_quietly(recording, here, opcode, bytes): the same, but the caller writes the row, and an error is a result.
function tap.send_quietly(recording, here, opcode, bytes)
  recording.quiet = here
  local is_done, ok, why = pcall(tap.send, here, opcode, bytes)
  recording.quiet = nil
  if is_done then return ok, why end
  return nil, guard.text(ok)
end

--- close(here, code, reason): closes it. Returns true, or nil and why not.
function tap.close(here, code, reason)
  local conn = here and here.ref[1]
  if not conn then return nil, "not connected" end
  if here.is_object then return attempt(function() conn:close(code, reason) end) end
  luws.wsclose(conn, code, reason)
  return true
end

return tap
