-- Replays: handlers do again what they did, or the first difference is named.

local files = require "spec.support.files"
local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"
local support = require "spec.support.recorded"

local program, recorded, URL = support.program, support.conversation, support.URL

describe("a replay", function()
  it("finds that a program does what it did, after a file, too", function()
    local rec = recorded()
    assert.same({ true, rec:count() }, { rec:replay { handlers = { a = program(rec) } } })
    local path = files.unused()
    assert(rec:save(path))
    local loaded = record.load(path)
    os.remove(path)
    for _, compare in ipairs { "strict", "loose", "off" } do
      local handlers = { a = program(loaded) }
      assert.same({ true, rec:count() }, { loaded:replay { handlers = handlers, compare = compare } })
    end
    assert.equal(rec:count(), loaded:count()) -- a replay records nothing
  end)

  --- Returns the first difference of a replay in which the handler is this one, which gets the program's own.
  local function differs(f, compare)
    local rec = recorded()
    local handlers = program(rec)
    local own = handlers.handler
    handlers.handler = function(conn, ...) return f(own, conn, ...) end
    local ok, text, difference = rec:replay { handlers = { a = handlers }, compare = compare }
    assert.is_nil(ok)
    return text, difference
  end

  it("names the first difference: what is missing, what is too much, what is different", function()
    for _, case in ipairs {
      { 'row 8: expected a out send "time 1.500", got nothing', function(own, conn, opcode, data)
        if data ~= "time" then own(conn, opcode, data) end
      end },
      { 'row 9: expected nothing, got a out send "more"', function(own, conn, opcode, data)
        if data == "level" then luws.wssend(conn, 1, "more") end
        own(conn, opcode, data)
      end, "loose" },
      { 'row 8: expected nothing, got a out send "more"', function(own, conn, opcode, data)
        own(conn, opcode, data)
        if data == "time" then luws.wssend(conn, 1, "more") end
      end, nil, 7 },
      { 'row 8: expected a out send "time 1.500", got a out send 10 bytes: 74 69 6d 65 20 31 2e 35 30 30',
        function(own, conn, opcode, data)
          if data == "time" then luws.wssend(conn, 2, "time 1.500") else own(conn, opcode, data) end
        end },
      { 'row 8: expected a out send "time 1.500", got a out close 1000', function(own, conn, opcode, data)
        if data == "time" then luws.wsclose(conn) else own(conn, opcode, data) end
      end },
      { 'row 8: expected a out send "time 1.500", got nothing', function(own, conn, opcode, data)
        if data ~= "time" then own(conn, opcode, data) end
      end, "loose" },
    } do
      local text, difference = differs(case[2], case[3])
      local row = case[4] or difference.row
      assert.equal((case[1]:gsub("^row %d+", "row " .. row)), (text:gsub("^row %d+", "row " .. row)))
      assert.equal(text:match "^row (%d+)", tostring(difference.row))
      assert.equal(difference.got ~= nil, text:find "got a out" ~= nil)
      assert.equal(difference.expected ~= nil, text:find "expected a out" ~= nil)
    end
  end)

  it("takes another order only where it is loose", function()
    local function swapped(rec)
      local handlers, kept = program(rec), nil
      local own = handlers.handler
      function handlers.handler(conn, opcode, data)
        if data == "time" then
          kept = conn
          return
        end
        own(conn, opcode, data)
        if kept then
          kept = nil
          luws.wssend(conn, 1, "time 1.500")
        end
      end
      return { a = handlers }
    end
    local rec = recorded()
    assert.is_nil((rec:replay { handlers = swapped(rec) }))
    assert.is_true(rec:replay { handlers = swapped(rec), compare = "loose" })
    assert.is_true(rec:replay { handlers = {}, compare = "strict" }) -- of others, nothing is expected
  end)

  it("plays a part, and as often as one likes", function()
    local rec = recorded()
    local last = 0
    for n = 1, rec:count() do
      local played
      local ok, count = rec:replay { handlers = { a = program(rec) }, upto = n, compare = "loose" }
      if ok then played = count end
      last = played or last
    end
    assert.equal(rec:count(), last)
    assert.same({ nil, "there is no row 999" }, { rec:replay { upto = 999 } })
  end)

  it("takes no time, or as much as it took, in a world", function()
    local rec = recorded()
    local net = mock.net()
    rec:replay { handlers = { a = program(rec) }, net = net }
    assert.equal(0, net:now())
    rec:replay { handlers = { a = program(rec) }, net = net, speed = 1 }
    assert.near(3, net:now(), 1.1)
    local before = net:now()
    rec:replay { handlers = { a = program(rec) }, net = net, speed = 10 }
    assert.near(0.3, net:now() - before, 0.11)
    local began = luws.gettime()
    rec:replay { handlers = { a = program(rec) }, speed = 100 }
    assert.is_true(luws.gettime() - began >= 0.02)
  end)

  it("gives handlers a connection that all of luws takes, and that is none", function()
    local rec = recorded()
    local seen = {}
    rec:replay { compare = "off", handlers = { a = {
      open_handler = function(conn)
        seen.open = { conn.connected, conn.ip, conn.port, conn.proto, conn.path, conn.subprotocol, tostring(conn),
          conn:getfd(), conn.bufferedAmount }
        seen.calls = { luws.wsflush(conn), luws.wsreceive(conn) }
        seen.more = { luws.wswait(conn), luws.watch(conn), luws.wshandleincoming("x", conn) }
        seen.sent = { luws.wssend(conn, 1, { "a table" }), luws.wssend(conn, 2, function() return nil end) }
        luws.wsreset(conn)
        conn:close(1000)
        seen.closed = { conn.connected, conn.closing, luws.wssend(conn, 1, "x") }
      end,
    } } }
    assert.same({
      open = { true, "hub.test", 80, "ws", "/", "v2", "luws-websock[hub.test:80]", -1, 0 },
      calls = { true, false, 0 }, more = { true, true, nil, "not connected" }, sent = { true, true },
      closed = { false, true, false, "not connected" },
    }, seen)
  end)

  it("returns of wssend what it returned", function()
    local rec = record.new { clock = function() return 0 end }
    for _, row in ipairs { { out = "open", conn = "a", url = URL, outside = true }, { ["in"] = "open", conn = "a" },
      { ["in"] = "message", conn = "a", text = "x" },
      { out = "send", conn = "a", text = "y", error = "send error: buffer full" } } do rec:write(row) end
    local result
    assert.is_true(rec:replay { handlers = { a = function(conn) result = { luws.wssend(conn, 1, "y") } end } })
    assert.same({ false, "send error: buffer full" }, result)
  end)

  it("opens again what a handler opened by the recording", function()
    local function go(rec, options)
      return function(_, opcode, data)
        if opcode ~= 1 then return end
        rec:wsopen("b", "ws://other.test/?token=x", function(other, _, text)
          luws.wssend(other, 1, text .. data)
        end, options)
      end
    end
    local net = mock.net()
    local server, other = net:listen(URL), net:listen "ws://other.test/"
    local rec = record.new { clock = net }
    rec:wsopen("a", URL, go(rec, net:options { wait = false }), net:options())
    server:accept():send "1"
    net:run()
    other:accept():send "2"
    net:run()
    assert.same({ true, rec:count() }, { rec:replay { handlers = { a = go(rec) } } })
    local ok, text = rec:replay { handlers = { a = function() end } }
    assert.same({ nil, "row 4: expected b out open ws://other.test/?(hidden), got nothing" }, { ok, text })
    assert.equal(1, other.attempts)
  end)

  it("goes on after the error of a handler, as it did", function()
    local rec = recorded()
    local count, played = 0, nil
    local lines = log.capture(function()
      played = rec:replay { compare = "off", handlers = { a = function()
        count = count + 1
        error "oops"
      end } }
    end)
    assert.is_true(played)
    assert.equal(7, count)
    assert.truthy(lines[1]:find("the handler of a replayed connection raised an error", 1, true))
  end)

  it("refuses wrong options, and to be played within itself", function()
    local rec = recorded()
    for _, case in ipairs {
      { { compare = "exact" }, "replay: bad option 'compare' ('strict' or 'loose' or 'off' expected, got 'exact')" },
      { { speed = -1 }, "replay: bad option 'speed' (a number of at least 0 expected, got -1)" },
      { { handler = print }, "replay: unknown option 'handler'" },
    } do
      local ok, err = pcall(rec.replay, rec, case[1])
      assert.same({ false, case[2] }, { ok, (err:gsub("^[^:]+:%d+: ", "")) })
    end
    local inner
    rec:replay { handlers = { a = function() inner = { rec:replay() } end }, compare = "off" }
    assert.same({ nil, "it is being replayed already" }, inner)
  end)

  it("tells a note that is missing", function()
    local rec = recorded()
    local handlers = program(rec)
    function handlers.handler() rec:note "new" end
    local ok, text = rec:replay { handlers = { a = handlers } }
    assert.is_nil(ok)
    assert.truthy(text:find "^row %d+: expected nothing, got note$", text)
  end)
end)

describe("a replay of a handler", function()
  local net, server, rec

  before_each(function()
    net = mock.net()
    server = net:listen(URL)
    net:listen("ws://echo.test/", mock.echo())
    rec = record.new { clock = net }
  end)

  --- Records what a handler does at a message, and has it do that again. Returns the results of the replays.
  local function twice(handler)
    rec:wsopen("a", URL, function(conn, opcode) if opcode then handler(conn) end end, net:options())
    server:accept():send "go"
    net:advance(10)
    local results = {}
    for _, compare in ipairs { "strict", "loose", "off" } do
      local ok, text = rec:replay { compare = compare, handlers = {
        a = function(conn, opcode) if opcode then handler(conn) end end,
      } }
      results[#results + 1] = ok or text
    end
    return results
  end

  it("that opens connections and waits for them: each is open again, or has failed again", function()
    local opened = {}
    assert.same({ true, true, true }, twice(function(conn)
      local b = rec:wsopen("b", "ws://echo.test/", nil, net:options {
        open_handler = function(b) luws.wssend(b, 1, "open") end,
      })
      luws.wssend(b, 1, "hello")
      local c, why = rec:wsopen("c", "ws://nobody.test/", nil, net:options())
      luws.wssend(conn, 1, tostring(c) .. ": " .. tostring(why))
      opened[#opened + 1] = b.connected
    end))
    assert.same({ true, true, true, true }, opened)
    assert.equal("false: Connection to nobody.test:80 failed: connection refused", server.net.order[1]:received(1))
  end)

  it("that sends where nothing can be sent: it is told the same", function()
    local told = {}
    assert.same({ true, true, true }, twice(function(conn)
      luws.wsclose(conn, 1000)
      local _, why = luws.wssend(conn, 1, "late")
      told[#told + 1] = why
    end))
    assert.same({ "not connected", "not connected", "not connected", "not connected" }, told)
  end)

  it("that notes nothing, and a table that it changes", function()
    local noted = {}
    assert.same({ true, true, true }, twice(function()
      local none = rec:note(function() return nil end)
      local list = rec:note { 1 }
      list[2] = 2
      noted[#noted + 1] = tostring(none) .. #list
    end))
    assert.same({ "nil2", "nil2", "nil2", "nil2" }, noted)
    assert.equal(1, #rec:row(5).note)
  end)

  it("plays notes after the last row that is to be played", function()
    twice(function(conn) luws.wssend(conn, 1, rec:note("n")) end)
    assert.same({ true, 3 }, { rec:replay { upto = 3, handlers = {
      a = function(conn, opcode) if opcode then luws.wssend(conn, 1, rec:note("other")) end end,
    } } })
  end)

  it("is refused within a handler as data, and beside a live connection if it takes time", function()
    local results = {}
    rec:on("message", function() results = { rec:replay() } end)
    rec:wsopen("a", URL, nil, net:options())
    server:accept():send "go"
    net:advance(1)
    assert.same({ nil, "a handler of the recording must not replay it" }, results)
    assert.same({ nil, "'a' is open, and would go on meanwhile (speed)" }, { rec:replay { speed = 1, net = net } })
    assert.is_true((rec:replay()))
  end)
end)
