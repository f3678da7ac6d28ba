--[[
The TLS options of wsopen, and of servers: LuaSec's parameters, each as `ssl_NAME` or under its own name in the table
`ssl`, and checks that LuaSec leaves to its users. Their values are interpreted elsewhere (src/lua/tls).

None of them may be ignored, because it might be a restriction. So unknown names are rejected. The values checked are
copies, because the tables belong to the caller and may give another value the next time.
--]]

local _, import = ...
local guard = import("guard")

local tls = {}

-- The most elements that an array may have.
local MOST = 1000

local WORDS = "string or array of strings expected, got "

local function text(value)
  if type(value) == "string" then return value end
  return nil, "string expected, got " .. type(value)
end

--- Reads a string, or an array of strings without holes.
local function words(value)
  if type(value) == "string" then return value end
  if type(value) ~= "table" then return nil, WORDS .. type(value) end
  local copy = {}
  local ok, wrong = pcall(function()
    for i = 1, MOST do
      local word = value[i] -- may be inherited, which ipairs would not see
      if word == nil then return nil end
      if type(word) ~= "string" then return WORDS .. type(word) .. " in the array" end
      copy[i] = word
    end
    return WORDS .. "an endless one"
  end)
  if not ok then wrong = WORDS .. "a table that cannot be read" end
  for key in next, value do
    if not wrong and not copy[key] then
      wrong = WORDS .. (type(key) == "number" and "one with holes" or "a table with other keys")
    end
  end
  if wrong then return nil, wrong end
  return copy
end

local function some_words(value)
  local copy, wrong = words(value)
  if type(copy) == "table" and #copy == 0 then return nil, "the array is empty" end
  return copy, wrong
end

--- Reads a password, or a function that returns it, as LuaSec does.
local function password(value)
  if type(value) == "function" then
    local ok, result = pcall(value)
    if ok and type(result) == "string" then return result end
    return nil, ok and "its function returned a " .. type(result) or "its function raised an error"
  end
  return text(value)
end

local function boolean(value)
  if type(value) == "boolean" then return value end
  return nil, "boolean expected, got " .. type(value)
end

local function name_or_false(value)
  if value == false or type(value) == "string" then return value end
  return nil, "string or false expected, got " .. type(value)
end

-- The readers of the values, by name.
local known = {
  mode = text,
  protocol = words,
  options = words,
  verify = words,
  cafile = some_words, -- PEM; with verify, only these authorities are trusted
  capath = text, -- a folder of such files
  certificate = text, -- the client's own: PEM, or PKCS#12 with the key in it
  key = text, -- PEM
  password = password, -- of PKCS#12
  alpn = words, -- the application protocols to offer
  ciphers = text, -- OpenSSL's list for TLS 1.2 and older; may set the security level
  ciphersuites = text, -- those of TLS 1.3
  curve = text,
  curveslist = text, -- instead of curve
  -- The rest are not LuaSec's.
  verify_hostname = boolean, -- whether verify includes the host's name; true by default
  sni = name_or_false, -- the name to send and verify instead of the URL's; false: send none
  fingerprint = some_words, -- SHA-256 of the acceptable certificates or public keys
}

-- LuaSec's other parameters, which cannot be passed to this TLS library.
local UNSUPPORTED = { "certificates", "dane", "depth", "dhparam", "psk", "verifyext" }

-- Those of an identity. A server can have several: certificates is a table of tables with these, by the names of hosts.
local IDENTITY = { "certificate", "key", "password" }

--- Reads the option certificates of a server.
local function certificates(value)
  if type(value) ~= "table" then return nil, "table expected, got " .. type(value) end
  local copy = {}
  for name, entry in next, value do
    if type(name) ~= "string" or type(entry) ~= "table" then
      return nil, "a table of tables, by the names of hosts, expected"
    end
    copy[name] = {}
    for _, field in ipairs(IDENTITY) do
      local given, wrong = entry["ssl_" .. field], nil
      if given ~= nil then given, wrong = known[field](given) end
      if wrong then return nil, ("%s: ssl_%s: %s"):format(name, field, wrong) end
      copy[name][field] = given
    end
    for field in next, entry do
      if not copy[name][tostring(field):match "^ssl_(.*)$"] then
        return nil, ("%s: unknown: %s"):format(name, tostring(field))
      end
    end
  end
  return copy
end

-- The readers of a server's options. It does not choose its clients by their names.
local served = { certificates = certificates }
for name, reader in pairs(known) do
  if name ~= "verify_hostname" and name ~= "sni" and name ~= "fingerprint" then served[name] = reader end
end

-- How many levels of inheritance are followed.
local DEEPEST = 100

--- Returns the first unknown name with this prefix in a table or in what it inherits from, or nil. An unknown name must
-- be found wherever it is, because it might be a misspelt restriction.
local function unknown(given, prefix, readers)
  for _, name in ipairs(UNSUPPORTED) do
    if given[prefix .. name] ~= nil and not readers[name] then return name, "not supported" end
  end
  for _ = 1, DEEPEST do
    if type(given) ~= "table" then return end
    for key in next, given do
      local name = type(key) == "string" and key:match("^" .. prefix .. "(.*)$")
      -- The table `ssl` may hold nothing else; our options may.
      if not name and prefix == "" then return tostring(key), "unknown" end
      if name and not readers[name] then return name, "unknown" end
    end
    local meta = guard.metatable_of(given)
    given = type(meta) == "table" and rawget(meta, "__index")
  end
end

--- read(given [, is_server]): returns the TLS options in wsopen's options, or in a server's, under LuaSec's own names;
-- or nil and what is wrong with them.
function tls.read(given, is_server)
  local readers = is_server and served or known
  local luasec = given.ssl
  if luasec ~= nil and type(luasec) ~= "table" then
    return nil, "bad option 'ssl' (table expected, got " .. type(luasec) .. ")"
  end
  luasec = luasec or {}
  local result = {}
  for name, read in pairs(readers) do
    local value, wrong = given["ssl_" .. name], nil
    if value == nil then value = luasec[name] end
    if value ~= nil then value, wrong = read(value) end
    if wrong then return nil, ("bad option 'ssl_%s' (%s)"):format(name, wrong) end
    result[name] = value
  end
  local stranger, wrong = unknown(given, "ssl_", readers)
  if not stranger then stranger, wrong = unknown(luasec, "", readers) end
  if stranger then return nil, ("bad option 'ssl_%s' (%s)"):format(stranger, wrong) end
  return result
end

--- verify_by_default(given): has a table of options verify the server, unless it says how that is to be trusted.
function tls.verify_by_default(given)
  local luasec = type(given.ssl) == "table" and given.ssl or {}
  local is_told = given.ssl_verify ~= nil or luasec.verify ~= nil
    or given.ssl_fingerprint ~= nil or luasec.fingerprint ~= nil
  if not is_told then given.ssl_verify = "peer" end
end

-- What makes TLS weaker than it is by default, for the log: the option, and a pattern for each word of its value.
local WEAK = {
  { "ciphers", "^@SECLEVEL=[01]$" },
  { "options", "^legacy_server_connect$" },
  { "options", "^allow_unsafe_legacy_renegotiation$" },
  { "protocol", "^tlsv1$" },
  { "protocol", "^tlsv1_1$" },
}

--- weaknesses(read): returns what in these options, as read, asks for weaker TLS, as in "ssl_protocol = tlsv1"; or nil.
function tls.weaknesses(read)
  local found = {}
  for _, case in ipairs(WEAK) do
    local value = read[case[1]] or ""
    for word in (type(value) == "table" and table.concat(value, ",") or value):gmatch "[^,:; ]+" do
      if word:find(case[2]) then found[#found + 1] = ("ssl_%s = %s"):format(case[1], word) end
    end
  end
  return found[1] and table.concat(found, ", ")
end

return tls
