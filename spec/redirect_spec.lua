-- The options redirects and redirects_to_ws: which responses lead elsewhere, what goes along, and where it ends. In
-- memory, with a peer for each host; over wss and with users' sockets, with real ones.

local log = require "spec.support.log"
local luws = require "luws"
local player = require "spec.support.player"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local sockets = require "spec.support.sockets"
local world = require "spec.support.world"

local function ignore() end

--- Returns the steps of a server that answers with a redirect.
local function leads(location, status, lines)
  local head = ("HTTP/1.1 %s\r\nLocation: %s\r\n"):format(status or "302 Found", location)
  return { { "upgrade", response = head .. (lines or "") .. "Content-Length: 0\r\n\r\n" }, { "close" } }
end

local function refuses(response) return { { "upgrade", response = response .. "\r\n\r\n" }, { "close" } } end

local function accepts(lines)
  return { { "upgrade", headers = lines }, { "read_frame" }, { "send", "\136\2\3\232" }, { "close" } }
end

local w, sites

--- Makes a world in which each "host:port" plays its steps.
local function with_sites(all)
  w, sites = world.new(), {}
  for name, steps in pairs(all) do sites[name] = player.new(w, steps) end
  function w.network(host, port) return sites[("%s:%d"):format(host, port)] end
end

--- Makes a site play other steps for its second connection. Returns the two players.
local function then_plays(name, steps)
  local first, second = sites[name], player.new(w, steps)
  sites[name] = { new_connection = function()
    sites[name] = second
    return first:new_connection()
  end }
  return first, second
end

--- Returns the head of the request that a site has had, by its lower-case names, and the first line.
local function request_of(name, connection)
  local seen = sites[name]:so_far(connection)
  return seen.headers, seen.request_line
end

local function place(conn) return { conn.proto, conn.ip, conn.port, conn.path, tostring(conn) } end

-- The ways to wait for a connection. Each returns what wsopen would return if it waited.
local WAYS = {
  ["waiting"] = function(url, options) return w.luws.wsopen(url, ignore, options) end,
  ["driven by the reactor"] = function(url, options)
    options.wait = false
    local told
    local conn = assert(w.luws.wsopen(url, function(_, _, text) told = text end, options))
    while not (conn.connected or told) do w.reactor.step() end
    if conn.connected then return conn end
    return false, told, conn.response
  end,
  ["driven by wswait"] = function(url, options)
    options.wait = false
    local told
    local conn = assert(w.luws.wsopen(url, function(_, _, text) told = text end, options))
    while not (conn.connected or told) do
      w.luws.wswait(conn, 1)
      w.luws.wsreceive(conn)
    end
    if conn.connected then return conn end
    return false, told, conn.response
  end,
  ["yielding"] = function(url, options)
    options.wait = "yield"
    local results
    coroutine.wrap(function() results = { w.luws.wsopen(url, ignore, options) } end)()
    while not results do w.reactor.step() end
    return results[1], results[2], results[3]
  end,
}

for way, open in pairs(WAYS) do
  describe("a redirect, " .. way .. ",", function()
    for _, status in ipairs { "301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect",
      "308 Permanent Redirect" } do
      it("is followed: " .. status, function()
        with_sites { ["a.test:80"] = leads("http://b.test:81/c?d=e", status), ["b.test:81"] = accepts() }
        local conn = assert(open("ws://a.test/", { redirects = 1 }))
        assert.same({ "ws", "b.test", 81, "/c?d=e", "luws-websock[b.test:81]" }, place(conn))
        local headers, line = request_of "b.test:81"
        assert.same({ "GET /c?d=e HTTP/1.1", "b.test:81" }, { line, headers.host })
      end)
    end

    it("leads from one to the next, and the last one's answer counts", function()
      with_sites {
        ["a.test:80"] = leads("//b.test/x/y", nil, "Sec-WebSocket-Protocol: wrong\r\n"),
        ["b.test:80"] = leads "../z",
        ["c.test:80"] = accepts { "Sec-WebSocket-Protocol: two", "X-Last: yes" },
      }
      local first, second = then_plays("b.test:80", leads "ws://c.test")
      local greeted = 0
      local conn = assert(open("ws://a.test/", { redirects = 3, subprotocols = { "one", "two" },
        open_handler = function() greeted = greeted + 1 end }))
      w.luws.wsreceive(conn)
      assert.same({ "two", "yes", 1 }, { conn.subprotocol, conn.response_headers["x-last"], greeted })
      assert.equal("GET /x/y HTTP/1.1", first:so_far(1).request_line)
      assert.equal("GET /z HTTP/1.1", second:so_far(1).request_line)
      assert.same({ "ws", "c.test", 80, "/", "luws-websock[c.test:80]" }, place(conn))
    end)

    it("is not followed unless that was asked for", function()
      for _, options in ipairs { {}, { redirects = 0 } } do
        with_sites { ["a.test:80"] = leads "ws://b.test/" }
        local conn, why, response = open("ws://a.test/", options)
        assert.same({ false, "upgrade failed; HTTP/1.1 302 Found" }, { conn, why })
        assert.same({ 302, "ws://b.test/" }, { response.status, response.headers.location })
      end
    end)

    for status, reason in pairs { [300] = "Multiple Choices", [304] = "Not Modified", [305] = "Use Proxy",
      [306] = "Unused", [401] = "Unauthorized", [200] = "OK", [201] = "Created" } do
      it("is no other response: " .. status, function()
        with_sites { ["a.test:80"] = leads("ws://b.test/", status .. " " .. reason) }
        local conn, why, response = open("ws://a.test/", { redirects = 5 })
        assert.same({ false, ("upgrade failed; HTTP/1.1 %d %s"):format(status, reason) }, { conn, why })
        assert.equal(status, response.status)
      end)
    end

    it("ends with the number of redirects that was allowed", function()
      with_sites { ["a.test:80"] = leads "/again?token=secret" }
      local conn, why, response = open("ws://a.test/", { redirects = 3 })
      assert.same({ false, "upgrade failed; HTTP/1.1 302 Found; too many redirects (redirected to ws://a.test/again)" },
        { conn, why })
      assert.equal(302, response.status)
      assert.equal(4, #sites["a.test:80"].connections)
    end)

    for location, reason in pairs {
      ["ftp://b.test/"] = "it does not begin with ws:// or wss://",
      ["http://*.test/"] = "its host is not a valid host name",
      ["http://b.test:99999/"] = "invalid port number",
      ["http:///b"] = "it has no host",
    } do
      it("to a place that is none is an error: " .. location, function()
        with_sites { ["a.test:80"] = leads(location) }
        local conn, why = open("ws://a.test/", { redirects = 5 })
        assert.same({ false, "upgrade failed; HTTP/1.1 302 Found; the Location of the redirect is wrong: " .. reason },
          { conn, why })
      end)
    end

    it("without a Location is an error", function()
      with_sites { ["a.test:80"] = refuses "HTTP/1.1 302 Found" }
      local conn, why = open("ws://a.test/", { redirects = 5 })
      assert.same({ false, "upgrade failed; HTTP/1.1 302 Found; the redirect has no Location" }, { conn, why })
    end)

    it("names the place at which it fails", function()
      local path = "/" .. ("x"):rep(300)
      for _, case in ipairs {
        { refuses "HTTP/1.1 404 Not Found", "upgrade failed; HTTP/1.1 404 Not Found" },
        { refuses "SSH-2.0", 'upgrade failed; the answer is not HTTP: "SSH-2.0"' },
        { { { "upgrade", replace = { ["Sec-WebSocket-Accept"] = "wrong" } } },
          "upgrade failed; Sec-WebSocket-Accept does not match the request's key" },
        { { { "request" }, { "close" } }, "upgrade failed; the peer closed the connection (is it wss?)" },
        { { { "request" }, { "hold" } }, "upgrade failed; timeout" },
        { { { "request" }, { "send", "HTTP/1.1 101 Yes\r\nX: " .. ("y"):rep(70000) } },
          "upgrade failed; the head is over 65536 bytes" },
      } do
        local location = "ws://me:secret@b.test" .. path .. "?token=secret"
        with_sites { ["a.test:80"] = leads(location), ["b.test:80"] = case[1] }
        local conn, why = open("ws://a.test/", { redirects = 5 })
        assert.same({ false, case[2] .. " (redirected to ws://b.test" .. path:sub(1, 200 - #"ws://b.test") .. "...)" },
          { conn, why })
      end
      with_sites { ["a.test:80"] = leads "ws://b.test:81/" }
      w.dials = { { 0 }, { 0, "connection refused" } }
      assert.same({ false, "Connection to b.test:81 failed: connection refused (redirected to ws://b.test:81/)" },
        { open("ws://a.test/", { redirects = 5 }) })
    end)

    it("gives each attempt its own time", function()
      local function slowly(location)
        return { { "request" }, { "sleep", 4 }, leads(location)[1], { "close" } }
      end
      with_sites { ["a.test:80"] = slowly "ws://b.test/", ["b.test:80"] = slowly "ws://c.test/",
        ["c.test:80"] = { { "request" }, { "hold" } } }
      w.dials = { { 14 }, { 14 }, { 14 } }
      local _, why = open("ws://a.test/", { redirects = 5, connect_timeout = 15, upgrade_timeout = 5 })
      assert.equal("upgrade failed; timeout (redirected to ws://c.test/)", why)
      local passed = w.clock.now()
      assert.is_true(passed >= 3 * 14 + 2 * 4 + 5 and passed < 3 * 14 + 2 * 4 + 7, passed)
    end)
  end)
end

describe("to another server, a redirect", function()
  --- Opens a connection to a URL that leads to `location`; returns what that server was told.
  local function told(url, location, options)
    local first = url:match "//[^/]*":gsub("^//", ""):gsub("^.*@", "")
    local second = location:match "//([^/]*)":gsub("^.*@", "")
    with_sites { [first:find ":" and first or first .. ":80"] = leads(location),
      [second:find ":" and second or second .. ":80"] = accepts() }
    options.redirects = 1
    assert(w.luws.wsopen(url, ignore, options))
    return (request_of(second:find ":" and second or second .. ":80"))
  end

  local BASIC = "Basic bWU6c2VjcmV0"

  it("takes along no credentials, no cookies and no Host, but all other headers", function()
    for _, location in ipairs { "ws://b.test/", "ws://a.test:81/", "ws://x.a.test/", "ws://test/" } do
      for _, case in ipairs {
        { "ws://me:secret@a.test/", {} },
        { "ws://a.test/", { authorization = "Bearer secret", COOKIE = "a=secret", Host = "vhost.test",
          ["Proxy-Authorization"] = "Basic secret" } },
      } do
        case[2]["X-Other"] = "yes"
        local headers = told(case[1], location, { upgrade_headers = case[2] })
        assert.same({ nil, nil, nil, "yes" }, { headers.authorization, headers.cookie, headers["proxy-authorization"],
          headers["x-other"] })
        assert.equal(location:match "//([^/]*)", headers.host)
      end
    end
  end)

  it("to the same server takes all along", function()
    with_sites { ["a.test:81"] = leads "/next" }
    local _, second = then_plays("a.test:81", accepts())
    assert(w.luws.wsopen("ws://me:secret@a.test:81/", ignore,
      { redirects = 1, upgrade_headers = { Cookie = "a=b", Host = "vhost.test" } }))
    local headers = second:so_far(1).headers
    assert.same({ BASIC, "a=b", "vhost.test" }, { headers.authorization, headers.cookie, headers.host })
  end)

  it("and back again takes along what is for the first one", function()
    with_sites { ["a.test:80"] = leads "ws://b.test/", ["b.test:80"] = leads "ws://a.test/back" }
    local _, why = w.luws.wsopen("ws://me:secret@a.test/", ignore, { redirects = 2 })
    assert.truthy(why:find("too many redirects", 1, true))
    assert.same({ BASIC, nil, BASIC }, {
      request_of("a.test:80", 1).authorization, request_of "b.test:80".authorization,
      request_of("a.test:80", 2).authorization,
    })
  end)

  it("does not use a user and a password that the server has named", function()
    local headers = told("ws://a.test/", "ws://you:yours@b.test:82/", {})
    assert.is_nil(headers.authorization)
  end)
end)

describe("a connection that is opened again", function()
  it("begins at the URL, with its credentials and the cookies of now", function()
    with_sites { ["a.test:80"] = leads("ws://b.test/", nil, "Set-Cookie: a=1\r\n"),
      ["b.test:80"] = { { "upgrade" }, { "sleep", 1 }, { "close" } } }
    local opened, jar = 0, w.import "cookies".public.jar()
    local options = { wait = false, redirects = 1, cookies = jar, reconnect = { first = 1, jitter = 0 } }
    local conn
    function options.open_handler()
      opened = opened + 1
      if opened == 2 then options.auth = { bearer = "new" } end
      if opened == 4 then options.auth = nil end
      if opened == 6 then w.luws.wsclose(conn) end
    end
    conn = assert(w.luws.wsopen("ws://me:secret@a.test/", ignore, options))
    w.reactor.run(60)
    local BASIC, requests = "Basic bWU6c2VjcmV0", {}
    for i = 1, #sites["a.test:80"].connections do
      local headers = request_of("a.test:80", i)
      requests[i] = { headers.authorization, headers.cookie }
      assert.is_nil(request_of("b.test:80", i).authorization)
    end
    assert.same({ { BASIC }, { BASIC, "a=1" }, { "Bearer new", "a=1" }, { "Bearer new", "a=1" }, { BASIC, "a=1" },
      { BASIC, "a=1" } }, requests)
  end)
end)

describe("while a redirect is followed,", function()
  it("wsclose ends the opening", function()
    with_sites { ["a.test:80"] = leads "ws://b.test/", ["b.test:80"] = { { "request" }, { "hold" } } }
    local told = {}
    local conn = assert(w.luws.wsopen("ws://a.test/", function(_, ...) told[#told + 1] = { ... } end,
      { redirects = 1, wait = false }))
    while not sites["b.test:80"]:so_far() do w.reactor.step(0.1) end
    assert.same({ false, "a.test" }, { conn.connected, conn.ip })
    w.luws.wsclose(conn)
    w.reactor.run(10)
    assert.same({}, told)
    assert.same({ nil, "not connected" }, { w.luws.wsreceive(conn) })
  end)

  it("connecting_limit holds for each server by itself", function()
    with_sites { ["a.test:80"] = leads "ws://b.test/", ["b.test:80"] = { { "request" }, { "hold" } } }
    local options = { redirects = 1, wait = false, connecting_limit = 1 }
    local told = {}
    for i = 1, 3 do assert(w.luws.wsopen("ws://a.test/", function(_, _, text) told[i] = text end, options)) end
    w.reactor.run(1)
    -- All have left the first server; the second one has them one by one.
    assert.same({ 3, 1 }, { #sites["a.test:80"].connections, #sites["b.test:80"].connections })
    w.reactor.run(5)
    assert.same({ 3, 2 }, { #sites["a.test:80"].connections, #sites["b.test:80"].connections })
    w.reactor.run(20)
    local why = "upgrade failed; timeout (redirected to ws://b.test/)"
    assert.same({ why, why, why }, told)
  end)

  it("the log has it in debug_mode, without what may be secret", function()
    with_sites { ["a.test:80"] = leads "/next?token=secret", ["b.test:80"] = accepts() }
    w.luws.debug_mode = true
    local lines = log.capture(function()
      w.luws.wsopen("ws://me:secret@a.test/?token=secret", ignore, { redirects = 1 })
    end)
    local text = table.concat(lines, "\n")
    assert.truthy(text:find("ws://a.test/ redirects to ws://a.test/next (302)", 1, true), text)
    assert.is_nil(text:find "secret")
  end)
end)

describe("the option", function()
  for _, case in ipairs {
    { "redirects", "many", "whole number from 0 up expected, got string" },
    { "redirects", -1, "whole number from 0 up expected, got -1" },
    { "redirects", 1.5, "whole number from 0 up expected, got 1.5" },
    { "redirects_to_ws", 1, "boolean expected, got number" },
  } do
    it(("%s refuses %s"):format(case[1], tostring(case[2])), function()
      w = world.new()
      assert.same({ false, ("bad option '%s' (%s)"):format(case[1], case[3]) },
        { w.luws.wsopen("ws://a.test/", ignore, { [case[1]] = case[2] }) })
    end)
  end
end)

describe("over real sockets, a redirect", function()
  local peers, conn = {}, nil

  local function keep(script)
    peers[#peers + 1] = scripted.peer(script)
    return peers[#peers]
  end

  local function with_tls(steps)
    steps.tls = true
    return steps
  end

  after_each(function()
    luws.wsclose(conn)
    while peers[1] do table.remove(peers):close() end
  end)

  local function verified(options)
    options.ssl_verify, options.ssl_cafile, options.close_timeout = "peer", servers.ca_file(), 0
    return options
  end

  it("leads from ws to wss, whose certificate is verified", function()
    local last = keep(with_tls(accepts()))
    conn = assert(luws.wsopen(keep(leads(last.url .. "safe")).url, ignore, verified { redirects = 1 }))
    assert.same({ "wss", "localhost", last.port, "/safe", true }, { conn.proto, conn.ip, conn.port, conn.path,
      conn.tls.verified })
    -- and for another name it is not
    local why
    local other = keep { tls = true, address = "127.0.0.2", { "hold" } }
    conn, why = luws.wsopen(keep(leads(other.url)).url, ignore, verified { redirects = 1 })
    assert.is_false(conn)
    assert.truthy(why:find("^Failed SSL negotation: .*%(redirected to wss://127%.0%.0%.2:"), why)
  end)

  it("leads from wss to wss, where a name that was given for TLS is for the first server only", function()
    local last = keep(with_tls(accepts()))
    local first = keep(with_tls(leads(last.url)))
    local url = first.url:gsub("localhost", "127.0.0.1")
    conn = assert(luws.wsopen(url, ignore, verified { redirects = 1, ssl_sni = "localhost" }))
    assert.same({ "localhost", last.port }, { conn.ip, conn.port })
  end)

  it("leads from wss to ws only if that was asked for, and then without credentials", function()
    local last = keep(accepts())
    local first = keep(with_tls(leads(last.url)))
    local url = first.url:gsub("//", "//me:secret@")
    local why
    conn, why = luws.wsopen(url, ignore, verified { redirects = 5 })
    assert.same({ false, "upgrade failed; HTTP/1.1 302 Found; it redirects from wss to ws, see redirects_to_ws" },
      { conn, why })
    assert.equal(0, last:connections())
    conn = assert(luws.wsopen(url, ignore, verified { redirects = 5, redirects_to_ws = true }))
    assert.same({ "ws", nil }, { conn.proto, conn.tls })
    assert.is_nil(last:at(2).headers.authorization)
  end)

  it("calls connect again, with the host and the port to which it leads", function()
    local last = keep(accepts())
    local first = keep(leads("http://localhost:" .. last.port .. "/"))
    local asked, connect = {}, sockets.connecting {}
    local options = { redirects = 1, close_timeout = 0 }
    function options.connect(host, port, given)
      asked[#asked + 1] = { host, port, given == options }
      return connect(host, port)
    end
    conn = assert(luws.wsopen(first.url, ignore, options))
    assert.same({ { "127.0.0.1", first.port, true }, { "localhost", last.port, true } }, asked)
  end)

  it("leaves no descriptor behind", function()
    local first = keep(leads "/again")
    for _, wait in ipairs { true, false } do
      local before = sockets.count()
      local told
      local opened = luws.wsopen(first.url, function() told = true end, { redirects = 20, wait = wait })
      if opened then
        while not told do require "luws.reactor".step(5) end
      end
      sockets.assert_at_most(before)
    end
    assert.equal(42, first:connections())
  end)

  it("leads on through a proxy, which is asked for each server and gets nothing that is for them", function()
    local steps = leads("ws://b.test:81/x")
    table.insert(steps, 1, { "request" })
    table.insert(steps, 2, { "send", "HTTP/1.1 200 OK\r\n\r\n" })
    local peer = keep(steps)
    local _, why = luws.wsopen("ws://a.test/", ignore, { redirects = 1, auth = { bearer = "abc" },
      proxy = "http://me:secret@127.0.0.1:" .. peer.port })
    assert.equal("upgrade failed; HTTP/1.1 302 Found; too many redirects (redirected to ws://b.test:81/x)", why)
    for i, server in ipairs { "a.test:80", "b.test:81" } do
      local asked, request = peer:result(i).heads[1]:lower(), peer:result(i).heads[2]:lower()
      assert.truthy(asked:find("connect " .. server, 1, true) and asked:find("proxy-authorization: basic", 1, true))
      assert.is_nil(asked:find("\nauthorization", 1, true) or request:find("proxy-authorization", 1, true))
      assert.equal(i == 1, request:find("\nauthorization: bearer abc", 1, true) ~= nil)
    end
  end)

  it("leads on through SockProxy, which is asked for each server", function()
    local last = keep(accepts())
    local first = keep(leads(last.url))
    local proxy = { port = servers.start("sockproxy").good, required = true }
    conn = assert(luws.wsopen(first.url, ignore, { redirects = 1, sockproxy = proxy, close_timeout = 0 }))
    assert.same({ true, last.port, 1 }, { conn.proxied, conn.port, last:connections() })
  end)
end)
