--[[
Keeps credentials out of recordings: those in URLs, and in what a program notes under the name of a password, a token, a
header for one, or one of luws's options for them. What is in messages, only the program knows (its function redact).
--]]

local _, import = ...
local log = import("log")

local secrets = {}

local HIDDEN = "(hidden)"
secrets.HIDDEN = HIDDEN

-- Options of wsopen that have passwords and keys in them.
local OPTIONS = { auth = true, proxy = true, ssl = true, proxy_auth = true, proxy_ssl = true }

-- Tables are looked through to this depth; what is below is not kept.
local DEEPEST = 40

--- url(text): returns a URL, which may not be a valid one, without user, password and the values of its query.
function secrets.url(text)
  if type(text) ~= "string" then return nil end
  text = log.without_secrets(text):gsub("%?[^#]+", "?" .. HIDDEN)
  if text:find("://", 1, true) then return text end
  return (text:gsub("^[^/?#]*@", HIDDEN .. "@"))
end

local function is_secret(key)
  return log.is_secret(key) or OPTIONS[key] or type(key) == "string" and key:find("^ssl_") ~= nil
end

--- clean(value): returns a value without credentials; a table with them is copied.
function secrets.clean(value, depth)
  if type(value) == "string" then return value:find("://", 1, true) and log.without_secrets(value) or value end
  if type(value) ~= "table" then return value end
  depth = depth or 0
  if depth > DEEPEST then return HIDDEN end
  local copy = {}
  for key, field in next, value do
    copy[key] = is_secret(key) and HIDDEN or secrets.clean(field, depth + 1)
  end
  return setmetatable(copy, getmetatable(value))
end

--- row(fields): returns the fields of a row without credentials. Those of calls and notes are the program's; others are
-- cleaned where they come from, but for their URL.
function secrets.row(fields)
  if fields.url ~= nil and fields.call == nil then fields.url = secrets.url(fields.url) end
  if fields.call ~= nil then return secrets.clean(fields) end
  if fields.note ~= nil then fields.note = secrets.clean(fields.note) end
  return fields
end

return secrets
