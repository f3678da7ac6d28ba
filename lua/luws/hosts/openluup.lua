--[[
luws.watch: makes openLuup's scheduler receive for a connection. Knows openLuup's socket_watch, and what would crash
openLuup's loop.
--]]

local _, import = ...
local log = import("log")

local openluup = {}

local modules = package.loaded

--- watch(conn, state, receive): makes openLuup's scheduler call `receive` whenever something arrives. Returns true, or
-- false and why not.
function openluup.watch(conn, state, receive)
  if state.unwatch then return true end
  local scheduler = modules["openLuup.scheduler"]
  if type(scheduler) ~= "table" or type(scheduler.socket_watch) ~= "function" then
    return false, "this is not openLuup"
  end
  if conn:getfd() < 0 then return false, "the connection has no descriptor that select can take" end
  -- If one call leaves something to do, the connection is dirty, so the scheduler calls again at once.
  local function callback()
    local ok, err = pcall(receive, conn)
    if not ok then log.error("receiving on %s failed: %s", tostring(conn), tostring(err)) end
  end
  local ok, err = pcall(scheduler.socket_watch, conn, callback, nil, log.name)
  if not ok then return false, tostring(err) end
  -- Must be called before the socket is closed, because select fails on a stale descriptor. openLuup goes through the
  -- ready sockets without checking whether they are still watched, and crashes on one that is not; so unwatching is put
  -- off until the end of its turn. Until then the connection has nothing to receive and no descriptor.
  function state.unwatch()
    state.unwatch = nil
    local function unwatch()
      local unwatched, why = pcall(scheduler.socket_unwatch, conn)
      if not unwatched then log.error("openLuup is still watching %s: %s", tostring(conn), tostring(why)) end
    end
    local later = scheduler.add_to_delay_list
    if type(later) ~= "function" or not pcall(later, unwatch, 0) then unwatch() end
  end
  return true
end

return openluup
