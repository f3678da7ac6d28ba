--[[
The options of a server: its own, and those that its connections share with a client's. Reads all of them before
anything listens. Knows what they may be, not what they do.
--]]

local native, import = ...
local listeners, options, request, tls = import("server/listeners"), import("options"), import("request"), import("tls")

local settings = {}

local MIB = 1024 * 1024

--- list_of(what): returns a reader for a string, or an array of strings.
local function list_of(what)
  return function(value)
    if type(value) == "string" then value = { value } end
    if type(value) ~= "table" then return nil, ("%s or array of them expected, got %s"):format(what, type(value)) end
    local list = {}
    for i, element in ipairs(value) do list[i] = element end
    for key, element in next, value do
      if list[key] == nil or type(element) ~= "string" then return nil, ("array of %ss expected"):format(what) end
    end
    return list
  end
end

--- Returns the headers of a table (name to value) as an array of { name, value }; or nil and what is wrong.
local function headers(value)
  if type(value) == "function" then return value end
  if type(value) ~= "table" then return nil, "table or function expected, got " .. type(value) end
  return settings.headers(value)
end

-- These are the server's to send.
local OURS = {
  upgrade = true, connection = true, ["content-length"] = true, ["transfer-encoding"] = true,
  ["sec-websocket-accept"] = true, ["sec-websocket-extensions"] = true, ["sec-websocket-protocol"] = true,
}

--- headers(value): returns a table of headers (name to value, or to an array of values) as an array of { name, value };
-- or nil and what is wrong with it.
function settings.headers(value)
  local found, names = {}, {}
  for name in next, value do
    if type(name) ~= "string" then return nil, "the name of a header is a " .. type(name) end
    if OURS[name:lower()] then return nil, ("header %s is the server's to send"):format(name) end
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local values = value[name]
    for _, text in ipairs(type(values) == "table" and values or { values }) do
      if type(text) ~= "string" and type(text) ~= "number" then
        return nil, ("header %s: string or number expected, got %s"):format(name, type(text))
      end
      local wrong = native.check_header(name, tostring(text))
      if wrong then return nil, wrong end
      found[#found + 1] = { name, tostring(text) }
    end
  end
  return found
end

local SLOW = { drop = true, close = true }

--- What becomes of a member of a room that does not take what is sent to it.
local function slow(value)
  if type(value) == "function" or SLOW[value] then return value end
  local got = type(value) == "string" and "'" .. value .. "'" or type(value)
  return nil, "'drop', 'close' or function expected, got " .. got
end

local function tokens(value)
  local names, wrong = list_of("string")(value)
  for _, name in ipairs(names or {}) do
    if native.check_header(name, "") then return nil, "an element is not a token" end
  end
  return names, wrong
end

--- Reads the option methods: returns a set of them that remembers their order.
local function methods(value)
  local names, wrong = tokens(value)
  if not names then return nil, wrong end
  if not names[1] then return nil, "at least one expected" end
  local set = { allow = table.concat(names, ", ") }
  for _, name in ipairs(names) do set[name] = true end
  return set
end

--- Reads the option origins: returns an array of origins as browsers write them, in lower case (RFC 6454 section 6.2).
local function origins(value)
  local list, wrong = list_of("origin")(value)
  for i, origin in ipairs(list or {}) do
    if origin ~= "null" and not origin:find "^%a[%w+.-]*://[^/?#]*$" then
      return nil, ("'%s' is not an origin, such as https://example.com"):format(origin)
    end
    list[i] = origin:lower()
  end
  return list, wrong
end

--- proxy(text): reads whom to believe who its clients are. Returns an address as those of peers are written, or a
-- network.
function settings.proxy(text)
  local read = text == "unix" and text or listeners.canonical(text) or native.is_within("", text) ~= nil and text
  if read then return read end
  return nil, "an IP address, a network such as 10.0.0.0/8 or 'unix' expected"
end

--- Reads the option trusted_proxies: returns a set of addresses, in which the networks are an array.
local function proxies(value)
  local list, wrong = list_of("address")(value)
  if wrong then return nil, wrong end
  local set = {}
  for _, text in ipairs(list) do
    local read
    read, wrong = settings.proxy(text)
    if wrong then return nil, ("%s, got '%s'"):format(wrong, text) end
    if text:find("/", 1, true) then set[#set + 1] = read else set[read] = true end
  end
  return set
end

--- Reads a host, or a path.
local function named(value)
  if type(value) ~= "string" then return nil, "string expected, got " .. type(value) end
  if value == "" or value:find("\0", 1, true) then return nil, "a string that is not empty expected, without NUL" end
  return value
end

local function given_fd(value)
  if value == "systemd" then return value end
  local number, wrong = options.whole(0)(value)
  return number, wrong and wrong .. ", or 'systemd'"
end

--- Reads the permissions of a file: octal digits. Returns their number.
local function mode(value)
  local digits = type(value) == "string" and value:match "^0?[0-7][0-7][0-7]$"
  if digits then return tonumber(digits, 8) end
  return nil, "permissions such as '600' expected"
end

local OPTIONAL = options.callable

--- What handles requests and connections; a route (Server:route) has these, too.
local handler_rows = {
  { "on_head", nil, OPTIONAL }, -- on_head(request): its body is to come; returns a response, or nil to go on
  { "on_request", nil, OPTIONAL }, -- on_request(request): returns a response, server.later, or nil to go on
  { "on_abort", nil, OPTIONAL }, -- on_abort(request): it will not be answered by the program
  { "on_open", nil, OPTIONAL }, -- on_open(conn, request)
  { "on_message", nil, OPTIONAL }, -- on_message(conn, opcode, data)
  { "on_drain", nil, OPTIONAL }, -- on_drain(conn): its queue is empty again
  { "on_close", nil, OPTIONAL }, -- on_close(conn, code, reason)
  { "methods", methods { "GET", "HEAD" }, methods }, -- of requests
  { "answer_timeout", 60, options.at_least(0) }, -- s for a request that is answered later
  { "max_body", 0, options.whole(0) }, -- bytes of a request's body; 0: none is taken
  { "origins", nil, origins }, -- from which browsers may connect; nil: from any
  { "subprotocols", nil, tokens }, -- that are spoken
  { "select_subprotocol", nil, OPTIONAL }, -- select_subprotocol(request, offered): returns one of them, or nil
  { "response_headers", nil, headers }, -- of the 101; or a function of the request that returns them
}

--- Where to listen. Each of the option listeners has these, too.
local place_rows = {
  { "host", "127.0.0.1", named },
  { "port", nil, options.whole(0, 65535) }, -- 0: any that is free
  { "unix", nil, named }, -- the path of a unix domain socket
  { "mode", nil, mode }, -- permissions of its file
  { "fd", nil, given_fd }, -- a descriptor that listens already; "systemd": those of socket activation
  { "backlog", 1024, options.whole(1) }, -- connections that may wait to be accepted
  { "reuseport", false, options.of_type("boolean") }, -- whether several processes share the address
  { "tls", nil, options.of_type("boolean") }, -- whether it is wss there; nil: if there is a certificate
}

local server_rows = {
  { "listeners", nil, options.of_type("table") }, -- an array of places, instead of one
  { "max_connections", 10000, options.whole(1) },
  { "slow", "close", slow }, -- what becomes of a member of a room that does not take what is sent
  { "on_refuse", nil, OPTIONAL }, -- on_refuse(refusal): a request was refused by the server itself
  { "trusted_proxies", nil, proxies }, -- whose X-Forwarded-For is believed; "unix" for all unix sockets
}

-- Options of wsopen, with other defaults for what a server gets from anybody.
local shared_rows = {
  { "max_payload_size", MIB }, { "max_buffered", MIB }, { "send_timeout", 0 }, { "close_timeout", 5 },
  { "upgrade_timeout", 5 }, { "ping_interval", 20 }, { "ping_timeout", 20 },
  { "receive_chunk_size" }, { "receive_timeout" }, { "fragment_size" }, { "deflate" }, { "control_handler" },
  { "sink" }, { "handler_args" }, { "validate_utf8" }, { "allow_long_lengths" }, { "coalesce" }, { "reactor" },
}

--- Returns what is wrong with the names in a table of options, or nil.
local function unknown(given, known)
  for name in next, given do
    if not known[name] and not (known.ssl and type(name) == "string" and name:find "^ssl_") then
      return options.unknown(name, known)
    end
  end
end

--- Returns what is wrong with a place to listen at, or nil.
local function misplaced(place, what)
  local ways = (place.port and 1 or 0) + (place.unix and 1 or 0) + (place.fd and 1 or 0)
  if ways == 0 then return ("%s needs a port, a path (unix) or a descriptor (fd)"):format(what) end
  if ways > 1 then return ("%s has more than one of port, unix and fd"):format(what) end
  if place.mode and not place.unix then return ("%s has a mode, which is for a path (unix)"):format(what) end
end

--- places(given): returns the places to listen at; or nil and what is wrong with them.
local function places(given)
  local listed, found = given.listeners, {}
  local known = options.names(place_rows)
  if listed == nil then
    local place = {}
    local wrong = options.read(place_rows, given, place) or misplaced(place, "listen")
    return not wrong and { place } or nil, wrong
  end
  for name in next, known do
    if given[name] ~= nil then return nil, ("bad option '%s' (it belongs into each of listeners)"):format(name) end
  end
  for i, one in ipairs(listed) do
    local place, wrong = {}, nil
    if type(one) ~= "table" then wrong = "table expected, got " .. type(one) end
    wrong = wrong or unknown(one, known) or options.read(place_rows, one, place) or misplaced(place, "it")
    if wrong then return nil, ("bad option 'listeners' (%d: %s)"):format(i, wrong) end
    found[i] = place
  end
  for key in next, listed do
    if found[key] == nil then return nil, "bad option 'listeners' (array of tables expected)" end
  end
  if not found[1] then return nil, "bad option 'listeners' (at least one expected)" end
  return found
end

--- secured(given, places): decides where TLS is spoken. Returns what accepts it, and the options that make it again
-- (nil if there is none); then what is wrong.
local function secured(given, listed)
  local has_certificate = not options.has_none(given, "ssl")
  for _, place in ipairs(listed) do
    if place.tls == nil then place.tls = has_certificate end
    if place.tls and not has_certificate then return nil, nil, "bad option 'tls' (ssl_certificate is missing)" end
  end
  if not has_certificate then return nil, nil end
  local luasec, wrong = tls.read(given, true)
  if not luasec then return nil, nil, wrong end
  local acceptor, why = native.acceptor(luasec)
  return acceptor, luasec, why
end

--- handlers(given): reads the options of a route. Returns a complete table, or nil and what is wrong.
function settings.handlers(given)
  local handlers = {}
  local wrong = unknown(given, options.names(handler_rows)) or options.read(handler_rows, given, handlers)
  if wrong then return nil, wrong end
  return handlers
end

--- read(given): reads the options of listen. Returns a table with the fields places, handlers, own (the other options
-- of servers), opening (of connections, as wsopen reads them) and shared (the table that is conn.options); or nil and
-- what is wrong.
function settings.read(given)
  if type(given) ~= "table" then
    return nil, ("bad argument #1 to 'listen' (table expected, got %s)"):format(type(given))
  end
  local names = options.names(handler_rows, place_rows, server_rows, shared_rows)
  names.ssl = true -- and all that begin with it: tls knows them
  local wrong = unknown(given, names)
  if wrong then return nil, wrong end
  local found = { own = {}, handlers = {}, shared = {} }
  wrong = options.read(server_rows, given, found.own) or options.read(handler_rows, given, found.handlers)
  if wrong then return nil, wrong end
  for _, row in ipairs(shared_rows) do
    local value = given[row[1]]
    if value == nil then value = row[2] end
    found.shared[row[1]] = value
  end
  found.opening, wrong = options.opening(found.shared)
  if not found.opening then return nil, wrong end
  found.deflate, wrong = request.deflate(found.opening)
  if wrong then return nil, wrong end
  found.places, wrong = places(given)
  if wrong then return nil, wrong end
  found.acceptor, found.tls, wrong = secured(given, found.places)
  if wrong then return nil, wrong end
  found.opening.wait = false
  return found
end

return settings
