--[[
Finds the known name that a misspelt one was probably meant to be.
--]]

-- Names that differ by more letters than this are different names.
local MOST = 2

--- distance(a, b): returns how many letters must be changed, inserted or removed to turn one name into the other (the
-- Levenshtein distance).
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

--- meant(name, known): returns the key of `known` that is nearest to this name, or nil if none is near: at most two
-- letters away, and less than half the length of a short name.
local function meant(name, known)
  local nearest, least = nil, MOST + 1
  for other in pairs(known) do
    if math.abs(#other - #name) <= MOST then
      local far = distance(name, other)
      local is_nearer = far < least or far == least and nearest and other < nearest
      if far < #other / 2 and is_nearer then nearest, least = other, far end
    end
  end
  return nearest
end

return meant
