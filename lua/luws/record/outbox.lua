--[[
Sends messages until the peer has acknowledged them: at least once, in order, also over a connection that is lost and
opened again, and after a restart, if there is a file. What an acknowledgement is, the program's function says. Each
message has a number (id), which the program can put into it, so that the peer knows those that come twice.

Its rows: out "send" with id and ack "pending" when a message is taken; out "resend" with id when it is sent later than
it was taken (`first`), or once more; "ack" and "drop" with the id when it is done, or too old.
--]]

local _, import = ...
local guard, log = import("guard"), import("log")
local reactor = import("reactor").public
local arguments = import("arguments")
local rows, tap = import("record/rows"), import("record/tap")

local outbox = {}

local Outbox = {}
Outbox.__index = Outbox

local TEXT, BINARY = 1, 2

-- If the connection takes no more, it is tried again after this many seconds at the latest.
local BLOCKED = 1

-- The most bytes that wait by default.
local LIMIT = 1024 * 1024

--- An empty message counts, too.
local function size_of(message) return #message.data + 1 end

--- Appends a message to those that wait.
local function keep(self, message)
  self.pending[#self.pending + 1] = message
  self.size = self.size + size_of(message)
end

--- Removes a message: it is acknowledged, or too old.
local function remove(self, place)
  local message = table.remove(self.pending, place)
  self.size = self.size - size_of(message)
  if place < self.next then self.next = self.next - 1 end
  return message
end

--- Removes what is older than the time to live, whether it was sent or not.
local function expire(self, now)
  local ttl = self.ttl
  if not ttl then return end
  while self.pending[1] and now - self.pending[1].t >= ttl do
    local message = remove(self, 1)
    self.recording:add { drop = message.id, conn = self.conn }
    if self.on_drop then
      local ok, err = guard.free(self.on_drop, message.id, message.data)
      if not ok then log.handler_failed("the on_drop of an outbox raised an error", err) end
    end
  end
end

--- Sends a message. Returns whether it is on its way.
local function transmit(self, here, message)
  local ok, why = tap.send_quietly(self.recording, here, message.opcode, message.data)
  -- After a time-out it is queued in luws, and leaves with what is sent next.
  return ok or why == "send error: timeout"
end

--- Returns after how many seconds something is to be done next; infinity for never.
local function due(self, now, is_open)
  local first, time = self.pending[1], math.huge
  if not first then return time end
  if self.ttl then time = first.t + self.ttl end
  if self.retry and self.next > 1 and first.sent_at then time = math.min(time, first.sent_at + self.retry) end
  if is_open and self.pending[self.next] then time = math.min(time, now + BLOCKED) end
  return math.max(0, time - now)
end

--- Sees to it that flush is called when something is to be done.
local function arm(self, now, is_open)
  if self.timer or self.is_stopped or not self.reactor then return end
  local seconds = due(self, now, is_open)
  if seconds == math.huge then return end
  self.timer = self.reactor.after(seconds, function()
    self.timer = nil
    self:flush()
  end)
end

--- flush(): sends what was not sent yet, or is to be sent again, as far as the connection takes it.
function Outbox:flush()
  local recording = self.recording
  if self.is_flushing or self.is_stopped or recording.player then return end
  self.is_flushing = true
  local now, here = recording:time(), recording.ends[self.conn]
  expire(self, now)
  local first = self.pending[1]
  local is_late = self.retry and self.next > 1 and first and now - (first.sent_at or now) >= self.retry
  if is_late then self.next = 1 end -- in order: those after it, too
  while here and here.is_open and self.pending[self.next] do
    local message = self.pending[self.next]
    if not transmit(self, here, message) then break end
    if message.sent_at or message ~= self.taken then
      recording:add { out = "resend", conn = self.conn, id = message.id, first = not message.sent_at or nil }
    end
    message.sent_at, self.next = now, self.next + 1
  end
  self.is_flushing = false
  arm(self, now, here and here.is_open)
end

--- refuse(self, fields, why): writes down that a message is not taken. Returns nil and why.
local function refuse(self, fields, why)
  fields.ack, fields.error, fields.outside = nil, why, self.recording:is_outside()
  self.recording:add(fields)
  return nil, why
end

--- send(data [, kind]): takes a message, "text" or "binary". Returns its id; or nil and why it is not taken.
function Outbox:send(data, kind)
  arguments.check("send", 1, data, "string")
  if kind ~= nil and kind ~= "text" and kind ~= "binary" then
    error(("bad argument #2 to 'send' ('text' or 'binary' expected, got '%s')"):format(tostring(kind)), 2)
  end
  if self.is_stopped then return nil, "send error: the outbox is stopped" end
  local recording, player = self.recording, self.recording.player
  local expected = player and player:expected()
  local id = expected and expected.id or (recording.store.ids[self.conn] or 0) + 1
  if self.stamp then
    data = self.stamp(data, id)
    if type(data) ~= "string" then error("the stamp of an outbox returns a string, got a " .. type(data), 2) end
  end
  local fields = rows.put_data({ out = "send", conn = self.conn, ack = "pending" }, data, kind == "binary")
  if fields.as then return nil, "send error: a text message must be valid UTF-8" end
  if player then
    if expected and expected.error then fields.ack = nil end
    player:got(fields)
    if expected and expected.error then return nil, expected.error end
    return id
  end
  expire(self, recording:time())
  if self.size + #data + 1 > self.limit then return refuse(self, fields, "send error: buffer full") end
  fields.id, fields.outside = id, recording:is_outside()
  local row = recording:add(fields)
  self.taken = { id = id, data = data, opcode = kind == "binary" and BINARY or TEXT, t = row.t, sent_at = nil }
  keep(self, self.taken)
  self:flush()
  self.taken = nil
  return id
end

--- acknowledge(id): the peer has this message. Returns whether it was still waiting.
function Outbox:acknowledge(id)
  local player = self.recording.player
  if player then return player:was_acknowledged(self.conn, id) end
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

--- stop(): sends nothing more. What waits stays in the rows.
function Outbox:stop()
  self.is_stopped = true
  if self.timer then self.timer:cancel() end
  self.timer = nil
  if self.recording.outboxes[self.conn] == self then self.recording.outboxes[self.conn] = nil end
end

--- came(row, bytes): looks at what has come over the connection.
function Outbox:came(row, bytes)
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

--- Takes the messages that the rows before have left: after a restart, or of the outbox before.
local function resume(self)
  local ids, waiting = {}, self.recording:waiting(self.conn)
  for id in pairs(waiting) do ids[#ids + 1] = id end
  table.sort(ids)
  for _, id in ipairs(ids) do
    local row = waiting[id]
    if row.redacted then
      log.warning("message %d of an outbox cannot be sent again: redact has left nothing of it that is right", id)
    elseif row.data then
      keep(self, { id = id, data = row.data, opcode = row.binary and BINARY or TEXT, t = row.t, sent_at = row.t })
    end
  end
end

--- new(recording, options): makes an outbox, in the place of one that the connection had. Options: conn (the name of
-- the connection), ack (a function of a message's data and its row that returns the id, or a list of ids, that it
-- acknowledges; or nil), stamp (a function of data and id that returns what is sent), limit (bytes), ttl and retry
-- (seconds), on_drop (a function of id and data), reactor (for the timer; false: the program calls flush).
function outbox.new(recording, options)
  local self = setmetatable({
    recording = recording, conn = options.conn, ack = options.ack, stamp = options.stamp,
    limit = options.limit or LIMIT, ttl = options.ttl, retry = options.retry, on_drop = options.on_drop,
    pending = {}, -- in order; those before `next` were sent over this connection
    next = 1, size = 0, is_flushing = false, is_stopped = false,
    taken = nil, -- the message that is being taken
    reactor = options.reactor == nil and reactor or options.reactor, timer = nil,
  }, Outbox)
  if recording.player then return self end -- it only compares
  local before = recording.outboxes[options.conn]
  if before then before:stop() end
  resume(self)
  recording.outboxes[options.conn] = self
  self:flush()
  return self
end

return outbox
