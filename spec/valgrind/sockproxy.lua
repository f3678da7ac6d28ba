-- SockProxy, for everything.lua: each way in which the daemon's stand-in (spec/support/sockproxy.py) behaves.

local luws = require "luws"
local servers = require "spec.support.servers"
local poll = require "spec.support.poll"

--- Connects through SockProxy in one of its modes. `fails`: whether that is to fail, if it is required.
local function through(scheme, mode, fails)
  local port = servers.start("sockproxy")[mode]
  local got
  local conn, why = luws.wsopen(servers.url("demo", scheme, "/echo"), function(_, _, data) got = data end, {
    sockproxy = { host = "127.0.0.1", port = port, device = 5, service = "urn:x", action = "Act", pid = "mine",
      rtim = 60000, pace = 1, timeout = 0.5, required = true },
  })
  if fails then return assert(conn == false and type(why) == "string", why) end
  assert(conn, why)
  assert(conn.proxied and conn.sockproxy_pid)
  assert(luws.wssend(conn, 1, "x"))
  poll(luws, conn, function() return got end)
  assert(got == "x")
  luws.wsclose(conn)
  luws.wswait(conn, 5)
end

local parts = {
  { "good", through, "ws", "good" }, { "good, wss", through, "wss", "good" }, { "bytes", through, "ws", "bytes" },
  { "without it, directly", function()
    local conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), nil, { sockproxy = { port = 1 } }))
    assert(not conn.proxied)
    luws.wsclose(conn)
  end },
}
for _, mode in ipairs { "silent", "wrong", "endless", "closes", "busy", "refuses", "vanishes", "mute" } do
  parts[#parts + 1] = { mode, through, "ws", mode, true }
end
return parts
