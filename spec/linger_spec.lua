-- After wsclose, or after any other end, a connection lingers in the module until the peer has answered and ended the
-- stream. The program does not wait for that.

local child = require "spec.support.child"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local socket = require "socket"
local sockets = require "spec.support.sockets"
local world = require "spec.support.world"

describe("after wsclose a connection", function()
  local w, conn, peer

  before_each(function()
    w = world.new()
    conn, peer = w:open()
  end)

  local function final() return { conn.close_code, conn.close_reason, conn.was_clean } end

  --- Returns the opcodes of the frames that the peer received.
  local function got()
    local opcodes = {}
    for i, event in ipairs(peer.events) do opcodes[i] = event[1] end
    return opcodes
  end

  it("is over for its program at once, whatever the peer does", function()
    local before = w.clock.now()
    w.luws.wsclose(conn, 4000, "enough")
    assert.equal(before, w.clock.now())
    assert.same({ false, true, -1 }, { conn.connected, conn.closing, conn:getfd() })
    assert.same({ nil, "not connected" }, { w.luws.wsreceive(conn) })
    assert.same({ false, "not connected" }, { w.luws.wssend(conn, 1, "x") })
    assert.same({ 1006, "", false }, final())
    assert.same({ 4000, "enough" }, { conn.close_code_sent, conn.close_reason_sent })
    assert.same({}, w.told)
  end)

  it("learns the peer's answer without calling a handler", function()
    peer:answer_close()
    w.luws.wsclose(conn, 4000)
    peer.on_event = nil
    assert.is_true(w.luws.wswait(conn, 5))
    assert.same({ 4000, "", true }, final())
    assert.same({}, w.told)
  end)

  -- RFC 6455 section 7.1.1: an end by the closing handshake, and not by a lost connection.
  it("sends what is queued, then its close frame, then ends the stream", function()
    peer.line.capacity = 100
    conn.options.send_timeout = 0
    assert.is_true(w.luws.wssend(conn, 2, ("x"):rep(1000)))
    w.luws.wsclose(conn)
    assert.is_true(conn.connected == false and #peer.events == 0)
    peer:answer_close()
    assert.is_true(w.luws.wswait(conn, 5))
    assert.same({ 2, 8 }, got())
    assert.same({ 2, ("x"):rep(1000) }, peer.events[1])
    assert.same({ "closed", true }, { peer.line.finished, conn.was_clean })
  end)

  it("waits for a silent peer as long as close_timeout, and only while luws is called", function()
    w.luws.wsclose(conn)
    w.clock.sleep(0.49)
    w.luws.gettime()
    assert.is_nil(peer.line.finished)
    w.clock.sleep(0.02)
    assert.is_nil(peer.line.finished)
    w.luws.gettime()
    assert.equal("closed", peer.line.finished)
    assert.same({ 1006, "", false }, final())
  end)

  it("does not linger any longer for a peer that goes on sending", function()
    w.luws.wsclose(conn)
    for _ = 1, 5 do
      peer:raw(("\138\0"):rep(32000)) -- more events than a few steps discard
      w.clock.sleep(0.101)
      assert.is_nil(peer.line.finished)
      w.luws.gettime()
    end
    assert.equal("closed", peer.line.finished)
  end)

  it("does not wait at all with a close_timeout of 0", function()
    conn.options.close_timeout = 0
    w.luws.wsclose(conn)
    assert.equal("closed", peer.line.finished)
    assert.same({ 8 }, (function()
      peer:advance()
      return got()
    end)())
  end)

  it("can be waited for: wswait says whether it has ended by then", function()
    w.luws.wsclose(conn)
    local before = w.clock.now()
    assert.is_false(w.luws.wswait(conn, 0.2))
    assert.is_true(math.abs(w.clock.now() - before - 0.2) < 1e-9)
    assert.is_true(w.luws.wswait(conn, 5))
    assert.is_true(math.abs(w.clock.now() - before - 0.5) < 1e-9)
    assert.is_true(w.luws.wswait(conn)) -- nothing is left to wait for
    assert.is_true(math.abs(w.clock.now() - before - 0.5) < 1e-9)
  end)

  it("also lingers if its program has dropped it", function()
    peer.line.capacity = 0
    w.luws.wsclose(conn)
    conn, w.conn = nil, nil
    collectgarbage()
    collectgarbage()
    peer.line.capacity = math.huge
    w.luws.gettime()
    peer:advance()
    assert.same({ 8 }, got())
  end)

  it("answers the peer's close frame, and waits for the peer to end the stream", function()
    peer:close(4001, "so long")
    assert.same({ nil, "closed" }, { w.luws.wsreceive(conn) })
    assert.same({ { false, "receiver error: closed" } }, w.told)
    assert.same({ 4001, "so long", true }, final())
    w.luws.gettime()
    assert.equal("closed", peer.line.finished) -- our end of the stream
    assert.is_nil(peer.line.broken) -- but the peer can still send, although nobody reads it
    peer:finish()
    w.luws.gettime()
    assert.equal("closed", peer.line.broken)
  end)

  it("gives a peer that has broken a rule time to read why, even if it keeps sending", function()
    peer.on_event = function(_, event) if event == 8 then peer:raw(("\129\1x"):rep(1000)) end end
    peer:raw "\131\0"
    assert.same({ nil, "reserved opcode 3" }, { w.luws.wsreceive(conn) })
    assert.same({ 1006, "", false, 1002, "reserved opcode 3" },
      { conn.close_code, conn.close_reason, conn.was_clean, conn.close_code_sent, conn.close_reason_sent })
    w.luws.gettime()
    assert.same({ 8 }, got())
    assert.is_nil(peer.line.broken)
    w.clock.sleep(1)
    w.luws.gettime()
    assert.equal("closed", peer.line.broken)
    assert.same({ { false, "reserved opcode 3" } }, w.told)
  end)

  it("finds the peer's close frame after any number of messages", function()
    conn.options.close_timeout = 30
    for _ = 1, 10000 do peer:send(1, "x") end
    peer:close(4001)
    peer:finish()
    w.luws.wsclose(conn)
    local before = w.clock.now()
    assert.is_true(w.luws.wswait(conn))
    assert.same({ before, 4001, true }, { w.clock.now(), conn.close_code, conn.was_clean })
  end)

  it("is closed even if its options can no longer be read", function()
    setmetatable(conn.options, { __index = function() error "no" end })
    w.luws.wsclose(conn)
    assert.is_false(conn.connected)
    assert.is_false(w.luws.wswait(conn, 0.4))
    assert.is_true(w.luws.wswait(conn, 0.2)) -- close_timeout as it was
  end)

  it("may be closed again in every phase, and keeps what it has learned", function()
    peer:answer_close()
    for _ = 1, 3 do w.luws.wsclose(conn, 4000) end
    assert.is_true(w.luws.wswait(conn, 5))
    w.luws.wsclose(conn, 4001)
    assert.same({ 4000, "", true }, final())
  end)
end)

describe("a connection that lingers after wsclose", function()
  local w

  before_each(function() w = world.new() end)

  --- Returns a connection that we have closed. The peer answers and ends only when it next runs, so it has not yet.
  local function closed()
    local peer = w:peer()
    function peer:on_event()
      self:close(4001, "bye")
      self:finish()
    end
    local conn = w:open(peer)
    w.luws.wsclose(conn)
    assert.same({ 1006, "", false }, { conn.close_code, conn.close_reason, conn.was_clean })
    return conn
  end

  for name, call in pairs {
    gettime = function(m) m.gettime() end,
    sleep = function(m) m.sleep(0) end,
    wsopen = function(m) assert.is_false(m.wsopen("ws://x/", 1)) end,
    wssend = function(m) assert.is_false(m.wssend(nil, 1, "x")) end,
    wsreceive = function(m) assert.is_nil(m.wsreceive()) end,
    wswait = function(m) assert.is_true(m.wswait()) end,
    wsclose = function(m) m.wsclose() end,
    wsreset = function(m) m.wsreset() end,
    wslastping = function(m) assert.equal(0, m.wslastping()) end,
    wshandleincoming = function(m) assert.is_nil(m.wshandleincoming("x")) end,
  } do
    it("is moved on by " .. name, function()
      local conn = closed()
      for _ = 1, 2 do call(w.luws) end -- one for the answer, one for the end of the stream
      assert.same({ 4001, "bye", true }, { conn.close_code, conn.close_reason, conn.was_clean })
    end)
  end

  -- That moment is not the same in each run, so what happens would not be, either.
  it("is not moved on by the collector in a world in memory", function()
    local conn = closed()
    for _ = 1, 4 do collectgarbage() end
    assert.same({ 1006, "", false }, { conn.close_code, conn.close_reason, conn.was_clean })
  end)

  it("is abandoned after close_timeout, which is 0.5 s by default", function()
    for timeout, expected in pairs { [0.5] = false, [3] = 3 } do
      local conn, peer = w:open(w:peer(), { close_timeout = expected or nil })
      local began = w.clock.now()
      w.luws.wsclose(conn)
      assert.is_false(w.luws.wswait(conn, timeout - 0.125))
      assert.is_true(w.luws.wswait(conn))
      assert.equal(timeout, w.clock.now() - began)
      assert.same({ 1006, "", false }, { conn.close_code, conn.close_reason, conn.was_clean })
      assert.equal("closed", peer.line.finished)
    end
  end)

  it("is abandoned for the next one if it is the oldest of 64 that linger", function()
    local conns, peers = {}, {}
    for i = 1, 66 do
      conns[i], peers[i] = w:open(w:peer(), { close_timeout = 1000 })
      w.luws.wsclose(conns[i])
    end
    for i, conn in ipairs(conns) do
      assert.equal(i <= 2, w.luws.wswait(conn, 0))
      assert.equal(i <= 2 and "closed" or nil, peers[i].line.finished)
    end
  end)

  it("is not abandoned when an older one that has ended is collected", function()
    do
      local older = w:open(w:peer():answer_close())
      w.luws.wsclose(older)
      assert.is_true(w.luws.wswait(older))
    end
    local conn = w:open(w:peer(), { close_timeout = 1000 })
    w.luws.wsclose(conn)
    w.conn = nil
    for _ = 1, 2 do collectgarbage() end
    assert.is_false(w.luws.wswait(conn, 0))
  end)
end)

describe("over real sockets", function()
  for _, tls in ipairs { false, true } do
    local scheme = tls and "wss" or "ws"

    it("a peer that is still sending is read to its close frame, while the collector runs: " .. scheme, function()
      local frame = scripted.frame { opcode = 2, payload = ("x"):rep(2000) }
      local close = scripted.frame { opcode = 8, payload = scripted.close_payload(4001) }
      local peer = scripted.peer {
        tls = tls, { "upgrade" }, { "send", frame, times = 300 }, { "read_frame" }, { "send", frame, times = 300 },
        { "send", close }, { "read_to_eof" },
      }
      finally(function() peer:close() end)
      local conn = assert(luws.wsopen(peer.url, nil, { close_timeout = 10 }))
      luws.wsclose(conn)
      repeat
        for _ = 1, 100 do collectgarbage("step", 1) end -- its finaliser moves on what lingers, too
      until luws.wswait(conn, 0.001)
      assert.same({ 4001, true }, { conn.close_code, conn.was_clean })
      assert.is_truthy(peer:result().eof)
    end)

    it("the collector moves on what lingers if luws is no longer called: " .. scheme, function()
      local answers = scripted.peer {
        tls = tls, { "upgrade" }, { "read_frame" },
        { "send", scripted.frame { opcode = 8, payload = scripted.close_payload(4001) } }, { "read_to_eof" },
      }
      local silent = scripted.peer { tls = tls, { "upgrade" }, { "read_frame" }, { "read_to_eof" } }
      finally(function()
        answers:close()
        silent:close()
      end)
      local before = sockets.count()
      local conn = assert(luws.wsopen(answers.url, nil, { close_timeout = 10 }))
      local other = assert(luws.wsopen(silent.url, nil, { close_timeout = 0.05 }))
      luws.wsclose(conn)
      luws.wsclose(other)
      local deadline = socket.gettime() + 10
      repeat until sockets.count() <= before or socket.gettime() > deadline -- counting collects
      assert.same({ 4001, true, 1006, false },
        { conn.close_code, conn.was_clean, other.close_code, other.was_clean })
      assert.is_truthy(answers:result().eof)
      assert.is_truthy(silent:result().eof)
    end)

    it("sixty connections to a peer that answers no close frame leave no descriptor: " .. scheme, function()
      local peer = scripted.peer { tls = tls, { "upgrade" }, { "hold" } }
      finally(function() peer:close() end)
      local before = sockets.count()
      local conns = {}
      for i = 1, 60 do
        conns[i] = assert(luws.wsopen(peer.url, nil, { close_timeout = 0.5 }))
        luws.wsclose(conns[i])
      end
      -- Waiting for each of them would have taken half a minute.
      assert.is_true(luws.wswait(conns[60], 10))
      sockets.assert_at_most(before)
    end)

    -- A program that ends right after wsclose has still sent what was queued.
    it("bytes queued when the Lua state is closed reach a peer that reads them: " .. scheme, function()
      local size = 6 * 1024 * 1024 -- more than the buffers of both sockets hold
      local peer = scripted.peer { tls = tls, receive_buffer = 65536, { "upgrade" }, { "wait" }, { "read_frame", 2 } }
      finally(function() peer:close() end)
      local ends = child.start {
        input = [[
          local luws, url = require "luws", ...
          local conn = assert(luws.wsopen(url, nil, { send_timeout = 0, close_timeout = 10 }))
          print(luws.wssend(conn, 2, ("x"):rep(6 * 1024 * 1024)))
          luws.wsclose(conn)
        ]],
        peer.url,
      }
      peer:at(2)
      peer:go()
      local output, status = ends()
      assert.matches("true\n$", output)
      assert.equal(0, status)
      local frames = peer:result().frames
      assert.same({ 2, size, 8 }, { frames[1].opcode, #frames[1].payload, frames[2].opcode })
    end)

    it("a finaliser may call wsclose when the Lua state is closed: " .. scheme, function()
      local peer = scripted.peer { tls = tls, receive_buffer = 65536, { "upgrade" }, { "wait" }, { "read_frame", 2 } }
      finally(function() peer:close() end)
      local ends = child.start {
        input = [[
          local luws, url = require "luws", ...
          local conn = assert(luws.wsopen(url, nil, { send_timeout = 0, close_timeout = 10 }))
          luws.wssend(conn, 2, ("x"):rep(6 * 1024 * 1024))
          PROXY = newproxy(true)
          getmetatable(PROXY).__gc = function() luws.wsclose(conn, 4001) end
        ]],
        peer.url,
      }
      peer:at(2)
      peer:go()
      local _, status = ends()
      assert.equal(0, status)
      local frames = peer:result().frames
      assert.same({ 6 * 1024 * 1024, scripted.close_payload(4001) }, { #frames[1].payload, frames[2].payload })
    end)

    it("closing a Lua state waits no longer than close_timeout for all lingering connections: " .. scheme, function()
      local peer = scripted.peer { tls = tls, receive_buffer = 65536, { "upgrade" }, { "wait" } }
      finally(function() peer:close() end)
      local output, status = child.program([[
        local luws, url = require "luws", ...
        local first
        local proxy = newproxy(true) -- older than all lingering connections, so its finaliser runs last
        getmetatable(proxy).__gc = function()
          local took = os.time() - first
          io.write(took < 4 and "soon" or took, "\n") -- one after the other would take 6 seconds
        end
        for _ = 1, 12 do
          local conn = assert(luws.wsopen(url, nil, { send_timeout = 0, close_timeout = 0.5 }))
          luws.wssend(conn, 2, ("x"):rep(6 * 1024 * 1024))
          luws.wsclose(conn)
        end
        X = proxy
        first = luws.gettime()
      ]], peer.url)
      assert.matches("soon\n$", output)
      assert.equal(0, status)
    end)
  end
end)
