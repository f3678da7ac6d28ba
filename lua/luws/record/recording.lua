--[[
A recording: rows at the boundary of a program, and what programs can do with them. It is one path through a store,
which may have branches; what is recorded goes on at its end. Its parts: tap writes rows, replay plays them, handlers
are told of them, fold has the state after them.
--]]

local _, import = ...
local guard, null = import("guard"), import("json").public.null
local arguments = import("arguments")
local core, fold, handlers, lag = import("record/core"), import("record/fold"), import("record/handlers"),
  import("record/lag")
local lines, outboxes, peers, reader = import("record/lines"), import("record/outbox"), import("record/peer"),
  import("record/reader")
local rerun, rows, secrets, tap = import("record/rerun"), import("record/rows"), import("record/secrets"),
  import("record/tap")
local tree, writers = import("record/tree"), import("record/writer")

local Recording = core.Recording

--- Raises an error at the caller of who calls this if a connection with these options cannot be recorded.
local function check_options(options)
  local why = tap.refusal(options)
  if why then error(why, 3) end
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
  check_options(given)
  return tap.options(self, given)
end

--- wsopen(name, url, f [, options]): opens a connection that is recorded. Returns what luws.wsopen returns.
function Recording:wsopen(name, url, f, options)
  arguments.check("wsopen", 1, name, "string")
  arguments.check("wsopen", 2, url, "string")
  arguments.callable("wsopen", 3, f)
  if options ~= nil then arguments.check("wsopen", 4, options, "table") end
  check_options(options)
  if self.player then return self.player:opened(tap.open_row(name, url, options), f, options, url) end
  return tap.wsopen(self, name, url, f, options)
end

--- attach(ws [, name]): records a WebSocket object from now on. Returns it.
function Recording:attach(ws, name)
  local ok, is_object = pcall(function()
    return guard.is_callable(ws.addEventListener) and type(ws.readyState) == "number" and type(ws.url) == "string"
  end)
  if not (ok and is_object) then
    error(("bad argument #1 to 'attach' (a WebSocket object expected, got %s)"):format(type(ws)), 2)
  end
  if self.known[ws] then error("bad argument #1 to 'attach' (it is recorded already)", 2) end
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
  local reserved = rows.reserved(row)
  if reserved then error(("bad argument #2 to 'call' (the field '%s' is not the program's)"):format(reserved), 2) end
  row.call, row.outside = name, self:is_outside()
  local text, why = lines.line(row)
  if not text then error(("bad argument #2 to 'call' (%s)"):format(why), 2) end
  if self.player then
    self.player:got(row)
    return self:tell(rows.new(row))
  end
  self:tell(self:add(row))
end

--- note(value): records a value that the program has from elsewhere, or that a function returns. Returns it. In a
-- replay, returns what was recorded, and calls nothing. null is nil.
function Recording:note(value)
  local player = self.player
  if player and not player:is_beyond() then return player:note() end
  if type(value) == "function" then value = value() end
  if value == nil then value = null end
  local text, why = lines.line { note = value }
  if not text then error(("bad argument #1 to 'note' (%s)"):format(why), 2) end
  self:tell(self:add { note = fold.copy(value), outside = self:is_outside() })
  if value == null then return nil end
  return value
end

--- random([from [, to]]): like math.random, from the seed of the recording.
function Recording:random(from, to)
  self.random_state = self.random_state * 16807 % 2147483647
  local number = self.random_state / 2147483647
  if from == nil then return number end
  local most = to == nil and 1 or 2 -- the argument that is the most
  if to == nil then from, to = 1, from end
  arguments.check("random", 1, from, "number")
  arguments.check("random", most, to, "number")
  if from % 1 ~= 0 or to % 1 ~= 0 or to < from then
    local what = "whole numbers expected, and the interval is not to be empty"
    error(("bad argument #%d to 'random' (%s)"):format(most, what), 2)
  end
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
  local conn, dir, kind, from, to = filter.conn, filter.dir, filter.kind, filter.from, filter.to
  local first = self.store.first
  local place = first > 1 and (self.path:place_of(first) or 1) - 1 or 0 -- those before are not in memory
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

--- place_of(self, n): returns the place of a row by its number, or of a branch's last row if that is negative, and the
-- path in which it is; or nil and why there is none.
local function place_of(self, n)
  if n == nil then return self.path:count(), self.path end
  if type(n) ~= "number" or n % 1 ~= 0 then return nil, "the number of a row expected, got " .. tostring(n) end
  if n == 0 then return 0, self.path end
  if n < 0 then
    local branch = self.store.branches[-n]
    if not branch then return nil, ("there is no branch %d"):format(-n) end
    local path = self.store:path_to(branch.last)
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

--- branch([n]): returns a recording that shares the rows up to n with this one, and goes on by itself.
function Recording:branch(n)
  local place, path = place_of(self, n)
  if not place then return nil, path end
  local leaf = place > 0 and path:number_at(place) or 0
  if leaf > 0 and leaf < self.store.first then return nil, ("row %d is not in memory any more"):format(leaf) end
  local other = core.new(self.store, self.settings)
  other:follow(leaf)
  if path == self.path then other.memo = self.memo:branch(place) end
  return other
end

--- branches(): returns a list of recordings, one for each branch; the first is the recording without its branches.
function Recording:branches()
  local list = {}
  for number, branch in ipairs(self.store.branches) do
    list[number] = core.new(self.store, self.settings)
    list[number]:follow(branch.last)
  end
  return list
end

--- write(row): adds a row as it is: for rows that are made up, as those of a branch. Returns it, or nil and why not.
function Recording:write(row)
  arguments.check("write", 1, row, "table")
  local fields = {}
  for key, value in next, row do fields[key] = value end
  fields.row, fields.parent, fields.t = nil, nil, nil
  local wrong = rows.mistake(fields)
  if wrong then return nil, wrong end
  if type(fields.text) == "string" and not fields.call then rows.put_data(fields, fields.text, false) end
  local text, why = lines.line(fields)
  if not text then return nil, why end
  local t = type(row.t) == "number" and row.t - row.t == 0 and row.t or self.t
  return self:add(fold.copy(secrets.clean(fields)), math.max(self.t, t))
end

local WORLD = {
  "a world", function(value) return type(value) == "table" and guard.is_callable(value.advance) end,
}

local LIVE = { "table or function", function(value) return type(value) == "table" or guard.is_callable(value) end }

-- What a table of handlers may have.
local HANDLERS = {
  handler = true, open_handler = true, control_handler = true, drain_handler = true, close_handler = true,
}

--- Raises an error at the caller of who calls this if the handlers for a replay are not some.
local function check_handlers(given)
  for name, f in pairs(given or {}) do
    local what = ("replay: bad option 'handlers' (%s"):format(tostring(name))
    if not guard.is_callable(f) then
      if type(f) ~= "table" then error(("%s: function or table expected, got %s)"):format(what, type(f)), 3) end
      for key, handler in pairs(f) do
        if not HANDLERS[key] then error(("%s: unknown handler '%s')"):format(what, tostring(key)), 3) end
        if not guard.is_callable(handler) then
          error(("%s: %s: function expected, got %s)"):format(what, key, type(handler)), 3)
        end
      end
    end
  end
end

--- replay([options]): gives what came in to handlers, and compares what they do with what they did. Returns true and
-- how many rows were played; or nil, the first difference as text, and as a table.
function Recording:replay(options)
  options = options or {}
  arguments.options("replay", options, {
    handlers = "table", upto = "number", speed = "count", compare = "string", net = WORLD, live = LIVE,
  })
  arguments.one_of("replay", options, "compare", "strict", "loose", "off")
  check_handlers(options.handlers)
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
    retry = "positive", reactor = "reactor",
  })
  if not options.conn then error("outbox: the option 'conn' is missing (the name of a connection)", 2) end
  if not options.ack then error("outbox: the option 'ack' is missing (a function)", 2) end
  return outboxes.new(self, options)
end

--- heartbeat(options): keeps a connection alive, and measures its round trips. Returns an object.
function Recording:heartbeat(options)
  arguments.options("heartbeat", options, {
    conn = "string", interval = "positive", missing = "positive", on_dead = "function", reactor = "reactor",
  })
  if not options.conn then error("heartbeat: the option 'conn' is missing (the name of a connection)", 2) end
  return lag.new(self, options)
end

--- script(url, compares): returns a script for a server of luws.mock that listens there.
function Recording:script(url, compares) return peers.new(self, url, compares) end

--- save(path): writes all rows, with those of branches, into a new file. Returns true, or nil and why not.
function Recording:save(path)
  arguments.check("save", 1, path, "string")
  local size, why = reader.size(path)
  if not size then return nil, why end
  if size > 0 then return nil, "the file exists already" end
  if self.store.first > 1 then return nil, "the first rows are not in memory any more" end
  local writer
  writer, why = writers.create(path, self.store.head, false)
  if not writer then return nil, why end
  for _, row in ipairs(self.store) do writer:write((rows.line(row))) end -- what fails, close says
  return writer:close()
end

--- close(): ends the file. Returns true; or nil and why something is not in it.
function Recording:close()
  for _, pulse in pairs(self.lags) do pulse:stop() end
  for _, box in pairs(self.outboxes) do box:stop() end
  local writer = self.store.writer
  self.store.writer = nil
  if not writer then return not self.store.failure or nil, self.store.failure end
  local ok, why = writer:close()
  if not ok then self.store.failure = why end
  return ok, why
end

--- failure(): returns why rows are not in the file; nil if all of them are.
function Recording:failure() return self.store.failure end

return { new = core.new }
