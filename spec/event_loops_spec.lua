-- Connections in the event loops that programs really run: cqueues' controller and copas's dispatcher. A thread that
-- waits there must be woken at once by incoming data, and by nothing else; no polling interval is involved.
--
-- Both loops get the same tests where both support the feature. The methods that loops call are in loop_spec.lua, and
-- copas_loop.lua, as a user runs it, is in examples_spec.lua.

local copas = require "copas" -- before anything that loads LuaSocket's own http
local cqueues = require "cqueues"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local PATIENCE = 10 -- seconds; also the longest wait of one turn of a loop, so a loop that is not woken fails

-- start, stop: called around each test. spawn(f): starts a thread in the loop, which runs until it first waits.
-- receive(conn): called in a thread, waits until something has arrived, and returns the results of wsreceive.
-- turn(seconds): runs one turn of the loop, which waits at most this long; returns whether anything arrived.
local loops = { cqueues = {}, copas = {} }

do
  local loop, controller, woken = loops.cqueues, nil, nil

  function loop.start() controller, woken = cqueues.new(), 0 end
  function loop.stop() controller:close() end

  function loop.spawn(f)
    controller:wrap(f)
    assert(controller:step(0))
  end

  function loop.spawn_later(f) controller:wrap(f) end

  function loop.receive(conn)
    assert(cqueues.poll(conn, PATIENCE) == conn, "woken by the clock")
    woken = woken + 1
    return luws.wsreceive(conn)
  end

  function loop.turn(seconds)
    -- A step may also end because of a descriptor that no thread waits for any more; the step then forgets it.
    local before, deadline, steps = woken, luws.gettime() + seconds, 0
    repeat
      assert(controller:step(math.max(0, deadline - luws.gettime())))
      steps = steps + 1
    until woken > before or steps > 1 and luws.gettime() >= deadline
    return woken > before
  end
end

do
  local loop, failed = loops.copas, nil

  function loop.start() failed = nil end -- there is one dispatcher, and it forgets connections that are over
  function loop.stop() end

  function loop.spawn(f)
    copas.addthread(function()
      copas.setErrorHandler(function(message) failed = failed or message end)
      f()
    end)
    assert(not failed, failed)
  end

  function loop.receive(conn)
    local bytes, why = copas.receive(conn)
    return bytes and true, bytes or why
  end

  function loop.turn(seconds)
    local came = copas.step(seconds)
    assert(not failed, failed)
    return came
  end
end

local conns, peers

before_each(function() conns, peers = {}, {} end)

after_each(function()
  for _, conn in ipairs(conns) do luws.wsclose(conn) end
  for _, peer in ipairs(peers) do peer:close() end
end)

--- Opens a connection to a new peer; returns both. conn.seen collects what its handler gets.
local function open(script, options)
  local peer = scripted.peer(script)
  peers[#peers + 1] = peer
  options = options or {}
  options.close_timeout = 0 -- the scripts do not answer
  options.ssl_verify, options.ssl_cafile = "peer", servers.ca_file()
  local conn = assert(luws.wsopen(peer.url, function(conn, opcode, data)
    conn.seen[#conn.seen + 1] = { opcode, data }
  end, options))
  conn.seen = {}
  conns[#conns + 1] = conn
  return conn, peer
end

for name, loop in pairs(loops) do
  for _, tls in ipairs { false, true } do
    describe(("in %s, over %s, a thread"):format(name, tls and "wss" or "ws"), function()
      before_each(loop.start)
      after_each(loop.stop)

      --- Turns the loop until the condition holds; each turn has to bring something.
      local function run(done)
        while not done() do assert.is_true(loop.turn(PATIENCE), "the loop was not woken") end
      end

      --- Turns the loop until nothing more arrives.
      local function settle()
        local deadline = luws.gettime() + PATIENCE
        while loop.turn(0) do assert.is_true(luws.gettime() < deadline, "the loop is woken by nothing") end
      end

      --- Starts a thread that receives on a connection until it ends.
      local function reader(conn)
        loop.spawn(function()
          while loop.receive(conn) ~= nil do end -- luacheck: ignore 542
        end)
        settle()
      end

      local function seen(conn, count) return function() return #conn.seen == count end end

      it("is woken by each message, even if it was already read, and never otherwise", function()
        local conn, peer = open({ tls = tls, { "upgrade", tail = "\129\5first\129\6second" }, { "wait" },
          { "send", "\129\5third" }, { "wait" }, { "send", "\130\126\39\16" .. ("x"):rep(10000) }, { "hold" } },
          { receive_chunk_size = 1000 })
        reader(conn)
        assert.same({ { 1, "first" }, { 1, "second" } }, conn.seen)
        peer:go()
        run(seen(conn, 3))
        assert.same({ 1, "third" }, conn.seen[3])
        settle()
        peer:go()
        run(seen(conn, 4))
        assert.is_true(conn.seen[4][2] == ("x"):rep(10000))
        settle()
      end)

      it("waits for its own connection, whatever arrives on another", function()
        local pair = {}
        for i = 1, 2 do
          local conn, peer = open { tls = tls, { "upgrade" }, { "wait" }, { "send", "\129\1" .. i }, { "hold" } }
          pair[i] = { conn = conn, peer = peer }
          reader(conn)
        end
        for _, i in ipairs { 2, 1 } do
          pair[i].peer:go()
          run(seen(pair[i].conn, 1))
          assert.same({ { 1, tostring(i) } }, pair[i].conn.seen)
          settle()
          assert.equal(2 - i, #pair[1].conn.seen)
        end
      end)

      it("may wait in a source and in a control_handler, for another connection", function()
        local other, gate = open { tls = tls, { "upgrade" }, { "wait" }, { "send", "\129\3two" }, { "wait" },
          { "send", "\129\4pong" }, { "hold" } }
        local function wait_for_other()
          local count = #other.seen
          repeat assert(loop.receive(other) ~= nil) until #other.seen > count
          return other.seen[#other.seen][2]
        end
        local chunks, asked, answer = { function() return "one" end, wait_for_other, function() return nil end }
        local conn, peer = open({ tls = tls, { "upgrade" }, { "read_frame", 2 }, { "send", "\137\4ping" },
          { "read_frame" }, { "hold" } }, {
          control_handler = function(_, opcode)
            asked = opcode
            answer = wait_for_other()
          end,
        })
        loop.spawn(function()
          assert(luws.wssend(conn, 1, function() return table.remove(chunks, 1)() end))
          repeat assert(loop.receive(conn) ~= nil) until answer
        end)
        settle()
        assert.equal(1, #chunks) -- so it waits in the second
        gate:go()
        run(function() return asked end)
        settle()
        assert.same({ 9, nil }, { asked, answer })
        gate:go()
        run(function() return answer end)
        assert.equal("pong", answer)
        local payload, frames = "", peer:at(5).frames
        for i = 1, #frames - 1 do payload = payload .. frames[i].payload end
        assert.equal("onetwo", payload)
        assert.same({ 10, "ping" }, { frames[#frames].opcode, frames[#frames].payload })
      end)

      it("is notified of the end, and may open the next connection at once", function()
        local told = {}
        loop.spawn(function()
          for i = 1, 3 do
            local conn = open { tls = tls, { "upgrade" }, { "wait" }, { "send", "\129\5Hello\136\2\3\232" },
              { "read_to_eof" } }
            local more, why
            repeat more, why = loop.receive(conn) until more == nil
            told[i] = { why, conn.seen }
            luws.wsclose(conn)
          end
        end)
        for i = 1, 3 do
          settle()
          assert.equal(i, #peers)
          peers[i]:go()
          run(function() return told[i] end)
          assert.same({ "closed", { { 1, "Hello" }, { false, "receiver error: closed" } } }, told[i])
        end
      end)
    end)
  end
end

for _, tls in ipairs { false, true } do
  local over = tls and " over wss" or " over ws"

  describe("cqueues.poll," .. over .. ",", function()
    before_each(loops.cqueues.start)
    after_each(loops.cqueues.stop)

    --- Runs a thread to its end.
    local function run(f)
      local ended = false
      loops.cqueues.spawn(function()
        f()
        ended = true
      end)
      while not ended do assert.is_true(loops.cqueues.turn(PATIENCE), "the loop was not woken") end
    end

    it("tells which of several connections has received something", function()
      local first = open { tls = tls, { "upgrade" }, { "hold" } }
      local second = open { tls = tls, { "upgrade" }, { "send", "\129\5Hello" }, { "hold" } }
      run(function()
        repeat
          local ready = cqueues.poll(first, second, PATIENCE)
          assert(ready == first or ready == second)
          loops.cqueues.receive(ready)
        until #second.seen > 0
      end)
      assert.same({ {}, { { 1, "Hello" } } }, { first.seen, second.seen })
    end)

    it("also waits for room while something is still to be sent", function()
      local size, header = 2 ^ 23, 14
      local conn, peer = open({ tls = tls, receive_buffer = 4096, { "upgrade" }, { "wait" }, { "read", size + header },
        { "send", "\129\2ok" }, { "hold" } }, { send_timeout = 0 })
      assert.is_true(luws.wssend(conn, 2, ("x"):rep(size)))
      assert.is_true(conn.bufferedAmount > 0)
      peer:go()
      run(function()
        repeat loops.cqueues.receive(conn) until #conn.seen > 0
      end)
      assert.same({ 0, { { 1, "ok" } } }, { conn.bufferedAmount, conn.seen })
    end)

    it("ends when receive_timeout has passed", function()
      local conn = open({ tls = tls, { "upgrade" }, { "hold" } }, { receive_timeout = 0.1 })
      run(function()
        local more, why
        repeat more, why = loops.cqueues.receive(conn) until more == nil
        assert(why == "message timeout", why)
      end)
      assert.same({ { false, "message timeout" } }, conn.seen)
    end)

    it("ends when another thread closes the connection", function()
      local conn = open { tls = tls, { "upgrade" }, { "hold" } }
      run(function()
        loops.cqueues.spawn_later(function() luws.wsclose(conn) end)
        assert(loops.cqueues.receive(conn) == nil)
      end)
    end)

    it("returns at once for a connection that is over", function()
      local conn = open { tls = tls, { "upgrade" }, { "hold" } }
      luws.wsclose(conn)
      run(function()
        for _ = 1, 3 do assert(loops.cqueues.receive(conn) == nil) end
      end)
    end)
  end)

  describe("copas" .. over, function()
    before_each(loops.copas.start)

    it("closes the connection of a thread that fails, and goes on with the others", function()
      local failing, peer = open({ tls = tls, { "upgrade" }, { "wait" }, { "send", "\129\1x" }, { "read_to_eof" } })
      local other, gate = open { tls = tls, { "upgrade" }, { "wait" }, { "send", "\129\1y" }, { "hold" } }
      local reason
      copas.addthread(function()
        copas.setErrorHandler(function(message) reason = message end)
        repeat copas.receive(failing) until #failing.seen > 0
        error("on purpose", 0)
      end)
      loops.copas.spawn(function()
        repeat copas.receivePartial(other) until #other.seen > 0
      end)
      peer:go()
      while not reason do assert.is_true(loops.copas.turn(PATIENCE)) end
      assert.equal("on purpose", reason)
      assert.is_false(failing.connected)
      local frames = peer:result().frames
      assert.same({ 8, scripted.close_payload(1000) }, { frames[1].opcode, frames[1].payload })
      gate:go()
      while #other.seen == 0 do assert.is_true(loops.copas.turn(PATIENCE)) end
    end)
  end)
end
