--[[
Log messages: they go to luup.log on a Luup system, otherwise to print.

`luup` is looked up at each call, because it may appear after the module was loaded. Knows nothing of connections.
--]]

local _, import, world = ...
local clock, guard = import("clock"), import("guard")

local log = {
  name = "luws", -- prefix of the messages
  settings = {}, -- the module table, in which users set debug_mode
  output = nil, -- output(level, message): called instead of print
}

local ERROR, WARNING, NORMAL = 1, 2, 50

local function write(level, format, ...)
  local ok, text = pcall(string.format, format, ...)
  local message = log.name .. ": " .. (ok and text or format)
  -- A failure to log must not become an error for the user.
  local logged = pcall(function() rawget(_G, "luup").log(message, level) end)
  if not logged then pcall(log.output or print, level, message) end
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
  if world.failed then world.failed(what, err) end
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

-- As in LuWS, a longer string is cut to this many bytes, with three dots at its end.
local LONGEST = 255

-- Names with these words in them have secrets as their values: options such as ssl_password, headers, parameters of
-- URLs.
local SECRETS = {
  "password", "passwd", "passphrase", "secret", "token", "authorization", "bearer", "cookie", "api[_-]?key",
}

local HIDDEN = "(hidden)"

--- is_secret(name): returns whether the value under this key, or of this parameter, is not for logs.
function log.is_secret(name)
  if type(name) ~= "string" then return false end
  name = name:lower()
  for _, word in ipairs(SECRETS) do
    if name:find(word) then return true end
  end
  return false
end

local is_secret = log.is_secret

--- without_secrets(text): returns a text without the secrets of URLs in it: user and password, and parameters with
-- such names.
function log.without_secrets(text)
  text = text:gsub("(%a[%w+.-]*://)[^/?#%s]*@", "%1" .. HIDDEN .. "@")
  return (text:gsub("([?&]([^?&=%s]+)=)[^&#%s]+", function(start, name)
    return is_secret(name) and start .. HIDDEN or nil
  end))
end

--- Returns a string of at most LONGEST bytes, which ends with a whole character.
local function cut(text)
  if #text <= LONGEST then return text end
  local last = LONGEST - 3
  while last > LONGEST - 6 and text:byte(last + 1) >= 128 and text:byte(last + 1) < 192 do last = last - 1 end
  return text:sub(1, last) .. "..."
end

--- Returns a string as a Lua literal, on one line.
local function quoted(text)
  return '"' .. cut(text):gsub('[%c"\\]', function(c)
    return (c == '"' or c == "\\") and "\\" .. c or ("\\%03d"):format(c:byte())
  end) .. '"'
end

local function key_text(key)
  if type(key) == "number" or type(key) == "string" and key:match("^[%a_][%w_]*$") then return tostring(key) end
  return "[" .. (type(key) == "string" and quoted(key) or guard.text(key) or type(key)) .. "]"
end

-- At most this many tables are shown, and to this depth: logs are for reading.
local MOST, DEEPEST = 1000, 40

-- The values under these keys are not shown in logs: the state of a connection, which holds the password of its URL,
-- and the number of its session.
log.STATE, log.NUMBER = {}, {}

--- Returns the text in place of a field of a connection, or of a table in one, that must not get into a log; or nil.
local function discreet(key, value)
  if is_secret(key) then return HIDDEN end
  if type(value) ~= "string" then return nil end
  -- The URL of a proxy needs no scheme, and the password in it may have any character in it.
  if key == "proxy" or key == "url" then
    local scheme, rest = value:match("^(%a%w*://)(.*)$")
    value = (scheme or "") .. (rest or value):gsub("^.*@", HIDDEN .. "@")
  end
  if key == "path" then value = value:gsub("%?.*", "?...") end
  return quoted(log.without_secrets(value))
end

--- Orders entries { key, text }: numbers by their value, then the others by their text.
local function comes_before(a, b)
  local is_number, is_other_number = type(a[1]) == "number", type(b[1]) == "number"
  if is_number and is_other_number then return a[1] < b[1] end
  if is_number ~= is_other_number then return is_number end
  return a[2] < b[2]
end

local function dump(value, shown, depth, in_connection)
  if type(value) == "string" then return quoted(value) end
  if type(value) ~= "table" then return guard.text(value) or type(value) end
  if shown[value] then return "(recursion)" end
  if shown.count >= MOST or depth > DEEPEST then return "(...)" end
  shown[value], shown.count = true, shown.count + 1
  in_connection = in_connection or rawget(value, log.STATE) ~= nil
  local entries, parts = {}, {}
  for k, v in next, value do
    if k ~= log.STATE and k ~= log.NUMBER then
      local text = in_connection and discreet(k, v) or dump(v, shown, depth + 1, in_connection)
      entries[#entries + 1] = { k, key_text(k) .. "=" .. text }
    end
  end
  shown[value] = nil
  table.sort(entries, comes_before)
  for i, entry in ipairs(entries) do parts[i] = entry[2] end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

--- dump(value): returns the value as text, tables with their contents; a table inside itself shows as "(recursion)".
-- Of a connection, the query of its path is not shown, and what seems to be a secret shows as "(hidden)".
function log.dump(value) return dump(value, { count = 0 }, 1) end

return log
