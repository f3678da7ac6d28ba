--[[
The module luws.command: what bin/luws runs. Finds the command that is asked for, and its options; the commands are in
command/*. Nothing here ends the process: main returns the exit status.
--]]

local native, import = ...
local arguments, luws, meant = import("command/arguments"), import("luws"), import("spelling")
local opening, output = import("command/opening"), import("command/output")

-- The commands in the order of the help. Each has summary, usage, argument (what its word is called), description,
-- options, notes and run(values, word). One that takes other words than one has read(rows, words), as `read` below.
-- `misused` is its status for wrong ones.
local COMMANDS = {
  { "connect", function() return import("command/connect") end },
  { "listen", function() return import("command/listen") end },
  { "doctor", function() return import("command/doctor") end },
  { "bridge", function() return import("command/bridge") end },
}

-- The options that all commands have.
local COMMON = {
  { "help", short = "h", help = "prints this" },
  { "version", short = "V", help = "prints the version" },
}

--- command(name): returns a command, or nil and what to say.
local function command(name)
  local known = {}
  for _, entry in ipairs(COMMANDS) do
    if entry[1] == name then return entry[2]() end
    known[entry[1]] = true
  end
  local other = meant(name, known)
  return nil, ("there is no command '%s'%s"):format(name, other and (" (%s?)"):format(other) or "")
end

--- options_of(found): returns the rows of a command's options, with those that all have.
local function options_of(found)
  local rows = {}
  for i, row in ipairs(found.options) do rows[i] = row end
  for _, row in ipairs(COMMON) do rows[#rows + 1] = row end
  return rows
end

local function overview()
  local lines = { "usage: luws COMMAND [OPTION]... ARGUMENT", "" }
  for _, entry in ipairs(COMMANDS) do lines[#lines + 1] = ("  %-10s %s"):format(entry[1], entry[2]().summary) end
  lines[#lines + 1] = ("  %-10s %s"):format("help", "prints the options of a command: luws help COMMAND")
  lines[#lines + 1] = ("  %-10s %s"):format("--version", "prints the version")
  return table.concat(lines, "\n")
end

local function page(found)
  local parts = { "usage: " .. found.usage, found.description, arguments.page(options_of(found)), found.notes }
  return table.concat(parts, "\n\n")
end

local function print_version() output.plain(("luws %d (%s)"):format(luws._VERSION, output.interpreter)) end

--- misused(text, name, found): says what is wrong with the arguments. Returns the exit status.
local function misused(text, name, found)
  output.fail(("luws%s: %s"):format(name and " " .. name or "", text))
  if found then output.say("usage: " .. found.usage) end
  output.say(("'luws help%s' says more"):format(name and " " .. name or ""))
  return found and found.misused or opening.STATUS.usage
end

--- read(rows, words, argument): returns the values of options, and the only word that is none, which is called
-- `argument`; or nil and what is wrong.
local function read(rows, words, argument)
  local values, others = arguments.read(rows, words)
  if not values then return nil, others end
  if values.help or values.version or #others == 1 then return values, others[1] end
  return nil, others[1] and "too many arguments: " .. others[2] or argument .. " is missing"
end

--- run(name, words): runs a command with its arguments. Returns the exit status.
local function run(name, words)
  local found, wrong = command(name)
  if not found then return misused(wrong) end
  local values, word = (found.read or read)(options_of(found), words, found.argument)
  if not values then return misused(word, name, found) end
  if values.help or values.version then
    if values.help then output.plain(page(found)) else print_version() end
    return opening.STATUS.ended
  end
  local status
  status, wrong = found.run(values, word)
  if not status then return misused(wrong, name, found) end
  return status
end

--- help(name, more): prints the page of a command, or all commands. Returns the exit status.
local function help(name, more)
  if more then return misused("too many arguments: " .. more) end
  local found, wrong
  if name then found, wrong = command(name) end
  if wrong then return misused(wrong) end
  output.plain(found and page(found) or overview())
  return opening.STATUS.ended
end

local public = {}

--- main(words): does what the words of a command line ask for. Returns the exit status.
function public.main(words)
  native.hold_streams() -- if it cannot be, no socket can be opened either
  output.take_log()
  local name, rest = words[1], {}
  for i = 2, #words do rest[i - 1] = words[i] end
  local status
  if name == "--version" or name == "-V" then
    print_version()
    status = opening.STATUS.ended
  elseif name == nil then
    status = misused "a command is missing: connect, listen, doctor or bridge"
  elseif name == "help" or name == "--help" or name == "-h" then
    status = help(rest[1], rest[2])
  elseif name:sub(1, 1) == "-" then
    status = misused(("unknown option '%s'"):format(name))
  else
    status = run(name, rest)
  end
  if output.broken then
    io.stderr:write("luws: the output cannot be written: ", tostring(output.broken), "\n")
    return opening.STATUS.failed
  end
  return status
end

return { public = public }
