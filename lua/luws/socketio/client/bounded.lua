--[[
Lists of events that wait to be sent, with bounds for their number and their bytes. An entry has its messages.
--]]

local bounded = {}

local MOST_ENTRIES, MOST_BYTES = 10000, 64 * 1024 * 1024

-- The key under which a list has the bytes in it.
local SIZE = {}

--- new(): makes an empty list.
function bounded.new() return { [SIZE] = 0 } end

--- add(list, entry): adds an entry. Returns whether there is room.
function bounded.add(list, entry)
  local size = 0
  for _, message in ipairs(entry.messages) do size = size + #message end
  if #list >= MOST_ENTRIES or list[SIZE] + size > MOST_BYTES then return false end
  entry.size, list[SIZE] = size, list[SIZE] + size
  list[#list + 1] = entry
  return true
end

--- remove(list, i): takes an entry out.
function bounded.remove(list, i)
  list[SIZE] = list[SIZE] - table.remove(list, i).size
end

--- remove_first(list, count): takes so many entries out at the front.
function bounded.remove_first(list, count)
  local last = #list
  for i = 1, last do
    if i <= count then list[SIZE] = list[SIZE] - list[i].size end
    list[i] = list[i + count]
  end
end

return bounded
