-- Branches, states and folds of recordings.

local files = require "spec.support.files"
local json = require "luws.json"
local record = require "luws.record"

local DELETE = record.fold.DELETE

--- Returns the notes of a recording, in order.
local function notes(rec)
  local list = {}
  for row in rec:rows { kind = "note" } do list[#list + 1] = row.note end
  return list
end

local function memory(options)
  options = options or {}
  options.clock = function() return 0 end
  return record.new(options)
end

describe("a branch", function()
  it("shares the rows before it, and goes on by itself", function()
    local rec = memory()
    for i = 1, 3 do rec:note(i) end
    local left, right = rec:branch(2), rec:branch(2)
    left:note "left"
    right:note "right"
    rec:note(4)
    left:note "left again"
    assert.same({ { 1, 2, 3, 4 }, { 1, 2, "left", "left again" }, { 1, 2, "right" } },
      { notes(rec), notes(left), notes(right) })
    local parents = {}
    for i = 1, 7 do parents[i] = rec:row(i).parent or false end
    assert.same({ false, false, false, 2, 2, 3, 4 }, parents)
    assert.same({ 1, 2, "left" }, notes(left:branch(4)))
    assert.same({}, notes(rec:branch(0)))
  end)

  it("is found again in a file, and named by a negative number", function()
    local rec = memory()
    rec:note "a"
    rec:note "b"
    local other = rec:branch(1)
    other:note "c"
    rec:note "d"
    local path = files.unused()
    assert(rec:save(path))
    local loaded = assert(record.load(path))
    os.remove(path)
    assert.same({ "a", "b", "d" }, notes(loaded))
    local list = loaded:branches()
    assert.equal(2, #list)
    assert.same({ "a", "c" }, notes(list[2]))
    assert.same({ "a", "c" }, notes(loaded:branch(-2)))
    assert.same({ "a", "b", "d" }, notes(loaded:branch(-1)))
    assert.equal(rec:dump(), loaded:dump())
    -- What is added to a branch goes on with it.
    list[2]:note "e"
    assert.is_nil(loaded:row(5).note ~= "e" or nil)
    assert.equal(3, loaded:row(5).parent)
  end)

  it("shows in dump after the row at which it begins", function()
    local rec = memory()
    for _, text in ipairs { "one", "two", "three" } do
      rec:write { ["in"] = "message", conn = "a", text = text }
    end
    local one = rec:branch(1)
    one:write { out = "send", conn = "a", base64 = "AP8=" }
    one:branch(4):write { ack = 7 } -- it is the leaf, so this goes on with the branch, and the next row begins one
    rec:branch(1):write { out = "close", conn = "a", code = 1000, reason = "bye" }
    one:write { call = "think", x = 1 }
    assert.equal([[
    1      0.000  a in message "one"
  branch 2:
  |     4      0.000  a out send 2 bytes: 00 ff
  |   branch 4:
  |   |     7      0.000  call think
  |     5      0.000  ack 7
  branch 3:
  |     6      0.000  a out close 1000 "bye"
    2      0.000  a in message "two"
    3      0.000  a in message "three"
]], rec:dump())
  end)

  it("cannot begin where there is no row", function()
    local rec = memory()
    rec:note(1)
    assert.same({ nil, "there is no row 2" }, { rec:branch(2) })
    assert.same({ nil, "there is no branch 2" }, { rec:branch(-2) })
    assert.same({ nil, "the number of a row expected, got x" }, { rec:branch "x" })
    assert.same({ nil, "there is no row 9" }, { rec:state(9) })
    assert.same({ nil, "there is no row 9" }, { rec:row(9) })
  end)
end)

describe("the state after a row", function()
  it("is what the fold makes of the rows, at any place, as often as it is asked for", function()
    local rec = memory { fold = function(sum, row)
      sum = sum or { sum = 0, rows = {} }
      sum.sum, sum.rows[#sum.rows + 1] = sum.sum + row.note, row.row
      return sum
    end }
    assert.is_nil(rec:state())
    for i = 1, 3500 do rec:note(i) end
    for _, n in ipairs { 3500, 1, 999, 1000, 1001, 2500, 10, 3000, 3499 } do
      local state = rec:state(n)
      assert.same({ n * (n + 1) / 2, n, n }, { state.sum, #state.rows, state.rows[n] })
      state.sum, state.rows = 0, {} -- the program's own copy
    end
    local branch = rec:branch(2100)
    branch:note(1000000)
    assert.equal(2100 * 2101 / 2 + 1000000, branch:state().sum)
    assert.equal(1500 * 1501 / 2, branch:state(1500).sum)
    assert.equal(3500 * 3501 / 2, branch:state(3500).sum) -- of a row in another branch
    assert.equal(3500 * 3501 / 2, rec:state(-1).sum)
    assert.is_nil(rec:state(0))
  end)

  it("says by default how connections are", function()
    local rec = memory()
    for _, row in ipairs {
      { out = "open", conn = "a", url = "ws://hub/", t = 1 }, { ["in"] = "open", conn = "a", protocol = "v2", t = 2 },
      { out = "send", conn = "a", text = "four", t = 3 }, { out = "send", conn = "a", text = "x", error = "closing" },
      { ["in"] = "message", conn = "a", base64 = "AP8=", t = 4 },
      { ["in"] = "pong", conn = "a", text = "", rtt = 0.5 }, { ["in"] = "pong", conn = "a", text = "", rtt = 0.1 },
      { note = "x", t = 5 },
      { ["in"] = "close", conn = "a", code = 1001, reason = "bye", clean = true, error = "closed", t = 6 },
    } do rec:write(row) end
    assert.same({ rows = 1, t = 1, conns = { a = { state = "connecting", url = "ws://hub/", opened = 0, sent = 0,
      received = 0, bytes_sent = 0, bytes_received = 0, last_out = 1 } } }, rec:state(1))
    local rtt = { last = 0.1, smoothed = 0.5 * 7 / 8 + 0.1 / 8, minimum = 0.1, deviation = 0.25 * 3 / 4 + 0.4 / 4,
      count = 2 }
    assert.same({ rows = 9, t = 6, conns = { a = {
      state = "closed", url = "ws://hub/", protocol = "v2", opened = 1, sent = 1, received = 1, bytes_sent = 4,
      bytes_received = 2, last_in = 6, last_out = 3, rtt = rtt, error = "closed",
      close = { code = 1001, reason = "bye", clean = true },
    } } }, rec:state())
  end)
end)

describe("record.fold.combine", function()
  local combine = record.fold.combine
  local array = json.array

  local CASES = {
    { "nil gives the other", nil, { x = 1 }, { x = 1 } },
    { "nil gives the other, both ways", { x = 1 }, nil, { x = 1 } },
    { "numbers add", 2, 3, 5 },
    { "strings replace", "a", "b", "b" },
    { "booleans replace", true, false, false },
    { "arrays append", { 1 }, { 2, 3 }, { 1, 2, 3 } },
    { "an empty array is one by its mark", array(), { 1 }, { 1 } },
    { "objects merge, recursively", { a = { n = 1, s = "x" }, b = 1 }, { a = { n = 2, t = "y" } },
      { a = { n = 3, s = "x", t = "y" }, b = 1 } },
    { "null is the zero of a number", { n = 5 }, { n = json.null }, { n = 0 } },
    { "null is the zero of a string", "text", json.null, "" },
    { "null is the zero of a boolean", true, json.null, false },
    { "null is the zero of an array", { 1, 2 }, json.null, array() },
    { "null is the zero of an object", { x = 1 }, json.null, {} },
    { "null alone stays null", nil, json.null, json.null },
    { "null gives way", json.null, "x", "x" },
    { "DELETE removes", { a = 1, b = 2 }, { a = DELETE }, { b = 2 } },
    { "DELETE removes after a file, too", { a = 1 }, { a = { ["$delete"] = true } }, {} },
    { "another type replaces", { a = 1 }, { a = "x" }, { a = "x" } },
    { "an array gives way to an object", { 1 }, { x = 1 }, { x = 1 } },
    { "an object gives way to an array", { x = 1 }, { 1 }, { 1 } },
  }

  for _, case in ipairs(CASES) do
    it(case[1], function() assert.same(case[4], combine(case[2], case[3])) end)
  end

  it("changes neither of them", function()
    local a, b = { list = { 1 }, o = { x = 1 } }, { list = { 2 }, o = { y = 2 } }
    local result = combine(a, b)
    result.list[3], result.o.x = 9, 9
    assert.same({ { list = { 1 }, o = { x = 1 } }, { list = { 2 }, o = { y = 2 } } }, { a, b })
  end)

  it("makes a state of patches that are noted", function()
    local rec = memory { fold = function(state, row) return combine(state, row.note) end }
    rec:note { lamps = { hall = { on = true, uses = 1 } } }
    rec:note { lamps = { hall = { uses = 1 }, attic = { on = false } } }
    rec:note { lamps = { attic = DELETE } }
    assert.same({ lamps = { hall = { on = true, uses = 2 } } }, rec:state())
    assert.same({ on = false }, rec:state(2).lamps.attic)
  end)
end)
