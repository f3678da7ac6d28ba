---@meta luws.http

--[[
Annotations of HTTP requests (docs/http.md), for lua-language-server and EmmyLua. Nothing here runs. spec/types_spec.lua
compares the names and the defaults with the module.
--]]

---HTTP/1.1 requests, driven by the reactor.
---@class luws.http
local http = {}

---Makes a request. `f(response)` or `f(nil, why)` is called in a turn of the reactor, never from within this call.
---@param url string http or https
---@param options luws.HttpOptions?
---@param f fun(response: luws.HttpResponse?, why: string?)
---@return luws.HttpRequest?
---@return string? message what is wrong with the arguments
function http.request(url, options, f) end

---A request that was made.
---@class luws.HttpRequest
local request = {}

---Ends the request: its function is not called any more. May be called at any time, repeatedly.
function request.cancel() end

---The options of a request. It takes these of `wsopen`, too: auth, connect, connect_timeout, cookies, proxy,
---proxy_auth, proxy_ssl, reactor, redirects, redirects_to_ws, sockproxy, and those of TLS; `ssl_verify` is "peer" by
---default.
---@class luws.HttpOptions: luws.Options
---The method. By default GET, or POST if there is a body.
---@field method? string Default: none
---Headers: name to value.
---@field headers? table<string, string|number> Default: none
---The body, in bytes.
---@field body? string Default: ""
---Seconds from the request, once there is a connection, to the end of the response.
---@field timeout? number Default: 30
---The largest body of a response, in bytes.
---@field max_body? integer Default: 1048576

---A response.
---@class luws.HttpResponse
---@field status integer
---@field reason string
---@field headers table<string, string|string[]> by names in lower case; that of Set-Cookie is an array
---@field body string
---@field url string where it has come from: redirects may have led there
---@field problem string? why a redirect was not followed, or the user not authenticated
