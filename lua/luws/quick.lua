--[[
The native functions that handle most calls of wsreceive and wssend (src/lua/raw/quick.rs). They take the connection
table. If one of them is interrupted, nothing is left half done, so the driver need not prepare for that.

  state_of(conn)               returns the state of a connection of this module, or nil for anything else
  poll(conn)                   reads, and tells the handler what has arrived
  next_event(conn, options, time, begins, guards)
                               tells the handler the messages that have arrived, and returns the next other event
  send_now(conn, opcode, data) queues a message, and writes it if nothing else is queued
--]]

local native, import = ...
local guard, log = import("guard"), import("log")

local state_of, poll, next_event, send_now = native.quick(log.STATE, log.NUMBER, log.settings,
  guard.trace, guard.can_yield)

return { state_of = state_of, poll = poll, next_event = next_event, send_now = send_now }
