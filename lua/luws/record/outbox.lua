--[[
Sends messages until the peer has acknowledged them: at least once, in order, also over a connection that is lost and
opened again, and after a restart, if there is a file. What an acknowledgement is, the program's function says. Each
message has a number (id), which the program can put into it, so that the peer knows those that come twice.

Its rows: out "send" with id and ack "pending" when a message is taken; out "resend" with id when it is sent once more;
"ack" and "drop" with the id when it is done, or too old.
--]]

local _, import = ...
local guard, log = import("guard"), import("log")
local rows, tap = import("record/rows"), import("record/tap")

local outbox = {}

local Outbox = {}
Outbox.__index = Outbox

local TEXT, BINARY = 1, 2

-- The most bytes that wait by default.
local LIMIT = 1024 * 1024

--- An empty message counts, too.
local function size_of(message) return #message.data + 1 end

--- Removes a message: it is acknowledged, or too old.
local function remove(self, place)
  local message = table.remove(self.pending, place)
  self.size = self.size - size_of(message)
  if place < self.next then self.next = self.next - 1 end
  return message
end

--- Removes what is older than the time to live, whether it was sent or not.
local function expire(self)
  local ttl = self.ttl
  if not ttl then return end
  local now = self.recording:time()
  while self.pending[1] and now - self.pending[1].t > ttl do
    local message = remove(self, 1)
    self.recording:add { drop = message.id, conn = self.conn }
    if self.on_drop then
      local ok, err = guard.free(self.on_drop, message.id, message.data)
      if not ok then log.handler_failed("the on_drop of an outbox raised an error", err) end
    end
  end
end

--- flush(): sends what was not sent yet, as far as the connection takes it.
function Outbox:flush()
  local recording = self.recording
  local here = recording.ends[self.conn]
  expire(self)
  if self.is_flushing or recording.player then return end
  self.is_flushing = true
  while here and here.is_open and self.pending[self.next] do
    local message = self.pending[self.next]
    recording.quiet = here
    local called, ok, why = pcall(tap.send, here, message.opcode, message.data)
    recording.quiet = nil
    -- After a time-out it is queued in luws, and leaves with what is sent next.
    if not called or not (ok or why == "send error: timeout") then break end
    if message.was_sent then recording:add { out = "resend", conn = self.conn, id = message.id } end
    message.was_sent, self.next = true, self.next + 1
  end
  self.is_flushing = false
end

--- send(data [, kind]): takes a message, "text" or "binary". Returns its id; or nil and why it is not taken.
function Outbox:send(data, kind)
  if type(data) ~= "string" then
    error(("bad argument #1 to 'send' (string expected, got %s)"):format(type(data)), 2)
  end
  local recording, player = self.recording, self.recording.player
  local expected = player and player:expected()
  local id = expected and expected.id or self.last + 1
  if self.stamp then data = self.stamp(data, id) end
  local fields = rows.put_data({ out = "send", conn = self.conn, ack = "pending" }, data, kind == "binary")
  if fields.as then return nil, "send error: a text message must be valid UTF-8" end
  if player then
    player:got(fields)
    return id
  end
  expire(self)
  if self.size + #data + 1 > self.limit then return nil, "send error: buffer full" end
  self.last, fields.id, fields.outside = id, id, recording:is_outside()
  local row = recording:add(fields)
  local message = { id = id, data = data, opcode = kind == "binary" and BINARY or TEXT, t = row.t, was_sent = false }
  self.pending[#self.pending + 1] = message
  self.size = self.size + size_of(message)
  self:flush()
  return id
end

--- acknowledge(id): the peer has this message. Returns whether it was still waiting.
function Outbox:acknowledge(id)
  for place, message in ipairs(self.pending) do
    if message.id == id then
      remove(self, place)
      self.recording:add { ack = id, conn = self.conn }
      return true
    end
  end
  return false
end

--- count(): returns how many messages wait for their acknowledgement, and how many bytes they have.
function Outbox:count() return #self.pending, self.size end

--- came(row, bytes): looks at what has come over the connection.
local function came(self, row, bytes)
  local kind = row["in"]
  if kind == "open" then
    self.next = 1 -- whatever was not acknowledged may be lost
  elseif kind == "message" then
    local ok, id = guard.free(self.ack, bytes, row)
    if not ok then return log.handler_failed("the ack of an outbox raised an error", id) end
    for _, one in ipairs(type(id) == "table" and id or { id }) do self:acknowledge(one) end
  end
  self:flush()
end

--- Takes the messages that the rows before have left: after a restart.
local function resume(self)
  local waiting, order = {}, {}
  for row in self.recording:rows { conn = self.conn } do
    local id = row.id
    if row.out == "send" and row.ack == "pending" and id then
      waiting[id] = { id = id, data = row.data, opcode = row.binary and BINARY or TEXT, t = row.t, was_sent = true }
      order[#order + 1] = id
      self.last = math.max(self.last, id)
    elseif row.drop or row.ack then
      waiting[row.drop or row.ack] = nil
    end
  end
  for _, id in ipairs(order) do
    local message = waiting[id]
    if message and message.data then
      self.pending[#self.pending + 1] = message
      self.size = self.size + size_of(message)
    end
  end
end

--- new(recording, options): makes an outbox. Options: conn (the name of the connection), ack (a function of a message's
-- data and its row that returns the id, or a list of ids, that it acknowledges; or nil), stamp (a function of data and
-- id that returns what is sent), limit (bytes), ttl (seconds), on_drop (a function of id and data).
function outbox.new(recording, options)
  local self = setmetatable({
    recording = recording, conn = options.conn, ack = options.ack, stamp = options.stamp,
    limit = options.limit or LIMIT, ttl = options.ttl, on_drop = options.on_drop,
    pending = {}, -- in order; those before `next` were sent over this connection
    next = 1, size = 0, last = 0, is_flushing = false,
  }, Outbox)
  resume(self)
  recording:listen(options.conn, function(row, bytes) came(self, row, bytes) end)
  self:flush()
  return self
end

return outbox
