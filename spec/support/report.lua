-- What scripts/busted.sh shows of a run of the specs: an output handler for busted, which writes to the files of a
-- folder (LUWS_SPEC_FOLDER) and not to standard output. What specs print goes there, below the names of the tests.
--
--   progress   one line, after each test: tests ended, tests failed
--   failures   each failure as it comes
--   skipped    each pending test with its reason
--   totals     one line, at the end of the run
--   grown      is there if it has left files to others because its heap has grown
--   times      for each test: seconds that passed, seconds of CPU, its spec file and line, its name; for each file: the
--              same of all that it does, with the CPU of its children that have ended
--
-- Several workers may be given the same files, and a folder in which they note who runs which (LUWS_SPEC_CLAIMS): each
-- file is run by the first worker that comes to it. One that has grown leaves the rest to others.
--
-- It knows busted's events, and nothing of the specs.

local busted = require "busted"
local gettime = require("socket").gettime
local lfs = require "lfs"
local pretty = require "pl.pretty"

local FOLDER = assert(os.getenv "LUWS_SPEC_FOLDER", "LUWS_SPEC_FOLDER is not set; run scripts/busted.sh") .. "/"
local CLAIMS = assert(os.getenv "LUWS_SPEC_CLAIMS", "LUWS_SPEC_CLAIMS is not set; run scripts/busted.sh") .. "/"
local TICKS = 100 -- in a second, in Linux's /proc

-- A worker with a larger heap, in KiB, begins no further file: what has ended cannot all be let go, and specs that
-- collect garbage again and again would take ten times as long.
local HEAP = 32 * 1024

-- Temporary files go into the folder, whose end is also theirs: specs may be ended in the middle.
local made = 0
os.tmpname = function() -- luacheck: ignore
  made = made + 1
  local name = FOLDER .. "tmp_" .. made
  assert(io.open(name, "w")):close()
  return name
end

local function write(name, mode, ...)
  local file = assert(io.open(FOLDER .. name, mode))
  file:write(...)
  file:close()
end

local function text(message)
  if message == nil then return "no message" end
  return type(message) == "string" and message or pretty.write(message)
end

--- where(trace): the file and the line, with a colon after them, as editors read it.
local function where(trace)
  return trace and trace.short_src and ("%s:%d: "):format(trace.short_src, trace.currentline or 0) or ""
end

local has_claimed, has_grown = false, false

--- grown(): returns whether the heap of this worker has grown too large, since its first file, for a further one.
local function grown()
  if has_grown or not has_claimed or collectgarbage "count" <= HEAP then return has_grown end
  local jit = rawget(_G, "jit")
  if jit then jit.flush() end -- machine code holds on to what it was made for
  collectgarbage()
  collectgarbage()
  has_grown = collectgarbage "count" > HEAP
  if has_grown then write("grown", "w", "") end
  return has_grown
end

--- claim(element): does this worker run this file? It does if it is the first that comes to it, and has not grown. If
-- not, the file has no tests here.
local function claim(element)
  if not grown() and lfs.mkdir(CLAIMS .. element.name:gsub("/", "%%")) then
    has_claimed = true
    return true
  end
  getmetatable(element.run).__call = function() end
  return false
end

--- with_children(): returns the seconds of CPU that this process and its children have taken.
local function with_children()
  local file = io.open "/proc/self/stat"
  if not file then return os.clock() end
  local sum, numbers = 0, file:read("*a"):match "%) %a (.*)"
  file:close()
  local user, system, users, systems = numbers:match("^" .. ("%S+ "):rep(10) .. "(%d+) (%d+) (%d+) (%d+)")
  for _, ticks in ipairs { user, system, users, systems } do sum = sum + ticks end
  return sum / TICKS
end

--- Lets go of what the parts of a file hold once it has ended. busted keeps them to the end of the run, with all that
-- their functions refer to, and each turn of the collector would go through that.
local function forget(element)
  for _, child in ipairs(busted.children(element)) do
    forget(child)
    child.run, child.env = nil, nil
    for _, hooks in pairs(child) do
      if type(hooks) == "table" and type(hooks[1]) == "table" then hooks[1] = nil end
    end
  end
end

return function(options)
  local handler = require "busted.outputHandlers.base"()
  local tests = 0
  local began, cpu
  local of_file -- when it began, and what CPU had been taken then

  local function failed() return handler.failuresCount + handler.errorsCount end
  local function progress() write("progress", "w", ("%d %d\n"):format(tests, failed())) end

  --- Notes a failure, or an error outside of tests.
  local function failure(element, _, message, trace)
    local at = element.trace or trace
    local stack = options.verbose and trace and trace.traceback and "\n" .. trace.traceback or ""
    write("failures", "a", ("\n%s%s\n%s%s\n"):format(where(at), handler.getFullName(element), text(message), stack))
    progress()
    return nil, true
  end

  --- took(seconds, cpu_seconds, what): notes what a test or a file took.
  local function took(seconds, cpu_seconds, what)
    write("times", "a", ("%.3f\t%.3f\t%s\n"):format(seconds, cpu_seconds, what))
  end

  busted.subscribe({ "file", "start" }, function(element)
    of_file = claim(element) and { gettime(), with_children() }
    return nil, true
  end)
  busted.subscribe({ "file", "end" }, function(element)
    if of_file then took(gettime() - of_file[1], with_children() - of_file[2], element.name .. ": the whole file") end
    forget(element)
    return nil, true
  end)
  busted.subscribe({ "test", "start" }, function(element)
    io.write("== ", where(element.trace), handler.getFullName(element), "\n")
    io.flush()
    began, cpu = gettime(), os.clock()
    return nil, true
  end)
  busted.subscribe({ "test", "end" }, function(element)
    tests = tests + 1
    took(gettime() - began, os.clock() - cpu, where(element.trace) .. handler.getFullName(element))
    progress()
    return nil, true
  end)
  busted.subscribe({ "failure" }, failure)
  busted.subscribe({ "error" }, failure)
  busted.subscribe({ "suite", "end" }, function()
    for _, pending in ipairs(handler.pendings) do
      local element = pending.element
      -- Without the position that busted puts before the reason, which is its own.
      local reason = text(pending.message):gsub("^%S+:%d+: ", "")
      write("skipped", "a", where(element.trace), pending.name, " (", reason, ")\n")
    end
    write("totals", "w", ("%d passed, %d failed, %d skipped\n"):format(handler.successesCount, failed(),
      handler.pendingsCount))
    return nil, true
  end)
  return handler
end
