-- options.sink: messages of any size that go to an LTN12 sink as they come.

local log = require "spec.support.log"
local module = require "luws"
local servers = require "spec.support.servers"
local session = require "spec.support.session"
local sockets = require "spec.support.sockets"
local unpack = require "spec.support.compat".unpack
local world = require "spec.support.world"

describe("options.sink", function()
  local luws, s, logged

  before_each(function()
    luws = module.instance("sink") -- its limit of errors logged per second is its own
    s = session.new(luws)
    logged = log.start()
  end)

  after_each(function()
    s:close()
    log.stop()
  end)

  --- Returns a sink factory that accepts messages of these opcodes, and a record of everything its sinks were given.
  local function recorder(...)
    local wanted, fed = {}, {}
    for _, opcode in ipairs { ... } do wanted[opcode] = true end
    return fed, function(c, opcode)
      assert.equal(s.conn, c)
      if not wanted[opcode] then return nil end
      fed[#fed + 1] = "begin " .. opcode
      return function(piece, err)
        fed[#fed + 1] = piece or ("end " .. tostring(err))
        return 1
      end
    end
  end

  it("gets the pieces as they come, and nil at the end; the handler gets the messages it declines", function()
    local fed, sink = recorder(2)
    s:open({
      { "send", "\129\5first\130\6bin" }, { "wait" }, { "send", "ary\137\1p\129\1x\2\1a" }, { "wait" },
      { "send", "\0\0\128\1b" }, { "read_frame" }, { "hold" },
    }, { sink = sink })
    s:poll(function() return #fed == 2 end)
    assert.same({ "begin 2", "bin" }, fed)
    assert.same({ { 1, "first" } }, s.told)
    s.peer:go()
    s:poll(function() return #fed == 6 end)
    s.peer:go()
    s:poll(function() return #fed == 8 end)
    assert.same({ "begin 2", "bin", "ary", "end nil", "begin 2", "a", "b", "end nil" }, fed)
    assert.same({ { 1, "first" }, { 1, "x" } }, s.told)
    assert.equal("p", s.peer:at(8).frames[1].payload)
  end)

  it("gets an empty message, too", function()
    local fed, sink = recorder(1)
    s:open({ { "send", "\129\0\129\1a" }, { "hold" } }, { sink = sink })
    s:poll(function() return #fed == 5 end)
    assert.same({ "begin 1", "end nil", "begin 1", "a", "end nil" }, fed)
  end)

  for _, deflate in ipairs { false, true } do
    it("accepts a message larger than any limit, in bounded pieces" .. (deflate and ", inflated" or ""), function()
      local size, most, total, ended = 20 * 1024 * 1024, 0, 0, false
      s.conn = assert(luws.wsopen(servers.url("websockets", "ws", "/big?size=" .. size), nil, {
        deflate = deflate,
        max_payload_size = 1000,
        sink = function()
          return function(piece)
            most, total, ended = math.max(most, #(piece or "")), total + #(piece or ""), piece == nil
            return 1
          end
        end,
      }))
      s:poll(function() return ended end, 30)
      assert.equal(size, total)
      assert.is_true(most <= 128 * 1024, most)
    end)
  end

  it("is told why the message is never completed, in a coroutine, too", function()
    for why, ending in pairs {
      ["closed"] = { { "close" } },
      ["reserved opcode 3"] = { { "send", "\131\0" }, { "hold" } },
      ["text message is not valid UTF-8"] = { { "send", "\128\1\255" }, { "hold" } },
    } do
      for _, wrap in ipairs { function(f) return f end, coroutine.wrap } do
        local fed, sink = recorder(1)
        s:open({ { "send", "\1\2ab" }, { "wait" }, unpack(ending) }, { sink = sink })
        s:poll(function() return #fed == 2 end)
        s.peer:go()
        wrap(function() s:poll() end)()
        assert.same({ "begin 1", "ab", "end " .. why }, fed)
        s.peer:close()
      end
    end
    local fed, sink = recorder(1)
    s:open({ { "send", "\1\2ab" }, { "hold" } }, { sink = sink })
    s:poll(function() return #fed == 2 end)
    luws.wsclose(s.conn)
    assert.same({ "begin 1", "ab", "end not connected" }, fed)
  end)

  it("is told when wsreset forgets its message", function()
    local fed, sink = recorder(1)
    s:open({ { "send", "\1\2ab" }, { "wait" }, { "send", "\128\1c\129\1d" }, { "hold" } }, { sink = sink })
    s:poll(function() return #fed == 2 end)
    luws.wsreset(s.conn)
    assert.same({ "begin 1", "ab", "end reset" }, fed)
    s.peer:go()
    s:poll(function() return #fed == 6 end)
    assert.same({ "begin 1", "d", "end nil" }, { fed[4], fed[5], fed[6] })
  end)

  it("is asked for with the connection and the opcode, and with nothing else", function()
    local asked
    s:open({ { "send", "\129\1a" }, { "hold" } }, {
      handler_args = { "x" },
      sink = function(...) asked = { n = select("#", ...), ... } end,
    })
    s:await(1)
    assert.same({ n = 2, s.conn, 1 }, asked)
  end)

  describe("that fails ends the connection:", function()
    before_each(function()
      s:close()
      s = world.session()
      luws = s.luws
    end)

    local function returning(...)
      local results = { n = select("#", ...), ... }
      return function() return unpack(results, 1, results.n) end
    end
    for name, case in pairs {
      ["it returns nil and an error"] = { returning(nil, "disk full"), "^disk full$" },
      ["it returns false and an error"] = { returning(false, "disk full"), "^disk full$" },
      ["it returns nothing"] = { returning(), "^it gave no reason$" },
      ["its error is a number"] = { returning(nil, 28), "^28$" },
      ["its error is a table"] = { returning(nil, {}), "^an error that is a table$" },
      ["its error is an object with a text"] = {
        returning(nil, setmetatable({}, { __tostring = function() return "no space" end })), "^no space$",
      },
      ["it raises an error"] = { function() error("it broke") end, "^[^\n]*sink_spec.lua:%d+: it broke$" },
      ["it raises an error at the end of its message"] = {
        function(piece) return piece and 1 or error("cannot close", 0) end, "^cannot close$", after = 4,
      },
      ["it raises an error of two lines"] = { function() error("one\ntwo", 0) end, "^one\ntwo$" },
    } do
      it(name, function()
        local calls, after = 0, case.after or 1
        -- The rest of its message and the next one come in the same read.
        s:open({ { "send", "\2\1a\0\1b\128\1c\129\2no" }, { "read_frame" }, { "hold" } }, {
          sink = function(_, opcode)
            return opcode == 2 and function(...)
              calls = calls + 1
              return case[1](...)
            end or nil
          end,
        })
        local _, more, text = s:await(1)
        local why = assert(text:match "^sink failed: (.*)$", text)
        assert.matches(case[2], why)
        assert.same({ nil, text, { { false, text } }, after }, { more, text, s.told, calls })
        assert.same({ nil, text }, { luws.wsreceive(s.conn) })
        assert.same({ false, 1011 }, { s.conn.connected, s.conn.close_code_sent })
        assert.equal("\3\243", s.peer:at(3).frames[1].payload)
        assert.same({ after, 1, 1 }, { calls, #s.told, #logged })
        assert.is_truthy(logged[1][2]:find(("the sink of %s failed: %s"):format(tostring(s.conn), why), 1, true))
      end)
    end

    it("also in wshandleincoming, and without a handler", function()
      for _, has_handler in ipairs { true, false } do
        s:open({ { "hold" } }, { sink = function() return function() return nil, "disk full" end end })
        if not has_handler then s.conn.msghandler = nil end
        assert.same({ nil, "sink failed: disk full" }, { luws.wshandleincoming("\2\1a", s.conn) })
        assert.same(has_handler and { { false, "sink failed: disk full" } } or {}, s.told)
        assert.same({ nil, "sink failed: disk full" }, { luws.wsreceive(s.conn) })
        s.peer:close()
      end
    end)

    it("the handler may open another one in its place", function()
      local other
      s:open({ { "send", "\2\1a" }, { "hold" } }, { sink = function() return function() end end },
        function(_, opcode, text)
          assert.same({ false, "sink failed: it gave no reason" }, { opcode, text })
          s.world:peer()
          other = assert(luws.wsopen("ws://other.test/"))
        end)
      s:poll(function() return other end)
      assert.is_true(luws.wssend(other, 1, "x"))
      luws.wsclose(other)
    end)

    it("not after wsreset, whose sink is only told", function()
      s:open({ { "send", "\2\1a" }, { "wait" }, { "send", "\128\1b\129\1c" }, { "hold" } }, {
        sink = function(_, opcode) return opcode == 2 and function(piece) return piece or error("no") end or nil end,
      })
      s.world:receive_all(s.conn)
      luws.wsreset(s.conn)
      s.peer:go()
      s:await(1)
      assert.same({ { { 1, "c" } }, 1 }, { s.told, #logged })
    end)
  end)

  it("that is invalid, or whose factory fails, is logged, and the handler gets the message", function()
    for _, choose in ipairs { function() return "sink" end, function() error("no sink") end } do
      s:open({ { "send", "\129\1a" }, { "hold" } }, { sink = choose })
      s:await(1)
      assert.same({ { 1, "a" } }, s.told)
      assert.equal(1, #logged)
      logged = log.start()
      s.peer:close()
    end
  end)

  it("is also used as currently set by wshandleincoming, even before any wsreceive", function()
    local fed, sink = recorder(2)
    s:open({ { "hold" } }, { sink = sink })
    assert.is_true(luws.wshandleincoming("\130\3abc\129\1x", s.conn))
    assert.same({ { "begin 2", "abc", "end nil" }, { { 1, "x" } } }, { fed, s.told })
    s.conn.options.sink = nil
    assert.is_true(luws.wshandleincoming("\130\1d", s.conn))
    assert.same({ 3, { 2, "d" } }, { #fed, s.told[2] })
    s.conn.options.sink = sink
    assert.is_true(luws.wshandleincoming("\130\1e", s.conn))
    assert.same({ "begin 2", "e", "end nil" }, { unpack(fed, 4) })
  end)

  it("is asked for once for each message, even if the factory calls wsreset", function()
    for _, wanted in ipairs { true, false } do
      for _, injected in ipairs { true, false } do
        local asked, fed, sink = 0, recorder(wanted and 1 or nil)
        s:open(injected and { { "hold" } } or { { "send", "\1\1a\128\1b\129\1c" }, { "hold" } }, {
          sink = function(c, opcode)
            asked = asked + 1
            if asked <= 10 then luws.wsreset(c) end -- without end if it were asked again
            return sink(c, opcode)
          end,
        })
        if injected then luws.wshandleincoming("\1\1a\128\1b\129\1c", s.conn) end
        s:poll(function() return #fed + 3 * #s.told >= (wanted and 7 or 6) end)
        assert.same(2, asked)
        assert.same(wanted and { "begin 1", "a", "b", "end nil", "begin 1", "c", "end nil" } or {}, fed)
        assert.same(wanted and {} or { { 1, "ab" }, { 1, "c" } }, s.told)
        luws.wsclose(s.conn)
        s.peer:close()
      end
    end
  end)

  it("that comes too late gets nothing, because its factory has itself received the message", function()
    local asked, fed = 0, {}
    s:open({ { "hold" } }, {
      sink = function(conn)
        asked = asked + 1
        local number = asked
        if number == 1 then luws.wsreceive(conn) end
        return function(piece)
          fed[#fed + 1] = { number, piece }
          return 1
        end
      end,
    })
    luws.wshandleincoming("\129\1a\1\1b", s.conn)
    luws.wshandleincoming("\128\1c", s.conn)
    assert.same({ { 1, "a" } }, s.told)
    assert.same({ { 2, "b" }, { 2, "c" }, { 2 } }, fed)
    assert.matches("came too late", logged[1][2])
  end)

  it("whose compressed message is reset leaves the following messages intact", function()
    local large, calls = ("0123456789"):rep(100 * 1024), 0 -- which comes in many pieces
    local handler = s:recorder()
    s.conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler, {
      deflate = { threshold = 0 },
      max_payload_size = 2 ^ 21,
      sink = function(_, opcode)
        return opcode == 2 and function()
          calls = calls + 1
          if calls % 2 == 1 then luws.wsreset(s.conn) end -- which calls it again
          return 1
        end or nil
      end,
    }))
    assert.truthy(s.conn.response_headers["sec-websocket-extensions"]:find("permessage-deflate", 1, true))
    for round = 1, 2 do
      assert.is_true(luws.wssend(s.conn, 2, large))
      -- The server's compressor refers to what it has sent before.
      assert.is_true(luws.wssend(s.conn, 1, large))
      assert.is_true(luws.wssend(s.conn, 1, "0123456789"))
      s:await(2 * round)
      assert.is_true(s.told[2 * round - 1][2] == large)
      assert.same({ 1, "0123456789" }, s.told[2 * round])
      assert.same({ 2 * round, 0 }, { calls, #logged })
    end
  end)

  describe("that has the last piece of its message while other messages are received", function()
    -- What the socket returns, one piece per receive. The second message is in two frames.
    local PIECES = { "\130\5first", "\2\3sec", "\128\3ond", "\130\5third" }
    local SECOND, THIRD = { "sec", "ond", "end" }, { "third", "end" }

    -- How the first message is received and, where its sink yields, how many others are received meanwhile.
    local WAYS = {
      ["because it calls wsreceive"] = function() luws.wsreceive(s.conn) end,
      ["because it yields"] = function(times)
        local receiver = coroutine.create(function() luws.wsreceive(s.conn) end)
        assert(coroutine.resume(receiver))
        for _ = 1, times do coroutine.wrap(luws.wsreceive)(s.conn) end
        assert(coroutine.resume(receiver))
        assert.equal("dead", coroutine.status(receiver))
      end,
    }

    for way, run in pairs(WAYS) do
      for times = 1, 3 do
        for _, fails in ipairs { false, true } do
          local name = ("%s (%d times)%s, "):format(way, times, fails and ", and fails then" or "")
          it(name .. (fails and "ends all" or "leaves each its own message and its own end"), function()
            local at, fed, replaced = 0, {}, {}
            s:open({ { "hold" } }, {
              connect = sockets.connecting(replaced),
              sink = function()
                local own = {}
                fed[#fed + 1] = own
                local is_first = #fed == 1
                return function(piece, err)
                  own[#own + 1] = piece or err or "end"
                  if not (is_first and piece) then return 1 end
                  if way == "because it yields" then
                    coroutine.yield()
                  else
                    for _ = 1, times do luws.wsreceive(s.conn) end
                  end
                  if fails then return nil, "disk full" end
                  return 1
                end
              end,
            })
            function replaced.receive()
              at = at + 1
              return nil, "timeout", PIECES[at] or ""
            end
            run(times)
            for _ = 1, #PIECES do luws.wsreceive(s.conn) end
            if not fails then
              assert.same({ { { "first", "end" }, SECOND, THIRD }, {}, {} }, { fed, s.told, logged })
              return
            end
            -- What has begun by then, or is over.
            local text = "sink failed: disk full"
            local others = ({ { { "sec", text } }, { SECOND }, { SECOND, THIRD } })[times]
            assert.same({ { { "first" }, unpack(others) }, { { false, text } }, 1 }, { fed, s.told, #logged })
          end)
        end
      end
    end
  end)

  it("may close the connection", function()
    local calls = 0
    s:open({ { "send", "\1\1a\128\1b\129\1c" }, { "hold" } }, {
      sink = function()
        return function()
          calls = calls + 1
          luws.wsclose(s.conn)
          return 1
        end
      end,
    })
    local _, more, why = s:poll()
    assert.same({ nil, "not connected" }, { more, why })
    assert.same({}, s.told)
    assert.is_true(calls <= 2) -- the piece, and the end
  end)
end)
