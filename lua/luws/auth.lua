--[[
Authentication to the server of the URL: what of the option auth is sent at once, and how a refusal is answered. The
schemes are native (src/http/auth). Takes no steps itself: it notes in the plan of an opening (planning) what to send.
--]]

local native, import = ...
local options = import("options")

local auth = {}

local SCHEMES = { basic = true, digest = true }

local auth_rows = {
  { "user", nil, options.of_type("string") },
  { "password", nil, options.of_type("string") },
  { "scheme", nil, function(value)
    if SCHEMES[value] then return value end
    return nil, "'basic' or 'digest' expected"
  end },
  { "bearer", nil, options.of_type("string") }, -- a token, instead of the others
}

-- What has been tried at a server, as numbers (src/lua/auth.rs).
local NOTHING, BASIC = 0, 1

local function wrong(why) return ("bad option 'auth' (%s)"):format(why) end

local function has_authorization(headers)
  for name in pairs(headers or {}) do
    if type(name) == "string" and name:lower() == "authorization" then return true end
  end
  return false
end

--- read(opening): returns the option auth as a complete table, with the value of a header that can be sent at once; or
-- nil and what is wrong with it.
local function read(opening)
  local own, why = options.complete("auth", auth_rows, opening.auth)
  if not own then return nil, why end
  if has_authorization(opening.upgrade_headers) then
    return nil, wrong "cannot be combined with the header Authorization"
  end
  if own.bearer then
    if own.user or own.password or own.scheme then return nil, wrong "bearer: cannot be combined with the others" end
    own.header, why = native.auth_bearer(own.bearer)
  elseif not own.user then
    return nil, wrong "user: missing"
  else
    own.password = own.password or ""
    why = native.auth_check(own.user, own.password)
    -- Digest can do with any user.
    if not why and own.scheme ~= "digest" then own.header, why = native.auth_basic(own.user, own.password) end
  end
  if why then return nil, wrong(why) end
  return own
end

--- aim(plan): sets what is sent with the first request to the plan's target. Basic shows the password to everybody on
-- the way, so that over ws it is not sent unless it was asked for.
function auth.aim(plan)
  local own, target = plan.auth, plan.target
  plan.tried = NOTHING
  if not plan.is_home then
    plan.authorization = nil
  elseif not own then
    plan.authorization = plan.first.authorization
  elseif own.bearer or own.scheme == "basic" or target.secure and not own.scheme then
    plan.authorization, plan.tried = own.header, own.bearer and NOTHING or BASIC
  else
    plan.authorization = nil
  end
end

--- begin(plan, opening): reads the option for a plan. Returns what is wrong with it, or nil.
function auth.begin(plan, opening)
  local why
  plan.auth, why = read(opening)
  if why then return why end
  auth.aim(plan)
end

--- answer(plan, session, status): returns whether a refusal can be answered by another request, and sets what is sent
-- with it; or false and, if the server wants something else than it can be given, what, to be appended to a message.
function auth.answer(plan, session, status)
  local own, target = plan.auth, plan.target
  if status ~= 401 or own.bearer or not plan.is_home then return false end
  local only = own.scheme or not target.secure and "digest" or nil
  local value, tried = native.auth_answer(session, own.user, own.password, only, plan.tried, target.resource,
    plan.parameters.seed or false)
  if value then
    plan.authorization, plan.tried = value, tried
    return true
  end
  local offered = tried -- in place of it
  if plan.tried ~= NOTHING or offered == "" then return false end
  if not own.scheme and not target.secure and offered:lower():find "%f[%w]basic%f[%W]" then
    return false, "; it takes Basic, which over ws has to be asked for (see auth)"
  end
  return false, "; it takes " .. offered
end

return auth
