-- The option queue: messages that are sent while there is no connection. In memory.

local log = require "spec.support.log"
local outage = require "spec.support.outage"

local CLOSED = { false, "receiver error: closed" }

local last_of = outage.last_of

local o, w, luws

before_each(function()
  o = outage.new()
  w, luws = o.world, o.luws
end)

describe("the option queue", function()
  it("keeps messages while there is no connection, and sends them after open_handler", function()
    local server = o:echo_server()
    local conn, told
    local options = { queue = 100, open_handler = function(c) luws.wssend(c, 1, "hello") end }
    conn, told = o:open(server, options)
    o:run(conn, 1)
    o:refuse(2)
    last_of(server):vanish()
    o:run(conn, 0.1)
    for i = 1, 3 do assert.is_true(luws.wssend(conn, i % 2 + 1, "kept " .. i)) end
    assert.is_true(luws.wssend(conn, 1, 42))
    assert.equal(20, conn.bufferedAmount)
    o:run(conn, 5)
    assert.is_true(luws.wssend(conn, 1, ""))
    o:run(conn, 10)
    assert.same({
      { 1, "hello" }, CLOSED, { 1, "hello" }, { 2, "kept 1" }, { 1, "kept 2" }, { 2, "kept 3" }, { 1, "42" }, { 1, "" },
    }, told)
    assert.equal(0, conn.bufferedAmount)
  end)

  it("holds so many bytes, and takes messages only", function()
    local server = o:echo_server()
    local conn = o:open(server, { queue = 10 })
    o:run(conn, 1)
    last_of(server):vanish()
    o:run(conn, 0.1)
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
    o:run(conn, 5)
    assert.same({ { 1, "12345" }, { 2, "\255" }, { 2, "1234" } }, last_of(server).events)
  end)

  it("keeps the order when a program sends before open_handler was called", function()
    local server = o:echo_server()
    local conn, told = o:open(server, { queue = 100 })
    luws.wsreceive(conn)
    last_of(server):vanish()
    w.clock.sleep(0)
    luws.wsreceive(conn)
    assert.is_true(luws.wssend(conn, 1, "first"))
    luws.wswait(conn)
    assert.is_true(conn.connected)
    assert.is_true(luws.wssend(conn, 9, "a ping need not wait"))
    assert.is_true(luws.wssend(conn, 1, "second"))
    o:wait(conn, 1)
    assert.same({ "open", CLOSED, "open", { 1, "first" }, { 1, "second" } }, told)
    assert.is_true(luws.wssend(conn, 1, "third"))
  end)

  it("holds for a connection that is opened without waiting, too", function()
    local server = o:echo_server()
    local conn, told = o:open(server, { queue = 100, wait = false, reconnect = false })
    assert.is_true(luws.wssend(conn, 1, "early"))
    w.reactor.run(1)
    assert.same({ "open", { 1, "early" } }, told)
    last_of(server):vanish()
    w.reactor.run(1)
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "late") })
  end)

  it("leaves out, and logs, a text that is not UTF-8 if validate_utf8 was turned on meanwhile", function()
    local server = o:echo_server()
    local conn = o:open(server, { queue = 100, validate_utf8 = false })
    o:run(conn, 1)
    last_of(server):vanish()
    o:run(conn, 0.1)
    assert.is_true(luws.wssend(conn, 1, "\255"))
    assert.is_true(luws.wssend(conn, 1, "second"))
    conn.options.validate_utf8 = true
    local logged = log.capture(function()
      for _ = 1, 20 do -- not the reactor, which would never rest if this failed
        luws.wswait(conn, 1)
        luws.wsreceive(conn)
      end
    end)
    assert.same({ { 1, "second" } }, last_of(server).events)
    assert.equal(0, conn.bufferedAmount)
    assert.equal(1, #logged)
    assert.matches("a message of its queue cannot be sent: .*must be valid UTF%-8", logged[1])
  end)

  it("is dropped by wsclose, and by giving up", function()
    for _, attempts in ipairs { 1, 100 } do
      local server = o:echo_server()
      local conn = o:open(server, { queue = 100, reconnect = { attempts = attempts } })
      o:run(conn, 1)
      o:refuse(1)
      last_of(server):vanish()
      o:run(conn, 0.1)
      assert.is_true(luws.wssend(conn, 1, "x"))
      if attempts == 1 then o:run(conn, 10) else luws.wsclose(conn) end
      assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "x") })
      assert.equal(0, conn.bufferedAmount)
    end
  end)
end)
