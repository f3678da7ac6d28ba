-- luws.http: one exchange on the life cycle and the options of wsopen. In memory (http_peers.lua), where time passes
-- only as far as something is waited for; and over real sockets, with TLS.

local http_peers = require "spec.support.http_peers"
local log = require "spec.support.log"
local servers = require "spec.support.servers"
local world = require "spec.support.world"
local wss = require "spec.support.wss"

local URL = "http://peer.test/"

local w, http, server, told

--- Makes a request whose end is noted in `told`.
local function request(url, options)
  return assert(http.request(url, options, function(response, why) told[#told + 1] = response or why end))
end

--- Returns how the next request ends.
local function ended()
  server:pass(600, function() return told[1] ~= nil end)
  return table.remove(told, 1)
end

before_each(function()
  w = world.new()
  http, server, told = w.import("http").public, http_peers.new(w), {}
end)

describe("a request", function()
  it("has its method, its headers and its body, and brings the whole response", function()
    for _, case in ipairs {
      { nil, "GET", "" }, { { body = "x" }, "POST", "x" }, { { method = "PUT", body = "x" }, "PUT", "x" },
      { { method = "DELETE" }, "DELETE", "" }, { { method = "POST" }, "POST", "" },
    } do
      request("http://peer.test/a?b=c#d", case[1])
      local seen = server:next()
      assert.same({ case[2], "/a?b=c", case[3] }, { seen.method, seen.target, seen.body })
      assert.equal("peer.test", seen.headers.host)
      seen:respond("hello", { status = 201, headers = { { "X-A", "1" }, { "X-A", "2" } } })
      local response = ended()
      assert.same({ 201, "Created", "hello", "1, 2", "http://peer.test/a?b=c" },
        { response.status, response.reason, response.body, response.headers["x-a"], response.url })
    end
  end)

  it("sends the program's headers, and a Host of its own", function()
    request(URL, { headers = { Host = "other", ["X-Number"] = 5, Authorization = "Mine" } })
    local headers = server:next().headers
    assert.same({ "other", "5", "Mine" }, { headers.host, headers["x-number"], headers.authorization })
  end)

  it("is answered in a turn of the reactor only, and once", function()
    request(URL)
    local seen = server:next()
    seen:respond("a")
    assert.same({}, told)
    assert.equal("a", ended().body)
    server:pass(100)
    assert.same({}, told)
  end)

  it("is told of nothing after it was cancelled, at whatever time", function()
    for _, seconds in ipairs { 0, 1 } do
      local one = request(URL)
      server:pass(seconds)
      one:cancel()
      one:cancel()
      server:pass(100)
      assert.same({}, told)
    end
  end)

  it("is not answered by an informational response", function()
    request(URL, { body = "x", headers = {} })
    local seen = server:next()
    seen.peer.line:send "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"
    seen:respond("late")
    assert.equal("late", ended().body)
  end)

  it("fails with the reason", function()
    for _, case in ipairs {
      { function(seen) seen:vanish() end, "the peer closed the connection (is it https?)" },
      { function(seen) seen.peer.line:send "SSH-2.0\r\n" end, 'the answer is not HTTP: "SSH-2.0"' },
      { function(seen) seen:respond(("x"):rep(101)) end, "the body is over 100 bytes" },
      { function(seen) seen.peer.line:send "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab" seen:vanish() end,
        "the peer closed the connection" },
      { function(seen) seen.peer.line:send "HTTP/1.1 101 Switching\r\n\r\n" end,
        "the server switches protocols unasked" },
      { function() end, "timeout" },
    } do
      request(URL, { method = "POST", max_body = 100, timeout = 7 })
      local began = w.clock.now()
      case[1](server:next())
      assert.equal("request failed; " .. case[2], ended())
      if case[2] == "timeout" then assert.equal(7, w.clock.now() - began) end
    end
  end)

  it("fails if the server cannot be reached", function()
    w.dials = { { 1, "connection refused" } }
    request(URL)
    assert.equal("Connection to peer.test:80 failed: connection refused", ended())
  end)

  it("logs what its function raises", function()
    assert(http.request(URL, nil, function() error "oops" end))
    server:next():respond()
    local lines = log.capture(function() server:pass(1) end)
    assert.matches("the function of a request raised an error: .*oops", lines[1])
  end)
end)

describe("a connection", function()
  it("is used again for the same place, as long as it is kept", function()
    for i, case in ipairs { { 0, 1 }, { 2.9, 1 }, { 3.1, 2 }, { 0, 2 } } do
      server:pass(case[1])
      request(URL)
      server:next():respond(tostring(i))
      assert.equal(tostring(i), ended().body)
      assert.equal(case[2], server.connections, i)
    end
  end)

  it("is not used again for another place, other options, or while it is used", function()
    for i, case in ipairs { { URL }, { "http://other.test/" }, { "http://peer.test:81/" },
      { URL, { proxy = "http://proxy.test" } } } do
      request(case[1], case[2])
      if case[2] then
        server:next():respond() -- the proxy's answer to CONNECT
      end
      server:next():respond()
      ended()
      assert.equal(i, server.connections)
    end
    request(URL)
    request(URL)
    server:next():respond()
    server:next():respond()
    ended()
    assert.is_table(ended())
    assert.equal(5, server.connections)
  end)

  it("is not used again after a response that ends it", function()
    for i = 1, 2 do
      request(URL)
      server:next():respond("", { is_last = true })
      ended()
      assert.equal(i, server.connections)
    end
  end)

  it("that has ended meanwhile is made again", function()
    request(URL)
    local first = server:next()
    first:respond()
    ended()
    first:vanish()
    request(URL)
    server:next():respond("again")
    assert.equal("again", ended().body)
    assert.equal(2, server.connections)
  end)

  it("that is used again has the time of the new request", function()
    request(URL)
    server:next():respond()
    ended()
    request(URL, { timeout = 2 })
    local began = w.clock.now()
    server:next()
    assert.equal("request failed; timeout", ended())
    assert.same({ 2, 1 }, { w.clock.now() - began, server.connections })
  end)

  it("that ends as it is used again costs another attempt, unless the request might be done twice", function()
    for _, case in ipairs { { "GET", 2, true }, { "POST", 1, false } } do
      request(URL)
      server:next():respond()
      ended()
      request(URL, { method = case[1] })
      server:next():vanish()
      local second = case[3] and server:next()
      if second then second:respond("second") end
      local response = ended()
      assert.equal(case[3] and "second" or "request failed; the peer closed the connection (is it https?)",
        response.body or response)
      server:pass(10)
    end
  end)

  it("that is kept is ended as soon as the server ends it, or answers what nobody has asked", function()
    for what, f in pairs {
      ["the end"] = function(seen) seen:vanish() end,
      ["an answer"] = function(seen) seen.peer.line:send "HTTP/1.1 408 Request Timeout\r\n\r\n" end,
      ["a byte"] = function(seen) seen.peer.line:send "\0" end,
    } do
      request(URL)
      local seen = server:next()
      seen:respond()
      ended()
      server:pass(0.5)
      assert.is_falsy(seen:is_gone(), what)
      f(seen)
      server:pass(0.1)
      assert.is_truthy(seen:is_gone(), what)
    end
  end)

  it("that is kept is not a reason for the reactor to run", function()
    request(URL)
    server:next():respond()
    ended()
    local began = w.clock.now()
    w.reactor.run()
    assert.equal(began, w.clock.now())
  end)
end)

describe("a redirect", function()
  local function redirect(seen, status, location)
    seen:respond("", { status = status, headers = { { "Location", location } } })
  end

  it("is the response unless it is to be followed, and says why it was not", function()
    for _, case in ipairs { { 0, nil }, { 1, "too many redirects" } } do
      request(URL, { redirects = case[1] })
      for _ = 0, case[1] do redirect(server:next(), 302, "/b") end
      local response = ended()
      assert.same({ 302, case[2] }, { response.status, response.problem })
    end
  end)

  it("that leads nowhere is the response, and says why", function()
    for location, why in pairs {
      ["ftp://x/"] = "the Location of the redirect is wrong: it does not begin with http:// or https://",
      ["http://[::1/"] = "the Location of the redirect is wrong: invalid IPv6 address",
    } do
      request(URL, { redirects = 1 })
      redirect(server:next(), 302, location)
      assert.equal(why, ended().problem)
    end
  end)

  it("keeps the method and the body, or becomes a GET, as in browsers", function()
    for _, case in ipairs {
      { 301, "POST", "GET", "" }, { 302, "POST", "GET", "" }, { 303, "POST", "GET", "" }, { 303, "PUT", "GET", "" },
      { 302, "PUT", "PUT", "x" }, { 307, "POST", "POST", "x" }, { 308, "POST", "POST", "x" },
    } do
      request(URL, { redirects = 1, method = case[2], body = "x", headers = { ["Content-Type"] = "text/plain" } })
      redirect(server:next(), case[1], "/b")
      local seen = server:next()
      assert.same({ case[3], "/b", case[4] }, { seen.method, seen.target, seen.body })
      assert.equal(case[4] ~= "" and "text/plain" or nil, seen.headers["content-type"])
      seen:respond("there")
      assert.equal("http://peer.test/b", ended().url)
    end
  end)

  it("to another server does not take along what is for the first", function()
    request(URL, { redirects = 1, headers = { Authorization = "a", Cookie = "b", ["X-Other"] = "c" } })
    redirect(server:next(), 302, "http://other.test/")
    local headers = server:next().headers
    assert.same({ "c" }, { headers["x-other"], headers.authorization, headers.cookie })
  end)
end)

it("keeps and sends cookies, and authenticates", function()
  local jar = w.import("cookies").public.jar()
  local options = { cookies = jar, auth = { user = "me", password = "secret" } }
  request(URL, options)
  local seen = server:next()
  assert.is_nil(seen.headers.authorization)
  seen:respond("", { status = 401, headers = {
    { "Set-Cookie", "a=1" }, { "WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256' },
  } })
  seen = server:next()
  assert.matches('^Digest username="me"', seen.headers.authorization)
  assert.equal("a=1", seen.headers.cookie)
  seen:respond("in")
  assert.equal("in", ended().body)
end)

it("refuses what it cannot do", function()
  local function f() end
  for _, case in ipairs {
    { { nil, nil, f }, "invalid url: string expected, got nil" },
    { { "ftp://x", nil, f }, "invalid url ftp://x: it does not begin with http:// or https://" },
    { { URL, 5, f }, "bad argument #2 to 'request' (table expected, got number)" },
    { { URL }, "bad argument #3 to 'request' (function expected, got nil)" },
    { { URL, { method = "G ET" }, f }, 'method "G ET" is not a token' },
    { { URL, { body = 5 }, f }, "bad option 'body' (string expected, got number)" },
    { { URL, { timeout = -1 }, f }, "bad option 'timeout' (a number of at least 0 expected, got -1)" },
    { { URL, { max_bodi = 1 }, f }, "unknown option 'max_bodi' (max_body?)" },
    { { URL, { reconnect = true }, f }, "unknown option 'reconnect' (connect?)" },
    { { URL, { ssl_verfy = "peer" }, f }, "bad option 'ssl_verfy' (unknown)" },
    { { URL, { headers = { TE = "trailers" } }, f }, "bad option 'headers' (TE is written by luws)" },
    { { URL, { headers = { ["X\n"] = 5 } }, f }, "bad option 'headers' (header name \"X\\n\" is not a token)" },
  } do
    assert.same({ nil, case[2] }, { http.request(case[1][1], case[1][2], case[1][3]) })
  end
end)

describe("over real sockets", function()
  local real, reactor = require "luws.http", require "luws.reactor"
  local luws, luws_server = require "luws", require "luws.server"

  it("verifies the server's certificate unless that is turned off", function()
    local output = wss.openssl "x509 -in @server.pem -noout -sha256 -fingerprint"
    local fingerprint = output:gsub("%s+$", "")
    local srv = assert(luws_server.listen {
      port = 0, ssl_certificate = servers.pki "server.pem", ssl_key = servers.pki "server.key",
      on_request = function() return { body = "hello" } end })
    local _, port = srv:address()
    for _, case in ipairs {
      { {}, "Failed SSL negotation: " }, { { ssl_verify = "none" }, "hello" },
      { { ssl_fingerprint = fingerprint }, "hello" },
      { { ssl_fingerprint = ("0"):rep(64) }, "Failed SSL negotation: " },
      { { ssl_cafile = servers.ca_file() }, "hello" }, { { ssl = { verify = "none" } }, "hello" },
    } do
      local result
      assert(real.request(("https://127.0.0.1:%d/"):format(port), case[1], function(response, why)
        result = response and response.body or why
      end))
      while not result do reactor.step(5) end
      assert.equal(case[2], result:sub(1, #case[2]))
    end
    srv:close { timeout = 0 }
    reactor.run(1)
  end)

  it("a kept connection is used again, and does not hold up the end of a server", function()
    for scheme, more in pairs {
      http = {}, https = { ssl_certificate = servers.pki "server.pem", ssl_key = servers.pki "server.key" },
    } do
      local opened = 0
      more.port = 0
      more.on_request = function(seen) return { body = tostring(seen.remote_port) } end
      local srv = assert(luws_server.listen(more))
      local url, remotes = ("%s://127.0.0.1:%d/"):format(scheme, select(2, srv:address())), {}
      for _ = 1, 3 do
        local result
        assert(real.request(url, { ssl_verify = "none" }, function(response, why) result = response or why end))
        while not result do reactor.step(5) end
        if not remotes[result.body] then opened = opened + 1 end
        remotes[result.body] = true
        reactor.step(0.01) -- tickets of TLS 1.3
      end
      assert.equal(1, opened, scheme)
      local began = luws.gettime()
      srv:close()
      reactor.run(5)
      assert.is_true(luws.gettime() - began < 1, scheme)
    end
  end)
end)
