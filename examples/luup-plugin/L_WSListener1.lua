--[[
WSListener: a Luup plugin that listens to a WebSocket server and puts each text that comes into a variable.

A model to copy. The plugin's own part is what it does with a message (`received`) and what it sends; all the rest is
the life of a connection: open it, receive as soon as the system allows, and open it anew when it is lost.

There are three ways to receive. In openLuup, the scheduler does it (luws.watch). On other systems SockProxy, if it
runs, calls the action HandleReceive. Without either, the plugin polls.
--]]

local luws = require "L_WSListener_LuWS"

local SERVICE = "urn:example-com:serviceId:WSListener1"

-- In seconds. luup.call_delay takes whole ones.
local POLL = 1 -- between two looks for messages, where nobody tells us of them
local CHECK = 60 -- the same, where somebody does: to see whether the connection still lives
local SILENCE = 180 -- a connection that has said nothing for so long is lost
local QUIET = 60 -- such a one is asked to say something after so long
local RETRY, LONGEST_RETRY = 1, 60 -- between attempts to connect: at first, and at most; doubled after each

-- By device number: what belongs to one device, for there may be several and they share this module.
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

--- Has WSListener_turn called in so many seconds. A call that was asked for earlier will do nothing then: delays
-- cannot be cancelled, so each has a number.
local function schedule(listener, seconds)
  listener.turn = listener.turn + 1
  luup.call_delay("WSListener_turn", seconds, listener.device .. "/" .. listener.turn)
end

--- Closes the connection, if there is one, and connects again later.
local function lost(listener, why)
  local conn = listener.conn
  listener.conn = nil -- before wsclose, so that nobody takes it for the current one any more
  luws.wsclose(conn)
  luup.set_failure(1, listener.device)
  set_status(listener, "not connected: " .. why)
  log(listener, ("%s; connecting in %d s"):format(why, listener.retry), 2)
  schedule(listener, listener.retry)
  listener.retry = math.min(listener.retry * 2, LONGEST_RETRY)
end

--- What the plugin is for.
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
  if url == "" then return set_status(listener, "no URL") end -- url_changed goes on
  -- wsopen raises an error for what is no URL, and trying again would not help.
  local ok, conn, err = pcall(luws.wsopen, url, handler, {
    handler_args = { listener },
    receive_timeout = SILENCE,
    -- openLuup needs no SockProxy; elsewhere, and without a SockProxy, the connection is made directly.
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
  log(listener, ("connected to %s, %s"):format(conn.ip, told and "told of messages" or "polling"))
  schedule(listener, 0) -- something may have come already
end

--- Receives what has come.
local function receive(listener)
  local conn = listener.conn
  local more, err = luws.wsreceive(conn)
  if listener.conn ~= conn then return end -- the handler was told of the end
  if more == nil then return lost(listener, err) end
  local now = os.time()
  if now - math.max(luws.wslastping(conn), listener.pinged) >= QUIET then
    listener.pinged = now
    luws.wssend(conn, 9, "") -- a ping: a healthy connection answers, and is not silent
  end
  -- If there is more: at once, but not before others had their turn.
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

--- The action Send: whether the text was sent.
function WSListener.send(device, settings)
  local listener = listeners[device]
  if not listener then return false end -- it was never started
  local ok, err = luws.wssend(listener.conn, 1, settings.Text or "")
  if not ok then log(listener, "Send: " .. err, 2) end
  return ok
end

--- The action HandleReceive: SockProxy says that something has come. Returns the state of the job.
function WSListener.handle_receive(device)
  local listener = listeners[device]
  if listener and listener.conn then receive(listener) end
  return 4, 0
end

return WSListener
