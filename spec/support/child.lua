-- Runs Lua programs in their own interpreters, for specs of things that only a fresh state or an exit status shows.
--
-- The interpreter is the one that runs the specs (LUWS_SPEC_LUA). This file knows nothing of what the programs do.

local child = {}

local INTERPRETER = os.getenv "LUWS_SPEC_LUA" or "lua5.1"

-- Programs are written for Lua 5.1; its successors are given what they lack of that, on the programs' first line.
local ROOT = debug.getinfo(1, "S").source:match "^@(.*)spec/support/child%.lua$" or ""
local PRELUDE = _VERSION == "Lua 5.1" and "" or ("dofile(%q).install() "):format(ROOT .. "spec/support/compat.lua")

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- start{ argument, ... }: starts an interpreter with these arguments; `input`, if given, is its program.
-- `environment`: assignments for the shell; `memory`: how many KiB of memory the interpreter may have. Returns a
-- function that waits for the end, and returns the output (both streams) and the exit status.
function child.start(arguments)
  local limit = arguments.memory and ("ulimit -v %d;"):format(arguments.memory) or ""
  local words = { limit .. (arguments.environment or ""), quote(INTERPRETER) }
  for _, argument in ipairs(arguments) do words[#words + 1] = quote(argument) end
  local script
  if arguments.input then
    script = os.tmpname()
    local file = assert(io.open(script, "w"))
    assert(file:write(PRELUDE, arguments.input))
    file:close()
    table.insert(words, 3, quote(script))
  end
  -- popen does not give the status in Lua 5.1. With `exec`, a signal would kill the shell itself.
  local pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1 </dev/null; echo \"status $?\"", "r"))
  return function()
    local output, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
    pipe:close()
    if script then os.remove(script) end
    return output, tonumber(status)
  end
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
