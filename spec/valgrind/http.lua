-- HTTP requests, for everything.lua: over kept and new connections, redirected, cancelled, and in each way to fail.

local http = require "luws.http"
local reactor = require "luws.reactor"
local server = require "luws.server"
local servers = require "spec.support.servers"

--- Returns how a request ends: its response, or nil and why not.
local function ended(url, options)
  local result
  assert(http.request(url, options, function(...) result = { ... } end))
  while not result do reactor.step(5) end
  return result[1], result[2]
end

local function requests()
  local srv = assert(server.listen {
    port = 0, methods = { "GET", "POST" }, max_body = 1000000,
    on_request = function(request)
      if request.path == "/away" then return { status = 307, headers = { Location = "/" } } end
      if request.path == "/never" then return server.later end
      return { body = request.body or "nothing" }
    end,
  })
  local base = ("http://127.0.0.1:%d"):format(select(2, srv:address()))
  for _, path in ipairs { "/", "/away" } do
    local options = { body = ("x"):rep(100000), headers = { ["X-Name"] = "value" }, redirects = 1 }
    assert(ended(base .. path, options).body == options.body)
    assert(ended(base .. path, { redirects = 1 }).body == "nothing")
  end
  assert(ended(base .. "/away").status == 307)
  local function fails(path, options, text)
    local response, why = ended(base .. path, options)
    assert(not response and why:find(text, 1, true), why)
  end
  fails("/never", { timeout = 0.05 }, "timeout")
  fails("/", { max_body = 3 }, "over 3 bytes")
  http.request(base .. "/never", nil, error).cancel()
  assert(not http.request(base, { body = print }, print) and not http.request("x:", nil, print))
  srv:close { timeout = 0 }
  while not srv:is_closed() do reactor.step(1) end
  assert(not ended(base .. "/"))
end

local function secure()
  local url = servers.url("demo", "wss", "/nowhere"):gsub("^wss", "https")
  assert(not ended(url, { ssl_cafile = servers.pki "other-ca.pem" }))
  assert(ended(url, { ssl_cafile = servers.ca_file() }).status >= 400)
end

return { { "in the clear", requests }, { "over TLS", secure } }
