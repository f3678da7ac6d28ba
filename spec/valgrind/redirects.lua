-- Authentication, redirects and jars of cookies, for everything.lua: a jar goes along from ws to wss and back.

local cookies = require "luws.cookies"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

--- Opens a connection to a server that leads to this one. Returns what wsopen does.
local function follow(location, options, tls)
  local peer = scripted.peer { tls = tls, { "upgrade", response = "HTTP/1.1 302 Found\r\nSet-Cookie: a=1\r\nLocation: "
    .. location .. "\r\n\r\n" }, { "close" } }
  local conn, why = luws.wsopen(peer.url, nil, options)
  peer:close()
  return conn, why
end

local function redirects()
  local jar = cookies.jar()
  local options = { redirects = 1, cookies = jar, ssl_verify = "peer", ssl_cafile = servers.ca_file() }
  luws.wsclose(assert(follow(servers.url("demo", "wss", "/echo"), options)))
  assert(jar:header "ws://127.0.0.1/" == "a=1")
  assert(select(2, follow("nowhere", options)):find "too many redirects")
  local _, why = follow(servers.url("demo", "ws", "/echo"), options, true)
  assert(why:find "from wss to ws", why)
  options.redirects_to_ws = true
  luws.wsclose(assert(follow(servers.url("demo", "ws", "/echo"), options, true)))
end

local function authentication()
  local refusal = 'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=%s\r\n\r\n'
  for _, tls in ipairs { false, true } do
    local peer = scripted.peer { tls = tls, { "upgrade", response = refusal:format "SHA-256" }, { "close" } }
    local options = { auth = { user = "me", password = "secret" }, ssl_verify = "none" }
    assert(not luws.wsopen(peer.url, nil, options))
    local answer = peer:result(2).headers.authorization
    assert(peer:connections() == 2 and answer:find "^Digest ", answer)
    options.auth = { user = "me", scheme = "basic" }
    assert(select(2, luws.wsopen(peer.url, nil, options)):find "401 No$")
    options.auth = { bearer = "abc" }
    assert(select(2, luws.wsopen(peer.url, nil, options)):find "401 No$")
    options.auth = { bearer = "a b" }
    assert(select(2, luws.wsopen(peer.url, nil, options)):find "bad option 'auth'")
    peer:close()
  end
end

local function jars()
  local jar, path = cookies.jar(), os.tmpname()
  for i = 1, 100 do assert(jar:set("wss://a.test/b", ("c%d=x; Secure; Max-Age=%d"):format(i, i))) end
  assert(not jar:set("ws://a.test/", "a=b; Secure") and not jar:set())
  assert(jar:save(path) and not jar:save "/nowhere/at/all")
  local copy = cookies.jar()
  assert(copy:load(path) and not copy:load "/nowhere" and not copy:decode "x")
  assert(copy:decode(jar:encode()) and copy:header "wss://a.test/" == jar:header "wss://a.test/")
  os.remove(path)
end

return { { "authentication", authentication }, { "redirects", redirects }, { "jars", jars } }
