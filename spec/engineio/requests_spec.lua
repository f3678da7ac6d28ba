-- What becomes of requests to the server of luws.engineio, over real sockets: handshakes, the errors in their order,
-- headers, and a server that is shared with others.

local engine = require "spec.support.engine"
local engineio = require "luws.engineio"
local json = require "luws.json"
local log = require "spec.support.log"
local luws_server = require "luws.server"

local rest, till = engine.rest, engine.till

after_each(engine.over)

describe("a handshake", function()
  it("by polling has the session's name and what the client has to know", function()
    local e = engine.start { pingInterval = 300, pingTimeout = 200, maxHttpBufferSize = 5000, initialPacket = "hi" }
    local _, response = e:handshake()
    assert.same({ 200, "text/plain; charset=UTF-8", "no-store" },
      { response.status, response.headers["content-type"], response.headers["cache-control"] })
    local list = engine.packets(response.body)
    assert.same({ 2, "4hi" }, { #list, list[2] })
    local data = json.decode(list[1]:sub(2))
    assert.equal(20, #data.sid)
    data.sid = nil
    assert.same({ upgrades = { "websocket" }, pingInterval = 300, pingTimeout = 200, maxPayload = 5000 }, data)
    assert.equal(1, e.engine.clientsCount)
  end)

  it("by WebSocket has no upgrades", function()
    local e = engine.start()
    local ws = e:websocket "transport=websocket"
    local data = json.decode(ws:await(1)[1]:sub(2))
    assert.same({ 20, {}, 25000, 20000, 1000000 },
      { #data.sid, data.upgrades, data.pingInterval, data.pingTimeout, data.maxPayload })
    assert.same({ "websocket", 4, "127.0.0.1" },
      { e.sockets[1].transport.name, e.sockets[1].protocol, e.sockets[1].remoteAddress })
  end)

  it("offers upgrades only where there are any", function()
    for _, options in ipairs { { allowUpgrades = false }, { transports = { "polling" } } } do
      local _, response = engine.start(options):handshake()
      assert.matches('"upgrades":%[%]', response.body)
    end
  end)

  it("has the name that generateId gives", function()
    local e = engine.start()
    e.engine.generateId = function(request) return "id-" .. request.query_table.x end
    assert.equal("id-5", (e:handshake "&x=5"))
    assert.equal(400, e:get("transport=polling&x=5").status) -- there is one of that name
    e.engine.generateId = function() error "oops" end
    assert.equal(400, e:get("transport=polling&x=6").status)
    for _, err in ipairs(e.errors) do assert.same({ 3, "Bad request", "ID_GENERATION_ERROR" }, err) end
    assert.equal(2, #e.errors)
  end)
end)

describe("a request is refused,", function()
  local JSON = '{"code":%d,"message":"%s"}'

  for _, case in ipairs {
    { "a transport that is not known", "transport=x", nil, 0, "Transport unknown" },
    { "no transport", "x=1", nil, 0, "Transport unknown" },
    { "a transport that is not enabled", "transport=websocket", { transports = { "polling" } }, 0,
      "Transport unknown" },
    { "a session that is not known", "transport=polling&sid=x", nil, 1, "Session ID unknown" },
    { "a session by the name of a metamethod", "transport=polling&sid=__index", nil, 1, "Session ID unknown" },
    { "a handshake by POST", "transport=polling", nil, 2, "Bad handshake method", { method = "POST" } },
    { "a handshake by DELETE", "transport=polling", nil, 2, "Bad handshake method", { method = "DELETE" } },
    { "a WebSocket without upgrade", "transport=websocket", nil, 3, "Bad request", nil, "TRANSPORT_HANDSHAKE_ERROR" },
    { "another revision", "EIO=3&transport=polling", nil, 5, "Unsupported protocol version" },
    { "no revision", "EIO=&transport=polling", nil, 5, "Unsupported protocol version" },
    { "forbidden by the program", "transport=polling",
      { allowRequest = function(_, done) done("no way", false) end }, 4, "no way" },
    { "forbidden without a word", "transport=polling", { allowRequest = function(_, done) done() end }, 4,
      "Forbidden" },
    -- What is asked first counts.
    { "a transport before a session", "transport=x&sid=y", nil, 0, "Transport unknown" },
    { "a session before a method", "transport=polling&sid=y", nil, 1, "Session ID unknown", { method = "PUT" } },
    { "a method before an upgrade", "transport=websocket", nil, 2, "Bad handshake method", { method = "POST" } },
    { "an upgrade before the program", "transport=websocket",
      { allowRequest = function() error "it is asked" end }, 3, "Bad request", nil, "TRANSPORT_HANDSHAKE_ERROR" },
    { "the program before a revision", "EIO=3&transport=polling",
      { allowRequest = function(_, done) done("no", false) end }, 4, "no" },
  } do
    it(case[1], function()
      local e = engine.start(case[3])
      local response = e:get(case[2], case[6])
      local status = case[4] == 4 and 403 or 400
      assert.same({ status, JSON:format(case[4], case[5]), "application/json" },
        { response.status, response.body, response.headers["content-type"] })
      assert.same({ case[4], case[7] }, { e.errors[1][1], e.errors[1][3] })
      assert.same({ 0, 1 }, { e.engine.clientsCount, #e.errors })
    end)
  end

  it("as a WebSocket, with the words as the body", function()
    for _, case in ipairs {
      { "transport=websocket&EIO=3", {}, "Unsupported protocol version" },
      { "transport=polling", { transports = { "polling" } }, "Bad request" },
      { "transport=websocket&sid=x", {}, "Session ID unknown" },
      { "transport=websocket", { allowRequest = function(_, done) done("no way") end }, "no way" },
    } do
      local e = engine.start(case[2])
      local ws, response = e:websocket(case[1])
      assert.is_nil(ws)
      assert.same({ 400, case[3] }, { response.status, response.body })
    end
  end)

  it("that does not ask for the transport that its session has", function()
    local e = engine.start()
    local sid = e:handshake()
    local ws = e:websocket "transport=websocket"
    local other = json.decode(ws:await(1)[1]:sub(2)).sid
    for _, case in ipairs {
      { sid, "websocket", false, "TRANSPORT_MISMATCH" }, { sid, "polling", true, "TRANSPORT_HANDSHAKE_ERROR" },
      { other, "polling", false, "TRANSPORT_MISMATCH" }, { other, "websocket", false, "TRANSPORT_HANDSHAKE_ERROR" },
    } do
      local query = ("transport=%s&sid=%s"):format(case[2], case[1])
      if case[3] then assert.is_nil(e:websocket(query)) else assert.equal(400, e:get(query).status) end
      assert.same({ 3, "Bad request", case[4] }, e.errors[#e.errors])
    end
    assert.equal(2, e.engine.clientsCount)
    assert.same({}, e:news())
  end)

  it("by an error of allowRequest", function()
    local e = engine.start { allowRequest = function() error "oops" end }
    local lines = log.capture(function() assert.equal(403, e:get("transport=polling").status) end)
    assert.matches("allowRequest of an engine raised an error: .*oops", lines[1])
  end)

  it("by a middleware, which may also let it pass later", function()
    local e = engine.start()
    local asked = {}
    e.engine:use(function(request, response, done)
      response.headers["X-Middle"] = "1"
      asked[#asked + 1] = done
      if request.query_table.no then done "no" end
      if request.query_table.yes then done(false) end
    end)
    local response = e:get "transport=polling&no=1"
    assert.same({ 400, '{"code":3,"message":"Bad request"}', "1" },
      { response.status, response.body, response.headers["x-middle"] })
    assert.same({ { 3, "Bad request", "MIDDLEWARE_FAILURE" } }, e.errors)
    assert.equal(200, e:get("transport=polling&yes=1").status)
    local answer = e:ask "transport=polling"
    till(function() return asked[3] end)
    rest(0.02)
    assert.is_nil(answer())
    asked[3]()
    response = till(answer)
    assert.same({ 200, "1" }, { response.status, response.headers["x-middle"] })
    local ws = e:websocket "transport=websocket&yes=1"
    assert.equal("1", ws.conn.response_headers["x-middle"])
  end)

  it("outside of the path", function()
    local e = engine.start()
    local base = e.base
    for _, case in ipairs {
      { "other/", 404 }, { "", 404 }, { "engine.io", 404 }, { "engine.iox/", 404 },
      { "engine.io/", 200 }, { "engine.io/below", 200 },
    } do
      e.base = base:gsub("engine.io/$", case[1])
      assert.same(case, { case[1], e:get("transport=polling").status })
    end
  end)
end)

describe("headers", function()
  it("of all answers can be changed, and those of the first in addition", function()
    local e = engine.start()
    e.engine:on("initial_headers", function(headers, request) headers["X-First"] = request.path end)
    e.engine:on("headers", function(headers) headers["X-All"] = "1" end)
    local sid, response = e:handshake()
    assert.same({ "/engine.io/", "1" }, { response.headers["x-first"], response.headers["x-all"] })
    response = e:post(sid, "4a")
    assert.same({ "1" }, { response.headers["x-all"], response.headers["x-first"] })
    local headers = e:websocket("transport=websocket").conn.response_headers
    assert.same({ "/engine.io/", "1" }, { headers["x-first"], headers["x-all"] })
  end)

  it("keep old browsers from taking an answer for an attack", function()
    for _, case in ipairs {
      { "Mozilla/4.0 (compatible;MSIE 8.0)", "0" }, { "Mozilla/5.0 (Windows NT 6.1; Trident/7.0) like Gecko", "0" },
      { "Mozilla/5.0 (X11) Firefox/140.0", nil },
    } do
      local response = engine.start():get("transport=polling", { headers = { ["User-Agent"] = case[1] } })
      assert.same({ 200, case[2] }, { response.status, response.headers["x-xss-protection"] })
    end
  end)

  it("have a cookie if there is to be one", function()
    for _, case in ipairs {
      { true, "io=%s; Path=/; HttpOnly; SameSite=Lax" }, { "name", "name=%s; Path=/; HttpOnly; SameSite=Lax" },
      { { name = "a", path = "/b", httpOnly = false, sameSite = "none", secure = true, domain = "c", maxAge = 60 },
        "a=%s; Max-Age=60; Domain=c; Path=/b; Secure; SameSite=None" },
      { { sameSite = false }, "io=%s; Path=/; HttpOnly" },
    } do
      local e = engine.start { cookie = case[1] }
      local sid, response = e:handshake()
      assert.same({ case[2]:format(sid) }, response.headers["set-cookie"])
      assert.is_nil(e:post(sid, "4a").headers["set-cookie"])
    end
    assert.is_nil(select(2, engine.start():handshake()).headers["set-cookie"])
  end)

  local CORS = {
    "allow-origin", "allow-credentials", "allow-methods", "allow-headers", "max-age", "expose-headers",
  }
  for _, case in ipairs {
    { nil, "GET", {}, nil },
    { { origin = "*" }, "GET", { ["allow-origin"] = "*" }, nil },
    { { origin = "http://good" }, "GET", { ["allow-origin"] = "http://good" }, "Origin" },
    { { origin = { "http://good", "http://asker" } }, "GET", { ["allow-origin"] = "http://asker" }, "Origin" },
    { { origin = { "http://good" }, credentials = true }, "GET", { ["allow-credentials"] = "true" }, "Origin" },
    { { origin = true }, "GET", { ["allow-origin"] = "http://asker" }, "Origin" },
    { { origin = false }, "GET", {}, nil },
    { { origin = function(origin, done) done(false, origin == "http://asker") end }, "GET", {
      ["allow-origin"] = "http://asker" }, "Origin", true },
    { { exposedHeaders = { "A", "B" } }, "GET", { ["allow-origin"] = "*", ["expose-headers"] = "A,B" }, nil },
    { {}, "OPTIONS", { ["allow-origin"] = "*", ["allow-methods"] = "GET,HEAD,PUT,PATCH,POST,DELETE",
      ["allow-headers"] = "X-Asked" }, "Access-Control-Request-Headers" },
    { { origin = true, methods = { "GET" }, allowedHeaders = "X-A", maxAge = 5 }, "OPTIONS",
      { ["allow-origin"] = "http://asker", ["allow-methods"] = "GET", ["allow-headers"] = "X-A", ["max-age"] = "5" },
      "Origin" },
  } do
    it(("for other sites: %s, %s"):format(json.encode(case[5] and {} or case[1] or {}), case[2]), function()
      local e = engine.start { cors = case[1] }
      local headers = { Origin = "http://asker", ["Access-Control-Request-Headers"] = "X-Asked" }
      local response = e:get("transport=polling", { method = case[2], headers = headers })
      local is_asking = case[2] == "OPTIONS"
      assert.same({ is_asking and 204 or 200, "" }, { response.status, is_asking and response.body or "" })
      local found = {}
      for _, name in ipairs(CORS) do found[name] = response.headers["access-control-" .. name] end
      assert.same(case[3], found)
      assert.equal(case[4], response.headers.vary)
    end)
  end
end)

it("takes no more sessions from a shared server once it is closed", function()
  local srv = assert(luws_server.listen { port = 0, on_request = function() return { body = "page" } end })
  local _, port = srv:address()
  local e, opened, asked = engine.start(), 0, {}
  local function attach(options)
    local shared = assert(engineio.attach(srv, options))
    shared:on("connection", function() opened = opened + 1 end)
    return shared
  end
  e.base = ("http://127.0.0.1:%d/engine.io/"):format(port)
  local shared = attach { allowRequest = function(_, done) asked[#asked + 1] = done end }
  local answer = e:ask "transport=polling"
  till(function() return asked[1] end)
  shared:close()
  asked[1](nil, true)
  assert.equal(404, till(answer).status)
  assert.equal(404, e:get("transport=polling").status)
  local ws, response = e:websocket "transport=websocket"
  assert.same({ nil, 404 }, { ws, response.status })
  assert.same({ 0, 0, 1 }, { shared.clientsCount, opened, #asked })
  local following = attach() -- another one in its place
  assert.equal(200, e:get("transport=polling").status)
  assert.equal(1, opened)
  e.base = e.base:gsub("engine.io/$", "")
  assert.equal("page", e:get("").body)
  following:close()
  srv:close { timeout = 0 }
end)

it("shares a server of luws.server with everything else", function()
  local srv = assert(luws_server.listen { port = 0, on_request = function() return { body = "page" } end })
  local shared = assert(engineio.attach(srv, { path = "/sessions", maxHttpBufferSize = 100 }))
  local _, port = srv:address()
  local e = engine.start()
  shared:on("connection", function(socket) e:note(socket) end)
  e.base = ("http://127.0.0.1:%d/sessions/"):format(port)
  local ws = e:websocket "transport=websocket"
  ws:await(1)
  ws:send(1, "4" .. ("x"):rep(99))
  till(function() return #e.seen > 0 end)
  ws:send(1, "4" .. ("x"):rep(100))
  till(function() return ws.over end)
  assert.equal(1009, ws.conn.close_code)
  e.base = e.base:gsub("sessions/", "")
  assert.equal("page", e:get("").body)
  srv:close { timeout = 0 }
end)
