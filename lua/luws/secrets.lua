--[[
Keeps passwords and tokens out of what is said: servers and proxies know some of them, and could repeat them; others are
in URLs. Knows where they are; how they are hidden is native (src/http/auth/hiding.rs).
--]]

local native = ...

local secrets = {}

-- Headers with secrets in them.
local SECRET = { authorization = true, ["proxy-authorization"] = true }

local function add(list, value)
  if type(value) == "string" then list[#list + 1] = value end
end

--- add_password(list, values, user, password): adds a password, and the header that Basic makes of it.
local function add_password(list, values, user, password)
  if not password then return end
  add(list, password)
  add(values, (native.auth_basic(user or "", password)))
end

local function add_headers(values, headers)
  for name, value in pairs(headers or {}) do
    if type(name) == "string" and SECRET[name:lower()] then add(values, value) end
  end
end

--- hide(plan, opening, text, is_message): returns the words of a server or a proxy, or one of our messages that ends in
-- them (`is_message`), without the secrets of a connection that is being opened.
function secrets.hide(plan, opening, text, is_message)
  local list, values = {}, {}
  local auth, route = plan.auth, plan.proxy
  if auth then
    add(list, auth.bearer)
    add_password(list, values, auth.user, auth.password)
  end
  add(values, plan.first.authorization)
  add_headers(values, opening.upgrade_headers)
  if route then
    add_password(list, values, route.user, route.password)
    for _, pair in ipairs(route.headers or {}) do add_headers(values, { [pair[1]] = pair[2] }) end
  end
  if not (list[1] or values[1]) then return text end
  return native.auth_hide(text, is_message or false, list, values)
end

--- url(text): returns a URL without what is secret in it: user, password and query.
function secrets.url(text)
  return (text:gsub("^(%a+://)[^/?#]*@", "%1"):gsub("[?].*$", "?..."))
end

return secrets
