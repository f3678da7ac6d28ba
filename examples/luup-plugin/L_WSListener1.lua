--[[
WSListener: a Luup plugin that listens to a WebSocket server and puts each text message into a variable.

It is a model to copy. Only the handling of messages (`received`) and the sending are specific to this plugin; the rest
opens the connection and has it driven. luws itself notices a dead connection, and brings a lost one back.

There are three ways to receive. In openLuup, the scheduler does it (luws.watch). On other systems SockProxy, if it
runs, calls the action HandleReceive. Without either, the plugin polls.
--]]

local luws = require "L_WSListener_LuWS"

local SERVICE = "urn:example-com:serviceId:WSListener1"

-- In seconds. luup.call_delay takes whole seconds.
local POLL = 1 -- between polls, if nobody notifies us of messages, or the connection is not open
local CHECK = 10 -- between polls, if SockProxy notifies us: pings a quiet server, and finds a dead one
local QUIET = 60 -- after this long without a byte, the server is pinged; after as much again, the connection is lost

-- The state of each device, by device number: several devices may share this module.
local listeners = {}

local function log(listener, text, level)
  luup.log(("WSListener #%d: %s"):format(listener.device, text), level or 50)
end

local function get(listener, name)
  return luup.variable_get(SERVICE, name, listener.device)
end

local function set(listener, name, value)
  luup.variable_set(SERVICE, name, tostring(value), listener.device)
end

local function set_status(listener, text)
  set(listener, "Status", text)
  set(listener, "LastUpdate", os.time())
end

--- Calls WSListener_turn after this many seconds. Delays cannot be cancelled, so each has a number, and all but the
-- latest do nothing.
local function schedule(listener, seconds)
  listener.turn = listener.turn + 1
  luup.call_delay("WSListener_turn", seconds, listener.device .. "/" .. listener.turn)
end

local function set_connected(listener, status)
  luup.set_failure(status == "connected" and 0 or 1, listener.device)
  set_status(listener, status)
end

--- Handles a message. This is the plugin's own work.
local function received(listener, opcode, data)
  if opcode ~= 1 then -- a variable holds text
    log(listener, ("a binary message of %d bytes is ignored"):format(#data))
    return
  end
  set(listener, "Message", data)
  set(listener, "LastUpdate", os.time())
end

local function handler(_, opcode, data, listener)
  if opcode ~= false then return received(listener, opcode, data) end
  set_connected(listener, "not connected: " .. data)
  log(listener, data, 2)
end

--- Decides about the next attempt to connect: as usual. Shows why the last one has failed.
local function on_failure(listener, why, attempt)
  if attempt > 1 or not listener.was_open then set_connected(listener, "not connected: " .. why) end
end

local function opened(listener, conn)
  listener.was_open = true
  set_connected(listener, "connected")
  log(listener, ("connected to %s, %s"):format(conn.ip, (listener.is_watched or conn.proxied) and "notified of messages"
    or "polling"))
end

local function connect(listener)
  local url = get(listener, "URL") or ""
  if url == "" then return set_status(listener, "no URL") end -- url_changed continues from here
  -- wsopen raises an error if the URL is not valid; trying again would not help.
  local ok, conn, err = pcall(luws.wsopen, url, handler, {
    handler_args = { listener },
    wait = false, -- nothing else stands still, and the first attempt is tried again like the others
    ping_interval = QUIET,
    open_handler = function(c) opened(listener, c) end,
    reconnect = { on = function(_, why, attempt) on_failure(listener, why, attempt) end },
    -- openLuup needs no SockProxy. Elsewhere, if SockProxy does not run, wsopen connects directly.
    sockproxy = not luup.openLuup and {
      device = listener.device, service = SERVICE, action = "HandleReceive",
    } or nil,
  })
  if not ok or not conn then
    log(listener, ok and err or conn, 1)
    return set_connected(listener, ok and "bad option" or "bad URL")
  end
  listener.conn, listener.is_watched = conn, luws.watch(conn)
  if not listener.is_watched then schedule(listener, 0) end
end

--- Receives what has arrived, and has luws do what else is due.
local function receive(listener)
  local conn = listener.conn
  local more = luws.wsreceive(conn)
  if listener.conn ~= conn or more == nil then return end -- another URL; or luws has given up, and the handler was told
  -- If there is more, continue at once, but let others have their turn first.
  schedule(listener, more and 0 or conn.connected and conn.proxied and CHECK or POLL)
end

-- luup.call_delay and luup.variable_watch take the names of global functions.

rawset(_G, "WSListener_turn", function(argument)
  local device, turn = argument:match("^(%d+)/(%d+)$")
  local listener = listeners[tonumber(device)]
  if not listener or listener.turn ~= tonumber(turn) then return end
  if listener.conn then receive(listener) else connect(listener) end
end)

rawset(_G, "WSListener_url_changed", function(device)
  local listener = listeners[tonumber(device)]
  if not listener then return end
  luws.wsclose(listener.conn)
  listener.conn, listener.was_open = nil, false
  schedule(listener, 0)
end)

local WSListener = {}

--- Called by the implementation file, once for each device.
function WSListener.startup(device)
  local listener = { device = device, turn = 0 }
  listeners[device] = listener
  for name, default in pairs { URL = "", Message = "", Status = "", LastUpdate = "0" } do
    if get(listener, name) == nil then set(listener, name, default) end
  end
  if luup.attr_get("disabled", device) == "1" then
    set_status(listener, "disabled")
    return true, "Disabled", "WSListener"
  end
  luup.variable_watch("WSListener_url_changed", SERVICE, "URL", device)
  schedule(listener, 0) -- connecting may take a while, and the start-up must not
  return true, "Ready", "WSListener"
end

--- The action Send. Returns whether the text was sent.
function WSListener.send(device, settings)
  local listener = listeners[device]
  if not listener then return false end -- it was never started
  local ok, err = luws.wssend(listener.conn, 1, settings.Text or "")
  if not ok then log(listener, "Send: " .. err, 2) end
  return ok
end

--- The action HandleReceive, which SockProxy calls when data arrives. Returns the state of the job.
function WSListener.handle_receive(device)
  local listener = listeners[device]
  if listener and listener.conn then receive(listener) end
  return 4, 0
end

return WSListener
