--[[
What a program gives to the functions of luws.record. Whatever is wrong with it is a mistake in the program, and an
error at its call.
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

--- Returns whether a value is of a kind: a type, "any", or "count", a number of at least 0.
local function is_of(kind, value)
  if kind == "any" then return true end
  if kind == "function" then return guard.is_callable(value) end
  if kind == "count" then return type(value) == "number" and value >= 0 end
  return type(value) == kind
end

--- options(name, given, known): raises an error unless all options are known, and of their kinds.
function arguments.options(name, given, known)
  if type(given) ~= "table" then
    error(("bad argument #1 to '%s' (table expected, got %s)"):format(name, type(given)), 3)
  end
  for key, value in pairs(given) do
    local kind = known[key]
    if not kind then error(("%s: unknown option '%s'"):format(name, tostring(key)), 3) end
    if not is_of(kind, value) then
      local got = kind == "count" and type(value) == "number" and tostring(value) or type(value)
      if kind == "count" then kind = "a number of at least 0" end
      error(("%s: bad option '%s' (%s expected, got %s)"):format(name, key, kind, got), 3)
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
