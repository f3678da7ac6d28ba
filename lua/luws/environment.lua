--[[
Finds the proxy that the environment names for a server: ws_proxy, wss_proxy, https_proxy, http_proxy, all_proxy, and
no_proxy, as curl reads them. Knows nothing of what a proxy is.
--]]

local native = ...

local environment = {}

-- The variables of each scheme, the first one that is set counts. RFC 6455 section 4.1 wants the proxy for https before
-- the one for http, but nobody who sets http_proxy alone means wss by it.
local VARIABLES = {
  ws = { "ws_proxy", "http_proxy", "all_proxy" },
  wss = { "wss_proxy", "https_proxy", "all_proxy" },
}

-- Read in lower case only: a web server passes its client's header `Proxy` to a CGI program in HTTP_PROXY.
local LOWER_ONLY = { http_proxy = true }

--- Returns the value of a variable and its name; in lower case, or else in upper case. An empty one is not set.
local function variable(name)
  for _, spelling in ipairs { name, not LOWER_ONLY[name] and name:upper() or nil } do
    local value = os.getenv(spelling)
    if value and value ~= "" then return value, spelling end
  end
end

--- find(target): returns the URL of the proxy for a server, and the name of the variable that has it; nil for none.
function environment.find(target)
  local exempt = variable("no_proxy")
  if exempt and native.bypasses(exempt, target.host, target.port) then return nil end
  for _, name in ipairs(VARIABLES[target.secure and "wss" or "ws"]) do
    local url, spelling = variable(name)
    if url then return url, spelling end
  end
end

return environment
