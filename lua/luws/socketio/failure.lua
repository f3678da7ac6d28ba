--[[
The errors that luws.socketio reports to a program: tables with a message, and with any data that the server has sent.
--]]

local failure = {}

local meta = {}

function meta:__tostring() return self.message end

--- new(message [, data]): makes an error.
function failure.new(message, data) return setmetatable({ message = message, data = data }, meta) end

--- of(value): returns an error for what a peer or a program has given as one: a text, a table with a message, or
-- anything else.
function failure.of(value)
  if type(value) ~= "table" then return failure.new(type(value) == "string" and value or tostring(value)) end
  if getmetatable(value) == meta then return value end
  local message = value.message
  return failure.new(type(message) == "string" and message or "error", value.data)
end

return failure
