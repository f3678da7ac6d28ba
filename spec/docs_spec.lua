-- The documentation: its examples run, its links lead somewhere, and every option and function is described.

local child = require "spec.support.child"
local files = require "spec.support.files"
local scripted = require "spec.support.scripted"

-- Texts in that file that a client never reports.
local OF_SERVERS = {
  "unmasked frame from a client", "the method is not GET", "the HTTP version is not 1.1", "no Host header",
  "the Host header is not a host", "the target is neither a path nor a URL", "the request has a body",
  "not a WebSocket upgrade", "Sec-WebSocket-Version is not 13", "Sec-WebSocket-Key is not 16 bytes in base64",
}

-- Texts in that file for errors that luws prevents earlier.
local PREVENTED = {
  " cannot be asked for", "the subprotocol ", " cannot be sent (1 text, 2 binary, 8 close, 9 ping, 10 pong)",
  "a control frame cannot be fragmented",
}

local MOST_COLUMNS, README_LINES = 120, 120

-- How long the server echoes before it closes, and how long a block may take, in seconds. Blocks wait most of the time,
-- so a few run at a time.
local ECHOES, PATIENCE, AT_A_TIME = 1, 8, 6

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a" -- nil for a folder
  if file then file:close() end
  return text
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local output = files.output

-- Pages

--- Returns the anchor that GitHub generates for a heading.
local function slug(heading)
  local text = heading:gsub("!?%[([^%]]*)%]%b()", "%1"):gsub("<[^>]*>", "")
  return (text:lower():gsub("[^%w%s_\128-\255-]", ""):gsub("%s", "-"))
end

--- Parses a page: its lines, the blocks of code (language, mark, first line, text), the anchors (line by name), the
-- explicit ids (in order), and the links.
local function parse(path)
  local page = { path = path, lines = {}, blocks = {}, anchors = {}, ids = {}, links = {}, repeated = {} }
  local block, mark, section
  local function anchor(name, number)
    if page.anchors[name] then page.repeated[#page.repeated + 1] = name end
    page.anchors[name] = number
  end
  local taken = {}
  for line in (assert(read(path), path):gsub("\n$", "") .. "\n"):gmatch "([^\n]*)\n" do
    local number = #page.lines + 1
    page.lines[number] = line
    local fence = line:match "^%s*```(.*)$"
    if block and fence then
      block.text = table.concat(block, "\n", 1, #block) .. "\n"
      page.blocks[#page.blocks + 1] = block
      block = nil
    elseif block then
      block[#block + 1] = line
    elseif fence then
      block = { language = fence:match "^%S*", mark = mark, line = number }
      mark = nil
    else
      if line ~= "" then mark = line:match "^%s*<!%-%- lua: (%w+) %-%->%s*$" end
      local level, heading = line:match "^(#+)%s+(.-)%s*$"
      if level then
        if #level == 2 then section = heading end
        local name = slug(heading)
        local count = taken[name]
        taken[name] = (count or 0) + 1
        if count then name = name .. "-" .. count end
        -- An id just before a heading may equal the anchor that GitHub generates for it.
        if page.anchors[name] ~= number - 1 then anchor(name, number) end
      end
      local plain = line:gsub("`[^`]*`", "")
      for id in plain:gmatch '<a%s+id="([^"]*)"' do
        anchor(id, number)
        page.ids[#page.ids + 1] = { name = id, section = section, line = number }
      end
      for target in plain:gmatch "%]%(([^)%s]+)[^)]*%)" do
        page.links[#page.links + 1] = { target = target, line = number }
      end
      local target = plain:match "^%[[^%]]+%]:%s*(%S+)"
      if target then page.links[#page.links + 1] = { target = target, line = number } end
    end
  end
  return page
end

local pages, by_path = {}, {}
for path in output("ls *.md docs/*.md"):gmatch "[^\n]+" do
  pages[#pages + 1] = parse(path)
  by_path[path] = pages[#pages]
end

local function page_at(path)
  if not by_path[path] and exists(path) and path:find "%.md$" then by_path[path] = parse(path) end
  return by_path[path]
end

--- Resolves a path relative to a page to one from the root of the project.
local function resolved(page, path)
  local parts = {}
  local whole = path:find "^/" and path:sub(2) or (page.path:match "^(.*/)" or "") .. path
  for part in whole:gmatch "[^/]+" do
    if part == ".." then
      table.remove(parts)
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts, "/")
end

local function at(page, number) return ("%s:%d"):format(page.path, number) end

describe("the documentation", function()
  it("has no broken links", function()
    local problems = {}
    for _, page in ipairs(pages) do
      for _, link in ipairs(page.links) do
        local path, anchor = link.target:match "^([^#]*)#?(.*)$"
        local target = path == "" and page.path or resolved(page, path)
        if not link.target:find "^%a[%w+.-]*:" then
          local there = page_at(target)
          if not exists(target) or there and anchor ~= "" and not there.anchors[anchor] then
            problems[#problems + 1] = at(page, link.line) .. ": " .. link.target
          end
        end
      end
    end
    assert.same({}, problems)
  end)

  it("has no duplicate anchors in a page", function()
    local problems = {}
    for _, page in ipairs(pages) do
      for _, name in ipairs(page.repeated) do problems[#problems + 1] = page.path .. "#" .. name end
    end
    assert.same({}, problems)
  end)

  it("has no line wider than 120 columns, and a README of at most 120 lines", function()
    local problems = {}
    for _, page in ipairs(pages) do
      local generated = false -- `make bench-docs` generates part of docs/speed.md
      for number, line in ipairs(page.lines) do
        if line == "<!-- the table, by `make bench-docs` -->" then generated = true end
        if line == "<!-- the end of the table -->" then generated = false end
        local _, columns = line:gsub("[^\128-\191]", "")
        if columns > MOST_COLUMNS and not generated then problems[#problems + 1] = at(page, number) end
      end
      if page.path == "README.md" and #page.lines > README_LINES then problems[#problems + 1] = "README.md" end
    end
    assert.same({}, problems)
  end)
end)

-- Options and functions to describe

--- Returns the names of wsopen's options, and for each option those of its settings. They are read from the source,
-- which lists them as { "name", ... one to a line.
local function registered()
  local top, inner, tls = {}, {}, {}
  for path in output "ls lua/luws/*.lua":gmatch "[^\n]+" do
    local list
    for line in read(path):gmatch "[^\n]+" do
      local rows = line:match "^local (%w+)_rows = {$"
      if line == "options.register {" then
        list = top
      elseif rows then
        inner[rows] = inner[rows] or {}
        list = inner[rows]
      elseif path:find "/tls%.lua$" and line == "local known = {" then
        list = tls
      elseif line == "}" then
        list = nil
      end
      local name = list and (list == tls and line:match "^  ([%w_]+) = " or line:match '^  { "([%w_]+)",')
      if name then list[#list + 1] = name end
    end
  end
  for _, name in ipairs(tls) do top[#top + 1] = "ssl_" .. name end
  top[#top + 1] = "ssl"
  return top, inner
end

describe("the reference", function()
  local luws = require "luws"
  local top, inner = registered()
  local REFERENCE = { "docs/api.md", "docs/tls.md", "docs/compression.md", "docs/openluup.md", "docs/proxies.md" }

  local function set(names)
    local result = {}
    for _, name in ipairs(names) do result[name] = true end
    return result
  end

  --- Returns those of these ids that are in none of the pages. `prefix` may precede them, with a dot or an underscore.
  local function missing(names, paths, prefix)
    local result = {}
    for _, name in ipairs(names) do
      local found = false
      for _, path in ipairs(paths) do
        local anchors = by_path[path] and by_path[path].anchors or {}
        found = found or anchors[name]
          or prefix and (anchors[prefix .. "." .. name] or anchors[prefix .. "_" .. name])
      end
      if not found then result[#result + 1] = name end
    end
    table.sort(result)
    return result
  end

  --- Returns the unknown ids in the section of a page.
  local function unknown(path, section, is_known)
    local result = {}
    for _, id in ipairs(by_path[path] and by_path[path].ids or {}) do
      if id.section == section and not is_known(id.name) then result[#result + 1] = at(by_path[path], id.line) end
    end
    return result
  end

  it("has an anchor for every option", function()
    assert.is_true(#top >= 30, "the rows of options are not found in lua/luws")
    assert.same({}, missing(top, REFERENCE))
    local of = {
      deflate = "docs/compression.md", sockproxy = "docs/openluup.md", reconnect = "docs/staying-connected.md",
      auth = "docs/opening.md", proxy = "docs/proxies.md",
    }
    for option, page in pairs(of) do
      assert.is_true(inner[option] and #inner[option] >= 4, "the rows of " .. option .. " are not found in lua/luws")
      assert.same({}, missing(inner[option], { page }, option))
    end
  end)

  it("describes no option that does not exist", function()
    local known = set(top)
    assert.same({}, unknown("docs/api.md", "Options of wsopen", function(name) return known[name] end))
    assert.same({}, unknown("docs/tls.md", "Options", function(name) return known[name] end))
    local deflate = set(inner.deflate)
    assert.same({}, unknown("docs/compression.md", "Options", function(name) return deflate[name] end))
  end)

  it("has an anchor for every function and field of the module, and for no other", function()
    local names = {}
    for name in pairs(luws) do names[#names + 1] = name end
    assert.same({}, missing(names, { "docs/api.md" }))
    local known = set(names)
    assert.same({}, unknown("docs/api.md", "Functions", function(name) return known[name] end))
  end)

  it("has the text of each engine error", function()
    local path, problems, unseen = "src/protocol/error.rs", {}, {}
    for _, texts in ipairs { OF_SERVERS, PREVENTED } do
      for _, text in ipairs(texts) do unseen[text] = true end
    end
    local errors = read "docs/errors.md"
    local code, checked = read(path):gsub("//[^\n]*", ""):gsub('\\"', "\1"), 0
    for literal in code:gmatch '"([^"]*)"' do
      -- The text between placeholders.
      for text in (literal:gsub("{[^{}]*}", "\2") .. "\2"):gmatch "([^\2]*)\2" do
        text = text:gsub("\1", '"')
        if #text > 10 and not unseen[text] then
          checked = checked + 1
          if not errors:find(text, 1, true) then problems[#problems + 1] = text end
        end
      end
    end
    assert.is_true(checked >= 30, "the texts are not found in " .. path)
    assert.same({}, problems)
  end)

  local LOG = "## Warnings and errors in the log"

  it("has the text of each message in the log", function()
    local errors, problems, checked = read "docs/errors.md", {}, 0
    errors = errors:sub((assert(errors:find(LOG, 1, true))))
    for path in output "ls lua/luws.lua lua/luws/*.lua lua/luws/*/*.lua":gmatch "[^\n]+" do
      for literal in read(path):gmatch "log%.%l+_?%l+%(+(%b\"\")" do
        local text = literal:sub(2, -2):match "^[^%%]*" -- what comes before the first placeholder
        if #text > 8 then
          checked = checked + 1
          if not errors:find(text, 1, true) then problems[#problems + 1] = text end
        end
      end
    end
    assert.is_true(checked >= 8, "the texts are not found in lua")
    assert.same({}, problems)
  end)

  it("has no message in the log that is not written", function()
    local code, problems, checked = output "cat lua/luws.lua lua/luws/*.lua lua/luws/*/*.lua", {}, 0
    local is_log = false
    for _, line in ipairs(by_path["docs/errors.md"].lines) do
      if line:find "^## " then is_log = line == LOG end
      local text = is_log and line:match "^| `([^`]+)` |"
      if text then
        checked = checked + 1
        -- Of the longest part without placeholders the last three words: what is before them may vary in the source.
        local longest = ""
        for part in text:gsub("%f[%w][%u%d]+%f[%W]", "\1"):gmatch "[^\1]+" do
          part = part:match "^%W*(.-)%W*$"
          if #part > #longest then longest = part end
        end
        local words = longest:match "%S+ %S+ %S+$" or longest
        if not code:find(words, 1, true) then problems[#problems + 1] = text end
      end
    end
    assert.is_true(checked >= 15, "the table is not found")
    assert.same({}, problems)
  end)

  it("has an anchor for every field and method of a connection", function()
    local peer = scripted.peer { { "upgrade" }, { "hold" } }
    local conn = assert(luws.wsopen(peer.url, print, { close_timeout = 0 }))
    luws.wsclose(conn)
    local names = {}
    for name in pairs(conn) do
      if type(name) == "string" then names[#names + 1] = name end
    end
    peer:close()
    assert.same({}, missing(names, { "docs/api.md" }))
    assert.same({}, unknown("docs/api.md", "Methods of a connection", function(name)
      return type(conn[name]) == "function"
    end))
  end)
end)

describe("a block of Lua in the documentation", function()
  local root = output "pwd":match "[^\n]+"
  local folder, peers, environment
  local runnable, running, begun = {}, {}, 0

  local function blocks()
    local list = {}
    for _, page in ipairs(pages) do
      for _, block in ipairs(page.blocks) do
        if block.language == "lua" then
          block.at = at(page, block.line)
          list[#list + 1] = block
          if block.mark ~= "syntax" then runnable[#runnable + 1] = block end
        end
      end
    end
    return list
  end

  --- Starts the next block, if there is one.
  local function start()
    begun = begun + 1
    local block = runnable[begun]
    if not block then return end
    local path = ("%s/%d.lua"):format(folder, begun)
    local file = assert(io.open(path, "w"))
    file:write(("\n"):rep(block.line), block.text) -- so that errors name the line of the page
    file:close()
    running[block] = child.start {
      root .. "/spec/support/block.lua", path, root, peers[1].url, peers[2].url, block.mark, environment = environment,
    }
  end

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(output(("mkdir '%s' && echo made"):format(folder)) == "made\n")
    peers = {}
    for _, tls in ipairs { false, true } do
      peers[#peers + 1] = scripted.peer { { "upgrade" }, { "echo", ECHOES }, tls = tls }
    end
    local function absolute(name)
      local path = (";" .. os.getenv(name)):gsub(";%./", ";" .. root .. "/"):sub(2)
      return ("%s='%s'"):format(name, path)
    end
    environment = ("--chdir='%s' %s %s timeout %d"):format(folder, absolute "LUA_PATH", absolute "LUA_CPATH", PATIENCE)
    for _ = 1, AT_A_TIME do start() end
  end)

  teardown(function()
    for _, finish in pairs(running) do finish() end
    for _, peer in ipairs(peers) do peer:close() end
    os.execute(("rm -r '%s'"):format(folder))
  end)

  for _, block in ipairs(blocks()) do
    it("at " .. block.at .. (block.mark == "syntax" and " compiles" or " runs"), function()
      assert.is_truthy((loadstring or load)(block.text, "=" .. block.at)) -- luacheck: ignore
      assert.is_true(block.mark == nil or block.mark == "syntax" or block.mark == "openluup", "an unknown mark")
      if block.mark == "syntax" then return end
      local said, status = running[block]()
      running[block] = nil
      start()
      assert(status == 0, ("it ended with status %s and said:\n%s"):format(tostring(status), said))
    end)
  end
end)
