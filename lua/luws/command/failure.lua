--[[
Says why a connection could not be opened, with what helps to mend it: the server's response, or the certificate that
was not accepted.
--]]

local native, import = ...
local opening, secrets = import("command/opening"), import("secrets")

local failure = {}

-- Headers whose values are secrets.
local SECRET = { ["set-cookie"] = true, authorization = true, ["proxy-authorization"] = true, cookie = true }

-- No certificate has this fingerprint.
local NONE = ("00"):rep(32)

-- What OpenSSL finds wrong with a certificate (a pattern), and what that means. The first that is found counts. HOST is
-- the server's name, NOW the date here.
local MEANINGS = {
  { "has expired", "its time is over, or the clock here is wrong (it says NOW)" },
  { "not yet valid", "its time has not come, or the clock here is wrong (it says NOW)" },
  { "mismatch", "it is for other names than HOST, or for other addresses" },
  { "self.signed certificate in certificate chain", "nobody here trusts its authority; --ca FILE does" },
  { "self.signed certificate", "the server has signed it itself, as devices at home do" },
  { "unable to get local issuer",
    "nobody here trusts its authority (--ca FILE does), or the server does not send the certificates between them" },
  { "purpose", "it is not for servers" },
  { "too weak", "its key, or what it was signed with, is no longer good enough" },
  { "too small", "its key, or what it was signed with, is no longer good enough" },
}

--- Returns what it means that the certificate of this URL's server was not accepted, as an array of one line or none.
local function meaning_of(url, why)
  local found = why:match "certificate verify failed %((.*)%)"
  for _, case in ipairs(MEANINGS) do
    if found and found:find(case[1]) then
      local names = { HOST = native.parse_url(url).host, NOW = os.date "!%Y-%m-%d" }
      return { "  " .. case[2]:gsub("%u%u+", names) }
    end
  end
  return {}
end

--- Returns the SHA-256 fingerprints of the server's certificate and of its key, or nothing. It asks for a certificate
-- that does not exist, so nothing of the request is sent to a server that is not trusted.
local function certificate_of(url, values)
  local options = opening.options(values)
  options.ssl_verify, options.ssl_cafile, options.ssl_fingerprint, options.redirects = "none", nil, NONE, nil
  local _, why = opening.attempt(url, options)
  return tostring(why):match "fingerprint mismatch: it is (%x[%x:]+%x), that of its public key (%S+)"
end

--- headers(headers, is_discreet): returns the lines for the headers of a response.
function failure.headers(headers, is_discreet)
  local lines, names = {}, {}
  for name in pairs(headers or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = headers[name]
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      if is_discreet and SECRET[name] then one = "(hidden)" end
      if is_discreet and name == "location" then one = secrets.url(one) end
      lines[#lines + 1] = ("  %s: %s"):format(name, one)
    end
  end
  return lines
end

--- Returns the lines for a response that has refused the upgrade.
local function of_response(response, is_discreet)
  local lines = failure.headers(response.headers, is_discreet)
  local body = (response.body or ""):gsub("%s+$", "")
  if body ~= "" then lines[#lines + 1] = "  " .. body:gsub("\r?\n", "\n  ") end
  return lines
end

--- lines(url, values, why, response, is_discreet): returns the lines to print below why a connection could not be
-- opened.
function failure.lines(url, values, why, response, is_discreet)
  if response then return of_response(response, is_discreet) end
  if opening.status_of(why) ~= opening.STATUS.tls or opening.signal_status() then return {} end
  local lines, certificate, key = meaning_of(url, why), certificate_of(url, values)
  if not certificate then return lines end
  for _, line in ipairs {
    "  the server's certificate has the fingerprint (SHA-256)", "    " .. certificate, "  and its public key",
    "    " .. key, "  if you know that it is the right one, trust it by --fingerprint and one of these",
  } do
    lines[#lines + 1] = line
  end
  return lines
end

return failure
