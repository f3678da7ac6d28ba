--[[
What the command prints: messages of the server to the standard output, everything else to the standard error, so that
programs read nothing but messages. On a terminal it has colours, unless NO_COLOR is set (https://no-color.org), and
what could control the terminal is made visible.
--]]

local native, import = ...
local log = import("log")

local output = {}

local TERMINALS = { input = native.is_terminal(0), output = native.is_terminal(1), errors = native.is_terminal(2) }

--- Whether somebody sits at a terminal and sees the messages there.
output.is_interactive = TERMINALS.input and TERMINALS.output

-- Why nothing can be printed any more.
output.broken = nil

local COLOURS = { grey = "\27[90m", red = "\27[31m", green = "\27[32m", yellow = "\27[33m" }

--- The interpreter, as it calls itself.
output.interpreter = rawget(_G, "jit") and rawget(_G, "jit").version or _VERSION

local function set(name)
  local value = os.getenv(name)
  return value ~= nil and value ~= ""
end

local IS_DUMB = os.getenv "TERM" == "dumb"

local function colour(name, text, is_terminal)
  if not is_terminal or set "NO_COLOR" or IS_DUMB then return text end
  return COLOURS[name] .. text .. "\27[0m"
end

--- visible(text): returns a text without characters that control a terminal: each is shown by its number. Line ends and
-- tabs stay.
function output.visible(text)
  text = text:gsub("[%z\1-\8\11-\31\127]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return (text:gsub("\194([\128-\159])", function(c) return ("\\u00%02x"):format(c:byte()) end))
end

--- write(text): writes to the standard output.
local function write(text)
  local ok, why = io.stdout:write(text)
  if ok then ok, why = io.stdout:flush() end
  if not ok then output.broken = output.broken or why end
end

local PROMPT = "> "
local has_prompt = false

--- prompt(): asks for a line, on a terminal.
function output.prompt()
  if has_prompt or not output.is_interactive then return end
  write(PROMPT)
  has_prompt = true
end

--- leave_prompt(): removes the prompt.
function output.leave_prompt()
  if has_prompt then write(IS_DUMB and "\r" or "\r\27[K") end
  has_prompt = false
end

--- over_prompt(print): calls print(), which begins where the prompt is. What was typed there is not shown any more, but
-- the terminal still has it, and shows it again at Ctrl-R.
local function over_prompt(print)
  local had = has_prompt
  output.leave_prompt()
  print()
  if had then output.prompt() end
end

--- entered(): a line was entered, so there is no prompt any more.
function output.entered() has_prompt = false end

--- say(text): prints a line for people. If that is not possible, nobody can be told.
function output.say(text, name)
  over_prompt(function() io.stderr:write(colour(name or "grey", output.visible(text), TERMINALS.errors), "\n") end)
end

--- fail(text): prints what is wrong.
function output.fail(text) output.say(text, "red") end

--- line(text, name): prints a line of a report to the standard output, with its first word in a colour.
function output.line(text, name)
  local first, rest = output.visible(text):match "^(%S*)(.*)$"
  write((name and colour(name, first, TERMINALS.output) or first) .. rest .. "\n")
end

--- text(data): prints a text message: as it is, or for eyes.
function output.text(data)
  if not TERMINALS.output then return write(data .. "\n") end
  over_prompt(function() write("< " .. output.visible(data):gsub("\n", "\n  ") .. "\n") end)
end

--- binary(data): prints a binary message as hexadecimal digits.
function output.binary(data)
  local digits = data:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  if not TERMINALS.output then return write(digits .. "\n") end
  digits = digits:gsub("%x%x", " %0")
  over_prompt(function() write(("< binary, size %d:%s\n"):format(#data, digits)) end)
end

--- plain(text): prints a text that somebody has asked for, such as a page of help.
function output.plain(text) write(text .. "\n") end

--- take_log(): has the messages of luws's log printed as what they are: remarks for people.
function output.take_log()
  log.output = function(level, message) output.say(message, level <= 2 and "yellow" or "grey") end
end

return output
