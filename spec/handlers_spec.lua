-- Handlers: their arguments, the calls that they may make on the connection, and how their errors are handled.

local compat = require "spec.support.compat"
local module = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local world = require "spec.support.world"

local CLOSED = "receiver error: closed"

describe("handlers", function()
  local luws, peer, conn, logged

  local function open(steps, handler, options)
    local script = { { "upgrade" } }
    for _, step in ipairs(steps) do script[#script + 1] = step end
    peer = scripted.peer(script)
    options = options or {}
    options.close_timeout = 0
    conn = assert(luws.wsopen(peer.url, handler, options))
    return conn
  end

  before_each(function()
    luws = module.instance("handlers") -- with its own limit on errors logged per second
    logged = {}
    rawset(_G, "luup", { log = function(text, level) logged[#logged + 1] = { text, level } end })
  end)

  after_each(function()
    rawset(_G, "luup", nil)
    luws.wsclose(conn)
    if peer then peer:close() end
    conn, peer = nil, nil
  end)

  --- All handler calls, as { conn, opcode, data, ... } with the length in n.
  local function recorder()
    local calls = {}
    return calls, function(...) calls[#calls + 1] = { n = select("#", ...), ... } end
  end

  describe("are given handler_args", function()
    for name, case in pairs {
      ["in their order"] = { { "a", 2, false }, { "a", 2, false, n = 3 } },
      ["with holes"] = { { "a", nil, "c" }, { "a", nil, "c", n = 3 } },
      ["with trailing nils, if n says so"] = { { "a", nil, nil, n = 3 }, { "a", nil, nil, n = 3 } },
      ["none of them"] = { {}, { n = 0 } },
    } do
      it(name, function()
        local calls, handler = recorder()
        local control_calls, control_handler = recorder()
        open({ { "send", "\137\1p\129\2hi" }, { "hold" } }, handler,
          { handler_args = case[1], control_handler = control_handler })
        poll(luws, conn, function() return calls[1] end)
        for i, call in ipairs { control_calls[1], calls[1] } do
          assert.equal(conn, call[1])
          assert.same(i == 1 and { 9, "p" } or { 1, "hi" }, { call[2], call[3] })
          assert.equal(3 + case[2].n, call.n)
          for k = 1, case[2].n do assert.equal(case[2][k], call[3 + k]) end
        end
      end)
    end

    it("as they are at the time", function()
      local calls, handler = recorder()
      open({ { "send", "\129\1a" }, { "wait" }, { "send", "\129\1b" }, { "hold" } }, handler)
      poll(luws, conn, function() return calls[1] end)
      conn.options.handler_args = { "later" }
      peer:go()
      poll(luws, conn, function() return calls[2] end)
      assert.same({ 3, 4, "later" }, { calls[1].n, calls[2].n, calls[2][4] })
    end)
  end)

  it("may be replaced while the connection lives, also by a callable table", function()
    local first, handler = recorder()
    local second, other = recorder()
    open({ { "send", "\129\1a" }, { "wait" }, { "send", "\129\1b" }, { "hold" } }, handler)
    poll(luws, conn, function() return first[1] end)
    conn.msghandler = setmetatable({}, { __call = function(_, ...) return other(...) end })
    peer:go()
    poll(luws, conn, function() return second[1] end)
    assert.same({ 1, 1, "b" }, { #first, #second, second[1][3] })
  end)

  describe("for control frames", function()
    it("come before the default reply, which only false forbids", function()
      local returns, seen = { [1] = false, [2] = true, [3] = 0, n = 5 }, 0
      open({ { "send", "\137\0011\137\0012\137\0013\137\0014\137\0015" }, { "read_frame", 4 }, { "hold" } }, nil, {
        control_handler = function(_, opcode, data)
          assert.equal(9, opcode)
          seen = seen + 1
          if data == "5" then error("no answer of mine") end
          return returns[tonumber(data)]
        end,
      })
      poll(luws, conn, function() return seen == 5 end)
      local answered = {}
      for i, frame in ipairs(peer:at(4).frames) do
        assert.equal(10, frame.opcode)
        answered[i] = frame.payload -- the same payload, RFC 6455 section 5.5.3
      end
      assert.same({ "2", "3", "4", "5" }, answered)
    end)

    it("may yield, where the caller is in a coroutine", function()
      local resumed_with
      open({ { "send", "\137\1a\137\1b" }, { "read_frame", 2 }, { "hold" } }, nil, {
        control_handler = function(_, _, data)
          resumed_with = coroutine.yield("from " .. data)
          if data == "b" then error("after a yield") end
        end,
      })
      local yielded = {}
      local thread = coroutine.create(function()
        repeat luws.wswait(conn, 5) until luws.wsreceive(conn) == nil or #yielded == 2
      end)
      local value
      repeat
        local ok
        ok, value = coroutine.resume(thread, "resumed")
        assert.is_true(ok, value)
        yielded[#yielded + 1] = value
      until coroutine.status(thread) == "dead"
      assert.same({ "from a", "from b" }, yielded)
      assert.equal("resumed", resumed_with)
      assert.truthy(logged[1][1]:find("after a yield", 1, true))
      assert.truthy(logged[1][1]:find("handlers_spec.lua", 1, true))
      local frames = peer:at(4).frames
      assert.same({ "a", "b" }, { frames[1].payload, frames[2].payload })
    end)

    it("are called for pongs, which need no reply", function()
      local calls, handler = recorder()
      open({ { "send", "\138\1x" }, { "hold" } }, nil, { control_handler = handler })
      poll(luws, conn, function() return calls[1] end)
      assert.same({ 10, "x" }, { calls[1][2], calls[1][3] })
      assert.equal(0, conn.bufferedAmount)
    end)
  end)

  describe("errors are logged with a traceback and go no further:", function()
    for name, case in pairs {
      ["a string"] = { "it broke", "it broke" },
      ["a table"] = { {}, "table: " },
      ["a table with __tostring"] = { setmetatable({}, { __tostring = function() return "my error" end }), "my error" },
      ["a table whose __tostring fails"] = { setmetatable({}, { __tostring = function() error("x") end }), "table" },
      ["nil"] = { nil, "nil" },
      ["a number"] = { 42, "42" },
    } do
      it(name, function()
        local count = 0
        open({ { "send", "\129\1a\129\1b" }, { "hold" } }, function()
          count = count + 1
          error(case[1], 0)
        end)
        local _, more = poll(luws, conn, function() return count == 2 end)
        assert.is_false(more)
        assert.equal(2, #logged)
        assert.equal(1, logged[1][2])
        assert.truthy(logged[1][1]:find(case[2], 1, true), logged[1][1])
        assert.truthy(logged[1][1]:find("handlers_spec.lua", 1, true), logged[1][1])
      end)
    end

    it("the end is still handled", function()
      open({ { "send", "\136\2\3\232" }, { "read_frame" } }, function() error("it broke") end)
      local _, more, why = poll(luws, conn)
      assert.same({ nil, "closed" }, { more, why })
      assert.is_true(conn.was_clean)
      assert.equal(1, #logged)
    end)
  end)

  describe("that raise many errors have ten of them logged per second, and the others counted:", function()
    local w, other_peer

    before_each(function()
      w = world.new()
      other_peer = w:peer()
      w:open(other_peer, nil, function() error("it broke", 0) end)
    end)

    --- Makes this many messages arrive, each of which raises an error.
    local function fail(count)
      for _ = 1, count do other_peer:send(1, "x") end
      w:receive_all()
    end

    local function is_traceback(line)
      local beginning = "luws: the handler of luws-websock[peer.test:80] raised an error: it broke\nstack traceback:\n"
      return line[1]:sub(1, #beginning) == beginning
    end

    it("the count comes with the next error after that second", function()
      fail(12)
      assert.equal(10, #logged)
      w.luws.sleep(0.5)
      fail(1)
      assert.equal(10, #logged)
      w.luws.sleep(0.5)
      fail(10)
      assert.same({ "luws: handlers raised more errors: 3 (at most 10 are logged in a second)", 1 }, logged[11])
      table.remove(logged, 11)
      assert.equal(20, #logged)
      for _, line in ipairs(logged) do assert.is_true(is_traceback(line)) end
    end)

    it("or with the end of a connection", function()
      fail(11)
      w.luws.wsclose(w.conn)
      assert.same({ "luws: handlers raised more errors: 1 (at most 10 are logged in a second)", 1 }, logged[11])
      assert.equal(11, #logged)
    end)

    it("each instance of the module counts its own errors", function()
      fail(11)
      local other, peer_of_other = w.luws.instance("other"), w:peer()
      local conn_of_other = other.wsopen("ws://peer.test/", function() error("it broke", 0) end)
      peer_of_other:send(1, "x")
      other.wsreceive(conn_of_other)
      assert.equal(11, #logged)
      assert.truthy(logged[11][1]:find("^other: the handler of"))
    end)
  end)

  describe("may, on the same connection,", function()
    it("send", function()
      open({ { "send", "\129\1a\129\1b" }, { "read_frame", 2 }, { "hold" } },
        function(c, opcode, data) assert(luws.wssend(c, opcode, data .. data)) end)
      poll(luws, conn, nil, 0.05)
      local frames = peer:at(4).frames
      assert.same({ "aa", "bb" }, { frames[1].payload, frames[2].payload })
    end)

    it("close: no handler is called any more, and wsreceive reports it", function()
      for _, place in ipairs { "message", "control" } do
        local calls = 0
        local function handler(c)
          calls = calls + 1
          luws.wsclose(c)
        end
        open({ { "send", (place == "control" and "\137\0" or "") .. "\129\1a\129\1b\136\0" }, { "hold" } }, handler,
          { control_handler = place == "control" and handler or nil })
        local _, more, why = poll(luws, conn)
        assert.same({ nil, "not connected", 1 }, { more, why, calls }, place)
        peer:close()
      end
    end)

    it("close when they are notified of the end", function()
      for _, steps in ipairs {
        { { "close" } },
        { { "send", "\136\0" }, { "read_frame" } },
        { { "send", "\131\0" }, { "hold" } },
      } do
        local told = 0
        open(steps, function(c, opcode)
          told = told + 1
          assert.is_false(opcode)
          luws.wsclose(c)
        end)
        local _, more, why = poll(luws, conn)
        assert.is_nil(more)
        assert.equal("string", type(why))
        assert.equal(1, told)
        peer:close()
      end
      assert.same({}, logged)
    end)

    it("receive: each message is delivered once, in order", function()
      local got, depth, deepest = {}, 0, 0
      open({ { "send", "\129\1a\129\1b\1\1c\128\1d\129\1e" }, { "hold" } }, function(c, _, data)
        depth = depth + 1
        deepest = math.max(deepest, depth)
        got[#got + 1] = data
        luws.wsreceive(c)
        depth = depth - 1
      end)
      poll(luws, conn, function() return #got == 4 end)
      assert.same({ "a", "b", "cd", "e" }, got)
      assert.is_true(deepest > 1)
    end)

    it("receive recursively beyond the C stack's limit: nothing is lost", function()
      local count, got = 1000, {}
      open({ { "send", "\129\1x", times = count }, { "hold" } }, function(c, _, data)
        got[#got + 1] = data
        luws.wsreceive(c)
      end)
      poll(luws, conn, function() return #got == count end)
      assert.equal(count, #got)
      assert.same({}, logged)
    end)

    it("receive as deep from control_handler and from sink, in a coroutine or not", function()
      for _, option in ipairs { "control_handler", "sink" } do
        for _, run in ipairs { function(f) f() end, function(f) coroutine.wrap(f)() end } do
          local calls, ended = 0, false
          local frame = option == "sink" and "\129\1x" or "\137\1x"
          run(function()
            open({ { "send", frame, times = 1000 }, { "send", "\129\3END" }, { "hold" } }, function(_, _, data)
              ended = ended or data == "END"
            end, {
              [option] = function(c)
                calls = calls + 1
                luws.wsreceive(c)
              end,
            })
            poll(luws, conn, function() return ended end)
          end)
          assert.same({ true, option == "sink" and 1001 or 1000 }, { ended, calls })
          assert.same({}, logged)
          luws.wsclose(conn)
          peer:close()
        end
      end
    end)

    it("receive as deep over several connections in turn", function()
      local count, got, others = 300, 0, {}
      local function receive_all(_, _, _)
        got = got + 1
        for _, other in ipairs(others) do luws.wsreceive(other.conn) end
      end
      for i = 1, 3 do
        open({ { "send", "\129\1x", times = count }, { "hold" } }, receive_all)
        others[i] = { conn = conn, peer = peer }
      end
      finally(function()
        for _, other in ipairs(others) do
          luws.wsclose(other.conn)
          other.peer:close()
        end
      end)
      -- Messages that a handler leaves on another connection are delivered by that connection's next wsreceive.
      local deadline = luws.gettime() + 10
      repeat
        for _, other in ipairs(others) do luws.wsreceive(other.conn) end
      until got == 3 * count or luws.gettime() > deadline
      assert.equal(3 * count, got)
      assert.same({}, logged)
    end)

    it("be called, whatever finalisers do meanwhile", function()
      local other = scripted.peer { { "upgrade" }, { "send", "\129\1y", times = 3000 }, { "hold" } }
      local seen = {}
      local second = assert(luws.wsopen(other.url, function(_, _, data) seen[#seen + 1] = data end))
      finally(function()
        luws.wsclose(second)
        other:close()
      end)
      -- A finaliser that receives on another connection at any time: each dropped table has one.
      local function drop()
        local proxy = compat.newproxy(true)
        getmetatable(proxy).__gc = function() luws.wsreceive(second) end
      end
      local got = 0
      open({ { "send", "\129\1x", times = 3000 }, { "hold" } }, function(c, opcode, data)
        assert(c == conn and opcode == 1 and data == "x")
        got = got + 1
        drop()
      end, { receive_chunk_size = 100 })
      collectgarbage("setpause", 50)
      finally(function() collectgarbage("setpause", 200) end)
      poll(luws, conn, function() return got == 3000 end)
      assert.equal(3000, got)
      assert.same({}, logged)
    end)

    it("receive when they are notified of the end", function()
      local told = {}
      open({ { "close" } }, function(c, opcode, data)
        told[#told + 1] = { opcode, data, luws.wsreceive(c) }
      end)
      poll(luws, conn)
      assert.same({ { false, CLOSED, nil, "closed" } }, told)
    end)

    it("open another connection, and use it", function()
      local inner
      open({ { "send", "\129\1a" }, { "hold" } }, function()
        inner = assert(luws.wsopen(peer.url, nil, { close_timeout = 0 }))
        assert(luws.wssend(inner, 1, "from within"))
        luws.wsclose(inner)
      end)
      poll(luws, conn, function() return inner end)
      assert.is_false(inner.connected)
      assert.is_true(conn.connected)
      assert.same({}, logged)
    end)

    it("replace conn.options with anything", function()
      local count = 0
      open({ { "send", "\129\1a\137\0\129\1b" }, { "read_frame" }, { "hold" } }, function(c)
        count = count + 1
        c.options = count
      end)
      poll(luws, conn, function() return count == 2 end)
      assert.equal(10, peer:at(4).frames[1].opcode)
    end)
  end)

  it("find plugins' own fields in conn, and conn as a key", function()
    local mine = {}
    local count
    open({ { "send", "\129\1a" }, { "hold" } }, function(c)
      c.counter = c.counter + 1
      count = mine[c]
    end)
    conn.counter, mine[conn] = 41, "found"
    poll(luws, conn, function() return count end)
    assert.same({ 42, "found" }, { conn.counter, count })
  end)
end)

-- In PUC Lua 5.1 handlers cannot yield.
if compat.yields_through_pcall then
  describe("handlers that yield", function()
    it("on two connections that alternate repeatedly are still called", function()
      local w = world.new()
      local told = 0
      local function handler(_, opcode)
        if opcode then told = told + 1 end
        coroutine.yield()
      end
      local peers, loops = {}, {}
      for i = 1, 2 do
        local conn
        peers[i] = w:peer()
        conn = w:open(peers[i], nil, handler)
        loops[i] = coroutine.wrap(function()
          while true do
            w.luws.wsreceive(conn)
            coroutine.yield()
          end
        end)
      end
      for _ = 1, 200 do
        for _, peer in ipairs(peers) do peer:send(1, "x") end
        -- Both enter their handlers, then both leave them.
        for _ = 1, 2 do
          loops[1]()
          loops[2]()
        end
      end
      assert.equal(400, told)
    end)
  end)
end
