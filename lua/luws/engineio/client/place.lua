--[[
Where a client of Engine.IO makes its requests, and what goes along with each: URL, query, headers, cookies, the options
of TLS and of proxies. Knows no transport's rules.
--]]

local _, import = ...
local clock, cookies = import("clock"), import("cookies").public
local planning, queries, tls = import("planning"), import("query"), import("tls")

local place = {}

-- The revision of the protocol.
local REVISION = "4"

local Place = {}
Place.__index = Place

--- pairs_of(query): returns the parts of a query that a program gives as a text or as a table.
local function pairs_of(query)
  local parts = {}
  if type(query) == "string" then
    for part in query:gsub("^%?", ""):gmatch "[^&]+" do
      parts[#parts + 1] = part:gsub("[%c #]", queries.escape)
    end
    return parts
  end
  for name, value in pairs(query or {}) do parts[#parts + 1] = queries.escape(name) .. "=" .. queries.escape(value) end
  table.sort(parts)
  return parts
end

local requests = 0

--- unique(): returns a text that no other request has, so that no cache answers it.
local function unique()
  requests = (requests + 1) % 1e6
  return ("%x%06x"):format(math.floor(clock.time() * 1000) % 2 ^ 31, requests)
end

--- check(self, target): raises an error if requests cannot be made with these options, by one of the transports.
local function check(self, target)
  local ask = { method = "GET", body = "", max_body = 0, has_lost_body = false }
  for _, name in ipairs(self.own.transports) do
    local is_polling = name == "polling"
    local wrong = planning.check(target, self:options {
      upgrade_headers = self:headers(), subprotocols = not is_polling and self.own.protocols or nil,
    }, is_polling and ask or nil)
    if wrong then error(wrong:gsub("'[%w_]*headers'", "'extraHeaders'"):gsub("'subprotocols'", "'protocols'"), 0) end
  end
end

--- new(url, own, shared): returns the place at a URL, http(s) or ws(s); without a scheme it is http. `own` and `shared`
-- are what settings has read. Raises an error if the URL or one of these is not valid.
function place.new(url, own, shared)
  if type(url) == "string" and not url:find "^%a[%w+.-]*://" then url = "http://" .. url:gsub("^//", "") end
  if type(url) == "string" then url = url:gsub("#.*", "") end
  local target, wrong = planning.parse(url, true)
  if not target then error("invalid url" .. wrong, 0) end
  local authority = url:match "^%a+://([^/?]*)"
  local self = setmetatable({
    authority = authority, is_secure = target.secure, own = own, shared = shared,
    query = pairs_of(own.query or url:match "%?(.*)"),
    jar = shared.cookies or own.withCredentials and cookies.jar() or nil,
    sid = nil, -- the session's, once it is known
  }, Place)
  check(self, target)
  return self
end

--- url(transport): returns the URL of the next request of a transport.
function Place:url(transport)
  local own, parts = self.own, {}
  for i, part in ipairs(self.query) do parts[i] = part end
  local function add(name, value) parts[#parts + 1] = name .. "=" .. value end
  add("EIO", REVISION)
  add("transport", transport)
  if self.sid then add("sid", queries.escape(self.sid)) end
  local is_polling = transport == "polling"
  local has_time = own.timestampRequests
  if has_time == nil then has_time = is_polling end
  if has_time then add(queries.escape(own.timestampParam), unique()) end
  if own.forceBase64 and (not self.sid or not is_polling) then add("b64", "1") end
  local scheme = (is_polling and "http" or "ws") .. (self.is_secure and "s" or "")
  return ("%s://%s%s?%s"):format(scheme, self.authority, own.path, table.concat(parts, "&"))
end

--- options(more): returns the options that all requests have, and these.
function Place:options(more)
  for name, value in pairs(self.shared) do more[name] = value end
  tls.verify_by_default(more)
  more.cookies = self.jar
  return more
end

--- headers(more): returns the headers that all requests have, and these.
function Place:headers(more)
  local headers = {}
  for name, value in pairs(more or {}) do headers[name] = value end
  for name, value in pairs(self.own.extraHeaders or {}) do headers[name] = value end
  return headers
end

return place
