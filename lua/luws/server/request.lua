--[[
A request as handlers see it, and what they can read from its headers. Nothing is decoded: path and query are as they
were sent.
--]]

local native, import = ...
local listeners = import("server/listeners")

local request = {}

local Request = {}

--- Returns the cookies of a request by their names. Of several with one name it is the first, which is the one with the
-- longest path (RFC 6265 section 5.4).
local function cookies_of(headers)
  local cookies = {}
  for name, value in (headers.cookie or ""):gmatch "([^=;%s]+)%s*=%s*([^;]*)" do
    value = value:gsub("%s+$", ""):gsub('^"(.*)"$', "%1")
    if cookies[name] == nil then cookies[name] = value end
  end
  return cookies
end

function Request:__index(key)
  if key == "cookies" then
    local cookies = cookies_of(self.headers)
    rawset(self, "cookies", cookies)
    return cookies
  end
  return Request[key]
end

--- accept([options]): goes on with a request that on_request has left for later, as if that had returned nil. Options:
-- subprotocol, headers, on_fail (called if it does not become a WebSocket after all). Returns true; or nil and why not.
function Request:accept(given)
  if not self.answer then return nil, "the request is over" end
  return self.answer.accept(given)
end

--- refuse(response): answers a request that on_request has left for later. Returns true; or nil and why not.
function Request:refuse(response)
  if not self.answer then return nil, "the request is over" end
  return self.answer.respond(response)
end

--- problem(): on_request may ask why accept would not open a WebSocket for this request. Returns nil, or a status and
-- the reason.
function Request:problem()
  if not self.asked then return 400, "the request is over" end
  return self.asked()
end

--- Returns path, query (or nil) of a request's target (RFC 9112 section 3.2).
local function split(target)
  local rest = target:match "^%a[%w+.-]*://[^/?]*(.*)$" or target
  local path, query = rest:match "^([^?]*)%??(.*)$"
  if path == "" then path = "/" end
  return path, rest:find("?", 1, true) and query or nil
end

--- is_trusted(trusted, address): returns whether an address is one of the trusted proxies.
local function is_trusted(trusted, address)
  if trusted[address] then return true end
  for _, network in ipairs(trusted) do
    if native.is_within(address, network) then return true end
  end
  return false
end

--- foreign(forwarded, trusted): returns the last address in X-Forwarded-For that is not one of the trusted proxies; nil
-- if there is none. What is not an address was not told by a proxy that says who it was.
local function foreign(forwarded, trusted)
  local told = {}
  for element in (forwarded or ""):gmatch "[^,%s]+" do
    -- Some add the port.
    told[#told + 1] = element:match "^%[(.-)%]" or element:match "^(%d+%.%d+%.%d+%.%d+):%d+$" or element
  end
  for i = #told, 1, -1 do
    local address = listeners.canonical(told[i])
    if not address or not is_trusted(trusted, address) then return address end
  end
end

--- new(state, place, trusted): returns the request whose head has come, and whether the client wants the connection to
-- end after the response. `place` has the fields address, port and secure of the connection; `trusted` is the set of
-- the proxies that tell whose request it is, as server/options reads it.
function request.new(state, place, trusted)
  local method, target, headers, subprotocols, ends = native.request_head(state.session)
  local path, query = split(target)
  local remote, port = place.address, place.port
  if is_trusted(trusted, remote or "unix") then
    local address = foreign(headers["x-forwarded-for"], trusted)
    if address then remote, port = address, nil end
  end
  return setmetatable({
    method = method, target = target, path = path, query = query, http = "1.1", headers = headers,
    remote = remote, remote_port = port, tls = place.secure and native.peer(state.session) or nil,
    subprotocols = subprotocols, origin = headers.origin, body = nil, socket = state.socket, answer = nil, asked = nil,
  }, Request), ends
end

return request
