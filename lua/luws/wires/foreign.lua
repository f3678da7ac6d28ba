--[[
A wire over a user's socket: a LuaSocket TCP object, a LuaSec object, or a table with the same methods (send, receive,
settimeout, close). connection.lua has the contract of wires. Knows nothing of WebSockets.

It relies only on what LuaSocket promises: with a timeout of 0 nothing blocks; "timeout", "wantread" and "wantwrite"
mean "not now"; bytes that were received or sent before an error are reported with it. The methods may yield, as those
of an event loop's sockets do: one coroutine at a time receives, and one sends. If a method raises an error or is
interrupted, nobody knows how many bytes it has taken or given, so the socket is not used any more.
--]]

local native, import = ...
local clock, guard, log = import("clock"), import("guard"), import("log")

-- The most bytes passed to one send; the rest follows.
local PIECE = 65536

-- If a socket returns from a wait at once with nothing, it is tried again after this many seconds.
local PAUSE = 0.002

-- LuaSocket's sockets keep waiting after a signal, so one wait takes no longer than this (in seconds).
local STEP = 0.2

local LATER = { timeout = true, wantread = true, wantwrite = true }

local INTERRUPTED = "interrupted"

--- Returns a socket's error as text.
local function told(err)
  if err == nil then return "an error without a message" end
  return guard.text(err) or type(err)
end

local function do_receive(socket, max, seconds)
  socket:settimeout(seconds)
  return socket:receive(max)
end

local function do_send(socket, bytes)
  socket:settimeout(0)
  return socket:send(bytes)
end

local function do_close(socket) socket:close() end

local function do_setoption(socket, name)
  if guard.is_callable(socket.setoption) then socket:setoption(name, true) end
end

local Wire = { came = 0, lingers = false }
Wire.__index = Wire

--- Stops using the socket.
function Wire:give_up(why)
  self.over, self.broken = self.over or why, why
end

--- Interprets the results of a receive. Returns the bytes that came; and why no more will ever come, or nil.
local function received(ok, data, why, partial)
  if not ok then return "", told(data) end
  if data ~= nil then
    if type(data) == "string" then return data, nil end
    return "", "its receive returned a " .. type(data)
  end
  local bytes = type(partial) == "string" and partial or ""
  if LATER[why] then return bytes, nil end
  return bytes, why == nil and "closed" or told(why)
end

--- Receives at most `max` bytes within `seconds`. Returns how many bytes of plaintext that made, and how many bytes
-- came.
function Wire:receive(max, seconds)
  if self.over or native.is_busy(self.session) then return 0, 0 end
  local ours = guard.take(self.receiving)
  if not ours then
    if ours == nil then self:give_up(INTERRUPTED) end
    return 0, 0
  end
  local bytes, over = received(guard.method(self.receiving, do_receive, self.socket, max, seconds))
  local count = bytes == "" and 0 or native.receive_data(self.session, bytes)
  guard.give_back(self.receiving)
  self.over = self.over or over
  return count, #bytes
end

--- Gives up in a forked child: the socket is its parent's as well.
function Wire:check_process()
  local why = native.not_ours(self.process)
  if why then self:give_up(why) end
end

function Wire:read(max)
  self:check_process()
  if native.was_interrupted(self.session) then self:give_up(INTERRUPTED) end
  local count, came = self:receive(max, 0)
  if came > 0 then return count, came >= max end
  if not self.over then return nil end
  native.receive_end(self.session)
  return nil, self.over
end

--- Interprets the results of a send of `size` bytes. Returns how many were sent; why not all of them were, or nil; and
-- whether the socket is still usable.
local function sent(size, ok, last, why, partial)
  if not ok then return 0, told(last), false end
  local count = last or partial or 0
  if type(count) ~= "number" or count < 0 or count > size or count % 1 ~= 0 then
    return 0, "its send returned " .. (type(count) == "number" and tostring(count) or "a " .. type(count)), false
  end
  if last and count > 0 then return count, nil, true end
  return count, (last or LATER[why]) and "timeout" or why == nil and "closed" or told(why), true
end

function Wire:write()
  self:check_process()
  if self.broken then return nil, self.broken end
  if native.is_busy(self.session) then return nil, "timeout" end
  local ours = guard.take(self.sending)
  if ours == false then return true end -- whoever has it also sends what was queued since
  if ours == nil then
    self:give_up(INTERRUPTED)
    return nil, INTERRUPTED
  end
  local session, why, usable = self.session, nil, true
  repeat
    local bytes = native.peek(session, PIECE)
    if bytes == "" then break end
    local count
    count, why, usable = sent(#bytes, guard.method(self.sending, do_send, self.socket, bytes))
    native.sent(session, count)
  until why
  guard.give_back(self.sending)
  if not usable then self:give_up(why) end
  if why then return nil, why end
  -- Anything left must wait for something else first.
  if native.outgoing(session) > 0 then return nil, "timeout" end
  return true
end

-- LuaSocket can wait for only one thing at a time. If both are wanted, it waits to read, and sending is retried often.
function Wire:wait(reading, writing, seconds)
  self:check_process()
  if self.broken or reading and (self.over or self.came > 0) then return true end
  local before = clock.now()
  seconds = math.min(seconds, STEP)
  if reading then
    local count, came = self:receive(1, writing and math.min(seconds, PAUSE) or seconds)
    self.came = self.came + count
    if came > 0 or self.over then return true end
  end
  local left = seconds - (clock.now() - before)
  if left > 0 and clock.now() - before < PAUSE / 2 then clock.sleep(math.min(left, PAUSE)) end
  return false -- there may be room, but only a send can tell
end

function Wire:held()
  return (guard.is_ours(self.receiving) and 1 or 0) + (guard.is_ours(self.sending) and 1 or 0)
end

function Wire:descriptor()
  local ok, fd = pcall(function() return self.socket:getfd() end)
  return ok and type(fd) == "number" and fd >= 0 and fd % 1 == 0 and fd or nil
end

function Wire:dirty()
  if self.came > 0 or self.over then return true end
  local dirty = self.socket.dirty
  return dirty and self.socket:dirty() and true or false
end

-- Not every socket has a half-close among its methods.
function Wire.shutdown() end

function Wire:close()
  -- Some sockets say goodbye to the peer when they are closed.
  if native.not_ours(self.process) then return end
  local ok, why = guard.run(do_close, self.socket)
  if not ok then log.warning("the program's socket cannot be closed: %s", why:match("^[^\n]*")) end
end

local function do_watch(socket, f) socket:watch(f) end

--- The method watch of wires whose socket has one: the socket calls f() when something has come. Returns false, because
-- that tells neither of room nor of every end.
local function watch(wire, f)
  guard.run(do_watch, wire.socket, f)
  return false
end

--- Returns whether a socket has this method.
local function has_method(socket, name)
  local ok, method = pcall(function() return socket[name] end)
  return ok and guard.is_callable(method)
end

local wires = {}

--- check(socket): returns what is wrong with a socket, or nil.
function wires.check(socket)
  if type(socket) ~= "table" and type(socket) ~= "userdata" then
    return "a socket expected, got " .. type(socket)
  end
  for _, name in ipairs { "send", "receive", "settimeout", "close" } do
    if not has_method(socket, name) then
      return "a socket expected, got a " .. type(socket) .. " without " .. name
    end
  end
end

--- make(session, socket): returns a wire that carries the session's bytes over this socket. As on our own sockets,
-- keepalive finds dead peers and Nagle's algorithm is off, if the socket can do that; if it cannot, it works anyway.
function wires.make(session, socket)
  for _, name in ipairs { "keepalive", "tcp-nodelay" } do guard.run(do_setoption, socket, name) end
  return setmetatable({
    session = session,
    socket = socket,
    process = native.process(),
    watch = has_method(socket, "watch") and watch or nil,
    receiving = guard.turn(),
    sending = guard.turn(),
    over = nil, -- why nothing more will come
    broken = nil, -- why nothing more can be sent
  }, Wire)
end

return wires
