-- Engine.IO, for everything.lua: sessions by each transport, upgraded, compressed, refused, and ended in each way.

local engineio = require "luws.engineio"
local http = require "luws.http"
local server = require "luws.server"
local till = require "spec.support.stepping".till

--- over(engine [, srv]): ends an engine and its server. The reactor has more to drive here than these.
local function over(engine, srv)
  engine:close()
  if srv then srv:close { timeout = 0 } end
  srv = srv or engine.srv
  srv:run()
end

local function sessions()
  local engine = assert(engineio.listen {
    port = 0, cors = { origin = { "http://a" } }, cookie = true, allowEIO3 = true, perMessageDeflate = true,
    pingInterval = 200, pingTimeout = 5000, maxHttpBufferSize = 300000,
  })
  engine:use(function(_, _, done) done() end)
  engine:on("connection", function(socket)
    socket:on("message", function(data) socket:send(data) end)
  end)
  local url = "http://127.0.0.1:" .. engine.port
  for _, transports in ipairs { { "polling" }, { "websocket" }, { "polling", "websocket" } } do
    local socket = engineio.connect(url, { transports = transports, withCredentials = true, query = { a = "b c" } })
    local count, reason = 0, nil
    socket:on("message", function(data)
      count = count + (engineio.is_binary(data) and #tostring(data) or #data)
    end)
    socket:once("close", function(why) reason = why end)
    for i = 1, 20 do
      socket:send(("x"):rep(i * 1000))
      socket:send(engineio.binary(("\0"):rep(i * 1000)))
    end
    till(function() return count == 420000 and socket.transport.name == transports[#transports] end)
    socket:close()
    till(function() return reason == "forced close" end)
  end
  over(engine)
end

local function refusals()
  local srv = assert(server.listen { port = 0, on_request = function() return { status = 404 } end })
  local engine = assert(engineio.attach(srv, { path = "/e", httpCompression = { threshold = 10 } }))
  local base = ("http://127.0.0.1:%d/e/?transport=polling"):format(select(2, srv:address()))
  local function ask(query, options)
    local result
    assert(http.request(base .. query, options, function(...) result = { ... } end))
    till(function() return result end)
    return assert(result[1], result[2])
  end
  assert(ask("&EIO=3").status == 400 and ask("&EIO=4&sid=x").status == 400)
  local sid = ask("&EIO=4", { headers = { ["Accept-Encoding"] = "gzip" } })
  assert(sid.headers["content-encoding"] == "gzip")
  local _, socket = next(engine.clients)
  assert(ask("&EIO=4&sid=" .. socket.id, { method = "POST", body = ("4x\30"):rep(1000) .. "9" }).body == "ok")
  assert(socket.readyState == "closed" and engine.clientsCount == 0)
  for _, case in ipairs { { "http://127.0.0.1:1" }, { "x:y" }, { "http://x", { upgrade = 5 } } } do
    local ok, one = pcall(engineio.connect, case[1], case[2])
    if ok then
      local failed
      one:on("error", function(err) failed = tostring(err) end)
      till(function() return failed end)
    end
  end
  assert(not engineio.listen { port = 0, cors = { origin = 5 } })
  assert(not pcall(socket.send, socket, "\255") and not pcall(engineio.binary))
  over(engine, srv)
end

return { { "sessions", sessions }, { "refusals", refusals } }
