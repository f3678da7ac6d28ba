--[[
Makes settings of the bridge's options: checks each, and what goes together, before anything begins. Knows nothing of
where they were written (bridge/draft, bridge.run{}), nor of what is done with them.

Settings are a table with

  - each of options.CORE, by its name in Lua; times in seconds, sizes in bytes
  - places: where to listen, for luws.server's option listeners
  - tls: luws.server's options for TLS
  - access: who may do what (bridge/access)
  - log: bridge/log
  - backend: a function (bridge/backends/answer); or, with `reverse`, target: a table with url, framing and subprotocol
--]]

local native, import = ...
local access, blame, config = import("bridge/access"), import("blame"), import("bridge/config")
local logs, options = import("bridge/log"), import("bridge/options")
local answer, from_lua = import("bridge/backends/answer"), import("bridge/backends/lua")
local listeners, plugin = import("server/listeners"), import("bridge/plugin")

local settings = {}

-- What makes the backends of their options.
local MAKERS = { defaultpeer = import("bridge/backends/default").make, file = import("bridge/backends/file").make }

-- What has no meaning if there are no requests, or no other peer than the one of the option url.
local NOT_REVERSED = {
  "allow", "origin", "auth", "auth_file", "tls_cert", "tls_key", "tls_client_ca", "trusted_proxies", "status",
  "proxy_protocol", "peer", "host", "peer_port",
}

-- The metatable of settings.
local SETTINGS = {}

-- The functions below return the name of an option and what is wrong with it, or nil.

--- read_rows(rows, given, is_text, into): reads the options of these rows.
local function read_rows(rows, given, is_text, into)
  for _, row in ipairs(rows) do
    local key = options.key(row)
    if given[key] == nil then
      into[key] = row.default
    else
      local value, wrong = options.read(row, given[key], is_text)
      if wrong then return key, wrong end
      into[key] = value
    end
  end
end

--- passwords(path, list): adds what clients send for the lines USER:PASSWORD of a file to a list.
local function passwords(path, list)
  local number, count = 0, #list
  local content, why = config.content(path)
  if not content then return "auth_file", ("%s cannot be read: %s"):format(path, why) end
  for line in content:gmatch "([^\n]*)\n?" do
    number = number + 1
    line = line:gsub("\r$", "")
    if line ~= "" then
      local one, wrong = access.credentials(line)
      if not one then return "auth_file", ("%s:%d: %s"):format(path, number, wrong) end
      list[#list + 1] = one
    end
  end
  if #list == count then return "auth_file", path .. " has no users" end
end

--- add_access(read): adds the rules of access.
local function add_access(read)
  local credentials = (read.auth or read.auth_file) and { read.auth }
  if read.auth_file then
    local name, wrong = passwords(read.auth_file, credentials)
    if name then return name, wrong end
  end
  read.access = access.new { credentials = credentials, origins = read.origin, allowed = read.allow }
end

--- add_places(read): adds where to listen. What systemd passes on wins (sd_listen_fds(3)).
local function add_places(read)
  local path = read.listen:match "^%a+://(.*)$"
  if (listeners.passed() or 0) > 0 then
    read.places = { { fd = "systemd" } }
  else
    read.places = { path and { unix = path, mode = "600" } or { host = read.listen, port = read.port } }
  end
end

-- What LuaSec calls the options for TLS.
local TLS = { ssl_certificate = "tls_cert", ssl_key = "tls_key", ssl_cafile = "tls_client_ca" }

--- add_tls(read): adds luws.server's options for TLS. Reads the files, so that one that is wrong is found here.
local function add_tls(read)
  if read.tls_cert and not read.tls_key then return "tls_cert", "the private key (tls-key) is missing" end
  for _, name in ipairs { "tls_key", "tls_client_ca" } do
    if read[name] and not read.tls_cert then return name, "the certificate (tls-cert) is missing" end
  end
  local verify = read.tls_client_ca and { "peer", "fail_if_no_peer_cert" } or nil
  read.tls = { ssl_verify = verify }
  for theirs, own in pairs(TLS) do read.tls[theirs] = read[own] end
  if read.tls_cert then
    local acceptor, wrong =
      native.acceptor { certificate = read.tls_cert, key = read.tls_key, cafile = read.tls_client_ca, verify = verify }
    if not acceptor then
      local name, why = blame(wrong)
      return TLS[name] or "tls_cert", why or wrong
    end
  end
  local wrong = read.tls_peer_ca and native.check_tls { verify = "peer", cafile = read.tls_peer_ca }
  if wrong then return "tls_peer_ca", select(2, blame(wrong)) or wrong end
end

--- add_target(read, own, is_given): adds the server to which clients of TCP are connected. `is_given(name)` says
-- whether an option was given.
local function add_target(read, own, is_given)
  for _, name in ipairs(NOT_REVERSED) do
    if is_given(name) then return name, "it has no meaning with reverse" end
  end
  if read.backend ~= "defaultpeer" then return "backend", "there is none with reverse" end
  if not own.url then return "reverse", "the server (the backend's option url) is missing" end
  local url, wrong = native.parse_url(own.url)
  if not url then return "url", wrong end
  if own.protocol == "*" then return "protocol", "nobody offers a subprotocol with reverse" end
  local spec
  spec, wrong = answer.framing(own.framing, own.framing_config)
  if not spec then return "framing", wrong end
  read.backend, read.target = nil, { url = own.url, framing = spec, subprotocol = own.protocol }
end

--- add_backend(read, own): replaces the name of the backend by the backend.
local function add_backend(read, own)
  local name, wrong
  if read.peer and read.backend ~= "defaultpeer" then
    return "backend", "there is a function for it, the option peer"
  elseif read.peer then
    read.backend = from_lua.of(read.peer)
  elseif plugin.path(read.backend) then
    read.backend, name, wrong = from_lua.make(plugin.path(read.backend), own)
  elseif own.url then
    return "url", "it has no meaning without reverse"
  else
    read.backend, name, wrong = MAKERS[read.backend](own)
  end
  return name, wrong
end

--- check(core, given, is_text): makes settings of the options of the bridge, and of its backend, by their names in Lua;
-- the values of `is_text` are those of a command line. Returns them; or nil, the name of an option, and what is wrong
-- with it.
function settings.check(core, given, is_text)
  local read, own = setmetatable({}, SETTINGS), {}
  local name, wrong = read_rows(options.CORE, core, is_text, read)
  if not name then name, wrong = read_rows(options.LUA, core, is_text, read) end
  if name then return nil, name, wrong end
  local rows = options.BACKENDS[read.backend]
  if not rows then own = given else name, wrong = read_rows(rows, given, is_text, own) end
  if not name then name, wrong = add_access(read) end
  if not name then name, wrong = add_tls(read) end
  if name then return nil, name, wrong end
  add_places(read)
  read.log = logs.new(read.log_level, read.log)
  read.pong_timeout = read.pong_timeout or read.ping
  if read.reverse then
    name, wrong = add_target(read, own, function(option)
      return core[option] ~= nil and core[option] ~= false or own[option] ~= nil
    end)
  else
    name, wrong = add_backend(read, own)
  end
  if name then return nil, name, wrong end
  return read
end

--- read(given): makes settings of the options in one table, as Lua programs write them. Returns them, or nil and what
-- is wrong. Settings are returned as they are.
function settings.read(given)
  if type(given) ~= "table" then return nil, "table of options expected, got " .. type(given) end
  if getmetatable(given) == SETTINGS then return given end
  local rows = options.BACKENDS[given.peer == nil and (given.backend or "defaultpeer")] or {}
  local known, own, core, backend = options.names(options.CORE, options.LUA, rows), options.names(rows), {}, {}
  for name, value in pairs(given) do
    if not known[name] then
      return nil, ("bad option '%s' (%s)"):format(tostring(name), options.unknown(name, known))
    end
    if own[name] then backend[name] = value else core[name] = value end
  end
  local read, name, wrong = settings.check(core, backend)
  if read then return read end
  return nil, ("bad option '%s' (%s)"):format(name, wrong)
end

return settings
