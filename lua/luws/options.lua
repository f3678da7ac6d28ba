--[[
The options of wsopen: one row each, with its default and what is checked about it.

wsopen checks them and goes on with what it has read then; those that are read again later (the table stays the
caller's and may change) are read with options.number, which falls back to the default instead of failing.
--]]

local native, import = ...
local protect = import("protect")

local options = {}

local function of_type(...)
  local types = { ... }
  return function(value)
    for _, name in ipairs(types) do
      if type(value) == name then return nil end
    end
    return ("%s expected, got %s"):format(table.concat(types, " or "), type(value))
  end
end

local function callable(value)
  local meta = debug.getmetatable(value)
  if type(value) == "function" or meta and meta.__call then return nil end
  return "function expected, got " .. type(value)
end
options.callable = callable

local function at_least(least)
  return function(value)
    if type(value) ~= "number" then return "number expected, got " .. type(value) end
    if value < least or value ~= value then -- the latter is NaN
      return ("a number of at least %d expected, got %s"):format(least, tostring(value))
    end
  end
end

local words = of_type("string", "table")

--- A whole number in a range.
local function whole(least, most)
  local range = most and ("from %d to %d"):format(least, most) or ("from %d up"):format(least)
  return function(value)
    if type(value) ~= "number" then return ("whole number %s expected, got %s"):format(range, type(value)) end
    if value % 1 ~= 0 or value < least or value > (most or math.huge) then
      return ("whole number %s expected, got %s"):format(range, tostring(value))
    end
  end
end

--- What stands between others in SockProxy's words.
local function word(value)
  if type(value) ~= "string" then return "string expected, got " .. type(value) end
  if not value:find("^[!-.0-~]+$") then return "visible ASCII without slashes expected" end
end

-- name, default, check. Seconds may be fractions; sizes are bytes.
local rows = {
  -- handlers
  { "handler_args", nil, of_type("table") }, -- array: further arguments for the handlers
  { "control_handler", nil, callable }, -- called before the default reply to a control frame
  { "sink", nil, callable }, -- sink(conn, opcode): an LTN12 sink for the message that begins, or nil
  -- receiving
  { "receive_timeout", 0, at_least(0) }, -- s without a complete frame; 0: never
  { "receive_chunk_size", 16384, at_least(1) }, -- bytes that one wsreceive reads at most
  { "max_payload_size", 65535, at_least(0) }, -- bytes of one message
  -- sending
  { "use_masking", true, of_type("boolean") },
  { "deflate", false, of_type("boolean", "table") }, -- permessage-deflate: its own options are checked below
  { "fragment_size", 0, at_least(0) }, -- larger messages are sent in fragments; 0: never
  { "send_timeout", 5, at_least(0) }, -- s that wssend waits for room
  -- opening and closing
  { "connect", nil, callable }, -- connect(host, port, options): a socket, or nil and why not
  { "connect_timeout", 15, at_least(0) }, -- s for the look-up, TCP and TLS together
  { "upgrade_timeout", 5, at_least(0) }, -- s for the upgrade
  { "close_timeout", 0.5, at_least(0) }, -- s that wsclose waits for the peer's close frame
  { "sockproxy", false, of_type("boolean", "table") }, -- its own options are checked below
  { "upgrade_headers", nil, of_type("table") }, -- header name to value
  { "subprotocols", nil, words }, -- one or an array, the preferred one first
}

local default = {}
for _, row in ipairs(rows) do default[row[1]] = row[2] end

--- checked(given): a table of all options as they are now, with the defaults of those that are not given; or nil and
-- what is wrong with one (see tls for those of TLS).
function options.checked(given)
  local result = {}
  for _, row in ipairs(rows) do
    local name, check = row[1], row[3]
    local value = options.read(given, name)
    local wrong = value ~= nil and check(value)
    if wrong then return nil, ("bad option '%s' (%s)"):format(name, wrong) end
    if value == nil then value = row[2] end
    result[name] = value
  end
  return result
end

-- The options of permessage-deflate (RFC 7692 section 7.1), and how to compress.
local deflate_rows = {
  { "server_no_context_takeover", false, of_type("boolean") },
  { "client_no_context_takeover", false, of_type("boolean") },
  { "server_max_window_bits", nil, whole(8, 15) },
  { "client_max_window_bits", nil, whole(8, 15) },
  { "level", 6, whole(1, 9) }, -- 1 is the fastest, 9 makes the smallest
  { "threshold", 128, whole(0) }, -- bytes; smaller messages go as they are
}

-- The options of SockProxy.
local sockproxy_rows = {
  { "host", "127.0.0.1", word },
  { "port", 2504, whole(1, 65535) },
  -- whom to notify: without a device, nobody
  { "device", nil, whole(0) },
  { "service", nil, word },
  { "action", "HandleReceive", word },
  { "pid", nil, word },
  { "rtim", 0, whole(0) }, -- ms of silence until SockProxy gives up; 0: never
  { "pace", 0, whole(0) }, -- s between notifications
  { "timeout", 10, at_least(0) }, -- s to reach SockProxy, and for it to connect, which takes it up to 5
  { "required", false, of_type("boolean") }, -- whether to fail where there is no SockProxy
}

--- complete(option, rows, given): a table of options with all defaults; or false and what is wrong with it.
local function complete(option, table_rows, given)
  given = type(given) == "table" and given or {}
  local result, names = {}, {}
  for _, row in ipairs(table_rows) do
    local name, usual, check = row[1], row[2], row[3]
    local value = options.read(given, name)
    local wrong = value ~= nil and check(value)
    if wrong then return false, ("bad option '%s' (%s: %s)"):format(option, name, wrong) end
    if value == nil then value = usual end
    names[name], result[name] = true, value
  end
  for name in pairs(given) do
    if not names[name] then return false, ("bad option '%s' (%s: unknown)"):format(option, tostring(name)) end
  end
  return result
end

--- deflate(checked): a complete table of the options of compression, or nil if it is not wanted; or false and
-- what is wrong with them.
function options.deflate(checked)
  if checked.deflate then return complete("deflate", deflate_rows, checked.deflate) end
end

--- sockproxy(checked, target): the same for SockProxy.
function options.sockproxy(checked, target)
  local wanted = checked.sockproxy
  if not wanted then return nil end
  if checked.connect then return false, "bad option 'sockproxy' (there is a connect function, too)" end
  local proxy, why = complete("sockproxy", sockproxy_rows, wanted)
  if not proxy then return false, why end
  if proxy.device and not proxy.service then return false, "bad option 'sockproxy' (service: missing)" end
  proxy.target_host, proxy.target_port = target.host, target.port
  proxy.device = proxy.device and ("%.0f"):format(proxy.device)
  return proxy
end

--- of(conn): the options table of a connection, which may have been replaced by anything.
function options.of(conn)
  if type(conn.options) ~= "table" then conn.options = {} end
  return conn.options
end

local function index(given, name) return given[name] end

--- read(given, name): the option's value; or nil and, if that failed, why: the table is the caller's and may inherit.
function options.read(given, name)
  local value = rawget(given, name)
  if value ~= nil or not debug.getmetatable(given) then return value end
  local ok, inherited = pcall(index, given, name)
  if ok then return inherited end
  return nil, "it cannot be read: " .. (protect.text(inherited) or type(inherited))
end

--- number(given, name): the value of an option that is a number, whatever has become of the table since the check; or
-- its default.
function options.number(given, name)
  local value = options.read(given, name)
  if type(value) == "number" and value >= 0 then return value end
  return default[name]
end

-- One read takes no more, whatever is asked for: space is made before it is known what will come.
local LARGEST_CHUNK = 1024 * 1024

--- chunk_size(given): receive_chunk_size as a whole number of bytes that can be read.
function options.chunk_size(given)
  return math.floor(math.max(1, math.min(options.number(given, "receive_chunk_size"), LARGEST_CHUNK)))
end

-- What the handshake itself says (RFC 6455 section 4.1); another value would break it.
local fixed = { upgrade = "websocket", connection = "upgrade", ["sec-websocket-version"] = "13" }

local function header_value(value)
  if type(value) == "number" then return tostring(value) end
  -- For the original's sake, whose users added the line end that it forgot.
  if type(value) == "string" then return (value:gsub("\r\n$", "")) end
end

--- headers(checked, target): an array of { name, value } for the upgrade request, the subprotocols to
-- offer, and the value for the Host header; or nil and what is wrong with them.
function options.headers(checked, target)
  local headers, host, authorization = {}, target.host_header, target.authorization
  local subprotocols, offered = {}, {}
  local function offer(name)
    if not offered[name] then subprotocols[#subprotocols + 1] = name end
    offered[name] = true
  end
  local wanted = checked.subprotocols
  wanted = type(wanted) == "string" and { wanted } or wanted or {}
  for key in next, wanted do
    if type(key) ~= "number" then return nil, "bad option 'subprotocols' (string or array of strings expected)" end
  end
  for _, name in ipairs(wanted) do
    if type(name) ~= "string" or native.check_header(name, "") then
      return nil, "bad option 'subprotocols' (an element is not a token)"
    end
    offer(name)
  end
  for name, value in pairs(checked.upgrade_headers or {}) do
    local text = header_value(value)
    if type(name) ~= "string" then
      return nil, "bad option 'upgrade_headers' (a name is a " .. type(name) .. '; as in { ["X-Name"] = "value" })'
    elseif not text then
      return nil, ("bad option 'upgrade_headers' (%s: string or number expected, got %s)"):format(name, type(value))
    end
    local lower = name:lower()
    local wrong = native.check_header(name, text)
    if not wrong and (lower == "host" or lower == "sec-websocket-protocol") and text:find("[\128-\255]") then
      wrong = "the value of header " .. name .. " is not ASCII"
    end
    if wrong then return nil, ("bad option 'upgrade_headers' (%s)"):format(wrong) end
    if lower == "host" then
      host = text
    elseif lower == "sec-websocket-protocol" then
      for protocol in text:gmatch("[^%s,]+") do offer(protocol) end
    elseif fixed[lower] ~= text:lower() then
      if fixed[lower] or lower:match("^sec%-websocket%-") then
        return nil, ("bad option 'upgrade_headers' (%s belongs to the handshake)"):format(name)
      end
      if lower == "authorization" then authorization = nil end -- the URL's is not wanted then
      headers[#headers + 1] = { name, text }
    end
  end
  if authorization then headers[#headers + 1] = { "Authorization", authorization } end
  table.sort(headers, function(a, b) return a[1] < b[1] end)
  return headers, subprotocols, host
end

return options
