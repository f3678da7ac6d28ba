--[[
Plans the opening of a connection: takes the URL and the options apart before the first attempt, and decides after a
response whether there is another one, and where. A plan is what the attempts have in common. Takes no steps itself.
--]]

local native, import = ...
local auth, cookies, options = import("auth"), import("cookies"), import("options")
local proxy, redirect, request = import("proxy"), import("redirect"), import("request")

-- Parts that few programs need (the options of TLS and of reconnecting) are loaded on demand.

local planning = {}

-- How much of a URL that is not valid is repeated in the error, in bytes.
local MOST_SHOWN = 200

--- parse(url): returns the target as a table; or nil and what is wrong with the URL.
function planning.parse(url)
  if type(url) ~= "string" then return nil, ": string expected, got " .. type(url) end
  local target, why = native.parse_url(url)
  if target then return target end
  -- What may be a password or a token must not get into a log.
  if url:find("@", 1, true) then return nil, ": " .. why end
  local shown, cut = url:gsub("[?#].*", ""):sub(1, MOST_SHOWN), url:find("[?#]") or #url > MOST_SHOWN
  shown = shown:gsub("%c", function(c) return ("\\%03d"):format(c:byte()) end)
  return nil, (" %s%s: %s"):format(shown, cut and "..." or "", why)
end

--- Returns the plan of opening a connection to this target.
local function new(target, given)
  return {
    target = target, -- where the present attempt goes
    first = target, -- what the user's URL says
    is_home = true, -- whether that is the same server
    redirects = 0, -- how many have been followed
    auth = nil, -- the option auth, as read
    authorization = nil, -- what to send of it, or of the user and the password of the URL (auth)
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

--- prepare(state, target, given): reads the options into a state. Returns what is wrong with them, or nil.
function planning.prepare(state, target, given)
  local plan = new(target, given)
  state.plan = plan
  local opening, why = options.opening(given)
  if not opening then return why end
  state.opening, state.reconnect = opening, nil
  if opening.reconnect then
    state.reconnect, why = import("backoff").settings(opening.reconnect)
    if why then return why end
  end
  why = auth.begin(plan, opening)
  if why then return why end
  why = request.prepare(plan, opening)
  if why then return why end
  plan.proxy, why = proxy.route(opening, target)
  check_strength(state)
  return why
end

--- keep_cookies(state, headers): keeps those of a response to the upgrade, whatever its status.
function planning.keep_cookies(state, headers)
  local jar = state.opening.cookies
  if jar then cookies.keep(jar, state.plan.target.url, headers or select(2, native.response(state.session))) end
end

--- leads_on(state): returns whether there is another attempt after a response that has refused the upgrade, and has the
-- plan say where; or false and, if that was to be expected, why not, to be appended to a message.
function planning.leads_on(state)
  local plan, opening = state.plan, state.opening
  local _, headers, status = native.response(state.session)
  planning.keep_cookies(state, headers)
  local leads_on, why = redirect.follow(plan, opening, status, headers)
  if leads_on or why then return leads_on, why end
  return auth.answer(plan, state.session, status)
end

--- aim(state): has what an attempt needs fit the target of the plan, which has changed. Returns what is wrong, or nil.
function planning.aim(state)
  local plan, opening = state.plan, state.opening
  local why = request.aim(plan, opening)
  -- Where SockProxy is not there, it is not there for the next server either.
  if not why and (plan.proxy or not opening.sockproxy) then plan.proxy, why = proxy.route(opening, plan.target) end
  check_strength(state)
  return why
end

return planning
