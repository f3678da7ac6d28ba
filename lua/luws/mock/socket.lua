--[[
A socket as LuaSocket has them, whose other end is a peer in a world in memory: for programs and tests that bring their
own (option connect). Its waits let the world's time pass. And the smaller object that connections of luws have.
--]]

local _, import = ...
local arguments = import("arguments")

local sockets = {}

local Socket = {}
Socket.__index = Socket

function Socket:send(bytes, first, last)
  local line = self.line
  bytes = bytes:sub(first or 1, last or -1)
  self.net.clock.run()
  if self.closed or line.broken then return nil, line.broken or "closed", (first or 1) - 1 end
  local sent = 0
  local function has_room() return line.broken or line:room() > 0 end
  while sent < #bytes and not line.broken do
    local count = math.min(#bytes - sent, line:room())
    if count > 0 then
      line:send(bytes:sub(sent + 1, sent + count))
      sent = sent + count
      if self.seconds ~= 0 then self.net.clock.run() end
    elseif self.seconds == 0 or not self.net.clock.pass(self.seconds, has_room) then
      break
    end
    if self.seconds == 0 then break end
  end
  local place = (first or 1) - 1 + sent
  if sent == #bytes then return place end
  return nil, line.broken or "timeout", place
end

--- receive([what [, prefix]]): receives a number of bytes, or a line ("*l", the default), or everything ("*a"). The
-- prefix, which has come before, counts.
function Socket:receive(what, prefix)
  local line = self.line
  prefix = prefix or ""
  if type(what) == "number" then what = math.max(0, what - #prefix) end
  local function size()
    if type(what) == "number" then return line:waiting() >= what and what or nil end
    if what == "*a" then return line.finished and line:waiting() or nil end
    return line:peek():find("\n", 1, true)
  end
  if self.closed then return nil, "closed", prefix end
  self.net.clock.pass(self.seconds, function() return size() or line.finished end)
  local count = size()
  if not count then return nil, line.finished or "timeout", prefix .. line:take() end
  local bytes = prefix .. line:take(count)
  if type(what) == "number" or what == "*a" then return bytes end
  return (bytes:gsub("\r?\n$", ""))
end

function Socket:settimeout(seconds)
  self.seconds = type(seconds) == "number" and seconds >= 0 and seconds or math.huge
  return 1
end

function Socket:close()
  if self.closed then return 1 end
  self.closed = true
  self.line:close()
  return 1
end

function Socket:dirty() return self.line:waiting() > 0 or self.line.finished ~= nil end

function Socket.getfd() return -1 end
function Socket.setoption() return 1 end

-- How long a connection that gets no answer is waited for, in seconds.
local PATIENCE = 15

--- handle(line): returns the user's object for the socket of a connection of luws (conn.socket) over this end.
function sockets.handle(line)
  return {
    getfd = function() return -1 end,
    setoption = function() return 1 end,
    close = function()
      line:close()
      line.other:close()
      return 1
    end,
  }
end

--- connector(net): returns connect(host, port), which returns a socket, or nil and why not.
function sockets.connector(net)
  return function(host, port)
    arguments.check("connect", 1, host, "string")
    arguments.check("connect", 2, port, "number")
    local seconds, why = net:fate(host, port)
    if seconds == math.huge then seconds, why = PATIENCE, "timeout" end
    if seconds > 0 then net.clock.sleep(seconds) end
    if why then return nil, why end
    local line
    line, why = net:attach(host, port)
    if not line then return nil, why end
    return setmetatable({ net = net, line = line, seconds = math.huge, closed = false }, Socket)
  end
end

return sockets
