--[[
The queries of URLs, and forms in their encoding: taken apart, and values for them.
--]]

local query = {}

--- plain(text): returns a name or a value without its escapes.
local function plain(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

--- parse(text): returns the parameters, name to value; none for nil. Of several with one name the last one counts.
function query.parse(text)
  local parameters = {}
  for part in (text or ""):gmatch "[^&]+" do
    local name, value = part:match "^([^=]*)=?(.*)$"
    parameters[plain(name)] = plain(value)
  end
  return parameters
end

--- escape(value): returns a name or a value with escapes, as JavaScript's encodeURIComponent does.
function query.escape(value)
  return (tostring(value):gsub("[^%w%-_.!~*'()]", function(c) return ("%%%02X"):format(c:byte()) end))
end

return query
