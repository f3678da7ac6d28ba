--[[
The methods of connections: what LuaSocket's select, copas, cqueues and openLuup's scheduler expect of an object.

Event loops call them where an error would be fatal to the whole host, so none of them ever raises one.
--]]

local native, import = ...
local clock, connection, guard, log = import("clock"), import("connection"), import("guard"), import("log")
local options = import("options")

local methods = {}

-- select(2) cannot handle descriptors of this number or above, and openLuup crashes on one.
local TOO_LARGE = 1024

-- While a connection is being opened, wsreceive is to be called after this many seconds at the latest.
local CONNECTING = 0.05

--- descriptor(conn): returns the socket's descriptor; -1 if it has none.
local function descriptor(conn)
  local ok, fd = pcall(function() return conn.socket:getfd() end)
  fd = ok and tonumber(fd) or -1
  return fd >= 0 and fd % 1 == 0 and fd or -1
end

local TEXT = "%s has the descriptor %d, but select takes those below %d only, so it never reports this one. Call "
  .. "wsreceive regularly, keep fewer files open, or use a loop that takes conn:pollfd()."

--- selectable(conn, fd): returns the descriptor, or -1 if select cannot handle it. Nothing else shows to a program that
-- its select never reports a connection, so the log says so, once in a Lua state.
local function selectable(conn, fd)
  if fd < TOO_LARGE then return fd end
  if native.first_too_large() then log.warning(TEXT, guard.name(conn), fd, TOO_LARGE) end
  return -1
end

--- make(live, receive, close): returns the methods. live(conn) returns the state of a connection that is not closed, or
-- nil; receive and close are wsreceive and wsclose.
function methods.make(live, receive, close)
  local made = {}

  --- getfd(): returns the descriptor for select; -1 once the connection is over, or if select cannot handle it.
  function made.getfd(conn)
    return live(conn) and selectable(conn, descriptor(conn)) or -1
  end

  --- dirty(): returns whether wsreceive has something to do that the descriptor may not show: bytes that were read
  -- already, or the news that no more will come, or that the queue is empty again, or a ping that is due.
  function made.dirty(conn)
    local state = live(conn)
    if not state or state.phase == "connecting" then return false end
    if state.greets or state.unread > 0 or state.ended or state.broken then return true end
    if native.is_pending(state.session) then return true end
    local due = native.keepalive_due(state.number)
    -- While the Lua state is being closed, both times are infinite.
    if connection.is_drained(state) or due < math.huge and due <= clock.now() then return true end
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
    if state.phase == "connecting" then
      return state.retry_at and math.max(0, state.retry_at - clock.now()) or CONNECTING
    end
    local due = native.keepalive_due(state.number)
    local ok, limit = pcall(function() return options.number(options.of(conn), "receive_timeout") end)
    if ok and limit > 0 then due = math.min(due, connection.silent_since(state) + limit) end
    if due < math.huge then return math.max(0, due - clock.now()) end
  end

  --- settimeout(), receive(): for copas.receive. receive() returns how many bytes one wsreceive has brought; nil and
  -- "timeout" if there were none, or nil and why no more will come.
  function made.settimeout() return 1 end

  function made.receive(conn)
    local more, bytes = receive(conn)
    if more == nil then return nil, bytes end
    if bytes == 0 then return nil, "timeout" end
    return bytes
  end

  --- pause(), resume(): whether the reactor receives. Messages that have come already wait, too, from the next one on.
  -- What is sent still leaves. Return true; or false and "not connected".
  function made.pause(conn)
    local state = live(conn)
    if not state then return false, "not connected" end
    state.is_paused = true
    if state.session then native.end_turn(state.session) end
    return true
  end

  function made.resume(conn)
    local state = live(conn)
    if not state then return false, "not connected" end
    state.is_paused = false
    if state.item then state.item:notice() end
    return true
  end

  --- compress(on): whether messages that are sent from now on are compressed, if the ends have agreed on that. Returns
  -- true; or false and "not connected".
  function made.compress(conn, on)
    local state = live(conn)
    local is_open = state and state.session and native.set_compression(state.session, on and true or false)
    if not is_open then return false, "not connected" end
    return true
  end

  --- close(code, reason): calls wsclose. copas.close uses it; so does copas before version 4, by itself, when a thread
  -- ends that was waiting for the connection.
  function made.close(conn, code, reason)
    close(conn, code, reason)
    return 1
  end

  return made
end

return methods
