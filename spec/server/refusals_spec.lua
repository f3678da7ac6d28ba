-- What a server refuses, with which status, which reason comes first, and how its program learns of it.

local luws = require "luws"
local serving = require "spec.support.serving"

local parse, request, till, upgrade = serving.parse, serving.request, serving.till, serving.upgrade

after_each(serving.over)

local GET = request "GET / HTTP/1.1"

--- is_complete(all): returns whether the body of a response is there.
local function is_complete(all)
  local body = all:match "\r\n\r\n(.*)"
  return body and #body >= tonumber(all:match "Content%-Length: (%d+)")
end

describe("a request is refused,", function()
  local long = ("x"):rep(17000)
  for _, case in ipairs {
    { "TLS on a plain port", "\22\3\1\2\0", 400 },
    { "bare line feeds", "GET / HTTP/1.1\nHost: h\n\n", 400 },
    { "something else", "SSH-2.0-OpenSSH\r\n", 400 },
    { "a CR alone", request("GET / HTTP/1.1", "X: a\rb"), 400 },
    { "a NUL", request("GET / HTTP/1.1", "X: \0"), 400 },
    { "a folded line", request("GET / HTTP/1.1", "X: a", " b"), 400 },
    { "a blank before the colon", request("GET / HTTP/1.1", "X : a"), 400 },
    { "no colon", request("GET / HTTP/1.1", "X"), 400 },
    { "a head that is too long", request("GET / HTTP/1.1", "X: " .. long), 431 },
    { "a target that is too long", "GET /" .. long, 414 },
    { "HTTP/1.0", request "GET / HTTP/1.0", 505 },
    { "HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400 },
    { "two lengths", request("POST / HTTP/1.1", "Content-Length: 3", "Content-Length: 4") .. "abc", 400 },
    { "no Host", "GET / HTTP/1.1\r\n\r\n", 400 },
    { "two Hosts", request("GET / HTTP/1.1", "Host: b"), 400 },
    { "a Host with a blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400 },
    { "a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400 },
    { "a Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400 },
    { "a target that is no path", request "GET x HTTP/1.1", 400 },
    { "a target that is a host", request "GET h:80 HTTP/1.1", 400 },
    { "a target that is everything", request "GET * HTTP/1.1", 400 },
    { "a host that is another method's target", request "CONNECT h:80 HTTP/1.1", 405 },
    { "everything that is another method's target", request "OPTIONS * HTTP/1.1", 405 },
    { "a body", request("GET / HTTP/1.1", "Content-Length: 3") .. "abc", 400 },
    { "chunks", request("GET / HTTP/1.1", "Transfer-Encoding: chunked") .. "0\r\n\r\n", 400 },
    { "an upgrade with a body", serving.upgrade("/", "Content-Length: 3") .. "abc", 400 },
    { "a method", request "DELETE / HTTP/1.1", 405, { allow = "GET, HEAD" } },
    { "a body before its method", request("POST / HTTP/1.1", "Content-Length: 3") .. "abc", 400 },
    { "no upgrade", GET, 426, { upgrade = "websocket", connection = "Upgrade", ["sec-websocket-version"] = "13" } },
    { "no Connection", request("GET / HTTP/1.1", "Upgrade: websocket"), 426 },
    { "version 8", (upgrade "/"):gsub("13", "8"), 426, { ["sec-websocket-version"] = "13" } },
    { "no version", (upgrade "/"):gsub("Sec%-WebSocket%-Version: 13\r\n", ""), 426 },
    { "no key", (upgrade "/"):gsub("Sec%-WebSocket%-Key", "X-Key"), 400 },
    { "two keys", upgrade("/", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400 },
    { "a short key", (upgrade "/"):gsub("Key: ....", "Key: "), 400 },
    { "extensions that are malformed", upgrade("/", "Sec-WebSocket-Extensions: a;;"), 400 },
    { "another origin", upgrade("/", "Origin: http://evil"), 403 },
    { "no origin", upgrade "/", 403 },
  } do
    it(("%s: %d"):format(case[1], case[3]), function()
      local s = serving.start { origins = { "http://good", "http://fine" } }
      local reply = s:raw(case[2], is_complete)
      local response, rest = parse(reply)
      assert.same({ case[3], "" }, { response.status, rest })
      assert.is_truthy(response.headers.date or case[3] ~= 426)
      assert.is_truthy(response.headers["content-type"])
      for name, value in pairs(case[4] or {}) do assert.equal(value, response.headers[name]) end
      assert.same({}, s.events)
      assert.is_true(s.srv:stats().refused == 1)
    end)
  end

  it("and of several reasons the first one is told", function()
    local s = serving.start {
      origins = "http://good", max_connections = 1,
      on_request = function(asked)
        if asked.path == "/no" then return { status = 402, body = "no" } end
      end,
    }
    s:connect("/", { upgrade_headers = { Origin = "http://good" } })
    local evil, good, key = "Origin: http://evil", "Origin: http://good", "Key: ...."
    for _, case in ipairs {
      { "a version before no Host", "GET / HTTP/1.0\r\n\r\n", 505 },
      { "no Host before a body", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400, "Host" },
      { "a body before a method", request("PUT / HTTP/1.1", "Content-Length: 3") .. "abc", 400, "body" },
      { "a method before on_request", request "PUT /no HTTP/1.1", 405 },
      { "on_request before no upgrade", request "GET /no HTTP/1.1", 402 },
      { "no upgrade before an origin", request("GET / HTTP/1.1", evil), 426, "upgrade" },
      { "a version before a key", upgrade("/", evil):gsub(key, "Key: "):gsub("13", "8"), 426, "Version" },
      { "a key before an origin", upgrade("/", evil):gsub(key, "Key: "), 400, "Key" },
      { "an origin before the number of connections", upgrade("/", evil), 403, "origin" },
      { "the number of connections", upgrade("/", good), 503, "connections" },
    } do
      local reply = s:raw(case[2], is_complete)
      local response = parse(reply)
      assert.equal(case[3], response.status, case[1])
      assert.is_truthy(response.body:find(case[4] or "", 1, true), response.body)
    end
  end)

  it("and another origin is one that is not written in the same way, but for upper case", function()
    local s = serving.start { origins = { "http://Good.example:8080", "null" } }
    for _, case in ipairs {
      { "http://good.example:8080", 101 }, { "HTTP://GOOD.EXAMPLE:8080", 101 }, { "null", 101 },
      { "http://good.example", 403 }, { "https://good.example:8080", 403 }, { "http://good.example:8080/", 403 },
      { "http://good.example:8080.evil", 403 }, { "x, http://good.example:8080", 403 },
    } do
      local reply = s:raw(upgrade("/", "Origin: " .. case[1]) .. "\136\128\0\0\0\0",
        function(all) return all:find "connect\n$" or all:find "\136%z$" end)
      assert.equal(case[2], parse(reply).status, case[1])
    end
  end)

  it("and on_refuse is called for each refusal, with the status that the client gets", function()
    local told = {}
    local s = serving.start { on_refuse = function(refusal) told[#told + 1] = refusal end }
    for i, case in ipairs {
      { "GET / HTTP/1.1\nHost: a\n\n", 400 }, { request("GET / HTTP/1.1", "X: " .. ("x"):rep(20000)), 431 },
      { request "GET / HTTP/1.0", 505 }, { request "PUT / HTTP/1.1", 405, "/" }, { "\22\3\1\0\5\1\0\0\1\0", 400 },
    } do
      local answered = parse(s:raw(case[1])).status
      local refusal = told[i]
      assert.same({ case[2], case[2], case[3], "127.0.0.1", "string" },
        { answered, refusal.status, refusal.target, refusal.remote, type(refusal.why) })
    end
  end)

  it("and the connection ends unless the next request can be told from the rest of this one", function()
    local s = serving.start()
    for _, case in ipairs {
      { "bad\r\n\r\n", true }, { request("GET / HTTP/1.1", "Content-Length: 3") .. "abc", true },
      { request "PUT / HTTP/1.1", true }, { request("GET / HTTP/1.1", "Connection: close"), true }, { GET, false },
    } do
      local reply, ended = s:raw(case[1], not case[2] and function(all) return all:find "upgrade\n" end or nil)
      assert.same({ case[2], case[2] }, { ended, reply:find("Connection: [^\r]*close") ~= nil })
    end
  end)

  it("and the end of a client that was refused at once is noticed", function()
    local s = serving.start()
    local raw = s:dial()
    raw:send(serving.request("GET / HTTP/1.1", "Connection: close")) -- all of it is there when it is accepted
    serving.read(raw)
    till(function() return s.srv:step(0) == 0 end)
    raw:close()
    local begun = luws.gettime()
    s.srv:close()
    till(function() return s.srv:is_closed() end, 9)
    assert.is_true(luws.gettime() - begun < 2)
  end)

  it("and unread bytes do not destroy the response", function()
    local s = serving.start()
    local raw = s:dial()
    raw:settimeout(5)
    raw:send(request("POST / HTTP/1.1", "Content-Length: 9999999") .. ("x"):rep(200000))
    raw:settimeout(0)
    assert.equal(400, parse(serving.read(raw)).status)
  end)
end)
