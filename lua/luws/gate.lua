--[[
Limits how many connections are being opened to the same place at a time (RFC 6455 section 4.1: one for each IP
address). Those that would be too many wait, in the order in which they came. Knows neither connections nor addresses: a
place is any string.
--]]

local gate = {}

-- By place: how many are inside.
local inside = {}

-- Those that wait: each has places (and how many may be inside of each), and open(), which is called when it may enter.
local waiting = {}

local function has_room(places, reserved)
  for place, most in pairs(places) do
    if reserved[place] or (inside[place] or 0) >= most then return false end
  end
  return true
end

local function take(places)
  for place in pairs(places) do inside[place] = (inside[place] or 0) + 1 end
end

--- Lets in those that have room, unless one that came earlier waits for the same place.
local function admit()
  local reserved, admitted = {}, {}
  local i = 1
  while i <= #waiting do
    local one = waiting[i]
    if has_room(one.places, reserved) then
      take(one.places)
      one.is_inside = true
      admitted[#admitted + 1] = table.remove(waiting, i)
    else
      for place in pairs(one.places) do reserved[place] = true end
      i = i + 1
    end
  end
  for _, one in ipairs(admitted) do one.open() end
end

--- enter(places, open): asks to be let in. `places` has how many may be inside, by place. open() is called when there
-- is room, perhaps at once; its errors are the caller's mistake. Returns a function that leaves, or stops waiting,
-- which may be called repeatedly.
function gate.enter(places, open)
  local one = { places = places, open = open, is_inside = false }
  waiting[#waiting + 1] = one
  admit()
  return function()
    if not one.places then return end
    local left = one.places
    one.places = nil
    if one.is_inside then
      for place in pairs(left) do
        local count = inside[place] - 1
        inside[place] = count > 0 and count or nil
      end
    else
      for i, other in ipairs(waiting) do
        if other == one then
          table.remove(waiting, i)
          break
        end
      end
    end
    admit()
  end
end

return gate
