--[[
JSON with line ends and indentation, for people. The text is not decoded for that, so numbers, the order of members and
the spelling of strings stay as they are.
--]]

local _, import = ...
local json = import("json").public

local INDENT = "  "

--- string_end(text, start): returns where the string that begins there ends.
local function string_end(text, start)
  local place = start + 1
  while true do
    place = text:find('["\\]', place)
    if text:sub(place, place) == '"' then return place end
    place = place + 2 -- what is escaped may be a quotation mark
  end
end

--- pretty(text): returns the text with its values one to a line; or nil if it is not JSON.
local function pretty(text)
  if json.decode(text) == nil then return nil end -- null is not nil
  local parts, depth, place = {}, 0, 1
  local function add(part) parts[#parts + 1] = part end
  local function new_line() add("\n" .. INDENT:rep(depth)) end
  while place <= #text do
    local c = text:sub(place, place)
    local next_place = place + 1
    if c == '"' then
      local last = string_end(text, place)
      add(text:sub(place, last))
      next_place = last + 1
    elseif c == "{" or c == "[" then
      local closing, after = text:match("^%s*([%]}])()", next_place)
      if closing then
        add(c .. closing)
        next_place = after
      else
        depth = depth + 1
        add(c)
        new_line()
      end
    elseif c == "}" or c == "]" then
      depth = depth - 1
      new_line()
      add(c)
    elseif c == "," then
      add(c)
      new_line()
    elseif c == ":" then
      add ": "
    elseif not c:find "%s" then
      add(c)
    end
    place = next_place
  end
  return table.concat(parts)
end

return pretty
