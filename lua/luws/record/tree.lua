--[[
Prints a recording and its branches for people: a line for each row, and branches indented after the row at which they
begin.
--]]

local tree = {}

-- The most of a message that is shown, in bytes.
local SHOWN = 60

local function quoted(data)
  local text = data:sub(1, SHOWN):gsub('[%c"\\\127]', function(c)
    return (c == '"' or c == "\\") and "\\" .. c or ("\\%03d"):format(c:byte())
  end)
  return '"' .. text .. '"' .. (#data > SHOWN and ("... (%d bytes)"):format(#data) or "")
end

local function hex(data)
  local bytes = data:sub(1, 16):gsub(".", function(c) return (" %02x"):format(c:byte()) end)
  return ("%d bytes:%s%s"):format(#data, bytes, #data > 16 and " ..." or "")
end

-- Fields that are shown by their values, in this order.
local BY_VALUE = { "url", "protocol", "code", "reason", "error", "ack", "drop" }
-- Those that are shown as name=value.
local BY_NAME = { "id", "rtt", "number", "missing", "status", "clean" }

--- line(row): returns what a row is, without its number and its time.
function tree.line(row)
  local parts = { row.conn and tostring(row.conn) or nil }
  parts[#parts + 1] = row.dir
  parts[#parts + 1] = row.call and "call " .. tostring(row.call) or row.kind and tostring(row.kind) or "?"
  local data = row.data
  if data then parts[#parts + 1] = row.binary and hex(data) or quoted(data) end
  for _, name in ipairs(BY_VALUE) do
    local value = rawget(row, name)
    if value ~= nil and value ~= "" then
      parts[#parts + 1] = type(value) == "string" and name ~= "url" and quoted(value) or tostring(value)
    end
  end
  for _, name in ipairs(BY_NAME) do
    local value = rawget(row, name)
    if value ~= nil then parts[#parts + 1] = name .. "=" .. tostring(value) end
  end
  return table.concat(parts, " ")
end

--- Returns lists of branches by the row after which they begin.
local function beginnings(store)
  local begin = {}
  for number = 2, #store.branches do
    local parent = store.branches[number].parent
    begin[parent] = begin[parent] or {}
    table.insert(begin[parent], number)
  end
  return begin
end

--- dump(store): returns all rows of it as text.
function tree.dump(store)
  local begin, lines = beginnings(store), {}
  local print_branches
  local function print_branch(branch, indent)
    local path, place = store:own(branch)
    local number = path:number_at(place)
    while number do
      local row = store[number]
      lines[#lines + 1] = ("%s%5d %10.3f  %s"):format(indent, number, row.t, tree.line(row))
      print_branches(begin[number], indent)
      place = place + 1
      number = path:number_at(place)
    end
  end
  function print_branches(list, indent)
    for _, branch in ipairs(list or {}) do
      lines[#lines + 1] = ("%s  branch %d:"):format(indent, branch)
      print_branch(branch, indent .. "  | ")
    end
  end
  print_branches(begin[0], "")
  if store.branches[1] then print_branch(1, "") end
  return table.concat(lines, "\n") .. (lines[1] and "\n" or "")
end

return tree
