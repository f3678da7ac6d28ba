-- Runs Lua programs in their own interpreters, for specs of things that only a fresh state or an exit status shows.
--
-- The interpreter is the one that runs the specs (LUWS_SPEC_LUA). This file knows nothing of what the programs do.

local child = {}

local INTERPRETER = os.getenv "LUWS_SPEC_LUA" or "lua5.1"

-- One that has not ended after so many seconds is killed, which is status 137: no run waits for ever.
local LIMIT = "timeout --foreground --signal=KILL 200 env"

-- Programs are written for Lua 5.1; its successors are given what they lack of that, on the programs' first line.
local ROOT = debug.getinfo(1, "S").source:match "^@(.*)spec/support/child%.lua$" or ""
local PRELUDE = _VERSION == "Lua 5.1" and "" or ("dofile(%q).install() "):format(ROOT .. "spec/support/compat.lua")

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local Child = {}
Child.__index = Child

--- spawn(arguments, before): starts an interpreter by the shell; `before` goes before its name. Returns an object.
local function spawn(arguments, before)
  local words = {}
  if arguments.memory then words[#words + 1] = ("ulimit -v %d;"):format(arguments.memory) end
  if arguments.descriptors then words[#words + 1] = ("ulimit -S -n %d;"):format(arguments.descriptors) end
  words[#words + 1] = LIMIT
  words[#words + 1] = arguments.environment
  words[#words + 1] = before
  words[#words + 1] = quote(INTERPRETER)
  local self = setmetatable({}, Child)
  if arguments.input then
    self.script = os.tmpname()
    local file = assert(io.open(self.script, "w"))
    assert(file:write(PRELUDE, arguments.input))
    file:close()
    words[#words + 1] = quote(self.script)
  end
  for _, argument in ipairs(arguments) do words[#words + 1] = quote(tostring(argument)) end
  -- popen does not give the status in Lua 5.1. With `exec`, a signal would kill the shell itself.
  self.pipe = assert(io.popen("(" .. table.concat(words, " ") .. ") 2>&1 </dev/null; echo \"status $?\"", "r"))
  return self
end

--- wait(): waits for its end. Returns the output (both streams) and the exit status; nothing the second time.
function Child:wait()
  if not self.pipe then return end
  local output, status = self.pipe:read("*a"):match "^(.*)status (%d+)\n$"
  self.pipe:close()
  self.pipe = nil
  if self.script then os.remove(self.script) end
  return output, tonumber(status)
end

--- stop([signal]): ends a child of `serve` by a signal (TERM). Returns the rest of its output, and the exit status.
function Child:stop(signal)
  if not self.pipe then return end
  os.execute(("kill -%s %s"):format(signal or "TERM", self.pid))
  return self:wait()
end

--- start{ argument, ... }: starts an interpreter with these arguments; `input`, if given, is its program.
-- `environment`: assignments, options of env, or a command that starts it; `memory`: how many KiB of memory it may
-- have; `descriptors`: how many of those, unless it asks for more. Returns a function that waits for the end, and
-- returns the output (both streams) and the exit status.
function child.start(arguments)
  local self = spawn(arguments)
  return function() return self:wait() end
end

local serving = {}

--- serve{ argument, ... }: the same, for a program that says when it is ready. Returns an object with the fields pid,
-- and line: the first line of its output. Call child.over after each test.
function child.serve(arguments)
  local self = spawn(arguments, "sh -c 'echo $$; exec \"$@\"' sh")
  serving[#serving + 1] = self
  self.pid, self.line = self.pipe:read "*l", self.pipe:read "*l"
  return self
end

--- over(): ends what `serve` has started, and a test that has failed has left. The end of the run would wait for it.
function child.over()
  for _, self in ipairs(serving) do self:stop "KILL" end
  serving = {}
end

--- The same as `start`, but waits for the end at once.
function child.run(arguments)
  return child.start(arguments)()
end

--- Runs this program with these arguments in a fresh interpreter. Returns its output and exit status.
function child.program(text, ...)
  return child.run { input = text, ... }
end

return child
