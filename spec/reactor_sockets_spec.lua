-- The reactor over real sockets: its one descriptor shows everything, and each event loop that there is can drive it.
-- reactor_spec.lua has what does not depend on sockets.

local copas = require "copas" -- before anything that loads LuaSocket's own http
local cqueues = require "cqueues"
local child = require "spec.support.child"
local driven = require "spec.support.driven"
local files = require "spec.support.files"
local luv = require "luv"
local luws = require "luws"
local reactor = require "luws.reactor"
local servers = require "spec.support.servers"
local socket = require "socket"

local PATIENCE = driven.PATIENCE
local open, peer = driven.open, driven.peer

after_each(function() assert.is_true(driven.finish(), "something is left to be driven") end)

-- Stands for any outer loop: watches the one descriptor, and calls step(0) when it is readable.
local watched = { getfd = reactor.getfd }

--- run(done): drives the reactor by select alone until done() is true. Returns how often the descriptor was readable.
local function by_select(done)
  local deadline, turns = luws.gettime() + PATIENCE, 0
  while not done() do
    assert(luws.gettime() < deadline, "not done in time")
    if socket.select({ watched }, nil, 1)[1] then
      turns = turns + 1
      reactor.step(0)
    end
  end
  return turns
end

local function has_told(told, count) return function() return told[count] ~= nil end end

describe("the reactor's descriptor is readable", function()
  it("for a timer, and for nothing else", function()
    local called, begun = false, luws.gettime()
    reactor.after(0.05, function() called = true end)
    local turns = by_select(function() return called end)
    assert.is_true(turns <= 2, turns)
    assert.is_true(luws.gettime() - begun >= 0.05)
    assert.is_nil(socket.select({ watched }, nil, 0)[1])
  end)

  for _, case in ipairs {
    { "a message over ws, with an address", "ws", "127.0.0.1" },
    { "a message over ws, with a name that has to be looked up", "ws", "localhost" },
    { "a message over wss", "wss", "localhost" },
  } do
    it("for each step of opening, and for " .. case[1], function()
      local url = servers.url("demo", case[2], "/echo"):gsub("//[^:]+", "//" .. case[3])
      local conn, told = open(url, { ssl_verify = "none" })
      by_select(has_told(told, 1))
      assert.same({ "open" }, told)
      assert.is_true(luws.wssend(conn, 1, "Hello"))
      by_select(has_told(told, 2))
      assert.same({ 1, "Hello" }, told[2])
      assert.is_nil(socket.select({ watched }, nil, 0)[1])
    end)
  end

  for _, case in ipairs {
    { "a name that does not exist", "ws://nosuch.invalid/", "^Connection to nosuch%.invalid:80 failed: " },
    { "a port where nobody listens", "ws://127.0.0.1:1/", "^Connection to 127%.0%.0%.1:1 failed: connection refused$" },
  } do
    it("for " .. case[1], function()
      local conn, told = open(case[2])
      by_select(has_told(told, 1))
      assert.matches(case[3], told[1][2])
      assert.same({ nil, told[1][2] }, { luws.wsreceive(conn) })
    end)
  end

  it("for a connection that takes a while, and not while nothing happens to it", function()
    -- The queue of this one is full: the system lets nobody connect until one is accepted.
    local listening = assert(socket.bind("127.0.0.1", 0, 0))
    local port = select(2, listening:getsockname())
    local waiting, is_full = {}
    repeat
      local one = socket.tcp()
      one:settimeout(0.05)
      is_full = not one:connect("127.0.0.1", port)
      waiting[#waiting + 1] = one
    until is_full
    local conn, told = open(("ws://127.0.0.1:%d/"):format(port), { connect_timeout = 60, upgrade_timeout = 60 })
    while reactor.step(0) > 0 do end
    assert.equal(0, reactor.step(0.3))
    assert.same({}, told)
    for _, one in ipairs(waiting) do one:close() end
    listening:settimeout(PATIENCE)
    local accepted
    repeat
      accepted = assert(listening:accept())
      accepted:settimeout(PATIENCE)
      by_select(function() return socket.select({ accepted }, nil, 0)[1] end)
    until (accepted:receive "*l" or ""):find "^GET"
    while reactor.step(0) > 0 do end
    assert.equal(0, reactor.step(0.3))
    luws.wsclose(conn)
    accepted:close()
    listening:close()
  end)

  it("at the deadline of a server that says nothing", function()
    local begun = luws.gettime()
    local _, told = open(peer { { "hold" } }.url, { upgrade_timeout = 0.1 })
    by_select(has_told(told, 1))
    assert.same({ { false, "upgrade failed; timeout" } }, told)
    assert.is_true(luws.gettime() - begun >= 0.1)
  end)

  for _, scheme in ipairs { "ws", "wss" } do
    it("as long as there is anything of a large message to send or to receive, over " .. scheme, function()
      local size = 4 * 2 ^ 20
      local conn, told = open(servers.url("demo", scheme, "/echo"),
        { max_payload_size = size, send_timeout = 0, ssl_verify = "none" })
      by_select(has_told(told, 1))
      luws.wssend(conn, 2, ("x"):rep(size))
      by_select(has_told(told, 2))
      assert.equal(size, #told[2][2])
      assert.equal(0, conn.bufferedAmount)
    end)

    it("for the end of the stream that comes with the last bytes, over " .. scheme, function()
      local ending = peer { tls = scheme == "wss", { "upgrade" }, { "send", "\129\4last" }, { "close" } }
      local _, told = open(ending.url, { ssl_verify = "none" })
      by_select(has_told(told, 3))
      assert.same({ "open", { 1, "last" }, { false, "receiver error: closed" } }, told)
    end)

    it("for an end that came before it was open, behind more than one read takes, over " .. scheme, function()
      local messages = ("\130\126\39\16" .. ("x"):rep(10000)):rep(4)
      local ending = peer { tls = scheme == "wss", { "upgrade", tail = messages }, { "shutdown" }, { "hold" } }
      local _, told = open(ending.url, { ssl_verify = "none", connect = function(host, port)
        local sock = assert(socket.connect(host, port))
        return {
          getfd = function() return sock:getfd() end,
          send = function(_, ...)
            local sent, why, last = sock:send(...)
            socket.sleep(0.05) -- all of the answer is there when it is looked for
            return sent, why, last
          end,
          receive = function(_, ...) return sock:receive(...) end,
          settimeout = function(_, ...) return sock:settimeout(...) end,
          close = function() return sock:close() end,
        }
      end })
      by_select(has_told(told, 6))
      assert.same({ false, "receiver error: closed" }, told[6])
    end)
  end
end)

describe("the reactor drives a user's socket", function()
  it("whose last bytes come with an error that its descriptor does not show", function()
    local _, told = open(servers.url("demo", "ws", "/echo"), {
      connect = function(host, port)
        local sock = assert(socket.connect(host, port))
        return {
          getfd = function() return sock:getfd() end,
          send = function(_, ...) return sock:send(...) end,
          receive = function(_, ...)
            local data, why, partial = sock:receive(...)
            if data or partial ~= "" then return nil, "no more", data or partial end
            return data, why, partial
          end,
          settimeout = function(_, ...) return sock:settimeout(...) end,
          close = function() return sock:close() end,
        }
      end,
    })
    by_select(has_told(told, 2))
    assert.same({ "open", { false, "receiver error: no more" } }, told)
  end)

  for _, case in ipairs {
    { "by its descriptor", function(sock) return sock end },
    { "that has no descriptor, by looking now and then", function(sock)
      return {
        send = function(_, ...) return sock:send(...) end,
        receive = function(_, ...) return sock:receive(...) end,
        settimeout = function(_, ...) return sock:settimeout(...) end,
        close = function() return sock:close() end,
      }
    end },
  } do
    it(case[1], function()
      local conn, told = open(servers.url("demo", "ws", "/echo"), {
        connect = function(host, port)
          local sock, why = socket.connect(host, port)
          return sock and case[2](sock), why
        end,
      })
      by_select(has_told(told, 1))
      luws.wssend(conn, 1, "Hello")
      luws.wssend(conn, 1, ("x"):rep(50000))
      by_select(has_told(told, 3))
      assert.same({ "open", { 1, "Hello" } }, { told[1], told[2] })
      assert.equal(50000, #told[3][2])
    end)
  end
end)

describe("watch_fd", function()
  it("calls as long as there is something, until it is cancelled", function()
    local listening = assert(socket.bind("127.0.0.1", 0))
    local near = assert(socket.connect("127.0.0.1", (select(2, listening:getsockname()))))
    local far = assert(listening:accept())
    local seen = {}
    local function note(fd, events) seen[#seen + 1] = { fd, events } end
    local watch = reactor.watch_fd(near:getfd(), "r", note)
    assert.same({ false, ("reactor: descriptor %d cannot be watched: it is watched already"):format(near:getfd()) },
      { pcall(reactor.watch_fd, near:getfd(), "w", note) })
    assert.equal(0, reactor.step(0))
    far:send "x"
    reactor.step(PATIENCE)
    reactor.step(PATIENCE)
    assert.same({ { near:getfd(), "r" }, { near:getfd(), "r" } }, seen)
    watch:cancel()
    watch:cancel()
    assert.equal(0, reactor.step(0))
    local both = reactor.watch_fd(near:getfd(), "rw", note)
    reactor.step(PATIENCE)
    assert.same({ near:getfd(), "rw" }, seen[3])
    both:cancel()
    for _, one in ipairs { near, far, listening } do one:close() end
  end)

  it("says what cannot be watched", function()
    local closed = assert(socket.bind("127.0.0.1", 0))
    local fd = closed:getfd()
    closed:close()
    local text = "reactor: descriptor %d cannot be watched: Bad file descriptor"
    for _, bad in ipairs { 9999, fd } do
      assert.same({ false, text:format(bad) }, { pcall(reactor.watch_fd, bad, "r", print) })
    end
    local file = assert(io.open("docs/reactor.md"))
    local pipe = assert(io.popen "ls -l /proc/$PPID/fd")
    local number = tonumber(pipe:read("*a"):match "(%d+) %-> [^\n]*docs/reactor%.md")
    pipe:close()
    text = "reactor: descriptor %d cannot be watched: it is always ready, as files are"
    assert.same({ false, text:format(number) }, { pcall(reactor.watch_fd, number, "r", print) })
    file:close()
  end)
end)

describe("an event loop drives the reactor:", function()
  local function is_idle() return reactor.timeout() == nil and not reactor.dirty() end

  --- Has the loop deliver two messages, with the reactor idle in between, and bring a connection back that is lost
  -- twice. turn() runs the loop for a while.
  local function converse(host, turn)
    assert.is_true(reactor.attach(host))
    assert.is_true(reactor.attach(host)) -- twice is harmless
    local deadline = luws.gettime() + PATIENCE
    local function go_on(done)
      while not done() do
        assert(luws.gettime() < deadline, "not in time")
        turn()
      end
    end
    for round = 1, 2 do
      local conn, told = open(servers.url("demo", "ws", "/echo"))
      local timed = false
      reactor.after(0.01, function() timed = true end)
      go_on(function() return told[1] and timed end)
      luws.wssend(conn, 1, "round " .. round)
      go_on(has_told(told, 2))
      assert.same({ "open", { 1, "round " .. round } }, told)
      luws.wsclose(conn)
      go_on(is_idle)
    end
    local opened, lost = 0, 0
    local rude = peer { { "upgrade" }, { "read_frame" }, { "close" } }
    local conn = assert(luws.wsopen(rude.url, function() lost = lost + 1 end, {
      wait = false, close_timeout = 0, reconnect = { first = 0.01, most = 0.02 },
      open_handler = function(c)
        opened = opened + 1
        if opened < 3 then luws.wssend(c, 1, "hang up") end
      end,
    }))
    go_on(function() return opened == 3 end)
    assert.equal(2, lost)
    luws.wsclose(conn)
    go_on(is_idle)
  end

  it("copas", function() converse("copas", function() copas.step(1) end) end)

  it("luv", function() converse("luv", function() luv.run "once" end) end)

  it("cqueues", function()
    local controller = cqueues.new()
    local done = false
    controller:wrap(function()
      converse("cqueues", function() cqueues.sleep(0.005) end)
      done = true
    end)
    local deadline = luws.gettime() + PATIENCE
    while not done and luws.gettime() < deadline do assert(controller:step(1)) end
    assert.is_true(done)
  end)

  it("and there may be none", function()
    local names = { "copas", "cqueues", "luv", "openLuup.scheduler" }
    local loaded = {}
    for _, name in ipairs(names) do loaded[name], package.loaded[name] = package.loaded[name], nil end
    local results = {}
    for i, name in ipairs { "copas", "cqueues", "luv", "openluup" } do
      results[i] = select(2, reactor.attach(name))
    end
    results[5] = select(2, reactor.attach())
    for _, name in ipairs(names) do package.loaded[name] = loaded[name] end
    assert.same({ "copas is not here", "cqueues is not here", "luv is not here", "openluup is not here",
      "there is no event loop here" }, results)
  end)
end)

describe("wsopen { wait = 'yield' } lets other coroutines run", function()
  local COUNT = 20

  --- Opens connections to servers that take a while, and one to nobody, in coroutines that spawn(f) starts.
  local function open_all(spawn, run)
    local begun = luws.gettime()
    local slow = {}
    for i = 1, COUNT do slow[i] = peer { { "wait" }, { "upgrade" }, { "hold" } } end
    local results, ended = {}, 0
    for i = 1, COUNT + 1 do
      spawn(function()
        local url = slow[i] and slow[i].url or "ws://127.0.0.1:1/"
        results[i] = { luws.wsopen(url, nil, { wait = "yield" }) }
        if results[i][1] then driven.add(results[i][1]) end
        ended = ended + 1
      end)
    end
    reactor.after(0.05, function()
      for i = 1, COUNT do slow[i]:go() end
    end)
    run(function() return ended == COUNT + 1 end)
    assert.is_true(luws.gettime() - begun < PATIENCE)
    for i = 1, COUNT do assert.is_true(results[i][1] and results[i][1].connected, results[i][2]) end
    assert.same({ false, "Connection to 127.0.0.1:1 failed: connection refused" }, results[COUNT + 1])
    assert.equal(0, reactor.step(0)) -- they are not driven any more
  end

  it("of copas", function()
    open_all(copas.addthread, function(done)
      while not done() do copas.step(1) end
    end)
  end)

  it("of cqueues", function()
    local controller = cqueues.new()
    open_all(function(f) controller:wrap(f) end, function(done)
      while not done() do assert(controller:step(1)) end
    end)
  end)

  it("which are resumed while run goes on, and nobody else is told meanwhile", function()
    local loaded = package.loaded.copas
    package.loaded.copas = nil -- it would be taken for the one whose coroutines these are
    local told, greeting = {}, peer { { "upgrade", tail = "\129\2hi" }, { "hold" } }
    local function handler(_, ...) told[#told + 1] = { ... } end
    local result
    coroutine.wrap(function()
      result = { luws.wsopen("ws://127.0.0.1:1/", handler, { wait = "yield" }) }
      local conn = driven.add(assert(luws.wsopen(greeting.url, handler, { wait = "yield" })))
      told[#told + 1] = "open"
      assert.is_true(reactor.add(conn))
    end)()
    local limit = reactor.after(PATIENCE, reactor.stop)
    local function look()
      if #told == 2 then return reactor.stop() end
      reactor.after(0.01, look)
    end
    look()
    reactor.run()
    limit:cancel()
    package.loaded.copas = loaded
    assert.same({ false, "Connection to 127.0.0.1:1 failed: connection refused" }, result)
    assert.same({ "open", { 1, "hi" } }, told)
  end)

  it("and watches what it has opened again, if that is given to the reactor", function()
    local loaded = package.loaded.copas
    package.loaded.copas = nil
    local silent = peer { { "upgrade" }, { "hold" } }
    local conn
    coroutine.wrap(function()
      conn = driven.add(assert(luws.wsopen(silent.url, nil, { wait = "yield" })))
      reactor.add(conn)
    end)()
    by_select(function() return conn end)
    while reactor.step(0.02) > 0 do end
    package.loaded.copas = loaded
    assert.equal(0, reactor.step(0.2)) -- nothing is done now and then
  end)

  it("which the program resumes, as with luv", function()
    local loaded = package.loaded.copas
    package.loaded.copas = nil -- it would be taken for the one whose coroutines these are
    open_all(function(f) coroutine.wrap(f)() end, function(done)
      while not done() do luv.run "once" end
    end)
    package.loaded.copas = loaded
  end)
end)

describe("connecting_limit", function()
  it("counts addresses: other names of the same one are the same place", function()
    local held = peer { { "wait" }, { "upgrade" }, { "hold" } }
    local options = { connecting_limit = 1, connect_timeout = PATIENCE, upgrade_timeout = PATIENCE }
    local first, told = open(held.url, options)
    for _ = 1, 5 do reactor.step(0.01) end
    local next_url = servers.url("demo", "ws", "/echo")
    local second, other = open(next_url, { connecting_limit = 1 })
    local third, another = open((next_url:gsub("127.0.0.1", "localhost")), { connecting_limit = 1 })
    for _ = 1, 5 do reactor.step(0.01) end
    assert.same({ {}, {}, {} }, { told, other, another })
    held:go()
    by_select(function() return told[1] and other[1] and another[1] end)
    assert.same({ true, true, true }, { first.connected, second.connected, third.connected })
  end)
end)

describe("a program of its own", function()
  it("gets the reactor before luws, and the same one by both names and in all instances", function()
    local output, status = child.start { input = [[
      local reactor = require "luws.reactor"
      local luws = require "luws"
      assert(require "luws.reactor" == reactor)
      local other = luws.instance "other"
      local open = 0
      for _, one in ipairs { luws, other } do
        local conn = assert(one.wsopen(arg[1], nil, { wait = false, open_handler = function(c)
          open = open + 1
          one.wsclose(c)
        end }))
      end
      reactor.run(10)
      print(open)
    ]], servers.url("demo", "ws", "/echo") }()
    assert.same({ "2\n", 0 }, { output, status })
  end)
end)


describe("watch_signal", function()
  local output = files.output

  -- The shell's parent is this process.
  local function send(signal) output(("kill -%s $PPID"):format(signal)) end

  it("calls for each time that the signal has come, until it is cancelled", function()
    local seen = {}
    local function note(name) seen[#seen + 1] = name end
    local one, other = reactor.watch_signal("USR1", note), reactor.watch_signal("USR2", note)
    assert.same({ false, "reactor: signal USR1 cannot be watched: it is watched already" },
      { pcall(reactor.watch_signal, "USR1", note) })
    assert.equal(0, reactor.step()) -- there is nothing else
    reactor.run()
    for _, signal in ipairs { "USR1", "USR2", "USR1" } do
      send(signal)
      assert.equal(1, reactor.step(0))
      assert.equal(0, reactor.step(0))
    end
    assert.same({ "USR1", "USR2", "USR1" }, seen)
    send "USR1"
    one:cancel()
    one:cancel()
    assert.equal(0, reactor.step(0))
    one = reactor.watch_signal("USR1", note)
    assert.equal(0, reactor.step(0))
    local timer = reactor.after(PATIENCE, error)
    output "(sleep 0.05; kill -USR1 $PPID) >/dev/null &"
    reactor.step(PATIENCE)
    assert.equal(4, #seen)
    for _, watch in ipairs { one, other, timer } do watch:cancel() end
  end)

  -- what the program does, its output and its status
  local PROGRAM = [[
    local reactor = require("luws.reactor")
    local function ends() os.execute("kill -TERM $PPID") end
    %s
  ]]
  for name, case in pairs {
    ["is what ends a process if nobody watches for it"] = { "ends() print('not reached')", "", 143 },
    ["does nothing but call"] = {
      "local n = 0 reactor.watch_signal('TERM', function(name) n = n + 1 print(name) end)"
        .. " reactor.after(0, ends) reactor.after(0, ends) reactor.run() reactor.step(0) print(n)", "TERM\n1\n", 0,
    },
    ["is as before once it is cancelled"] = {
      "reactor.watch_signal('TERM', print):cancel() ends() print('not reached')", "", 143,
    },
    ["is still ignored if the process was started so"] = {
      "reactor.watch_signal('TERM', print) ends() print(reactor.step(0))", "0\n", 0, "--ignore-signal=TERM",
    },
  } do
    it("tells of a signal that " .. name, function()
      local said, status = child.run { input = PROGRAM:format(case[1]), environment = case[4] }
      assert.same({ case[2], case[3] }, { (said:gsub("^Terminated\n", "")), status }) -- which the shell says
    end)
  end

  it("says what cannot be watched", function()
    for _, name in ipairs { "KILL", "int", "" } do
      assert.same({ false, ("reactor: signal %s cannot be watched: there is no such signal"):format(name) },
        { pcall(reactor.watch_signal, name, print) })
    end
  end)
end)
