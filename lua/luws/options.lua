--[[
Reads options from the user's table, row by row. Knows no option itself: each part of the driver registers rows for the
options that it uses.

A row is { name, default, reader }. reader(value) returns the value, or nil and what is wrong with it. wsopen reads all
rows once into a table, which is called `opening` everywhere and falls back to the defaults. conn.options remains the
caller's own table. Options that are read from it later, during the connection's life, are read with `number` (which
falls back to the default) or by plain indexing.
--]]

local _, import = ...
local guard, log = import("guard"), import("log")

local options = {}

-- Readers

--- of_type(...): returns a reader for a value of one of these types.
function options.of_type(...)
  local types = { ... }
  return function(value)
    for _, name in ipairs(types) do
      if type(value) == name then return value end
    end
    return nil, ("%s expected, got %s"):format(table.concat(types, " or "), type(value))
  end
end

--- callable(value): reads a function or another callable value.
function options.callable(value)
  if guard.is_callable(value) then return value end
  return nil, "function expected, got " .. type(value)
end

--- at_least(least): returns a reader for a number of at least `least`.
function options.at_least(least)
  return function(value)
    if type(value) ~= "number" then return nil, "number expected, got " .. type(value) end
    if value < least or value ~= value then -- the second condition finds NaN
      return nil, ("a number of at least %d expected, got %s"):format(least, tostring(value))
    end
    return value
  end
end

--- between(least, most): returns a reader for a number in a range.
function options.between(least, most)
  return function(value)
    if type(value) == "number" and value >= least and value <= most then return value end
    local got = type(value) == "number" and tostring(value) or type(value)
    return nil, ("a number from %d to %d expected, got %s"):format(least, most, got)
  end
end

--- whole(least, most): returns a reader for a whole number in a range; `most` is optional.
function options.whole(least, most)
  local range = most and ("from %d to %d"):format(least, most) or ("from %d up"):format(least)
  return function(value)
    if type(value) ~= "number" then return nil, ("whole number %s expected, got %s"):format(range, type(value)) end
    if value % 1 ~= 0 or value < least or value > (most or math.huge) then
      return nil, ("whole number %s expected, got %s"):format(range, tostring(value))
    end
    return value
  end
end

-- Rows

local registered, by_name, default = {}, {}, {}

--- Returns the value of a row, or its default if none is given; or nil and what is wrong with it.
local function read(row, given)
  local value = given[row[1]]
  if value == nil then return row[2] end
  return row[3](value)
end

--- register(rows): adds options to wsopen.
function options.register(rows)
  for _, row in ipairs(rows) do
    registered[#registered + 1], by_name[row[1]] = row, row
    default[row[1]] = row[2]
  end
end

-- Supplies the defaults of options that the user's table does not have.
local inherits_defaults = { __index = default }

--- Reads one option into a table. Returns what is wrong with it, or nil.
local function add(into, row, given)
  local name = row[1]
  local value, wrong = read(row, given)
  if wrong then return ("bad option '%s' (%s)"):format(name, wrong) end
  into[name] = value
end

--- read(rows, given, into): reads the options of these rows into a table. Returns what is wrong with one, or nil.
function options.read(rows, given, into)
  for _, row in ipairs(rows) do
    local wrong = add(into, row, given)
    if wrong then return wrong end
  end
end

--- take(rows, given, into): the same, and the table they are read from has them no more.
function options.take(rows, given, into)
  local wrong = options.read(rows, given, into)
  for _, row in ipairs(rows) do given[row[1]] = nil end
  return wrong
end

--- names(...): returns the set of the names of these lists of rows.
function options.names(...)
  local names = {}
  for _, rows in ipairs { ... } do
    for _, row in ipairs(rows) do names[row[1]] = true end
  end
  return names
end

--- unknown(name, known): returns what is wrong with an option that is none of the keys of `known`.
function options.unknown(name, known)
  local meant = type(name) == "string" and import("spelling")(name, known)
  return ("unknown option '%s'%s"):format(guard.text(name) or type(name), meant and " (" .. meant .. "?)" or "")
end

-- Unknown names that may be misspelt options are checked once each; at most this many.
local unknown, MOST_UNKNOWN = { count = 0 }, 100

--- doubt(name): logs an unknown name if it looks like a misspelt option.
local function doubt(name)
  if type(name) ~= "string" or unknown[name] or unknown.count >= MOST_UNKNOWN then return end
  if name:find("^ssl") then return end -- tls checks those
  unknown[name], unknown.count = true, unknown.count + 1
  local meant = import("spelling")(name, by_name)
  if meant then log.warning("unknown option '%s' (%s?)", name, meant) end
end

--- opening(given): returns a table with the present values of all registered options; or nil and what is wrong with
-- one.
function options.opening(given)
  local opening, wrong = setmetatable({}, inherits_defaults), nil
  if guard.metatable_of(given) == nil then -- few options are given; the others need not be looked up
    for name in next, given do
      if by_name[name] then wrong = wrong or add(opening, by_name[name], given) else doubt(name) end
    end
  else
    for _, row in ipairs(registered) do wrong = wrong or add(opening, row, given) end
    for name in next, given do
      if not by_name[name] then doubt(name) end
    end
  end
  if wrong then return nil, wrong end
  return opening
end

--- complete(option, rows, given): reads an option that is itself a table of options (or true, for all defaults).
-- Returns a complete table, or nil and what is wrong. Unknown names in it are errors.
function options.complete(option, rows, given)
  given = type(given) == "table" and given or {}
  local result, names = {}, {}
  for _, row in ipairs(rows) do
    local name = row[1]
    local value, wrong = read(row, given)
    if wrong then return nil, ("bad option '%s' (%s: %s)"):format(option, name, wrong) end
    names[name], result[name] = true, value
  end
  for name in pairs(given) do
    if not names[name] then return nil, ("bad option '%s' (%s: unknown)"):format(option, tostring(name)) end
  end
  return result
end

--- argument(name, rows, given): reads the argument of a function that is a table of options, or nil. Returns a complete
-- table, or nil and what is wrong.
function options.argument(name, rows, given)
  if given ~= nil and type(given) ~= "table" then
    return nil, ("bad argument #1 to '%s' (table expected, got %s)"):format(name, type(given))
  end
  return options.complete(name, rows, given)
end

--- has_none(given, prefix): returns whether no name in a table begins with the prefix. Returns false for a table with a
-- metatable, which may inherit such a name.
function options.has_none(given, prefix)
  if guard.metatable_of(given) ~= nil then return false end
  for name in next, given do
    if type(name) == "string" and name:sub(1, #prefix) == prefix then return false end
  end
  return true
end

--- of(conn): returns the options table of a connection, which the user may have replaced with anything.
function options.of(conn)
  local given = conn.options
  if type(given) == "table" then return given end
  conn.options = {}
  return conn.options
end

--- number(given, name): returns the present value of an option that is a number of at least 0, or its default if the
-- value has been replaced with something else.
function options.number(given, name)
  local value = given[name]
  if type(value) == "number" and value >= 0 then return value end
  return default[name]
end

return options
