--[[
Errors of Engine.IO, which are tables as in JavaScript: `message` has its words to the letter, `description` says more,
for people. tostring makes both of them.
--]]

local failure = {}

local meta = {}

function meta.__tostring(err)
  return err.description and err.message .. ": " .. tostring(err.description) or err.message
end

--- new(message [, description [, context]]): makes an error. `context` has what the server has answered: status and
-- responseText.
function failure.new(message, description, context)
  return setmetatable({ message = message, description = description, context = context }, meta)
end

return failure
