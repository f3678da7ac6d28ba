-- The option proxy, for everything.lua: proxies that are played by scripts, and what of them is wrong.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local UPGRADE = { "upgrade" }
local OK = "HTTP/1.1 200 OK\r\n\r\n"

--- Connects through a proxy that plays these steps, and then is the server, too. `why`: what it is to fail with.
local function through(scheme, steps, options, why)
  local peer = scripted.peer(steps)
  options.proxy = options.proxy or ("%s://me:secret@127.0.0.1:%d"):format(scheme, peer.port)
  if type(options.proxy) == "table" then options.proxy.url = ("%s://127.0.0.1:%d"):format(scheme, peer.port) end
  options.close_timeout = 0
  local got
  local conn, said = luws.wsopen("ws://192.0.2.1/", function(_, _, data) got = data end, options)
  if why then
    assert(conn == false and said == "Proxy failed: " .. why, said)
  else
    assert(conn and conn.proxied, said)
    poll(luws, conn, function() return got end)
    assert(got == "hi")
    luws.wsclose(conn)
  end
  peer:close()
end

local HI = { "send", "\129\2hi" }
local function asks(challenge, more)
  return { "send", ("HTTP/1.1 407 X\r\nProxy-Authenticate: %s\r\n%s\r\n"):format(challenge, more) }
end
local DIGEST = asks('Digest realm="r", nonce="n", qop="auth"', "Transfer-Encoding: chunked\r\n")

return {
  { "CONNECT", through, "http", { { "request" }, { "send", OK }, UPGRADE, HI, { "hold" } }, {} },
  { "CONNECT from a table", through, "http", { { "request" }, { "send", OK }, UPGRADE, HI, { "hold" } },
    { proxy = { user = "me", password = "x", headers = { ["X-1"] = 1 } }, proxy_auth = "basic" } },
  { "Digest", through, "http",
    { { "request" }, DIGEST, { "send", "0\r\n\r\n" }, { "request" }, { "send", OK }, UPGRADE, HI, { "hold" } }, {} },
  { "a refusal", through, "http", { { "request" }, asks("Negotiate, NTLM", "") }, {},
    "HTTP/1.1 407 X (Negotiate, NTLM)" },
  { "no HTTP", through, "http", { { "send", "SSH-2.0\r\n" }, { "hold" } }, {}, 'not an HTTP proxy: "SSH-2.0"' },
  { "SOCKS5", through, "socks5",
    { { "read", 4 }, { "send", "\5\2" }, { "read", 11 }, { "send", "\1\0" }, { "read", 10 },
      { "send", "\5\0\0\1\1\2\3\4\0\80" }, UPGRADE, HI, { "hold" } }, {} },
  { "a refusal by SOCKS5", through, "socks5h", { { "read", 4 }, { "send", "\5\255" }, { "hold" } }, {},
    "SOCKS5: no acceptable authentication method" },
  { "SOCKS4", through, "socks4", { { "read", 11 }, { "send", "\0\90\0\80\1\2\3\4" }, UPGRADE, HI, { "hold" } },
    { proxy = { user = "me" } } },
  { "a proxy over TLS", function()
    local steps = { tls = true, { "request" }, { "send", OK }, UPGRADE, HI, { "hold" } }
    through("https", steps, { proxy = {}, proxy_ssl = { cafile = servers.ca_file(), verify_hostname = false } })
    local other = servers.ca_file():gsub("ca%.pem$", "other-ca.pem")
    through("https", steps, { proxy = {}, proxy_ssl = { cafile = other } },
      "TLS: certificate verify failed (self-signed certificate in certificate chain)")
  end },
  { "a name that is looked up here", function()
    local peer = scripted.peer { { "read", 3 }, { "send", "\5\0" }, { "read", 10 }, { "send", "\5\2" }, { "hold" } }
    local proxy = "socks5://127.0.0.1:" .. peer.port
    local ok, why = luws.wsopen("ws://localhost/", nil, { proxy = proxy, wait = true })
    assert(ok == false and why:find("SOCKS5", 1, true), why)
    peer:close()
  end },
  { "wrong ones", function()
    local headers = { url = "h", headers = { Host = "x" } }
    for _, proxy in ipairs { "ftp://x", "", "http://x/y", "socks4://me:x@h", {}, headers } do
      local ok, why = luws.wsopen("ws://192.0.2.1/", nil, { proxy = proxy })
      assert(ok == false and why:find("^bad option 'proxy'"), why)
    end
    assert(luws.wsopen("ws://x.onion/") == false)
    assert(luws.wsopen("ws://127.0.0.1:1/", nil, { proxy = true, connect_timeout = 1 }) == false)
  end },
}
