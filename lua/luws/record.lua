--[[
Recordings of what a program says and hears over WebSockets, for those that want to know what has happened, to have it
happen again, and to go on from there: require it as luws.record. Nothing is recorded of a connection that is not handed
to it, and such a connection costs nothing.
--]]

local native, import = ...
local log = import("log")
local luws, clock = import("luws"), import("clock")
local arguments = import("arguments")
local file, fold, recordings, rows = import("record/file"), import("record/fold"), import("record/recording"),
  import("record/rows")

local public = {
  --- The folds: default, combine and DELETE.
  fold = { default = fold.default, combine = fold.combine, DELETE = fold.DELETE },
}

-- The most that rows take in memory by default, in bytes; older ones are in the file only.
local MEMORY = 16 * 1024 * 1024

-- Seeds that are drawn are below this.
local MOST_SEED = 2 ^ 30

local OPTIONS = {
  file = "string", clock = "any", fold = "function", redact = "function", seed = "number", flush = "string",
  memory = "count", options = "table",
}

--- Returns the function that an option `clock` is: a function, or an object with a method now, such as a world.
local function reader(given)
  if given == nil then return clock.now end
  if type(given) == "table" and type(given.now) == "function" then return function() return given:now() end end
  return given
end

--- Returns a clock that says the seconds since a recording began, which has lasted so long already.
local function since(now, elapsed)
  local began = now() - elapsed
  return function() return now() - began end
end

local function settings_of(options, now)
  return { fold = options.fold, redact = options.redact, options = options.options, now = now }
end

local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

--- Reads a date of the head as seconds since 1970; nil if it is none.
local function seconds_of(text)
  local year, month, day, time = tostring(text):match "^(%d+)%-(%d+)%-(%d+)T(%d+:%d+:%d+)Z$"
  local name = MONTHS[tonumber(month)]
  return name and native.http_date(("%s %s %s %s"):format(day, name, year, time)) or nil
end

--- Goes on with a file that has rows already. Returns a recording; or nil and why not.
local function go_on(options, text)
  local path = options.file
  local head, list, warning = file.parse(text)
  if not head then return nil, list end
  if warning then log.warning("the record %s: %s", path, warning) end
  if warning or text:sub(-1) ~= "\n" then
    local ok, why = file.replace(path, head, list)
    if not ok then return nil, why end
  end
  local writer, why = file.append(path, options.flush ~= "close")
  if not writer then return nil, why end
  local store = rows.store(head, writer):take(list)
  local last = list[#list]
  local elapsed = last and last.t or 0
  local created = seconds_of(head.created)
  if not options.clock and created then elapsed = math.max(elapsed, luws.gettime() - created) end
  return store, since(reader(options.clock), elapsed)
end

--- Begins a file, or a recording in memory. Returns a store and a clock; or nil and why not.
local function begin(options)
  local head = file.head {
    created = os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(luws.gettime())),
    clock = options.clock and "own" or "monotonic",
    seed = options.seed or math.floor(native.random() * MOST_SEED),
  }
  local writer, why
  if options.file then
    writer, why = file.create(options.file, head, options.flush ~= "close")
    if not writer then return nil, why end
  end
  return rows.store(head, writer), since(reader(options.clock), 0)
end

--- new([options]): begins a recording, or goes on with its file. Options: file, clock (a function or a world; the
-- system's monotonic clock), fold, redact (a function of a row), seed, flush ("row" or "close"), memory (bytes),
-- options (for connections that handlers open). Returns it; or nil and why the file cannot be used.
function public.new(options)
  options = options or {}
  arguments.options("new", options, OPTIONS)
  arguments.one_of("new", options, "flush", "row", "close")
  local is_clock = options.clock == nil or type(options.clock) == "function"
    or type(options.clock) == "table" and type(options.clock.now) == "function"
  if not is_clock then
    error(("new: bad option 'clock' (a function or a world expected, got %s)"):format(type(options.clock)), 2)
  end
  local text, why = "", nil
  if options.file then text, why = file.read(options.file) end
  local store, now
  if text and text ~= "" then
    store, now = go_on(options, text)
  elseif text then
    store, now = begin(options)
  else
    now = why
  end
  if not store then return nil, ("the record %s cannot be used: %s"):format(options.file, now) end
  store.path, store.most = options.file, options.memory or MEMORY
  local leaf = store.count -- the branch that was recorded last
  return recordings.new(store, store:path_to(leaf), settings_of(options, now))
end

--- load(path [, options]): reads a recording. Options: fold, redact, clock, damaged ("skip": lines that are damaged are
-- left out). Returns it, and a warning if something is left out; or nil and why it cannot be read.
function public.load(path, options)
  options = options or {}
  arguments.check("load", 1, path, "string")
  arguments.options("load", options, { fold = "function", redact = "function", damaged = "string", clock = "any" })
  arguments.one_of("load", options, "damaged", "skip")
  local text, why = file.read(path)
  if text == "" and why then text = nil end
  local head, list, warning
  if text then
    head, list, warning = file.parse(text, options.damaged == "skip")
    why = list
  end
  if not head then return nil, ("the record %s cannot be read: %s"):format(path, why) end
  if warning then log.warning("the record %s: %s", path, warning) end
  local store = rows.store(head, nil):take(list)
  local last = list[#list]
  local now = since(reader(options.clock), last and last.t or 0)
  return recordings.new(store, store:path_to(store.leaves[1] or 0), settings_of(options, now)), warning
end

return { public = public }
