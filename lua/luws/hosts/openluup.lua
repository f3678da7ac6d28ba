--[[
Hangs the reactor into openLuup: its scheduler watches the reactor's one descriptor, which is never closed. The
descriptors of connections never reach its select, which crashes on closed ones and on numbers above 1,023.
--]]

local _, import = ...
local log = import("log")

local host = {}

local modules = package.loaded
local attached -- the scheduler that watches

-- select(2) cannot handle descriptors of this number or above.
local TOO_LARGE = 1024

function host.is_here()
  local scheduler = modules["openLuup.scheduler"]
  return type(scheduler) == "table" and type(scheduler.socket_watch) == "function"
end

function host.attach(outer)
  local scheduler = modules["openLuup.scheduler"]
  if attached == scheduler then return true end
  if outer.getfd() >= TOO_LARGE then return false, "the reactor has no descriptor that select can take" end
  -- If a turn leaves something to do, the object is dirty, so the scheduler calls again at once.
  local socket = { getfd = outer.getfd, dirty = outer.dirty }
  local ok, err = pcall(scheduler.socket_watch, socket, outer.turn, nil, log.name)
  if not ok then return false, tostring(err) end
  attached = scheduler
  return true
end

return host
