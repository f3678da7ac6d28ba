-- The option reconnect: a connection that is lost comes back as the same table. In memory, where time passes only as
-- far as something is waited for; reconnect_sockets_spec.lua has the same with real sockets.

local log = require "spec.support.log"
local world = require "spec.support.world"

local CLOSED = { false, "receiver error: closed" }
local DAY = 86400

local w, luws

before_each(function()
  w = world.new()
  luws = w.luws
end)

--- Returns a server that echoes and answers close frames.
local function echo_server() return w:server(function() return w:peer():echo() end) end

--- Opens a connection to a server. Returns it, and what its handlers were told, in order: "open" for open_handler.
local function open(server, options)
  local told = {}
  options = options or {}
  if options.reconnect == nil then options.reconnect = true end
  options.open_handler = options.open_handler or function() told[#told + 1] = "open" end
  local conn = w:open(server, options, function(_, ...) told[#told + 1] = { ... } end)
  return conn, told
end

--- Has the reactor drive a connection for this time.
local function run(conn, seconds)
  if conn then w.reactor.add(conn) end
  w.reactor.run(seconds)
end

local function last_of(server) return server.peers[#server.peers] end

--- Notes when each attempt to connect begins.
local function note_dials()
  local times, next_dial = {}, w.next_dial
  function w.next_dial(...)
    times[#times + 1] = w.clock.now()
    return next_dial(...)
  end
  return times
end

--- Has the next attempts to connect fail.
local function refuse(count)
  for i = 1, count do w.dials[i] = { 0, "connection refused" } end
end

--- Returns the differences between successive numbers.
local function steps_of(times)
  local steps = {}
  for i = 2, #times do steps[i - 1] = times[i] - times[i - 1] end
  return steps
end

--- Returns a peer that answers every request with these lines.
local function answering(...)
  local response = table.concat({ ... }, "\r\n") .. "\r\nContent-Length: 0\r\n\r\n"
  local peer = w:peer { plain = true }
  function peer.advance(self)
    if self.line:take():find "\r\n\r\n" then self.line:send(response) end
  end
  return peer
end

local drivers = {}

drivers["wsreceive once a second"] = function(conn, seconds)
  for _ = 1, seconds do
    repeat
      local more, why = luws.wsreceive(conn)
      if more == nil then return why end
    until not more
    w.clock.sleep(1)
  end
end

drivers["wswait"] = function(conn, seconds)
  local deadline = w.clock.now() + seconds
  while w.clock.now() < deadline do
    local more, why = luws.wsreceive(conn)
    if more == nil then return why end
    luws.wswait(conn, deadline - w.clock.now())
  end
end

drivers["conn:timeout()"] = function(conn, seconds)
  local deadline = w.clock.now() + seconds
  while w.clock.now() < deadline do
    local more, why = luws.wsreceive(conn)
    if more == nil then return why end
    local left = math.min(conn:timeout() or math.huge, deadline - w.clock.now())
    w.clock.pass(left, function() return conn:dirty() end)
  end
end

drivers["the reactor"] = function(conn, seconds)
  run(conn, seconds)
  if not conn.connected then return select(2, luws.wsreceive(conn)) end
end

describe("a lost connection", function()
  for name, drive in pairs(drivers) do
    it("comes back as the same table, with " .. name, function()
      local server = echo_server()
      local conn, told = open(server)
      assert.same({}, told) -- nothing is called inside wsopen
      assert.is_nil(drive(conn, 3))
      last_of(server):vanish()
      assert.is_nil(drive(conn, 10))
      assert.same({ "open", CLOSED, "open" }, told)
      assert.is_true(conn.connected)
      assert.is_true(luws.wssend(conn, 1, "again"))
      assert.is_nil(drive(conn, 3))
      assert.same({ "open", CLOSED, "open", { 1, "again" } }, told)
      assert.equal(2, #server.peers)
      luws.wsclose(conn)
      assert.equal("not connected", drive(conn, 100))
      assert.equal(4, #told)
      assert.equal(2, #server.peers)
    end)

    it("is told of once, however many attempts fail, with " .. name, function()
      local server = echo_server()
      local conn, told = open(server)
      assert.is_nil(drive(conn, 3))
      refuse(5)
      last_of(server):close(1001, "restarting")
      assert.is_nil(drive(conn, 100))
      assert.same({ "open", CLOSED, "open" }, told)
      luws.wsclose(conn)
    end)
  end

  for _, case in ipairs {
    { "a close frame 1000", function(peer) peer:close(1000) end, "receiver error: closed", 1000 },
    { "a close frame 1008", function(peer) peer:close(1008) end, "receiver error: closed", 1008 },
    { "an end", function(peer) peer:finish() end, "receiver error: closed", 1006 },
    { "a broken rule", function(peer) peer:raw "\131\0" end, "reserved opcode 3", 1006 },
    { "a message that is too big", function(peer) peer:send(1, ("x"):rep(70000)) end,
      "message too big (over 65535 bytes: it has 70000; see max_payload_size)", 1006 },
  } do
    local name, lose, why, code = case[1], case[2], case[3], case[4]
    it("may have been lost by " .. name, function()
      local server, seen = echo_server(), {}
      local conn, told = open(server, {
        reconnect = { on = function(conn, ...) seen[#seen + 1] = { conn.close_code, ... } end },
      })
      run(conn, 1)
      lose(last_of(server))
      run(conn, 5)
      assert.same({ "open", { false, why }, "open" }, told)
      assert.same({ { code, why, 1 } }, seen)
      assert.is_nil(conn.close_code) -- it is open
    end)
  end

  it("may have been lost by silence", function()
    for _, case in ipairs {
      { { receive_timeout = 30 }, "message timeout" },
      { { ping_interval = 20, ping_timeout = 10, receive_timeout = 300 }, "ping timeout" },
    } do
      local server = w:server(function() return w:peer() end)
      local conn, told = open(server, case[1])
      local begun = w.clock.now()
      run(conn, 32 - (w.clock.now() - begun))
      assert.same({ "open", { false, case[2] }, "open" }, told)
      assert.same({ true, 2 }, { conn.connected, #server.peers })
      luws.wsclose(conn)
    end
  end)

  it("may have been lost by a source that could not be ended", function()
    local server = echo_server()
    local conn, told = open(server)
    luws.wsreceive(conn)
    local chunks = { "a", "b" }
    local function source()
      local chunk = table.remove(chunks, 1)
      return chunk, not chunk and "no more" or nil
    end
    assert.same({ false, "no more" }, { luws.wssend(conn, 1, source) })
    run(conn, 5)
    assert.same({ "open", "open" }, told)
    assert.is_true(conn.connected)
  end)

  it("is closed, and waits, until its time has come", function()
    local server = echo_server()
    local conn = open(server, { reconnect = { first = 10 } })
    luws.wsreceive(conn)
    last_of(server):close(4000, "bye")
    w.clock.sleep(0)
    assert.same({ false, 0 }, { luws.wsreceive(conn) })
    w.clock.sleep(4)
    assert.same({ false, false, 4000, "bye" }, { conn.connected, conn.closing, conn.close_code, conn.close_reason })
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "x") })
    assert.same({ false, "not connected" }, { luws.wsflush(conn) })
    assert.same({ nil, "not connected" }, { luws.wshandleincoming("\129\0", conn) })
    assert.same({ -1, -1, "r", false, 0 },
      { conn:getfd(), conn:pollfd(), conn:events(), conn:dirty(), conn.bufferedAmount })
    assert.is_true(conn:timeout() > 5 and conn:timeout() <= 6)
    assert.same({ false, 0 }, { luws.wsreceive(conn) })
    luws.wsreset(conn)
    assert.is_false(luws.wswait(conn, 1))
    assert.is_true(luws.wswait(conn))
    assert.equal(10, math.floor(w.clock.now()))
    assert.is_true(conn.connected)
  end)

  it("is not opened again after wsclose, whenever that was called", function()
    for _, when in ipairs { "told", "on", "waiting", "connecting", "open_handler", "connect" } do
      local server = echo_server()
      local conn, told
      local function close_at(moment)
        if moment == when and conn and #server.peers > 0 then luws.wsclose(conn) end
      end
      local options = { reconnect = { on = function() close_at "on" end } }
      if when == "open_handler" then
        local times = 0
        options.open_handler = function()
          times = times + 1
          if times == 2 then close_at "open_handler" end
        end
      end
      conn, told = open(server, options)
      luws.wsreceive(conn)
      local opened = #told
      conn.msghandler = function(_, ...)
        told[#told + 1] = { ... }
        close_at "told"
      end
      if when == "connect" then
        conn.options.connect = function()
          close_at "connect"
          return { send = print, receive = print, settimeout = print, close = function() told.closed = true end }
        end
      end
      w.dials = { { 5 } } -- the next attempt takes its time
      last_of(server):vanish()
      run(conn, 0.5)
      close_at "waiting"
      run(conn, 1)
      close_at "connecting"
      run(conn, 100)
      assert.same({ CLOSED }, { told[opened + 1], told[opened + 2] }, when)
      assert.same({ nil, "not connected" }, { luws.wsreceive(conn) }, when)
      assert.same({ false, true }, { conn.connected, conn.closing }, when)
      assert.equal(when == "open_handler" and 2 or 1, #server.peers, when)
      assert.equal(when == "connect" or nil, told.closed, when)
      assert.equal(0, w.reactor.step()) -- nothing is left to be driven
    end
  end)

  it("is not opened again if the program has sent a close frame itself", function()
    local server = echo_server()
    local conn, told = open(server)
    luws.wsreceive(conn)
    assert.is_true(luws.wssend(conn, 8, ""))
    assert.equal("closed", drivers.wswait(conn, 100))
    assert.same({ "open", CLOSED }, told)
    assert.equal(1, #server.peers)
  end)

  it("may be received from inside the handler that is told of it", function()
    local server = echo_server()
    local conn, told = open(server)
    conn.msghandler = function(_, ...)
      told[#told + 1] = { ... }
      for _ = 1, 3 do told[#told + 1] = { luws.wsreceive(conn) } end
    end
    run(conn, 1)
    last_of(server):vanish()
    run(conn, 0.5)
    assert.same({ "open", CLOSED, { false, 0 }, { false, 0 }, { false, 0 } }, told)
    run(conn, 5)
    assert.equal("open", told[6])
    assert.is_true(conn.connected)
  end)

  it("is not told of by the linger of the connection before", function()
    local server = w:server(function() return w:peer() end) -- answers no close frame
    local conn = open(server, { close_timeout = 60, reconnect = { first = 0 } })
    run(conn, 1)
    last_of(server):raw "\131\0"
    run(conn, 2)
    assert.is_true(conn.connected)
    assert.is_nil(conn.close_code)
    run(conn, 100)
    assert.is_nil(conn.close_code)
  end)
end)

describe("the delay", function()
  local function delays(settings, count, random)
    w.random = random or 0
    local server = echo_server()
    local conn = open(server, { reconnect = settings })
    luws.wsreceive(conn)
    local times = note_dials()
    refuse(count - 1)
    times[1] = w.clock.now()
    last_of(server):vanish()
    run(conn, 3000)
    assert.is_true(conn.connected)
    return steps_of(times)
  end

  it("grows from first to most", function()
    assert.same({ 1, 2, 4, 8, 16, 32, 60, 60 }, delays(true, 8))
    assert.same({ 5, 15, 45, 100, 100 }, delays({ first = 5, factor = 3, most = 100 }, 5))
    assert.same({ 7, 7, 7 }, delays({ first = 7, factor = 1 }, 3))
    assert.same({ 3, 3 }, delays({ most = 3, first = 10 }, 2))
    assert.same({ 0, 0, 0 }, delays({ first = 0 }, 3))
  end)

  it("is left to chance, in part", function()
    assert.same({ 0.75, 1.5, 3 }, delays(true, 3, 0.5))
    assert.same({ 0.5, 1, 2 }, delays({ jitter = 1 }, 3, 0.5))
    assert.same({ 1, 2, 4 }, delays({ jitter = 0 }, 3, 0.5))
  end)

  it("begins again only after the connection was open for some time", function()
    local server = echo_server()
    local conn = open(server, { reconnect = { stable = 10 } })
    run(conn, 20)
    local times = note_dials()
    for _, seconds in ipairs { 0, 1, 1, 20, 1 } do -- how long each connection lives
      run(conn, seconds)
      assert.is_true(conn.connected)
      times[#times + 1] = w.clock.now()
      last_of(server):vanish()
      run(conn, 9)
    end
    local waited = {}
    for i = 2, #times, 2 do waited[#waited + 1] = times[i] - times[i - 1] end
    assert.same({ 1, 2, 4, 1, 2 }, waited)
  end)

  it("is longer if the server asks for it", function()
    for _, case in ipairs {
      { { "Retry-After: 7" }, 7 },
      { { "Retry-After: 0" }, 2 },
      { { "Retry-After: soon" }, 2 },
      { { "Retry-After: 99999999999" }, DAY },
      { { "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After: Sun, 06 Nov 1994 08:50:17 GMT" }, 40 },
      { { "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After: Sun, 06 Nov 1994 08:48:00 GMT" }, 2 },
      { { "Retry-After: Tue, 14 Nov 2023 22:14:20 GMT" }, "60 s after the clock's beginning" },
    } do
      w = world.new()
      luws = w.luws
      local server = w:server(function(n)
        if n ~= 2 then return w:peer():echo() end
        local lines = { "HTTP/1.1 503 Busy" }
        for _, line in ipairs(case[1]) do lines[#lines + 1] = line end
        return answering((table.unpack or unpack)(lines)) -- luacheck: ignore
      end)
      local conn = open(server)
      run(conn, 1)
      local times = note_dials()
      last_of(server):vanish()
      repeat run(conn, 3600) until #server.peers == 3
      local expected = case[2]
      if type(expected) == "string" then
        assert.equal(60, times[2]) -- the clock began at 22:13:20
      else
        assert.equal(expected, times[2] - times[1], case[1][1])
      end
    end
  end)
end)

describe("giving up", function()
  it("comes after so many attempts in a row, and is told", function()
    local server = echo_server()
    local conn, told = open(server, { reconnect = { attempts = 3 } })
    run(conn, 1)
    local times = note_dials()
    refuse(9)
    last_of(server):vanish()
    run(conn, 1000)
    local why = "gave up: Connection to peer.test:80 failed: connection refused"
    assert.same({ "open", CLOSED, { false, why } }, told)
    assert.same({ nil, why }, { luws.wsreceive(conn) })
    assert.equal(3, #times)
    assert.same({ false, true }, { conn.connected, conn.closing })
    assert.equal(0, w.reactor.step())
  end)

  it("does not come with a waiting wsopen, which returns its first failure", function()
    local times = note_dials()
    refuse(1)
    assert.same({ false, "Connection to peer.test:80 failed: connection refused" },
      { luws.wsopen("ws://peer.test/", nil, { reconnect = true }) })
    assert.same({ false, "not connected" }, { luws.wssend(nil, 1, "x") })
    w.clock.sleep(100)
    assert.equal(1, #times)
  end)

  it("comes at once without waiting, if trying again hardly helps and it never was open", function()
    for _, status in ipairs { "401 Unauthorized", "403 Forbidden", "404 Not Found" } do
      local server = w:server(function() return answering("HTTP/1.1 " .. status) end)
      local conn, told = open(server, { wait = false })
      w.reactor.run(100)
      local why = "upgrade failed; HTTP/1.1 " .. status
      assert.same({ { false, why } }, told)
      assert.same({ nil, why }, { luws.wsreceive(conn) })
      assert.equal(tonumber(status:match "%d+"), conn.response.status)
      assert.equal(1, #server.peers)
    end
  end)

  it("does not come after that: such failures are tried again after the longest time, and logged once", function()
    local server = w:server(function(n)
      return n > 1 and n < 6 and answering "HTTP/1.1 401 Unauthorized" or w:peer():echo()
    end)
    local conn, told = open(server)
    run(conn, 1)
    local times = note_dials()
    local logged = log.capture(function()
      last_of(server):vanish()
      run(conn, 1000)
    end)
    assert.same({ 60, 60, 60, 60 }, steps_of(times))
    assert.same({ "open", CLOSED, "open" }, told)
    local warnings = 0
    for _, line in ipairs(logged) do
      if line:find "cannot be opened: upgrade failed; HTTP/1.1 401" then warnings = warnings + 1 end
    end
    assert.equal(1, warnings)
    assert.is_nil(conn.response)
  end)

  it("is not for what may be cured: without waiting, the first opening is tried again, too", function()
    local server = w:server(function(n)
      return n < 3 and answering "HTTP/1.1 502 Bad Gateway" or w:peer():echo()
    end)
    refuse(2)
    local times = note_dials()
    local conn, told = open(server, { wait = false })
    w.reactor.run(100)
    assert.same({ "open" }, told)
    assert.is_true(conn.connected)
    assert.same({ 1, 2, 4, 8 }, steps_of(times))
  end)

  it("depends on the kind of a failure", function()
    local backoff = w.import "backoff"
    local settings = assert(backoff.settings(true))
    for _, case in ipairs {
      -- kind, before it was open, after that
      { "certificate", nil, 60 }, { "options", nil, 60 }, { "untimely", 60, 60 }, { "tls", 1, 1 }, { "refused", 1, 1 },
    } do
      local failure = { kind = case[1], text = "" }
      assert.equal(case[2], backoff.delay(settings, 1, failure, false), case[1])
      assert.equal(case[3], backoff.delay(settings, 1, failure, true), case[1])
    end
  end)

  it("comes when the options have become wrong and it never was open; otherwise they may be mended", function()
    local server = echo_server()
    local conn, told = open(server)
    run(conn, 1)
    conn.options.fragment_size = "x"
    last_of(server):vanish()
    run(conn, 61)
    assert.equal(1, #server.peers)
    conn.options.fragment_size = nil
    run(conn, 61)
    assert.same({ "open", CLOSED, "open" }, told)
  end)
end)

describe("the function on", function()
  local server, conn, told, seen

  --- Opens a connection with this function, loses it, and has so many attempts fail.
  local function lose(on, failures, seconds, options)
    seen, server = {}, echo_server()
    options = options or {}
    options.reconnect = options.reconnect or {}
    options.reconnect.on = function(c, ...)
      seen[#seen + 1] = { ... }
      assert.equal(conn, c)
      return on(...)
    end
    conn, told = open(server, options)
    run(conn, 1)
    refuse(failures)
    last_of(server):vanish()
    run(conn, seconds)
  end

  local REFUSED = "Connection to peer.test:80 failed: connection refused"

  it("is told why, and the number of the attempt", function()
    lose(function() end, 2, 100)
    assert.same({ { "receiver error: closed", 1 }, { REFUSED, 2 }, { REFUSED, 3 } }, seen)
    assert.same({ "open", CLOSED, "open" }, told)
  end)

  it("gives up with false at once, which is not told again", function()
    lose(function() return false end, 0, 100)
    assert.same({ "open", CLOSED }, told)
    assert.same({ nil, "closed" }, { luws.wsreceive(conn) })
    assert.equal(1, #server.peers)
    assert.equal(0, w.reactor.step())
  end)

  it("gives up with false after a failure", function()
    lose(function(_, attempt) if attempt == 2 then return false end end, 5, 100)
    assert.same({ "open", CLOSED, { false, "gave up: " .. REFUSED } }, told)
    assert.same({ nil, "gave up: " .. REFUSED }, { luws.wsreceive(conn) })
  end)

  it("chooses the time with a number", function()
    local times = note_dials()
    lose(function(_, attempt) return attempt * 100 end, 2, 1000)
    assert.same({ 200, 300 }, steps_of { times[2], times[3], times[4] })
    assert.is_true(conn.connected)
  end)

  it("is as usual with any other value, and if it raises an error, which is logged", function()
    for _, value in ipairs { true, "soon", -1, 0 / 0, {} } do
      lose(function() return value end, 1, 10)
      assert.is_true(conn.connected)
    end
    local logged = log.capture(function() lose(function() error "on purpose" end, 0, 10) end)
    assert.is_true(conn.connected)
    assert.matches("the reconnect.on of .* raised an error: .*on purpose", logged[1])
  end)

  it("may have it tried again where it would be given up", function()
    server = w:server(function(n) return n == 1 and answering "HTTP/1.1 401 Unauthorized" or w:peer():echo() end)
    conn, told = open(server, {
      wait = false, upgrade_headers = { Authorization = "Bearer old" },
      reconnect = {
        on = function(c)
          assert.equal(401, c.response.status)
          c.options.upgrade_headers.Authorization = "Bearer new"
          return 3
        end,
      },
    })
    w.reactor.run(10)
    assert.same({ "open" }, told)
    assert.equal("Bearer new", server.peers[2].request.headers.authorization)
  end)

  it("may receive and send itself", function()
    local results = {}
    lose(function()
      results[#results + 1] = { luws.wsreceive(conn) }
      results[#results + 1] = { luws.wssend(conn, 1, "x") }
    end, 1, 20)
    assert.same({ { false, 0 }, { false, "not connected" }, { false, 0 }, { false, "not connected" } }, results)
    assert.equal(2, #seen)
    assert.is_true(conn.connected)
  end)
end)

describe("the option queue", function()
  it("keeps messages while there is no connection, and sends them after open_handler", function()
    local server = echo_server()
    local conn, told
    local options = { queue = 100, open_handler = function(c) luws.wssend(c, 1, "hello") end }
    conn, told = open(server, options)
    run(conn, 1)
    refuse(2)
    last_of(server):vanish()
    run(conn, 0.1)
    for i = 1, 3 do assert.is_true(luws.wssend(conn, i % 2 + 1, "kept " .. i)) end
    assert.is_true(luws.wssend(conn, 1, 42))
    assert.equal(20, conn.bufferedAmount)
    run(conn, 5)
    assert.is_true(luws.wssend(conn, 1, ""))
    run(conn, 10)
    assert.same({
      { 1, "hello" }, CLOSED, { 1, "hello" }, { 2, "kept 1" }, { 1, "kept 2" }, { 2, "kept 3" }, { 1, "42" }, { 1, "" },
    }, told)
    assert.equal(0, conn.bufferedAmount)
  end)

  it("holds so many bytes, and takes messages only", function()
    local server = echo_server()
    local conn = open(server, { queue = 10 })
    run(conn, 1)
    last_of(server):vanish()
    run(conn, 0.1)
    for _, case in ipairs {
      { 1, "12345", true },
      { 1, "123456", false, "send error: buffer full" },
      { 1, "\255", false, "send error: a text message must be valid UTF-8" },
      { 2, "\255", true },
      { 3, "x", false, "bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got 3)" },
      { 9, "x", false, "not connected" },
      { 8, "", false, "not connected" },
      { 1, function() end, false, "not connected" },
      { 2, "1234", true },
      { 1, "", false, "send error: buffer full" },
    } do
      assert.same({ case[3], case[4] }, { luws.wssend(conn, case[1], case[2]) })
    end
    run(conn, 5)
    assert.same({ { 1, "12345" }, { 2, "\255" }, { 2, "1234" } }, last_of(server).events)
  end)

  it("keeps the order when a program sends before open_handler was called", function()
    local server = echo_server()
    local conn, told = open(server, { queue = 100 })
    luws.wsreceive(conn)
    last_of(server):vanish()
    w.clock.sleep(0)
    luws.wsreceive(conn)
    assert.is_true(luws.wssend(conn, 1, "first"))
    luws.wswait(conn)
    assert.is_true(conn.connected)
    assert.is_true(luws.wssend(conn, 9, "a ping need not wait"))
    assert.is_true(luws.wssend(conn, 1, "second"))
    drivers.wswait(conn, 1)
    assert.same({ "open", CLOSED, "open", { 1, "first" }, { 1, "second" } }, told)
    assert.is_true(luws.wssend(conn, 1, "third"))
  end)

  it("holds for a connection that is opened without waiting, too", function()
    local server = echo_server()
    local conn, told = open(server, { queue = 100, wait = false, reconnect = false })
    assert.is_true(luws.wssend(conn, 1, "early"))
    w.reactor.run(1)
    assert.same({ "open", { 1, "early" } }, told)
    last_of(server):vanish()
    w.reactor.run(1)
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "late") })
  end)

  it("is dropped by wsclose, and by giving up", function()
    for _, attempts in ipairs { 1, 100 } do
      local server = echo_server()
      local conn = open(server, { queue = 100, reconnect = { attempts = attempts } })
      run(conn, 1)
      refuse(1)
      last_of(server):vanish()
      run(conn, 0.1)
      assert.is_true(luws.wssend(conn, 1, "x"))
      if attempts == 1 then run(conn, 10) else luws.wsclose(conn) end
      assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "x") })
      assert.equal(0, conn.bufferedAmount)
    end
  end)
end)

describe("a connection that comes back", function()
  it("may have been opened by a coroutine that yields", function()
    local server, conn, told = echo_server(), nil, nil
    local thread = coroutine.create(function() conn, told = open(server, { wait = "yield" }) end)
    assert(coroutine.resume(thread))
    while not conn do
      w.reactor.step(1)
      if coroutine.status(thread) == "suspended" then assert(coroutine.resume(thread)) end
    end
    assert.is_nil(drivers.wswait(conn, 1))
    last_of(server):vanish()
    assert.is_nil(drivers.wswait(conn, 10))
    assert.same({ "open", CLOSED, "open" }, told)
    run(conn, 1)
    last_of(server):vanish()
    run(conn, 20)
    assert.same({ "open", CLOSED, "open", CLOSED, "open" }, told)
  end)

  it("is collected if nobody holds it and nobody drives it", function()
    local server = echo_server()
    local weak = setmetatable({ (open(server)) }, { __mode = "v" })
    luws.wsreceive(weak[1])
    last_of(server):vanish()
    w.clock.sleep(0)
    luws.wsreceive(weak[1])
    w.conn = nil
    for _ = 1, 3 do collectgarbage() end
    assert.is_nil(weak[1])
  end)

  it("may be lost ten thousand times, and leaves nothing behind", function()
    local server = w:server(function() return w:peer() end)
    local count, before = 0, nil
    local conn = open(server, {
      reconnect = { first = 0, stable = 0 }, close_timeout = 0, open_handler = function() count = count + 1 end,
    })
    run(conn, 1)
    conn.msghandler = function() count = count + 1 end
    for i = 1, 10000 do
      last_of(server):vanish()
      server.peers = {}
      repeat w.reactor.step(1) until conn.connected and server.peers[1]
      if i % 2500 == 0 then
        for _ = 1, 3 do collectgarbage() end
        local now = collectgarbage "count"
        before = before or now
        assert.is_true(now < before + 16, now - before) -- KiB
      end
    end
    assert.equal(20000, count)
  end)

  it("goes on for a day with losses, as a plugin has it", function()
    local seed, subscribed, lost, received = 42, 0, 0, 0
    local function random(most)
      seed = (seed * 16807) % 2147483647
      return seed % most
    end
    local server = w:server(function() return w:peer():echo() end)
    local conn = w:open(server, {
      ping_interval = 20, reconnect = true, queue = 1000,
      open_handler = function(c)
        subscribed = subscribed + 1
        luws.wssend(c, 1, "subscribe")
      end,
    }, function(_, opcode)
      if opcode == false then lost = lost + 1 else received = received + 1 end
    end)
    local losses, silences, sent = 0, 0, 0
    for minute = 1, DAY / 60 do
      drivers["wsreceive once a second"](conn, 60)
      if conn.connected then
        assert.is_true(luws.wssend(conn, 1, "minute " .. minute))
        sent = sent + 1
      end
      if minute % 97 == 0 and conn.connected then
        drivers["wsreceive once a second"](conn, 2)
        losses = losses + 1
        if random(2) == 0 then
          last_of(server):vanish()
        else
          last_of(server).is_paused = true -- as if its power was cut
          silences = silences + 1
        end
        for i = 1, random(4) do w.dials[i] = { random(3), "connection refused" } end
      end
    end
    drivers["wsreceive once a second"](conn, 300)
    assert.is_true(conn.connected)
    assert.is_true(losses >= 14 and silences > 3)
    assert.same({ losses, losses + 1, losses + 1 }, { lost, subscribed, #server.peers })
    -- What was sent to a server without power is lost; everything else came back.
    assert.is_true(received >= sent + subscribed - silences and received <= sent + subscribed)
  end)
end)

describe("the settings of reconnect", function()
  for _, case in ipairs {
    { { reconnect = "yes" }, "bad option 'reconnect' (boolean or table expected, got string)" },
    { { reconnect = { first = -1 } }, "bad option 'reconnect' (first: a number of at least 0 expected, got -1)" },
    { { reconnect = { most = "x" } }, "bad option 'reconnect' (most: number expected, got string)" },
    { { reconnect = { factor = 0.5 } }, "bad option 'reconnect' (factor: a number of at least 1 expected, got 0.5)" },
    { { reconnect = { jitter = 2 } }, "bad option 'reconnect' (jitter: a number from 0 to 1 expected, got 2)" },
    { { reconnect = { jitter = true } },
      "bad option 'reconnect' (jitter: a number from 0 to 1 expected, got boolean)" },
    { { reconnect = { stable = false } }, "bad option 'reconnect' (stable: number expected, got boolean)" },
    { { reconnect = { attempts = 0 } },
      "bad option 'reconnect' (attempts: whole number from 1 up expected, got 0)" },
    { { reconnect = { on = 5 } }, "bad option 'reconnect' (on: function expected, got number)" },
    { { reconnect = { delay = 5 } }, "bad option 'reconnect' (delay: unknown)" },
    { { queue = -1 }, "bad option 'queue' (a number of at least 0 expected, got -1)" },
  } do
    it("are refused if they are wrong: " .. case[2], function()
      local times = note_dials()
      assert.same({ false, case[2] }, { luws.wsopen("ws://peer.test/", nil, case[1]) })
      assert.same({}, times)
    end)
  end
end)
