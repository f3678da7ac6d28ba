-- Sockets for specs: counts them, and wraps LuaSocket's with some methods replaced, for options.connect.
--
-- It knows the four methods that luws may call on a socket, and nothing of what they send.

local lfs = require "lfs"
local socket = require "socket"

local FOLDER = "/proc/self/fd/" -- of this process, in Linux

local sockets = {}

--- Returns the number of sockets that this process has open, not counting garbage.
function sockets.count()
  collectgarbage()
  collectgarbage()
  local count = 0
  if lfs.attributes(FOLDER) then
    for name in lfs.dir(FOLDER) do
      if lfs.attributes(FOLDER .. name, "mode") == "socket" then count = count + 1 end
    end
  end
  return count
end

--- Checks that this process has no more sockets open than before. It may have fewer: connections of other tests end
-- when their peers answer.
function sockets.assert_at_most(before)
  local now = sockets.count()
  if now > before then error(("there are %d sockets, and were %d before"):format(now, before), 2) end
end

--- Returns a table with the four methods on top of a socket. replaced[name](inner, ...) is called in place of the
-- method of that name, as soon as it is set.
function sockets.over(inner, replaced)
  local outer = {}
  for _, name in ipairs { "send", "receive", "settimeout", "close" } do
    outer[name] = function(_, ...) return (replaced[name] or inner[name])(inner, ...) end
  end
  return outer
end

--- Returns a connect function whose sockets are such tables.
function sockets.connecting(replaced)
  return function(host, port) return sockets.over(assert(socket.connect(host, port)), replaced) end
end

return sockets
