-- When a lost connection is tried again: the settings of the option reconnect, the function `on`, and giving up. In
-- memory, where time passes only as far as something is waited for.

local outage = require "spec.support.outage"
local log = require "spec.support.log"
local unpack = require "spec.support.compat".unpack

local DAY = 86400

local CLOSED = { false, "receiver error: closed" }

local last_of, steps_of = outage.last_of, outage.steps_of

local o, w, luws

before_each(function()
  o = outage.new()
  w, luws = o.world, o.luws
end)

describe("the delay", function()
  local function delays(settings, count, random)
    w.random = random or 0
    local server = o:echo_server()
    local conn = o:open(server, { reconnect = settings })
    luws.wsreceive(conn)
    local times = o:note_dials()
    o:refuse(count - 1)
    times[1] = w.clock.now()
    last_of(server):vanish()
    o:run(conn, 3000)
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
    local server = o:echo_server()
    local conn = o:open(server, { reconnect = { stable = 10 } })
    o:run(conn, 20)
    local times = o:note_dials()
    for _, seconds in ipairs { 0, 1, 1, 20, 1 } do -- how long each connection lives
      o:run(conn, seconds)
      assert.is_true(conn.connected)
      times[#times + 1] = w.clock.now()
      last_of(server):vanish()
      o:run(conn, 9)
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
      o = outage.new()
      w, luws = o.world, o.luws
      local server = w:server(function(n)
        if n ~= 2 then return w:peer():echo() end
        local lines = { "HTTP/1.1 503 Busy" }
        for _, line in ipairs(case[1]) do lines[#lines + 1] = line end
        return o:answering(unpack(lines))
      end)
      local conn = o:open(server)
      o:run(conn, 1)
      local times = o:note_dials()
      last_of(server):vanish()
      repeat o:run(conn, 3600) until #server.peers == 3
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
    local server = o:echo_server()
    local conn, told = o:open(server, { reconnect = { attempts = 3 } })
    o:run(conn, 1)
    local times = o:note_dials()
    o:refuse(9)
    last_of(server):vanish()
    o:run(conn, 1000)
    local why = "gave up: Connection to peer.test:80 failed: connection refused"
    assert.same({ "open", CLOSED, { false, why } }, told)
    assert.same({ nil, why }, { luws.wsreceive(conn) })
    assert.equal(3, #times)
    assert.same({ false, true }, { conn.connected, conn.closing })
    assert.equal(0, w.reactor.step())
  end)

  it("does not come with a waiting wsopen, which returns its first failure", function()
    local times = o:note_dials()
    o:refuse(1)
    assert.same({ false, "Connection to peer.test:80 failed: connection refused" },
      { luws.wsopen("ws://peer.test/", nil, { reconnect = true }) })
    assert.same({ false, "not connected" }, { luws.wssend(nil, 1, "x") })
    w.clock.sleep(100)
    assert.equal(1, #times)
  end)

  it("comes at once without waiting, if trying again hardly helps and it never was open", function()
    for _, status in ipairs { "401 Unauthorized", "403 Forbidden", "404 Not Found" } do
      local server = w:server(function() return o:answering("HTTP/1.1 " .. status) end)
      local conn, told = o:open(server, { wait = false })
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
      return n > 1 and n < 6 and o:answering "HTTP/1.1 401 Unauthorized" or w:peer():echo()
    end)
    local conn, told = o:open(server)
    o:run(conn, 1)
    local times = o:note_dials()
    local logged = log.capture(function()
      last_of(server):vanish()
      o:run(conn, 1000)
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
      return n < 3 and o:answering "HTTP/1.1 502 Bad Gateway" or w:peer():echo()
    end)
    o:refuse(2)
    local times = o:note_dials()
    local conn, told = o:open(server, { wait = false })
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
      { "certificate", nil, 60 }, { "options", nil, 60 }, { "denied", nil, 60 }, { "untimely", 60, 60 },
      { "tls", 1, 1 }, { "refused", 1, 1 }, { "proxy", 1, 1 }, { "unreachable", 1, 1 },
    } do
      local failure = { kind = case[1], text = "" }
      assert.equal(case[2], backoff.delay(settings, 1, failure, false), case[1])
      assert.equal(case[3], backoff.delay(settings, 1, failure, true), case[1])
    end
  end)

  -- the proxy's URL, what it plays, why that fails, and whether trying again hardly helps
  for _, case in ipairs {
    { "http://me:secret@p", { { "\r\n\r\n", "HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n" } },
      "HTTP/1.1 407 Auth (Basic)", true },
    { "http://p", { { "\r\n\r\n", "HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n" } },
      "HTTP/1.1 407 Auth (Basic)", true },
    { "http://p", { { "\r\n\r\n", "HTTP/1.1 403 Forbidden\r\n\r\n" } }, "HTTP/1.1 403 Forbidden", true },
    { "http://p", { { "\r\n\r\n", "HTTP/1.1 405 No\r\n\r\n" } }, "HTTP/1.1 405 No", true },
    { "http://p", { { "\r\n\r\n", "HTTP/1.1 502 Bad Gateway\r\n\r\n" } }, "HTTP/1.1 502 Bad Gateway", false },
    { "http://p", { { "\r\n\r\n", "HTTP/1.1 402 Pay\r\n\r\n" } }, "HTTP/1.1 402 Pay", false },
    { "socks5h://p", { { 3, "\5\255" } }, "SOCKS5: no acceptable authentication method", true },
    { "socks5h://me:x@p", { { 4, "\5\2" }, { 6, "\1\1" } }, "SOCKS5: authentication rejected", true },
    { "socks5h://p", { { 3, "\5\0" }, { 16, "\5\2" } }, "SOCKS5: connection not allowed by ruleset (reply 2)", true },
    { "socks5h://p", { { 3, "\5\0" }, { 16, "\5\5" } }, "SOCKS5: connection refused (reply 5)", false },
    { "socks5h://p", { { 3, "\5\0" }, { 16, "\5\245" } },
      "SOCKS5: onion service client authorization wrong (reply 0xF5)", true },
    { "socks4a://me@p", { { 21, "\0\93" } }, "SOCKS4: request rejected: identd here names another user (reply 93)",
      true },
    { "socks4a://p", { { 19, "\0\91" } }, "SOCKS4: request rejected or failed (reply 91)", false },
  } do
    local proxy, steps, text, is_firm = unpack(case, 1, 4)
    it(("%s for a proxy's words: %s"):format(is_firm and "comes at once" or "does not come", text), function()
      local server = w:server(function(n) return n ~= 3 and w:peer { proxy = steps } or w:peer():echo() end)
      local conn, told = o:open(server, { proxy = proxy, wait = false })
      w.reactor.run(2)
      local why = "Proxy failed: " .. text
      assert.same(is_firm and { { false, why } } or {}, told)
      assert.equal(is_firm and 1 or 2, #server.peers)
      -- When it has been open, such failures are tried again after the longest time, and logged once.
      luws.wsclose(conn)
      server.peers = { {}, {} }
      conn, told = o:open(server, { wait = false })
      w.reactor.run(1)
      conn.options.proxy = proxy
      local times = o:note_dials()
      local logged = log.capture(function()
        last_of(server):vanish()
        w.reactor.run(182)
      end)
      assert.same({ "open", CLOSED }, told)
      if not is_firm then
        assert.equal(7, #times) -- after 1, 3, 7, 15, 31, 63 and 123 seconds
        assert.same({}, logged)
        return
      end
      assert.same({ 60, 60 }, steps_of { times[2], times[3], times[4] })
      assert.equal(1, #logged)
      assert.matches("cannot be opened: " .. why:gsub("%p", "%%%0") .. "; it is tried again and again", logged[1])
    end)
  end

  it("comes when the options have become wrong and it never was open; otherwise they may be mended", function()
    local server = o:echo_server()
    local conn, told = o:open(server)
    o:run(conn, 1)
    conn.options.fragment_size = "x"
    last_of(server):vanish()
    o:run(conn, 61)
    assert.equal(1, #server.peers)
    conn.options.fragment_size = nil
    o:run(conn, 61)
    assert.same({ "open", CLOSED, "open" }, told)
  end)
end)

describe("the function on", function()
  local server, conn, told, seen

  --- Opens a connection with this function, loses it, and has so many attempts fail.
  local function lose(on, failures, seconds, options)
    seen, server = {}, o:echo_server()
    options = options or {}
    options.reconnect = options.reconnect or {}
    options.reconnect.on = function(c, ...)
      seen[#seen + 1] = { ... }
      assert.equal(conn, c)
      return on(...)
    end
    conn, told = o:open(server, options)
    o:run(conn, 1)
    o:refuse(failures)
    last_of(server):vanish()
    o:run(conn, seconds)
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
    local times = o:note_dials()
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
    server = w:server(function(n) return n == 1 and o:answering "HTTP/1.1 401 Unauthorized" or w:peer():echo() end)
    conn, told = o:open(server, {
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
      local times = o:note_dials()
      assert.same({ false, case[2] }, { luws.wsopen("ws://peer.test/", nil, case[1]) })
      assert.same({}, times)
    end)
  end
end)
