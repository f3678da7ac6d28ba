--[[
Finds the option that an error of wsopen or of a server's listen names, for programs whose users write it otherwise.
--]]

--- blame(text): returns the name of the option in such an error, and what is wrong with it; or nil.
local function blame(text)
  local name, why = text:match "^bad option '([^']+)':? (.*)$"
  if name then return name, why:match "^%((.*)%)$" or why end
end

return blame
