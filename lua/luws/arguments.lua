--[[
What a program gives to functions of modules whose mistakes are errors (luws.record, luws.mock). Whatever is wrong with
it is an error at its call.
--]]

local _, import = ...
local guard = import("guard")

local arguments = {}

--- check(name, index, value, kind): raises an error unless an argument is of this type. The level is that of the caller
-- of who calls this.
function arguments.check(name, index, value, kind)
  if type(value) == kind then return end
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(index, name, kind, type(value)), 3)
end

--- callable(name, index, value): the same for something that can be called, or nil.
function arguments.callable(name, index, value)
  if value == nil or guard.is_callable(value) then return end
  error(("bad argument #%d to '%s' (function expected, got %s)"):format(index, name, type(value)), 3)
end

local function is_count(value) return type(value) == "number" and value >= 0 end

-- Kinds of options that are not types, with what is expected.
local KINDS = {
  any = { "", function() return true end },
  ["function"] = { "function", guard.is_callable },
  count = { "a number of at least 0", is_count },
  positive = { "a number above 0", function(value) return is_count(value) and value > 0 end },
  whole = {
    "a whole number of at least 0",
    function(value) return is_count(value) and value < math.huge and value % 1 == 0 end,
  },
  reactor = {
    "a reactor or false",
    function(value) return value == false or type(value) == "table" and guard.is_callable(value.after) end,
  },
}

--- options(name, given, known [, index]): raises an error unless all options are known, and of their kinds: a type, one
-- of KINDS, or a table like those in it. `index` is the number of the argument that they are (1).
function arguments.options(name, given, known, index)
  if type(given) ~= "table" then
    error(("bad argument #%d to '%s' (table expected, got %s)"):format(index or 1, name, type(given)), 3)
  end
  for key, value in pairs(given) do
    local kind = known[key]
    if not kind then error(("%s: unknown option '%s'"):format(name, tostring(key)), 3) end
    local expected = type(kind) == "table" and kind or KINDS[kind]
    local is_right
    if expected then is_right = expected[2](value) else is_right = type(value) == kind end
    if not is_right then
      local is_wrong_number = type(value) == "number" and expected and expected[1]:find "number"
      local got = is_wrong_number and tostring(value) or type(value)
      error(("%s: bad option '%s' (%s expected, got %s)"):format(name, key, expected and expected[1] or kind, got), 3)
    end
  end
end

--- one_of(name, given, key, ...): raises an error unless an option is nil or one of these words.
function arguments.one_of(name, given, key, ...)
  local value, words = given[key], { ... }
  if value == nil then return end
  for i, word in ipairs(words) do
    if word == value then return end
    words[i] = "'" .. word .. "'"
  end
  error(("%s: bad option '%s' (%s expected, got '%s')"):format(name, key, table.concat(words, " or "), value), 3)
end

return arguments
