--[[
Recordings of what a program says and hears over WebSockets, for those that want to know what has happened, to have it
happen again, and to go on from there: require it as luws.record. Nothing is recorded of a connection that is not handed
to it, and such a connection costs nothing.
--]]

local native, import = ...
local guard, log = import("guard"), import("log")
local luws, clock = import("luws"), import("clock")
local arguments = import("arguments")
local files, fold, lines = import("record/reader"), import("record/fold"), import("record/lines")
local recordings, rows, tap = import("record/recording"), import("record/rows"), import("record/tap")
local writers = import("record/writer")

local public = {
  --- The folds: default, combine and DELETE.
  fold = { default = fold.default, combine = fold.combine, DELETE = fold.DELETE },
}

-- The most that rows take in memory by default, in bytes; older ones are in the file only.
local MEMORY = 16 * 1024 * 1024

-- Seeds that are drawn are below this.
local MOST_SEED = 2 ^ 30

local OPTIONS = {
  file = "string", clock = "any", fold = "function", redact = "function", seed = "whole", flush = "string",
  memory = "count", options = "table",
}

--- Returns a function that says the time by the option `clock`: a function, or an object with a method now, such as a
-- world. Where that fails, it is the time of before.
local function reader_of(given)
  if given == nil then return clock.now end
  local now = guard.is_callable(given) and given or function() return given:now() end
  local last = 0
  return function()
    local ok, time = pcall(now)
    if ok and type(time) == "number" and time - time == 0 then last = time end
    return last
  end
end

--- Raises an error at the caller of who calls this if the option `clock` cannot be one.
local function check_clock(name, given)
  local is_clock = given == nil or guard.is_callable(given) or type(given) == "table" and guard.is_callable(given.now)
  if not is_clock then
    error(("%s: bad option 'clock' (a function or a world expected, got %s)"):format(name, type(given)), 3)
  end
  local time = guard.is_callable(given) and (given()) or 0
  if type(time) ~= "number" then
    error(("%s: bad option 'clock' (it returns a %s, and no number)"):format(name, type(time)), 3)
  end
end

--- Returns a clock that says the seconds since a recording began, which has lasted so long already.
local function since(now, elapsed)
  local began = now() - elapsed
  return function() return now() - began end
end

local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

--- Reads a date of the head as seconds since 1970; nil if it is none.
local function seconds_of(text)
  local year, month, day, time = tostring(text):match "^(%d+)%-(%d+)%-(%d+)T(%d+:%d+:%d+)Z$"
  local name = MONTHS[tonumber(month)]
  return name and native.http_date(("%s %s %s %s"):format(day, name, year, time)) or nil
end

--- Reads a file into a new recording, of which rows beyond `most` bytes are forgotten. Returns it, and what the reader
-- returns; or nil and why it cannot be read.
local function read(path, most, skips, options)
  local rec = recordings.new(rows.store(), {
    fold = options.fold, redact = options.redact, options = options.options,
  })
  local store = rec.store
  store.most = most
  local head, result = files.read(path, {
    skips = skips, check = rows.misplaced, take = function(row) rec:take(row) end,
  })
  if not head then return nil, result end
  -- Branches need all rows; that there are some shows only where they begin.
  if store.branches[2] and store.first > 1 then return read(path, math.huge, skips, options) end
  if result.warning then log.warning("the record %s: %s", path, result.warning) end
  store.head, store.path = head, path
  return rec, result
end

--- Goes on with a file that has rows already. Returns a recording; or nil and why not.
local function go_on(options)
  local path = options.file
  local rec, result = read(path, options.memory or MEMORY, false, options)
  if not rec then return nil, result end
  if result.is_cut then
    local ok, why = writers.shorten(path, result.size)
    if not ok then return nil, why end
  end
  local store, writer, why = rec.store, writers.append(path, options.flush ~= "close", result.has_end)
  if not writer then return nil, why end
  store.writer = writer
  rec:follow(store.count) -- the branch that was recorded last
  local elapsed, created = rec.t, seconds_of(store.head.created)
  if not options.clock and created then elapsed = math.max(elapsed, luws.gettime() - created) end
  rec:begin(since(reader_of(options.clock), elapsed))
  return rec
end

--- Begins a file, or a recording in memory. Returns it; or nil and why not.
local function begin(options)
  local created = os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(luws.gettime()))
  local seed = options.seed or math.floor(native.random() * MOST_SEED)
  local store = rows.store()
  store.head = lines.head(created, options.clock and "own" or "monotonic", seed)
  if options.file then
    local writer, why = writers.create(options.file, store.head, options.flush ~= "close")
    if not writer then return nil, why end
    store.writer = writer
  end
  store.path, store.most = options.file, options.memory or MEMORY
  local rec = recordings.new(store, { fold = options.fold, redact = options.redact, options = options.options })
  rec:begin(since(reader_of(options.clock), 0))
  return rec
end

--- new([options]): begins a recording, or goes on with its file. Options: file, clock (a function or a world; the
-- system's monotonic clock), fold, redact (a function of a row), seed, flush ("row" or "close"), memory (bytes),
-- options (for connections that handlers open). Returns it; or nil and why the file cannot be used.
function public.new(options)
  options = options == nil and {} or options
  arguments.options("new", options, OPTIONS)
  arguments.one_of("new", options, "flush", "row", "close")
  check_clock("new", options.clock)
  local wrong = tap.refusal(options.options)
  if wrong then error("new: bad option 'options' (" .. wrong .. ")", 2) end
  local size, why = 0, nil
  if options.file then size, why = files.size(options.file) end
  local rec
  if size == 0 then
    rec, why = begin(options)
  elseif size then
    rec, why = go_on(options)
  end
  if rec then return rec end
  return nil, ("the record %s cannot be used: %s"):format(options.file, why)
end

--- load(path [, options]): reads a recording. Options: fold, redact, clock, damaged ("skip": lines that are damaged are
-- left out). Returns it, and a warning if something is left out; or nil and why it cannot be read.
function public.load(path, options)
  options = options == nil and {} or options
  arguments.check("load", 1, path, "string")
  arguments.options("load", options, { fold = "function", redact = "function", damaged = "string", clock = "any" }, 2)
  arguments.one_of("load", options, "damaged", "skip")
  check_clock("load", options.clock)
  local rec, result = read(path, math.huge, options.damaged == "skip", options)
  if not rec then return nil, ("the record %s cannot be read: %s"):format(path, result) end
  local store = rec.store
  local last = store[store.count]
  rec:follow(store.branches[1] and store.branches[1].last or 0)
  rec:begin(since(reader_of(options.clock), last and last.t or 0))
  return rec, result.warning
end

return { public = public }
