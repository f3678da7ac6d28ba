--[[
A wire over a socket of the user's: a LuaSocket TCP object, a LuaSec object, or a table with the same methods (send,
receive, settimeout, close). The contract of wires is in connection.lua. Knows no WebSocket.

All that it asks of the socket are LuaSocket's promises: with a time-out of 0 nothing blocks, "timeout", "wantread"
and "wantwrite" mean "not now", and what was received or sent before an error comes with it. The methods may yield, as
those of an event loop's sockets do: one coroutine at a time receives, and one sends. A method that raises an error,
or that is broken off, has taken or given nobody knows how many bytes, so nothing more is asked of the socket then.
--]]

local native, import = ...
local clock, guard, log = import("clock"), import("guard"), import("log")

-- The most that is given to one send; the rest follows.
local PIECE = 65536

-- A socket that returns from a wait at once with nothing is asked again after this many seconds.
local PAUSE = 0.002

-- LuaSocket's sockets go on waiting after a signal, so one wait takes no longer than this (in seconds).
local STEP = 0.2

local LATER = { timeout = true, wantread = true, wantwrite = true }

local INTERRUPTED = "interrupted"

--- An error of the socket's as text.
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

local Wire = { came = 0, lingers = false }
Wire.__index = Wire

--- Nothing more is asked of the socket.
function Wire:give_up(why)
  self.over, self.broken = self.over or why, why
end

--- What the results of a receive mean: the bytes that came; and why there will never be more, or nil.
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

--- Receives at most `max` bytes within `seconds`: how many bytes of plaintext they became, and how many came.
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

function Wire:read(max)
  if native.was_interrupted(self.session) then self:give_up(INTERRUPTED) end
  local count, came = self:receive(max, 0)
  if came > 0 then return count, came >= max end
  if not self.over then return nil end
  native.receive_end(self.session)
  return nil, self.over
end

--- What the results of a send of `size` bytes mean: how many went; why that is not all, or nil; whether the socket can
-- be asked again.
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
  if self.broken then return nil, self.broken end
  if native.is_busy(self.session) then return nil, "timeout" end
  local ours = guard.take(self.sending)
  if ours == false then return true end -- whoever has it sends what has been queued since, too
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
  -- What is left then has to wait for something that must come first.
  if native.outgoing(session) > 0 then return nil, "timeout" end
  return true
end

-- LuaSocket can wait for one thing at a time; where both will do, what there is to be sent is asked about often, and
-- waiting is for what comes.
function Wire:wait(reading, writing, seconds)
  if self.broken or reading and (self.over or self.came > 0) then return true end
  local before = clock.now()
  seconds = math.min(seconds, STEP)
  if reading then
    local count, came = self:receive(1, writing and math.min(seconds, PAUSE) or seconds)
    self.came = self.came + count
    if came > 0 or self.over then return true end
  end
  local left = seconds - (clock.now() - before)
  if left > 0 and clock.now() - before < PAUSE then clock.sleep(math.min(left, PAUSE)) end
  return false -- or there is room, which only a send can tell
end

function Wire:held()
  return (guard.is_ours(self.receiving) and 1 or 0) + (guard.is_ours(self.sending) and 1 or 0)
end

function Wire:dirty()
  if self.came > 0 then return true end
  local dirty = self.socket.dirty
  return dirty and self.socket:dirty() and true or false
end

-- There is no half-close among the methods that every socket has.
function Wire.shutdown() end

function Wire:close()
  local ok, why = guard.run(do_close, self.socket)
  if not ok then log.warning("a socket of the program's cannot be closed: %s", why:match("^[^\n]*")) end
end

local wires = {}

--- check(socket): nil, or what is wrong with it.
function wires.check(socket)
  if type(socket) ~= "table" and type(socket) ~= "userdata" then
    return "a socket expected, got " .. type(socket)
  end
  for _, name in ipairs { "send", "receive", "settimeout", "close" } do
    local ok, method = pcall(function() return socket[name] end)
    if not ok or not guard.is_callable(method) then
      return "a socket expected, got a " .. type(socket) .. " without " .. name
    end
  end
end

--- make(session, socket): the session's bytes go through this socket.
function wires.make(session, socket)
  return setmetatable({
    session = session,
    socket = socket,
    receiving = guard.turn(),
    sending = guard.turn(),
    over = nil, -- why nothing more will come
    broken = nil, -- why nothing more can be sent
  }, Wire)
end

return wires
