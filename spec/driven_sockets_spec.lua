-- Connections that the reactor drives over real sockets, when something goes wrong: a proxy, an address family, the
-- descriptors, a coroutine that never comes back, the end of the Lua state. reactor_sockets_spec.lua has how the
-- reactor's descriptor shows what happens.

local child = require "spec.support.child"
local driven = require "spec.support.driven"
local log = require "spec.support.log"
local luws = require "luws"
local odd_host = require "spec.support.odd_host"
local reactor = require "luws.reactor"
local servers = require "spec.support.servers"
local socket = require "socket"
local till = require "spec.support.stepping".till
local unpack = require "spec.support.compat".unpack

local PATIENCE = driven.PATIENCE
local open, peer = driven.open, driven.peer

after_each(driven.finish)

--- Steps until so much was told.
local function until_told(told, count)
  till(function() return #told >= count end, 1)
end

describe("the reactor", function()
  it("has nothing more to do once wswait has ended what lingered", function()
    local silent = peer { { "upgrade" }, { "read_frame" }, { "close" } }
    local conn, told = open(silent.url, { close_timeout = 2 * PATIENCE })
    until_told(told, 1)
    luws.wsclose(conn)
    assert.is_true(luws.wswait(conn, PATIENCE))
    local begun = luws.gettime()
    reactor.run(PATIENCE)
    assert.is_true(luws.gettime() - begun < PATIENCE / 2)
  end)

  it("does not turn all the time while a half-closed socket is in the hands of a suspended coroutine", function()
    local reader
    local half = peer { { "upgrade" }, { "wait" }, { "shutdown" }, { "hold" } }
    local conn, told = open(half.url, { connect = function(host, port)
      local sock = assert(socket.connect(host, port))
      return {
        getfd = function() return sock:getfd() end,
        send = function(_, ...) return sock:send(...) end,
        receive = function(_, ...)
          if reader and coroutine.running() == reader then coroutine.yield() end
          return sock:receive(...)
        end,
        settimeout = function(_, ...) return sock:settimeout(...) end,
        close = function() return sock:close() end,
      }
    end })
    until_told(told, 1)
    reader = coroutine.create(function() luws.wsreceive(conn) end)
    assert(coroutine.resume(reader))
    half:go()
    local finish, turns = luws.gettime() + 0.3, 0
    while luws.gettime() < finish do turns = turns + reactor.step(finish - luws.gettime()) end
    assert.is_true(turns < 50, turns)
    assert(coroutine.resume(reader))
    until_told(told, 2)
    assert.same({ "open", { false, "receiver error: closed" } }, told)
  end)
end)

describe("SockProxy, if it fails while the reactor opens a connection,", function()
  for _, case in ipairs {
    { "says ERR instead of the greeting", "busy" },
    { "refuses to connect", "refuses" },
    { "says nothing", "silent" },
    { "ends instead of an answer", "vanishes" },
  } do
    local sockproxy = { timeout = 0.3 }

    it("is done without where it " .. case[1], function()
      sockproxy.port = servers.start("sockproxy")[case[2]]
      local conn, told
      local lines = log.capture(function()
        conn, told = open(servers.url("demo", "ws", "/echo"), { sockproxy = sockproxy })
        until_told(told, 1)
      end)
      assert.equal(1, #lines)
      assert.matches("^luws: SockProxy failed: .*; connecting to 127%.0%.0%.1:%d+ without it$", lines[1])
      assert.is_false(conn.proxied)
      luws.wssend(conn, 1, "Hello")
      until_told(told, 2)
      assert.same({ "open", { 1, "Hello" } }, told)
    end)

    it("is the reason why there is no connection if it is required and " .. case[1], function()
      sockproxy.port, sockproxy.required = servers.start("sockproxy")[case[2]], true
      local conn, told = open(servers.url("demo", "ws", "/echo"), { sockproxy = sockproxy })
      until_told(told, 1)
      assert.matches("^SockProxy failed: ", told[1][2])
      assert.is_false(conn.connected)
    end)
  end
end)

-- Programs in processes of their own.

local PRELUDE = [[
  local url = ...
  local luws = require "luws"
  local reactor = require "luws.reactor"
  local told = {}
  local function open(options)
    options = options or {}
    options.wait = false
    options.open_handler = function(conn)
      told[#told + 1] = "open"
      luws.wssend(conn, 1, "Hello")
    end
    return luws.wsopen(url, function(_, _, data) told[#told + 1] = data end, options)
  end
  local function until_told(count)
    local deadline = luws.gettime() + 10
    while #told < count do
      assert(luws.gettime() < deadline, "not told in time")
      reactor.step(1)
    end
  end
]]

local function run(program, url)
  local output, status = odd_host.run { input = PRELUDE:gsub("\n%s*", " ") .. program, url }
  assert.equal(0, status, output)
  return output
end

it("an address family in which nobody listens does not keep the reactor from the other", function()
  local url = servers.url("demo", "ws", "/echo"):gsub("127%.0%.0%.1", "both.test")
  assert.equal("open Hello\n", run([[
    assert(open())
    until_told(2)
    print(table.concat(told, " "))
  ]], url))
end)

describe("where no descriptor is left for the reactor's own,", function()
  local FILL = [[
    odd.limit_descriptors(100)
    local files, file = {}, nil
    repeat
      file = io.open "/dev/null"
      files[#files + 1] = file
    until not file
    local function free(count)
      for _ = 1, count do table.remove(files):close() end
    end
  ]]

  for missing = 1, 3 do
    it("its functions say so, and it works once there are: " .. missing .. " missing", function()
      assert.equal("false\treactor: Too many open files\n-1\nopen Hello\n", run(FILL .. ([[
        free(3 - %d)
        local conn = assert(open())
        print(pcall(reactor.step, 0))
        print(reactor.getfd())
        free(4)
        until_told(2)
        print(table.concat(told, " "))
      ]]):format(missing), servers.url("demo", "ws", "/echo")))
    end)
  end
end)

describe("a Lua state may be closed while the reactor drives a connection that", function()
  local quiet
  for _, case in ipairs {
    { "waits for its name to be looked up", function() return servers.url("demo", "ws", "/") end, [[
      url = url:gsub("127%.0%.0%.1", "localhost")
      open()
      reactor.step(0)
    ]] },
    { "is being dialled", function() return "ws://127.0.0.1:" .. servers.start("demo").ws end, "open()" },
    { "waits for TLS", function() return (quiet.url:gsub("^ws:", "wss:")) end, [[
      open()
      reactor.run(0.1)
    ]] },
    { "waits for the upgrade", function() return quiet.url end, [[
      open()
      reactor.run(0.1)
    ]] },
    { "is open", function() return servers.url("demo", "ws", "/echo") end, [[
      open()
      until_told(2)
    ]] },
    { "has more to send than there is room for", function() return quiet.url end, [[
      local conn = open()
      until_told(1)
      luws.wssend(conn, 2, ("x"):rep(2 ^ 24))
    ]], { { "upgrade" }, { "wait" } } },
    { "lingers", function() return quiet.url end, [[
      local conn = open { close_timeout = 0.1 }
      until_told(1)
      luws.wsclose(conn)
      reactor.step(0)
    ]], { { "upgrade" }, { "wait" } } },
    { "is at work, by a handler", function() return servers.url("demo", "ws", "/echo") end, [[
      local conn = open()
      conn.msghandler = function() os.exit(0, true) end
      until_told(2)
    ]] },
  } do
    it(case[1], function()
      quiet = peer(case[4] or { { "wait" } })
      local output, status = child.program(PRELUDE:gsub("\n%s*", " ") .. case[3] .. " io.write 'end'", case[2]())
      assert.same({ case[1]:find "at work" and "" or "end", 0 }, { output, status })
    end)
  end
end)

describe("a coroutine that is abandoned", function()
  it("in wsopen is resumed all the same when the connection is open", function()
    local url, went_on = servers.url("demo", "ws", "/echo"), nil
    coroutine.wrap(function()
      local conn = assert(luws.wsopen(url, nil, { wait = "yield" }))
      went_on = conn.connected
      luws.wsclose(conn)
    end)()
    collectgarbage()
    local deadline = luws.gettime() + PATIENCE
    while went_on == nil and luws.gettime() < deadline do reactor.step(1) end
    assert.is_true(went_on)
  end)

  it("in wssend, between the pieces of a message, ends the connection", function()
    local conn, told = open(servers.url("demo", "ws", "/echo"), {})
    until_told(told, 1)
    local pieces = 0
    local sender = coroutine.create(function()
      luws.wssend(conn, 1, function()
        pieces = pieces + 1
        if pieces == 3 then coroutine.yield() end
        return "piece"
      end)
    end)
    assert(coroutine.resume(sender))
    reactor.run(0.1) -- everything else has been done
    assert.same({ 3, "open" }, { pieces, unpack(told) })
    sender = nil -- luacheck: ignore
    for _ = 1, 3 do collectgarbage() end
    until_told(told, 2)
    assert.same({ "open", { false, "receiver error: interrupted" } }, told)
  end)
end)
