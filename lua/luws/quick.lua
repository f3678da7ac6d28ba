--[[
What most calls of wsreceive and wssend do, natively (src/lua/raw/quick.rs): functions that take the connection table.
Whatever breaks one of these off, nothing is left in the middle, so the driver need not prepare for that.

  state_of(conn)               the state of a connection of this module's, or nil for anything else
  poll(conn)                   reads, and tells the handler what has come
  next_event(conn, options, time, begins, guards)
                               tells the handler the messages that have come, and returns what comes then
  send_now(conn, opcode, data)
--]]

local native, import = ...
local guard, log = import("guard"), import("log")

local state_of, poll, next_event, send_now = native.quick(log.STATE, log.NUMBER, log.settings,
  guard.trace, guard.can_yield)

return { state_of = state_of, poll = poll, next_event = next_event, send_now = send_now }
