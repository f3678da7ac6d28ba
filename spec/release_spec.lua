-- What a release says of itself is the same everywhere: in Cargo.toml, Cargo.lock, CHANGELOG.md, luws._VERSION and the
-- rockspecs. scripts/release.sh writes all of it.

local files = require "spec.support.files"
local luws = require "luws"

local ROOT = debug.getinfo(1, "S").source:match "^@(.*)spec/release_spec%.lua$"

local function read(path) return files.read(ROOT .. path) end

--- Returns what the file of a rockspec sets.
local function rockspec(name)
  local fields = {}
  local chunk
  if setfenv then -- luacheck: ignore
    chunk = setfenv(assert(loadstring(read(name), name)), fields) -- luacheck: ignore
  else
    chunk = assert(load(read(name), name, "t", fields))
  end
  chunk()
  return fields
end

--- Returns the day of a date as luws._VERSION has it: yyddd.
local function number_of(year, month, day)
  local date = os.date("!*t", os.time { year = year, month = month, day = day, hour = 12 })
  return year % 100 * 1000 + date.yday
end

--- Returns a version as one number, to be compared.
local function rank(version)
  local major, minor, patch = version:match "^(%d+)%.(%d+)%.(%d+)$"
  return (major * 1000 + minor) * 1000 + patch
end

local VERSION = read "Cargo.toml":match '\nversion = "([^"]+)"\n'

--- Returns the headings of the changelog that are dated, the newest first.
local function releases()
  local found = {}
  for version, year, month, day in read "CHANGELOG.md":gmatch "\n## %[(%d[%d.]*)%] %- (%d+)%-(%d+)%-(%d+)\n" do
    found[#found + 1] = { version = version, number = number_of(year, month, day) }
  end
  assert.is_true(#found > 0)
  return found
end

describe("a release", function()
  it("is the version of Cargo.toml in every Cargo.lock, too", function()
    for _, path in ipairs { "Cargo.lock", "fuzz/Cargo.lock" } do
      assert.equal(VERSION, read(path):match '\nname = "luws"\nversion = "([^"]+)"\n', path)
    end
  end)

  it("has as _VERSION the day of the newest dated heading in the changelog", function()
    assert.equal(releases()[1].number, luws._VERSION)
  end)

  it("is newer than those below it in the changelog, which is not ahead of Cargo.toml", function()
    local list = releases()
    for i = 2, #list do
      assert.is_true(rank(list[i - 1].version) > rank(list[i].version), list[i].version)
      assert.is_true(list[i - 1].number >= list[i].number, list[i].version)
    end
    assert.is_true(rank(list[1].version) <= rank(VERSION))
  end)

  it("has a rockspec that differs from that of the clone in its version and its source only", function()
    local of_release = rockspec("rockspec/luws-" .. VERSION .. "-1.rockspec")
    local of_clone = rockspec "rockspec/luws-scm-1.rockspec"
    assert.same({ VERSION .. "-1", "scm-1" }, { of_release.version, of_clone.version })
    assert.equal("v" .. VERSION, of_release.source.tag)
    assert.matches("^git%+https://", of_release.source.url)
    of_release.version, of_release.source = of_clone.version, of_clone.source
    assert.same(of_clone, of_release)
  end)
end)
