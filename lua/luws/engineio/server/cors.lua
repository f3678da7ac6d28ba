--[[
Answers browsers that ask whether pages of other sites may make requests (the Fetch standard, section 3.2), as npm's
module cors does, whose options these are. Knows headers, and nothing of sessions.
--]]

local _, import = ...
local guard, options = import("guard"), import("options")

local cors = {}

--- text(value): reads what can stand in a header.
local function text(value)
  if type(value) ~= "string" then return nil, "string expected, got " .. type(value) end
  if value:find "%c" then return nil, "it has a control character in it" end
  return value
end

--- Reads a list of names, which may be a text.
local function names(value)
  if type(value) ~= "table" then return text(value) end
  for _, name in ipairs(value) do
    local _, wrong = text(name)
    if wrong then return nil, wrong end
  end
  return table.concat(value, ",")
end

local function origin(value)
  if type(value) == "string" then return text(value) end
  if type(value) == "table" or type(value) == "boolean" or guard.is_callable(value) then return value end
  return nil, "string, table, boolean or function expected, got " .. type(value)
end

local rows = {
  { "origin", "*", origin },
  { "methods", "GET,HEAD,PUT,PATCH,POST,DELETE", names },
  { "allowedHeaders", nil, names }, -- nil: those that are asked for
  { "exposedHeaders", nil, names },
  { "credentials", false, options.of_type("boolean") },
  { "maxAge", nil, options.whole(0) }, -- seconds
  { "optionsSuccessStatus", 204, options.whole(200, 299) },
}

--- read(given): reads the option cors. Returns a complete table, or nil and what is wrong.
function cors.read(given) return options.complete("cors", rows, given) end

--- vary(headers, name): notes that the answer depends on this header of the request.
local function vary(headers, name) headers.Vary = headers.Vary and headers.Vary .. ", " .. name or name end

--- is_allowed(own, wanted): returns whether a list, or true, has this origin.
local function is_allowed(own, wanted)
  if type(own) ~= "table" then return own == true or own == wanted end
  for _, one in ipairs(own) do
    if one == wanted then return true end
  end
  return false
end

--- put(read, own, request, headers): puts into the headers what a request is answered. `own` is the origin that counts.
local function put(read, own, request, headers)
  local wanted = request.headers.origin
  if own == "*" then
    headers["Access-Control-Allow-Origin"] = "*"
  elseif type(own) == "string" then
    headers["Access-Control-Allow-Origin"] = own
    vary(headers, "Origin")
  else
    if wanted and is_allowed(own, wanted) then headers["Access-Control-Allow-Origin"] = wanted end
    vary(headers, "Origin")
  end
  if read.credentials then headers["Access-Control-Allow-Credentials"] = "true" end
  if request.method == "OPTIONS" then
    headers["Access-Control-Allow-Methods"] = read.methods
    local allowed = read.allowedHeaders
    if not allowed then
      allowed = request.headers["access-control-request-headers"]
      vary(headers, "Access-Control-Request-Headers")
    end
    if allowed and allowed ~= "" then headers["Access-Control-Allow-Headers"] = allowed end
    if read.maxAge then headers["Access-Control-Max-Age"] = tostring(read.maxAge) end
  end
  if read.exposedHeaders and read.exposedHeaders ~= "" then
    headers["Access-Control-Expose-Headers"] = read.exposedHeaders
  end
end

--- middleware(read): returns the middleware that puts the headers into each response, and answers OPTIONS itself.
function cors.middleware(read)
  return function(request, response, done)
    local is_told = false
    local function go_on(err, own)
      if is_told then return end
      is_told = true
      if err then return done(err) end
      if not own then return done() end
      put(read, own, request, response.headers)
      if request.method ~= "OPTIONS" then return done() end
      response:finish(read.optionsSuccessStatus)
    end
    if not guard.is_callable(read.origin) then return go_on(nil, read.origin) end
    read.origin(request.headers.origin, go_on)
  end
end

return cors
