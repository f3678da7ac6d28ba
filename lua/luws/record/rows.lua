--[[
The rows of a recording and of its branches, in order of adding. A row is what a line of the file is, with its number as
`row`. Each has a parent: the row before it, or the one that its field `parent` names (0: none). A branch is named by
its last row, its leaf; a row whose parent is a leaf continues that branch, any other row begins a new one. Rows never
change once they are here.

A Path is the rows from the first to a leaf, as stretches of numbers that follow one another.
--]]

local native, import = ...
local lines, log = import("record/lines"), import("log")

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
  local text, base64 = rawget(row, "text"), rawget(row, "base64")
  if type(text) == "string" then return text end
  return type(base64) == "string" and (native.unbase64(base64)) or nil
end

--- Whether a message was a binary one.
function derived.binary(row) return rawget(row, "base64") ~= nil and rawget(row, "as") ~= "text" end

--- new(fields): makes a row of a table.
function rows.new(fields) return setmetatable(fields, Row) end

-- What the fields of luws's own rows are. Others may be anything.
local TYPES = {
  conn = "string", ["in"] = "string", out = "string", call = "string", text = "string", base64 = "string",
  as = "string", url = "string", protocols = "table", protocol = "string", code = "number", reason = "string",
  clean = "boolean", error = "string", status = "number", outside = "boolean", id = "number", drop = "number",
  number = "number", rtt = "number", missing = "number", lost = "boolean", redacted = "boolean",
  first = "boolean",
}

-- What a row is about: a row has one of these at most.
local ABOUT = { "in", "out", "call", "note" }

-- The fields that the program must not give a call: they say what a row is, and where.
local RESERVED = { "row", "parent", "t", "in", "out", "note", "outside" }

--- reserved(fields): returns the name of a field that a call must not have, or nil.
function rows.reserved(fields)
  for _, name in ipairs(RESERVED) do
    if rawget(fields, name) ~= nil then return name end
  end
end

--- Returns what is wrong with what a row is about, or nil.
local function mistaken_kind(row)
  local kind
  for _, name in ipairs(ABOUT) do
    if rawget(row, name) ~= nil then
      if kind then return ("it has both '%s' and '%s'"):format(kind, name) end
      kind = name
    end
  end
end

--- Returns what is wrong with the fields of a row, or nil.
local function mistaken_field(row)
  for name, value in next, row do
    local kind = TYPES[name]
    if kind and type(value) ~= kind then return ("%s: %s expected, got %s"):format(name, kind, type(value)) end
  end
  local ack, base64 = rawget(row, "ack"), rawget(row, "base64")
  if ack ~= nil and ack ~= "pending" and type(ack) ~= "number" then return "ack: it is not an id" end
  if base64 and not native.unbase64(base64) then return "base64: it is not base64" end
end

--- mistake(row): returns why a table cannot be a row, or nil. The fields of a call are the program's.
function rows.mistake(row)
  local call = rawget(row, "call")
  if call ~= nil and type(call) ~= "string" then return "call: string expected, got " .. type(call) end
  return mistaken_kind(row) or call == nil and mistaken_field(row) or nil
end

--- misplaced(row, number): returns why a value from a file is not the row of this number, or nil.
function rows.misplaced(row, number)
  if type(row) ~= "table" or row[1] ~= nil then return "it is not a row" end
  if row.row ~= number then
    return ("row %d expected, got %s"):format(number, row.row == nil and "none" or tostring(row.row))
  end
  if type(row.t) ~= "number" then return "the row has no time (t)" end
  local parent = row.parent
  if parent ~= nil and (type(parent) ~= "number" or parent % 1 ~= 0 or parent < 0 or parent >= number) then
    return "the row's parent is not a row before it"
  end
  return rows.mistake(row)
end

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

--- Returns the last table in a list whose field is at most this value, or nil. The list is in the order of that field.
local function last_up_to(list, field, value)
  local low, high = 0, #list
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if list[middle][field] <= value then low = middle else high = middle - 1 end
  end
  return list[low]
end

--- place_of(number): returns at which place a row is; nil if it is not in the path.
function Path:place_of(number)
  local part = last_up_to(self, "first", number)
  return part and number <= part.last and part.before + number - part.first + 1 or nil
end

--- number_at(place): returns the number of the row at a place; nil if there is none.
function Path:number_at(place)
  local part = last_up_to(self, "before", place - 1)
  local number = part and part.first + place - part.before - 1
  return number and number >= part.first and number <= part.last and number or nil
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
    forks = {}, -- the rows whose parent is not the row before, in order: { number =, parent = }
    branches = {}, -- { first = row, parent = row, last = row } of each; the first is the recording itself
    branch_of = {}, -- the number of the branch by its last row
    waiting = {}, -- rows that an outbox has taken, and that are not done, by the name of the connection and the id
    ids = {}, -- the newest id of an outbox, by the name of the connection
    failure = nil, -- why what is recorded now is not in the file
  }, Store)
end

-- What a row takes besides its data, in bytes: its table, and the strings and numbers in it. And what a value in a
-- table takes.
local ROW, VALUE = 250, 40

--- Returns about how many bytes a value takes.
local function weight(value)
  if type(value) == "string" then return VALUE + #value end
  if type(value) ~= "table" then return VALUE end
  local sum = VALUE
  for key, field in next, value do sum = sum + weight(key) + weight(field) end
  return sum
end

local function size_of(row)
  if rawget(row, "note") ~= nil or rawget(row, "call") ~= nil then return ROW + weight(row) end
  return ROW + #(rawget(row, "text") or "") + #(rawget(row, "base64") or "")
end

--- Notes which messages of outboxes wait for their acknowledgement.
local function note_outbox(store, row)
  local name, id = row.conn, rawget(row, "id")
  if id and rawget(row, "ack") == "pending" then
    store.ids[name] = math.max(store.ids[name] or 0, id)
    store.waiting[name] = store.waiting[name] or {}
    store.waiting[name][id] = row
  end
  local done = rawget(row, "drop") or rawget(row, "ack")
  if store.waiting[name] and done ~= "pending" then store.waiting[name][done] = nil end
end

--- put(row): takes a row, which has its number and its parent already.
function Store:put(row)
  local number, given = row.row, rawget(row, "parent")
  self[number], self.count = rows.new(row), number
  self.size = self.size + size_of(row)
  if given then self.forks[#self.forks + 1] = { number = number, parent = given } end
  local parent = given or number - 1
  local branch = self.branch_of[parent] or #self.branches + 1
  self.branches[branch] = self.branches[branch] or { first = number, parent = parent }
  self.branches[branch].last = number
  self.branch_of[parent], self.branch_of[number] = nil, branch
  local is_of_outbox = rawget(row, "ack") or rawget(row, "drop")
  if is_of_outbox and row.conn and not rawget(row, "call") then note_outbox(self, row) end
end

--- line(row): returns a row as a line of a file. Of one that is not JSON, only its place is kept, as a file has no
-- gaps; then returns why, too.
function rows.line(row)
  local line, why = lines.line(row)
  if line then return line end
  return lines.line { row = row.row, parent = rawget(row, "parent"), t = row.t, lost = true }, why
end

--- Writes a row, if there is a file.
local function write(store, row)
  local writer = store.writer
  if not writer or writer.failure then return end
  local line, lost = rows.line(row)
  if lost then log.warning("the record %s lacks row %d: %s", store.path, row.row, lost) end
  local ok, why = writer:write(line)
  if ok then return end
  store.failure = why
  log.error("the record %s cannot be written from row %d on: %s; its rows stay in memory", store.path, row.row, why)
end

--- add(fields, parent): adds a row after `parent`. Returns it.
function Store:add(fields, parent)
  local number = self.count + 1
  fields.row, fields.parent = number, parent ~= number - 1 and parent or nil
  self:put(fields)
  write(self, fields)
  return fields
end

--- is_over(): returns whether rows take more memory than they may. Branches need all of them.
function Store:is_over() return self.size > self.most and self.first < self.count and not self.branches[2] end

--- drop(): removes the oldest row from memory.
function Store:drop()
  local row = self[self.first]
  self[self.first], self.first = nil, self.first + 1
  if row then self.size = self.size - size_of(row) end
end

--- path_to(leaf): returns the Path to a row.
function Store:path_to(leaf)
  local parts = {} -- from the last to the first
  while leaf > 0 do
    local fork = last_up_to(self.forks, "number", leaf)
    parts[#parts + 1] = { first = fork and fork.number or 1, last = leaf }
    leaf = fork and fork.parent or 0
  end
  local path, before = {}, 0
  for i = #parts, 1, -1 do
    local part = parts[i]
    part.before = before
    path[#path + 1], before = part, before + part.last - part.first + 1
  end
  return setmetatable(path, Path)
end

--- own(branch): returns the Path to the end of a branch, and the place at which its own rows begin.
function Store:own(branch)
  local known = self.branches[branch]
  local path = self:path_to(known.last)
  return path, path:place_of(math.max(known.first, self.first))
end

return rows
