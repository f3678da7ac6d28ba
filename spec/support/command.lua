-- The command line of luws for specs: runs it in a shell, and collects what it prints, and its exit status.

local files = require "spec.support.files"

local command = {}

local INTERPRETER = os.getenv "LUWS_SPEC_LUA" or "lua5.1"

-- wait_for COMMAND...: runs a command again and again, until it succeeds or ten seconds are over.
local WAIT_FOR = "wait_for() { for _ in $(seq 500); do \"$@\" && return; sleep 0.02; done; echo \"late: $*\" >&2; }"

--- quote(word): returns a word for a shell.
function command.quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

--- line(...): returns the command line of luws with these arguments.
function command.line(...)
  local words = { INTERPRETER, "bin/luws" }
  for _, word in ipairs { ... } do words[#words + 1] = command.quote(word) end
  return table.concat(words, " ")
end

--- shell(script): runs a script. `$errors` in it is a file for what goes to the standard error. Returns what it prints,
-- what is in that file, and the status.
function command.shell(script)
  local errors = os.tmpname()
  local pipe = assert(io.popen(("errors=%s; %s\n%s\necho \"status $?\""):format(errors, WAIT_FOR, script)))
  local output, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
  pipe:close()
  local said = files.read(errors)
  os.remove(errors)
  return output, said, tonumber(status)
end

--- run(input, ...): runs luws with these arguments; its standard input is a pipe with this text. Returns the same.
function command.run(input, ...)
  return command.shell(("printf %%s %s | timeout 20 %s 2>$errors"):format(command.quote(input), command.line(...)))
end

return command
