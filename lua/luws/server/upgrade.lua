--[[
Whether a request may become a WebSocket, and on which terms: its subprotocol, and the headers that are added to the
101. Asks the handlers about them. Sends nothing.
--]]

local native, import = ...
local log, options, settings = import("log"), import("options"), import("server/options")

local upgrade = {}

--- Reads headers from an option: returns an array of { name, value }.
local function headers_of(value)
  if type(value) ~= "table" then return nil, "table expected, got " .. type(value) end
  return settings.headers(value)
end

-- Options of request:accept.
local accept_rows = {
  { "subprotocol", nil, options.of_type("string") },
  { "headers", {}, headers_of }, -- are added to the 101
  { "on_fail", nil, options.callable }, -- on_fail(): it does not become a WebSocket after all
}

--- options(given): reads the options of request:accept. Returns a complete table, or nil and what is wrong with them.
function upgrade.options(given) return options.argument("accept", accept_rows, given) end

--- Returns whether a list has this value.
local function lists(list, value)
  for _, element in ipairs(list) do
    if element == value then return true end
  end
  return false
end

--- problem(state): returns nil if the request may become a WebSocket; otherwise the status with which it is refused,
-- and why.
function upgrade.problem(state)
  local ex, owner = state.exchange, state.owner
  local origins, origin = ex.handlers.origins, ex.request.origin
  local status, text = native.upgrade_problem(state.session)
  if status then return status, text end
  if origins and not (origin and lists(origins, origin:lower())) then return 403, "this origin may not connect" end
  if not owner:has_room() then return 503, "too many connections" end
end

--- chosen(ex, given, call): returns whether the request is still to be answered, and its subprotocol.
local function chosen(ex, given, call)
  local request, handlers = ex.request, ex.handlers
  if given.subprotocol then return true, given.subprotocol end
  if handlers.select_subprotocol then
    local ok, name = call("select_subprotocol", handlers.select_subprotocol, request, request.subprotocols)
    return ok, name or nil
  end
  for _, offered in ipairs(request.subprotocols) do
    if lists(handlers.subprotocols or {}, offered) then return true, offered end
  end
  return true, nil
end

--- added(ex, given, call): returns whether the request is still to be answered, and the headers that are added to the
-- 101; or true, nil and what is wrong with them.
local function added(ex, given, call)
  local headers = ex.handlers.response_headers or {}
  if type(headers) == "function" then
    local ok, result = call("response_headers", headers, ex.request)
    if not ok then return false end
    local wrong
    headers, wrong = headers_of(result == nil and {} or result)
    if not headers then return true, nil, wrong end
  end
  local all = {}
  for _, list in ipairs { headers, given.headers } do
    for _, header in ipairs(list) do all[#all + 1] = header end
  end
  return true, all
end

--- terms(ex, given, call): asks for the terms of a WebSocket. `given` are the options of request:accept; call(what, f,
-- ...) calls a handler, and returns false if that has decided about the request. Returns whether the request is still
-- to be answered; then the headers, and the subprotocol (or nil). There are no headers if a handler got something
-- wrong.
function upgrade.terms(ex, given, call)
  local is_open, subprotocol = chosen(ex, given, call)
  if not is_open then return false end
  if subprotocol ~= nil and not lists(ex.request.subprotocols, subprotocol) then
    log.error("the subprotocol %s was not offered by the client", log.bytes(tostring(subprotocol)))
    return true, nil
  end
  local headers, wrong
  is_open, headers, wrong = added(ex, given, call)
  if wrong then log.error("the headers of a response are not valid: %s", wrong) end
  return is_open, headers, subprotocol
end

return upgrade
