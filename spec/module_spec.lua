-- The module itself: how it is loaded, by its own name and by those of plugins, and from where; what it logs, and dump.
-- Anything that a Lua state keeps for good is tested in separate interpreters. Connections have their own specs.

local child = require "spec.support.child"
local luws = require "luws"
local servers = require "spec.support.servers"
local world = require "spec.support.world"

-- The beginning of each child program: arg[1] is the URL of an echo server, arg[2] the folder with the stub under two
-- plugins' names.
local PRELUDE = [[
local url, folder = arg[1], arg[2]
package.path = folder .. "/?.lua;" .. package.path
local function collect()
  for _ = 1, 5 do collectgarbage() end
end
-- Sends a message, and returns what comes back; each step runs in a coroutine that is dropped afterwards.
local function echo(luws, conn, received)
  local function step(f) return coroutine.wrap(f)() end
  step(function() assert(luws.wssend(conn, 1, "hello")) end)
  local deadline = luws.gettime() + 10
  while not received[1] and luws.gettime() < deadline do
    step(function() return luws.wswait(conn, 1) end)
    step(function() return assert(luws.wsreceive(conn) ~= nil) end)
    collectgarbage "step"
  end
  return received[1]
end
]]

local FUNCTIONS = {
  "wsopen", "wssend", "wsreceive", "wsclose", "wsreset", "wslastping", "wshandleincoming", "wswait", "watch",
  "dump", "gettime",
  "sleep",
}

describe("the module", function()
  local folder

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
    local root = debug.getinfo(1, "S").source:match "^@(.*)spec/module_spec%.lua$"
    local file = assert(io.open(root .. "lua/L_MyPlugin_LuWS.lua"))
    local stub = file:read "*a"
    file:close()
    for _, name in ipairs { "L_Alpha_LuWS", "L_Beta_LuWS" } do
      file = assert(io.open(folder .. "/" .. name .. ".lua", "w"))
      file:write(stub)
      file:close()
    end
  end)

  teardown(function() os.execute("rm -r " .. folder) end)

  --- Runs a program that must print `expected` and end well.
  local function assert_prints(expected, program)
    local output, status = child.program(PRELUDE .. program, servers.url("demo", "ws", "/echo"), folder)
    assert.equal(expected, output)
    assert.equal(0, status)
  end

  it("is a table of functions, debug_mode and _VERSION", function()
    for _, name in ipairs(FUNCTIONS) do assert.equal("function", type(luws[name]), name) end
    assert.is_false(luws.debug_mode)
  end)

  it("has a _VERSION of the form yyddd, newer than LuWS's", function()
    assert.equal("number", type(luws._VERSION))
    assert.is_true(luws._VERSION > 20358)
    local day = luws._VERSION % 1000
    assert.is_true(day >= 1 and day <= 366 and day % 1 == 0)
  end)

  -- name, program, what it prints
  local programs = {
    {
      "is loaded once, and leaves no global of its own name behind", [[
        local luws = require "luws"
        print(luws == require "luws", luws == package.loaded.luws, rawget(_G, "luws"))
      ]], "true\ttrue\tnil\n",
    },
    {
      "leaves no other global behind, and the metatables of the basic types alone", [[
        local before, metatable = {}, getmetatable "".__index
        for k, v in pairs(_G) do before[k] = v end
        require "luws"
        for k, v in pairs(_G) do assert(before[k] == v, k) end
        print(getmetatable "".__index == metatable, debug.getmetatable(1), debug.getmetatable(print))
      ]], "true\tnil\tnil\n",
    },
    {
      "is loaded by a stub of any name, which becomes a global, too", [[
        local luws, alpha = require "luws", require "L_Alpha_LuWS"
        print(type(alpha), alpha == luws, L_Alpha_LuWS == alpha, package.loaded.L_Alpha_LuWS == alpha)
        for k, v in pairs(luws) do assert(type(v) == type(alpha[k]), k) end
        assert(alpha._VERSION == luws._VERSION and require "L_Alpha_LuWS" == alpha)
      ]], "table\tfalse\ttrue\ttrue\n",
    },
    {
      "is loaded from within an environment of the plugin's own", [[
        local env = setmetatable({}, { __index = _G })
        local plugin = assert(loadstring 'luws = require "L_Alpha_LuWS"; return luws == L_Alpha_LuWS')
        print(setfenv(plugin, env)(), rawget(env, "L_Alpha_LuWS"), env.luws == _G.L_Alpha_LuWS)
        setfenv(assert(loadstring 'luws = require "L_Beta_LuWS"'), { require = require })() -- one without any globals
        print(L_Beta_LuWS.dump { 1 })
      ]], "true\tnil\ttrue\n{ 1=1 }\n",
    },
    {
      "loads its other parts with the globals that were there at first", [[
        local luws, write = require "luws", io.write
        if _VERSION == "Lua 5.1" then setfenv(0, {}) end -- luacheck: ignore
        local _, why = luws.wsopen("wss://127.0.0.1:1/", nil, { ssl_nonsense = 1 })
        write(why)
      ]], "bad option 'ssl_nonsense' (unknown)",
    },
    {
      "does not load before they are needed the parts that connections need", [[
        local loaded = {}
        debug.sethook(function()
          local found = debug.getinfo(2, "S")
          if found.what == "main" then loaded[#loaded + 1] = found.source:match "^@luws/(.*)%.lua$" end
        end, "c")
        require "luws"
        debug.sethook()
        table.sort(loaded)
        print(table.concat(loaded, " "))
      ]], "clock guard loader log luws quick\n",
    },
    {
      "loads its other parts again if a debug hook's error breaks off the first time, at any place", [[
        if jit then jit.off() end -- machine code calls no hooks
        local broken = 0
        for instructions = 1, 5000, 97 do
          local luws = require "luws".instance()
          local ok = pcall(function()
            debug.sethook(function() debug.sethook() error "enough" end, "", instructions)
            luws.wsopen("ws://127.0.0.1:1/")
            debug.sethook()
          end)
          broken = broken + (ok and 0 or 1)
          local conn = assert(luws.wsopen("ws://127.0.0.1:1/", nil, { wait = false }))
          luws.wsclose(conn)
          local _, why = luws.wsopen("ws://127.0.0.1:1/", nil, { receive_timeout = "soon" })
          assert(why == "bad option 'receive_timeout' (number expected, got string)", why)
        end
        print(broken > 25)
      ]], "true\n",
    },
    {
      "is loaded by a plugin that is a module with package.seeall", [[
        package.preload.L_Alpha1 = loadstring 'module(..., package.seeall)  luws = require "L_Alpha_LuWS"'
        require "L_Alpha1"
        print(L_Alpha1.luws == L_Alpha_LuWS, rawget(L_Alpha1, "L_Alpha_LuWS"), rawget(_G, "luws"))
      ]], "true\tnil\tnil\n",
    },
    {
      "is collected if nobody holds it any more, as plugins are loaded anew, except for the first", [[
        if jit then jit.off() end -- machine code would hold what it was made for
        local held = setmetatable({}, { __mode = "v" })
        for i = 1, 4 do
          package.loaded.luws = nil
          held[i] = require "luws"
          held[i].wsopen("ws://127.0.0.1:1/")
          local reactor = require "luws.reactor"
          reactor.step(0)
        end
        for _ = 1, 3 do collectgarbage() end
        print(held[2], held[3], held[4] == package.loaded.luws)
      ]], "nil\tnil\ttrue\n",
    },
    {
      "has what forks of LuWS have: wsinit and ABOUT", [[
        local luws = require "L_Alpha_LuWS"
        luws.wsinit(true)
        local on = luws.debug_mode
        luws.wsinit()
        print(on, luws.debug_mode, luws.ABOUT.NAME, luws.ABOUT.VERSION == luws._VERSION)
      ]], "true\tfalse\tL_Alpha_LuWS\ttrue\n",
    },
    {
      "is another for each plugin: neither sees the other's debug_mode or changes", [[
        local alpha, beta = require "L_Alpha_LuWS", require "L_Beta_LuWS"
        local lines = {}
        function print(_, text) lines[#lines + 1] = text:match "^[^:]*" end
        alpha.debug_mode, alpha.wssend, alpha.extra = true, nil, 1
        for _, luws in ipairs { alpha, beta } do
          local received = {}
          local conn = assert(luws.wsopen(url, function(_, _, data) received[1] = data end))
          if luws == beta then assert(echo(beta, conn, received) == "hello" and not beta.extra) end
          luws.wsclose(conn)
        end
        for i = 1, #lines do assert(lines[i] == "L_Alpha_LuWS", lines[i]) end
        io.write(#lines > 0 and "logged\n" or "silent\n")
      ]], "logged\n",
    },
    {
      "makes room for itself at any depth of the stack", [[
        local luws = require "luws"
        -- Each coroutine has a stack of its own, as large as its calls need. Once it has ended, its memory is
        -- overwritten, so a stale reference makes the process crash.
        local function at(depth)
          if depth == 0 then return luws.instance("L_Deep_LuWS").gettime() > 0 end
          return (at(depth - 1))
        end
        for depth = 0, 150 do
          assert(coroutine.wrap(at)(depth))
          if depth % 10 == 0 then collectgarbage() end
        end
        print "made"
      ]], "made\n",
    },
    {
      "survives the coroutine in which it was first loaded", [[
        for _ = 1, 3 do
          local luws, conn
          coroutine.wrap(function() luws = require "luws" end)()
          collect()
          local overwritten = {} -- the memory that was the coroutine's; any reference to it crashes
          for i = 1, 20000 do overwritten[i] = i .. ("x"):rep(i % 400) end
          local received = {}
          coroutine.wrap(function()
            conn = assert(luws.wsopen(url, function(_, _, data) received[1] = data end))
          end)()
          collect()
          print(echo(luws, conn, received))
          pcall(conn.socket.wait, 1, 2, 3, {})
          luws.wsclose(conn)
          assert(select(2, pcall(luws.wsopen, "nonsense")):match "^Invalid protocol/address")
          package.loaded.luws, luws, conn = nil, nil, nil
          collect()
        end
      ]], "hello\nhello\nhello\n",
    },
  }
  for _, case in ipairs(programs) do
    it(case[1], function()
      if case[2]:find "module%(" and not rawget(_G, "module") then return pending(_VERSION .. " has no module()") end
      assert_prints(case[3], case[2])
    end)
  end

  describe("lets the interpreter end", function()
    for name, ending in pairs {
      ["with a connection open"] = "",
      ["by os.exit"] = "os.exit(0)",
      ["with a connection that nothing refers to"] = "conn = nil  collect()",
      ["with the module forgotten before the connection"] = "package.loaded.luws, luws = nil, nil  collect()",
      ["when a finalizer closes the connection"] = [[
        local proxy = newproxy(true)
        getmetatable(proxy).__gc = function() luws.wsclose(conn)  assert(luws.wsreceive(conn) == nil) end
      ]],
      ["in the middle of a look-up"] = [[
        luws.wsopen("ws://nobody.invalid/", nil, { connect_timeout = 0 })
      ]],
    } do
      it(name, function()
        assert_prints("hello\n", [[
          local luws
          coroutine.wrap(function() luws = require "L_Alpha_LuWS" end)()
          collect()
          local received = {}
          local conn = assert(luws.wsopen(url, function(_, _, data) received[1] = data end))
          print(echo(luws, conn, received))
        ]] .. ending)
      end)
    end
  end)

  it("says what is wrong when require finds its source instead", function()
    local output, status = child.run { environment = "LUA_PATH='./lua/?.lua'", "-e", 'print(pcall(require, "luws"))' }
    assert.matches("^false\t.*this file is compiled into luws%.so and is of no use by itself; "
      .. "take its folder out of package%.path\n$", output)
    assert.equal(0, status)
  end)
end)

describe("logging", function()
  local log, conn, real_print

  --- Returns the log messages of sending a message, each preceded by its level.
  local function logged()
    log = {}
    assert(luws.wssend(conn, 1, "hello"))
    return log
  end

  before_each(function()
    log, real_print = {}, _G.print
    conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo")))
    _G.print = function(level, message) log[#log + 1] = level .. " print " .. message end
  end)

  after_each(function()
    _G.print, _G.luup, luws.debug_mode = real_print, nil, false
    luws.wsclose(conn)
  end)

  it("is silent unless debug_mode is set, which is read each time", function()
    assert.same({}, logged())
    luws.debug_mode = true
    assert.same({ ('50 print luws: %s sent text (opcode 1), 5 bytes, fin=1 rsv=000'):format(tostring(conn)) }, logged())
    luws.debug_mode = false
    assert.same({}, logged())
    luws.debug_mode = 1
    assert.equal(1, #logged())
  end)

  it("goes to luup.log while there is a luup, which may come and go", function()
    luws.debug_mode = true
    for _, case in ipairs {
      { nil, "50 print " },
      { { log = function(message, level) log[#log + 1] = level .. " luup " .. message end }, "50 luup " },
      { {}, "50 print " }, -- some other luup
      { nil, "50 print " },
    } do
      _G.luup = case[1]
      local line = "%sluws: %s sent text (opcode 1), 5 bytes, fin=1 rsv=000"
      assert.same({ line:format(case[2], tostring(conn)) }, logged())
    end
  end)

  it("reports errors without debug_mode, at level 1", function()
    conn.msghandler = function() error "the handler's mistake" end
    assert.is_true(luws.wshandleincoming("\129\1x", conn))
    assert.equal(1, #log)
    assert.matches("^1 print luws: .*the handler's mistake\nstack traceback:", log[1])
  end)
end)

describe("dump", function()
  it("shows no private part of a connection, such as the password of its URL", function()
    local w = world.new()
    w.next_peer = w:peer()
    local conn = assert(w.luws.wsopen "ws://me:secret@peer.test/")
    local text = w.luws.dump(conn)
    assert.is_nil(text:find("secret", 1, true) or text:find(require "mime".b64 "me:secret", 1, true))
    assert.is_truthy(text:find('ip="peer.test"', 1, true))
    assert.is_nil(text:find("session", 1, true))
  end)

  it("shows neither the query of a connection nor the secrets in its headers and options", function()
    local w = world.new()
    local options = {
      upgrade_headers = { Authorization = "Bearer hunter2", cookie = "a=hunter2", ["X-Name"] = "shown" },
      ssl = { password = "hunter2" }, ssl_password = "hunter2",
    }
    w:play { { "upgrade", headers = { "Set-Cookie: a=hunter2" } }, { "hold" } }
    local conn = assert(w.luws.wsopen("ws://peer.test/path?token=hunter2", nil, options))
    local text = w.luws.dump(conn)
    assert.is_nil(text:find("hunter2", 1, true), text)
    assert.is_truthy(text:find('path="/path?..."', 1, true), text)
    assert.is_truthy(text:find('["X-Name"]="shown"', 1, true), text)
    assert.is_truthy(w.luws.dump(options):find("hunter2", 1, true)) -- a table that is no connection is shown as it is
  end)

  it("hides all fields of a connection whose names say that they are secret, and the secrets of URLs", function()
    local w = world.new()
    local conn = w:open(nil, {
      ssl_password = "pass1",
      upgrade_headers = { Authorization = "Bearer pass2", Cookie = "id=pass3", Accept = "seen" },
    })
    conn.backup = "wss://me:p@ss:pass4@other.test/x?a=1&access_token=pass5&b=2#c"
    conn.secrets = { "pass6" }
    local text = w.luws.dump(conn)
    assert.is_nil(text:match "pass%d")
    for _, part in ipairs {
      "ssl_password=(hidden)", "Authorization=(hidden)", "Cookie=(hidden)", 'Accept="seen"', "secrets=(hidden)",
      'backup="wss://(hidden)@other.test/x?a=1&access_token=(hidden)&b=2#c"',
    } do
      assert.is_truthy(text:find(part, 1, true), part)
    end
  end)

  it("cuts strings of more than 255 bytes, but no character", function()
    assert.equal('"' .. ("x"):rep(255) .. '"', luws.dump(("x"):rep(255)))
    assert.equal('"' .. ("x"):rep(252) .. '..."', luws.dump(("x"):rep(256)))
    assert.equal('{ 1="' .. ("x"):rep(250) .. '..." }', luws.dump { ("x"):rep(250) .. "\226\130\172" .. "yyyy" })
  end)

  local recursive = { name = "r" }
  recursive.self = recursive
  local shared = { 1 }
  local cases = {
    { nil, "nil" },
    { true, "true" },
    { 1.5, "1.5" },
    { "text", '"text"' },
    { 'a"b\\c', '"a\\"b\\\\c"' },
    { {}, "{  }" },
    { { 1, "two", { three = false } }, '{ 1=1, 2="two", 3={ three=false } }' },
    { { ["a b"] = 1, ["end-"] = 2, [true] = 3, [-1.5] = 4 }, '{ -1.5=4, ["a b"]=1, ["end-"]=2, [true]=3 }' },
    { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, n = 10 }, "{ 1=1, 2=2, 3=3, 4=4, 5=5, 6=6, 7=7, 8=8, 9=9, 10=10, n=10 }" },
    { { [{}] = 1 }, "{ [table: ADDRESS]=1 }" },
    { recursive, '{ name="r", self=(recursion) }' },
    { { a = shared, b = shared }, "{ a={ 1=1 }, b={ 1=1 } }" }, -- a repeated table is not recursion
    { function() end, "function: ADDRESS" },
    { setmetatable({ x = 1 }, { __tostring = function() error "not asked" end }), "{ x=1 }" },
  }
  for i, case in ipairs(cases) do
    it("formats case " .. i .. ": " .. case[2], function()
      assert.equal(case[2], (luws.dump(case[1]):gsub("(%w+): [%w: ]*%w", "%1: ADDRESS")))
    end)
  end
end)
