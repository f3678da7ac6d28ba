-- Every option of every command, with values that it cannot have: on the command line, in the bridge's file, in Lua.
-- Each is refused by its name before anything is opened. An option that is not in these tables fails the specs; so does
-- one that is not in the manual.

local child = require "spec.support.child"
local files = require "spec.support.files"
local unpack = require "spec.support.compat".unpack
local w = require "spec.support.world".new()

local drafts, options, settings = w.import "bridge/draft", w.import "bridge/options", w.import "bridge/settings"

-- Texts that are wrong for options of some kinds.
local SECONDS = { "", "x", "-1", "nan", "inf", "1e3", "0x10", "1,5", "99999999999" }
local LIMIT = { "", "x", "-1", "nan", "0", "0.0", "99999999999" }
local WHOLE = { "", "x", "-1", "1.5", "0x10", "99999999999" }
local COUNT = { "0", unpack(WHOLE) }
local NO_FILE = { "", "/nowhere/file" }
local PEM = { "/nowhere/file", "/", "Makefile" }
local TOKEN = { "", "a b", "a,b" }
local TEXT = {} -- it can be any

-- What is wrong for each option that has a value.
local OPENING = {
  header = { "", "name", ": value", "a b: c", "Upgrade: x", "Host: \1" }, subprotocol = TOKEN, auth = { "", "user" },
  redirects = WHOLE, timeout = LIMIT, proxy = { "", "ftp://h", "http://" }, ca = PEM, fingerprint = { "", "00", "zz" },
  cert = PEM, key = PEM,
}
local WRONG = {
  connect = { execute = TEXT, output = TEXT, wait = SECONDS, ping = SECONDS },
  doctor = { pings = WHOLE },
  listen = { host = TEXT, execute = TEXT, subprotocol = TOKEN },
}
for name, texts in pairs(OPENING) do WRONG.connect[name], WRONG.doctor[name] = texts, texts end

local CORE = {
  port = { "", "x", "-1", "65536", "1.5" }, listen = { "", "a b", "tcp://h", "unix://" }, ping = SECONDS,
  backend = { "", "none", "lua:", "lua:/nowhere" }, ["pong-timeout"] = LIMIT, ["idle-timeout"] = SECONDS,
  ["handshake-timeout"] = LIMIT, ["connect-timeout"] = LIMIT, ["max-connections"] = COUNT, ["max-message"] = COUNT,
  ["max-segment"] = COUNT, buffer = COUNT,
  allow = { "", "x", "tcp://h", "tcp://*.example:1", "ftp://h:1", "tcp://h:x" },
  origin = { "", "x", "https://a/", "https://a b" }, auth = { "", "user", ":password" },
  ["auth-file"] = { "/", "/dev/null", unpack(NO_FILE) },
  ["tls-cert"] = NO_FILE, ["tls-key"] = NO_FILE, ["tls-client-ca"] = NO_FILE, ["tls-peer-ca"] = PEM,
  ["trusted-proxies"] = { "", "localhost", "10.0.0.0/33" }, status = { "", "status", "/a b", "/a?b" },
  ["log-level"] = { "", "all", "INFO" },
}
local BACKENDS = {
  defaultpeer = {
    host = { "", "ftp://h", "h:x", "tcp://" }, port = { "", "x", "0", "65536" },
    framing = { "", "none", "lua:/nowhere" }, ["framing-config"] = { "" }, protocol = TOKEN,
    url = { "", "ws://h/" }, -- only with reverse
  },
  file = { path = { "" }, expression = { "", "%cookie:a", "%header:" } },
}

--- each(wrong, rows): iterates over the options of these rows, with the texts that are wrong for each.
local function each(wrong, rows)
  local cases, i = {}, 0
  for _, row in ipairs(rows) do
    assert(not row.value or wrong[row[1]], "no wrong values for the option " .. row[1])
    for _, text in ipairs(row.value and wrong[row[1]] or {}) do cases[#cases + 1] = { row, text } end
  end
  return function()
    i = i + 1
    return unpack(cases[i] or {})
  end
end

--- run(lines): runs luws with the words of each line, all in one process. Returns an array of statuses and of what is
-- said first.
local function run(lines)
  local program = { [[
    local command, said = require "luws.command", nil
    io.stderr = { write = function(_, ...) said = said .. table.concat { ... } end }
    local function run(...)
      said = ""
      local status = command.main { ... }
      print(("%d %s"):format(status, said:match "^[^\n]*"))
    end]] }
  for _, words in ipairs(lines) do
    local quoted = {}
    for i, word in ipairs(words) do quoted[i] = ("%q"):format(word) end
    program[#program + 1] = ("run(%s)"):format(table.concat(quoted, ", "))
  end
  local output, status = child.program(table.concat(program, "\n"))
  assert.equal(0, status, output)
  local all = {}
  for line in output:gmatch "[^\n]+" do all[#all + 1] = line end
  return all
end

it("every option of connect, listen and doctor is in the manual", function()
  local manual, missing = files.read "docs/command.md", {}
  for name in pairs(WRONG) do
    for _, row in ipairs(w.import("command/" .. name).options) do
      local is_there = manual:find("`%-%-" .. row[1]:gsub("-", "%%-") .. "[` ]")
        or row.short and manual:find("`%-" .. row.short .. "[` ]")
      if not is_there then missing[#missing + 1] = name .. " --" .. row[1] end
    end
  end
  assert.same({}, missing)
end)

describe("what an option cannot be is refused by its name:", function()
  --- refused(lines, expected): asserts that what is said of each line begins with the text at the same place.
  local function refused(lines, expected)
    local all = run(lines)
    for i, text in ipairs(expected) do assert.equal(text, all[i]:sub(1, #text), all[i]) end
    assert.equal(#lines, #all)
  end

  for name, wrong in pairs(WRONG) do
    it("luws " .. name, function()
      local rows, lines, expected = w.import("command/" .. name).options, {}, {}
      local word = name == "listen" and "0" or "wss://127.0.0.1:1/"
      for row, text in each(wrong, rows) do
        lines[#lines + 1] = { name, ("--%s=%s"):format(row[1], text), word }
        expected[#lines] = ("2 luws %s: option '--%s': "):format(name, row[1])
      end
      for _, row in ipairs(rows) do
        lines[#lines + 1] = { name, "--" .. row[1] .. (row.value and "" or "=x") }
        expected[#lines] = ("2 luws %s: option '--%s' %s"):format(name, row[1],
          row.value and "needs a value: " .. row.value or "takes no value")
      end
      refused(lines, expected)
    end)
  end

  it("luws bridge", function()
    local lines, expected = {}, {}
    for row, text in each(CORE, options.CORE) do
      lines[#lines + 1] = { "bridge", "--" .. row[1], text }
      expected[#lines] = ("1 luws bridge: option '--%s': "):format(row[1])
    end
    for backend, wrong in pairs(BACKENDS) do
      for row, text in each(wrong, options.BACKENDS[backend]) do
        local before = backend == "file" and "path=/" or "host=h:1" -- what is missing is said as well
        lines[#lines + 1] = { "bridge", "-b", backend, "-c", before, "-c", row[1] .. "=" .. text }
        expected[#lines] = ("1 luws bridge: option '-c %s': "):format(row[1])
      end
    end
    refused(lines, expected)
  end)

  it("the file of luws bridge", function()
    local path = os.tmpname()
    --- said(text): returns what is wrong with a file with this text.
    local function said(text)
      files.write(path, text)
      local draft = drafts.new()
      local _, wrong = draft:read(path)
      return wrong or assert(select(2, draft:finish()))
    end
    for row, text in each(CORE, options.CORE) do
      local place = ("%s:2: option '%s': "):format(path, row[1])
      assert.equal(place, said(("[core]\n%s = %s\n"):format(row[1], text)):sub(1, #place))
    end
    for _, row in ipairs(options.CORE) do
      local place = ("%s:1: option '%s': yes or no expected, got 'true'"):format(path, row[1])
      if not row.value then assert.equal(place, said(row[1] .. " = true")) end
    end
    for backend, wrong in pairs(BACKENDS) do
      for row, text in each(wrong, options.BACKENDS[backend]) do
        local place = ("%s:4: option '%s': "):format(path, row[1])
        local before = backend == "file" and "path = /" or ""
        local all = ("backend = %s\n[backend]\n%s\n%s = %s\n"):format(backend, before, row[1], text)
        assert.equal(place, said(all):sub(1, #place))
      end
    end
    os.remove(path)
  end)

  it("luws.bridge in Lua", function()
    local strange = coroutine.create(function() end) -- no option is one
    for _, case in ipairs {
      { options.CORE }, { options.LUA }, { options.BACKENDS.defaultpeer }, { options.BACKENDS.file, "file" },
    } do
      for _, row in ipairs(case[1]) do
        local given, key = { backend = case[2], path = case[2] and "/" }, options.key(row)
        given[key] = strange
        local read, wrong = settings.read(given)
        assert.is_nil(read)
        local expected = ("bad option '%s' ("):format(key)
        assert.equal(expected, wrong:sub(1, #expected))
      end
    end
  end)
end)
