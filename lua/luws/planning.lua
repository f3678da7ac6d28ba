--[[
Plans the opening of a connection: takes the URL and the options apart before the first attempt, and decides after a
response whether there is another one, and where. A plan is what the attempts have in common. Takes no steps itself.
--]]

local native, import = ...
local connection, options, request = import("connection"), import("options"), import("request")

-- Parts that few programs need (the options of TLS, reconnecting, proxies, redirects, authentication, cookies) are
-- loaded for a connection that asks for them.

local planning = {}

--- Reads the name of a scheme of authentication.
local function scheme(value)
  if value == "basic" or value == "digest" then return value end
  return nil, "'basic' or 'digest' expected, got " .. (type(value) == "string" and "'" .. value .. "'" or type(value))
end

local WAITS = { [true] = true, [false] = true, yield = true }

--- Reads the option wait.
local function waiting(value)
  if WAITS[value] then return value end
  local got = type(value) == "string" and "'" .. value .. "'" or type(value)
  return nil, "true, false or 'yield' expected, got " .. got
end

options.register {
  { "connect", nil, options.callable }, -- connect(host, port, options): returns a socket, or nil and why not
  { "connect_timeout", 15, options.at_least(0) }, -- s for name look-up, TCP and TLS together
  { "upgrade_timeout", 5, options.at_least(0) }, -- s for the upgrade
  { "max_payload_size", 65535, options.at_least(0) }, -- bytes of one message
  { "wait", true, waiting }, -- false: wsopen returns at once; "yield": it yields to the event loop
  -- the most connections that are opened to one address at the same time, if nobody waits for this one; 0: no limit
  { "connecting_limit", 0, options.whole(0) },
  { "open_handler", nil, options.callable }, -- open_handler(conn): called each time that the connection was opened
  { "reconnect", false, options.of_type("boolean", "table") }, -- whether a lost connection is opened again (backoff)
  { "queue", 0, options.at_least(0) }, -- bytes of messages that are kept while it is not open
  { "use_masking", true, options.of_type("boolean") },
  { "validate_utf8", true, options.of_type("boolean") }, -- whether text must be UTF-8, in both directions
  { "allow_long_lengths", false, options.of_type("boolean") }, -- whether lengths need not be in their shortest form
  { "fragment_size", 0, options.at_least(0) }, -- larger messages are sent in fragments; 0: never
  { "sockproxy", false, options.of_type("boolean", "table") }, -- proxy reads what is in it
  { "proxy", false, options.of_type("boolean", "string", "table") }, -- a URL, or a table; true: the environment's
  { "proxy_auth", nil, scheme }, -- the only scheme that user and password are sent with
  { "proxy_ssl", nil, options.of_type("table") }, -- TLS to an https proxy; named as in the option ssl
  { "redirects", 0, options.whole(0) }, -- the most redirects to follow
  { "redirects_to_ws", false, options.of_type("boolean") }, -- whether to follow them from wss to ws, too
  { "auth", nil, options.of_type("table") }, -- auth reads what is in it
}

-- How much of a URL that is not valid is repeated in the error, in bytes.
local MOST_SHOWN = 200

--- parse(url [, is_http]): returns the target as a table; or nil and what is wrong with the URL. `is_http`: whether
-- http stands for ws, and https for wss.
function planning.parse(url, is_http)
  if type(url) ~= "string" then return nil, ": string expected, got " .. type(url) end
  local target, why = native.parse_url(url, is_http)
  if target then return target end
  -- What may be a password or a token must not get into a log.
  if url:find("@", 1, true) then return nil, ": " .. why end
  local shown, cut = url:gsub("[?#].*", ""):sub(1, MOST_SHOWN), url:find("[?#]") or #url > MOST_SHOWN
  shown = shown:gsub("%c", function(c) return ("\\%03d"):format(c:byte()) end)
  return nil, (" %s%s: %s"):format(shown, cut and "..." or "", why)
end

--- Returns the plan of opening a connection to this target.
local function new(target, given, ask)
  return {
    target = target, -- where the present attempt goes
    ask = ask, -- the plain request to make there: method, body and max_body; nil to ask for a WebSocket
    first = target, -- what the user's URL says
    is_home = true, -- whether that is the same server
    redirects = 0, -- how many have been followed
    auth = nil, -- the option auth, as read
    authorization = target.authorization, -- what to send of it (auth), or of the URL's user and password
    tried = nil, -- how authentication was tried at the target (auth)
    given = given, -- the user's table of options
    parameters = nil, -- of a session (request)
    proxy = nil, -- that of the present attempt
    has_collected = false, -- whether the collector was run for want of a descriptor
  }
end

--- check_strength(state): notes which options weaken TLS with the server.
local function check_strength(state)
  local plan = state.plan
  local luasec = plan.target.secure and plan.parameters.tls
  state.weaknesses = luasec and import("tls").weaknesses(luasec) or nil
end

-- Names of onion services, which only Tor knows; whoever asks a name server for one tells the world (RFC 7686).
local ONION = "%.onion%.?$"

--- route_to(target, opening): returns the route through a proxy to a server; nil for none; or nil and what is wrong
-- with the options.
local function route_to(target, opening)
  local route, why
  if opening.sockproxy or opening.proxy then route, why = import("proxy").route(opening, target) end
  if why then return nil, why end
  local looks_up = not route and not opening.connect or route and (route.looks_up or route.kind == "sockproxy")
  if looks_up and target.host:lower():find(ONION) then
    return nil, ("Connection to %s:%d failed: names of onion services are not looked up; use a proxy that knows them, "
      .. "by socks5h://, socks4a:// or http://"):format(target.host, target.port)
  end
  return route
end

--- prepare(state, target, given [, ask]): reads the options into a state. Returns what is wrong with them, or nil.
function planning.prepare(state, target, given, ask)
  local plan = new(target, given, ask)
  state.plan = plan
  local opening, why = options.opening(given)
  if not opening then return why end
  state.opening, state.reconnect = opening, nil
  if opening.reconnect then
    state.reconnect, why = import("backoff").settings(opening.reconnect)
    if why then return why end
  end
  if opening.auth then
    why = import("auth").begin(plan, opening)
    if why then return why end
  end
  why = request.prepare(plan, opening)
  if why then return why end
  plan.proxy, why = route_to(target, opening)
  check_strength(state)
  return why
end

--- check(target, given [, ask]): returns what is wrong with the options for opening a connection, or nil: also what
-- shows only when a session is made of them, such as a file that is not there. Nothing is opened.
function planning.check(target, given, ask)
  local state = connection.new(nil)
  local wrong = planning.prepare(state, target, given, ask)
  if wrong then return wrong end
  local parameters, route = state.plan.parameters, state.plan.proxy
  parameters.proxy = route and not route.looks_up and route or nil
  local session, why, hop = native.session(parameters)
  if session then native.free(session) end
  return not session and not hop and why or nil -- a hop is for the attempt to fail at
end

--- keep_cookies(state, headers): keeps those of a response to the upgrade, whatever its status.
function planning.keep_cookies(state, headers)
  local jar = state.opening.cookies
  if not jar then return end
  headers = headers or select(2, native.response(state.session))
  import("cookies").keep(jar, state.plan.target.url, headers)
end

--- leads_on(state): returns whether there is another attempt after a response that has refused the upgrade, and has the
-- plan say where; or false and, if that was to be expected, why not, to be appended to a message.
function planning.leads_on(state)
  local plan, opening = state.plan, state.opening
  local _, headers, status = native.response(state.session)
  planning.keep_cookies(state, headers)
  if opening.redirects > 0 then
    local leads_on, why = import("redirect").follow(plan, opening, status, headers)
    if leads_on or why then return leads_on, why end
  end
  if plan.auth then return import("auth").answer(plan, state.session, status) end
  return false
end

--- hidden(state, text): returns why an attempt has failed, without what a server or a proxy may have repeated in it of
-- a password or a token.
function planning.hidden(state, text)
  local plan, opening = state.plan, state.opening
  if not (plan.auth or plan.first.authorization or plan.proxy or opening.upgrade_headers) then return text end
  return import("secrets").hide(plan, opening, text, true)
end

--- trail(state): returns where redirects have led before a failure, for its text.
function planning.trail(state)
  local plan = state.plan
  return plan.redirects > 0 and import("redirect").trail(plan, state.opening) or ""
end

--- aim(state): has what an attempt needs fit the target of the plan, which has changed. Returns what is wrong, or nil.
function planning.aim(state)
  local plan, opening = state.plan, state.opening
  local why = request.aim(plan, opening)
  -- Where SockProxy is not there, it is not there for the next server either.
  if not why and (plan.proxy or not opening.sockproxy) then plan.proxy, why = route_to(plan.target, opening) end
  check_strength(state)
  return why
end

return planning
