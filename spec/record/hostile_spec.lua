-- What a recording is given by files, programs and peers that are wrong, and two recordings of one thing.

local files = require "spec.support.files"
local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"
local said = require "spec.support.recorded".said
local WebSocket = require "luws.websocket"

local URL = "ws://hub.test/"
local HEAD = '{"created":"2026-01-01T00:00:00Z","luws":"record/1","seed":7}\n'

--- Returns an error without its place.
local function plain(err) return (tostring(err):gsub("^[%w/_.]+:%d+: ", "")) end

describe("a file of a recording", function()
  local path

  before_each(function() path = files.unused() end)

  after_each(function() os.remove(path) end)

  --- Returns what record.load returns for a file with this text.
  local function load(text, options)
    files.write(path, text)
    return record.load(path, options)
  end

  it("is refused if a row has fields that no row has", function()
    for line, why in pairs {
      ['"text":7'] = "text: string expected, got number", ['"base64":5'] = "base64: string expected, got number",
      ['"base64":"!"'] = "base64: it is not base64", ['"in":7'] = "in: string expected, got number",
      ['"in":{}'] = "in: string expected, got table", ['"out":[]'] = "out: string expected, got table",
      ['"conn":{}'] = "conn: string expected, got table", ['"conn":null'] = "conn: string expected, got userdata",
      ['"code":"x"'] = "code: number expected, got string", ['"url":7'] = "url: string expected, got number",
      ['"protocols":7'] = "protocols: table expected, got number", ['"rtt":"x"'] = "rtt: number expected, got string",
      ['"id":"x"'] = "id: number expected, got string", ['"ack":"x"'] = "ack: it is not an id",
      ['"call":7'] = "call: string expected, got number", ['"outside":1'] = "outside: boolean expected, got number",
      ['"in":"open","out":"open"'] = "it has both 'in' and 'out'",
      ['"call":"x","note":1'] = "it has both 'call' and 'note'",
    } do
      assert.same({ nil, ("the record %s cannot be read: line 2: %s"):format(path, why) },
        { load(HEAD .. '{"row":1,"t":0,' .. line .. "}\n") })
    end
  end)

  it("with damaged lines has empty rows in their places, but not millions of them", function()
    local lines = log.capture(function()
      local rec = load(HEAD .. '{"row":1,"t":0,"note":1}\n{"ro\n{"row":3,"t":1,"note":3}\n'
        .. '{"row":3.5,"t":1}\n{"row":900000000,"t":1}\n{"row":4,"t":1,"text":4}\n{"row":5,"t":1,"note":5}\n',
        { damaged = "skip" })
      assert.same({ 5, true, true, 5 }, { rec:count(), rec:row(2).lost, rec:row(4).lost, rec:row(5).note })
      assert.is_true((rec:replay()))
    end)
    assert.matches("damaged lines are left out: 4", lines[1], 1, true)
  end)

  it("stays whole where a row cannot be written", function()
    local rec = assert(record.new { file = path })
    local lines = log.capture(function()
      rec:on("message", function() return { call = "x", f = print } end)
      rec:came { ["in"] = "message", conn = "a", text = "x" }
    end)
    assert.matches("lacks row 2: f: cannot encode a function", lines[1], 1, true)
    rec:note "after"
    assert.is_true(rec:save(path .. ".copy"))
    rec:close()
    for _, name in ipairs { path, path .. ".copy" } do
      local loaded = assert(record.load(name))
      assert.same({ 3, true, "after" }, { loaded:count(), loaded:row(2).lost, loaded:row(3).note })
    end
    os.remove(path .. ".copy")
  end)

  it("is read in pieces, and goes on with the rows that have room", function()
    local rec = assert(record.new { file = path, flush = "close" })
    local long = ("x"):rep(100000)
    for i = 1, 30 do rec:write { ["in"] = "message", conn = "a", text = i .. long, t = i } end
    rec:close()
    rec = assert(record.new { file = path, memory = 500000 })
    assert.same({ 30, 27, 30 }, { rec:count(), rec.store.first, rec:state().rows })
    assert.same({ nil, "it is not in memory any more" }, { rec:row(26) })
    assert.same({ nil, "row 20 is not in memory any more" }, { rec:branch(20) })
    assert.same({ nil, "the rows before it are not in memory any more" }, { rec:branch(29):state(28) })
    assert.equal(30, rec:branch(30):state().rows)
    assert.same({ nil, "its first rows are not in memory any more; load the file" }, { rec:replay() })
    rec:note "more"
    rec:close()
    local loaded = assert(record.load(path))
    assert.same({ 31, "more", 1 }, { loaded:count(), loaded:row(31).note, loaded.store.first })
  end)

  it("with branches keeps all of its rows, also where they begin late", function()
    local rec = assert(record.new { file = path })
    for i = 1, 20 do rec:note(("x"):rep(1000) .. i) end
    local branch = rec:branch(5)
    branch:note "of the branch"
    rec:note "of the recording"
    rec:close()
    rec = assert(record.new { file = path, memory = 3000 })
    assert.same({ 21, 1 }, { rec:count(), rec.store.first })
    assert.equal("of the branch", rec:branches()[2]:row(21).note)
  end)

  it("has one recording at a time", function()
    local rec = assert(record.new { file = path })
    rec:note(1)
    assert.same({ nil, ("the record %s cannot be used: another recording writes into it"):format(path) },
      { record.new { file = path } })
    rec:close()
    rec = assert(record.new { file = path })
    assert.equal(1, rec:count())
    rec = nil -- luacheck: ignore (nobody has it any more)
    assert.equal(1, assert(record.new { file = path }):count())
  end)
end)

describe("a program that is wrong", function()
  local rec

  before_each(function() rec = record.new() end)

  it("is told at its call", function()
    local function clock(f) return function() record.new { clock = f } end end
    for _, case in ipairs {
      { clock(5), "new: bad option 'clock' (a function or a world expected, got number)" },
      { clock(function() return "x" end), "new: bad option 'clock' (it returns a string, and no number)" },
      { function() record.new(false) end, "bad argument #1 to 'new' (table expected, got boolean)" },
      { function() record.new { seed = 0 / 0 } end,
        "new: bad option 'seed' (a whole number of at least 0 expected, got " },
      { function() record.new { options = { sink = print } } end,
        "new: bad option 'options' (bad option 'sink' (messages that go to a sink cannot be recorded))" },
      { function() record.load("x", 5) end, "bad argument #2 to 'load' (table expected, got number)" },
      { function() rec:options { sink = print } end,
        "bad option 'sink' (messages that go to a sink cannot be recorded)" },
      { function() rec:attach {} end, "bad argument #1 to 'attach' (a WebSocket object expected, got table)" },
      { function() rec:attach(5) end, "bad argument #1 to 'attach' (a WebSocket object expected, got number)" },
      { function() rec:random(5, 1) end,
        "bad argument #2 to 'random' (whole numbers expected, and the interval is not to be empty)" },
      { function() rec:random(0.5) end,
        "bad argument #1 to 'random' (whole numbers expected, and the interval is not to be empty)" },
      { function() rec:random "x" end, "bad argument #1 to 'random' (number expected, got string)" },
      { function() rec:call("x", { t = 1 }) end, "bad argument #2 to 'call' (the field 't' is not the program's)" },
      { function() rec:call("x", { ["in"] = "message" }) end,
        "bad argument #2 to 'call' (the field 'in' is not the program's)" },
      { function() rec:heartbeat { conn = "a", interval = 0 } end,
        "heartbeat: bad option 'interval' (a number above 0 expected, got 0)" },
      { function() rec:heartbeat { conn = "a", reactor = 5 } end,
        "heartbeat: bad option 'reactor' (a reactor or false expected, got number)" },
      { function() rec:replay { handlers = { a = 5 } } end,
        "replay: bad option 'handlers' (a: function or table expected, got number)" },
      { function() rec:replay { handlers = { a = { on_message = print } } } end,
        "replay: bad option 'handlers' (a: unknown handler 'on_message')" },
      { function() rec:replay { handlers = { a = { handler = 5 } } } end,
        "replay: bad option 'handlers' (a: handler: function expected, got number)" },
      { function() rec:replay { live = 5 } end, "replay: bad option 'live' (table or function expected, got number)" },
      { function() rec:replay { net = {} } end, "replay: bad option 'net' (a world expected, got table)" },
    } do
      local ok, err = pcall(case[1])
      assert.is_false(ok)
      assert.equal(case[2], plain(err):sub(1, #case[2]))
    end
    for _, case in ipairs {
      { { conn = 5 }, "conn: string expected, got number" }, { { ["in"] = "open", out = "open" }, "it has both" },
      { { f = print }, "f: cannot encode a function" }, { { base64 = "?" }, "base64: it is not base64" },
    } do
      local row, why = rec:write(case[1])
      assert.same({ nil, case[2] }, { row, why:sub(1, #case[2]) })
    end
    assert.equal(0, rec:count())
  end)

  it("has a clock that jumps, stands still or fails: rows have times that never go back", function()
    local time = 100
    rec = record.new { clock = function()
      if time == "error" then error "no time" end
      return time
    end }
    for _, now in ipairs { 101, 90, 1e9, "error", 0 / 0, 1 / 0, 50 } do
      time = now
      rec:note(tostring(now))
    end
    local times = {}
    for row in rec:rows() do times[#times + 1] = row.t end
    assert.same({ 1, 1, 1e9 - 100, 1e9 - 100, 1e9 - 100, 1e9 - 100, 1e9 - 100 }, times)
    assert.equal(7.5, rec:write { t = 0 / 0, note = 1 }.t - (1e9 - 107.5))
  end)

  it("has a redact that does anything: rows stay rows", function()
    local shared = { note = "shared" }
    for _, case in ipairs {
      { function() return shared end, { note = "shared" }, 0 },
      { function(row) row.parent, row.row, row.t, row.note = 17, "x", {}, "y" end, { note = "y" }, 0 },
      { function(row) row.conn, row["in"], row.call = "b", "open", "x" end, { note = "secret" }, 0 },
      { function() return { f = print } end, { note = "(hidden)" }, 1 },
      { function(row) row.code = "x" end, { note = "(hidden)" }, 1 },
      { function(row) row.extra = "secret" error "no" end, { note = "(hidden)" }, 1 },
      { function() rec:write { note = "another" } error "too deep" end, nil, 1 },
    } do
      local depth, path = 0, files.unused()
      rec = record.new { file = path, clock = function() return 0 end, redact = function(row)
        depth = depth + 1
        if depth > 3 then return end
        return case[1](row)
      end }
      local lines = log.capture(function()
        -- Of errors, at most 10 are logged in a second.
        for _ = 1, case[3] > 0 and 1 or 2 do rec:note "secret" end
      end)
      assert.is_true(#lines >= case[3])
      if case[2] then
        for row in rec:rows() do
          assert.same({ row = row.row, t = 0, outside = true, note = case[2].note }, setmetatable(row, nil))
        end
      end
      local count = rec:count()
      rec:close()
      assert.equal(count, assert(record.load(path)):count())
      os.remove(path)
    end
  end)

  it("calls with secrets, and opens what is not a URL: nothing of that is kept", function()
    rec:call("login", { password = "s3cret", nested = { Authorization = "s3cret" }, url = "ws://u:s3cret@x/" })
    rec:write { ["in"] = "message", conn = "a", token = "s3cret", text = "x" }
    rec:write { out = "open", conn = "a", url = "user:s3cret@hub.test/p?q=s3cret" }
    pcall(rec.wsopen, rec, "a", "user:s3cret@hub.test/", nil)
    rec:on("message", function() return { out = "open", conn = "b", url = "user:s3cret@hub.test/" } end)
    rec:came { ["in"] = "message", conn = "a", text = "x" }
    local redacting = record.new { redact = function() error "no" end }
    log.capture(function() redacting:call("login", { pin = "s3cret" }) end)
    for _, each in ipairs { rec, redacting } do
      for row in each:rows() do assert.is_nil(luws.dump(row):find("s3cret", 1, true)) end
    end
    assert.same({ "call login", "in message x", "out open", "in message x", "out open" }, said(rec))
    assert.equal("(hidden)@hub.test/", rec:row(5).url)
  end)
end)

describe("several at once", function()
  local net, server

  before_each(function()
    net = mock.net()
    server = net:listen(URL)
  end)

  it("record one connection, each with all of it", function()
    local one, two = record.new { clock = net }, record.new { clock = net }
    local conn = luws.wsopen(URL, two:handler("b", one:handler("a", print)), two:options(one:options(net:options())))
    luws.wssend(conn, 1, "early")
    server:accept():close()
    net:settle()
    assert.same({ "out open", "in open", "out send early", "in close" }, said(one))
    -- For this one, the other's functions are the program's: it records when they are called.
    assert.same({ "out open", "in open", "out send early", "in closing", "in close", "in over" }, said(two))
  end)

  it("record one object, but no recording does so twice", function()
    local one, two = record.new { clock = net }, record.new { clock = net }
    local ws = two:attach(one:attach(WebSocket(URL, nil, net:options())))
    assert.error_matches(function() one:attach(ws, "again") end,
      "bad argument #1 to 'attach' (it is recorded already)", 1, true)
    function ws.onopen() ws:send "x" end
    net:run()
    for _, rec in ipairs { one, two } do assert.same({ "out open", "in open", "out send x" }, said(rec)) end
  end)

  it("have one handler, and each connection is opened once", function()
    local rec = record.new { clock = net }
    local handler = rec:handler("a", function() end)
    for _ = 1, 2 do luws.wsopen(URL, handler, rec:options(net:options())) end
    local peers = { server:accept(), server:accept() }
    for i = 1, 4 do
      peers[i % 2 + 1]:send("message " .. i)
      net:run()
    end
    local kinds = {}
    for row in rec:rows() do kinds[row.kind] = (kinds[row.kind] or 0) + 1 end
    assert.same({ open = 4, message = 4 }, kinds)
  end)

  it("branches by the thousand, of one row, in turns, and of each other", function()
    local rec = record.new()
    rec:note "root"
    local branches = {}
    for i = 1, 2000 do branches[i] = rec:branch(1) end
    for _ = 1, 2 do
      for i, branch in ipairs(branches) do branch:note(i) end
    end
    local all = rec:branches()
    assert.equal(2000, #all)
    assert.same({ 3, 1999 }, { all[1999]:count(), all[1999]:row(all[1999].path:number_at(3)).note })
    local first, second = rec:branch(-1), rec:branch(-2)
    for i = 1, 2000 do
      first:note(i)
      second:note(-i)
    end
    assert.same({ 2003, 2003, 2003 }, { first:count(), second:count(), second:state().rows })
    local sum = 0
    for row in second:rows { from = 4002 } do sum = sum + row.note end
    assert.equal(-2001000, sum)
    local deep = rec
    for _ = 1, 300 do
      deep:note "x"
      deep = deep:branch(deep.path:number_at(deep:count() - 1) or 0)
      deep:note "y"
    end
    assert.matches("branch 2300:", rec:dump(), 1, true)
  end)
end)
