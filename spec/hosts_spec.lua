-- Unusual hosts: those without coroutines yet, Lua states that are being closed, and users who press Ctrl-C. Each test
-- runs in an interpreter of its own.

local child = require "spec.support.child"
local odd_host = require "spec.support.odd_host"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local unpack = require "spec.support.compat".unpack

local INTERPRETER = os.getenv "LUWS_SPEC_LUA" or "lua5.1"

local function urls() return servers.url("demo", "ws", "/echo"), servers.url("demo", "wss", "/echo") end

it("the module loads, and an echo comes back, where coroutines cannot be made yet", function()
  -- OpenResty replaces these four with its own, which raise errors in the phases in which it loads modules.
  local output, status = child.program([[
    for _, name in ipairs { "create", "resume", "wrap", "yield" } do
      coroutine[name] = function() error("API disabled in the context of init_by_lua*", 2) end
    end
    local luws = require "luws"
    local told
    local conn = assert(luws.wsopen(..., function(_, opcode, data) told = opcode .. " " .. data end))
    assert(luws.wssend(conn, 1, "hello"))
    local deadline = luws.gettime() + 10
    while not told and luws.gettime() < deadline do
      luws.wswait(conn, 1)
      assert(luws.wsreceive(conn) ~= nil)
    end
    luws.wsclose(conn)
    print(told, luws.wswait(conn, 5), conn.was_clean)
  ]], (urls()))
  assert.equal("1 hello\ttrue\ttrue\n", output)
  assert.equal(0, status)
end)

-- When a Lua state is closed, it runs all finalisers, the youngest object's first, and frees the libraries like any
-- other object. So a finaliser may find that everything of the module is gone except what the program still refers to.
-- A function then returns at once, with one of its documented values; which of them is not promised.
describe("a finaliser that runs after the module's own", function()
  local PRELUDE = [[
    local ws, wss, ca_file = ...
    local luws, conns
    local function say(...)
      local values = { ... }
      for i = 1, select("#", ...) do values[i] = tostring(values[i]) end
      io.write(#values == 0 and "nothing" or table.concat(values, " "), "\n")
    end
    local function load()
      luws = require "luws"
      conns = {}
      for i, url in ipairs { ws, wss } do
        conns[i] = assert(luws.wsopen(url, nil, { ssl_verify = "peer", ssl_cafile = ca_file }))
      end
    end
    local finaliser
    local function proxy()
      X = newproxy(true)
      getmetatable(X).__gc = function() finaliser() end
    end
  ]]

  -- When the finaliser runs: after the module's, because the object is older; or first, then it makes the others run
  -- meanwhile. Doing that must not matter if the others have already run.
  local ORDERS = {
    { "of an object older than it", "proxy()  load()", "" },
    { "of an object older than it, which collects", "proxy()  load()", "collectgarbage()" },
    { "of an object younger than it, which collects", "load()  proxy()", "collectgarbage()", "Lua 5.1" },
  }

  local CLOSING = "false the Lua state is being closed"

  -- name, the call, its output (one of these lines each time), and how often, if `conn` is to be a connection over ws
  -- and then one over wss
  local CALLS = {
    { "cannot open a connection", "say(luws.wsopen(ws))", { CLOSING } },
    { "cannot open one to what is no URL, either", "say(luws.wsopen '@')  say(luws.wsopen(5))", { CLOSING } },
    {
      "cannot open one with an argument that is wrong, either", "say(luws.wsopen(ws, 1))",
      { CLOSING, "false bad argument #2 to 'wsopen' (function expected, got number)" },
    },
    {
      "may have another module table, or is told why not",
      "say(type(select(2, pcall(luws.instance, 'L_Other_LuWS'))))", { "table", "string" },
    },
    { "knows the time", "say(math.abs(luws.gettime() - os.time()) < 60)", { "true" } },
    { "does not wait in sleep", "local before = os.time()  luws.sleep(10)  say(os.time() - before < 5)", { "true" } },
    { "finds nothing to send to", "say(luws.wssend(conn, 1, 'hello'))", { "false not connected" }, 2 },
    {
      "finds nothing to send a source to", "say(luws.wssend(conn, 1, function() return nil, 'pulled' end))",
      { "false not connected", "false pulled" }, 2,
    },
    { "gets its source's error back", "say(pcall(luws.wssend, conn, 1, function() error('pulled', 0) end))",
      { "true false not connected", "false pulled" }, 2 },
    { "finds nothing to receive from", "say(luws.wsreceive(conn))", { "nil not connected", "nil closed" }, 2 },
    { "may close", "say(luws.wsclose(conn))  say(conn:close())", { "nothing", "1" }, 2 },
    { "finds nothing to wait for", "say(luws.wswait(conn))  say(luws.wswait(conn, 30))", { "true" }, 2 },
    {
      "finds nothing to watch", "say(luws.watch(conn))", { "false not connected", "false this is not openLuup" }, 2,
    },
    { "finds nothing to reset", "say(luws.wsreset(conn))", { "nothing" }, 2 },
    {
      "may offer bytes", "say(luws.wshandleincoming('\\129\\1x', conn))",
      { "nil not connected", "nil closed", "true" }, 2,
    },
    { "finds nothing left to be sent", "say(conn.bufferedAmount)", { "0" }, 2 },
    {
      "has nothing for an event loop",
      "say(conn:getfd(), conn:pollfd(), conn:dirty(), conn:events(), (conn:timeout()))",
      { "-1 -1 false r 0", "-1 -1 false r nil", "-1 -1 nil r nil" }, 2,
    },
  }

  for _, order in ipairs(ORDERS) do
    describe(order[1] .. ",", function()
      if order[4] and order[4] ~= _VERSION then
        it(("does any of %d things"):format(#CALLS), function()
          return pending("in " .. _VERSION .. " nothing is collected any more while the state is being closed")
        end)
        return
      end
      for _, case in ipairs(CALLS) do
        local name, call, expected, times = unpack(case)
        it(name, function()
          local calls = select(2, call:gsub("say%(", "")) * (times or 1)
          if times then call = ("for _, conn in ipairs(conns) do %s end"):format(call) end
          local finaliser = ("function finaliser() %s  %s end "):format(order[3], call)
          local ws, wss = urls()
          local output, status = child.program(PRELUDE .. finaliser .. order[2], ws, wss, servers.ca_file())
          local is_expected, lines = {}, 0
          for _, line in ipairs(expected) do is_expected[line] = true end
          for line in output:gmatch "([^\n]*)\n" do
            lines = lines + 1
            assert.is_true(is_expected[line], line)
          end
          assert.same({ calls, 0 }, { lines, status }, output)
        end)
      end
    end)
  end
end)

-- Nothing that is created then has a finaliser of its own.
describe("what a finaliser opens while the Lua state is being closed is closed with it:", function()
  for name, opened in pairs {
    ["a connection"] = "luws.wsopen(url)",
    ["one that is closed at once"] = "luws.wsclose(luws.wsopen(url))",
    ["one that nobody waits for"] = "luws.wsopen(url, nil, { wait = false })",
    ["one that cannot be opened"] = "luws.wsopen 'ws://127.0.0.1:1/'",
    ["one over TLS"] = "luws.wsopen(wss, nil, { ssl_verify = 'none' })",
    ["the reactor"] = "require 'luws.reactor'.getfd()",
  } do
    it(name, function()
      local output, status = odd_host.run { input = ([[
        local url, wss = ...
        local program = ("package.cpath, luup = %%q, { log = function() end }\n"):format(package.cpath) .. [=[
          local luws = require "luws"
          local url, wss = (...):match "^(%%S+) (%%S+)$"
          local proxy = newproxy and newproxy(true) or setmetatable({}, {})
          getmetatable(proxy).__gc = function() finished = %s end
          if not newproxy then setmetatable(proxy, getmetatable(proxy)) end
          X = proxy
        ]=]
        local function close_states(count)
          for _ = 1, count do assert(odd.in_state(program, url .. " " .. wss)) end
        end
        local function allocated()
          collectgarbage()
          collectgarbage()
          return odd.allocated()
        end
        local had = descriptors()
        close_states(3)
        local before = allocated()
        close_states(5)
        local left = allocated() - before
        print(descriptors() - had, left < 1024 and "nothing" or left)
      ]]):format(opened), servers.url("demo", "ws", "/echo"), servers.url("demo", "wss", "/echo"),
        environment = "GLIBC_TUNABLES=glibc.malloc.tcache_count=0" }
      assert.same({ "0\tnothing\n", 0 }, { output, status })
    end)
  end
end)

for _, scheme in ipairs { "ws", "wss" } do
  it("a Lua state that is closed first sends queued data and the close frame: " .. scheme, function()
    local size = 2 ^ 22 -- more than the sockets have room for
    local peer = scripted.peer {
      tls = scheme == "wss", receive_buffer = 4096,
      { "upgrade" }, { "wait" }, { "read_frame", 2 }, { "read_to_eof" },
    }
    local closed = scripted.peer { { "request" }, { "close" } } -- connected to when wsclose has returned
    local finish = child.start { input = [[
      local url, size, closed, ca_file = ...
      local luws = require "luws"
      local conn = assert(luws.wsopen(url, nil,
        { ssl_verify = "peer", ssl_cafile = ca_file, send_timeout = 0, close_timeout = 30, use_masking = false }))
      print(luws.wssend(conn, 2, ("x"):rep(size)))
      luws.wsclose(conn, 4000)
      luws.wsopen(closed)
    ]], peer.url, tostring(size), closed.url, servers.ca_file() }
    closed:result()
    peer:go()
    local output, status = finish()
    assert.same({ "true\n", 0 }, { output, status })
    local frames = peer:result().frames
    assert.is_true(frames[1].payload == ("x"):rep(size))
    assert.same({ 8, scripted.close_payload(4000) }, { frames[2].opcode, frames[2].payload })
    closed:close()
    peer:close()
  end)
end

-- The interpreters turn the signal into an error, which is raised when they run again.
describe("Ctrl-C ends", function()
  local SOON = 5 -- seconds; much less than the interrupted waits

  local peer

  after_each(function()
    if peer then peer:close() end
    peer = nil
  end)

  --- Returns the state of a process: "S" while it sleeps in a system call, "Z" after its end, until it is waited for.
  local function doing(pid)
    local file = io.open(("/proc/%d/stat"):format(pid))
    if not file then return "Z" end
    local state = file:read("*a"):match "^.*%) (%a)"
    file:close()
    return state
  end

  --- Returns whether a process reaches this state within the given seconds.
  local function gets_to(pid, state, seconds)
    local deadline = socket.gettime() + seconds
    repeat
      if doing(pid) == state then return true end
      socket.sleep(0.001)
    until socket.gettime() > deadline
    return false
  end

  --- Runs a program that prints "waiting" when it is about to wait, and interrupts it once it waits and `ready`, which
  -- waits for any preconditions, has returned. Returns whether it ended soon, and the rest of its output.
  local function interrupt(program, ready, ...)
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write(program)
    file:close()
    -- The shell becomes the interpreter, so this is the interpreter's process number.
    local command = "echo $$; exec %s %s %s 2>&1 </dev/null"
    local pipe = assert(io.popen(command:format(INTERPRETER, script, table.concat({ ... }, " "))))
    local pid, said = tonumber((pipe:read "*l")), pipe:read "*l"
    local waits = said == "waiting" and ready() and gets_to(pid, "S", 10)
    if waits then os.execute("kill -INT " .. pid) end
    local ended = gets_to(pid, "Z", SOON)
    if not ended then os.execute("kill -KILL " .. pid) end
    local output = pipe:read "*a"
    pipe:close()
    os.remove(script)
    assert(waits, ("it does not wait: %s\n%s"):format(tostring(said), output))
    return ended, output
  end

  -- name, the peer's script, the code before, the code to interrupt, and the step that the peer must reach first.
  -- `open(options)` opens a connection.
  local OPEN = "local conn = assert(open())"
  local CASES = {
    { "wswait with a time", { { "upgrade" }, { "hold" } }, OPEN, "luws.wswait(conn, 30)" },
    { "wswait without one", { { "upgrade" }, { "hold" } }, OPEN, "luws.wswait(conn)" },
    { "sleep", nil, "", "luws.sleep(30)" },
    {
      "wsopen while the upgrade is not answered", { { "request" }, { "hold" } }, "", "open { upgrade_timeout = 30 }",
      2, -- so that it does not wait in the TLS handshake
    },
    { "wsopen while the address does not answer", "silent", "", "open { connect_timeout = 30 }" },
    {
      "wssend while there is no room", { receive_buffer = 4096, { "upgrade" }, { "wait" } },
      "local conn, data = assert(open { send_timeout = 30 }), ('x'):rep(2 ^ 24)", "luws.wssend(conn, 2, data)",
    },
    {
      "wswait after wsclose, while the close frame is not answered", { { "upgrade" }, { "hold" } },
      "local conn = assert(open { close_timeout = 30 })  luws.wsclose(conn)", "luws.wswait(conn)",
    },
  }

  for _, case in ipairs(CASES) do
    local name, script, before, waiting, first = unpack(case, 1, 5)
    for _, tls in ipairs { false, true } do
      if not tls or type(script) == "table" then
        it(name .. (type(script) ~= "table" and "" or tls and " (wss)" or " (ws)"), function()
          if script == "silent" then
            peer = scripted.silent()
          elseif script then
            local steps = { tls = tls, receive_buffer = script.receive_buffer }
            for i, step in ipairs(script) do steps[i] = step end
            peer = scripted.peer(steps)
          end
          local ended, output = interrupt(([[
            local luws, url, ca_file = require "luws", ...
            local function open(options)
              options = options or {}
              options.ssl_verify, options.ssl_cafile = "peer", ca_file
              return luws.wsopen(url, nil, options)
            end
            %s
            io.write "waiting\n"
            io.flush()
            local ok, why = pcall(function() %s end)
            io.write(ok and "it went on" or "an error that is a " .. type(why), "\n")
            error(why, 0)
          ]]):format(before, waiting), function() return not first or peer:at(first) end, peer and peer.url or "none",
            servers.ca_file())
          assert.is_true(ended, "it goes on waiting")
          assert.matches("interrupted!", output)
          assert.matches("an error that is a string\n", output)
        end)
      end
    end
  end

  -- LuaSocket continues to wait after a signal, so each wait is short. The interpreter's error may be raised within
  -- the socket's method, and counts as that method's.
  it("wswait with the program's own socket, or is reported as that socket's error", function()
    peer = scripted.peer { { "upgrade" }, { "hold" } }
    local ended, output = interrupt([[
      local luws, socket = require "luws", require "socket"
      local function connect(host, port) return socket.connect(host, port) end
      local conn = assert(luws.wsopen(..., nil, { connect = connect }))
      io.write "waiting\n"
      io.flush()
      local ok, why = pcall(luws.wswait, conn, 30)
      if ok then why = select(2, luws.wsreceive(conn)) end
      print(why)
    ]], function() return true end, peer.url)
    assert.is_true(ended, "it goes on waiting")
    assert.matches("interrupted!\n$", output)
  end)
end)
