--[[
Who may use the bridge, and for which peers: the rules that its options --auth, --origin and --allow make. Decides by
what a request says, and by the address of a peer as it was resolved; does nothing about it.
--]]

local native, import = ...
local address, listeners = import("bridge/address"), import("server/listeners")

local access = {}

--- wildcard(text): returns a function that says whether a string is this text, in which each * stands for anything but
-- a slash.
local function wildcard(text)
  local pattern = "^" .. text:gsub("[^%w*]", "%%%0"):gsub("%*", "[^/]*") .. "$"
  return function(value) return value:find(pattern) ~= nil end
end

-- The ports that the origins of browsers do not name.
local PORTS = { http = ":80", https = ":443" }

--- origin(text): reads a pattern for the origins of pages (RFC 6454 section 6.2). Returns a function that says whether
-- it takes one; or nil and what is wrong.
function access.origin(text)
  local scheme, rest = text:lower():match "^([%w*.+-]+)://([^%s/?#@]+)$"
  if not scheme and text ~= "null" then
    return nil, "an origin such as https://example.com expected, without a path"
  elseif text:find "[\128-\255]" then
    return nil, "browsers write such a name in ASCII (xn--)"
  end
  -- The port of the scheme is left out there.
  local takes = wildcard(scheme and scheme .. "://" .. rest:gsub((PORTS[scheme] or "$") .. "$", "") or text)
  return function(origin) return takes(origin:lower()) end
end

--- is_possible(scheme): returns whether a pattern takes a scheme that peers can have.
local function is_possible(scheme)
  local takes = wildcard(scheme)
  for name in pairs(address.SCHEMES) do
    if takes(name) then return true end
  end
  return false
end

--- host_of(text): returns the host of a pattern as it is compared: an address as those of peers are written. With a *
-- in it that can be done for the numbers only: 0db8 is db8.
local function host_of(text)
  if text:find("*", 1, true) then return (text:gsub("%f[%x]0+(%x)", "%1")) end
  return listeners.canonical(text) or text
end

--- port_of(text, protocol): returns the port of a pattern as it is compared, as text; or nil and what is wrong with it.
local function port_of(text, protocol)
  if text:find "^[%d*]*%*[%d*]*$" then return text end
  local number, wrong = address.port(text, 1, protocol)
  return number and tostring(number), wrong and ("%s, or with a *"):format(wrong)
end

--- rule(text): reads a pattern for the addresses of peers. Returns a function of an address, and of the host as it was
-- resolved (nil: it has a path), that says whether it takes them; or nil and what is wrong.
--
-- A host with * in it is compared with what was resolved, and never with a name: whoever has the name 10.evil.example
-- could pass for 10.* with it. A name can be allowed as such, and with it wherever it leads.
function access.rule(text)
  local scheme, rest = text:match "^([%w*-]+)://(.+)$"
  if not scheme or text:find "%c" then return nil, "a pattern such as tcp://127.0.0.1:* or unix:///run/* expected" end
  scheme = scheme:lower()
  if not is_possible(scheme) then return nil, "no peer has this scheme" end
  if scheme:find "^unix" then
    local takes = wildcard(scheme .. "://" .. rest)
    return function(of) return of.path ~= nil and takes(address.text(of)) end
  end
  rest = rest:lower()
  local host, port = rest:match "^%[(.*)%]:([^:%]]+)$"
  if not host then host, port = rest:match "^([^:]+):([^:]+)$" end
  if not host then return nil, "a port (or *) is missing, or an IPv6 address has no brackets" end
  local has_wildcard = host:find("*", 1, true) ~= nil
  if has_wildcard and host:find "[^%x.:*]" then
    return nil, "a * in the host stands for a part of an address, not of a name"
  end
  local wrong
  port, wrong = port_of(port, address.SCHEMES[scheme] or "tcp")
  if not port then return nil, wrong end
  local takes = wildcard(("%s://%s:%s"):format(scheme, listeners.bracketed(host_of(host)), port))
  return function(of, resolved)
    if of.path then return false end
    return takes(address.text(of, resolved)) or not has_wildcard and takes(address.text(of):lower())
  end
end

--- credentials(text): reads USER:PASSWORD. Returns what a client sends for them (RFC 7617); or nil and what is wrong.
function access.credentials(text)
  local user, password = text:match "^([^:]*):(.*)$"
  if not user or user == "" then return nil, "USER:PASSWORD expected" end
  local header, wrong = native.auth_basic(user, password)
  return header and header:match "^Basic (.*)$", wrong
end

local Access = {}
Access.__index = Access

--- new(rules): makes rules of access. Each of the fields is an array of what the functions above return, or nil:
-- `credentials`, `origins`, `allowed`.
function access.new(rules) return setmetatable(rules, Access) end

--- is_known(self, header): returns whether this value of Authorization has one of the passwords. It takes as long for
-- each that is wrong.
local function is_known(self, header)
  local scheme, given = (header or ""):match "^(%a+) +(%S+)%s*$"
  if not scheme or scheme:lower() ~= "basic" then return false end
  local found = false
  for _, known in ipairs(self.credentials) do
    if native.auth_same(given, known) then found = true end
  end
  return found
end

--- Returns whether one of these functions returns true.
local function any(functions, ...)
  for _, f in ipairs(functions) do
    if f(...) then return true end
  end
  return false
end

--- refusal(request): returns the response to a request that may not use the bridge, and why, for the log; or nil. A
-- request without Origin is no browser's.
function Access:refusal(request)
  local headers = request.headers
  if self.credentials and not is_known(self, headers.authorization) then
    return {
      status = 401, headers = { ["WWW-Authenticate"] = 'Basic realm="luws bridge", charset="UTF-8"' },
      body = "a user and a password are needed\n",
    }, headers.authorization and "the user or the password is wrong" or "it has no user and password"
  end
  if self.origins and headers.origin and not any(self.origins, headers.origin) then
    return { status = 403, body = "this origin may not connect\n" }, "the origin is not allowed: " .. headers.origin
  end
end

--- allows(of, resolved): returns whether the bridge may connect to the peer of this address, whose host was resolved to
-- this one (nil if the address has a path).
function Access:allows(of, resolved)
  if not self.allowed then return true end
  -- An IPv4 address is what it is in either notation.
  local host = resolved and (listeners.canonical(resolved) or resolved:lower())
  return any(self.allowed, of, host)
end

return access
