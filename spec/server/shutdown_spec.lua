-- What becomes of connections of all kinds when their server is closed, in worlds of luws.mock: what each client gets,
-- what the program is told, and when nothing is left.

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
