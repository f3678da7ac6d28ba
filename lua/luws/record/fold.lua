--[[
What follows from rows. A fold is a function(state, row) that returns the state after a row; it may change the state
that it is given. A Memo remembers states on the way, so that a state in the middle of a long recording is not far. The
module's own folds: `default` says how connections are, and `combine` has the rules of a tree of states.
--]]

local _, import = ...
local json, log = import("json").public, import("log")

local fold = {}

-- Copies

--- copy(value): returns a copy of a value and of all tables in it.
local function copy(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for key, field in next, value do result[key] = copy(field) end
  return setmetatable(result, getmetatable(value))
end

fold.copy = copy

-- The default fold

local function connection(state, name)
  local conn = state.conns[name]
  if not conn then
    conn = {
      state = "closed", opened = 0, sent = 0, received = 0, bytes_sent = 0, bytes_received = 0,
      -- once they are known: url, protocol, last_in and last_out (times), close, error, rtt
    }
    state.conns[name] = conn
  end
  return conn
end

--- lag(known, rtt): returns what is known of the times of round trips after another one, in seconds: last, smoothed
-- (7/8 of what it was and 1/8 of the new one), minimum, and deviation (as in RFC 6298, 3/4 and 1/4).
function fold.lag(known, rtt)
  if not known then return { last = rtt, smoothed = rtt, minimum = rtt, deviation = rtt / 2, count = 1 } end
  return {
    last = rtt,
    smoothed = known.smoothed * 7 / 8 + rtt / 8,
    minimum = math.min(known.minimum, rtt),
    deviation = known.deviation * 3 / 4 + math.abs(known.smoothed - rtt) / 4,
    count = known.count + 1,
  }
end

local on = { ["in"] = {}, out = {} }

function on.out.open(conn, row)
  conn.state, conn.url, conn.error = row.error == nil and "connecting" or "closed", row.url, row.error or conn.error
end

function on.out.send(conn, row)
  if row.error ~= nil then return end
  conn.sent, conn.bytes_sent = conn.sent + 1, conn.bytes_sent + #(row.data or "")
end

function on.out.close(conn)
  conn.state = "closed"
end

on["in"].open = function(conn, row)
  conn.state, conn.opened, conn.protocol, conn.close, conn.error = "open", conn.opened + 1, row.protocol, nil, nil
end

on["in"].message = function(conn, row)
  conn.received, conn.bytes_received = conn.received + 1, conn.bytes_received + #(row.data or "")
end

on["in"].pong = function(conn, row)
  if row.rtt then conn.rtt = fold.lag(conn.rtt, row.rtt) end
end

on["in"].close = function(conn, row)
  conn.state, conn.error = "closed", row.error
  conn.close = { code = row.code, reason = row.reason, clean = row.clean }
end

on["in"].error = function(conn, row) conn.error = row.error end

--- default(state, row): returns { rows = how many, t = the time of the last one, conns = by name { state, url,
-- protocol, opened, sent, received, bytes_sent, bytes_received, last_in, last_out, close, error, rtt } }.
function fold.default(state, row)
  state = state or { rows = 0, t = 0, conns = {} }
  state.rows, state.t = state.rows + 1, row.t
  local name, dir = row.conn, row.dir
  if name == nil or not dir then return state end
  local conn = connection(state, name)
  conn[dir == "in" and "last_in" or "last_out"] = row.t
  local f = on[dir][row.kind]
  if f then f(conn, row) end
  return state
end

-- The rules of combining

--- DELETE: removes what it is combined with. It survives a file.
fold.DELETE = { ["$delete"] = true }

local function is_delete(value) return type(value) == "table" and rawget(value, "$delete") == true end

--- Returns whether a table is an array: by its mark, or by what is in it; nil if it is empty and has no mark.
local function is_array(value)
  local meta = getmetatable(value)
  local mark = type(meta) == "table" and rawget(meta, "__jsontype")
  if mark then return mark == "array" end
  if next(value) == nil then return nil end
  return value[1] ~= nil
end

local function zero(value)
  local kind = type(value)
  if kind == "number" then return 0 end
  if kind == "string" then return "" end
  if kind == "boolean" then return false end
  if kind == "table" then return is_array(value) and json.array() or {} end
  return nil
end

local combine

local function append(a, b)
  local result = json.array()
  for _, value in ipairs(a) do result[#result + 1] = copy(value) end
  for _, value in ipairs(b) do result[#result + 1] = copy(value) end
  return result
end

local function merge(a, b)
  local result = copy(a)
  for key, value in next, b do result[key] = combine(result[key], value) end
  return result
end

--- combine(a, b): returns what a becomes by b: nil gives the other; json.null the zero of a's type; DELETE nothing;
-- numbers add, arrays append, objects merge, and everything else is replaced. Neither of them changes.
function combine(a, b)
  if b == nil then return copy(a) end
  if is_delete(b) then return nil end
  if b == json.null then
    if a == nil then return b end
    return zero(a)
  end
  if a == nil or a == json.null or type(a) ~= type(b) then return copy(b) end
  if type(a) == "number" then return a + b end
  if type(a) ~= "table" then return b end
  local is_a, is_b = is_array(a), is_array(b)
  if is_a or is_a == nil and is_b then
    if is_b == false then return copy(b) end
    return append(a, b)
  end
  if is_b then return copy(b) end
  return merge(a, b)
end

fold.combine = combine

-- States on the way

local Memo = {}
Memo.__index = Memo

-- A state is remembered after this many rows.
local EVERY = 1000

--- memo(f): returns an empty one for this fold.
function fold.memo(f)
  return setmetatable({ f = f, states = {}, last = 0, state = nil }, Memo)
end

--- Goes on by one row.
local function step(self, state, row)
  local ok, result = pcall(self.f, state, row)
  if ok then return result end
  log.handler_failed("the fold of a record raised an error", result)
  return state
end

local GONE = "the rows before it are not in memory any more"

--- newest(place, row_at): returns the state after so many rows, the newest of the recording; or nil and why it is not
-- known any more. It is the memo's own.
function Memo:newest(place, row_at)
  while self.last < place do
    local at = self.last + 1
    local row = row_at(at)
    if not row then return nil, GONE end
    self.state = step(self, self.state, row)
    self.last = at
    if at % EVERY == 0 then self.states[at] = copy(self.state) end
  end
  return self.state
end

--- at(place, row_at): returns a copy of the state after so many rows; or nil and why it is not known any more.
function Memo:at(place, row_at)
  if place >= self.last then
    local state, why = self:newest(place, row_at)
    return copy(state), why
  end
  local from = place - place % EVERY
  local state = copy(self.states[from])
  for at = from + 1, place do
    local row = row_at(at)
    if not row then return nil, GONE end
    state = step(self, state, row)
  end
  return copy(state)
end

--- forget(place): forgets what only the row at this place goes on from, which is gone.
function Memo:forget(place)
  self.states[place - 1 - (place - 1) % EVERY] = nil
end

--- branch(place): returns another one that shares what comes before a place.
function Memo:branch(place)
  local other = fold.memo(self.f)
  for at, state in next, self.states do
    if at <= place then
      other.states[at] = state
      if at > other.last then other.last, other.state = at, state end
    end
  end
  if place >= self.last then other.last, other.state = self.last, self.state end
  other.state = copy(other.state)
  return other
end

return fold
