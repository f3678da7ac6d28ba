--[[
Keeps the messages that a program sends while its connection is not open, at most `queue` bytes of them, and sends them
in order once it is. Knows nothing of why there is no connection.
--]]

local native, import = ...
local connection, guard, log = import("connection"), import("guard"), import("log")

local CLOSE = native.event_numbers().close

local Outbox = {}
Outbox.__index = Outbox

local outbox = {}

--- new(most): returns an empty one for this many bytes.
function outbox.new(most)
  return setmetatable({ most = most, first = 1, last = 0 }, Outbox)
end

-- Between any two instructions a debug hook can raise an error. So a message is there once `last` says so and until
-- `first` does, and what else there is to know is derived from those.

--- is_empty(): returns whether there is nothing to be sent.
function Outbox:is_empty() return self.first > self.last end

--- size(): returns how many bytes are kept. An empty message counts as one.
function Outbox:size()
  if self:is_empty() then return 0 end
  local first = self[self.first]
  return self[self.last].till - first.till + first.size
end

--- comes_first(state, opcode): returns whether a message has to wait here for the connection, or for those that wait
-- already. open_handler may send before them; so may control frames, once the connection is open.
function Outbox:comes_first(state, opcode)
  if state.phase ~= "open" then return connection.will_open(state) end
  return not (state.is_greeting or self:is_empty()) and (tonumber(opcode) or 0) < CLOSE
end

--- add(opcode, data, validates): takes a message. Returns true, or false and why not.
function Outbox:add(opcode, data, validates)
  if self.most == 0 and self:is_empty() then return false, "not connected" end
  local wrong = validates and native.check_text(opcode, data)
  if wrong then return false, "send error: " .. wrong end
  local size = math.max(1, #data)
  if self:size() + size > self.most then return false, "send error: buffer full" end
  local before = not self:is_empty() and self[self.last].till or 0
  self[self.last + 1] = { opcode = opcode, data = data, size = size, till = before + size }
  self.last = self.last + 1
  return true
end

--- flush(conn, state): sends what is there, as far as the connection takes it. What it does not take now stays; what it
-- can never take would hold up everything after it, and is left out.
function Outbox:flush(conn, state)
  while not self:is_empty() do
    local message = self[self.first]
    local opcode, data = message.opcode, message.data
    local ok, why = native.send_once(state.session, self.first, opcode, data)
    if not ok and state.opening.validate_utf8 and native.check_text(opcode, data) then
      -- validate_utf8 was off when it was taken.
      log.warning("%s: a message of its queue cannot be sent: %s", guard.name(conn), why)
    elseif not ok then
      log.debug("%s takes its queue later: %s", guard.name(conn), why)
      break
    end
    self.first = self.first + 1
    self[self.first - 1] = nil
  end
  connection.write(state)
end

return outbox
