-- Bridges, for everything.lua: each kind of peer and of framing, both directions, and each end.

local bridge = require "luws.bridge"
local coverage = require "spec.valgrind.coverage"
local luws = require "luws"
local reactor = require "luws.reactor"
local server = require "luws.server"
local socket = require "socket"
local till = require "spec.support.stepping".till

local function listen(options)
  options.listen, options.port, options.log = "127.0.0.1", 0, function() end
  local made = coverage.noting("bridge", assert(bridge.listen(options)))
  local _, port = made:address()
  return made, port
end

local function over(made)
  assert(not made:close { timeout = -1 } and made:close { timeout = 2 })
  till(function() return made:is_closed() end)
  assert(select(2, made:step(0)) == "closed")
end

local function open(port)
  local told = {}
  local conn = assert(luws.wsopen(("ws://127.0.0.1:%d/"):format(port), function(_, ...) told[#told + 1] = { ... } end,
    { wait = false }))
  reactor.add(conn)
  till(function() return conn.connected or conn.close_code end)
  return conn, told
end

--- A stream peer with this framing, which sends these bytes, of which so many messages become.
local function framed(framing, config, bytes, count)
  local peer = assert(socket.bind("127.0.0.1", 0))
  peer:settimeout(0)
  local made, port = listen {
    host = ("tcp://127.0.0.1:%d"):format(select(2, peer:getsockname())), framing = framing, framing_config = config,
    proxy_protocol = true, compress = true, status = "/status", max_segment = 1000,
  }
  local conn, told = open(port)
  local raw = till(function() return (peer:accept()) end)
  assert(luws.wssend(conn, 2, ("x"):rep(100000)))
  raw:settimeout(0)
  local got = 0
  till(function()
    local data, _, part = raw:receive(65536)
    got = got + #(data or part)
    return got > 100000
  end)
  raw:send(bytes)
  till(function() return #told == count end)
  raw:send "{"
  raw:close()
  till(function() return conn.close_code end)
  assert(conn.close_code == 1000 and made:addresses()[1] and made:stats().total == 1)
  over(made)
  peer:close()
end

local function datagrams()
  local peer = assert(socket.udp())
  peer:setsockname("127.0.0.1", 0)
  peer:settimeout(0)
  local made, port = listen { host = ("udp://127.0.0.1:%d"):format(select(2, peer:getsockname())) }
  local conn, told = open(port)
  luws.wssend(conn, 1, "x")
  local from, sender
  till(function()
    local data
    data, from, sender = peer:receivefrom()
    return data
  end)
  peer:sendto("y", from, sender)
  till(function() return told[1] end)
  luws.wssend(conn, 2, ("x"):rep(70000))
  till(function() return conn.close_code end)
  over(made)
  peer:close()
end

local function nobody()
  for _, host in ipairs { "tcp://127.0.0.1:1", "tls://127.0.0.1:1", "unix:///nowhere", "unix-dgram:///nowhere" } do
    local made, port = listen { host = host, tls_peer_ca = "build/pki/ca.pem", trusted_proxies = { "::1", "unix" } }
    assert(open(port).close_code == 1006 and made:stats().refused == 1)
    over(made)
  end
  assert(not bridge.run { port = -1 } and not bridge.listen { framing = "x" })
  assert(not bridge.listen { tls_peer_ca = "Makefile" } and not bridge.listen { tls_cert = "x", tls_key = "x" })
end

local function reverse()
  local srv = assert(server.listen { port = 0, on_message = luws.wssend })
  local made, port = listen { reverse = true, url = ("ws://127.0.0.1:%d/"):format(select(2, srv:address())) }
  local raw = assert(socket.connect("127.0.0.1", port))
  raw:settimeout(0)
  raw:send "hello"
  till(function() return (raw:receive(5)) end)
  reactor.after(0.05, function() made:close() end)
  assert(made:run())
  srv:close { timeout = 0 }
  till(function() return srv:is_closed() end)
end

local function by_byte() return 1 end

return {
  { "lines", framed, "newline", "lf", "a\nb\n", 2 }, { "bytes", framed, "separator", "\\x3b", "a;b", 1 },
  { "lengths", framed, "fixedlength", "2", "abc", 1 }, { "numbers", framed, "dynamic32", nil, "\1\0\0\0a", 1 },
  { "JSON", framed, "json", nil, "[1] 2 ", 2 }, { "what comes", framed, "auto", nil, "a", 1 },
  { "a function", framed, by_byte, nil, "abc", 3 }, { "datagrams", datagrams }, { "no peer", nobody },
  { "reverse", reverse },
}
