-- Servers, for everything.lua: each function of luws.server and each method of a server, over ws and wss, with clients
-- that behave and clients that do not.

local coverage = require "spec.valgrind.coverage"
local luws = require "luws"
local reactor = require "luws.reactor"
local server = require "luws.server"
local servers = require "spec.support.servers"
local socket = require "socket"
local till = require "spec.support.stepping".till

local function listen(options)
  options.port = 0
  local srv = coverage.noting("srv", assert(server.listen(options)))
  local _, port = srv:address()
  return srv, port
end

--- Ends a server. Returns what it has counted.
local function over(srv)
  local stats = srv:stats()
  srv:close { timeout = 0.1 }
  srv:run()
  assert(srv:is_closed())
  return stats
end

local function open(port, handler, options)
  options = options or {}
  options.wait, options.max_payload_size = false, 2 ^ 20
  local conn = assert(luws.wsopen(("%s://localhost:%d/"):format(options.ssl_cafile and "wss" or "ws", port), handler,
    options))
  till(function() return conn.connected end)
  return conn
end

local function echoes(options, given)
  local answered, closed
  options.deflate = true
  function options.on_message(conn, opcode, data) luws.wssend(conn, opcode, data) end
  function options.on_close(_, code) closed = code end
  local srv, port = listen(options)
  local conn = open(port, function(_, opcode, data) answered = opcode and data or answered end, given)
  for _, text in ipairs { "hello", ("text "):rep(1000), ("x"):rep(300000) } do
    luws.wssend(conn, 1, text)
    till(function() return answered == text end)
  end
  luws.wsclose(conn, 4000, "bye")
  till(function() return closed end)
  assert(closed == 4000 and over(srv).accepted == 1)
end

local function over_tls()
  echoes({
    ssl_certificate = servers.pki "server.pem", ssl_key = servers.pki "server.key",
    ssl_certificates = {
      ["*.test"] = { ssl_certificate = servers.pki "rsa.pem", ssl_key = servers.pki "rsa.key" },
    },
  }, { ssl_verify = "peer", ssl_cafile = servers.ca_file() })
end

local function rooms()
  local came = 0
  local first, srv, port
  srv, port = listen {
    on_open = function(conn) first = first or conn end,
    on_message = function(conn, _, data)
      if data == "join" then srv:join(conn, "all") else conn.server:broadcast("all", 1, data, conn) end
    end,
  }
  local conns = {}
  for i = 1, 5 do
    conns[i] = open(port, function(_, opcode) came = came + (opcode and 1 or 0) end)
    luws.wssend(conns[i], 1, "join")
  end
  till(function() return #srv:members "all" == 5 end)
  luws.wssend(conns[1], 1, "to the others")
  till(function() return came == 4 end)
  assert(srv:broadcast(nil, 2, ("x"):rep(70000)) == 5 and srv:leave(first, "all"))
  till(function() return came == 9 end)
  assert(coverage.call(first, "compress", false) and srv:multicast({ first }, 1, "to one", false) == 1)
  till(function() return came == 10 end)
  coverage.call(first, "pause")
  coverage.call(first, "resume")
  local count = 0
  for _ in srv:connections() do count = count + 1 end
  assert(count == 5 and srv:count() == 5 and #srv:addresses() >= 1)
  assert(srv:pollfd() >= 0 and srv:getfd() >= 0 and srv:events() == "r" and srv:dirty() ~= nil)
  srv:timeout()
  over(srv)
  for _, conn in ipairs(conns) do luws.wsclose(conn) end
end

--- Sends a request, and returns what comes.
local function ask(port, request)
  local client = assert(socket.connect("127.0.0.1", port))
  client:settimeout(0)
  client:send(request)
  local got = ""
  till(function()
    local data, why, part = client:receive "*a"
    got = got .. (data or part or "")
    return why ~= "timeout"
  end)
  client:close()
  return got
end

local function requests()
  local later
  local srv, port = listen {
    max_body = 100, answer_timeout = 5, on_abort = print, on_head = function() end,
    methods = { "GET", "HEAD", "POST" },
    on_request = function(request)
      if request.path == "/file" then return server.file("docs", "server.md") end
      if request.path == "/body" then return { body = request.body } end
      if request.path == "/raise" then error "oh" end
      if request.path == "/later" then
        later = request
        return server.later
      end
      return { status = 404, headers = { ["X-Y"] = { "1", "2" } } }
    end,
  }
  assert(srv:route("/route", { on_request = function() return { body = "route" } end }))
  local function get(what) return ask(port, what .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") end
  assert(#get "GET /file" > 1000 and get "GET /route/x":find "route$" and get "GET /":find "404")
  assert(get "GET /raise":find "500" and get "PUT /":find "405" and get "GET /\0":find "400")
  assert(ask(port, "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"):find "body$")
  assert(ask(port, "GET / HTTP/1.1\r\nHost: a\r\nX-Y: " .. ("z"):rep(20000) .. "\r\n\r\n"):find "431")
  assert(ask(port, "\22\3\1\0\0"):find "400")
  reactor.after(0.1, function() later:refuse { status = 403 } end)
  assert(get "GET /later":find "403")
  over(srv)
end

local function events()
  local srv, port = listen {}
  local conn = assert(luws.wsopen(("ws://localhost:%d/"):format(port), nil, {
    wait = false, open_handler = function(conn) luws.wssend(conn, 1, "hello") end,
  }))
  local seen = {}
  till(function()
    local what, subject = srv:next(0.1)
    if what == "request" then subject:accept() end
    seen[what or ""] = true
    return seen.message
  end)
  assert(seen.open)
  srv:step(0)
  luws.wsclose(conn)
  over(srv)
end

local function threads()
  local ended
  local srv, port = listen {
    on_open = server.spawn(function(conn)
      repeat
        local opcode, data = conn:message()
        if opcode then luws.wssend(conn, opcode, data) end
      until not opcode
      ended = true
    end),
  }
  local answer
  local conn = open(port, function(_, _, data) answer = data end)
  luws.wssend(conn, 1, "hello")
  till(function() return answer == "hello" end)
  luws.wsclose(conn)
  till(function() return ended end)
  over(srv)
end

local function wrong()
  for _, options in ipairs {
    {}, { port = "x" }, { port = 0, nonsense = 1 }, { port = 0, ssl_certificate = "/nonexistent" },
    { unix = "/nonexistent/socket", mode = "600" }, { fd = 9999 }, { listeners = {} }, { port = 0, on_open = 1 },
  } do
    local srv, why = server.listen(options)
    assert(srv == nil and type(why) == "string")
  end
  local srv = listen { on_message = print }
  assert(not srv:route(1) and not srv:route("/", 1) and srv:reload() ~= nil)
  over(srv)
end

return {
  { "echoes over ws", echoes, {} },
  { "echoes over wss", over_tls },
  { "rooms", rooms },
  { "requests", requests },
  { "events", events },
  { "threads", threads },
  { "mistakes", wrong },
  { "one that is dropped", function() assert(server.listen { port = 0 }):close() end },
}
