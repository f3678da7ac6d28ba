--[[
Reads the files of recordings, row by row: they may be larger than the memory. A program that was killed leaves a last
line that is cut off; other lines may be damaged.
--]]

local _, import = ...
local json = import("json").public
local lines = import("record/lines")

local reader = {}

-- Lines that are decoded together.
local TOGETHER = 256

local NOT_THERE = 2 -- ENOENT

local io = rawget(package.loaded._G or _G, "io") or {}

--- Returns the values of some lines, or nil if one of them is not JSON.
local function decode_together(some)
  local values = json.decode("[" .. table.concat(some, ",") .. "]")
  return values and #values == #some and values or nil
end

-- How much is read at a time, in bytes.
local BLOCK = 1024 * 1024

--- Returns a function that returns the next line of a file, and whether its end is there; nil at the end of the file,
-- or nil, false and why it cannot be read.
local function lines_of(handle)
  local block, at, begun = "", 1, {}
  return function()
    while true do
      local last = block:find("\n", at, true)
      if last then
        local line = block:sub(at, last - 1)
        at = last + 1
        if not begun[1] then return line, true end
        line, begun = table.concat(begun) .. line, {}
        return line, true
      end
      local why
      begun[#begun + 1] = block:sub(at)
      block, why = handle:read(BLOCK)
      at = 1
      if not block then
        local rest = table.concat(begun)
        block, begun = "", {}
        if why then return nil, false, why end
        return rest ~= "" and rest or nil, false
      end
    end
  end
end

-- How many rows may be lost where lines are damaged: a row whose number is wrong could stand for any number.
local MOST_LOST = 100000

--- Takes a row; returns why it cannot be taken.
local function take(self, row, why)
  why = why or self.check(row, self.count + 1)
  if why then return why end
  self.count = self.count + 1
  self.take(row)
end

--- Takes a row that may come after lost ones: those leave empty rows. Returns why it cannot be taken.
local function take_later(self, row, why)
  local number = type(row) == "table" and row.row
  local is_later = type(number) == "number" and number % 1 == 0 and number > self.count + 1
  if why or not is_later then return why or "it is not a later row" end
  local gap = number - self.count - 1
  why = self.lost + gap > MOST_LOST and "too many rows are missing before it" or self.check(row, number)
  if why then return why end
  for lost = self.count + 1, number - 1 do self.take { row = lost, t = row.t, lost = true } end
  self.count, self.lost = number, self.lost + gap
  self.take(row)
end

--- Takes the rows of some lines; the first is the one with this number in the file. Returns true; or nil and what is
-- wrong with which line.
local function take_lines(self, some, first)
  local values = decode_together(some)
  for i = 1, #some do
    local row, why
    if values then row = values[i] else row, why = json.decode(some[i]) end
    local wrong = take(self, row, why)
    if wrong and not self.skips then return nil, ("line %d: %s"):format(first + i - 1, wrong) end
    if wrong and take_later(self, row, why) then self.left_out = self.left_out + 1 end
  end
  return true
end

--- Reads all rows after the head. Returns the size of what is good, and whether the last line has its end; or nil and
-- what is wrong.
local function take_rows(self, next_line, size)
  local number, has_end = 2, true
  repeat
    local some = {}
    local line, is_whole, why
    repeat
      line, is_whole, why = next_line()
      if why then return nil, why end
      if line and not is_whole and not json.decode(line) then
        self.cut_off = #line
        line = nil
      end
      if line then
        some[#some + 1], has_end = line, is_whole
        size = size + #line + (is_whole and 1 or 0)
      end
    until not line or #some == TOGETHER
    local ok, wrong = take_lines(self, some, number)
    if not ok then return nil, wrong end
    number = number + #some
  until not line
  return size, has_end
end

--- Returns what was left out of a file, for people; nil for nothing.
local function warning_of(self)
  local cut = self.cut_off and ("its last line is cut off and is left out (%d bytes)"):format(self.cut_off)
  local damaged = self.left_out > 0 and ("damaged lines are left out: %d"):format(self.left_out)
  return cut and damaged and cut .. "; " .. damaged or cut or damaged or nil
end

--- reason(path, why): returns a system's message about a file without the name of the file.
function reader.reason(path, why)
  why = tostring(why)
  return why:sub(1, #path + 2) == path .. ": " and why:sub(#path + 3) or why
end

--- open(path): returns a handle, and the size of the file; nil if there is none; or nil and why it cannot be
-- read. A device, which has no size, is empty.
function reader.open(path)
  if not io.open then return nil, "files cannot be read here" end
  local handle, why, code = io.open(path, "rb")
  if not handle then return nil, code ~= NOT_THERE and reader.reason(path, why) or nil end
  local ok, failure = handle:read(0) -- nil without a failure: it is empty
  local size = ok and handle:seek "end" or 0
  if size > 0 and not failure then failure = select(2, handle:seek "set") end
  if failure then
    handle:close()
    return nil, tostring(failure)
  end
  return handle, size
end

--- size(path): returns the size of a file, 0 if there is none; or nil and why it cannot be read.
function reader.size(path)
  local handle, size = reader.open(path)
  if not handle then return not size and 0 or nil, size end
  handle:close()
  return size
end

--- read(path, into): reads a file row by row. `into` has check(row, number), which returns why a value cannot be the
-- row of that number, and take(row); and `skips`: lines that are damaged are left out. Returns the head, and a table
-- with warning (if something is left out), size (of what is good, in bytes), is_cut and has_end (of the last line); or
-- nil and what is wrong.
function reader.read(path, into)
  local handle, size = reader.open(path)
  if not handle then return nil, size or "there is no such file" end
  local next_line = lines_of(handle)
  local self = {
    check = into.check, take = into.take, skips = into.skips, count = 0, lost = 0, left_out = 0, cut_off = nil,
  }
  local function read()
    if size == 0 then return nil, "it is empty" end
    local line, is_whole, why = next_line()
    if not line then return nil, why end
    if not is_whole and not json.decode(line) then return nil, "its first line is cut off" end
    local head
    head, why = lines.read_head(line)
    if not head then return nil, why end
    local good, has_end = take_rows(self, next_line, #line + (is_whole and 1 or 0))
    if not good then return nil, has_end end
    return head, {
      warning = warning_of(self), size = good, is_cut = self.cut_off ~= nil, has_end = is_whole and has_end,
    }
  end
  local head, result = read()
  handle:close()
  return head, result
end

return reader
