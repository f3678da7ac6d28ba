--[[
Tells a program what it sends itself: the option send_handler. A recorder has it, so that a program need not call other
functions while it is recorded. Connections without the option do not come here.
--]]

local _, import = ...
local close, guard, log = import("close"), import("guard"), import("log")

local CLOSE = 8

local told = {}

--- sent(conn, state, opcode, data, why): tells the send_handler of something that was sent; or was not, and why. It is
-- not told of what it sends itself.
function told.sent(conn, state, opcode, data, why)
  if state.is_telling_sent then return end
  if type(data) ~= "string" then data = data ~= nil and guard.text(data) or "" end
  state.is_telling_sent = true
  local ok, err = guard.free(state.opening.send_handler, conn, tonumber(opcode) or opcode, data, why)
  state.is_telling_sent = false
  if not ok then log.handler_failed(("the send_handler of %s raised an error"):format(guard.name(conn)), err) end
end

--- closed(conn, state, code, reason): tells it of a wsclose, as of the close frame that this sends.
function told.closed(conn, state, code, reason)
  code, reason = close.frame(code, reason)
  if code == 0 then code, reason = 1000, "" end -- which is sent in its place
  told.sent(conn, state, CLOSE, string.char(math.floor(code / 256), code % 256) .. reason)
end

--- gathering(source): returns a source that returns the same, and a function that returns all of it so far as a string.
function told.gathering(source)
  local pieces = {}
  local function gather(chunk, ...)
    if type(chunk) == "string" then pieces[#pieces + 1] = chunk end
    return chunk, ...
  end
  return function() return gather(source()) end, function() return table.concat(pieces) end
end

return told
