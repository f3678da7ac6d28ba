--[[
An object in the manner of the browsers' WebSocket for demonstrations and tests of programs that use one: its states
change one by one, each after a delay, and the test plays the server with receive and remoteClose. Unlike the browsers'
it shows when the server has been reached (OPENING). The engine runs at both ends.
--]]

local _, import = ...
local arguments, nets = import("arguments"), import("mock/net")

local websockets = { CONNECTING = 0, OPENING = 1, OPEN = 2, CLOSING = 3, CLOSED = 4 }

local WebSocket = {}

local ids = -1

local function call(self, name, event)
  local f = rawget(self, name)
  if f then f(event) end
end

local function state(self)
  local own = rawget(self, "state")
  if own ~= websockets.CONNECTING then return own end
  return rawget(self, "server").attempts > 0 and websockets.OPENING or own
end

function WebSocket.__index(self, name)
  if name == "readyState" then return state(self) end
  if name == "bufferedAmount" then return rawget(self, "conn") and rawget(self, "conn").bufferedAmount or 0 end
  return WebSocket[name]
end

--- Ends the object, once. From now on, another one may connect to the same URL.
local function closed(self, code, reason, clean)
  if self.state == websockets.CLOSED then return end
  self.state = websockets.CLOSED
  self.server:close()
  call(self, "onclose", { type = "close", code = code, reason = reason, wasClean = clean })
end

local function go_on(self)
  if not self.net.is_running then self.net:run() end
end

--- send(data): sends a text. Returns true; or nil and why not.
function WebSocket:send(data)
  if state(self) ~= websockets.OPEN then return nil, "the connection is not open" end
  local ok, why = self.net.luws.wssend(self.conn, 1, data)
  if not ok then return nil, why end
  go_on(self)
  return true
end

--- close([code [, reason]]): closes the connection. It is closed after the delay. Returns true; or nil and why not.
function WebSocket:close(code, reason)
  local now = state(self)
  if now >= websockets.CLOSING then return nil, "the connection is not open" end
  self.state = websockets.CLOSING
  self.net.luws.wsclose(self.conn, code, reason)
  self.net:after(self.delay, function()
    if now == websockets.OPEN then return closed(self, code or 1005, reason or "", true) end
    call(self, "onerror", { type = "error" })
    closed(self, 1006, "", false)
  end)
  return true
end

--- receive(data [, kind]): the server sends a message, a text if it is not "binary".
function WebSocket:receive(data, kind)
  if state(self) ~= websockets.OPEN then return nil, "the connection is not open" end
  self.peer:send(data, kind)
  go_on(self)
  return true
end

--- remoteClose([code [, reason]]): the server closes. It has done so after the delay.
function WebSocket:remoteClose(code, reason)
  if state(self) ~= websockets.OPEN then return nil, "the connection is not open" end
  self.state = websockets.CLOSING
  self.net:after(self.delay, function() self.peer:close(code, reason) end)
  return true
end

--- new(url [, delay [, net]]): makes an object, which connects to a server of its own. `delay` is in seconds (1).
-- Without a world, it has one of its own: its field net. In a world no other has this URL until it is closed.
function websockets.new(url, delay, net)
  arguments.check("WebSocket", 1, url, "string")
  if delay ~= nil then arguments.check("WebSocket", 2, delay, "number") end
  if net ~= nil then arguments.check("WebSocket", 3, net, "table") end
  net, delay, ids = net or nets.new(), delay or 1, ids + 1
  local server = net:listen(url, { delay = delay, faults = { up = {} } })
  local self = setmetatable({
    url = url, delay = delay, net = net, server = server, id = ids, state = websockets.CONNECTING,
  }, WebSocket)
  -- It takes so long to reach the server, and so long until that answers.
  net:after(delay, function()
    if self.state ~= websockets.CONNECTING then return end
    self.conn = net.luws.wsopen(url, function(conn, opcode, data)
      if opcode == 1 or opcode == 2 then
        if state(self) == websockets.OPEN then call(self, "onmessage", { type = "message", data = data }) end
      elseif opcode == false then
        if not conn.was_clean then call(self, "onerror", { type = "error", message = data }) end
        closed(self, conn.close_code or 1006, conn.close_reason or "", conn.was_clean or false)
      end
    end, {
      wait = false,
      upgrade_timeout = 2 * delay + 5,
      open_handler = function()
        self.state, self.peer = websockets.OPEN, table.remove(server.opened)
        call(self, "onopen", { type = "open" })
      end,
    })
  end)
  return self
end

return websockets
