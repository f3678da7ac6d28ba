--[[
The query of a URL as a table.
--]]

local query = {}

--- plain(text): returns a name or a value without its escapes.
local function plain(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

--- parse(text): returns the parameters, name to value. Of several with one name the last one counts.
function query.parse(text)
  local parameters = {}
  for name, value in text:gmatch "([^&=]+)=?([^&]*)" do parameters[plain(name)] = plain(value) end
  return parameters
end

return query
