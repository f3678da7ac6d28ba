-- What a server answers to requests: refusals in their order and with their statuses, plain HTTP, and hostile bytes.

local log = require "spec.support.log"
local luws = require "luws"
local server = require "luws.server"
local serving = require "spec.support.serving"

local request, till, upgrade = serving.request, serving.till, serving.upgrade

after_each(serving.over)

--- Returns the status, the headers (by names in lower case) and the body of a response; and what comes after it.
local function parse(text)
  local head, rest = text:match "^(.-\r\n)\r\n(.*)$"
  assert(head, text)
  local response = { status = tonumber(head:match "^HTTP/1%.1 (%d+)"), headers = {} }
  for name, value in head:gmatch "\r\n([^:]+): ([^\r]*)" do response.headers[name:lower()] = value end
  local length = tonumber(response.headers["content-length"]) or #rest
  response.body = rest:sub(1, length)
  return response, rest:sub(length + 1)
end

local GET = request "GET / HTTP/1.1"

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
      local reply = s:raw(case[2], function(all)
        local body = all:match "\r\n\r\n(.*)"
        return body and #body >= tonumber(all:match "Content%-Length: (%d+)")
      end)
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
      local reply = s:raw(case[2], function(all)
        local body = all:match "\r\n\r\n(.*)"
        return body and #body >= tonumber(all:match "Content%-Length: (%d+)")
      end)
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

  it("and on_refuse is told of each, with the status of its answer", function()
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

describe("a server answers", function()
  it("GET and HEAD from on_request, on one connection that can become a WebSocket", function()
    local s = serving.start {
      on_request = function(asked)
        if asked.path == "/ws" then return nil end
        return { status = 201, headers = { ["X-A"] = 1, ["Content-Type"] = "a/b", ["Set-Cookie"] = { "a=b", "c=d" } },
          body = asked.method .. asked.target }
      end,
    }
    local reply = s:raw(GET .. request "HEAD /x HTTP/1.1" .. "\r\n" .. upgrade "/ws" .. "\136\128\0\0\0\0")
    local first, rest = parse(reply)
    assert.same({ 201, "GET/", "a/b", "1" },
      { first.status, first.body, first.headers["content-type"], first.headers["x-a"] })
    assert.is_truthy(reply:find("Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n", 1, true))
    local head = rest:match "^(.-\r\n\r\n)"
    assert.is_truthy(head:find("Content-Length: 6\r\n", 1, true), head)
    assert.is_truthy(rest:sub(#head + 1):find("^HTTP/1.1 101 .-\r\n\r\n\136%z$"))
    till(function() return s.events[2] end)
    assert.same({ "open", { 1005, "" } }, s.events)
  end)

  it("500 where a handler raises an error or returns no response, and says so in the log", function()
    local returned
    local s = serving.start { on_request = function() return returned() end }
    for _, case in ipairs {
      { function() error "boom" end, "boom" },
      { function() return 3 end, "a response is a table, not a number" },
      { function() return { status = 101 } end, "the status of a response is a whole number from 200 to 599" },
      { function() return { status = "x" } end, "the status of a response" },
      { function() return { body = {} } end, "the body of a response is a string, not a table" },
      { function() return { headers = 1 } end, "the headers of a response are a table" },
      { function() return { headers = { ["X"] = "a\r\nY: b" } } end, "the value of header X has a control character" },
      { function() return { headers = { ["X Y"] = "a" } } end, "is not a token" },
      { function() return { headers = { ["Content-Length"] = 3 } } end,
        "header Content-Length is the server's to send" },
    } do
      returned = case[1]
      local texts = log.capture(function()
        assert.equal(500, parse(s:raw(request("GET / HTTP/1.1", "Connection: close"))).status)
      end)
      assert.is_truthy(texts[1]:find(case[2], 1, true), texts[1])
    end
  end)

  it("nothing where what a handler returns raises an error, and goes on with the others", function()
    local s = serving.start {
      on_request = function(asked)
        if asked.path == "/fine" then return { body = "fine" } end
        return setmetatable({}, { __index = function() error "boom" end })
      end,
    }
    local texts = log.capture(function() assert.same({ "", true }, { s:raw(GET) }) end)
    assert.is_truthy(texts[1]:find "a request cannot be answered: .*boom", texts[1])
    assert.equal("fine", parse(s:raw(request("GET /fine HTTP/1.1", "Connection: close"))).body)
  end)

  it("bodies, where they are taken", function()
    local s = serving.start {
      max_body = 5, methods = { "POST", "GET" },
      on_request = function(asked) return { body = asked.method .. ":" .. tostring(asked.body) } end,
    }
    local close = "Connection: close"
    for _, case in ipairs {
      { request("POST / HTTP/1.1", close, "Content-Length: 5") .. "abcde", 200, "POST:abcde" },
      { request("POST / HTTP/1.1", close, "Transfer-Encoding: chunked") .. "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 200,
        "POST:abc" },
      { request("GET / HTTP/1.1", close), 200, "GET:nil" },
      { request("POST / HTTP/1.1", "Content-Length: 6") .. "abcdef", 413, "the body is over 5 bytes\n" },
      { request("POST / HTTP/1.1", "Transfer-Encoding: chunked") .. "2\r\nabc", 400,
        "the chunks of the body are malformed\n" },
    } do
      local response = parse(s:raw(case[1]))
      assert.same({ case[2], case[3] }, { response.status, response.body })
    end
    local raw = s:dial()
    raw:send(request("POST / HTTP/1.1", close, "Content-Length: 2", "Expect: 100-continue"))
    assert.equal("HTTP/1.1 100 Continue\r\n\r\n", (serving.read(raw, function(all) return all:find "\r\n\r\n$" end)))
    raw:send "ab"
    assert.equal("POST:ab", parse(serving.read(raw)).body)
  end)

  it("before its body has come, if on_head says so", function()
    local heads = {}
    local s = serving.start {
      methods = { "GET", "POST" }, max_body = 5,
      on_head = function(one)
        heads[#heads + 1] = { one.path, one.body }
        if one.path == "/no" then return { status = 401, body = "no" } end
        if one.path == "/raise" then error "on purpose" end
      end,
      on_request = function(one) return { body = one.path } end,
      on_abort = function(one) heads[#heads + 1] = { "aborted " .. one.path } end,
    }
    local raw = s:dial()
    raw:send(request("POST /no HTTP/1.1", "Content-Length: 5", "Expect: 100-continue"))
    local response, rest = parse(serving.read(raw))
    assert.same({ 401, "no", "close", "" }, { response.status, response.body, response.headers.connection, rest })
    log.capture(function()
      assert.equal(500, parse(s:raw(request "GET /raise HTTP/1.1")).status)
    end)
    local head = request("POST /yes HTTP/1.1", "Connection: close", "Content-Length: 1")
    assert.equal("/yes", parse(s:raw(head .. "x")).body)
    assert.equal(413, parse(s:raw(request("POST /long HTTP/1.1", "Content-Length: 6"))).status)
    assert.same({ { "/no" }, { "/raise" }, { "/yes" }, { "/long" }, { "aborted /long" } }, heads)
  end)

  it("later, if on_request says so", function()
    local asked
    local s = serving.start {
      on_request = function(one)
        asked = one
        return server.later
      end,
      subprotocols = "a",
    }
    local raw = s:dial()
    raw:send(request "GET /x HTTP/1.1")
    till(function() return asked end)
    assert.is_true(asked:refuse { status = 404, body = "no" })
    assert.same({ nil, "the request is over" }, { asked:accept() })
    assert.equal(404, parse(serving.read(raw, function(all) return all:find "no$" end)).status)
    asked = nil
    local client = luws.wsopen(("ws://127.0.0.1:%d/y"):format(s.port), nil,
      { wait = false, reactor = require "luws.reactor", subprotocols = { "b", "a" } })
    till(function() return asked end)
    assert.is_true(asked:accept { subprotocol = "b", headers = { ["X-Later"] = "1" } })
    till(function() return client.connected end)
    assert.same({ "b", "1" }, { client.subprotocol, client.response_headers["x-later"] })
    assert.same({ nil, "the request is over" }, { asked:refuse { status = 404 } })
    luws.wsclose(client)
  end)

  it("not at all if its client goes away or its body is too large, of which on_abort is told once", function()
    local aborted = {}
    local s = serving.start {
      methods = { "GET", "POST" }, max_body = 3,
      on_request = function(one) return one.path == "/later" and server.later or { body = "ok" } end,
      on_abort = function(one) aborted[#aborted + 1] = one.method .. " " .. one.path end,
    }
    assert.equal(413, parse(s:raw(request("POST /long HTTP/1.1", "Content-Length: 4") .. "abcd")).status)
    local chunks = request("POST /chunks HTTP/1.1", "Transfer-Encoding: chunked") .. "2\r\nab\r\n2\r\ncd\r\n"
    assert.equal(413, parse(s:raw(chunks)).status)
    assert.equal(200, parse(s:raw(request("GET / HTTP/1.1", "Connection: close"))).status)
    for _, path in ipairs { "/later", "/half" } do
      local gone = s:dial()
      local half = request("POST /half HTTP/1.1", "Content-Length: 2")
      gone:send(path == "/half" and half or request "GET /later HTTP/1.1")
      serving.rest(0.03)
      gone:close()
    end
    till(function() return #aborted == 4 end)
    serving.rest(0.05)
    assert.same({ "POST /long", "POST /chunks", "GET /later", "POST /half" }, aborted)
  end)

  it("later for at most answer_timeout, and nobody who has gone away meanwhile", function()
    local asked, aborted = {}, {}
    local s = serving.start {
      answer_timeout = 0.1,
      on_request = function(one)
        asked[#asked + 1] = one
        return server.later
      end,
      on_abort = function(one) aborted[#aborted + 1] = one end,
    }
    local gone = s:dial()
    gone:send(request "GET /gone HTTP/1.1")
    till(function() return asked[1] end)
    gone:close()
    local texts = log.capture(function()
      local reply = s:raw(request "GET /kept HTTP/1.1" .. upgrade "/next", function(all)
        local _, count = all:gsub("in time\n", "")
        return count == 2
      end)
      local response, rest = parse(reply)
      assert.same({ 503, "5", "the request was not answered in time\n" },
        { response.status, response.headers["retry-after"], response.body })
      assert.equal(503, parse(rest).status)
    end)
    assert.same({
      'luws: a request for "/kept" was not answered in time', 'luws: a request for "/next" was not answered in time',
    }, texts)
    for _, one in ipairs(asked) do
      assert.same({ nil, "the request is over" }, { one:refuse { status = 200 } })
      assert.same({ nil, "the request is over" }, { one:accept() })
    end
    assert.same({ 2, asked }, { s.srv:stats().refused, aborted })
  end)

  it("requests below the path of a route by its handlers, the longest path first", function()
    local s = serving.start { on_request = function() return { body = "server" } end }
    local function says(text) return { on_request = function() return { body = text } end } end
    assert.equal(s.srv, s.srv:route("/a", says "a"))
    s.srv:route("/a/b/", says "ab")
    for _, case in ipairs {
      { "/", "server" }, { "/a", "a" }, { "/a/", "a" }, { "/ab", "server" }, { "/a/b", "a" }, { "/a/b/c?x", "ab" },
      { "/a?x", "a" }, { "http://h/a", "a" }, { "http://h", "server" },
    } do
      assert.equal(case[2], parse(s:raw(request("GET " .. case[1] .. " HTTP/1.1", "Connection: close"))).body, case[1])
    end
    s.srv:route("/a", says "another")
    assert.equal("another", parse(s:raw(request("GET /a HTTP/1.1", "Connection: close"))).body)
    local told = {}
    s.srv:route("/ws", {
      on_open = function() told[#told + 1] = "open" end, on_message = function(_, _, data) told[#told + 1] = data end,
      on_close = function(_, code) told[#told + 1] = code end,
    })
    local client = s:connect "/ws/x"
    luws.wssend(client.conn, 1, "hi")
    till(function() return told[2] end)
    luws.wsclose(client.conn)
    till(function() return told[3] end)
    assert.same({ "open", "hi", 1000 }, told)
    assert.same({}, s.events)
    assert.same({ nil, "bad argument #1 to 'route' (a path that begins with / expected)" }, { s.srv:route("a", {}) })
    assert.same({ nil, "bad argument #2 to 'route' (table expected, got nil)" }, { s.srv:route "/a" })
    assert.same({ nil, "unknown option 'on_opn' (on_open?)" }, { s.srv:route("/a", { on_opn = print }) })
  end)

  it("at most 100 requests on a connection", function()
    local s = serving.start { on_request = function() return { body = "." } end }
    local reply = s:raw(GET:rep(101))
    local _, count = reply:gsub("HTTP/1.1 200", "")
    local _, closes = reply:gsub("Connection: close", "")
    assert.same({ 100, 1 }, { count, closes })
  end)

  it("with a subprotocol that a function chooses", function()
    local choice
    local s = serving.start { select_subprotocol = function(_, offered) return choice(offered) end }
    for _, case in ipairs {
      { function(offered) return offered[2] end, 101, "b" },
      { function() end, 101, nil },
      { function() return "c" end, 500, nil },
      { function() return "A" end, 500, nil },
      { function() error "x" end, 500, nil },
    } do
      choice = case[1]
      log.start()
      local reply = s:raw(upgrade("/", "Sec-WebSocket-Protocol: a, b") .. "\136\128\0\0\0\0",
        function(all) return all:find "\136%z$" end)
      local response = parse(reply)
      assert.same({ case[2], case[3] }, { response.status, response.headers["sec-websocket-protocol"] })
    end
  end)

  it("for a proxy that it trusts", function()
    for _, case in ipairs {
      { { "127.0.0.1", "10.0.0.1" }, "1.2.3.4, 5.6.7.8, 10.0.0.1", "5.6.7.8" },
      { { "127.0.0.1" }, "[2001:db8::1]:80", "2001:db8::1" },
      { { "127.0.0.1" }, "1.2.3.4:99", "1.2.3.4" },
      { { "::ffff:127.0.0.1", "0:0::1" }, "1.2.3.4, 2001:DB8:0::1, ::1", "2001:db8::1" },
      { { "127.0.0.1" }, "1.2.3.4, unknown", "127.0.0.1" },
      { { "127.0.0.1" }, "<script>", "127.0.0.1" },
      { { "127.0.0.1" }, nil, "127.0.0.1" },
      { { "127.0.0.1" }, "127.0.0.1", "127.0.0.1" },
      { { "::ffff:127.0.0.1", "2001:DB8:0::1" }, "1.2.3.4, 2001:db8::1", "1.2.3.4" }, -- however they are written
      { { "10.0.0.1" }, "1.2.3.4", "127.0.0.1" },
      { nil, "1.2.3.4", "127.0.0.1" },
    } do
      local seen
      local s = serving.start {
        trusted_proxies = case[1],
        on_request = function(asked)
          seen = asked.remote
          return { body = "" }
        end,
      }
      s:raw(request("GET / HTTP/1.1", "Connection: close", case[2] and "X-Forwarded-For: " .. case[2] or "X: y"))
      assert.equal(case[3], seen)
    end
  end)
end)
