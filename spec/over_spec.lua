-- What tells a program that nothing is left of a connection, and how much of what it has sent has not left:
-- close_handler, bufferedPayload, and the reactor's steps.

local logs = require "spec.support.log"
local memory_socket = require "spec.support.memory_socket"
local world = require "spec.support.world"

describe("close_handler", function()
  local w, called

  before_each(function()
    w = world.new()
    called = {}
  end)

  --- Opens a connection that the reactor drives. What close_handler finds in it is in `called`.
  local function open(peer, options)
    options = options or {}
    options.wait = false
    function options.close_handler(conn)
      called[#called + 1] = { conn.close_code, conn.was_clean, conn.connected, w.clock.now() }
    end
    return (w:open(peer, options))
  end

  -- what happens to a connection that is open, and what is found: code, whether it is clean, and when
  local cases = {
    { "the server closes, and ends the stream", function(_, peer)
      peer.hangs_up = true
      peer:close(4000)
    end, 4000, true, 0 },
    { "the server closes, and keeps the stream", function(_, peer) peer:close(4000) end, 4000, true, 0.5 },
    { "wsclose is answered", function(conn, peer)
      peer:answer_close().hangs_up = true
      w.luws.wsclose(conn, 3000)
    end, 3000, true, 0 },
    { "wsclose is not answered", function(conn) w.luws.wsclose(conn, 3000) end, 1006, false, 0.5 },
    { "the connection is lost", function(_, peer) peer:vanish() end, 1006, false, 0 },
    { "the server breaks a rule", function(_, peer)
      peer.hangs_up = true
      peer:raw "\255\255"
    end, 1006, false, 0 },
  }
  for _, case in ipairs(cases) do
    it("is called once if " .. case[1], function()
      local peer = w:peer()
      local conn = open(peer)
      w.reactor.step(0)
      assert.is_true(conn.connected)
      case[2](conn, peer)
      assert.same({}, called)
      w.reactor.run()
      assert.same({ { case[3], case[4], false, case[5] } }, called)
    end)
  end

  it("is called if opening fails, after the handler", function()
    w.dials = { { 1, "connection refused" } }
    open()
    w.reactor.run()
    assert.same({ { false, "Connection to peer.test:80 failed: connection refused" } }, w.told)
    assert.same({ { 1006, false, false, 1 } }, called)
  end)

  it("is called if wsclose gives up opening", function()
    local conn = open()
    w.luws.wsclose(conn)
    assert.same({}, called)
    w.reactor.run()
    assert.equal(1, #called)
  end)

  it("is not called without the reactor", function()
    local conn, peer = w:open(w:peer(), { close_handler = function() called[1] = true end })
    peer:vanish()
    w:receive_all()
    w.luws.wswait(conn, 1)
    assert.same({}, called)
  end)

  it("may raise an error, which is logged", function()
    local conn = w:open(w:peer(), { wait = false, close_handler = function() error "a mistake" end })
    w.luws.wsclose(conn)
    local lines = logs.capture(function() w.reactor.run() end)
    assert.matches("the close_handler of luws%-websock%[peer.test:80%] raised an error: .*a mistake", lines[1])
  end)

  it("must be a function", function()
    assert.same({ false, "bad option 'close_handler' (function expected, got string)" },
      { w.luws.wsopen("ws://peer.test/", print, { close_handler = "f" }) })
  end)
end)

describe("bufferedPayload", function()
  for _, place in ipairs { "luws's own socket", "a socket of the program's" } do
    local is_foreign = place ~= "luws's own socket"

    it("counts the data of messages until their last byte has left, over " .. place, function()
      local w = world.new()
      local peer = w:peer():answer_close()
      local conn = w:open(peer, { send_timeout = 0, connect = is_foreign and function()
        return memory_socket.new({}, w, peer)
      end or nil })
      assert.equal(0, conn.bufferedPayload)
      peer:pause(0)
      w.luws.wssend(conn, 1, "12345") -- 11 bytes with its frame
      w.luws.wssend(conn, 9, "ping")
      w.luws.wssend(conn, 2, ("x"):rep(1000))
      assert.equal(1005, conn.bufferedPayload)
      for _, case in ipairs { { 10, 1005 }, { 11, 1000 }, { 21 + 8 + 999, 1000 }, { 21 + 8 + 1000, 0 } } do
        peer.line.capacity = case[1]
        w.luws.wsreceive(conn)
        assert.equal(case[2], conn.bufferedPayload)
      end
    end)
  end

  it("counts data before it is compressed", function()
    local w = world.new()
    local conn, peer = w:open(w:peer { deflate = {} }, { send_timeout = 0, deflate = true })
    peer:pause(0)
    w.luws.wssend(conn, 1, ("x"):rep(5000))
    assert.is_true(conn.bufferedAmount < 100)
    assert.equal(5000, conn.bufferedPayload)
  end)

  it("counts on while the connection lingers, and keeps what has never left", function()
    local w = world.new()
    local conn, peer = w:open(w:peer(), { send_timeout = 0 })
    peer:pause(0)
    w.luws.wssend(conn, 1, "first")
    w.luws.wssend(conn, 1, "second")
    w.luws.wsclose(conn)
    assert.same({ 0, 11 }, { conn.bufferedAmount, conn.bufferedPayload })
    peer.line.capacity = 11
    w.luws.gettime()
    assert.equal(6, conn.bufferedPayload)
    w.luws.wswait(conn, 10)
    assert.equal(6, conn.bufferedPayload)
  end)

  it("counts what waits in TLS, too", function()
    local servers = require "spec.support.servers"
    local luws = require "luws"
    local conn = assert(luws.wsopen(servers.url("demo", "wss", "/echo"), print, { send_timeout = 0 }))
    local message, sent = ("x"):rep(1024 * 1024), 0
    repeat
      assert(luws.wssend(conn, 2, message))
      sent = sent + #message
    until conn.bufferedPayload > 0
    assert.equal(0, conn.bufferedPayload % #message)
    assert.is_true(conn.bufferedPayload <= sent)
    luws.wsclose(conn)
  end)
end)

describe("the reactor", function()
  it("counts its steps", function()
    local w = world.new()
    local seen = {}
    local before = w.reactor.steps()
    w.reactor.after(1, function() seen[1] = w.reactor.steps() end)
    w.reactor.after(2, function() seen[2] = w.reactor.steps() end)
    w.reactor.step(0)
    assert.equal(before + 1, w.reactor.steps())
    w.reactor.run()
    assert.is_true(before + 1 < seen[1] and seen[1] < seen[2])
  end)

  it("has a turn for a program's socket with a method watch as soon as that says so", function()
    local w = world.new()
    local peer, socket, wake = w:peer(), nil, nil
    local conn = w:open(peer, { wait = false, connect = function()
      socket = memory_socket.new({}, w, peer)
      function socket.watch(_, f) wake = f end
      return socket
    end })
    while not conn.connected do w.reactor.step(1) end
    w.reactor.step(0.01)
    local now = w.clock.now()
    peer:send(1, "news")
    wake()
    w.reactor.step(1)
    assert.same({ { { 1, "news" } }, now }, { w.told, w.clock.now() })
  end)
end)
