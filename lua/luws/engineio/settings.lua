--[[
What clients and servers of Engine.IO are given as options. Those with JavaScript's names have its units: times are in
milliseconds there, and in seconds once they are read. luws's own options keep their names and units. Wrong options are
errors, before anything has happened.
--]]

local _, import = ...
local guard, options, packets = import("guard"), import("options"), import("engineio/packets")

local settings = {}

local MIB = 1024 * 1024

local boolean, text = options.of_type("boolean"), options.of_type("string")
local list_or_text = options.of_type("table", "string")

-- No more milliseconds than this are taken by JavaScript's timers, and so by clients that are told of them.
local LONGEST = 2 ^ 31 - 1

--- duration(value): reads a number of milliseconds, as seconds.
local function duration(value)
  local read, wrong = options.between(0, LONGEST)(value)
  return read and read / 1000, wrong
end

local TRANSPORTS = { polling = true, websocket = true }

--- Reads a list of transports.
local function transports(value)
  if type(value) ~= "table" then return nil, "table expected, got " .. type(value) end
  local list = {}
  for i, name in ipairs(value) do
    if not TRANSPORTS[name] then
      return nil, ("'polling' or 'websocket' expected, got %s"):format(guard.text(name) or type(name))
    end
    list[i] = name
  end
  if next(value, #list > 0 and #list or nil) ~= nil then return nil, "a list expected" end
  return list
end

local function with_threshold(value)
  if type(value) == "boolean" then return value and { threshold = 1024 } or false end
  if type(value) ~= "table" then return nil, "boolean or table expected, got " .. type(value) end
  local read, wrong = options.whole(0)(value.threshold or 1024)
  if wrong then return nil, "threshold: " .. wrong end
  return { threshold = read }
end

local function path(value)
  if type(value) == "string" and value:find "^/[!-~]*$" and not value:find "[?#]" then return value end
  return nil, "a path as in a URL expected, which begins with /"
end

local function message(value)
  local wrong = packets.problem(value)
  if wrong then return nil, wrong end
  return value
end

local function cookie(value)
  if type(value) == "boolean" then return value and {} or false end
  if type(value) == "string" then return { name = value } end
  if type(value) == "table" then return value end
  return nil, "boolean or table expected, got " .. type(value)
end

-- Rows { name, default, reader }.
local rows = {
  client = {
    { "path", "/engine.io", path },
    { "addTrailingSlash", true, boolean },
    { "transports", { "polling", "websocket" }, transports },
    { "tryAllTransports", false, boolean },
    { "upgrade", true, boolean },
    { "rememberUpgrade", false, boolean },
    { "query", nil, list_or_text }, -- name to value; or as in a URL
    { "extraHeaders", nil, options.of_type("table") },
    { "withCredentials", false, boolean },
    { "forceBase64", false, boolean },
    { "timestampRequests", nil, boolean },
    { "timestampParam", "t", text },
    { "requestTimeout", 0, duration }, -- of one request; 0: none
    { "protocols", nil, list_or_text }, -- subprotocols of the WebSocket
    { "perMessageDeflate", { threshold = 1024 }, with_threshold },
    -- luws's own
    { "max_payload_size", 64 * MIB, options.at_least(0) }, -- bytes of a message, and of the answer to a poll
    { "close_timeout", 5, options.at_least(0) }, -- s that closing may take
  },
  server = {
    { "path", "/engine.io", path },
    { "addTrailingSlash", true, boolean },
    { "transports", { "polling", "websocket" }, transports },
    { "allowUpgrades", true, boolean },
    { "pingInterval", 25, duration },
    { "pingTimeout", 20, duration },
    { "upgradeTimeout", 10, duration },
    { "maxHttpBufferSize", 1e6, options.whole(1) }, -- bytes
    { "httpCompression", { threshold = 1024 }, with_threshold },
    { "perMessageDeflate", false, with_threshold },
    { "allowRequest", nil, options.callable }, -- allowRequest(request, done): done(err, is_allowed)
    { "allowEIO3", false, boolean },
    { "cors", nil, options.of_type("table") },
    { "cookie", false, cookie },
    { "initialPacket", nil, message },
    -- luws's own
    { "max_clients", 10000, options.whole(1) },
    { "max_buffered", 16 * MIB, options.whole(1) }, -- bytes that may wait for one client
  },
}

local NAMES = { client = options.names(rows.client), server = options.names(rows.server) }

-- JavaScript's options that have other names here.
local RENAMED = {
  ca = "ssl_cafile", cert = "ssl_certificate", key = "ssl_key", pfx = "ssl_certificate", passphrase = "ssl_password",
  ciphers = "ssl_ciphers", rejectUnauthorized = "ssl_verify", agent = "proxy",
}

local DESTROY = "upgrades outside of the path are the program's or get 404 at once; leave it out"
local BROWSER = "it is for browsers; leave it out"

-- JavaScript's options for what is not needed here: why.
local ABSENT = {
  client = {
    autoUnref = "a session keeps no program running; leave it out",
    closeOnBeforeunload = BROWSER, useNativeTimers = BROWSER,
    transportOptions = "all transports have the same options; extraHeaders are for all requests",
  },
  server = {
    destroyUpgrade = DESTROY, destroyUpgradeTimeout = DESTROY,
    wsEngine = "luws has its own; leave it out",
  },
}

-- Options of wsopen that a client hands on.
local SHARED = {
  auth = true, connect = true, connect_timeout = true, cookies = true, proxy = true, proxy_auth = true,
  proxy_ssl = true, reactor = true, sockproxy = true, ssl = true,
}

--- is_known(role, name): returns whether there is something to say about an option of a "client" or of a "server" here.
function settings.is_known(role, name)
  if type(name) ~= "string" then return false end
  local is_shared = name:find "^ssl_" or SHARED[name]
  return (NAMES[role][name] or RENAMED[name] or ABSENT[role][name] or is_shared) and true or false
end

--- stranger(name, role): returns what is wrong with an option that is none of ours.
local function stranger(name, role)
  if RENAMED[name] then return ("bad option '%s' (it is %s here)"):format(name, RENAMED[name]) end
  local why = ABSENT[role][name]
  if why then return ("bad option '%s' (%s)"):format(name, why) end
  return options.unknown(name, NAMES[role])
end

--- read(role, given, is_handed_on): reads the options of a "client" or of a "server". Returns them, and a table of
-- those that are handed on: is_handed_on(name) says which may be. Raises an error for a wrong option.
local function read(role, given, is_handed_on)
  if given ~= nil and type(given) ~= "table" then
    error(("bad options (table expected, got %s)"):format(type(given)), 0)
  end
  local own, others = {}, {}
  for name, value in pairs(given or {}) do
    if value or not ABSENT[role][name] then others[name] = value end -- false turns off what is not there
  end
  local wrong = options.take(rows[role], others, own)
  if wrong then error(wrong, 0) end
  for name in pairs(others) do
    local is_ours = type(name) == "string" and (name:find "^ssl_" or is_handed_on(name))
    if RENAMED[name] or ABSENT[role][name] or not is_ours then error(stranger(name, role), 0) end
  end
  own.path = own.path:gsub("/$", "") .. (own.addTrailingSlash and "/" or "")
  return own, others
end

--- client(given): returns the options of a client, and those of wsopen among them.
function settings.client(given)
  return read("client", given, function(name) return SHARED[name] end)
end

--- server(given, is_handed_on): returns the options of a server, and the others, which are handed on to what listens.
function settings.server(given, is_handed_on)
  return read("server", given, is_handed_on)
end

return settings
