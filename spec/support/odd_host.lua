-- Runs Lua programs as unusual hosts would: with a C library that does unusual things, and with functions of POSIX.
--
-- odd_host.c says what that is. It is built for the library of this run's interpreter when a spec first asks for it.

local child = require "spec.support.child"

local odd_host = {}

local SOURCE = debug.getinfo(1, "S").source:match "^@(.*)%.lua$" .. ".c"

-- Programs find the functions in `odd`. `status(name)` is a number of /proc/self/status, `now` a monotonic clock;
-- (in any locale), and `descriptors()` counts those that are open. It has no comments, for it becomes one line.
local PRELUDE = [[
  local odd = assert(package.loadlib(%q, "luaopen_odd_host"))()
  local measure = require "spec.support.measure"
  local status, descriptors = measure.status, measure.descriptors
  local function now()
    local file = io.open "/proc/uptime"
    local whole, hundredths = file:read "*a":match "^(%%d+)%%.(%%d+)"
    file:close()
    return whole + hundredths / 100
  end
]]

-- busted reloads modules for each spec file, so what is made once for a run is kept where busted does not look.
local registry = debug.getregistry()

local function library()
  local built = registry["luws.spec.odd_host"]
  if built then return built end
  local folder = assert(os.getenv "LUWS_SPEC_FOLDER", "scripts/busted.sh gives the run a folder")
  built = folder .. "/odd_host.so"
  local lua = rawget(_G, "jit") and "luajit" or _VERSION:lower():gsub(" ", "")
  local command = "cc -O1 -Wall -Wextra -shared -fPIC -Wl,-z,lazy,-z,nodelete -o %s %s $(pkg-config --cflags %s) -ldl"
    .. " 2>&1"
  local pipe = assert(io.popen(command:format(built, SOURCE, lua)))
  local said = pipe:read "*a"
  pipe:close()
  assert(said == "", "the library cannot be built (scripts/setup.sh installs what it needs): " .. said)
  registry["luws.spec.odd_host"] = built
  return built
end

--- start{ input = program, argument, ..., environment = }: the same as child.start, in an unusual host.
function odd_host.start(arguments)
  local path = library()
  local started = { environment = ("LD_PRELOAD=%s %s"):format(path, arguments.environment or "") }
  for i, argument in ipairs(arguments) do started[i] = argument end
  started.input = PRELUDE:format(path):gsub("\n%s*", " ") .. "\n" .. arguments.input
  return child.start(started)
end

--- The same, but waits for the end at once.
function odd_host.run(arguments)
  return odd_host.start(arguments)()
end

return odd_host
