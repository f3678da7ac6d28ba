-- Connections that nobody waits for: wsopen { wait = false }, and the open_handler. In memory. reactor_spec.lua has the
-- reactor, and driven_spec.lua what it does with a connection from then on.

local log = require "spec.support.log"
local world = require "spec.support.world"
local unpack = require "spec.support.compat".unpack

local w, reactor, luws

before_each(function()
  w = world.new()
  reactor, luws = w.reactor, w.luws
end)

local function open(...) return w:open_later(...) end

describe("wsopen { wait = false }", function()
  it("returns a connection that is not connected, and tells when it is", function()
    local peer = w:peer():echo()
    local conn, told = open(peer)
    assert.same({ false, false, 0 }, { conn.connected, conn.closing, conn.bufferedAmount })
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "early") })
    assert.same({ false, "not connected" }, { luws.wsflush(conn) })
    assert.same({ nil, "not connected" }, { luws.wshandleincoming("\129\0", conn) })
    assert.same({}, told)
    repeat until reactor.step(1) == 0
    assert.same({ "open" }, told)
    assert.is_true(conn.connected)
    assert.is_true(luws.wssend(conn, 1, "Hello"))
    repeat until reactor.step(1) == 0
    assert.same({ "open", { 1, "Hello" } }, told)
  end)

  it("notes how long each step takes, and how far it comes", function()
    local conn = open(w:peer():echo())
    assert.same({}, conn.timings)
    w.clock.sleep(2) -- nobody drives it meanwhile
    repeat until reactor.step(1) == 0
    assert.same({ 2, 0, 0 }, { conn.timings.lookup, conn.timings.connect, conn.timings.upgrade })
    assert.is_nil(conn.timings.tls)
    local peer = w:peer { plain = true }
    function peer:take_in()
      if not self.has_refused then self:raw "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n" end
      self.has_refused = true
    end
    conn = open(peer)
    reactor.run(60)
    assert.equal(403, conn.response.status)
    assert.is_nil(conn.timings.upgrade)
    assert.is_truthy(conn.timings.connect)
  end)

  it("goes on if the name is looked up just before that is waited for", function()
    w.answers_late = true
    local conn = open(w:peer():echo(), { connect_timeout = 1000 })
    repeat until reactor.step(1) == 0
    assert.is_true(conn.connected)
  end)

  it("needs no reactor: wsreceive goes on with it", function()
    local conn, told = open(w:peer():echo())
    for _ = 1, 10 do
      assert.same({ false, 0 }, { luws.wsreceive(conn) })
      if conn.connected then break end
      w.clock.sleep(0.1)
    end
    luws.wsreceive(conn)
    assert.same({ "open" }, told)
  end)

  it("can be waited for by wswait", function()
    local conn, told = open(w:peer():echo())
    assert.is_true(luws.wswait(conn))
    assert.same({}, told) -- that is for wsreceive and the reactor
    assert.is_true(conn.connected)
    reactor.step(0)
    assert.same({ "open" }, told)
    conn = open(w:peer { plain = true }, { upgrade_timeout = 5 })
    assert.is_false(luws.wswait(conn, 2))
    assert.is_true(luws.wswait(conn, 4))
    assert.same({ nil, "upgrade failed; timeout" }, { luws.wsreceive(conn) })
  end)

  it("tells of being open before the messages that came with it", function()
    local peer = w:peer()
    function peer:on_request()
      local response = self:accept(true)
      self:raw(response .. "\129\5first\136\2\3\232")
    end
    local _, told = open(peer)
    reactor.run(5)
    assert.same({ "open", { 1, "first" }, { false, "receiver error: closed" } }, told)
  end)

  -- what the peer does; the text; the second at which it is told
  for _, case in ipairs {
    { "answers with a refusal", function(peer) peer:raw("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno") end,
      "upgrade failed; HTTP/1.1 403 No", 0 },
    { "ends at once", function(peer) peer:finish() end,
      "upgrade failed; the peer closed the connection (is it wss?)", 0 },
    { "says nothing", function() end, "upgrade failed; timeout", 5 },
  } do
    local what, act, text, second = unpack(case)
    it("tells the handler what wsopen would have returned if the peer " .. what, function()
      for _, how in ipairs { "by the reactor", "by polling" } do
        w = world.new()
        reactor, luws = w.reactor, w.luws
        local peer = w:peer { plain = true }
        local acted = false
        peer.take_in = function(self)
          if not acted then act(self) end
          acted = true
        end
        local conn, told = open(peer)
        assert.same({}, told)
        local result
        if how == "by the reactor" then
          reactor.run(60)
        else
          repeat
            result = { luws.wsreceive(conn) }
            w.clock.sleep(0.125)
          until result[1] == nil
          assert.same({ nil, text }, result)
        end
        assert.same({ { false, text } }, told)
        assert.is_true(math.abs(w.clock.now() - second) <= 0.125, w.clock.now())
        assert.same({ nil, text }, { luws.wsreceive(conn) })
        assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "late") })
        assert.same({ false, true, 1006, false }, { conn.connected, conn.closing, conn.close_code, conn.was_clean })
        if text:find "403" then assert.same({ 403, "no" }, { conn.response.status, conn.response.body }) end
        reactor.run(5)
        assert.same({ { false, text } }, told) -- once
      end
    end)
  end

  it("is cancelled by wsclose, and nobody is told", function()
    for steps = 0, 3 do
      local conn, told = open(w:peer())
      for _ = 1, steps do reactor.step(0) end
      if not conn.connected then
        luws.wsclose(conn)
        assert.same({ nil, "not connected" }, { luws.wsreceive(conn) })
        assert.same({ false, true }, { conn.connected, conn.closing })
        reactor.run(5)
        assert.same({}, told)
        assert.equal(0, reactor.step()) -- nothing is left of it
      end
    end
  end)

  it("still refuses wrong options at once", function()
    for _, case in ipairs {
      { { wait = 1 }, "bad option 'wait' (true, false or 'yield' expected, got number)" },
      { { wait = "no" }, "bad option 'wait' (true, false or 'yield' expected, got 'no')" },
      { { wait = false, open_handler = 1 }, "bad option 'open_handler' (function expected, got number)" },
      { { wait = false, connecting_limit = -1 },
        "bad option 'connecting_limit' (whole number from 0 up expected, got -1)" },
      { { wait = false, subprotocols = { "a b" } }, "bad option 'subprotocols' (an element is not a token)" },
      { { wait = "yield" }, "bad option 'wait' ('yield' is for coroutines)" },
    } do
      assert.same({ false, case[2] }, { luws.wsopen("ws://peer.test/", nil, case[1]) })
    end
    assert.equal(0, reactor.step())
  end)

  it("refuses to yield where PUC Lua 5.1 cannot, and leaves nothing behind", function()
    local conn, why
    w.next_peer = w:peer()
    local thread = coroutine.create(function()
      local _
      _, conn, why = pcall(luws.wsopen, "ws://peer.test/", nil, { wait = "yield" })
    end)
    assert(coroutine.resume(thread))
    if rawget(_G, "jit") or _VERSION ~= "Lua 5.1" then
      assert.equal("suspended", coroutine.status(thread)) -- it yields to whoever steps the reactor
      reactor.run(1)
      assert.is_true(conn.connected)
      luws.wsclose(conn)
    else
      assert.same({ false, "bad option 'wait' ('yield' cannot cross pcall in Lua 5.1)" }, { conn, why })
    end
    reactor.run(1)
    assert.equal(0, reactor.step())
  end)

  it("tells what a connect function raises or returns, and does not raise it", function()
    for _, case in ipairs {
      { function() error("no luck", 0) end, "no luck" },
      { function() return nil, "no route" end, "no route" },
      { function() return 5 end, "bad option 'connect' (a socket expected, got number)" },
    } do
      local conn, told = open(nil, { connect = case[1] })
      assert.same({}, told)
      reactor.run(1)
      assert.same({ { false, case[2] } }, told)
      assert.same({ nil, case[2] }, { luws.wsreceive(conn) })
    end
  end)

  local conn
  local function closing(f)
    return function(...)
      luws.wsclose(conn)
      return f(...)
    end
  end
  local function nothing() return nil, "timeout" end
  local function broken() return nil, "broken" end
  local function raising() error "on purpose" end
  local function socket(methods)
    local made = { close = function() end, settimeout = function() end, send = broken, receive = nothing }
    for name, f in pairs(methods) do made[name] = f end
    return function() return made end
  end

  for name, connect in pairs {
    ["a connect function that then raises an error"] = closing(raising),
    ["a connect function that then returns no socket"] = closing(broken),
    ["a connect function that then returns something else"] = closing(function() return 5 end),
    ["a socket's send, which then fails"] = socket { send = closing(broken) },
    ["a socket's send, which then raises an error"] = socket { send = closing(raising) },
    ["a socket's receive, which then fails"] = socket { receive = closing(broken) },
  } do
    it("tells nothing more once it was closed by " .. name, function()
      for _, reconnect in ipairs { true, false } do
        local told
        conn, told = open(nil, { connect = connect, reconnect = reconnect })
        reactor.run(1000)
        assert.same({}, told)
        assert.same({ nil, "not connected" }, { luws.wsreceive(conn) })
      end
    end)
  end
end)

describe("open_handler", function()
  it("is called by the first wsreceive after a wsopen that waits, before any message", function()
    local peer = w:peer()
    function peer:on_request() self:raw(self:accept(true) .. "\129\5first") end
    local told = {}
    w.next_peer = peer
    local conn = luws.wsopen("ws://peer.test/", function(_, _, data) told[#told + 1] = data end,
      { open_handler = function(c) told[#told + 1] = tostring(c.connected) end })
    assert.same({}, told)
    luws.wsreceive(conn)
    assert.same({ "true", "first" }, told)
  end)

  it("is the one that wsopen was given, whatever the option is changed to", function()
    local told = {}
    local function note(what) return function() told[#told + 1] = what end end
    w.next_peer = w:peer()
    local conn = luws.wsopen("ws://peer.test/", nil, { open_handler = note "given" })
    conn.options.open_handler = note "changed"
    luws.wsreceive(conn)
    conn.options.open_handler = nil
    luws.wsreceive(conn)
    assert.same({ "given" }, told)
  end)

  it("may raise an error, or close the connection", function()
    local peer = w:peer()
    function peer:on_request() self:raw(self:accept(true) .. "\129\5first") end
    local told = {}
    w.next_peer = peer
    local lines = log.capture(function()
      luws.wsopen("ws://peer.test/", function(_, ...) told[#told + 1] = { ... } end, {
        wait = false,
        open_handler = function(conn)
          luws.wsclose(conn)
          error "on purpose"
        end,
      })
      reactor.run(5)
    end)
    assert.same({}, told)
    assert.equal(1, #lines)
    assert.matches("^luws: the open_handler of luws%-websock%[peer.test:80%] raised an error: .*on purpose", lines[1])
  end)
end)
