--[[
Tells a program what it sends itself: the option send_handler. A recorder has it, so that a program need not call other
functions while it is recorded. Connections without the option do not come here.
--]]

local _, import = ...
local guard, log = import("guard"), import("log")

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
  local number = tonumber(code) or 1000
  if number ~= number then number = 1000 end -- NaN
  number = math.floor(math.max(0, math.min(number, 65535)))
  local payload = string.char(math.floor(number / 256), number % 256)
  told.sent(conn, state, CLOSE, payload .. (type(reason) == "string" and reason or ""))
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
