--[[
The cookie that names a session for load balancers, as npm's module cookie writes it.
--]]

local _, import = ...
local options, queries = import("options"), import("query")

local cookie = {}

local boolean = options.of_type("boolean")

--- name(value): reads a token (RFC 6265 section 4.1.1).
local function name(value)
  if type(value) == "string" and value:find "^[%w!#$%%&'*+%-.^_`|~]+$" then return value end
  return nil, "a token of RFC 9110 expected, such as io"
end

--- attribute(value): reads what can be the value of an attribute.
local function attribute(value)
  if type(value) == "string" and not value:find "[%c;]" then return value end
  return nil, "a string without control characters and ; expected"
end

local SAME_SITE = { strict = "Strict", lax = "Lax", none = "None" }

local function same_site(value)
  if value == false then return false end
  local found = value == true and "Strict" or type(value) == "string" and SAME_SITE[value:lower()]
  if found then return found end
  return nil, "'strict', 'lax', 'none' or a boolean expected"
end

local rows = {
  { "name", "io", name },
  { "path", "/", attribute },
  { "httpOnly", true, boolean },
  { "sameSite", "Lax", same_site },
  { "domain", nil, attribute },
  { "secure", false, boolean },
  { "maxAge", nil, options.whole(0) }, -- seconds
}

--- read(given): reads the option cookie. Returns a complete table, or nil and what is wrong.
function cookie.read(given) return options.complete("cookie", rows, given) end

--- line(read, id): returns the value of Set-Cookie for a session.
function cookie.line(read, id)
  local parts = { read.name .. "=" .. queries.escape(id) }
  local function add(part) parts[#parts + 1] = part end
  if read.maxAge then add("Max-Age=" .. read.maxAge) end
  if read.domain then add("Domain=" .. read.domain) end
  add("Path=" .. read.path)
  if read.httpOnly then add "HttpOnly" end
  if read.secure then add "Secure" end
  if read.sameSite then add("SameSite=" .. read.sameSite) end
  return table.concat(parts, "; ")
end

return cookie
