--[[
The kinds of values that options have which can be written on a command line or in a file, too. A kind is
read(value, is_text), which is given what a Lua program has written, or such a text. It returns the value; or nil and
what would be right.
--]]

local kinds = {}

-- The longest time, in seconds: a year.
local LONGEST = 365 * 24 * 3600

--- number(least, most): a number in a range. In a text it is decimal.
function kinds.number(least, most)
  local expected = ("a number from %s to %.0f expected"):format(tostring(least), most)
  return function(value, is_text)
    if is_text then value = (value:find "^%d+%.?%d*$" or value:find "^%.%d+$") and tonumber(value) end
    if type(value) == "number" and value >= least and value <= most then return value end
    return nil, expected
  end
end

--- seconds: a time, which may be 0.
kinds.seconds = kinds.number(0, LONGEST)

--- limit: a time within which something has to happen.
kinds.limit = kinds.number(0.001, LONGEST)

--- whole(least, most): a whole number in a range.
function kinds.whole(least, most)
  local number, expected = kinds.number(least, most), ("a whole number from %.0f to %.0f expected"):format(least, most)
  return function(value, is_text)
    local read = number(value, is_text)
    if read and read % 1 == 0 then return read end
    return nil, expected
  end
end

--- flag(value, is_text): true or false; in files yes or no.
function kinds.flag(value, is_text)
  if type(value) == "boolean" then return value end
  if is_text and value == "yes" then return true end
  if is_text and value == "no" then return false end
  return nil, is_text and "yes or no expected" or "true or false expected"
end

--- text(value): a string that is not empty, without control characters.
function kinds.text(value)
  if type(value) == "string" and value ~= "" and not value:find "%c" then return value end
  return nil, "a text expected"
end

--- matching(pattern, expected): a string in which this pattern is found.
function kinds.matching(pattern, expected)
  return function(value)
    if kinds.text(value) and value:find(pattern) then return value end
    return nil, expected
  end
end

--- one_of(words): one of these words.
function kinds.one_of(words)
  return function(value)
    for _, word in ipairs(words) do
      if word == value then return value end
    end
    return nil, "one of " .. table.concat(words, ", ") .. " expected"
  end
end

--- file(value): the path of a file that can be read.
function kinds.file(value)
  if not kinds.text(value) then return nil, "the path of a file expected" end
  local file, why = io.open(value, "rb")
  if not file then return nil, "a file that can be read expected (" .. why:gsub("^.*: ", "") .. ")" end
  file:close()
  return value
end

--- through(f): a text of which f makes a value, or nil and what is wrong.
function kinds.through(f)
  return function(value)
    if not kinds.text(value) then return nil, "a text expected" end
    return f(value)
  end
end

--- list(read): values of this kind, in an array; or one by itself.
function kinds.list(read)
  return function(value, is_text)
    local list = {}
    for i, element in ipairs(type(value) == "table" and value or { value }) do
      local wrong
      list[i], wrong = read(element, is_text)
      if list[i] == nil then return nil, wrong end
    end
    if list[1] == nil then return nil, "at least one expected" end
    return list
  end
end

return kinds
