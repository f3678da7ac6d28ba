--[[
A wire over one of our own sockets: its bytes do not become Lua strings. connection.lua has the contract of wires.
--]]

local native, import = ...
local clock = import("clock")

local read, write, wait = native.read, native.write, native.socket_wait

local Wire = { came = 0, lingers = true, calls_nobody = true, adapts = true }
Wire.__index = Wire

function Wire:read(max) return read(self.number, max) end

function Wire:write() return write(self.number) end

function Wire:wait(reading, writing, seconds)
  local deadline = clock.now() + seconds
  local ready
  -- A signal interrupts the wait so that Lua can run its hook for it (on Ctrl-C, that raises an error).
  repeat ready = wait(self.socket, reading, writing, deadline - clock.now()) until ready ~= "signal"
  return ready
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

return wires
