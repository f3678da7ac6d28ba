--[[
The files of recordings: JSON lines, a head and then a row on each. What may become of a file while it is written (the
program is killed, the disk is full) is dealt with here. It knows nothing of what rows mean, but for the order in which
their fields are written.
--]]

local _, import = ...
local json = import("json").public

local file = {}

-- The version of the format. A reader takes every file with the same first number.
local VERSION, MAJOR = "record/1", 1

-- Fields that come first in a line, so that it is easily read. The others follow by their names.
local FIRST = { "row", "parent", "t", "conn", "out", "in", "call", "note", "ack", "drop" }
local IS_FIRST = {}
for _, name in ipairs(FIRST) do IS_FIRST[name] = true end

-- Lines that are decoded together.
local TOGETHER = 256

local NOT_THERE = 2 -- ENOENT

local io = rawget(package.loaded._G or _G, "io") or {}
local os = rawget(package.loaded._G or _G, "os") or {}

--- Returns a text without bytes that are not ASCII, for one that is not UTF-8.
local function plain(text)
  if json.encode(text) then return text end
  return (text:gsub("[\128-\255]", "?"))
end

--- encoded(value): returns the JSON of a value; strings that are not UTF-8 lose what is not ASCII.
local function encoded(value)
  local text, why = json.encode(value)
  if not text and type(value) == "string" then return json.encode(plain(value)) end
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
function file.line(row)
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

--- head(settings): returns the head of a new file, a table. `settings` has created, clock and seed.
function file.head(settings)
  return { luws = VERSION, created = settings.created, clock = settings.clock, seed = settings.seed }
end

local function head_line(head)
  return assert(json.encode(head)) .. "\n"
end

--- Returns the head that a line is; or nil and why it is none.
local function read_head(line)
  local head = json.decode(line)
  local version = type(head) == "table" and head.luws
  local major = type(version) == "string" and version:match "^record/(%d+)"
  if not major then return nil, "it is not a recording of luws: its first line has no version" end
  if tonumber(major) ~= MAJOR then
    return nil, ("it has the format %s, and this luws reads %s"):format(version, VERSION)
  end
  return head
end

--- Returns why a value that a line has is not the row of this number; or nil.
local function mistake(row, number)
  if type(row) ~= "table" or row[1] ~= nil then return "it is not a row" end
  if row.row ~= number then
    return ("row %d expected, got %s"):format(number, row.row == nil and "none" or tostring(row.row))
  end
  if type(row.t) ~= "number" then return "the row has no time (t)" end
  local parent = row.parent
  if parent ~= nil and (type(parent) ~= "number" or parent % 1 ~= 0 or parent < 0 or parent >= number) then
    return "the row's parent is not a row before it"
  end
end

--- Returns the values of lines first to last, or nil if one of them is not JSON.
local function decode_together(lines, first, last)
  local values = json.decode("[" .. table.concat(lines, ",", first, last) .. "]")
  return values and #values == last - first + 1 and values or nil
end

--- Returns the lines of a text, and what comes after the last end of a line, if anything does.
local function split(text)
  local lines, at = {}, 1
  while true do
    local last = text:find("\n", at, true)
    if not last then break end
    lines[#lines + 1] = text:sub(at, last - 1)
    at = last + 1
  end
  return lines, at <= #text and text:sub(at) or nil
end

--- Reads rows from lines. With `skips`, those that are damaged are left out, and the numbers of rows only have to grow.
-- Returns the rows and how many were left out; or nil and what is wrong.
local function read_rows(lines, skips)
  local rows, left_out = {}, 0
  for first = 2, #lines, TOGETHER do
    local last = math.min(first + TOGETHER - 1, #lines)
    local values = decode_together(lines, first, last)
    for at = first, last do
      local row, why
      if values then row = values[at - first + 1] else row, why = json.decode(lines[at]) end
      local number = #rows + 1
      why = why or mistake(row, number)
      if not why then
        rows[number] = row
      elseif skips then
        left_out = left_out + 1
        -- Later rows have their own numbers: the ones that are lost leave gaps, which are closed by empty rows.
        if type(row) == "table" and type(row.row) == "number" and row.row > number and not mistake(row, row.row) then
          left_out = left_out - 1
          for gap = number, row.row - 1 do rows[gap] = { row = gap, t = row.t, lost = true } end
          rows[row.row] = row
        end
      else
        return nil, ("line %d: %s"):format(at, why)
      end
    end
  end
  return rows, left_out
end

--- parse(text, skips): returns the head and the rows that a text has, and a warning if something is not kept; or nil
-- and what is wrong with it.
function file.parse(text, skips)
  local lines, rest = split(text)
  local warning
  if rest then
    if json.decode(rest) then
      lines[#lines + 1] = rest
    elseif #lines > 0 then
      warning = ("its last line is cut off and is left out (%d bytes)"):format(#rest)
    end
  end
  if #lines == 0 then return nil, rest and "its first line is cut off" or "it is empty" end
  local head, why = read_head(lines[1])
  if not head then return nil, why end
  local rows, left_out = read_rows(lines, skips)
  if not rows then return nil, left_out end
  if left_out > 0 then
    local more = ("damaged lines are left out: %d"):format(left_out)
    warning = warning and warning .. "; " .. more or more
  end
  return head, rows, warning
end

--- Returns a system's message about a file without the name of the file.
local function reason(path, why)
  why = tostring(why)
  return why:sub(1, #path + 2) == path .. ": " and why:sub(#path + 3) or why
end

--- read(path): returns the text of a file, "" if there is none; or nil and why it cannot be read. A device, which has
-- no size, is empty.
function file.read(path)
  if not io.open then return nil, "files cannot be read here" end
  local handle, why, code = io.open(path, "rb")
  if not handle and code == NOT_THERE then return "", "there is no such file" end
  if not handle then return nil, reason(path, why) end
  local text, failure = handle:read(0)
  if text and handle:seek "end" > 0 and handle:seek "set" then text, failure = handle:read "*a" end
  handle:close()
  if failure then return nil, tostring(failure) end
  return text or ""
end

local Writer = {}
Writer.__index = Writer

--- write(line): writes a line. Returns true; or nil and why it is not in the file. After a failure nothing more is
-- written, for the line before may be cut.
function Writer:write(line)
  if self.failure then return nil, self.failure end
  local ok, why = self.handle:write(line)
  if ok and self.flushes then ok, why = self.handle:flush() end
  if ok then return true end
  self.failure = tostring(why)
  return nil, self.failure
end

-- Where LuaJIT has compiled a write that fails, it writes once more, and that may succeed: the failure is not seen.
local jit = rawget(package.loaded._G or _G, "jit")
if jit then jit.off(Writer.write) end

--- close(): writes what is left. Returns true; or nil and why not all of it is in the file.
function Writer:close()
  local handle = self.handle
  self.handle = nil
  if not handle then return not self.failure or nil, self.failure end
  local flushed, why = handle:flush()
  local closed, failure = handle:close()
  if not (flushed and closed) then self.failure = self.failure or tostring(why or failure) end
  if self.failure then return nil, self.failure end
  return true
end

local function open(path, mode, flushes)
  if not io.open then return nil, "files cannot be written here" end
  local handle, why = io.open(path, mode)
  if not handle then return nil, reason(path, why) end
  return setmetatable({ handle = handle, flushes = flushes }, Writer)
end

--- create(path, head, flushes): returns a writer for a new file with this head; or nil and why not. `flushes`: each
-- line leaves at once.
function file.create(path, head, flushes)
  local writer, why = open(path, "wb", flushes)
  if not writer then return nil, why end
  local ok
  ok, why = writer:write(head_line(head))
  if not ok then
    writer:close()
    return nil, why
  end
  return writer
end

--- append(path, flushes): returns a writer that goes on with a file.
function file.append(path, flushes) return open(path, "ab", flushes) end

--- replace(path, head, rows): rewrites a whole file. Whatever happens, there is either the old one or the new one.
-- Returns true; or nil and why not.
function file.replace(path, head, rows)
  local beside = path .. ".new"
  local writer, why = file.create(beside, head, false)
  local ok = writer ~= nil
  for _, row in ipairs(rows) do
    if not ok then break end
    local line
    line, why = file.line(row)
    if not line then ok = false else ok, why = writer:write(line) end
  end
  if writer then
    local closed, failure = writer:close()
    ok, why = ok and closed, why or failure
  end
  if ok then ok, why = os.rename(beside, path) end
  if ok then return true end
  if os.remove then os.remove(beside) end
  return nil, tostring(why)
end

return file
