--[[
The module luws.http: one HTTP/1.1 exchange (RFC 9112) on the life cycle, the hops and the options of wsopen. Heads and
bodies are read and written by the engine (src/http, src/session/asking.rs); connections are kept by http/pool. The
reactor takes the steps.
--]]

local native, import = ...
import("calls") -- whose parts have registered the options
local drive, guard, log, open, options = import("drive"), import("guard"), import("log"), import("open"),
  import("options")
local planning, pool, tls = import("planning"), import("http/pool"), import("tls")
local turns, worlds = import("turns"), import("worlds")

local MIB = 1024 * 1024

-- The options of requests; the others are wsopen's.
local rows = {
  { "method", nil, options.of_type("string") }, -- GET, or POST if there is a body
  { "headers", nil, options.of_type("table") }, -- name to value
  { "body", "", options.of_type("string") },
  { "timeout", 30, options.at_least(0) }, -- s from the request, once the connection is open, to the end of the response
  { "max_body", MIB, options.whole(0) }, -- bytes of the response's body
}

-- Options of wsopen that mean something for a request; those of TLS do, too.
local SHARED = {
  auth = true, connect = true, connect_timeout = true, cookies = true, proxy = true, proxy_auth = true,
  proxy_ssl = true, reactor = true, redirects = true, redirects_to_ws = true, sockproxy = true, ssl = true,
}

local Request = {}
local meta = { __index = Request }

--- read(given): reads the options of a request. Returns its own, and those for opening its connection; or nil and
-- what is wrong.
local function read(given)
  local own, shared = {}, { wait = false }
  for name, value in pairs(given) do
    if SHARED[name] or type(name) == "string" and name:find "^ssl_" then
      shared[name] = value
    else
      own[name] = value
    end
  end
  local found = {}
  local wrong = options.take(rows, own, found)
  if wrong then return nil, wrong end
  local stranger = next(own)
  if stranger ~= nil then
    local known = options.names(rows)
    for name in pairs(SHARED) do known[name] = true end
    return nil, options.unknown(stranger, known)
  end
  found.method = found.method or found.body ~= "" and "POST" or "GET"
  shared.upgrade_headers, shared.upgrade_timeout = found.headers, found.timeout
  tls.verify_by_default(shared)
  return found, shared
end

--- finish(self, response, why): tells the program how a request has ended, once.
local function finish(self, response, why)
  local f = self.f
  self.f, self.state = nil, nil
  if not f then return end
  local ok, err = guard.free(f, response, why)
  if not ok then log.handler_failed("the function of a request raised an error", err) end
end

-- What a plain request may be asked again after the end of the connection it was made on (RFC 9110 section 9.2.2).
local IDEMPOTENT = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true, TRACE = true }

--- begin(self, state): makes the request that is planned in this state.
local function begin(self, state)
  self.state = state
  local used = not self.is_again and pool.take(state)
  if used and open.ask(used, state) then
    self.state, self.is_reused = used, true
  else
    open.dial(state)
  end
  drive.enter(self.state)
end

--- answered(state, body, why): the owner of the state is told that the response has come. `why`: why a redirect was not
-- followed, or authentication not tried.
function Request:answered(state, body, why)
  local _, headers, status, reason = native.response(state.session)
  local url = state.plan.target.url:gsub("^ws", "http")
  local problem = why and why:gsub("^; ", "") or nil
  local response = { status = status, reason = reason, headers = headers, body = body, url = url, problem = problem }
  turns.later(function()
    if self.state ~= state then return end -- cancelled
    pool.leave(state)
    finish(self, response)
  end)
end

--- opened(state): the owner of the state is told that its opening is over, which for a request is its failure.
function Request:opened(state)
  local failure, plan = state.failure, state.plan
  state.plan = nil
  if self.state ~= state then return end
  -- The server may have ended the connection before it has seen the request.
  local may_ask_again = self.is_reused and state.ended and not state.answered and IDEMPOTENT[plan.ask.method]
  turns.later(function()
    if self.state ~= state then return end
    if may_ask_again then
      self.is_reused, self.is_again = false, true
      local again = open.plan(self, plan.target, plan.given, plan.ask)
      if again then return begin(self, again) end
    end
    finish(self, nil, failure.text)
  end)
end

--- closed(): nothing is left of the connection.
function Request.closed() end

--- failed(state, err): a user's connect function, or a debug hook, has raised an error.
function Request.failed(state, err) open.raised(state, err) end

--- cancel(): the program is not told of the response any more. May be called at any time, repeatedly.
function Request:cancel()
  local state = self.state
  self.f, self.state = nil, nil
  if state and state.phase == "connecting" then open.cancel(state) end
end

local public = {}

--- request(url, options, f): makes a request. f(response) or f(nil, why) is called in a turn of the reactor, never from
-- within this call. Returns an object whose method cancel() ends it; or nil and what is wrong with the arguments.
function public.request(url, given, f)
  if given ~= nil and type(given) ~= "table" then
    return nil, ("bad argument #2 to 'request' (table expected, got %s)"):format(type(given))
  end
  if not guard.is_callable(f) then
    return nil, ("bad argument #3 to 'request' (function expected, got %s)"):format(type(f))
  end
  given = given or {}
  local elsewhere = worlds.elsewhere(given, "http")
  if elsewhere then return elsewhere.request(url, given, f) end
  local plain = type(url) == "string" and url:gsub("#.*", "") or url
  local target, wrong = planning.parse(plain, true)
  if not target then return nil, "invalid url" .. wrong end
  local own, shared = read(given)
  if not own then return nil, shared end
  local self = setmetatable({ f = f, state = nil, is_reused = false, is_again = false }, meta)
  local ask = { method = own.method, body = own.body, max_body = own.max_body, has_lost_body = false }
  local state, why = open.plan(self, target, shared, ask)
  if not state then return nil, why end
  begin(self, state)
  local failure = self.state and self.state.failure
  if failure and not failure.hop then -- the options are wrong
    self:cancel()
    return nil, failure.text
  end
  return { cancel = function() self:cancel() end }
end

return { public = public }
