--[[
The grammar of a command's arguments, as GNU has it: options with one dash or two, their values, and what is left. Knows
none of the options; each command has rows of them:

  { "header", short = "H", value = "NAME:VALUE", many = true, read = f, help = "sends this header" }

Without `value` it is a flag, whose value is true. `read` is a kind (kinds), and is given text.
With `many` it can be repeated, and its value is an array. With `secret`, messages do not repeat its value.
--]]

local _, import = ...
local meant = import("spelling")

local arguments = {}

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

--- split(word): returns the name in a word that is an option, the value in the same word if there is one, and what to
-- call the option; or nothing. In `-xyz` the value is yz, if x is no flag.
local function split(word)
  local name, value = word:match "^%-%-([^=]+)=(.*)$"
  if name then return name, value, "--" .. name end
  name = word:match "^%-%-(.+)$"
  if name then return name, nil, word end
  name, value = word:match "^%-(%a)(.*)$"
  if name then return name, value ~= "" and value or nil, "-" .. name end
end

--- each(rows, words, option, other): goes through the words of a command line: calls option(row, text, shown) for each
-- option, where the text of a flag is true and `shown` is what the option was called, and other(word) for words that
-- are no option. What comes after `--` is none. Either can return what is wrong, at which it ends. Returns that, or
-- nil.
function arguments.each(rows, words, option, other)
  local i, is_over, wrong = 1, false, nil
  local rest -- of a word with several flags
  while (rest or i <= #words) and not wrong do
    local word = rest or words[i]
    local name, value, shown = split(word)
    if rest then rest = nil else i = i + 1 end
    if is_over or not name and word ~= "--" then
      wrong = other(word)
    elseif word == "--" then
      is_over = true
    else
      local row
      row, wrong = find(rows, name)
      if row and not row.value then
        local is_short = shown:sub(2, 2) ~= "-"
        if value and is_short then rest = "-" .. value end
        wrong = value and not is_short and ("option '%s' takes no value"):format(shown) or option(row, true, shown)
      elseif row then
        if not value then
          value = words[i]
          i = i + 1
        end
        if value then
          wrong = option(row, value, shown)
        else
          wrong = ("option '%s' needs a value: %s"):format(shown, row.value)
        end
      end
    end
  end
  return wrong
end

--- read(rows, words): returns the values of the options by their names, and the words that are none; or nil and what is
-- wrong.
function arguments.read(rows, words)
  local values, others = {}, {}
  local function take(row, text, shown)
    local value, wrong = text, nil
    if row.read then value, wrong = row.read(text, true) end
    if value == nil then
      return ("option '%s': %s%s"):format(shown, wrong, row.secret and "" or (", got '%s'"):format(text))
    end
    local name = row[1]
    if not row.many then
      values[name] = value
    else
      values[name] = values[name] or {}
      table.insert(values[name], value)
    end
  end
  local wrong = arguments.each(rows, words, take, function(word) others[#others + 1] = word end)
  if wrong then return nil, wrong end
  return values, others
end

--- Returns how an option is written on a command line.
local function usage(row)
  local short = row.short and "-" .. row.short .. ", " or "    "
  return ("  %s--%s%s"):format(short, row[1], row.value and " " .. row.value or "")
end

--- page(rows [, written]): returns the options as lines of a help text; written(row) is how one of them is written.
function arguments.page(rows, written)
  local lines, width = {}, 0
  for i, row in ipairs(rows) do
    lines[i] = (written or usage)(row)
    width = math.max(width, #lines[i])
  end
  for i, row in ipairs(rows) do lines[i] = lines[i] .. (" "):rep(width + 2 - #lines[i]) .. row.help end
  return table.concat(lines, "\n")
end

return arguments
