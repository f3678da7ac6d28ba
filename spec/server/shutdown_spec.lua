-- What becomes of connections of all kinds when their server is closed, in worlds of luws.mock: what each client gets,
-- what the program is told, and when nothing is left.

local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local server = require "luws.server"
local serving = require "spec.support.serving"

local request, upgrade = serving.request, serving.upgrade

local PKI = "build/pki/"
local TIMEOUT = 3 -- of the shutdown, in seconds
local GOODBYE, UNAVAILABLE = "\136\2\3\233", "HTTP/1.1 503 "
local LARGE = ("x"):rep(3000000)

-- A client that has sent some bytes, and a time in the life of its connection. `gets`: the beginning of what it is sent
-- by the shutdown, "" for nothing; `told`: what the program's handlers are told.
local CASES = {
  { "is silent", "", gets = "", told = {} },
  { "has not begun with TLS", "", is_secure = true, gets = "", told = {} },
  { "is in the middle of its TLS hello", "\22\3\1\0\200\1\0\0\196\3\3", is_secure = true, gets = "", told = {} },
  { "is in the middle of its head", "GET / HTTP/1.1\r\nHo", gets = UNAVAILABLE, told = {} },
  { "is in the middle of its body", request("POST / HTTP/1.1", "Content-Length: 5") .. "ab", gets = UNAVAILABLE,
    told = { "abort POST" } },
  { "waits for an answer", request "GET /later HTTP/1.1", gets = UNAVAILABLE, told = { "abort GET" } },
  { "waits for two answers", request "GET /later HTTP/1.1" .. request "GET /later HTTP/1.1", gets = UNAVAILABLE,
    told = { "abort GET" } },
  { "is kept for another request", request "GET /x HTTP/1.1", gets = "", told = {} },
  { "has not read its response", request "GET /large HTTP/1.1", room = 1000, gets = "xxx", told = {} },
  { "is open", upgrade "/", gets = GOODBYE, told = { "open", "close 1006" } },
  { "is open, and answers", upgrade "/", answers = true, gets = GOODBYE, told = { "open", "close 1001" } },
  { "is in the middle of a message", upgrade "/" .. "\129\130\0\0\0\0h", gets = GOODBYE,
    told = { "open", "close 1006" } },
  { "is paused", upgrade "/pause", gets = GOODBYE, told = { "open", "close 1006" } },
  { "is being closed", upgrade "/close", gets = "", told = { "open", "close 1006" } },
  { "has not read its messages", upgrade "/full", room = 1000, gets = "xxx", told = { "open", "close 1006" } },
}

for _, case in ipairs(CASES) do
  it("a server that is closed ends in time with a client that " .. case[1], function()
    local net, told = mock.net(), {}
    local srv = assert(server.listen {
      port = 80, reactor = net.reactor, methods = { "GET", "POST" }, max_body = 10, upgrade_timeout = 60,
      ping_interval = 0, ssl_certificate = case.is_secure and PKI .. "server.pem" or nil,
      ssl_key = case.is_secure and PKI .. "server.key" or nil,
      on_request = function(asked)
        if asked.path == "/later" then return server.later end
        if asked.path == "/x" then return { body = "x" } end
        if asked.path == "/large" then return { body = LARGE } end
      end,
      on_abort = function(asked) told[#told + 1] = "abort " .. asked.method end,
      on_open = function(conn, asked)
        told[#told + 1] = "open"
        if asked.path == "/pause" then conn:pause() end
        if asked.path == "/close" then luws.wsclose(conn, 4000) end
        while asked.path == "/full" and luws.wssend(conn, 2, LARGE:sub(1, 100000)) do end
      end,
      on_close = function(_, code) told[#told + 1] = "close " .. code end,
    })
    local raw = net.connect("localhost", 80)
    raw.line.capacity = case.room or raw.line.capacity
    raw:send(case[2])
    net:run()
    raw:settimeout(0)
    raw:receive(1000000)

    assert.is_true(srv:close { timeout = TIMEOUT })
    net:run()
    local data, _, part = raw:receive(1000000)
    local got = data or part or ""
    assert.equal(case.gets, got:sub(1, #case.gets))
    assert.is_true(case.gets ~= "" or got == "", got)
    if case.answers then
      raw:send "\136\130\0\0\0\0\3\233"
      net:run()
    end
    assert.is_nil((net.connect("localhost", 80)))
    net:advance(TIMEOUT - 0.1)
    assert.is_false(srv:is_closed()) -- for the client has not ended the connection
    net:advance(0.2)
    assert.same({ true, 0, case.told }, { srv:is_closed(), srv:count(), told })
    raw:close()
    net:settle()
  end)
end

it("a server that nobody holds goes on, for its reactor has it", function()
  local net, closed = mock.net(), {}
  local function listen()
    assert(server.listen {
      port = 80, reactor = net.reactor, on_message = function(conn, opcode, data) luws.wssend(conn, opcode, data) end,
      on_close = function(conn, code)
        closed[#closed + 1] = code
        if code == 4000 then conn.server:close() end
      end,
    })
  end
  listen()
  collectgarbage()
  collectgarbage()
  for _, code in ipairs { 1000, 4000 } do
    local heard
    local conn = assert(luws.wsopen("ws://localhost/", function(_, _, data) heard = data end, net:options()))
    luws.wssend(conn, 1, "hello")
    net:run()
    collectgarbage()
    assert.equal("hello", heard)
    luws.wsclose(conn, code)
    net:settle()
  end
  assert.same({ 1000, 4000 }, closed)
  assert.is_nil((net.connect("localhost", 80)))
end)

describe("a server can be closed by any handler: by", function()
  -- The handlers, each called for one of the clients below.
  local NAMES = {
    "on_request", "on_abort", "on_refuse", "on_fail", "select_subprotocol", "response_headers", "on_open", "on_message",
    "on_drain", "on_close", "control_handler", "slow", "sink", "spawn",
  }
  local CLOSINGS = {
    function(srv) srv:close() end,
    function(srv) srv:close { timeout = 0 } end,
    function(srv)
      srv:close { timeout = 0 }
      error "on purpose"
    end,
  }

  --- Lets clients of all kinds talk to a server, whose handler `name` closes it. Returns the server, how often its
  -- handlers were told that a connection was open, and over, and whether the handler was called.
  local function play(net, name, closing)
    local srv
    local opened, closed, is_called = 0, 0, false
    local function pass(seconds) pcall(net.advance, net, seconds or 0) end -- it raises the errors of handlers
    local function act()
      is_called = true
      closing(srv)
    end
    local function acts(of) return name == of and act or nil end
    local function on_open(conn)
      opened = opened + 1
      srv:join(conn, "room")
      if name == "on_open" then act() end
    end
    local spawned = server.spawn(function(conn)
      conn:message()
      act()
    end)
    srv = assert(server.listen {
      port = 80, reactor = net.reactor, max_buffered = 4000, slow = acts "slow" or "drop", ping_interval = 0,
      answer_timeout = 1, on_abort = acts "on_abort", on_refuse = acts "on_refuse",
      select_subprotocol = acts "select_subprotocol", on_message = acts "on_message", on_drain = acts "on_drain",
      control_handler = acts "control_handler",
      sink = acts "sink" and function()
        act()
        return function() return 1 end
      end,
      response_headers = acts "response_headers" and function()
        act()
        return {}
      end,
      on_request = function(asked)
        if name == "on_request" then act() end
        if asked.path ~= "/later" then return nil end
        if name == "on_fail" then
          net.reactor.after(0.1, function() asked:accept { on_fail = act } end)
        end
        return server.later
      end,
      on_open = function(conn, asked)
        on_open(conn)
        if name == "spawn" then spawned(conn, asked) end
      end,
      on_close = function()
        closed = closed + 1
        if name == "on_close" then act() end
      end,
    })
    local conns = {}
    local function dial(path)
      local conn = luws.wsopen("ws://localhost" .. path, nil, net:options { wait = false, close_timeout = 1 })
      conns[#conns + 1] = conn
      pass()
      return conn
    end
    dial "/"
    dial "/later"
    local raw = net.connect("localhost", 80)
    if raw then raw:send(name == "on_fail" and request "GET /later HTTP/1.1" or "not HTTP\r\n\r\n") end
    pass(2) -- answer_timeout
    for _, conn in ipairs(conns) do
      luws.wssend(conn, 9, "ping")
      luws.wssend(conn, 1, "message")
    end
    pass()
    local deaf = net.connect("localhost", 80)
    if deaf then
      deaf:send(upgrade "/")
      pass()
      deaf.line.capacity = deaf.line:waiting() + 100
      for _ = 1, 5 do srv:broadcast("room", 2, LARGE:sub(1, 1500)) end
      pass()
      deaf.line.capacity = 100000
      deaf:settimeout(1)
      deaf:receive(3000)
      pass()
      deaf:close()
    end
    for _, conn in ipairs(conns) do luws.wsclose(conn) end
    pass(2)
    srv:close { timeout = 1 }
    if raw then
      raw:settimeout(0)
      local data, _, part = raw:receive "*a"
      local _, count = (data or part):gsub("HTTP/1.1", "")
      assert.equal(1, count)
    end
    return srv, opened, function() return closed end, is_called
  end

  for _, name in ipairs(NAMES) do
    it(name, function()
      for _, closing in ipairs(CLOSINGS) do
        local net = mock.net()
        local srv, opened, closed, is_called
        log.capture(function()
          srv, opened, closed, is_called = play(net, name, closing)
          pcall(net.advance, net, 6)
        end)
        assert.same({ true, true, 0, opened }, { is_called, srv:is_closed(), srv:count(), closed() })
      end
    end)
  end
end)
