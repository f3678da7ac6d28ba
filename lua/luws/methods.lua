--[[
The methods of connections: what LuaSocket's select, copas, cqueues and openLuup's scheduler ask of an object.

Event loops call these from places where an error is fatal to the whole host, so none of them ever raises one.
--]]

local native, import = ...
local clock, options = import("clock"), import("options")

local methods = {}

-- select(2) has no room for descriptors from here on, and openLuup dies of one.
local TOO_LARGE = 1024

--- descriptor(conn): the socket's descriptor; -1 if there is none (any more).
local function descriptor(conn)
  local ok, fd = pcall(function() return conn.socket:getfd() end)
  fd = ok and tonumber(fd) or -1
  return fd >= 0 and fd % 1 == 0 and fd or -1
end

--- make(live, receive, close): the methods. live(conn) is the state of a connection that is not closed, or nil;
-- receive and close are wsreceive and wsclose.
function methods.make(live, receive, close)
  local made = {}

  --- getfd(): for select; -1 once the connection is over, and where select could not take it.
  function made.getfd(conn)
    local fd = live(conn) and descriptor(conn) or -1
    return fd < TOO_LARGE and fd or -1
  end

  --- dirty(): whether wsreceive has something to do although the descriptor may not say so: bytes that were read
  -- already, or the news that no more will come.
  function made.dirty(conn)
    local state = live(conn)
    if not state then return false end
    if state.unread > 0 or state.ended or state.broken or native.is_pending(state.session) then return true end
    local ok, dirty = pcall(state.wire.dirty, state.wire)
    return ok and dirty
  end

  --- pollfd(), events(), timeout(): for cqueues: what to wait for, and for how many seconds at most.
  function made.pollfd(conn) return live(conn) and descriptor(conn) or -1 end

  function made.events(conn)
    local state = live(conn)
    return state and native.sendable(state.session) > 0 and "rw" or "r"
  end

  function made.timeout(conn)
    local state = live(conn)
    if not state or made.dirty(conn) then return 0 end
    local ok, limit = pcall(function() return options.number(options.of(conn), "receive_timeout") end)
    if ok and limit > 0 then return math.max(0, native.heard(state.number) + limit - clock.now()) end
  end

  --- settimeout(), receive(): for copas.receive: the bytes that one wsreceive brought; nil and "timeout" if there
  -- were none, or why no more will come.
  function made.settimeout() return 1 end

  function made.receive(conn)
    local more, bytes = receive(conn)
    if more == nil then return nil, bytes end
    if bytes == 0 then return nil, "timeout" end
    return bytes
  end

  --- close(code, reason): wsclose, as copas.close calls it, and as copas before 4 does by itself with what a thread
  -- was waiting for, when that ends.
  function made.close(conn, code, reason)
    close(conn, code, reason)
    return 1
  end

  return made
end

return methods
