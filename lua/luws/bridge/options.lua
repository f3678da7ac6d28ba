--[[
The table of the bridge's options, from which the command line, the file and bridge.run{} are read, and the help text is
made. Knows what they may be, each by itself; what they do, and which of them go together, is elsewhere.
--]]

local _, import = ...
local access, address, kinds = import("bridge/access"), import("bridge/address"), import("kinds")
local guard, logs, meant, plugin = import("guard"), import("bridge/log"), import("spelling"), import("bridge/plugin")
local server_options = import("server/options")

local options = {}

local GIB = 1024 * 1024 * 1024

--- Reads a port to listen at.
local function listening_port(value, is_text)
  if is_text then return address.port(value, 0, "tcp") end
  return kinds.whole(0, 65535)(value)
end

--- Reads the port of a peer; as text.
local function peer_port(value)
  local number, wrong = address.port(tostring(value), 1, "tcp")
  return number and tostring(number), wrong
end

--- Reads a place to listen at: a host, or a unix domain socket.
local function place(value)
  if not kinds.text(value) or value:find "%s" then return nil, "an address, a name or unix://PATH expected" end
  if not value:find("://", 1, true) then return value end
  local of, wrong = address.parse(value, nil, "1")
  if not of or of.scheme ~= "unix" then return nil, of and "an address, a name or unix://PATH expected" or wrong end
  return value
end

local function framing_name(value)
  if type(value) == "function" or kinds.text(value) then return value end
  return nil, "the name of a framing expected"
end

local function any_text(value)
  if type(value) == "string" and value ~= "" then return value end
  return nil, "a text expected"
end

local function backend_name(value)
  if options.BACKENDS[value] or plugin.path(value) then return value end
  return nil, "defaultpeer, file or lua:FILE expected"
end

local function function_(value)
  if guard.is_callable(value) then return value end
  return nil, "a function expected"
end

--- The options: name, with `short` (a letter), `value` (what to call it; none for flags), `default`, `read` (a kind),
-- `many` (it can be repeated), `help`; `key` is its name in Lua, if it differs. `secret`: it is not repeated in
-- messages.
options.CORE = {
  { "port", short = "p", value = "PORT", default = 8001, read = listening_port, help = "listens at this port (8001)" },
  { "listen", short = "l", value = "HOST", default = "::", read = place,
    help = "listens at this address (::, which is all), or at unix://PATH" },
  { "ping", short = "k", value = "SECONDS", default = 30, read = kinds.seconds,
    help = "pings a client that has been silent for so long (30); 0: never" },
  { "backend", short = "b", value = "NAME", default = "defaultpeer", read = backend_name,
    help = "what finds the peer: defaultpeer, file or lua:FILE" },
  { "pong-timeout", value = "SECONDS", read = kinds.limit,
    help = "drops a client that has not answered a ping for so long (as --ping)" },
  { "idle-timeout", value = "SECONDS", default = 0, read = kinds.seconds,
    help = "closes a connection without data for so long (0: never)" },
  { "handshake-timeout", value = "SECONDS", default = 10, read = kinds.limit,
    help = "the most time for a request (10)" },
  { "connect-timeout", value = "SECONDS", default = 10, read = kinds.limit,
    help = "the most time for connecting to a peer (10)" },
  { "max-connections", value = "N", default = 1000, read = kinds.whole(1, 1e6), help = "how many at a time (1000)" },
  { "max-message", value = "BYTES", default = 16 * 1024 * 1024, read = kinds.whole(1, GIB),
    help = "the largest message of a client (16 MiB)" },
  { "max-segment", value = "BYTES", default = 1024 * 1024, read = kinds.whole(1, GIB),
    help = "the largest message that a framing makes (1 MiB)" },
  { "buffer", value = "BYTES", default = 256 * 1024, read = kinds.whole(1024, GIB),
    help = "how much may wait for one side before the other is not read (256 KiB)" },
  { "allow", value = "PATTERN", many = true, read = kinds.list(kinds.through(access.rule)),
    help = "only these peers, such as tcp://127.0.0.1:*; repeatable" },
  { "origin", value = "PATTERN", many = true, read = kinds.list(kinds.through(access.origin)),
    help = "only pages from here, such as https://*.example; repeatable" },
  { "auth", value = "USER:PASSWORD", read = kinds.through(access.credentials), secret = true,
    help = "only clients with this password (Basic)" },
  { "auth-file", value = "FILE", read = kinds.file, help = "only those with one in this file, a line each" },
  { "tls-cert", value = "FILE", read = kinds.file, help = "wss only, with this certificate (PEM)" },
  { "tls-key", value = "FILE", read = kinds.file, help = "and this private key (PEM)" },
  { "tls-client-ca", value = "FILE", read = kinds.file, help = "only clients with a certificate of these authorities" },
  { "tls-peer-ca", value = "FILE", read = kinds.file,
    help = "trusts these authorities for tls:// peers, instead of the system's" },
  { "trusted-proxies", value = "ADDRESS", many = true, read = kinds.list(kinds.through(server_options.proxy)),
    help = "believes this proxy, or network, who its clients are; 'unix': all of unix sockets" },
  { "compress", default = false, read = kinds.flag, help = "takes compression, if the client offers it" },
  { "status", value = "PATH", read = kinds.matching("^/[^?#%s]*$", "a path that begins with / expected"),
    help = "answers GET of this path with counts (JSON)" },
  { "proxy-protocol", default = false, read = kinds.flag, help = "tells stream peers who the client is (PROXY, v1)" },
  { "reverse", default = false, read = kinds.flag, help = "listens for TCP, and connects to -c url=ws://..." },
  { "log-level", value = "LEVEL", default = "info", read = kinds.one_of(logs.LEVELS),
    help = "error, info or debug (info)" },
}

--- The options that only Lua programs have.
options.LUA = {
  { "peer", read = function_ }, -- a backend: function(request)
  { "log", read = function_ }, -- log(level, line): instead of the standard error
}

--- The options of the backends, by their names.
options.BACKENDS = {
  defaultpeer = {
    { "host", value = "ADDRESS", read = kinds.text,
      help = "the peer: tcp://, udp:// or tls://HOST:PORT, unix:// or unix-dgram://PATH (tcp://localhost)" },
    { "port", key = "peer_port", value = "PORT", read = peer_port, help = "its port, if not in the host (5900)" },
    { "framing", value = "NAME", read = framing_name,
      help = "auto, binary, separator, newline, fixedlength, dynamic32, json, lua:FILE (auto)" },
    { "framing-config", value = "TEXT", read = any_text, help = "the parameters of the framing" },
    { "protocol", value = "NAME", read = kinds.matching("^[^%s,;]+$", "the name of a subprotocol expected"),
      help = "selects this subprotocol; *: the first that is offered" },
    { "url", value = "URL", read = kinds.text, help = "with --reverse: the server to connect to" },
  },
  file = {
    { "path", value = "FOLDER", read = kinds.text, help = "where the files are" },
    { "expression", value = "TEMPLATE", many = true, read = kinds.list(kinds.text),
      help = "a name with %endpoint%, %cookie:NAME%, %header:NAME%; repeatable" },
  },
}

--- key(row): returns the name of an option in Lua.
function options.key(row) return row.key or (row[1]:gsub("-", "_")) end

--- read(row, value, is_text): reads the value of an option. Returns it, or nil and what is wrong with it.
function options.read(row, value, is_text)
  local found, wrong = row.read(value, is_text)
  if found ~= nil then return found end
  if row.secret then return nil, wrong end
  local got = (type(value) == "number" or type(value) == "boolean") and tostring(value) or type(value)
  return nil, ("%s, got %s"):format(wrong, type(value) == "string" and "'" .. value .. "'" or got)
end

--- names(...): returns the set of the names in Lua of these rows' options.
function options.names(...)
  local names = {}
  for _, rows in ipairs { ... } do
    for _, row in ipairs(rows) do names[options.key(row)] = row end
  end
  return names
end

--- unknown(name, names): returns what to say of an option that is not in this set.
function options.unknown(name, names)
  local other = type(name) == "string" and meant(name, names)
  return other and ("unknown; %s?"):format(other) or "unknown"
end

return options
