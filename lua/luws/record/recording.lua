--[[
A recording: rows at the boundary of a program, and what can be done with them. It is one path through a store, which
may have branches; what is recorded goes on at its end. Its parts: tap writes rows, replay plays them, handlers are told
of them, fold has the state after them.
--]]

local _, import = ...
local guard, log = import("guard"), import("log")
local arguments = import("arguments")
local file, fold, handlers, lag = import("record/file"), import("record/fold"), import("record/handlers"),
  import("record/lag")
local outbox, peer, rerun, rows = import("record/outbox"), import("record/peer"), import("record/rerun"),
  import("record/rows")
local secrets, tap, tree = import("record/secrets"), import("record/tap"), import("record/tree")

local recording = {}

local Recording = {}
Recording.__index = Recording

-- Rows

--- row_at(place): returns the row at a place of the path; nil if there is none, or not in memory.
function Recording:row_at(place)
  local number = self.path:number_at(place)
  return number and self.store[number]
end

--- time(): returns the seconds since the beginning, at least the time of the last row.
function Recording:time()
  return math.max(self.t, math.floor(self.now() * 1e6 + 0.5) / 1e6)
end

function Recording:is_outside() return self.depth == 0 or nil end

--- kept(fields): returns the fields of a row as they are to be kept: without credentials, and as redact leaves them.
function Recording:kept(fields)
  if fields.url then fields.url = secrets.url(fields.url) end
  if fields.note ~= nil then fields.note = secrets.clean(fields.note) end
  local redact = self.redact
  if not redact then return fields end
  local ok, result = guard.free(redact, rows.new(fields))
  if not ok then
    log.handler_failed("the redact of a record raised an error", result)
    fields.text, fields.base64, fields.as, fields.note = nil, nil, nil, fields.note ~= nil and "(hidden)" or nil
  elseif type(result) == "table" then
    fields = setmetatable(result, nil)
  end
  return fields
end

--- add(fields [, t]): adds a row, for now or for that time. Returns it.
function Recording:add(fields, t)
  self.t = t or self:time()
  fields = self:kept(fields)
  fields.t = self.t
  local store = self.store
  local row = store:add(fields, self.path:leaf())
  self.path:add(row.row)
  while store:is_over() do
    self.memo:newest(self.path:count(), self.reader)
    self.memo:forget(store.first)
    store:drop()
  end
  return row
end

--- came(fields, bytes): adds a row for what came in, and tells those who are to know. `bytes` are the data as
-- they were before redact had them.
function Recording:came(fields, bytes)
  local pulse = fields["in"] == "pong" and self.lags[fields.conn]
  if pulse then fields.rtt = pulse:pong(bytes) end
  local row = self:add(fields)
  self:tell(row)
  for _, listener in ipairs(self.listeners[row.conn] or {}) do listener(row, bytes) end
end

--- tell(row): has the handlers as data called for it.
function Recording:tell(row) handlers.tell(self, row) end

--- has_handlers(): returns whether there are any.
function Recording:has_handlers() return self.named ~= nil end

--- listen(name, f): has f(row, bytes) called for all that comes in over a connection.
function Recording:listen(name, f)
  self.listeners[name] = self.listeners[name] or {}
  table.insert(self.listeners[name], f)
end

--- state_at(row): returns the state after a row, for a handler.
function Recording:state_at(row)
  local place = row.row and self.path:place_of(row.row) or self.player and self.player.place - 1
  local memo = self.player and self.player.memo or self.memo
  place = place or self.path:count()
  if place >= memo.last then return memo:newest(place, self.reader) end
  return (memo:at(place, self.reader))
end

-- For programs

--- Raises an error at the caller of who calls this if messages are to go where they cannot be seen.
local function check_sink(options)
  if not options or options.sink == nil then return end
  error("bad option 'sink' (messages that go to a sink cannot be recorded)", 3)
end

--- handler(name, f): returns a message handler for wsopen that records, and calls f.
function Recording:handler(name, f)
  arguments.check("handler", 1, name, "string")
  arguments.callable("handler", 2, f)
  return tap.handler(self, name, f)
end

--- options(given): returns a copy of options for wsopen with which everything is recorded.
function Recording:options(given)
  if given ~= nil then arguments.check("options", 1, given, "table") end
  check_sink(given)
  return tap.options(self, given)
end

--- wsopen(name, url, f [, options]): opens a connection that is recorded. Returns what luws.wsopen returns.
function Recording:wsopen(name, url, f, options)
  arguments.check("wsopen", 1, name, "string")
  arguments.check("wsopen", 2, url, "string")
  arguments.callable("wsopen", 3, f)
  if options ~= nil then arguments.check("wsopen", 4, options, "table") end
  check_sink(options)
  if self.player then return self.player:opened(tap.open_row(name, url, options), f) end
  return tap.wsopen(self, name, url, f, options)
end

--- attach(ws [, name]): records a WebSocket object from now on. Returns it.
function Recording:attach(ws, name)
  local is_object = type(ws) == "table" and pcall(function() return ws.addEventListener and ws.readyState + 0 end)
  if not is_object then
    error(("bad argument #1 to 'attach' (a WebSocket object expected, got %s)"):format(type(ws)), 2)
  end
  if name == nil then
    local number = 1
    while self.ends["ws" .. number] do number = number + 1 end
    name = "ws" .. number
  end
  arguments.check("attach", 2, name, "string")
  return tap.attach(self, ws, name)
end

--- on(name, f): has f(state, row) called for rows of this kind, or for calls of this name; it returns effects.
function Recording:on(name, f)
  arguments.check("on", 1, name, "string")
  if f == nil then arguments.check("on", 2, f, "function") end
  arguments.callable("on", 2, f)
  handlers.on(self, name, f)
  return self
end

--- call(name [, fields]): adds a row that the handlers of this name are told.
function Recording:call(name, fields)
  arguments.check("call", 1, name, "string")
  if fields ~= nil then arguments.check("call", 2, fields, "table") end
  local row = {}
  for key, value in pairs(fields or {}) do row[key] = value end
  row.call, row.outside = name, self:is_outside()
  local text, why = file.line(row)
  if not text then error(("bad argument #2 to 'call' (%s)"):format(why), 2) end
  if self.player then
    self.player:got(row)
    return self:tell(rows.new(row))
  end
  self:tell(self:add(row))
end

--- note(value): records a value that the program has from elsewhere, or that a function returns. Returns it. In a
-- replay, returns what was recorded, and calls nothing.
function Recording:note(value)
  if self.player then return self.player:note() end
  if type(value) == "function" then value = value() end
  if value == nil then value = import("json").public.null end
  local text, why = file.line { note = value }
  if not text then error(("bad argument #1 to 'note' (%s)"):format(why), 2) end
  self:tell(self:add { note = fold.copy(value), outside = self:is_outside() })
  return value
end

--- first_random(): returns the state with which the generator of numbers begins (Park and Miller's).
function Recording:first_random() return math.floor(tonumber(self.store.head.seed) or 0) % 2147483646 + 1 end

--- random([from [, to]]): like math.random, from the seed of the recording.
function Recording:random(from, to)
  self.random_state = self.random_state * 16807 % 2147483647
  local number = self.random_state / 2147483647
  if from == nil then return number end
  if to == nil then from, to = 1, from end
  arguments.check("random", 1, from, "number")
  arguments.check("random", 2, to, "number")
  return from + math.floor(number * (to - from + 1))
end

--- rows([filter]): returns an iterator over the rows, in order. Filter: conn, dir, kind, from and to (numbers of rows).
function Recording:rows(filter)
  if filter ~= nil then
    arguments.options("rows", filter, {
      conn = "string", dir = "string", kind = "string", from = "number", to = "number",
    })
  end
  filter = filter or {}
  local place, conn, dir, kind, from, to = 0, filter.conn, filter.dir, filter.kind, filter.from, filter.to
  while self.path:number_at(place + 1) and not self:row_at(place + 1) do place = place + 1 end -- not in memory
  return function()
    while true do
      place = place + 1
      local row = self:row_at(place)
      if not row or to and row.row > to then return nil end
      if (not conn or row.conn == conn) and (not dir or row.dir == dir) and (not kind or row.kind == kind)
        and (not from or row.row >= from) then
        return row
      end
    end
  end
end

--- place(self, name, n): returns the place of a row by its number; of the last row of a branch, if it is negative; or
-- nil and why there is none.
local function place_of(self, n)
  if n == nil then return self.path:count(), self.path end
  if type(n) ~= "number" or n % 1 ~= 0 then return nil, "the number of a row expected, got " .. tostring(n) end
  if n == 0 then return 0, self.path end
  if n < 0 then
    local leaf = self.store.leaves[-n]
    if not leaf then return nil, ("there is no branch %d"):format(-n) end
    local path = self.store:path_to(leaf)
    return path:count(), path
  end
  local place = self.path:place_of(n)
  if place then return place, self.path end
  if n < 1 or n > self.store.count then return nil, ("there is no row %d"):format(n) end
  local path = self.store:path_to(n) -- of another branch
  return path:count(), path
end

--- row(n): returns the row of this number; or nil and why it is not there.
function Recording:row(n)
  local row = type(n) == "number" and self.store[n]
  if row then return row end
  if type(n) == "number" and n >= 1 and n < self.store.first then return nil, "it is not in memory any more" end
  return nil, ("there is no row %s"):format(tostring(n))
end

--- count(): returns how many rows there are.
function Recording:count() return self.path:count() end

--- state([n]): returns the state after row n, or after all rows; or nil and why that is not known.
function Recording:state(n)
  local place, path = place_of(self, n)
  if not place then return nil, path end
  if path == self.path then return self.memo:at(place, self.reader) end
  local store = self.store
  return fold.memo(self.fold):at(place, function(at) return store[path:number_at(at)] end)
end

local function new(store, path, settings)
  local self = setmetatable({
    store = store,
    path = path,
    fold = settings.fold or fold.default,
    redact = settings.redact,
    now = settings.now, -- returns the seconds since the beginning
    settings = settings,
    options_given = settings.options, -- for connections that handlers open
    t = 0, -- the time of the newest row
    depth = 0, -- how many functions of the program are being called
    ends = {}, -- by name
    names = setmetatable({}, { __mode = "k" }), -- by connection or object, and by handler
    listeners = {}, -- functions by the name of a connection
    lags = {}, -- heartbeats by the name of a connection
    named = nil, -- handlers as data
    queue = { first = 1, last = 0, is_told = false },
    live = {}, -- what stands for connections that go on after a replay, by name
    quiet = nil, -- the End over which something is sent that is written down elsewhere
    player = nil, -- while it is replayed
    memo = nil,
    random_state = 1,
  }, Recording)
  function self.reader(place) return self:row_at(place) end
  function self.clock() return self.player and self.player.t or self.t end
  self.memo = fold.memo(self.fold)
  local last = self:row_at(path:count())
  self.t = last and last.t or 0
  self.random_state = self:first_random()
  return self
end

recording.new = new

--- branch([n]): returns a recording that shares the rows up to n with this one, and goes on by itself.
function Recording:branch(n)
  local place, path = place_of(self, n)
  if not place then return nil, path end
  local leaf = place > 0 and path:number_at(place) or 0
  local other = new(self.store, self.store:path_to(leaf), self.settings)
  if path == self.path then other.memo = self.memo:branch(place) end
  return other
end

--- branches(): returns a list of recordings, one for each branch; the first is the recording without its branches.
function Recording:branches()
  local list = {}
  for number, leaf in ipairs(self.store.leaves) do
    list[number] = new(self.store, self.store:path_to(leaf), self.settings)
  end
  return list
end

--- write(row): adds a row as it is: for rows that are made up, as those of a branch. Returns it, or nil and why not.
function Recording:write(row)
  arguments.check("write", 1, row, "table")
  local fields = {}
  for key, value in next, row do fields[key] = value end
  fields.row, fields.parent, fields.t = nil, nil, nil
  local text, why = file.line(fields)
  if not text then return nil, why end
  return self:add(fold.copy(fields), type(row.t) == "number" and math.max(self.t, row.t) or self.t)
end

--- replay([options]): gives what came in to handlers, and compares what they do with what they did. Returns true and
-- how many rows were played; or nil, the first difference as text, and as a table.
function Recording:replay(options)
  options = options or {}
  arguments.options("replay", options, {
    handlers = "table", upto = "number", speed = "count", compare = "string", net = "table", live = "any",
  })
  arguments.one_of("replay", options, "compare", "strict", "loose", "off")
  local last, path = place_of(self, options.upto)
  if not last then return nil, path end
  if path ~= self.path then return nil, ("row %d is not in this branch"):format(options.upto) end
  return rerun(self, last, options)
end

--- dump(): returns the rows and branches as text.
function Recording:dump() return tree.dump(self.store) end

--- outbox(options): returns an outbox for a connection.
function Recording:outbox(options)
  arguments.options("outbox", options, {
    conn = "string", ack = "function", stamp = "function", limit = "count", ttl = "count", on_drop = "function",
  })
  if not options.conn then error("outbox: the option 'conn' is missing (the name of a connection)", 2) end
  if not options.ack then error("outbox: the option 'ack' is missing (a function)", 2) end
  return outbox.new(self, options)
end

--- heartbeat(options): keeps a connection alive, and measures its round trips. Returns an object.
function Recording:heartbeat(options)
  arguments.options("heartbeat", options, {
    conn = "string", interval = "count", missing = "count", on_dead = "function", reactor = "any",
  })
  if not options.conn then error("heartbeat: the option 'conn' is missing (the name of a connection)", 2) end
  return lag.new(self, options)
end

--- script(url, compares): returns a script for a server of luws.mock that listens there.
function Recording:script(url, compares) return peer.new(self, url, compares) end

--- save(path): writes all rows, with those of branches, into a new file. Returns true, or nil and why not.
function Recording:save(path)
  arguments.check("save", 1, path, "string")
  local text, why = file.read(path)
  if text == nil then return nil, why end
  if text ~= "" then return nil, "the file exists already" end
  if self.store.first > 1 then return nil, "the first rows are not in memory any more" end
  local writer
  writer, why = file.create(path, self.store.head, false)
  if not writer then return nil, why end
  for _, row in ipairs(self.store) do
    local line
    line = file.line(row)
    if line then writer:write(line) end -- what fails, close says
  end
  return writer:close()
end

--- close(): ends the file. Returns true; or nil and why something is not in it.
function Recording:close()
  for _, pulse in pairs(self.lags) do pulse:stop() end
  local writer = self.store.writer
  self.store.writer = nil
  if not writer then return not self.store.failure or nil, self.store.failure end
  local ok, why = writer:close()
  if not ok then self.store.failure = why end
  return ok, why
end

--- failure(): returns why rows are not in the file; nil if all of them are.
function Recording:failure() return self.store.failure end

return recording
