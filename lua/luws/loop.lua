--[[
A connection in other people's event loops: what LuaSocket's select, copas, cqueues and openLuup's scheduler ask
of an object, and luws.watch. Knows nothing of messages.

Event loops call these from places where an error is fatal to the whole host, so none of them ever raises one.
--]]

local native, import = ...
local log, options = import("log"), import("options")

local loop = {}

-- select(2) has no room for descriptors from here on, and openLuup dies of one.
local TOO_LARGE = 1024

-- So often one call of the scheduler receives at most; what is left has it call again.
local TURNS = 16

--- descriptor(conn): the socket's descriptor; -1 if there is none (any more).
local function descriptor(conn)
  local ok, fd = pcall(function() return conn.socket:getfd() end)
  fd = ok and tonumber(fd) or -1
  return fd >= 0 and fd % 1 == 0 and fd or -1
end

--- methods(state_of, receive, close): the methods of connections. state_of(conn) is the connection's state, or
-- nil; receive and close are wsreceive and wsclose.
function loop.methods(state_of, receive, close)
  local methods = {}

  local function live(conn)
    local state = state_of(conn)
    return state and state.session and state or nil
  end

  --- getfd(): for select; -1 once the connection is over, and where select could not take it.
  function methods.getfd(conn)
    local fd = live(conn) and descriptor(conn) or -1
    return fd < TOO_LARGE and fd or -1
  end

  --- dirty(): whether wsreceive has something to do although the descriptor may not say so: bytes that were read
  -- already, or the news that no more will come.
  function methods.dirty(conn)
    local state = live(conn)
    if not state then return false end
    if state.buffered > 0 or state.ended then return true end
    local ok, dirty = pcall(state.wire.dirty, state.session)
    return ok and dirty
  end

  --- pollfd(), events(), timeout(): for cqueues: what to wait for, and for how many seconds at most.
  function methods.pollfd(conn) return live(conn) and descriptor(conn) or -1 end

  function methods.events(conn)
    local state = live(conn)
    return state and state.session:sendable() > 0 and "rw" or "r"
  end

  function methods.timeout(conn)
    local state = live(conn)
    if not state or methods.dirty(conn) then return 0 end
    local limit = options.number(options.of(conn), "receive_timeout")
    if limit > 0 then return math.max(0, state.heard + limit - native.monotonic()) end
  end

  --- settimeout(), receive(): for copas.receive: the bytes that one wsreceive brought; nil and "timeout" if there
  -- were none, or why no more will come.
  function methods.settimeout() return 1 end

  function methods.receive(conn)
    local more, bytes = receive(conn)
    if more == nil then return nil, bytes end
    if bytes == 0 then return nil, "timeout" end
    return bytes
  end

  --- close(code, reason): wsclose, as copas.close calls it, and as copas before 4 does by itself with what a thread
  -- was waiting for, when that ends.
  function methods.close(conn, code, reason)
    close(conn, code, reason)
    return 1
  end

  return methods
end

--- watch(conn, state, receive): has openLuup's scheduler call `receive` whenever something has come. Returns true,
-- or false and why not.
function loop.watch(conn, state, receive)
  if state.unwatch then return true end
  local scheduler = package.loaded["openLuup.scheduler"]
  if type(scheduler) ~= "table" or type(scheduler.socket_watch) ~= "function" then
    return false, "this is not openLuup"
  end
  local fd = conn:getfd()
  if fd < 0 then return false, "the connection has no descriptor that select can take" end
  local function callback()
    local ok, err = pcall(function()
      for _ = 1, TURNS do
        if not receive(conn) then return end
      end
    end)
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

--- release(socket): to be called before a socket is closed, and behind the last pollfd() that tells of it: cqueues
-- keeps descriptors, and would take the next socket for this one.
function loop.release(socket)
  local cqueues = package.loaded.cqueues
  if not cqueues then return end
  pcall(function()
    local fd = socket:getfd()
    if fd >= 0 then cqueues.cancel(fd) end
  end)
end

return loop
