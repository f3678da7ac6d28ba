--[[
luws.watch: openLuup's scheduler receives for a connection. Knows openLuup's socket_watch and what its loop dies of.
--]]

local _, import = ...
local log = import("log")

local openluup = {}

local modules = package.loaded

--- watch(conn, state, receive): has openLuup's scheduler call `receive` whenever something has come. Returns true,
-- or false and why not.
function openluup.watch(conn, state, receive)
  if state.unwatch then return true end
  local scheduler = modules["openLuup.scheduler"]
  if type(scheduler) ~= "table" or type(scheduler.socket_watch) ~= "function" then
    return false, "this is not openLuup"
  end
  if conn:getfd() < 0 then return false, "the connection has no descriptor that select can take" end
  -- What one call leaves makes the next due at once: the connection is dirty then.
  local function callback()
    local ok, err = pcall(receive, conn)
    if not ok then log.error("receiving on %s failed: %s", tostring(conn), tostring(err)) end
  end
  local ok, err = pcall(scheduler.socket_watch, conn, callback, nil, log.name)
  if not ok then return false, tostring(err) end
  -- To be called before the socket is closed, for a stale descriptor is fatal to select. openLuup goes through the
  -- sockets that are ready without asking whether they are still watched, and dies of one that is not; so that is
  -- left to the end of its turn. Until then there is nothing to receive here and no descriptor.
  function state.unwatch()
    state.unwatch = nil
    local function unwatch()
      local unwatched, why = pcall(scheduler.socket_unwatch, conn)
      if not unwatched then log.error("openLuup goes on watching %s: %s", tostring(conn), tostring(why)) end
    end
    local later = scheduler.add_to_delay_list
    if type(later) ~= "function" or not pcall(later, unwatch, 0) then unwatch() end
  end
  return true
end

return openluup
