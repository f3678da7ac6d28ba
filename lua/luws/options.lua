--[[
The options of wsopen: one row each, with its default and what is checked about it.

Options are checked once, by wsopen; those that are read again later (the table stays the caller's
and may change) are read with options.number, which falls back to the default instead of failing.
--]]

local native = ...

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
  local meta = type(value) == "table" and getmetatable(value)
  if type(value) == "function" or type(meta) == "table" and meta.__call then return nil end
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

-- name, default, check. Seconds may be fractions; sizes are bytes.
local rows = {
  -- handlers
  { "handler_args", nil, of_type("table") }, -- array: further arguments for the handlers
  { "control_handler", nil, callable }, -- called before the default reply to a control frame
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
  { "upgrade_headers", nil, of_type("table") }, -- header name to value
  { "subprotocols", nil, words }, -- one or an array, the preferred one first
  -- TLS: LuaSec's words
  { "ssl_protocol", "any", words },
  { "ssl_verify", "none", words },
  { "ssl_mode", "client", words },
  { "ssl_options", "all", words },
  { "ssl_cafile", nil, words },
}

local default = {}
for _, row in ipairs(rows) do default[row[1]] = row[2] end

--- check(given): nil, or what is wrong with the options table.
function options.check(given)
  for _, row in ipairs(rows) do
    local name, check = row[1], row[3]
    local value = given[name]
    local wrong = value ~= nil and check(value)
    if wrong then return ("bad option '%s' (%s)"):format(name, wrong) end
  end
end

-- The options of permessage-deflate (RFC 7692 section 7.1), and how to compress: name, default, and the range of a
-- number, or true for a flag.
local deflate_rows = {
  { "server_no_context_takeover", false, true },
  { "client_no_context_takeover", false, true },
  { "server_max_window_bits", nil, { 8, 15 } },
  { "client_max_window_bits", nil, { 8, 15 } },
  { "level", 6, { 1, 9 } }, -- 1 is the fastest, 9 makes the smallest
  { "threshold", 128, { 0, math.huge } }, -- bytes; smaller messages go as they are
}

--- deflate(given): a complete table of the options of compression, or nil if it is not wanted; or false and
-- what is wrong with them.
function options.deflate(given)
  local wanted = given.deflate
  if not wanted then return nil end
  local complete = {}
  for _, row in ipairs(deflate_rows) do
    local name, usual, range = row[1], row[2], row[3]
    local value = type(wanted) == "table" and wanted[name] or nil
    if value == nil then
      value = usual
    elseif range == true then
      if type(value) ~= "boolean" then return false, ("bad option 'deflate' (%s: boolean expected)"):format(name) end
    elseif type(value) ~= "number" or value % 1 ~= 0 or value < range[1] or value > range[2] then
      local text = "bad option 'deflate' (%s: whole number from %d %s expected)"
      return false, text:format(name, range[1], range[2] < math.huge and "to " .. range[2] or "up")
    end
    complete[name] = value
  end
  return complete
end

--- of(conn): the options table of a connection, which may have been replaced by anything.
function options.of(conn)
  if type(conn.options) ~= "table" then conn.options = {} end
  return conn.options
end

--- get(given, name): the option's value, or its default.
function options.get(given, name)
  local value = given[name]
  if value == nil then return default[name] end
  return value
end

--- number(given, name): the same for a number, whatever has become of the table since the check.
function options.number(given, name)
  local value = given[name]
  if type(value) == "number" and value >= 0 then return value end
  return default[name]
end

-- One read takes no more, whatever is asked for: space is made before it is known what will come.
local LARGEST_CHUNK = 1024 * 1024

--- chunk_size(given): receive_chunk_size as a whole number of bytes that can be read.
function options.chunk_size(given)
  return math.floor(math.max(1, math.min(options.number(given, "receive_chunk_size"), LARGEST_CHUNK)))
end

--- tls(given): the table of LuaSec's own names.
function options.tls(given)
  local luasec = {}
  for _, row in ipairs(rows) do
    local name = row[1]:match("^ssl_(.*)$")
    if name then luasec[name] = options.get(given, row[1]) end
  end
  return luasec
end

-- What the handshake itself says (RFC 6455 section 4.1); another value would break it.
local fixed = { upgrade = "websocket", connection = "upgrade", ["sec-websocket-version"] = "13" }

local function header_value(value)
  if type(value) == "number" then return tostring(value) end
  -- For the original's sake, whose users added the line end that it forgot.
  if type(value) == "string" then return (value:gsub("\r\n$", "")) end
end

local function add_subprotocols(list, text)
  for name in text:gmatch("[^%s,]+") do list[#list + 1] = name end
end

--- headers(given, target): an array of { name, value } for the upgrade request, the subprotocols to
-- offer, and the value for the Host header; or nil and what is wrong with them.
function options.headers(given, target)
  local headers, subprotocols, host = {}, {}, target.host_header
  local offered = given.subprotocols
  for _, name in ipairs(type(offered) == "string" and { offered } or offered or {}) do
    if type(name) ~= "string" or native.check_header(name, "") then
      return nil, "bad option 'subprotocols' (an element is not a token)"
    end
    subprotocols[#subprotocols + 1] = name
  end
  if target.authorization then headers[1] = { "Authorization", target.authorization } end
  for name, value in pairs(given.upgrade_headers or {}) do
    local text = header_value(value)
    if type(name) ~= "string" or not text then
      return nil, ("bad option 'upgrade_headers' (%s: string or number expected, got %s)")
        :format(tostring(name), type(value))
    end
    local wrong = native.check_header(name, text)
    if wrong then return nil, ("bad option 'upgrade_headers' (%s)"):format(wrong) end
    local lower = name:lower()
    if lower == "host" then
      host = text
    elseif lower == "sec-websocket-protocol" then
      add_subprotocols(subprotocols, text)
    elseif fixed[lower] ~= text:lower() then
      if fixed[lower] or lower:match("^sec%-websocket%-") then
        return nil, ("bad option 'upgrade_headers' (%s belongs to the handshake)"):format(name)
      end
      headers[#headers + 1] = { name, text }
    end
  end
  table.sort(headers, function(a, b) return a[1] < b[1] end)
  return headers, subprotocols, host
end

return options
