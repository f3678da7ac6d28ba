-- Sockets for specs: how many there are, and LuaSocket's with some methods replaced, for options.connect.
--
-- It knows the four methods that luws may call on a socket, and nothing of what is sent with them.

local socket = require "socket"

local sockets = {}

--- The number of sockets that this process has open, without those that are garbage.
function sockets.count()
  collectgarbage()
  collectgarbage()
  local pipe = io.popen("ls -l /proc/$PPID/fd 2>/dev/null | grep -c socket:")
  local count = tonumber(pipe:read("*a"))
  pipe:close()
  return count
end

--- A table with the four methods over a socket. replaced[name](inner, ...) is called in place of a method of that name,
-- from when it is there.
function sockets.over(inner, replaced)
  local outer = {}
  for _, name in ipairs { "send", "receive", "settimeout", "close" } do
    outer[name] = function(_, ...) return (replaced[name] or inner[name])(inner, ...) end
  end
  return outer
end

--- A connect function whose sockets are such tables.
function sockets.connecting(replaced)
  return function(host, port) return sockets.over(assert(socket.connect(host, port)), replaced) end
end

return sockets
