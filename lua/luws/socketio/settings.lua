--[[
What clients and servers of Socket.IO are given as options. Those with JavaScript's names have its units: times are in
milliseconds. What is none of ours is the engine's. Wrong values are errors, before anything has happened.
--]]

local _, import = ...
local engine_settings, guard, options = import("engineio/settings"), import("guard"), import("options")
local spelling = import("spelling")

local settings = {}

--- duration(value): reads a number of milliseconds, as seconds.
local function duration(value)
  local read, wrong = options.at_least(0)(value)
  if wrong then return nil, wrong end
  return read / 1000
end

local boolean = options.of_type("boolean")

local function timeout(value)
  if value == false then return false end
  local read, wrong = duration(value)
  if wrong then return nil, "a number of milliseconds or false expected, got " .. tostring(value) end
  return read
end

local function auth(value)
  if type(value) == "table" or guard.is_callable(value) then return value end
  return nil, "table or function expected, got " .. type(value)
end

local function binary_type(value)
  if value == "binary" or value == "string" then return value end
  return nil, ("'binary' or 'string' expected, got %s"):format(tostring(value))
end

local function recovery(value)
  if type(value) == "boolean" then return value and {} or false end
  if type(value) == "table" then return value end
  return nil, "table expected, got " .. type(value)
end

-- Rows { name, default, reader }; times are in seconds once they are read.
local rows = {
  client = {
    { "autoConnect", true, boolean },
    { "reconnection", true, boolean },
    { "reconnectionAttempts", math.huge, options.at_least(0) },
    { "reconnectionDelay", 1, duration },
    { "reconnectionDelayMax", 5, duration },
    { "randomizationFactor", 0.5, options.between(0, 1) },
    { "timeout", 20, timeout }, -- of an attempt to open the engine
    { "forceNew", false, boolean },
    { "multiplex", true, boolean },
    { "auth", nil, auth },
    { "ackTimeout", nil, duration },
    { "retries", nil, options.whole(0) },
    { "binaryType", "binary", binary_type },
  },
  server = {
    { "connectTimeout", 45, duration },
    { "cleanupEmptyChildNamespaces", false, boolean },
    { "connectionStateRecovery", false, recovery },
    { "binaryType", "binary", binary_type },
  },
  recovery = {
    { "maxDisconnectionDuration", 120, duration },
    { "skipMiddlewares", true, boolean },
  },
}

local PARSER = "luws.socketio has Socket.IO's own parser only; leave it out, at both ends"

-- JavaScript's options for what is not there: why, and what to do.
local ABSENT = {
  client = { parser = PARSER },
  server = {
    adapter = "luws.socketio keeps rooms in this process only; leave it out, and have all clients come to one server",
    parser = PARSER,
    serveClient = "luws.socketio has no client for browsers to serve; leave it out, and have pages load npm's",
  },
  recovery = {},
}

--- refuse_absent(role, others): raises an error for an option for what is not there, unless it turns that off.
local function refuse_absent(role, others)
  for name, why in pairs(ABSENT[role]) do
    if others[name] then error(("bad option '%s' (%s)"):format(name, why), 0) end
    others[name] = nil
  end
end

--- refuse_unknown(role, others): raises an error for an option that cannot be the engine's, or that is almost one of
-- ours and not known there.
local function refuse_unknown(role, others)
  local names = options.names(rows[role])
  for name in pairs(others) do
    local is_wrong = role == "recovery" or type(name) == "string" and not engine_settings.is_known(role, name)
      and spelling(name, names)
    if is_wrong then error(options.unknown(name, names), 0) end
  end
end

--- read(role, given): reads our options for "client", "server" or "recovery". Returns them, and a table of the
-- others, which are the engine's. Raises an error for a wrong value.
function settings.read(role, given)
  if given ~= nil and type(given) ~= "table" then
    error(("bad options (table expected, got %s)"):format(type(given)), 0)
  end
  local own, others = {}, {}
  for name, value in pairs(given or {}) do others[name] = value end
  local wrong = options.take(rows[role], others, own)
  if wrong then error(wrong, 0) end
  refuse_absent(role, others)
  refuse_unknown(role, others)
  if own.retries and not own.ackTimeout then error("bad option 'retries' (it needs ackTimeout)", 0) end
  return own, others
end

return settings
