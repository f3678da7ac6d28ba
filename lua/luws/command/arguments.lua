--[[
The grammar of a command's arguments, as GNU has it: options with one dash or two, their values, and what is left. Knows
none of the options; each command has rows of them:

  { "header", short = "H", value = "NAME:VALUE", many = true, read = f, help = "sends this header" }

Without `value` it is a flag, whose value is true. `read(text)` returns the value, or nil and what is wrong with it.
With `many` it can be repeated, and its value is an array.
--]]

local _, import = ...
local meant = import("spelling")

local arguments = {}

--- number(least): returns a reader of numbers of at least this.
function arguments.number(least)
  return function(text)
    local number = tonumber(text)
    if number and number >= least and number < math.huge then return number end
    return nil, ("a number of at least %d expected"):format(least)
  end
end

--- find(rows, name): returns the row of an option, by its name without dashes; or nil, and what to say about it.
local function find(rows, name)
  local known = {}
  for _, row in ipairs(rows) do
    if row[1] == name or row.short == name then return row end
    known[row[1]] = true
  end
  local dashes = #name == 1 and "-" or "--"
  local other = meant(name, known)
  return nil, ("unknown option '%s%s'%s"):format(dashes, name, other and (" (--%s?)"):format(other) or "")
end

--- take(row, values, shown, text): notes an option. Returns nil, or what is wrong with its value.
local function take(row, values, shown, text)
  local value, wrong = text, nil
  if row.read then value, wrong = row.read(text) end
  if value == nil then return ("option '%s': %s, got '%s'"):format(shown, wrong, text) end
  local name = row[1]
  if not row.many then
    values[name] = value
  else
    values[name] = values[name] or {}
    table.insert(values[name], value)
  end
end

--- split(word): returns the name in a word that is an option, the value in the same word if there is one, and what to
-- call the option; or nothing. In `-xyz` the value is yz.
local function split(word)
  local name, value = word:match "^%-%-([^=]+)=(.*)$"
  if name then return name, value, "--" .. name end
  name = word:match "^%-%-(.+)$"
  if name then return name, nil, word end
  name, value = word:match "^%-(%a)(.*)$"
  if name then return name, value ~= "" and value or nil, "-" .. name end
end

--- read(rows, words): returns the values of the options by their names, and the words that are none; or nil and what is
-- wrong. What comes after `--` is no option.
function arguments.read(rows, words)
  local values, others = {}, {}
  local i, is_over = 1, false
  while i <= #words do
    local word = words[i]
    local name, value, shown = split(word)
    i = i + 1
    if is_over or not name and word ~= "--" then
      others[#others + 1] = word
    elseif word == "--" then
      is_over = true
    else
      local row, wrong = find(rows, name)
      if not row then return nil, wrong end
      if not row.value then
        if value then return nil, ("option '%s' takes no value"):format(shown) end
        values[row[1]] = true
      else
        if not value then
          value = words[i]
          i = i + 1
        end
        if not value then return nil, ("option '%s' needs a value: %s"):format(shown, row.value) end
        wrong = take(row, values, shown, value)
        if wrong then return nil, wrong end
      end
    end
  end
  return values, others
end

--- page(rows): returns the options as lines of a help text.
function arguments.page(rows)
  local lines, width = {}, 0
  for i, row in ipairs(rows) do
    local short = row.short and "-" .. row.short .. ", " or "    "
    lines[i] = ("  %s--%s%s"):format(short, row[1], row.value and " " .. row.value or "")
    width = math.max(width, #lines[i])
  end
  for i, row in ipairs(rows) do lines[i] = lines[i] .. (" "):rep(width + 2 - #lines[i]) .. row.help end
  return table.concat(lines, "\n")
end

return arguments
