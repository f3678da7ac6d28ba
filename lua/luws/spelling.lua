--[[
What somebody may have meant who has written a name that is not known.
--]]

-- Names that differ by more letters than this are different names.
local MOST = 2

--- distance(a, b): how many letters must be changed, put in or taken out to make one of the other (Levenshtein).
local function distance(a, b)
  local above = {}
  for j = 0, #b do above[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local changed = above[j - 1] + (a:byte(i) == b:byte(j) and 0 or 1)
      row[j] = math.min(changed, above[j] + 1, row[j - 1] + 1)
    end
    above = row
  end
  return above[#b]
end

--- meant(name, known): the key of `known` that is nearest to this name, if that is near: at most two letters, and less
-- than half of a short name.
local function meant(name, known)
  local nearest, least = nil, MOST + 1
  for other in pairs(known) do
    if math.abs(#other - #name) <= MOST then
      local far = distance(name, other)
      if far < #other / 2 and (far < least or far == least and other < nearest) then nearest, least = other, far end
    end
  end
  return nearest
end

return meant
