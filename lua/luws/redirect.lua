--[[
Decides where the next attempt to open a connection goes, if a server has answered with a redirect. What it decides is
in the plan of the opening (planning). Takes no steps itself.
--]]

local native, import = ...
local auth, log, secrets = import("auth"), import("log"), import("secrets")

local redirect = {}

-- RFC 9110 sections 15.4.2 to 15.4.4, 15.4.8 and 15.4.9. An upgrade is always a GET.
local IS_REDIRECT = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- How much of a path is shown in a message, in bytes.
local MOST_SHOWN = 200

--- Returns a target as a URL for messages: without the query, which may have a token in it, and without a path that has
-- one of ours in it.
local function name(plan, opening, target)
  local url = target.url:gsub("%?.*", "")
  if plan.ask then url = url:gsub("^ws", "http") end
  local plain = url:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  if secrets.hide(plan, opening, plain) ~= plain then url = secrets.hide(plan, opening, url:match "^%a+://[^/]*/?") end
  return #url > MOST_SHOWN and url:sub(1, MOST_SHOWN) .. "..." or url
end

--- trail(plan, opening): returns what a message says of the redirects before a failure.
function redirect.trail(plan, opening)
  return (" (redirected to %s)"):format(name(plan, opening, plan.target))
end

--- Returns whether two targets are one server, so that what the user meant for the one is for the other, too. That for
-- wss at the usual port is taken for that for ws at its usual port, but not the other way round.
local function is_same(first, target)
  if first.host ~= target.host or first.zone ~= target.zone then return false end
  if first.secure == target.secure then return first.port == target.port end
  return target.secure and first.port == 80 and target.port == 443
end

--- Makes a plain request a GET where browsers do so (RFC 9110 sections 15.4.2 to 15.4.4).
local function change_method(ask, status)
  local is_post = ask.method == "POST" and (status == 301 or status == 302)
  if is_post or status == 303 and ask.method ~= "HEAD" then
    ask.method, ask.body, ask.has_lost_body = "GET", "", true
  end
end

--- follow(plan, opening, status, headers): returns whether a response leads on, and has the plan lead there; or false
-- and, if it is a redirect that is not followed, why not, to be appended to a message.
function redirect.follow(plan, opening, status, headers)
  if not IS_REDIRECT[status] then return false end
  if plan.redirects >= opening.redirects then return false, "; too many redirects" end
  if not headers.location then return false, "; the redirect has no Location" end
  local target, why = native.follow(plan.target.url, headers.location, plan.ask ~= nil)
  if not target then return false, "; the Location of the redirect is wrong: " .. why end
  if plan.target.secure and not target.secure and not opening.redirects_to_ws then
    return false, ("; it redirects from %s, see redirects_to_ws"):format(plan.ask and "https to http" or "wss to ws")
  end
  if log.debugging() then
    log.debug("%s redirects to %s (%d)", name(plan, opening, plan.target), name(plan, opening, target), status)
  end
  plan.target, plan.redirects, plan.is_home = target, plan.redirects + 1, is_same(plan.first, target)
  if plan.ask then change_method(plan.ask, status) end
  auth.aim(plan)
  return true
end

return redirect
