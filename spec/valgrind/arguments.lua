-- Arguments that are wrong, for everything.lua: anything in each place, and each option with anything.

local luws = require "luws"
local servers = require "spec.support.servers"

local ANYTHING = {
  false, true, 0, -1, 0.5, 2 ^ 53, 1 / 0, 0 / 0, "", "text", ("x"):rep(70000), "\0\255", {}, { connected = true },
  setmetatable({}, { __index = function() error "no" end, __tostring = function() return 5 end }),
  function() return nil, "no" end, coroutine.create(function() end), io.stdout, n = 18,
}

--- Calls f with anything, and in each place. Nothing of luws raises an error for that, except wsopen for its URL.
local function everything_to(f)
  for i = 1, ANYTHING.n do
    local value = ANYTHING[i]
    f(value)
    f(nil, value)
    f(value, value, value)
  end
  f()
end

local function functions()
  for _, name in ipairs { "wssend", "wsreceive", "wsclose", "wsflush", "wslastping", "wsreset", "wshandleincoming",
    "watch" } do
    everything_to(luws[name])
  end
  everything_to(function(conn) luws.wswait(conn, 0) end)
  everything_to(luws.dump)
  everything_to(function(...) pcall(luws.wsopen, ...) end)
  luws.sleep(0.001)
end

local function data()
  local conn = assert(luws.wsopen(servers.url("demo", "ws", "/drain"), nil, { max_payload_size = 2 ^ 20 }))
  for i = 1, ANYTHING.n do
    luws.wssend(conn, 1, ANYTHING[i])
    luws.wssend(conn, 9, ANYTHING[i])
    luws.wssend(conn, ANYTHING[i], "x")
    luws.wsclose({}, ANYTHING[i], ANYTHING[i])
    if not conn.connected then -- a source that fails ends it
      conn = assert(luws.wsopen(servers.url("demo", "ws", "/drain")))
    end
    conn.msghandler = ANYTHING[i]
    luws.wshandleincoming("\129\1x", conn)
    luws.wsreceive(conn)
  end
  luws.wsclose(conn, 99, ("x"):rep(200))
  luws.wsclose(conn, 1000, "\255")
end

local function options()
  local port_1, names = "ws://127.0.0.1:1/", {}
  for line in io.lines "types/luws.lua" do
    local name = line:match "^%-%-%-@field ([%w_]+)%?"
    if name then names[#names + 1] = name end
  end
  assert(#names > 60)
  for _, name in ipairs(names) do
    for i = 1, ANYTHING.n do
      for _, given in ipairs { { [name] = ANYTHING[i] }, { deflate = { [name] = ANYTHING[i] } },
        { sockproxy = { [name] = ANYTHING[i], port = 1 } } } do
        given.connect_timeout = given.connect_timeout == nil and 0.01 or given.connect_timeout
        local conn = select(2, pcall(luws.wsopen, i % 2 == 0 and port_1 or "wss://127.0.0.1:1/", nil, given))
        if type(conn) == "table" then luws.wsclose(conn) end
      end
    end
  end
end

local function urls()
  for _, url in ipairs {
    "", "ws://", "wss://", "http://x/", "ws://[::1", "ws://[::1]:99999/", "ws://a b/", "ws://\255/", "ws://x:y@/",
    "ws://" .. ("a"):rep(70000) .. "/", "ws://x/#fragment", "ws://%00/", "ws://x\0y/", "ws://xn--a/", "ws://1.2.3.4.5/",
  } do
    assert(pcall(luws.wsopen, url, nil, { connect_timeout = 0.01 }) == false
      or luws.wsopen(url, nil, { connect_timeout = 0.01 }) == false, url)
  end
end

return { { "functions", functions }, { "data", data }, { "options", options }, { "URLs", urls } }
