--[[
Addresses of peers: reads them as they are written in options and files, and writes them for logs and for the rules of
access. Looks no host up.
--]]

local _, import = ...
local listeners = import("server/listeners")

local address = {}

-- The most bytes in the path of a unix domain socket: sun_path has room for one more, a zero.
local LONGEST_PATH = 107

-- The most bytes in the name of a host (RFC 1035 section 2.3.4).
local LONGEST_HOST = 255

local MOST_PORT = 65535

--- The schemes, and the protocol for which /etc/services has the names of their ports; false: they have a path.
address.SCHEMES = { tcp = "tcp", udp = "udp", tls = "tcp", unix = false, ["unix-dgram"] = false }

--- Returns the port of a service by its name or one of its other names, or nil.
local function service(name, protocol)
  local file = io.open "/etc/services"
  if not file then return nil end
  local found
  for line in file:lines() do
    local first, port, kind, others = line:gsub("#.*", ""):match "^(%S+)%s+(%d+)/(%a+)(.*)$"
    if kind == protocol and not found then
      for word in (first .. others):gmatch "%S+" do
        if word == name then found = tonumber(port) end
      end
    end
  end
  file:close()
  return found
end

--- port(text, least, protocol): returns the number of a port from `least` to 65535, which may be given by the name of a
-- service; or nil and what is wrong with it.
function address.port(text, least, protocol)
  local number = text:find "^%d+$" and tonumber(text) or service(text, protocol)
  if number and number >= least and number <= MOST_PORT then return number end
  return nil, ("a port from %d to %d or the name of a service expected"):format(least, MOST_PORT)
end

--- Returns host and port (or nil) of what comes after the scheme; or nil and what is wrong.
local function split(rest)
  local host, port = rest:match "^%[([%x:.]+%%?[%w._-]*)%](.*)$"
  if host then
    if port ~= "" and port:sub(1, 1) ~= ":" then return nil, ("'%s' is no port"):format(port) end
    port = port ~= "" and port:sub(2) or nil
  elseif rest:find "^[%x.]*:[%x.]*:[%x:.]*%%?[%w._-]*$" then -- an IPv6 address without brackets: all of it is the host
    host = rest
  else
    host, port = rest:match "^([^:]*):?(.*)$"
    if not rest:find(":", 1, true) then port = nil end
  end
  if host == "" then return nil, "the host is missing" end
  if #host > LONGEST_HOST or host:find "[%s/%[%]]" then return nil, ("'%s' is no host"):format(host) end
  return host, port
end

--- parse(text [, port [, default]]): reads the address of a peer; without a scheme it is of TCP. `port` is taken
-- instead of that in the address, and `default` if there is none; both are text. Returns a table with scheme, and host
-- and port or path; or nil and what is wrong.
function address.parse(text, port, default)
  if text:find "%c" then return nil, "a control character is in it" end
  local scheme, rest = text:match "^([^:/]*)://(.*)$"
  if not scheme then scheme, rest = "tcp", text end
  scheme = scheme:lower()
  local protocol = address.SCHEMES[scheme]
  if protocol == nil then return nil, ("unknown scheme '%s' (tcp, udp, tls, unix, unix-dgram)"):format(scheme) end
  if not protocol then
    if rest == "" then return nil, "the path is missing" end
    if #rest > LONGEST_PATH then return nil, ("the path is longer than %d bytes"):format(LONGEST_PATH) end
    return { scheme = scheme, path = rest }
  end
  local host, own = split(rest)
  if not host then return nil, own end
  local wanted = port or own or default
  if not wanted then return nil, "the port is missing (an IPv6 address before it needs brackets)" end
  local number, wrong = address.port(wanted, 1, protocol)
  if not number then return nil, ("%s, got '%s'"):format(wrong, wanted) end
  return { scheme = scheme, host = host, port = number }
end

--- text(of [, host]): returns an address as text, with another host if one is given.
function address.text(of, host)
  if of.path then return of.scheme .. "://" .. of.path end
  return of.scheme .. "://" .. listeners.authority(host or of.host, of.port)
end

--- urls(places, scheme): returns where these listeners are (fields host and port, or path), as URLs of this scheme.
function address.urls(places, scheme)
  local found = {}
  for i, place in ipairs(places) do
    found[i] = place.path and "unix://" .. place.path or scheme .. "://" .. listeners.authority(place.host, place.port)
  end
  return found
end

--- client(host, port): returns the address of a client as text; nil for one of a unix domain socket. What a proxy says
-- of its clients has no port.
function address.client(host, port) return port and listeners.authority(host, port) or host end

--- preface(client, client_port, host, port): returns the line by which a peer is told who the client is, and where it
-- has connected to (the PROXY protocol, version 1). nil for what is not known.
function address.preface(client, client_port, host, port)
  client, host = client and listeners.canonical(client), host and listeners.canonical(host)
  if not client or not host then return "PROXY UNKNOWN\r\n" end
  local is_new = (client .. host):find(":", 1, true) ~= nil
  local function shown(one)
    if is_new and not one:find(":", 1, true) then return "::ffff:" .. one end -- both are of one family
    return (one:gsub("%%.*$", ""))
  end
  local family = is_new and "TCP6" or "TCP4"
  return ("PROXY %s %s %s %d %d\r\n"):format(family, shown(client), shown(host), client_port or 0, port)
end

return address
