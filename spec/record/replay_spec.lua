-- Replays: handlers do again what they did, or the first difference is named.

local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"

local URL = "ws://hub.test/"

--- Returns the handlers of a program that answers questions, with everything that it depends on.
local function program(rec)
  local asked = 0
  return {
    open_handler = function(conn) luws.wssend(conn, 1, "hello " .. tostring(conn.subprotocol)) end,
    handler = function(conn, opcode, data)
      if opcode == false then
        rec:note("lost: " .. data)
      elseif data == "number" then
        luws.wssend(conn, 1, "number " .. rec:random(1000))
      elseif data == "time" then
        luws.wssend(conn, 1, ("time %.3f"):format(rec.clock()))
      elseif data == "level" then
        luws.wssend(conn, 1, "level " .. rec:note(function() return math.random() end))
      elseif opcode == 2 then
        asked = asked + 1
        luws.wssend(conn, 2, data .. string.char(asked))
      elseif data == "end" then
        luws.wsclose(conn, 1001, "bye")
      end
    end,
    control_handler = function(conn, opcode, data)
      if opcode == 9 then luws.wssend(conn, 10, "mine: " .. data) end
    end,
  }
end

--- Records a conversation of that program. Returns the recording.
local function recorded()
  local net = mock.net()
  local server = net:listen(URL, { subprotocols = { "v2" } })
  local rec = record.new { clock = net }
  local handlers = program(rec)
  local conn = rec:wsopen("a", URL, handlers.handler, net:options {
    subprotocols = "v2", open_handler = handlers.open_handler, control_handler = handlers.control_handler,
  })
  net:run()
  local peer = server:accept()
  for _, question in ipairs { "number", "time", "level", "number" } do
    net:advance(0.75)
    peer:send(question)
  end
  net:run()
  luws.wssend(conn, 1, "from outside")
  peer:send("\0", "binary")
  peer:ping "p"
  peer:send("\1", "binary")
  net:run()
  peer:send "end"
  net:advance(2)
  return rec
end

describe("a replay", function()
  it("finds that a program does what it did, after a file, too", function()
    local rec = recorded()
    assert.same({ true, rec:count() }, { rec:replay { handlers = { a = program(rec) } } })
    local path = os.tmpname()
    os.remove(path)
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

describe("a branch that is replayed", function()
  it("goes on with rows that are made up", function()
    local rec = recorded()
    local branch = rec:branch(5)
    branch:write { ["in"] = "message", conn = "a", text = "time", t = 100 }
    branch:write { out = "send", conn = "a", text = "time 100.000" }
    assert.same({ true, 7 }, { branch:replay { handlers = { a = program(branch) } } })
    local wrong = rec:branch(5)
    wrong:write { ["in"] = "message", conn = "a", text = "time", t = 101 }
    wrong:write { out = "send", conn = "a", text = "time 100.000" }
    local ok, text = wrong:replay { handlers = { a = program(wrong) } }
    assert.is_nil(ok)
    assert.equal('row ' .. wrong:row(wrong.store.count).row
      .. ': expected a out send "time 100.000", got a out send "time 101.000"', text)
  end)

  it("goes on live, with a mock or a real server in the place of the recorded one", function()
    local rec = recorded()
    local net = mock.net()
    local server = net:listen(URL)
    local branch = rec:branch(4)
    branch.now = function() return net:now() end
    local handlers = program(branch)
    local conn
    local own = handlers.open_handler
    function handlers.open_handler(given)
      conn = conn or given
      assert.equal(conn, given) -- it is the same for the handlers
      own(given)
    end
    assert.is_true(branch:replay { handlers = { a = handlers }, live = net:options() })
    net:run()
    local peer = server:accept()
    -- What the handler does at the last row is done live.
    peer:expect({ pattern = "^number %d+$" }, "hello nil", { pattern = "^number %d+$" }, "bye")
    peer:send "number"
    net:run()
    assert.is_true(luws.wssend(conn, 1, "bye"))
    assert.is_true(conn.connected)
    net:run()
    luws.wsclose(conn)
    net:settle()
    net:finish()
    assert.is_false(conn.connected)
    local kinds = {}
    for row in branch:rows { from = 5 } do kinds[#kinds + 1] = row.dir .. " " .. row.kind end
    assert.same({ "out open", "in open", "out send", "out send", "in message", "out send", "out send", "out close",
      "in close" }, kinds)
    assert.equal(rec:count() + 1, branch:row(branch.path:number_at(5)).row)
  end)

  it("says why it cannot go on live", function()
    local rec = recorded()
    local net = mock.net()
    local branch = rec:branch(4)
    assert.same({ nil, "Connection to hub.test:80 failed: connection refused" },
      { branch:replay { handlers = { a = program(branch) }, live = function(name, url)
        assert.same({ "a", URL }, { name, url })
        return net:options()
      end } })
  end)
end)
