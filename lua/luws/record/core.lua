--[[
What a recording is for its parts: one path through a store of rows, at whose end rows are added. What programs do with
it is in recording.lua.
--]]

local _, import = ...
local guard, log = import("guard"), import("log")
local fold, handlers, lines = import("record/fold"), import("record/handlers"), import("record/lines")
local rows, secrets = import("record/rows"), import("record/secrets")

local core = {}

local Recording = {}
Recording.__index = Recording

--- The class of recordings.
core.Recording = Recording

--- new(store, settings): returns a recording of the rows of a store, which follows no path yet. Settings: fold, redact,
-- options (for connections that handlers open), now (returns the seconds since the beginning).
function core.new(store, settings)
  local self = setmetatable({
    store = store,
    path = store:path_to(0),
    settings = settings,
    fold = settings.fold or fold.default,
    redact = settings.redact,
    now = settings.now,
    options_given = settings.options,
    t = 0, -- the time of the newest row
    depths = setmetatable({}, { __mode = "k" }), -- how many functions of the program are being called, by coroutine
    ends = {}, -- by name
    known = setmetatable({}, { __mode = "k" }), -- Ends by their connection or object
    names = setmetatable({}, { __mode = "k" }), -- names by handler
    lags = {}, -- heartbeats by the name of a connection
    outboxes = {}, -- by the name of a connection
    named = nil, -- handlers as data
    queue = { first = 1, last = 0, is_told = false },
    live = {}, -- what stands for connections that go on after a replay, by name
    quiet = nil, -- the End whose next row is written down elsewhere
    player = nil, -- while it is replayed
    memo = nil,
    random_state = 1,
  }, Recording)
  function self.reader(place) return self:row_at(place) end
  function self.clock() return self.player and self.player.t or self.t end
  self.memo = fold.memo(self.fold)
  return self
end

--- begin(now): from now on it has a clock; now() returns the seconds since the beginning.
function Recording:begin(now)
  self.now, self.settings.now = now, now
  self.random_state = self:first_random()
end

--- follow(leaf): from now on it is the path to this row.
function Recording:follow(leaf)
  local path = self.store:path_to(leaf)
  if self.store.branches[2] then self.memo = fold.memo(self.fold) end
  self.path = path
  local last = self:row_at(path:count())
  self.t = last and last.t or 0
  self.random_state = self:first_random()
end

--- first_random(): returns the state with which the generator of numbers begins (Park and Miller's).
function Recording:first_random()
  local seed = self.store.head and tonumber(self.store.head.seed) or 0
  return math.floor(seed) % 2147483646 + 1
end

--- row_at(place): returns the row at a place of the path; nil if there is none, or not in memory.
function Recording:row_at(place)
  local number = self.path:number_at(place)
  return number and self.store[number]
end

--- time(): returns the seconds since the beginning, at least the time of the last row.
function Recording:time()
  return math.max(self.t, math.floor(self.now() * 1e6 + 0.5) / 1e6)
end

local MAIN = {}

--- is_outside(): returns whether no function of the program's is being called here; nil for false.
function Recording:is_outside() return not self.depths[guard.running() or MAIN] or nil end

--- enter(): a function of the program's is called from here. Returns what leave has to be given once it is over.
function Recording:enter()
  local thread = guard.running() or MAIN
  local before = self.depths[thread]
  self.depths[thread] = (before or 0) + 1
  return thread, before
end

function Recording:leave(thread, before) self.depths[thread] = before end

-- What is left of a row whose redaction has failed.
local BARE = {
  "conn", "in", "out", "call", "code", "clean", "status", "outside", "id", "ack", "drop", "number", "rtt", "missing",
}

-- What redact cannot change: what a row is about.
local FIXED = { "conn", "in", "out", "call", "outside", "id", "ack", "drop" }

--- Returns the fields of a row as the program's redact leaves them; or nil and why it has failed.
local function redacted(redact, fields)
  local before, given = fields.text or fields.base64, {}
  for key, value in next, fields do given[key] = value end
  local ok, result = guard.free(redact, rows.new(given))
  if not ok then return nil, result end
  local kept = {}
  for key, value in next, type(result) == "table" and result or given do kept[key] = value end
  for _, name in ipairs(FIXED) do kept[name] = fields[name] end
  kept.row, kept.parent, kept.t = nil, nil, nil
  if kept.ack == "pending" and (kept.text or kept.base64) ~= before then kept.redacted = true end
  local text, why = lines.line(kept)
  local wrong = not text and why or rows.mistake(kept)
  if wrong then return nil, "it has made a row that cannot be one: " .. wrong end
  return kept
end

--- kept(fields): returns the fields of a row as they are to be kept: without credentials, and as redact leaves them.
function Recording:kept(fields)
  fields = secrets.row(fields)
  if not self.redact then return fields end
  local kept, why = redacted(self.redact, fields)
  if kept then return kept end
  log.handler_failed("the redact of a record raised an error", why)
  kept = { note = fields.note ~= nil and secrets.HIDDEN or nil, redacted = fields.ack == "pending" or nil }
  for _, name in ipairs(BARE) do kept[name] = fields[name] end
  return kept
end

--- Drops what takes more memory than it may; the state after it stays known.
local function trim(self)
  local store = self.store
  while store:is_over() do
    self.memo:newest(self.path:count(), self.reader)
    self.memo:forget(store.first)
    store:drop()
  end
end

--- take(row): takes the next row of a file.
function Recording:take(row)
  self.store:put(row)
  self.path:add(row.row)
  trim(self)
end

--- add(fields [, t]): adds a row, for now or for that time. Returns it.
function Recording:add(fields, t)
  t = t or self:time()
  fields = self:kept(fields)
  self.t = math.max(self.t, t) -- redact may have added another one
  fields.t = self.t
  local row = self.store:add(fields, self.path:leaf())
  self.path:add(row.row)
  trim(self)
  return row
end

--- came(fields, bytes): adds a row for what came in, and tells those who are to know. `bytes` are the data as
-- they were before redact had them.
function Recording:came(fields, bytes)
  local pulse = fields["in"] == "pong" and self.lags[fields.conn]
  if pulse then fields.rtt = pulse:pong(bytes) end
  local row = self:add(fields)
  self:tell(row)
  local box = self.outboxes[row.conn]
  if box then box:came(row, bytes) end
end

--- waiting(name): returns the rows of messages that wait for their acknowledgement on a connection, by their ids.
function Recording:waiting(name)
  local store, found = self.store, {}
  if not store.branches[2] then return store.waiting[name] or found end
  for place = 1, self.path:count() do -- the store knows those of all branches
    local row = self:row_at(place)
    local id = row.conn == name and (rawget(row, "ack") == "pending" and row.id or row.drop or row.ack)
    if id then found[id] = rawget(row, "ack") == "pending" and row or nil end
  end
  return found
end

--- tell(row): has the handlers as data called for it.
function Recording:tell(row) handlers.tell(self, row) end

--- has_handlers(): returns whether there are any.
function Recording:has_handlers() return self.named ~= nil end

--- state_at(row): returns the state after a row, for a handler.
function Recording:state_at(row)
  local place = row.row and self.path:place_of(row.row) or self.player and self.player.place - 1
  local memo = self.player and self.player.memo or self.memo
  place = place or self.path:count()
  if place >= memo.last then return memo:newest(place, self.reader) end
  return (memo:at(place, self.reader))
end

return core
