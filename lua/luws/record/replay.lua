--[[
Replays a recording: gives handlers what came in, and compares what they do with what they did then. It performs nothing
and waits for nothing, unless it is told to take as long as it took.

What was done outside of a handler (`outside` in a row) is not expected of the handlers, but counts as done.
--]]

local _, import = ...
local guard, log, null = import("guard"), import("log"), import("json").public.null
local luws, data = import("luws"), import("websocket/data")
local fold, rows, stand_ins, tree = import("record/fold"), import("record/rows"), import("record/stand_in"),
  import("record/tree")

local replay = {}

local Player = {}
Player.__index = Player

local CLOSE, PING, PONG = 8, 9, 10

-- The options of wsopen that are handlers.
local OPTIONS = { "open_handler", "control_handler", "drain_handler", "close_handler" }

-- The kinds of rows that handlers are expected to do again.
local EXPECTED = { send = true, close = true, ping = true, pong = true, open = true }

--- Returns whether two values are equal, tables by their contents.
local function equal(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for key, value in next, a do
    if not equal(value, b[key]) then return false end
  end
  for key in next, b do
    if a[key] == nil then return false end
  end
  return true
end

-- Fields in which a row may differ from what was recorded: where it is, and what has become of it.
local OF_PLACE = { row = true, t = true, parent = true, error = true, id = true, ack = true, outside = true }

--- is_same(row, got): returns whether a program has done again what a row says.
local function is_same(row, got)
  for key, value in next, row do
    if not OF_PLACE[key] and not equal(value, rawget(got, key)) then return false end
  end
  for key in next, got do
    if not OF_PLACE[key] and rawget(row, key) == nil then return false end
  end
  return true
end

replay.is_same = is_same

--- Returns a text by which rows that are the same are equal.
local function key_of(row)
  local keys = {}
  for key in next, row do
    if not OF_PLACE[key] then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    local value = rawget(row, key)
    keys[i] = key .. "=" .. (type(value) == "table" and log.dump(value) or tostring(value))
  end
  return table.concat(keys, "\0")
end

--- differ(row, expected, got): notes the first difference.
function Player:differ(row, expected, got)
  if self.difference then return end
  self.difference = {
    row = row, expected = expected, got = got,
    text = ("row %d: expected %s, got %s"):format(row, expected and tree.line(expected) or "nothing",
      got and tree.line(got) or "nothing"),
  }
end

--- Returns whether a row is something that handlers were given.
local function is_input(row)
  if rawget(row, "in") then return true end
  return rawget(row, "outside") and (rawget(row, "call") or rawget(row, "note")) ~= nil
end

function Player:row_at(place) return self.recording:row_at(place) end

--- Returns whether a row was done by the handlers that are played.
function Player:is_expected(row)
  if rawget(row, "outside") then return false end
  if rawget(row, "call") then return self.recording:has_handlers() end
  local out = rawget(row, "out")
  if not EXPECTED[out or ""] then return false end
  if out == "open" then return self.recording:has_handlers() or next(self.handlers) ~= nil end
  return self.recording:has_handlers() or self.handlers[row.conn] ~= nil
end

--- expected(): returns the next row that handlers are to do now, and its place; nil if there is none. What they do at
-- the last row is in the rows after it.
function Player:expected()
  for place = self.place, self.known do
    local row = self:row_at(place)
    if is_input(row) and not self.taken[place] then return nil end
    if self:is_expected(row) then return row, place end
  end
end

--- got(fields): compares what a handler has done. Returns the row that says the same, if it is known.
function Player:got(fields)
  local got = rows.new(self.recording:kept(fields))
  if self.compare == "strict" then
    local row, place = self:expected()
    if row and is_same(row, got) then
      self.place = place + 1
      return row
    end
    self:differ(row and row.row or self.newest, row, got)
  elseif self.compare == "loose" then
    local same = self.wanted[key_of(got)]
    local row = same and table.remove(same, 1)
    if row then return row end
    self:differ(self.newest, nil, got)
  end
end

--- postpone(act): has act() done once everything is live.
function Player:postpone(act) self.later[#self.later + 1] = act end

--- is_beyond(): returns whether handlers are beyond the rows: what they do now is to be done live.
function Player:is_beyond() return self.goes_on and self.place > self.last and not self:expected() end

--- sent(name, opcode, bytes), closed(name, code, reason): what a handler does to a stand-in.
function Player:sent(name, opcode, bytes)
  if self:is_beyond() then
    self:postpone(function() luws.wssend(self.conns[name], opcode, bytes) end)
    return true
  end
  local conn, row = self.conns[name], self:got(rows.sent(name, opcode, bytes))
  local failure = row and rawget(row, "error") or not conn.connected and "not connected" or nil
  if failure then return false, failure end
  if opcode == CLOSE then conn.closing = true end
  return true
end

function Player:closed(name, code, reason)
  if self:is_beyond() then
    self.conns[name].connected = true -- it is closed once it is live
    return self:postpone(function() luws.wsclose(self.conns[name], code, reason) end)
  end
  self:got({ out = "close", conn = name, code = tonumber(code) or 1000, reason = reason or "" })
end

--- stand_in(name, url): makes the stand-in for a new connection of that name.
function Player:stand_in(name, url)
  local conn = stand_ins.new(self.owner, name, url)
  self.conns[name] = conn
  self.order[#self.order + 1] = conn
  return conn
end

--- conn(name): returns the stand-in for a connection.
function Player:conn(name) return self.conns[name] or self:stand_in(name, nil) end

--- answer(name, opening): returns the row that says how opening a connection has ended, and its place; nil if it has
-- not. `opening` is the row that says that it is opened, if that is known.
function Player:answer(name, opening)
  local first = opening and self.recording.path:place_of(opening.row) + 1 or self.place
  local is_begun = opening ~= nil
  for place = first, self.known do
    local row = self:row_at(place)
    if row.conn == name and not self.taken[place] then
      local kind = rawget(row, "in")
      if kind == "open" or kind == "close" then return row, place end
      if row.out == "open" and is_begun then return nil end -- it was opened once more
      is_begun = is_begun or row.out == "open"
    end
  end
end

--- Has a stand-in be open.
local function set_open(conn, row)
  conn.connected, conn.closing, conn.subprotocol = true, false, row.protocol
  conn.close_code, conn.close_reason, conn.was_clean = nil, nil, nil
end

--- opened(fields, f, options, url): a handler opens a connection; `fields` are those of its row. Returns what wsopen
-- has returned, with a stand-in for the connection.
function Player:opened(fields, f, options, url)
  local name = fields.conn
  local handlers = { handler = f }
  for _, key in ipairs(OPTIONS) do handlers[key] = options and options[key] end
  local conn = self:stand_in(name, fields.url)
  conn.msghandler = f
  if not self.handlers[name] then
    self.handlers[name] = handlers
    if self.compare == "loose" and not self.recording:has_handlers() then self:collect(name) end
  end
  if self:is_beyond() then
    self:postpone(function() self.open(name, url, f, options, conn) end)
    return conn
  end
  local opening = self:got(fields)
  if options and options.wait ~= nil and options.wait ~= true then return conn end
  local row, place = self:answer(name, opening) -- it has waited for that
  if not row then return conn end
  self.taken[place] = true
  if rawget(row, "in") == "close" then return false, row.error end
  set_open(conn, row)
  self.awaited[#self.awaited + 1] = row -- its open_handler is called later, as it was
  return conn
end

--- was_acknowledged(name, id): returns whether a message of an outbox was acknowledged, before anything else comes in.
function Player:was_acknowledged(name, id)
  for place = self.place, self.known do
    local row = self:row_at(place)
    if is_input(row) and not self.taken[place] then return false end
    if row.conn == name and rawget(row, "ack") == id then return true end
  end
  return false
end

--- note(): returns what the next note was, before anything else comes in.
function Player:note()
  for place = math.max(self.noted, 1), self.known do
    local row = self:row_at(place)
    if is_input(row) and not self.taken[place] then break end
    if rawget(row, "note") ~= nil then
      self.noted = place + 1
      self.recording:tell(row)
      if row.note == null then return nil end
      return fold.copy(row.note)
    end
  end
  self:differ(self.newest, nil, rows.new { note = true })
end

--- Calls a function of the program's. Its errors go to the log, as they do when it is not replayed.
local function call(what, f, ...)
  if f == nil then return end
  local ok, err = guard.free(f, ...)
  if not ok then log.handler_failed(("the %s of a replayed connection raised an error"):format(what), err) end
end

local play = {}

function play.open(conn, row, handlers)
  set_open(conn, row)
  call("open_handler", handlers.open_handler, conn)
end

function play.message(conn, row, handlers)
  if not conn.connected then return end
  call("handler", conn.msghandler or handlers.handler, conn, row.binary and 2 or 1, row.data or "")
end

function play.ping(conn, row, handlers)
  call("control_handler", handlers.control_handler, conn, PING, row.data or "")
end

function play.pong(conn, row, handlers)
  call("control_handler", handlers.control_handler, conn, PONG, row.data or "")
end

function play.closing(conn, row, handlers)
  local code = row.code or 1005
  local payload = code == 1005 and "" or data.close_payload(code, row.reason)
  call("control_handler", handlers.control_handler, conn, CLOSE, payload)
end

function play.error(conn, row, handlers)
  call("handler", conn.msghandler or handlers.handler, conn, false, row.error)
end

function play.close(conn, row, handlers)
  conn.connected, conn.closing = false, true
  conn.close_code, conn.close_reason, conn.was_clean = row.code, row.reason, row.clean
  if row.error then call("handler", conn.msghandler or handlers.handler, conn, false, row.error) end
end

function play.over(conn, _, handlers) call("close_handler", handlers.close_handler, conn) end
function play.drain(conn, _, handlers) call("drain_handler", handlers.drain_handler, conn) end

--- come(row): gives handlers what came in.
function Player:come(row)
  local name, kind = row.conn, rawget(row, "in")
  if name ~= nil and kind then
    local conn = self:conn(name)
    local f = play[kind]
    local handlers = self.handlers[name]
    if f then f(conn, row, handlers or {}) end
  end
  self.recording:tell(row)
end

--- Notes that something was done outside of handlers.
function Player:was_done(row)
  local name = row.conn
  if name == nil then return end
  if row.out == "open" then
    if not self.conns[name] then self:stand_in(name, row.url) end
  elseif row.out == "close" then
    local conn = self:conn(name)
    conn.connected, conn.closing = false, true
  end
end

--- wait(row): lets the time pass that has passed before a row.
function Player:wait(row)
  local seconds = (row.t - self.t) / self.speed
  if seconds <= 0 then return end
  if self.net then self.net:advance(seconds) else luws.sleep(seconds) end
end

--- run(): plays everything. Returns true and how many rows were played; or nil, the difference as text, and as a table.
function Player:run()
  while self.place <= self.last and not self.difference do
    local place = self.place
    local row = self:row_at(place)
    if self.speed > 0 then self:wait(row) end
    self.t, self.newest = row.t, row.row
    if self.taken[place] then
      self.place, self.noted = place + 1, place + 1
    elseif is_input(row) then
      self.place, self.noted = place + 1, place + 1
      self:come(row)
      while self.awaited[1] do self:come(table.remove(self.awaited, 1)) end
    elseif self.compare == "strict" and self:is_expected(row) then
      self:differ(row.row, row, nil) -- the handlers before it have not done it
    else
      self.place = place + 1
      self:was_done(row)
    end
  end
  if self.compare == "loose" and not self.difference then self:check_wanted() end
  if self.difference then return nil, self.difference.text, self.difference end
  return true, self.last
end

--- collect([name]): collects what handlers are to do, in any order; or only those of a connection.
function Player:collect(name)
  for place = 1, self.last do
    local row = self:row_at(place)
    local is_new = name == nil or row.conn == name and row.out ~= "open" -- that any handler may open, is known
    if is_new and self:is_expected(row) then
      local key = key_of(row)
      self.wanted[key] = self.wanted[key] or {}
      table.insert(self.wanted[key], row)
    end
  end
end

function Player:check_wanted()
  local missing
  for _, list in next, self.wanted do
    local row = list[1]
    if row and (not missing or row.row < missing.row) then missing = row end
  end
  if missing then self:differ(missing.row, missing, nil) end
end

--- Returns handlers as a table, from what the program gives for a connection.
local function handlers_of(given)
  if guard.is_callable(given) and type(given) ~= "table" then return { handler = given } end
  return given
end

--- player(recording, last, options): returns a player for the rows of a recording up to a place. Options: handlers,
-- speed, compare, net, live.
function replay.player(recording, last, options)
  local self = setmetatable({
    recording = recording, last = last, speed = options.speed or 0, compare = options.compare or "strict",
    net = options.net, place = 1, noted = 1, t = 0, newest = 0, conns = {}, order = {}, handlers = {}, wanted = {},
    taken = {}, -- by their places, inputs that a handler has waited for
    awaited = {}, -- those of them whose handlers are to be called
    difference = nil, known = recording:count(),
    goes_on = options.live and true or false, later = {}, -- what handlers have done beyond the rows
    memo = fold.memo(recording.fold), -- states of the rows that are played
    open = nil, -- open(name, url, f, options, conn) opens a connection for a stand-in
  }, Player)
  for name, given in pairs(options.handlers or {}) do self.handlers[name] = handlers_of(given) end
  self.owner = {
    sent = function(...) return self:sent(...) end,
    closed = function(...) return self:closed(...) end,
  }
  if self.compare == "loose" then self:collect() end
  return self
end

return replay
