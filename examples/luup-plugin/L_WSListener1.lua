--[[
WSListener: a Luup plugin that listens to a WebSocket server and puts each text message into a variable.

It is a model to copy. Only the handling of messages (`received`) and the sending are specific to this plugin; the rest
manages the connection: opens it, receives as soon as the system allows, and reconnects when it is lost.

There are three ways to receive. In openLuup, the scheduler does it (luws.watch). On other systems SockProxy, if it
runs, calls the action HandleReceive. Without either, the plugin polls.
--]]

local luws = require "L_WSListener_LuWS"

local SERVICE = "urn:example-com:serviceId:WSListener1"

-- In seconds. luup.call_delay takes whole seconds.
local POLL = 1 -- between polls, if nobody notifies us of messages
local CHECK = 60 -- between polls, if somebody does: finds dead connections
local SILENCE = 180 -- after this long without a frame, the connection is considered lost
local QUIET = 60 -- after this long without a frame, we send a ping
local RETRY, LONGEST_RETRY = 1, 60 -- between attempts to connect: first and longest; doubles each time

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

--- Closes the connection, if there is one, and connects again later.
local function lost(listener, why)
  local conn = listener.conn
  listener.conn = nil -- before wsclose, so that it is no longer the current one
  luws.wsclose(conn)
  luup.set_failure(1, listener.device)
  set_status(listener, "not connected: " .. why)
  log(listener, ("%s; connecting in %d s"):format(why, listener.retry), 2)
  schedule(listener, listener.retry)
  listener.retry = math.min(listener.retry * 2, LONGEST_RETRY)
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

local function handler(conn, opcode, data, listener)
  if conn ~= listener.conn then return end
  if opcode == false then return lost(listener, data) end
  received(listener, opcode, data)
end

local function connect(listener)
  local url = get(listener, "URL") or ""
  if url == "" then return set_status(listener, "no URL") end -- url_changed continues from here
  -- wsopen raises an error if the URL is not valid; trying again would not help.
  local ok, conn, err = pcall(luws.wsopen, url, handler, {
    handler_args = { listener },
    receive_timeout = SILENCE,
    -- openLuup needs no SockProxy. Elsewhere, if SockProxy does not run, wsopen connects directly.
    sockproxy = not luup.openLuup and {
      device = listener.device, service = SERVICE, action = "HandleReceive",
    } or nil,
  })
  if not ok then
    luup.set_failure(1, listener.device)
    log(listener, conn, 1)
    return set_status(listener, "bad URL")
  end
  if not conn then return lost(listener, err) end

  listener.conn, listener.retry = conn, RETRY
  local told = luws.watch(conn) or conn.proxied
  listener.period = told and CHECK or POLL
  luup.set_failure(0, listener.device)
  set_status(listener, "connected")
  log(listener, ("connected to %s, %s"):format(conn.ip, told and "notified of messages" or "polling"))
  schedule(listener, 0) -- something may have arrived already
end

--- Receives what has arrived.
local function receive(listener)
  local conn = listener.conn
  local more, err = luws.wsreceive(conn)
  if listener.conn ~= conn then return end -- the handler has dealt with the end
  if more == nil then return lost(listener, err) end
  local now = os.time()
  if now - math.max(luws.wslastping(conn), listener.pinged) >= QUIET then
    listener.pinged = now
    luws.wssend(conn, 9, "") -- a ping, which a healthy peer answers
  end
  -- If there is more, continue at once, but let others have their turn first.
  schedule(listener, more and 0 or listener.period)
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
  listener.conn, listener.retry = nil, RETRY
  schedule(listener, 0)
end)

local WSListener = {}

--- Called by the implementation file, once for each device.
function WSListener.startup(device)
  local listener = { device = device, turn = 0, retry = RETRY, pinged = 0 }
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
