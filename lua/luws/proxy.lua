--[[
Decides which proxy a connection goes through: the one that the option `proxy` or the environment names, or SockProxy.
The engine does the negotiation (src/proxy).

A route is a table for the engine and for `open`:

  kind                        sockproxy, http, https, socks4, socks4a, socks5 or socks5h
  host, zone, port            where the proxy is
  target_host, target_port    the server, as the proxy is asked for it
  prefix                      begins the text of each failure
  required                    whether a failure of the proxy is one of the connection
  timeout                     seconds for the proxy, if it has a time of its own
  looks_up                    the server's name is to be looked up here first
  addresses                   those that were found and are still to be tried
  authorization, tried        what an HTTP proxy is told at once, because it has asked for it
--]]

local native, import = ...
local options, request = import("options"), import("request")

local proxy = {}

--- Reads a string that can be a word of a SockProxy command.
local function word(value)
  if type(value) ~= "string" then return nil, "string expected, got " .. type(value) end
  if not value:find("^[!-.0-~]+$") then return nil, "visible ASCII without slashes expected" end
  return value
end

local sockproxy_rows = {
  { "host", "127.0.0.1", word },
  { "port", 2504, options.whole(1, 65535) },
  -- what to notify; without a device, SockProxy notifies nobody
  { "device", nil, options.whole(0) },
  { "service", nil, word },
  { "action", "HandleReceive", word },
  { "pid", nil, word },
  { "rtim", 0, options.whole(0) }, -- ms of silence until SockProxy gives up; 0: never
  { "pace", 0, options.whole(0) }, -- s between notifications
  { "timeout", 10, options.at_least(0) }, -- s to reach SockProxy and for it to connect (up to 5)
  { "required", false, options.of_type("boolean") }, -- whether to fail without SockProxy
}

--- sockproxy(opening, target): returns the route through SockProxy, or nil and what is wrong with the options.
function proxy.sockproxy(opening, target)
  if opening.connect then return nil, "bad option 'sockproxy' (cannot be combined with connect)" end
  if opening.proxy then return nil, "bad option 'proxy' (cannot be combined with sockproxy)" end
  local result, why = options.complete("sockproxy", sockproxy_rows, opening.sockproxy)
  if not result then return nil, why end
  if result.device and not result.service then return nil, "bad option 'sockproxy' (service: missing)" end
  result.target_host, result.target_port = target.host, target.port
  result.device = result.device and ("%.0f"):format(result.device)
  result.kind, result.prefix = "sockproxy", "SockProxy failed: "
  return result
end

local proxy_rows = {
  { "url", nil, options.of_type("string") }, -- [scheme://][user:password@]host[:port]
  { "user", nil, options.of_type("string") }, -- instead of the URL's
  { "password", nil, options.of_type("string") },
  { "headers", nil, options.of_type("table") }, -- for an HTTP proxy: header name to value
}

--- fields(given): reads the table of the option `proxy`. Returns a complete one, or nil and what is wrong with it.
function proxy.fields(given)
  return options.complete("proxy", proxy_rows, given)
end

-- What only http and https proxies have; and those that need the server's address, not its name.
local IS_HTTP = { http = true, https = true }
local LOOKS_UP = { socks4 = true, socks5 = true }

-- The most bytes of a user or a password for SOCKS (RFC 1929).
local LONGEST = 255

-- Headers that belong to the request itself, or announce a body.
local OTHERS = {
  host = true, ["content-length"] = true, ["transfer-encoding"] = true, expect = true, te = true, trailer = true,
  upgrade = true,
}

--- headers(given): returns an array of { name, value }, and whether it has Proxy-Authorization; or nil and what is
-- wrong.
local function headers(given)
  local result, authorizes = {}, false
  local wrong = request.each_header(given, function(name, text, lower)
    if OTHERS[lower] then return name .. " cannot be in a request to a proxy" end
    authorizes = authorizes or lower == "proxy-authorization"
    result[#result + 1] = { name, text }
  end)
  if wrong then return nil, "headers: " .. wrong end
  table.sort(result, function(a, b) return a[1] < b[1] end)
  return result, authorizes
end

--- http(route, given, opening): completes the route through an HTTP proxy. Returns what is wrong, or nil.
local function http(route, given, opening)
  local authorizes
  route.headers, authorizes = headers(given.headers or {})
  if not route.headers then return authorizes end
  if authorizes and route.user then return "headers: Proxy-Authorization cannot be combined with a user" end
  route.auth = opening.proxy_auth
  -- Unasked, a password goes to who can be trusted with it, or where a URL says that it should.
  local is_trusted = route.kind == "https" or not (given.user or given.password)
  route.at_once = route.auth == "basic" or not route.auth and is_trusted
end

--- socks(route, given, opening): the same for a SOCKS proxy.
local function socks(route, given)
  if given.headers then return "headers: SOCKS has none" end
  local user, password = route.user or "", route.password or ""
  if #user > LONGEST then return ("user: longer than %d bytes"):format(LONGEST) end
  if #password > LONGEST then return ("password: longer than %d bytes"):format(LONGEST) end
  if route.kind:find("^socks4") then
    if password ~= "" then return "SOCKS4 has no passwords" end
    if user:find("\0", 1, true) then return "user: it has a NUL in it" end
  end
end

--- secured(route, given): reads the options of TLS to the proxy. Returns what is wrong, or nil.
local function secured(route, given)
  local is_https = route.kind == "https"
  if not (given or is_https) then return nil end
  local read, why = import("tls").read { ssl = given }
  if not read then return (why:gsub("^bad option 'ssl_", "bad option 'proxy_ssl.")) end
  if not is_https then
    return read.fingerprint and "bad option 'proxy_ssl.fingerprint' (only an https proxy has a certificate)" or nil
  end
  -- Whoever gives a fingerprint may have a certificate that no authority has signed.
  if read.verify == nil and not read.fingerprint then read.verify = "peer" end
  route.tls = read
end

local function is_address(host)
  return host:find(":", 1, true) or host:find("^%d+%.%d+%.%d+%.%d+$")
end

--- named(opening, target): returns the route through the proxy of the option `proxy`; nil if there is none; or nil and
-- what is wrong with the options.
local function named(opening, target)
  local wanted, where = opening.proxy, ""
  if wanted == true then
    local url, variable = import("environment").find(target)
    if not url then return nil end
    wanted, where = url, ("the variable %s: "):format(variable)
  end
  if type(wanted) == "string" then wanted = { url = wanted } end
  local given, why = proxy.fields(wanted)
  if not given then return nil, why end
  local function wrong(text) return nil, ("bad option 'proxy' (%s%s)"):format(where, text) end
  if not given.url then return wrong("url: missing") end
  local route
  route, why = native.parse_proxy(given.url)
  if not route then return wrong(why) end
  if given.user or given.password then
    route.user, route.password = given.user or route.user or "", given.password or route.password
  end
  route.target_host, route.target_port = target.host, target.port
  route.required, route.prefix = true, "Proxy failed: "
  route.looks_up = LOOKS_UP[route.kind] and not is_address(target.host)
  if opening.proxy_auth and not IS_HTTP[route.kind] then
    return nil, "bad option 'proxy_auth' (the proxy is not an HTTP proxy)"
  end
  local text = (IS_HTTP[route.kind] and http or socks)(route, given, opening)
  if text then return wrong(text) end
  text = secured(route, opening.proxy_ssl)
  if text then return nil, text end
  return route
end

--- route(opening, target): returns the route to a server through the proxy that the options name; nil if there is none;
-- or nil and what is wrong with the options.
function proxy.route(opening, target)
  if opening.sockproxy then return proxy.sockproxy(opening, target) end
  return named(opening, target)
end

--- next_address(route, found): takes the next of the server's addresses for the proxy; first notes those that were
-- `found`, if they are given. Returns false if there is none.
function proxy.next_address(route, found)
  if found then
    route.addresses = {}
    for _, address in ipairs(found) do
      if route.kind ~= "socks4" or not address:find(":", 1, true) then
        route.addresses[#route.addresses + 1] = address
      end
    end
  end
  local address = route.addresses and table.remove(route.addresses, 1)
  if not address then return false end
  route.target_host = address
  return true
end

--- asks_again(route, kind, session): returns whether a proxy that has failed is to be asked once more, within the same
-- time: with what it wants to know, or for another of the server's addresses. `kind` is that of the failure.
function proxy.asks_again(route, kind, session)
  if kind == "unreachable" then return proxy.next_address(route) end
  if kind ~= "again" then return false end
  route.authorization, route.tried = native.proxy_retry(session)
  return route.authorization ~= nil
end

return proxy
