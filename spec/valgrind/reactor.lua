-- The reactor, for everything.lua: each of its functions, and connections that nobody waits for.

local coverage = require "spec.valgrind.coverage"
local luws = require "luws"
local reactor = require "luws.reactor"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local till = require "spec.support.stepping".till

local PATIENCE = 20 -- seconds

--- Opens connections that echo, all at a time, and has all of them closed.
local function many(scheme, options)
  local closed, COUNT = 0, 10
  for i = 1, COUNT do
    local given = { wait = false, ssl_verify = scheme == "wss" and "peer" or nil, close_timeout = 1,
      ssl_cafile = scheme == "wss" and servers.ca_file() or nil,
      open_handler = function(conn) assert(luws.wssend(conn, 1, "echo " .. i)) end,
      close_handler = function(conn) assert(conn.was_clean and conn.bufferedPayload == 0) end }
    for name, value in pairs(options or {}) do given[name] = value end
    assert(luws.wsopen(servers.url("demo", scheme, "/echo"), function(conn, opcode, data)
      assert(opcode == 1 and data == "echo " .. i)
      closed = closed + 1
      luws.wsclose(conn)
    end, given))
  end
  assert(reactor.timeout() == nil or reactor.timeout() >= 0)
  reactor.run(PATIENCE)
  assert(closed == COUNT, closed)
end

--- Opens a connection that cannot be opened; returns it, and waits until its handler was told so.
local function fails(url, expected, options)
  local told
  options = options or {}
  options.wait = false
  local conn = assert(luws.wsopen(url, function(_, opcode, data) told = opcode == false and data end, options))
  assert(luws.wssend(conn, 1, "too early") == false)
  till(function() return told end)
  assert(told:lower():find(expected, 1, true), told)
  return conn
end

local function functions()
  assert(reactor.getfd() == reactor.pollfd() and reactor.events() == "r")
  assert(type(reactor.dirty()) == "boolean" and reactor.steps() >= 0)
  local fired, watched = 0, 0
  reactor.after(0.01, function() fired = fired + 1 end)
  reactor.after(0.01, function() fired = fired + 10 end):cancel()
  reactor.after(0.01, function() error "on purpose" end)
  till(function() return fired > 0 end)
  local listener = assert(socket.bind("127.0.0.1", 0))
  local client = assert(socket.connect("127.0.0.1", (select(2, listener:getsockname()))))
  local watch
  watch = reactor.watch_fd(listener:getfd(), "r", function(fd, events)
    assert(fd == listener:getfd() and events == "r")
    watched = watched + 1
    watch:cancel()
    reactor.stop()
  end)
  reactor.run(PATIENCE)
  client:close()
  listener:close()
  assert(fired == 1 and watched == 1)
  local signalled
  local signal = reactor.watch_signal("USR1", function(name) signalled = name end)
  os.execute "kill -USR1 $PPID"
  till(function() return signalled == "USR1" end)
  signal:cancel()
  assert(reactor.attach() == false and select(2, reactor.attach "luv") == "luv is not here")
  for _, call in ipairs {
    function() reactor.after("x") end, function() reactor.after(0 / 0, print) end, function() reactor.step {} end,
    function() reactor.watch_fd(-5, "r", print) end, function() reactor.watch_fd(1, "x", print) end,
    function() reactor.watch_fd(9999, "r", print) end, function() reactor.attach "nobody" end,
    function() reactor.watch_signal("KILL", print) end,
  } do
    local ok, why = pcall(call)
    assert(ok or type(why) == "string")
  end
end

--- A connection that was opened in the usual way, given to the reactor.
local function adds(own)
  local told
  local conn = assert(luws.wsopen(servers.url("demo", "ws", "/flood?size=5000&count=300"), function(_, opcode)
    told = (told or 0) + 1
    if opcode == false then reactor.stop() end
    error "on purpose"
  end, { connect = own and function(host, port) return socket.connect(host, port) end or nil }))
  assert(reactor.add(conn) and reactor.add(conn))
  assert(not pcall(reactor.add, "nothing"))
  reactor.run(PATIENCE)
  assert(told == 301, told)
  assert(luws.watch(conn) == false)
  luws.wsclose(conn)
end

--- Coroutines that are resumed when their connections are open, as the reactor does where there is no other loop.
local function yields(scheme)
  local over = 0
  for _ = 1, 3 do
    coroutine.wrap(function()
      local conn, why = luws.wsopen(servers.url("demo", scheme, "/echo"), nil, { wait = "yield", ssl_verify = "none" })
      assert(conn, why)
      coverage.call(conn, "close")
      over = over + 1
    end)()
  end
  till(function() return over == 3 end)
  -- One that nobody will resume.
  coroutine.wrap(function() luws.wsopen(scripted.silent().url, nil, { wait = "yield" }) end)()
  collectgarbage()
end

local function gives_up()
  for _, url in ipairs { scripted.silent().url, "ws://localhost:1/", servers.url("demo", "wss", "/echo") } do
    local conn = assert(luws.wsopen(url, error, { wait = false }))
    luws.wsclose(conn)
    luws.wsclose((assert(luws.wsopen(url, error, { wait = false }))))
  end
  reactor.step(0)
end

--- A connection that is lost after each message, and comes back; then one that is given up, and one that is collected
-- while it waits.
local function comes_back(tls)
  local peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" }, tls = tls }
  local opened, lost, asked, conn = 0, 0, 0, nil
  local settings = { first = 0.01, most = 0.02, factor = 1.5, jitter = 1, stable = 0, attempts = 3, on = function()
    asked = asked + 1
    if asked == 1 then assert(luws.wssend(conn, 1, "kept") and not luws.wssend(conn, 1, ("x"):rep(100))) end
    if asked == 2 then error "on purpose" end
  end }
  conn = assert(luws.wsopen(peer.url, function() lost = lost + 1 end, {
    wait = false, reconnect = settings, queue = 100, ping_interval = 5, ping_timeout = 5,
    open_handler = function(c)
      opened = opened + 1
      if opened ~= 2 then assert(luws.wssend(c, 2, "at once")) end
    end,
  }))
  till(function() return opened == 4 end)
  assert(lost >= 3 and asked >= 3)
  assert(peer:result(2).frames[1].payload == "kept")
  peer:close()
  till(function() return luws.wsreceive(conn) == nil end)
  local _, why = luws.wsreceive(conn)
  assert(why:find "^gave up: Connection to ", why)
  assert(luws.wsopen(peer.url, nil, { wait = false, reconnect = true }))
  assert(luws.wsopen(peer.url, nil, { reconnect = true }) == false)
  assert(luws.wsopen(peer.url, nil, { reconnect = { jitter = 2 } }) == false)
end

return {
  { "its functions", functions },
  { "ws", many, "ws" }, { "wss", many, "wss" }, { "compressed", many, "ws", { deflate = true, coalesce = true } },
  { "a limit", many, "wss", { connecting_limit = 1 } },
  { "refused", fails, scripted.refused().url, "refused" },
  { "no time", fails, scripted.silent().url, "timeout", { connect_timeout = 0.05 } },
  { "no such name", fails, "ws://nowhere.invalid/", "failed" },
  { "a refusal by HTTP", function()
    local peer = scripted.peer { { "upgrade", response = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno" } }
    assert(fails(peer.url, "404").response.status == 404)
  end },
  { "a wrong certificate", fails, scripted.peer { tls = { certificate = "unknown" }, { "upgrade" } }.url, "certificate",
    { ssl_verify = "peer", ssl_cafile = servers.ca_file() } },
  { "connections that are added", adds }, { "an own socket that is added", adds, true },
  { "coroutines, ws", yields, "ws" }, { "coroutines, wss", yields, "wss" },
  { "giving up", gives_up },
  { "coming back, ws", comes_back }, { "coming back, wss", comes_back, true },
}
