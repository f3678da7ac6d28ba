--[[
What the constructor of a WebSocket object is given: URL, subprotocols and options. Whatever is wrong with it is an
error at the caller of the constructor, before anything touches the network. `level` is the level of that caller.
--]]

local native, import = ...
local events, tls = import("websocket/events"), import("tls")

local setup = {}

-- Unlike wsopen, the object is on the safe side where browsers are, and takes what they take.
local DEFAULTS = {
  deflate = true,
  max_payload_size = 64 * 1024 * 1024, -- bytes
  connecting_limit = 1, -- RFC 6455 section 4.1
  send_timeout = 0, -- send never waits
}

-- How long the server has to answer our close frame, and then to end the stream, in seconds.
local CLOSE_TIMEOUT, LINGER = 10, 2

-- Options that would take away what the object is made of.
local TAKEN = {
  wait = true, handler_args = true, sink = true, control_handler = true, open_handler = true, close_handler = true,
  subprotocols = true, reconnect = true,
}

local function syntax_error(level, text) error("SyntaxError: " .. text, level + 2) end

local function bad_option(level, name, what)
  error(("bad option '%s' (%s)"):format(name, what), level + 2)
end

--- Returns an option that must be a string, or nil.
local function text_of(level, given, name)
  local value = given[name]
  if value ~= nil and type(value) ~= "string" then
    bad_option(level + 1, name, "string expected, got " .. type(value))
  end
  return value
end

--- with_origin(headers, origin): returns a copy of the headers with this Origin.
local function with_origin(headers, origin)
  local copy = {}
  for name, value in pairs(type(headers) == "table" and headers or {}) do
    if type(name) ~= "string" or name:lower() ~= "origin" then copy[name] = value end
  end
  copy.Origin = origin
  return copy
end

--- options(level, given): returns options for wsopen, and a table of those that only the object has.
function setup.options(level, given)
  if given ~= nil and type(given) ~= "table" then
    events.wrong(level + 1, "WebSocket", 3, "table expected, got " .. type(given))
  end
  local options = {}
  for name, value in pairs(given or {}) do
    if TAKEN[name] then bad_option(level, name, "it is not for a WebSocket object") end
    options[name] = value
  end
  for name, value in pairs(DEFAULTS) do
    if options[name] == nil then options[name] = value end
  end
  tls.verify_by_default(options)
  local own = { base = text_of(level, options, "base"), close_timeout = options.close_timeout or CLOSE_TIMEOUT }
  if type(own.close_timeout) == "number" then options.close_timeout = math.min(LINGER, own.close_timeout) end
  local origin = text_of(level, options, "origin")
  if origin then options.upgrade_headers = with_origin(options.upgrade_headers, origin) end
  options.base, options.origin, options.wait = nil, nil, false
  return options, own
end

--- address(level, url, base): returns the URL as a table: url, origin, target.
function setup.address(level, url, base)
  if type(url) ~= "string" then
    events.wrong(level + 1, "WebSocket", 1, "string expected, got " .. type(url))
  end
  local address, why = native.parse_address(url, base)
  if not address then syntax_error(level, "the URL is not valid: " .. why) end
  return address
end

-- RFC 9110 section 5.6.2
local TOKEN = "^[%w!#$%%&'*+.^_`|~-]+$"

--- subprotocols(level, given): returns an array of those to offer.
function setup.subprotocols(level, given)
  if given == nil then return {} end
  if type(given) == "string" then given = { given } end
  if type(given) ~= "table" then
    events.wrong(level + 1, "WebSocket", 2, "string or table expected, got " .. type(given))
  end
  local names, known = {}, {}
  for i, name in ipairs(given) do
    if type(name) ~= "string" then
      events.wrong(level + 1, "WebSocket", 2, "array of strings expected, got one with a " .. type(name))
    end
    if not name:find(TOKEN) then syntax_error(level, ("the subprotocol '%s' is not a token"):format(name)) end
    if known[name] then syntax_error(level, ("the subprotocol '%s' is there twice"):format(name)) end
    names[i], known[name] = name, true
  end
  return names
end

return setup
