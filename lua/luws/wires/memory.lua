--[[
A wire without a network: two ends in memory, each of which reads what the other has written. connection.lua has the
contract of wires. Time comes from a virtual clock: a wait lets it pass until something arrives, and runs what is due
meanwhile.

An end can carry a session (`wire`), or be written and read as plain bytes by whoever plays the peer.
--]]

local native = ...

local memory = {}

local End = {}
End.__index = End

--- send(bytes): lets the other end read these bytes.
function End:send(bytes)
  local other = self.other
  local before, at, joined
  repeat -- the collector may run here, and with it a finaliser that sends or receives
    before, at = other.inbox, other.at
    joined = other:peek() .. bytes
  until other.inbox == before and other.at == at
  other.inbox, other.at = joined, 1
  if other.on_input then other.on_input() end
end

--- take(max): returns at most `max` of the bytes that have arrived; "" for none.
function End:take(max)
  local before, at, bytes
  repeat -- as in send
    before, at = self.inbox, self.at
    bytes = before:sub(at, max and at + max - 1 or -1)
  until self.inbox == before and self.at == at
  self.at = at + #bytes
  if self.at > #before then self.inbox, self.at = "", 1 end
  if bytes ~= "" and self.other.on_room then self.other.on_room() end
  return bytes
end

--- waiting(): returns how many bytes have arrived.
function End:waiting() return #self.inbox - self.at + 1 end

--- peek(): returns the bytes that have arrived, which stay.
function End:peek() return self.at == 1 and self.inbox or self.inbox:sub(self.at) end

--- clear(): forgets what has arrived.
function End:clear() self.inbox, self.at = "", 1 end

--- room(): returns how many bytes the other end takes now.
function End:room() return math.max(0, self.other.capacity - self.other:waiting()) end

--- finish([why]): ends the stream in this direction. The other end reads what has arrived, and then gets `why`, or
-- "closed".
function End:finish(why)
  local other = self.other
  other.finished = other.finished or why or "closed"
  if other.on_input then other.on_input() end
end

--- close([why]): ends the stream in both directions: nothing that the other end sends will arrive any more.
function End:close(why)
  self.other.broken = self.other.broken or why or "closed"
  self:finish(why)
end

--- pair(): returns two ends. Fields of each: capacity (how many bytes may wait there to be read), on_input (called when
-- something arrives), on_room (called when the other end has taken something), finished (why nothing more will come),
-- broken (why nothing more can be sent).
function memory.pair()
  -- What has arrived is `inbox`, from the byte at `at` on: large messages are read in small pieces.
  local a = setmetatable({ inbox = "", at = 1, capacity = math.huge }, End)
  local b = setmetatable({ inbox = "", at = 1, capacity = math.huge }, End)
  a.other, b.other = b, a
  return a, b
end

local Wire = { came = 0, lingers = true }
Wire.__index = Wire

-- A finaliser that runs between taking bytes and noting it must not take them, too, nor the next ones (is_at_work).

function Wire:read(max)
  local session, line = self.session, self.line
  self.clock.run()
  if self.is_at_work or native.is_busy(session) then return nil end
  if native.was_interrupted(session) then return nil, "interrupted" end
  if self.closed then return nil, "closed" end
  self.is_at_work = true
  local bytes = line:take(max)
  local count = bytes ~= "" and native.receive_data(session, bytes)
  self.is_at_work = false
  if count then return count, #bytes == max end
  if not line.finished then return nil end
  self.ended = true
  native.receive_end(session)
  return nil, line.finished
end

function Wire:write()
  local session, line = self.session, self.line
  self.clock.run()
  if self.is_at_work or native.is_busy(session) then return nil, "timeout" end
  if self.closed then return nil, "closed" end
  -- As a socket does: what has nothing to write does not learn that it could not.
  if line.broken and native.outgoing(session) == 0 then return true end
  if line.broken then return nil, line.broken end
  self.is_at_work = true
  local bytes = native.peek(session, line:room())
  if bytes ~= "" then
    line:send(bytes)
    native.sent(session, #bytes)
  end
  self.is_at_work = false
  if native.outgoing(session) > 0 then return nil, "timeout" end
  return true
end

function Wire:wait(reading, writing, seconds)
  local line = self.line
  return self.clock.pass(seconds, function()
    return self.closed or reading and (line:waiting() > 0 or line.finished)
      or writing and (line.broken or line:room() > 0) or false
  end)
end

function Wire:watch(f) self.line.on_input, self.line.on_room = f, f end

function Wire:dirty() return self.line:waiting() > 0 or self.line.finished ~= nil and not self.ended end

function Wire:shutdown() self.line:finish() end

function Wire:close()
  if self.closed then return end
  self.closed = true
  self.line:close()
end

function Wire.release() end

--- wire(session, line, clock): returns a wire that carries the session's bytes over this end.
function memory.wire(session, line, clock)
  return setmetatable({ session = session, line = line, clock = clock, closed = false, is_at_work = false }, Wire)
end

--- poller(clock, is_due): returns a poller for the reactor, whose waits let the time of this clock pass. is_due()
-- returns whether anything is to be done.
function memory.poller(clock, is_due)
  return {
    has_edges = true,
    fd = function() return -1 end,
    is_foreign = function() return false end,
    add = function() return nil, "there are no descriptors here" end,
    remove = function() end,
    set_timer = function() end,
    wait = function(seconds) return clock.pass(seconds, is_due) and 0 or nil end,
  }
end

return memory
