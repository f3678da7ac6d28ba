--[[
The frames of a connection as lines in the log, while luws.debug_mode is on.
--]]

local _, import = ...
local log, protect = import("log"), import("protect")

--- trace(conn, state): when debugging, a line in the log for each frame since the last call. Never the payload.
local function trace(conn, state)
  local wanted = log.debugging()
  if wanted ~= state.tracing then
    state.tracing = wanted
    state.session:set_trace(wanted)
  end
  if not wanted then return end
  for _, line in ipairs(state.session:trace()) do log.debug("%s %s", protect.text(conn), line) end
end

return trace
