--[[
Logs the frames of a connection, one line each, while luws.debug_mode is on.
--]]

local native, import = ...
local connection, guard, log = import("connection"), import("guard"), import("log")

--- trace(conn, state): if debugging is on, logs a line for each frame since the last call. Never logs the payload.
local function trace(conn, state)
  local wanted = log.debugging()
  if wanted ~= (state.tracing or false) then
    state.tracing = wanted
    native.set_trace(state.session, wanted)
    connection.settle(state)
  end
  if not wanted then return end
  for _, line in ipairs(native.trace(state.session)) do log.debug("%s %s", guard.name(conn), line) end
end

return trace
