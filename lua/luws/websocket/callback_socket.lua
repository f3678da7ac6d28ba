--[[
Makes a socket for the option connect from one that has callbacks: the methods send(data) and close(), a field `closed`,
and a function onmessage(data), which it calls with what has come; perhaps onclose() as well. Knows nothing of
WebSockets.

A callback only stores what has come, and tells whoever watches; the connection takes it in a turn of its own.
--]]

local _, import = ...
local events, guard = import("websocket/events"), import("guard")

-- The most bytes that may wait to be taken. A socket with callbacks cannot be told to slow down.
local MOST = 64 * 1024 * 1024

local Socket = {}
Socket.__index = Socket

--- Ends the stream: nothing more comes, or goes.
function Socket:finish(why)
  self.over = self.over or why
  if self.wake then self.wake() end
end

--- Returns why the stream is over, or nil.
function Socket:ended()
  if not self.over and self.socket.closed then self.over = "closed" end
  return self.over
end

function Socket:push(data)
  if type(data) ~= "string" then return self:finish("its onmessage was called with a " .. type(data)) end
  if self.over or data == "" then return end
  self.size = self.size + #data
  if self.size > MOST then return self:finish("its onmessage was called with more than could be taken") end
  self.last = self.last + 1
  self[self.last] = data
  if self.wake then self.wake() end
end

--- receive(count): as LuaSocket's: that many bytes; or nil, why, and what there is.
function Socket:receive(count)
  local pieces, missing = {}, count
  while missing > 0 and self.first <= self.last do
    local piece = self[self.first]
    if #piece > missing then
      self[self.first], piece = piece:sub(missing + 1), piece:sub(1, missing)
    else
      self[self.first] = nil
      self.first = self.first + 1
    end
    pieces[#pieces + 1] = piece
    missing = missing - #piece
  end
  self.size = self.size - (count - missing)
  local data = table.concat(pieces)
  if missing == 0 then return data end
  return nil, self:ended() or "timeout", data
end

--- send(data): as LuaSocket's: how many bytes were sent; or nil and why not.
function Socket:send(data)
  local over = self:ended()
  if over then return nil, over, 0 end
  local sent, why = self.socket:send(data)
  if sent == false or sent == nil and why ~= nil then
    return nil, guard.text(why) or "its send has failed", 0
  end
  return #data
end

function Socket.settimeout() return 1 end

function Socket:dirty() return self.first <= self.last or self:ended() ~= nil end

--- watch(f): has f() called when something has come.
function Socket:watch(f) self.wake = f end

function Socket:close()
  self.wake = nil
  if self.over ~= "closed" and not self.socket.closed then self.socket:close() end
  self.over = "closed"
  return 1
end

return function(level, socket)
  if type(socket) ~= "table" then
    events.wrong(level + 1, "callback_socket", 1, "table expected, got " .. type(socket))
  end
  for _, name in ipairs { "send", "close" } do
    if not guard.is_callable(socket[name]) then
      events.wrong(level + 1, "callback_socket", 1, "a table with a function " .. name .. " expected")
    end
  end
  local adapter = setmetatable({ socket = socket, first = 1, last = 0, size = 0, over = nil, wake = nil }, Socket)
  -- It may be called as a function or as a method.
  function socket.onmessage(first, second)
    if rawequal(first, socket) then first = second end
    adapter:push(first)
  end
  if socket.onclose == nil then
    function socket.onclose() adapter:finish("closed") end
  end
  return adapter
end
