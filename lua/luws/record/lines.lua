--[[
The lines of a recording's file: JSON, a head and then a row on each. It knows nothing of what rows mean, but for the
order in which their fields are written.
--]]

local _, import = ...
local json = import("json").public

local lines = {}

--- The version of the format. A reader takes every file with the same first number.
local VERSION = "record/1"

-- Fields that come first in a line, so that it is easily read. The others follow by their names.
local FIRST = { "row", "parent", "t", "conn", "out", "in", "call", "note", "ack", "drop" }
local IS_FIRST = {}
for _, name in ipairs(FIRST) do IS_FIRST[name] = true end

--- encoded(value): returns the JSON of a value; strings that are not UTF-8 lose what is not ASCII.
local function encoded(value)
  local text, why = json.encode(value)
  if not text and type(value) == "string" then return json.encode((value:gsub("[\128-\255]", "?"))) end
  return text, why
end

-- The JSON of names and of short strings that come again and again: names of connections, kinds of rows.
local known, known_count, MOST_KNOWN, LONGEST_KNOWN = {}, 0, 1000, 30

--- Returns the JSON of a string.
local function quoted(text)
  local json_text = known[text]
  if json_text then return json_text end
  json_text = encoded(text)
  if #text <= LONGEST_KNOWN then
    if known_count >= MOST_KNOWN then known, known_count = {}, 0 end
    known[text], known_count = json_text, known_count + 1
  end
  return json_text
end

--- Adds a field to the parts of a line. Returns them; or nil and what of the value is not JSON.
local function add(parts, name, value)
  local kind = type(value)
  local text, why
  if kind == "string" and IS_FIRST[name] then
    text = quoted(value)
  elseif kind == "boolean" then
    text = value and "true" or "false"
  else
    text, why = encoded(value)
    if not text then return nil, ("%s: %s"):format(name, why) end
  end
  parts[#parts + 1] = (parts[1] and "," or "{") .. quoted(name) .. ":" .. text
  return parts
end

--- line(row): returns a row as a line; or nil, and what of it is not JSON.
function lines.line(row)
  local parts, others = {}, nil
  for i = 1, #FIRST do
    local name = FIRST[i]
    local value = rawget(row, name)
    if value ~= nil then
      local ok, why = add(parts, name, value)
      if not ok then return nil, why end
    end
  end
  for name in next, row do
    if type(name) ~= "string" then return nil, "the names of fields are strings, got a " .. type(name) end
    if not IS_FIRST[name] then
      others = others or {}
      others[#others + 1] = name
    end
  end
  if others then
    if others[2] then table.sort(others) end
    for i = 1, #others do
      local ok, why = add(parts, others[i], row[others[i]])
      if not ok then return nil, why end
    end
  end
  if not parts[1] then return "{}\n" end
  parts[#parts + 1] = "}\n"
  return table.concat(parts)
end

--- head(created, clock, seed): returns the head of a new file, a table.
function lines.head(created, clock, seed)
  return { luws = VERSION, created = created, clock = clock, seed = seed }
end

--- head_line(head): returns a head as a line.
function lines.head_line(head) return assert(json.encode(head)) .. "\n" end

--- read_head(line): returns the head that a line is; or nil and why it is none.
function lines.read_head(line)
  local head = json.decode(line)
  local version = type(head) == "table" and head.luws
  local major = type(version) == "string" and version:match "^record/(%d+)"
  if not major then return nil, "it is not a recording of luws: its first line has no version" end
  if major ~= VERSION:match "%d+" then
    return nil, ("it has the format %s, and this luws reads %s"):format(version, VERSION)
  end
  return head
end

return lines
