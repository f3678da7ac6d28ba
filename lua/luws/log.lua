--[[
Log messages: they go to luup.log on a Luup system, otherwise to print.

`luup` is looked up at each call, because it may appear after the module was loaded. Knows nothing of connections.
--]]

local _, import = ...
local clock, guard = import("clock"), import("guard")

local log = {
  name = "luws", -- prefix of the messages
  settings = {}, -- the module table, in which users set debug_mode
}

local ERROR, WARNING, NORMAL = 1, 2, 50

local function write(level, format, ...)
  local ok, text = pcall(string.format, format, ...)
  local message = log.name .. ": " .. (ok and text or format)
  -- A failure to log must not become an error for the user.
  local logged = pcall(function() rawget(_G, "luup").log(message, level) end)
  if not logged then pcall(print, level, message) end
end

function log.error(...) write(ERROR, ...) end

-- A handler that raises an error for each message of a flood must not flood the log: at most 10 tracebacks are logged
-- per second, followed by a count.
local MOST_FAILURES = 10
local second, failures, untold = -math.huge, 0, 0

--- tell_untold(): logs how many errors of handlers were not logged, if any.
function log.tell_untold()
  if untold == 0 then return end
  local count = untold
  untold = 0
  write(ERROR, "handlers raised more errors: %d (at most %d are logged in a second)", count, MOST_FAILURES)
end

--- handler_failed(what, err): logs the error (with its stack) of a user's handler or sink.
function log.handler_failed(what, err)
  local now = clock.now()
  if now - second >= 1 then
    second, failures = now, 0
    log.tell_untold()
  end
  failures = failures + 1
  if failures > MOST_FAILURES then
    untold = untold + 1
  else
    write(ERROR, "%s: %s", what, err)
  end
end

function log.warning(...) write(WARNING, ...) end

--- Returns whether debug messages are wanted. Ask before composing one.
function log.debugging() return log.settings.debug_mode and true or false end

function log.debug(...)
  if log.settings.debug_mode then write(NORMAL, ...) end
end

--- bytes(data): returns data for a message on one line: all of a short string, the beginning of a long one.
function log.bytes(data)
  local shown = data:sub(1, 64):gsub("[%c\127-\255]", function(c) return ("\\%03d"):format(c:byte()) end)
  return '"' .. shown .. (#data > 64 and '"...' or '"')
end

--- Returns a string as a Lua literal, on one line.
local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c)
    return (c == '"' or c == "\\") and "\\" .. c or ("\\%03d"):format(c:byte())
  end) .. '"'
end

local function key_text(key)
  if type(key) == "string" and key:match("^[%a_][%w_]*$") then return key end
  return "[" .. (type(key) == "string" and quoted(key) or guard.text(key) or type(key)) .. "]"
end

-- At most this many tables are shown, and to this depth: logs are for reading.
local MOST, DEEPEST = 1000, 40

-- The values under these keys are not shown in logs: the state of a connection, which holds the password of its URL,
-- and the number of its session.
log.STATE, log.NUMBER = {}, {}

-- Fields of a connection, of its options and of its headers that hold secrets, in lower case.
local SECRET = {
  authorization = true, ["proxy-authorization"] = true, cookie = true, ["set-cookie"] = true, password = true,
  ssl_password = true,
}

--- Returns the text in place of a field of a connection, or of a table in one, that must not get into a log; or nil.
local function discreet(key, value)
  if type(key) ~= "string" then return nil end
  if SECRET[key:lower()] then return "(hidden)" end
  if key == "path" and type(value) == "string" then return quoted((value:gsub("%?.*", "?..."))) end
end

local function dump(value, shown, depth, in_connection)
  if type(value) == "string" then return quoted(value) end
  if type(value) ~= "table" then return guard.text(value) or type(value) end
  if shown[value] then return "(recursion)" end
  if shown.count >= MOST or depth > DEEPEST then return "(...)" end
  shown[value], shown.count = true, shown.count + 1
  in_connection = in_connection or rawget(value, log.STATE) ~= nil
  local parts = {}
  for k, v in next, value do
    if k ~= log.STATE and k ~= log.NUMBER then
      local text = in_connection and discreet(k, v) or dump(v, shown, depth + 1, in_connection)
      parts[#parts + 1] = key_text(k) .. "=" .. text
    end
  end
  shown[value] = nil
  table.sort(parts)
  return "{ " .. table.concat(parts, ", ") .. " }"
end

--- dump(value): returns the value as text, tables with their contents; a table inside itself shows as "(recursion)".
-- Of a connection, the query of its path and the values of known secrets are not shown.
function log.dump(value) return dump(value, { count = 0 }, 1) end

return log
