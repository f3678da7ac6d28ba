--[[
The rows of a recording and of its branches, in order of adding. A row is what a line of the file is, with its number as
`row`. Each has a parent: the row before it, or the one that its field `parent` names (0: none). A branch is named by
its last row, its leaf; a row whose parent is a leaf continues that branch, any other row begins a new one. Rows never
change once they are here.

A Path is the rows from the first to a leaf, as stretches of numbers that follow one another.
--]]

local native, import = ...
local file, log = import("record/file"), import("log")

local rows = {}

-- Rows

--- What can be asked of a row besides its fields: dir ("in", "out"), kind ("open", "message", ...), data (a string).
local derived = {}
local Row = {}

function Row.__index(row, key)
  local f = derived[key]
  if f then return f(row) end
end

function derived.dir(row) return rawget(row, "in") and "in" or rawget(row, "out") and "out" or nil end

function derived.kind(row)
  local kind = rawget(row, "in") or rawget(row, "out")
  if kind ~= nil then return kind end
  for _, name in ipairs { "call", "note", "ack", "drop" } do
    if rawget(row, name) ~= nil then return name end
  end
end

function derived.data(row)
  local text = rawget(row, "text")
  if text ~= nil then return text end
  local base64 = rawget(row, "base64")
  return type(base64) == "string" and (native.unbase64(base64)) or nil
end

--- Whether a message was a binary one.
function derived.binary(row) return rawget(row, "base64") ~= nil and rawget(row, "as") ~= "text" end

--- new(fields): makes a row of a table.
function rows.new(fields) return setmetatable(fields, Row) end

--- put_data(row, data, is_binary): gives a row the data of a message or of a control frame.
function rows.put_data(row, data, is_binary)
  if is_binary then
    row.base64 = native.base64(data)
  elseif native.check_text(1, data) then
    row.base64, row.as = native.base64(data), "text"
  else
    row.text = data
  end
  return row
end

--- close(name, payload): returns the fields of a row for a close frame that was sent.
function rows.close(name, payload)
  local high, low = payload:byte(1, 2)
  local code = low and high * 256 + low or 1005
  return { out = "close", conn = name, code = code, reason = payload:sub(3) }
end

local BINARY, CLOSE = 2, 8
local KINDS = { [BINARY] = "send", [9] = "ping", [10] = "pong" }

--- sent(name, opcode, bytes): returns the fields of a row for something that was sent.
function rows.sent(name, opcode, bytes)
  if opcode == CLOSE then return rows.close(name, bytes) end
  return rows.put_data({ out = KINDS[opcode] or "send", conn = name }, bytes, opcode == BINARY)
end

-- Paths

local Path = {}
Path.__index = Path

--- count(): returns how many rows it has.
function Path:count()
  local last = self[#self]
  return last and last.before + last.last - last.first + 1 or 0
end

--- leaf(): returns the number of its last row; 0 if there is none.
function Path:leaf()
  local last = self[#self]
  return last and last.last or 0
end

--- add(number): appends a row.
function Path:add(number)
  local last = self[#self]
  if last and last.last + 1 == number then
    last.last = number
  else
    self[#self + 1] = { first = number, last = number, before = self:count() }
  end
end

--- place_of(number): returns at which place a row is; nil if it is not in the path.
function Path:place_of(number)
  for i = #self, 1, -1 do
    local part = self[i]
    if number >= part.first and number <= part.last then return part.before + number - part.first + 1 end
  end
end

--- number_at(place): returns the number of the row at a place; nil if there is none.
function Path:number_at(place)
  for i = #self, 1, -1 do
    local part = self[i]
    if place > part.before then
      local number = part.first + place - part.before - 1
      return number <= part.last and number or nil
    end
  end
end

-- What the rows of a recording and all of its branches are in

local Store = {}
Store.__index = Store

--- new(head, writer): returns an empty one, with what its rows are written to, if anything.
function rows.store(head, writer)
  return setmetatable({
    head = head,
    writer = writer,
    path = nil, -- of the file, for messages
    count = 0, -- the number of the newest row
    first = 1, -- of the oldest row that is still in memory
    size = 0, -- about how many bytes the rows in memory take
    most = math.huge, -- the most that they may take
    forks = {}, -- the rows whose parent is not the row before, in order
    leaves = {}, -- the last row of each branch; the first is the recording itself
    branch_of = {}, -- the number of the branch by its leaf
    failure = nil, -- why what is recorded now is not in the file
  }, Store)
end

-- What a row takes besides its data, in bytes: its table, and the strings and numbers in it.
local ROW = 250

local function size_of(row)
  return ROW + #(rawget(row, "text") or "") + #(rawget(row, "base64") or "")
end

--- put(row): takes a row, which has its number and its parent already.
function Store:put(row)
  local number, given = row.row, rawget(row, "parent")
  self[number], self.count = rows.new(row), number
  self.size = self.size + size_of(row)
  if given then self.forks[#self.forks + 1] = { number, given } end
  local parent = given or number - 1
  local branch = self.branch_of[parent] or #self.leaves + 1
  self.branch_of[parent] = nil
  self.branch_of[number], self.leaves[branch] = branch, number
end

--- take(list): takes the rows of a file. Returns self.
function Store:take(list)
  for _, row in ipairs(list) do self:put(row) end
  return self
end

--- Writes a row, if there is a file.
local function write(store, row)
  local writer = store.writer
  if not writer or writer.failure then return end
  local line, why = file.line(row)
  local ok
  if line then ok, why = writer:write(line) end
  if ok then return end
  if not line then return log.warning("the record %s lacks row %d: %s", store.path, row.row, why) end
  store.failure = why
  log.error("the record %s cannot be written from row %d on: %s; its rows stay in memory", store.path, row.row, why)
end

--- add(fields, parent): adds a row after `parent`. Returns it.
function Store:add(fields, parent)
  local number = self.count + 1
  fields.row = number
  if parent ~= number - 1 then fields.parent = parent end
  self:put(fields)
  write(self, fields)
  return fields
end

--- is_over(): returns whether rows take more memory than they may. Branches need all of them.
function Store:is_over() return self.size > self.most and self.first < self.count and #self.leaves == 1 end

--- drop(): removes the oldest row from memory.
function Store:drop()
  local row = self[self.first]
  self[self.first], self.first = nil, self.first + 1
  if row then self.size = self.size - size_of(row) end
end

--- path_to(leaf): returns the Path to a row.
function Store:path_to(leaf)
  local parts, fork = {}, #self.forks
  while leaf > 0 do
    while fork > 0 and self.forks[fork][1] > leaf do fork = fork - 1 end
    local start, parent = 1, 0
    if fork > 0 then start, parent = self.forks[fork][1], self.forks[fork][2] end
    table.insert(parts, 1, { first = start, last = leaf })
    leaf = parent
  end
  local before = 0
  for _, part in ipairs(parts) do
    part.before = before
    before = before + part.last - part.first + 1
  end
  return setmetatable(parts, Path)
end

return rows
