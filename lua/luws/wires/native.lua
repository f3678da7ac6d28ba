--[[
A wire over one of our own sockets: its bytes do not become Lua strings. connection.lua has the contract of wires.
--]]

local native, import = ...
local clock = import("clock")

local read, write, wait = native.read, native.write, native.socket_wait

-- Linux reports room only when a third of the socket's buffer is free, so a write is tried after this many seconds.
local SLICE = 0.05

local Wire = { came = 0, lingers = true, calls_nobody = true, adapts = true }
Wire.__index = Wire

function Wire:read(max) return read(self.number, max) end

function Wire:write() return write(self.number) end

function Wire:wait(reading, writing, seconds)
  if writing then seconds = math.min(seconds, SLICE) end
  local deadline = clock.now() + seconds
  local ready
  -- A signal interrupts the wait so that Lua can run its hook for it (on Ctrl-C, that raises an error).
  repeat ready = wait(self.socket, reading, writing, deadline - clock.now()) until ready ~= "signal"
  return ready
end

function Wire:descriptor()
  local fd = native.socket_getfd(self.socket)
  return fd >= 0 and fd or nil
end

function Wire:dirty() return native.holds_more(self.session) end

function Wire:shutdown() native.socket_shutdown(self.socket) end

function Wire:close()
  self:release()
  native.socket_close(self.socket)
end

function Wire:release()
  native.socket_release(self.users)
end

local wires = {}

local Dial = {}
Dial.__index = Dial

function Dial:advance(seconds)
  local socket, why = native.dial_advance(self.native, seconds)
  if not socket then return nil, why end
  return wires.make(self.state, socket)
end

function Dial:cancel() native.dial_cancel(self.native) end

function Dial:is_queued() return native.dial_is_queued(self.native) end

function Dial:due() return native.dial_due(self.native) end

function Dial:wake(item) return item:wake(self.native) end

function Dial:descriptors() return native.dial_descriptors(self.native) or {} end

function Dial:hold() native.dial_hold(self.native) end

function Dial:go_on() native.dial_go_on(self.native) end

function Dial:untried() return native.dial_untried(self.native) end

--- dial(state, host, port): begins to connect. Returns an object with these methods:
--   advance(seconds)   waits for at most this time, or until a signal comes. Returns a wire that carries the bytes of
--                      the connection's session, and the user's object for its socket; nil if it must be called again;
--                      nil and why it cannot connect
--   is_queued()        returns whether the name look-up has yet to begin, because others are in the way
--   cancel()           gives up
--   due()              returns after how many seconds it is to be advanced at the latest, or nil
--   wake(item)         gives the reactor's item a turn once the name has been looked up. Returns false if it has been
--                      meanwhile, and is to be advanced at once; nil if nobody can tell it
--   descriptors()      returns the descriptors of what it has begun to do since the last call
--   hold(), go_on()    has it connect to nothing until it may go on
--   untried()          returns the addresses that it has not tried; nil while they are not known
function wires.dial(state, host, port)
  return setmetatable({ state = state, native = native.dial(host, port) }, Dial)
end

--- make(state, socket): makes this native socket carry the bytes of the connection's session. Returns the wire, and the
-- user's object for the socket.
function wires.make(state, socket)
  native.attach(state.session, socket)
  local users = native.socket_for_user(socket)
  local wire = {
    session = state.session,
    number = state.number,
    socket = socket,
    users = users,
  }
  return setmetatable(wire, Wire), users
end

--- drop(socket): closes a socket that carries nothing.
function wires.drop(socket) native.socket_close(socket) end

return wires
