--[[
Prepares an attempt from the options: what a session is made with, above all the request with its headers, and the
subprotocols and the compression to offer. The request is an upgrade, or a plain one (`plan.ask`, see http). The engine
writes it itself.
--]]

local native, import, world = ...
local clock, options = import("clock"), import("options")

local request = {}

options.register {
  { "upgrade_headers", nil, options.of_type("table") }, -- header name to value
  { "subprotocols", nil, options.of_type("string", "table") }, -- one, or an array in order of preference
  { "deflate", false, options.of_type("boolean", "table") }, -- permessage-deflate: its own options are read below
  -- a jar: what it has is sent, and what the server sets is kept in it
  { "cookies", nil, function(value) return import("cookies").read(value) end },
}

-- The options of permessage-deflate (RFC 7692 section 7.1), and two of our own.
local deflate_rows = {
  { "server_no_context_takeover", false, options.of_type("boolean") },
  { "client_no_context_takeover", false, options.of_type("boolean") },
  { "server_max_window_bits", nil, options.whole(8, 15) },
  { "client_max_window_bits", nil, options.whole(8, 15) },
  { "level", 6, options.whole(1, 9) }, -- 1: fastest, 9: smallest
  { "threshold", 128, options.whole(0) }, -- bytes; smaller messages are not compressed
}

--- deflate(opening): returns a complete table of the compression options, or nil if compression is not wanted, or nil
-- and what is wrong.
function request.deflate(opening)
  if opening.deflate then return options.complete("deflate", deflate_rows, opening.deflate) end
end

-- Headers of the handshake itself (RFC 6455 section 4.1). Other values would break it.
local FIXED = { upgrade = "websocket", connection = "upgrade", ["sec-websocket-version"] = "13" }

-- Headers that announce a body, or expect something else than the answer to an upgrade (RFC 9110 sections 6.4, 6.6.2,
-- 10.1.1 and 10.1.4; RFC 7540 section 3.2.1): a server would wait, or take the first frames for that body.
local OTHERS = {
  ["content-length"] = true, ["transfer-encoding"] = true, trailer = true, te = true, expect = true,
  ["http2-settings"] = true,
}

-- Headers of a plain request that say where it ends, and what the connection is for (RFC 9110 section 7.6.1).
local FRAMING = {
  connection = true, ["content-length"] = true, expect = true, ["http2-settings"] = true, ["keep-alive"] = true,
  te = true, trailer = true, ["transfer-encoding"] = true, upgrade = true,
}

-- Headers that are for the server of the URL only: they say who the user is, or which server is meant.
local PRIVATE = { authorization = true, cookie = true, host = true, ["proxy-authorization"] = true }

local function header_value(value)
  if type(value) == "number" then return tostring(value) end
  -- For compatibility with LuWS, whose users added the line end that it omitted.
  if type(value) == "string" then return (value:gsub("\r\n$", "")) end
end

--- wrong_header(name, value, text): returns what is wrong with a user's header, or nil; `text` is its value as a
-- string.
local function wrong_header(name, value, text)
  if type(name) ~= "string" then return "a name is a " .. type(name) .. '; as in { ["X-Name"] = "value" }' end
  if not text then return ("%s: string or number expected, got %s"):format(name, type(value)) end
  local lower, wrong = name:lower(), native.check_header(name, text)
  if wrong then return wrong end
  if (lower == "host" or lower == "sec-websocket-protocol") and text:find("[\128-\255]") then
    return "the value of header " .. name .. " is not ASCII"
  end
end

--- each_header(given, f): calls f(name, text, lower) for each header in a user's table; `lower` is its name in lower
-- case. Returns what is wrong with one, or nil; f may return that, too.
function request.each_header(given, f)
  for name, value in pairs(given) do
    local text = header_value(value)
    local wrong = wrong_header(name, value, text) or f(name, text, name:lower())
    if wrong then return wrong end
  end
end

--- offered(opening): returns an array of the subprotocols in the option of that name; or nil and what is wrong with it.
local function offered(opening)
  local wanted, subprotocols = opening.subprotocols, {}
  if wanted == nil then return subprotocols end
  if type(wanted) == "string" then wanted = { wanted } end
  for key in next, wanted do
    if type(key) ~= "number" then return nil, "bad option 'subprotocols' (string or array of strings expected)" end
  end
  for i, name in ipairs(wanted) do
    if type(name) ~= "string" or native.check_header(name, "") then
      return nil, "bad option 'subprotocols' (an element is not a token)"
    end
    subprotocols[i] = name
  end
  return subprotocols
end

--- headers_of(plan, opening): returns the value for the Host header, an array of { name, value } for the upgrade
-- request, and the subprotocols to offer (nil for none); or nil and what is wrong with the options.
local function headers_of(plan, opening)
  local target, authorization, ask = plan.target, plan.authorization, plan.ask
  if not (opening.upgrade_headers or opening.subprotocols or authorization or opening.cookies) then
    return target.host_header
  end
  local subprotocols, problem = offered(opening)
  if not subprotocols then return nil, problem end
  local headers, host, cookie = {}, nil, nil
  local wrong = request.each_header(opening.upgrade_headers or {}, function(name, text, lower)
    if ask and FRAMING[lower] then
      return name .. " is written by luws"
    elseif not ask and OTHERS[lower] then
      return name .. " cannot be in an upgrade request"
    elseif ask and ask.has_lost_body and lower == "content-type" then
      return nil -- it was the body's
    elseif PRIVATE[lower] and not plan.is_home then
      return nil -- it is left out
    elseif lower == "host" then
      if host then return "more than one Host" end
      host = text
    elseif lower == "cookie" then
      cookie = cookie and cookie .. "; " .. text or text
    elseif not ask and lower == "sec-websocket-protocol" then
      for protocol in text:gmatch("[^%s,]+") do subprotocols[#subprotocols + 1] = protocol end
    elseif ask or FIXED[lower] ~= text:lower() then
      local is_ours = not ask and (FIXED[lower] or lower:match "^sec%-websocket%-")
      if is_ours then return name .. " belongs to the handshake" end
      if lower == "authorization" then authorization = nil end -- it replaces the URL's
      headers[#headers + 1] = { name, text }
    end
  end)
  if wrong then return nil, ("bad option '%s' (%s)"):format(ask and "headers" or "upgrade_headers", wrong) end
  if authorization then headers[#headers + 1] = { "Authorization", authorization } end
  if opening.cookies then cookie = import("cookies").join(opening.cookies, target.url, cookie) end
  if cookie then headers[#headers + 1] = { "Cookie", cookie } end
  table.sort(headers, function(a, b) return a[1] < b[1] end)
  local once, distinct = {}, {}
  for _, name in ipairs(subprotocols) do
    if not once[name] then distinct[#distinct + 1] = name end
    once[name] = true
  end
  return host or target.host_header, headers, distinct
end

--- aim(plan, opening): adds to the plan's parameters of a session what depends on the plan's target. Returns what is
-- wrong with the options, or nil.
function request.aim(plan, opening)
  local parameters, target = plan.parameters, plan.target
  local host, headers, subprotocols = headers_of(plan, opening)
  if not host then return headers end
  parameters.host, parameters.resource, parameters.secure = target.host, target.resource, target.secure or nil
  -- In a world in memory, servers may be reached at wss URLs without TLS.
  if world.is_secure and not world.is_secure(target) then parameters.secure = nil end
  parameters.host_header, parameters.headers, parameters.subprotocols = host, headers, subprotocols
  if plan.ask then
    parameters.role, parameters.method, parameters.body = "ask", plan.ask.method, plan.ask.body
    parameters.max_body = plan.ask.max_body
  end
  -- The name that the user gave for TLS is that of the URL's server.
  local luasec = parameters.tls
  if luasec and (parameters.sni or luasec.sni) then
    parameters.sni = parameters.sni or luasec.sni
    luasec.sni = plan.is_home and parameters.sni or nil
  end
end

--- prepare(plan, opening): gives the plan its parameters of a session. Returns what is wrong with the options, or nil.
function request.prepare(plan, opening)
  local parameters = {
    max_payload_size = opening.max_payload_size,
    use_masking = opening.use_masking,
    fragment_size = opening.fragment_size,
    validate_utf8 = opening.validate_utf8,
    allow_long_lengths = opening.allow_long_lengths,
    coalesce = opening.coalesce,
    max_buffered = opening.max_buffered,
    seed = world.seed and world.seed(),
    clock = clock.native,
  }
  plan.parameters = parameters
  local why = request.aim(plan, opening)
  if why then return why end
  parameters.deflate, why = request.deflate(opening)
  if why then return why end
  if not options.has_none(plan.given, "ssl") then parameters.tls, why = import("tls").read(plan.given) end
  return why
end

return request
