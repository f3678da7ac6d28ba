-- Worlds of luws.mock: faults of the network, what fails a test, and that all of it is the same each time.

local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local open = require "spec.support.mocked".open

local URL = "ws://hub.test/events"

describe("a world of luws.mock", function()
  local net

  before_each(function() net = mock.net() end)

  describe("with faults", function()
    for name, faults in pairs {
      ["short writes"] = { short_writes = 3 }, ["split reads"] = { split_reads = 1 },
      ["reads of several sizes"] = { split_reads = { 1, 7, 2 } }, ["a delay"] = { delay = 0.2, jitter = 0.5 },
      ["little bandwidth"] = { bandwidth = 1000 }, ["a slow way up"] = { up = { delay = 1 } },
      ["everything at random"] = {
        short_writes = mock.random(1, 9), split_reads = mock.random(1, 9), delay = mock.random(0, 0.5), jitter = 1,
      },
    } do
      it("of time and pieces has the same conversation: " .. name, function()
        local times = {}
        for run = 1, 2 do
          local w = mock.net { seed = 7 }
          local server = w:listen(URL, mock.echo { faults = faults })
          local conn, peer, told = open(w, server)
          local long = ("0123456789"):rep(50)
          for _, data in ipairs { "a", long, "" } do luws.wssend(conn, 1, data) end
          w:settle()
          assert.same({ { 1, "a" }, { 1, long }, { 1, "" } }, told)
          luws.wsclose(conn, 1000)
          w:settle()
          assert.is_true(peer.closed.clean)
          w:finish()
          times[run] = w:now()
        end
        assert.equal(times[1], times[2])
      end)
    end

    for _, case in ipairs {
      { { reset_after = 300 }, { { false, "receiver error: closed" } } },
      { { down = { half_close_after = 140 } }, { { false, "receiver error: closed" } } },
      { { stall_after = 210 }, { { false, "message timeout" } } },
      { { down = { corrupt_at = 140 } }, { { false, "text message is not valid UTF-8" } } },
      { { drop_at = "open" }, { { false, "receiver error: closed" } } },
      { { drop_at = "closing" }, { { 1, ("x"):rep(200) }, { false, "message timeout" } } },
      { { corrupt_at = 3 }, 'upgrade failed; the answer is not HTTP: "HT\\xd4P/1.1 400 Bad Request"' },
      { { drop_at = "tcp" }, "upgrade failed; the peer closed the connection (is it wss?)" },
      { { drop_at = "upgrade" }, "upgrade failed; the peer closed the connection (is it wss?)" },
    } do
      local faults, expected = case[1], case[2]
      local name, value = next(faults)
      if type(value) == "table" then name, value = next(value) end
      it(("that end it, ends it: %s = %s"):format(name, value), function()
        net:listen(URL, mock.echo { faults = faults })
        local told = {}
        local conn, why = luws.wsopen(URL, function(_, ...) told[#told + 1] = { ... } end,
          net:options { receive_timeout = 20 })
        if not conn then return assert.equal(expected, why) end
        luws.wssend(conn, 1, ("x"):rep(200))
        net:advance(30)
        assert.same(expected, told)
        luws.wsclose(conn)
        net:advance(30)
      end)
    end

    it("of the test's own making", function()
      local server = net:listen(URL)
      local conn, peer, told = open(net, server)
      peer:raw "\129\1"
      peer:raw "x"
      net:run()
      peer:pause()
      luws.wssend(conn, 1, "waits")
      net:run()
      assert.same({}, peer:received())
      peer:resume()
      net:run()
      assert.same({ "waits" }, peer:received())
      peer:half_close()
      net:run()
      assert.same({ { 1, "x" }, { false, "receiver error: closed" } }, told)
      for _, name in ipairs { "drop", "reset" } do
        local other, another, ends = open(net, server)
        another[name](another)
        net:run()
        assert.same({ { false, "receiver error: closed" } }, ends)
        assert.same({ code = 1006, reason = "", clean = false }, another.closed)
        luws.wsclose(other)
      end
    end)
  end)

  describe("fails a test", function()
    local server, conn, peer

    before_each(function()
      server = net:listen(URL)
      conn, peer = open(net, server)
    end)

    local function said(...)
      for _, text in ipairs { ... } do luws.wssend(conn, 1, text) end
    end

    it("when messages differ from those expected", function()
      said("one", "two", "three", "four")
      net:run()
      peer:expect("one", { pattern = "^t" }, function(data, kind) return data == "three" and kind == "text" end)
      assert.has_error(function() peer:expect "fear" end,
        'message 4 to ws://hub.test/events: expected "fear"\n     got "four"\n  they differ from byte 2 on')
      peer:expect("five", function() return false, "is too late" end)
      said "fife"
      local ok, err = pcall(net.run, net)
      assert.is_false(ok)
      assert.matches('expected "five"\n     got "fife"\n  they differ from byte 3 on', err, 1, true)
      said "six"
      ok, err = pcall(net.run, net)
      assert.is_false(ok)
      assert.matches('message 6 to ws://hub.test/events: got "six", which is too late', err, 1, true)
      assert.error_matches(function() peer:expect(5) end, "bad argument #1 to 'expect'", 1, true)
    end)

    it("in finish, for what is open, and for handlers that raised errors", function()
      peer:expect("one", "two")
      said "one"
      server:on("message", function() error "the test's own" end)
      log.start()
      luws.wsopen(URL, function() error "oh" end, net:options())
      server:accept():send "x"
      log.stop()
      local ok, err = pcall(net.finish, net)
      assert.is_false(ok)
      assert.matches("the peer at ws://hub.test/events: more messages are expected: 1", err, 1, true)
      assert.matches("the peer at ws://hub.test/events: the connection is still open", err, 1, true)
      assert.matches("the test's own", err, 1, true)
      net:finish() -- it is said once
    end)

    it("with the name of whoever does not come to rest", function()
      for _, case in ipairs {
        { "a timer set at spec/mock/[a-z]+_spec.lua:%d+", function(w)
          local function again() w:after(0, again) end
          again()
          w:run()
        end },
        { "the peer at ws://hub.test/events", function(w)
          local echo = w:listen(URL, mock.echo())
          local one = luws.wsopen(URL, function(c, opcode, data)
            if opcode then luws.wssend(c, opcode, data) end
          end, w:options())
          luws.wssend(one, 1, "to and fro")
          w:run()
          return echo
        end },
        { "the program at spec/mock/[a-z]+_spec.lua:%d+", function(w)
          while w.luws.gettime() < 1800000000 do end -- luacheck: ignore
        end },
        { "the program at spec/mock/[a-z]+_spec.lua:%d+", function(w)
          w:listen(URL)
          local one = w.luws.wsopen(URL)
          repeat local more = w.luws.wsreceive(one) until more
        end },
      } do
        local w = mock.net { limit = 3000 }
        local ok, err = pcall(case[2], w)
        assert.is_false(ok)
        assert.matches("this world does not come to rest: %d+ turns at one moment, at 0 s; it is " .. case[1]
          .. " that goes on and on", err)
        assert.is_false((pcall(w.finish, w))) -- the world is over
      end
    end)

    it("that runs the world from a handler", function()
      local why
      luws.wsopen(URL, function() why = select(2, pcall(net.run, net)) end, net:options())
      server:accept():send "x"
      net:run()
      assert.matches("this world is running already: a handler must not run it", why, 1, true)
    end)
  end)

  it("has the same bytes each time", function()
    local function bytes(seed)
      local w = mock.net { seed = seed }
      local server, seen = w:listen(URL), {}
      local attach = w.attach
      function w.attach(...)
        local near = attach(...)
        local send = near.send
        function near.send(line, data)
          seen[#seen + 1] = data
          return send(line, data)
        end
        return near
      end
      local conn = open(w, server)
      for i = 1, 5 do luws.wssend(conn, 2, ("x"):rep(i)) end
      luws.wsclose(conn)
      w:settle()
      return table.concat(seen)
    end
    assert.equal(bytes(1), bytes(1))
    assert.are_not.equal(bytes(1), bytes(2))
  end)
end)
