-- What a server answers to requests: plain HTTP, at once and later, by its handlers and those of routes.

local log = require "spec.support.log"
local luws = require "luws"
local server = require "luws.server"
local serving = require "spec.support.serving"

local parse, request, till, upgrade = serving.parse, serving.request, serving.till, serving.upgrade

after_each(serving.over)

local GET = request "GET / HTTP/1.1"

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
      { { "127.0.0.0/8", "10.0.0.0/8", "fd00::/8" }, "1.2.3.4, 5.6.7.8, fd00::7, 10.0.0.1", "5.6.7.8" },
      { { "126.0.0.0/8" }, "1.2.3.4", "127.0.0.1" },
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
