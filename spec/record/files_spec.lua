-- Files of recordings: what is in them, and what becomes of them when a program is killed, a disk is full, or somebody
-- has changed them.

local files = require "spec.support.files"
local log = require "spec.support.log"
local record = require "luws.record"

local HEAD = '{"created":"2026-01-01T00:00:00Z","luws":"record/1","seed":7}\n'
local ROWS = '{"row":1,"t":0,"conn":"a","out":"open","url":"ws://hub/"}\n'
  .. '{"row":2,"t":0.5,"conn":"a","in":"open"}\n'
  .. '{"row":3,"t":1,"conn":"a","in":"message","text":"on"}\n'

describe("the file of a recording", function()
  local path

  before_each(function() path = files.unused() end)

  after_each(function()
    os.remove(path)
    os.remove(path .. ".new")
  end)

  local function write(text) files.write(path, text) end

  local function text() return files.read(path) end

  --- Returns all rows of a recording as tables without metatables.
  local function rows_of(rec)
    local list = {}
    for row in rec:rows() do list[#list + 1] = setmetatable(row, nil) end
    return list
  end

  it("has a head and a line for each row, in an order that is easily read", function()
    local rec = assert(record.new { file = path, seed = 7, clock = function() return 5 end })
    rec:write { conn = "a", ["in"] = "message", text = 'say "ä"\n\0', t = 0.25, zebra = { 1 }, apple = true }
    rec:write { conn = "a", out = "send", base64 = "AP8=" }
    rec:note { level = 1.5 }
    assert.is_true(rec:close())
    assert.equal([[
{"row":1,"t":0.25,"conn":"a","in":"message","apple":true,"text":"say \"ä\"\n\u0000","zebra":[1]}
{"row":2,"t":0.25,"conn":"a","out":"send","base64":"AP8="}
{"row":3,"t":0.25,"note":{"level":1.5},"outside":true}
]], (text():gsub("^[^\n]*\n", "")))
    local date = "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ"
    assert.truthy(text():find('^{"clock":"own","created":"' .. date .. '","luws":"record/1","seed":7}\n'))
  end)

  it("is complete after each row, unless it is to be written at the end", function()
    local rec = record.new { file = path }
    rec:note "at once"
    assert.truthy(text():find("at once", 1, true))
    rec:close()
    os.remove(path)
    rec = record.new { file = path, flush = "close" }
    rec:note "later"
    assert.is_nil(text():find("later", 1, true))
    assert.is_true(rec:close())
    assert.truthy(text():find("later", 1, true))
  end)

  it("is read back as it was, with fields that nobody knows", function()
    write(HEAD .. ROWS .. '{"row":4,"t":2,"conn":"a","in":"message","base64":"AP8=","new":{"x":[],"y":null}}')
    local rec, warning = assert(record.load(path))
    assert.is_nil(warning)
    assert.equal(4, rec:count())
    local row = rec:row(4)
    assert.same({ "in", "message", "\0\255", true }, { row.dir, row.kind, row.data, row.binary })
    local copy = path .. ".copy"
    assert.is_true(rec:save(copy))
    assert.equal(HEAD .. ROWS .. '{"row":4,"t":2,"conn":"a","in":"message","base64":"AP8=","new":{"x":[],"y":null}}\n',
      files.read(copy))
    assert.same({ nil, "the file exists already" }, { rec:save(copy) })
    os.remove(copy)
  end)

  it("loses only the last line where it was cut off, with a warning, at any byte", function()
    local whole = HEAD .. ROWS
    for cut = #HEAD + 1, #whole - 1 do
      write(whole:sub(1, cut))
      local _, complete = whole:sub(#HEAD + 1, cut):gsub("}\n", "")
      local is_whole = whole:sub(cut + 1, cut + 1) == "\n" -- all but the end of the line is there
      local is_cut = not is_whole and whole:sub(cut, cut) ~= "\n"
      local rec, warning
      local lines = log.capture(function() rec, warning = assert(record.load(path)) end)
      assert.equal(complete + (is_whole and 1 or 0), rec:count(), cut)
      assert.equal(is_cut and 1 or 0, #lines)
      assert.equal(is_cut, warning ~= nil)
      if is_cut then
        assert.truthy(warning:find("^its last line is cut off and is left out %(%d+ bytes%)$"))
        assert.truthy(lines[1]:find("the record " .. path .. ": " .. warning, 1, true))
      end
    end
  end)

  it("is refused with the line and the reason where it is no recording, or a damaged one", function()
    for _, case in ipairs {
      { "", "it is empty" },
      { '{"luws":"rec', "its first line is cut off" },
      { "hello\n", "it is not a recording of luws: its first line has no version" },
      { '{"luws":"record/2"}\n' .. ROWS, "it has the format record/2, and this luws reads record/1" },
      { HEAD .. "garbage\n" .. ROWS, "line 2: expected value at line 1 column 1" },
      { HEAD .. '"x"\n', "line 2: it is not a row" },
      { HEAD .. "[1]\n", "line 2: it is not a row" },
      { HEAD .. '{"t":0}\n', "line 2: row 1 expected, got none" },
      { HEAD .. '{"row":2,"t":0}\n', "line 2: row 1 expected, got 2" },
      { HEAD .. '{"row":1}\n', "line 2: the row has no time (t)" },
      { HEAD .. '{"row":1,"t":0,"parent":1}\n', "line 2: the row's parent is not a row before it" },
      { HEAD .. '{"row":1,"t":0,"parent":"x"}\n', "line 2: the row's parent is not a row before it" },
      { HEAD .. ROWS .. '{"row":4,"t":2},{"row":5,"t":2}\n', "line 5: trailing characters at line 1 column 16" },
      { HEAD .. ROWS .. ("\0"):rep(100) .. "\n", "line 5: expected value at line 1 column 1" },
    } do
      write(case[1])
      assert.same({ nil, ("the record %s cannot be read: %s"):format(path, case[2]) }, { record.load(path) })
    end
    write(HEAD:gsub("record/1", "record/1.9") .. ROWS)
    assert.equal(3, assert(record.load(path)):count())
  end)

  it("says why it cannot be opened", function()
    for name, why in pairs {
      ["/nowhere/x.rec"] = "there is no such file", ["/tmp"] = "Is a directory", ["/dev/zero"] = "it is empty",
    } do
      assert.same({ nil, ("the record %s cannot be read: %s"):format(name, why) }, { record.load(name) })
    end
    assert.same({ nil, "the record /nowhere/x.rec cannot be used: No such file or directory" },
      { record.new { file = "/nowhere/x.rec" } })
    assert.same({ nil, "the record /tmp cannot be used: Is a directory" }, { record.new { file = "/tmp" } })
    assert.is_false((pcall(record.load)))
  end)

  it("is read without its damaged lines where that is wanted", function()
    write(HEAD .. ROWS:gsub('{"row":2[^\n]*', "%%%%%%") .. '{"row":4,"t":2,"note":1}\n')
    assert.is_nil((record.load(path)))
    local rec, warning
    log.capture(function() rec, warning = record.load(path, { damaged = "skip" }) end)
    assert.equal("damaged lines are left out: 1", warning)
    assert.same({ 1, nil, 3, 4 }, { rec:row(1).row, rec:row(2).kind, rec:row(3).row, rec:row(4).row })
    assert.is_true(rec:row(2).lost)
  end)

  it("is gone on with, not overwritten", function()
    write(HEAD .. ROWS)
    local rec = assert(record.new { file = path, clock = function() return 100 end })
    assert.equal(3, rec:count())
    rec:note "later"
    rec:close()
    assert.equal(HEAD .. ROWS .. '{"row":4,"t":1,"note":"later","outside":true}\n', text())
    -- By the system's clock the time goes on from when it was created.
    rec = assert(record.new { file = path })
    rec:note "now"
    assert.is_true(rec:row(5).t > 1e6)
    rec:close()
  end)

  it("is repaired before it is gone on with, where its last line is cut off", function()
    for _, case in ipairs { { ROWS:sub(1, -10), 2, 1 }, { ROWS:sub(1, -2), 3, 0 }, { ROWS .. "\0\0\0", 3, 1 } } do
      write(HEAD .. case[1])
      local lines = log.capture(function()
        local rec = assert(record.new { file = path, clock = function() return 0 end })
        assert.equal(case[2], rec:count())
        rec:note "later"
        rec:close()
      end)
      assert.equal(case[3], #lines)
      local rec = assert(record.load(path))
      assert.same({ case[2] + 1, "later" }, { rec:count(), rec:row(rec:count()).note })
    end
    write(HEAD .. "garbage\n")
    assert.same({ nil, ("the record %s cannot be used: line 2: expected value at line 1 column 1"):format(path) },
      { record.new { file = path } })
    assert.equal(HEAD .. "garbage\n", text())
  end)

  it("keeps rows in memory once the disk is full, and says so", function()
    local rec
    local lines = log.capture(function()
      local refused, why = record.new { file = "/dev/full" }
      assert.same({ nil, "the record /dev/full cannot be used: No space left on device" }, { refused, why })
      rec = record.new { file = "/dev/full", flush = "close" }
      for i = 1, 300 do rec:note(("x"):rep(100) .. i) end -- more than the C library gathers
    end)
    assert.equal(1, #lines)
    local why = "No space left on device"
    assert.truthy(lines[1]:find("^luws: the record /dev/full cannot be written from row %d+ on: " .. why .. "; "))
    assert.equal("No space left on device", rec:failure())
    assert.equal(("x"):rep(100) .. 300, rec:row(300).note)
    assert.same({ nil, "No space left on device" }, { rec:close() })
    assert.is_true(rec:save(path))
    assert.equal(300, record.load(path):count())
    assert.same({ nil, "No space left on device" }, { rec:save "/dev/full" })
  end)

  it("has the same rows after any number of restarts", function()
    local want = {}
    for round = 1, 5 do
      local rec = assert(record.new { file = path, clock = function() return 0 end })
      for i = 1, round do
        rec:note(round * 10 + i)
        want[#want + 1] = { row = #want + 1, t = 0, note = round * 10 + i, outside = true }
      end
      if round % 2 == 0 then rec:close() end -- otherwise it is just dropped
    end
    collectgarbage()
    assert.same(want, rows_of(assert(record.load(path))))
  end)

  it("goes on in the branch that was recorded last", function()
    local rec = record.new { file = path, clock = function() return 0 end }
    rec:note "one"
    rec:note "two"
    local other = rec:branch(1)
    other:note "three"
    rec:close()
    rec = record.new { file = path, clock = function() return 0 end }
    rec:note "four"
    assert.same({ "one", "three", "four" }, { rec:row(1).note, rec:row(3).note, rec:row(4).note })
    assert.same({ 1, nil }, { rec:row(3).parent, rec:row(4).parent })
    assert.equal(3, rec:count())
  end)
end)
