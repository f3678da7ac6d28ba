-- The option `proxy`, against proxies that play their part in memory: what they are asked, what their answers become,
-- and how long they are waited for. spec/proxies_spec.lua has real ones.

local relay = require "spec.support.relay"
local unpack = require "spec.support.compat".unpack
local world = require "spec.support.world"

local URL = "ws://peer.test/"

local SOCKS5 = { { 3, "\5\0" }, { 5 + 9 + 2, "\5\0\0\1\1\2\3\4\0\80" } } -- for the name peer.test
local SOCKS4 = { { 9 + 10, "\0\90\0\80\1\2\3\4" } } -- with that name
local ASK = "CONNECT peer.test:80 HTTP/1.1\r\nHost: peer.test:80\r\n"
local OK = "HTTP/1.1 200 OK\r\n\r\n"
local CONNECT = { { "\r\n\r\n", OK } }

-- The ends of the network that are told at once, as the proxy's.
local ENDS = { ends = "the proxy closed the connection", vanishes = "the proxy closed the connection",
  breaks = "timed out" }

local BASIC = "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" -- "me" and "secret"

--- Returns a reply that asks for authentication.
local function ask_for(challenge, more)
  return ("HTTP/1.1 407 Auth\r\nProxy-Authenticate: %s\r\n%s\r\n"):format(challenge, more or "Content-Length: 0\r\n")
end

describe("The option proxy", function()
  local w

  before_each(function() w = world.new() end)

  --- Opens a connection through a proxy that plays these steps. Returns what wsopen does, and the peer.
  local function open(steps, proxy, options, url)
    options = options or {}
    options.proxy = proxy
    local peer = w:peer { proxy = steps }
    local conn, why = w.luws.wsopen(url or URL, nil, options)
    return conn, why, peer
  end

  local function assert_failure(text, steps, proxy, options, url)
    local conn, why = open(steps, proxy, options, url)
    assert.same({ false, text }, { conn, why })
  end

  for _, case in ipairs {
    { "socks5h://proxy.test", SOCKS5, { "proxy.test", 1080 }, { "\5\1\0", "\5\1\0\3\9peer.test\0\80" } },
    { "SOCKS5H://proxy.test:9050/", SOCKS5, { "proxy.test", 9050 }, { "\5\1\0", "\5\1\0\3\9peer.test\0\80" } },
    { "socks4a://proxy.test", SOCKS4, { "proxy.test", 1080 }, { "\4\1\0\80\0\0\0\1\0peer.test\0" } },
    { "http://proxy.test", CONNECT, { "proxy.test", 80 }, { ASK .. "\r\n" } },
    { "proxy.test:3128", CONNECT, { "proxy.test", 3128 }, { ASK .. "\r\n" } },
    { "http://[::1]:8080", CONNECT, { "::1", 8080 }, { ASK .. "\r\n" } },
    { "me:secret@proxy.test", CONNECT, { "proxy.test", 80 }, { ASK .. BASIC .. "\r\n" } },
    { { url = "http://you@proxy.test", user = "me", password = "secret", headers = { ["User-Agent"] = "x/1" } },
      CONNECT, { "proxy.test", 80 }, { ASK .. "User-Agent: x/1\r\n\r\n" } },
    { { url = "proxy.test", headers = { ["Proxy-Authorization"] = "Bearer x", ["X-1"] = 2 } }, CONNECT,
      { "proxy.test", 80 }, { ASK .. "Proxy-Authorization: Bearer x\r\nX-1: 2\r\n\r\n" } },
  } do
    local proxy, steps, asked, said = unpack(case)
    it("goes through " .. (type(proxy) == "table" and proxy.url .. ", from a table" or proxy), function()
      local conn, why, peer = open(steps, proxy)
      assert.is_table(conn, why)
      assert.same({ asked, said }, { w.asked, peer.asked })
      assert.same({ true, "peer.test", 80 }, { conn.proxied, conn.ip, conn.port })
      assert.is_nil(conn.sockproxy_pid)
      assert.is_nil(peer.request.headers["proxy-authorization"])
      assert.is_true(w.luws.wssend(conn, 1, "hello"))
      w.clock.sleep(0.1)
      assert.same({ { 1, "hello" } }, peer.events)
    end)
  end

  it("is not used unless it is asked for", function()
    for _, value in ipairs { false, "nothing" } do
      local conn = open(nil, value ~= "nothing" and value or nil)
      assert.same({ false, { "peer.test", 80 } }, { conn.proxied, w.asked })
    end
  end)

  it("sends user and password of SOCKS5, if the proxy wants them", function()
    local steps = { { 4, "\5\2" }, { 3 + 2 + 6, "\1\0" }, SOCKS5[2] }
    for _, proxy in ipairs {
      "socks5h://me:secret@proxy.test",
      "socks5h://%6d%65:s%65cret@proxy.test",
      { url = "socks5h://proxy.test", user = "me", password = "secret" },
    } do
      local conn, why, peer = open(steps, proxy)
      assert.is_table(conn, why)
      assert.same({ "\5\2\0\2", "\1\2me\6secret" }, { peer.asked[1], peer.asked[2] })
    end
    assert.is_table((open({ { 4, "\5\2" }, { 5, "\1\0" }, SOCKS5[2] }, "socks5h://me@proxy.test")))
  end)

  it("sends the user of SOCKS4", function()
    local conn, _, peer = open({ { 9 + 2 + 10, SOCKS4[1][2] } }, "socks4a://me@proxy.test")
    assert.is_table(conn)
    assert.equal("\4\1\0\80\0\0\0\1me\0peer.test\0", peer.asked[1])
  end)

  it("leaves the bytes after the answer to the server", function()
    local accepted = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
    for proxy, steps in pairs {
      ["socks5h://proxy.test"] = { SOCKS5[1], { SOCKS5[2][1], SOCKS5[2][2] .. accepted } },
      ["socks4a://proxy.test"] = { { SOCKS4[1][1], SOCKS4[1][2] .. accepted } },
      ["http://proxy.test"] = { { "\r\n\r\n", OK .. accepted } },
    } do
      assert_failure("upgrade failed; Sec-WebSocket-Accept does not match the request's key", steps, proxy)
    end
  end)

  describe("with socks5 and socks4", function()
    local function to(address, reply)
      return { { 3, "\5\0" }, { 6 + #address, reply or SOCKS5[2][2] } }
    end

    it("looks the name up here, and tries one address after the other, each over a connection of its own", function()
      w.addresses = { "192.0.2.1", "2001:db8::1", "192.0.2.3" }
      w.peers = { w:peer { proxy = to("\1\2\3\4", "\5\5") }, w:peer { proxy = to(("x"):rep(16), "\5\4\0\1") },
        w:peer { proxy = to("\1\2\3\4") } }
      local peers = { unpack(w.peers) }
      local conn = assert(w.luws.wsopen(URL, nil, { proxy = "socks5://proxy.test" }))
      assert.same({ "\5\1\0\1\192\0\2\1\0\80", "\5\1\0\4\32\1\13\184" .. ("\0"):rep(11) .. "\1\0\80",
        "\5\1\0\1\192\0\2\3\0\80" }, { peers[1].asked[2], peers[2].asked[2], peers[3].asked[2] })
      assert.same({ "peer.test", { "proxy.test", 1080 } }, { conn.ip, w.asked })
    end)

    it("says what the proxy has said of the last one", function()
      w.addresses = { "192.0.2.1", "192.0.2.2" }
      w.peers = { w:peer { proxy = to("\1\2\3\4", "\5\5") }, w:peer { proxy = to("\1\2\3\4", "\5\4") } }
      assert_failure("Proxy failed: SOCKS5: host unreachable (reply 4)", nil, "socks5://proxy.test")
    end)

    it("does not try another address after a refusal that has nothing to do with it", function()
      w.addresses = { "192.0.2.1", "192.0.2.2" }
      w.peers = { w:peer { proxy = to("\1\2\3\4", "\5\2") } }
      assert_failure("Proxy failed: SOCKS5: connection not allowed by ruleset (reply 2)", to "\1\2\3\4",
        "socks5://proxy.test")
    end)

    it("has only IPv4 addresses for SOCKS4", function()
      w.addresses = { "2001:db8::1", "192.0.2.3" }
      local conn, why, peer = open({ { 9, SOCKS4[1][2] } }, "socks4://proxy.test")
      assert.is_table(conn, why)
      assert.same({ "\4\1\0\80\192\0\2\3\0" }, peer.asked)
      w.addresses = { "2001:db8::1" }
      assert_failure("Proxy failed: SOCKS4: no IPv6 addresses", SOCKS4, "socks4://proxy.test")
      assert_failure("Proxy failed: SOCKS4: no IPv6 addresses", SOCKS4, "socks4://proxy.test", nil, "ws://[::1]/")
      assert_failure("Proxy failed: SOCKS4: no IPv6 addresses", SOCKS4, "socks4a://proxy.test", nil, "ws://[::1]/")
    end)

    it("passes an address on as it is", function()
      local conn, why, peer = open(to("\1\2\3\4"), "socks5://proxy.test", nil, "ws://192.0.2.9/")
      assert.is_table(conn, why)
      assert.equal("\5\1\0\1\192\0\2\9\0\80", peer.asked[2])
    end)

    it("has the look-up within connect_timeout, and its text is wsopen's own", function()
      for _, wait in ipairs { true, false } do
        local told
        local function handler(_, ...) told = { ... } end
        for why, lookup in pairs { ["host not found"] = { why = "host not found" }, timeout = { hangs = true } } do
          w.lookup = lookup
          local before = w.clock.now()
          local options = { proxy = "socks5://proxy.test", connect_timeout = 3, wait = wait }
          local conn, text = w.luws.wsopen(URL, handler, options)
          if conn then
            w.luws.wswait(conn, 60)
            w.luws.wsreceive(conn)
            text = told[2]
          end
          assert.equal("Connection to peer.test:80 failed: " .. why, text)
          assert.equal(lookup.hangs and 3 or 0, w.clock.now() - before)
        end
      end
      assert.same({ "peer.test", 80 }, w.asked)
    end)
  end)

  -- what the proxy plays, its URL, and the text of the failure
  for _, case in ipairs {
    { { { 3, "\5\255" } }, "socks5h://p", "SOCKS5: no acceptable authentication method" },
    { { { 3, "\5\128" } }, "socks5h://p", "SOCKS5: unexpected authentication method 128" },
    { { { 3, "HTTP/1.1 400 Bad\r\n" } }, "socks5h://p", "not a SOCKS5 proxy" },
    { { { 4, "\5\2" }, { 11, "\1\1" } }, "socks5h://me:secret@p", "SOCKS5: authentication rejected" },
    { { SOCKS5[1], { 16, "\5\1" } }, "socks5h://p", "SOCKS5: general SOCKS server failure (reply 1)" },
    { { SOCKS5[1], { 16, "\5\5\0\1" } }, "socks5h://p", "SOCKS5: connection refused (reply 5)" },
    { { SOCKS5[1], { 16, "\5\240\0\1", closes = true } }, "socks5h://p",
      "SOCKS5: onion service descriptor not found (reply 0xF0)" },
    { { SOCKS5[1], { 16, "", closes = true } }, "socks5h://p", "the proxy closed the connection" },
    { { { 0, "", closes = true } }, "socks5h://p", "the proxy closed the connection" },
    { { SOCKS5[1], { 99, "" } }, "socks5h://p", "timeout" },
    { { { 19, "\0\91" } }, "socks4a://p", "SOCKS4: request rejected or failed (reply 91)" },
    { { { 19, "\5\0" } }, "socks4a://p", "not a SOCKS4 proxy" },
    { { { "\r\n\r\n", "HTTP/1.1 403 Forbidden\r\n\r\n" } }, "http://p", "HTTP/1.1 403 Forbidden" },
    { { { "\r\n\r\n", "SSH-2.0-x\r\n" } }, "http://p", 'not an HTTP proxy: "SSH-2.0-x"' },
    { { { "\r\n\r\n", "HTTP/1.1 200 OK\r\nX", closes = true } }, "http://p", "the proxy closed the connection" },
    { { { "\r\n\r\n", "HTTP/1.1 200 OK\r\nX" } }, "http://p", "timeout" },
    { { { "\r\n\r\n", ask_for "Negotiate" } }, "http://me:secret@p", "HTTP/1.1 407 Auth (Negotiate)" },
    { { { "\r\n\r\n", ask_for 'Basic realm="x"' } }, "http://p", "HTTP/1.1 407 Auth (Basic)" },
    { { { "\r\n\r\n", ask_for 'Basic realm="x"' } }, "http://me:secret@p", "HTTP/1.1 407 Auth (Basic)" },
  } do
    local steps, proxy, why = unpack(case)
    it("has its own text for: " .. why .. " (" .. proxy .. ")", function()
      assert_failure("Proxy failed: " .. why, steps, proxy)
      -- without waiting
      local told
      w:peer { proxy = steps }
      local conn = assert(w.luws.wsopen(URL, function(_, ...) told = { ... } end, { proxy = proxy, wait = false }))
      w.luws.wswait(conn, 60)
      w.luws.wsreceive(conn)
      assert.same({ false, "Proxy failed: " .. why }, told)
    end)
  end

  for _, fault in ipairs(relay.FATAL) do
    for _, way in ipairs { "up", "down" } do
      it(("fails in time, if the network %s %s while it is asked, at every byte"):format(fault, way), function()
        local why = ENDS[fault] or "timeout"
        for proxy, case in pairs {
          ["socks5h://p"] = { steps = SOCKS5, up = 3 + 16, down = 2 + 10 },
          ["socks4a://p"] = { steps = SOCKS4, up = 19, down = 8 },
          ["http://p"] = { steps = CONNECT, up = #ASK + 2, down = #OK },
        } do
          for at = 0, case[way] - 1 do
            local made
            w.relay = relay.between(w, { fault = fault, way = way, at = at }, function(created) made = created end)
            w:peer { proxy = case.steps, hangs_up = true }
            local before = w.clock.now()
            local conn, text = w.luws.wsopen(URL, nil, { proxy = proxy, connect_timeout = 2 })
            assert.same({ false, "Proxy failed: " .. why, at }, { conn, text, at })
            assert.near(ENDS[fault] and 0 or 2, w.clock.now() - before, 1e-6)
            assert.is_truthy(made.closed_at)
          end
        end
      end)
    end
  end

  it("names the proxy if that cannot be reached, and nothing else", function()
    for _, proxy in ipairs { "socks5h://p", "http://p" } do
      w.dials = { { 0, "connection refused" } }
      assert_failure("Proxy failed: connection refused", nil, proxy)
      w.dials = { { 99 } }
      assert_failure("Proxy failed: timeout", nil, proxy)
    end
  end)

  it("has one connect_timeout for the proxy and what it says", function()
    w.dials = { { 2 } }
    local before = w.clock.now()
    assert_failure("Proxy failed: timeout", { { 3, "\5\0" }, { 99, "" } }, "socks5h://p", { connect_timeout = 3 })
    assert.equal(3, w.clock.now() - before)
  end)

  it("keeps the texts of what comes after the tunnel", function()
    local peer = w:peer { proxy = CONNECT }
    function peer.on_request() w.native.refuse(peer.session, 403, "no") end
    local conn, why, response = w.luws.wsopen(URL, nil, { proxy = "http://p" })
    assert.same({ false, "upgrade failed; HTTP/1.1 403 Forbidden", 403 }, { conn, why, response.status })
  end)

  describe("of an HTTP proxy that asks for a password", function()
    local DIGEST = 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'

    it("answers over the same connection, by Digest if there is a choice", function()
      local conn, why, peer = open({ { "\r\n\r\n", ask_for('Basic realm="r", ' .. DIGEST) }, CONNECT[1] },
        { url = "http://p", user = "me", password = "secret" })
      assert.is_table(conn, why)
      assert.equal(ASK .. "\r\n", peer.asked[1])
      assert.matches('^CONNECT .*\r\nProxy%-Authorization: Digest username="me", realm="r", nonce="n", '
        .. 'uri="peer.test:80", response="%x+", algorithm=SHA%-256, qop=auth, nc=00000001, cnonce="%x+"\r\n\r\n$',
        peer.asked[2])
    end)

    it("answers over another connection if it must, and by the same deadline", function()
      for _, step in ipairs {
        { "\r\n\r\n", ask_for(DIGEST, "Connection: close\r\n"), closes = true },
        { "\r\n\r\n", ask_for(DIGEST, "Connection: close\r\n") },
        { "\r\n\r\n", ask_for(DIGEST, "Content-Length: 10\r\n") .. "half", closes = true },
        { "\r\n\r\n", ask_for(DIGEST, "") .. "until the end" },
        { "\r\n\r\n", ask_for(DIGEST, "Content-Length: 99999\r\n") },
      } do
        for _, wait in ipairs { true, false } do
          local first, second = w:peer { proxy = { step } }, w:peer { proxy = CONNECT }
          w.peers = { first, second }
          local conn = assert(w.luws.wsopen(URL, nil, { proxy = { url = "http://p", user = "me" }, wait = wait }))
          if not wait then assert.is_true(w.luws.wswait(conn, 1)) end
          assert.is_true(conn.connected)
          assert.equal(ASK .. "\r\n", first.asked[1])
          assert.matches('Proxy%-Authorization: Digest username="me"', second.asked[1])
        end
      end
      w.dials = { { 2 }, { 2 } }
      w.peers = { w:peer { proxy = { { "\r\n\r\n", ask_for(DIGEST, "Connection: close\r\n") } } } }
      assert_failure("Proxy failed: timeout", nil, { url = "http://p", user = "me" }, { connect_timeout = 3 })
      assert.equal(3, w.clock.now() % 10)
    end)

    it("sends what is wanted and nothing else", function()
      local BOTH = ask_for('Basic realm="r", ' .. DIGEST)
      local fields = { url = "http://p", user = "me", password = "secret" }
      for _, case in ipairs {
        { "http://me:secret@p", nil, "Basic" },
        { "http://me:secret@p", "basic", "Basic" },
        { "http://me:secret@p", "digest", nil, "Digest" },
        { fields, nil, nil, "Digest" },
        { fields, "basic", "Basic" },
        { fields, "digest", nil, "Digest" },
      } do
        local proxy, auth, first, second = unpack(case, 1, 4)
        local conn, why, peer = open({ { "\r\n\r\n", second and BOTH or OK }, second and CONNECT[1] or nil }, proxy,
          { proxy_auth = auth })
        assert.is_table(conn, why)
        assert.equal(first, peer.asked[1]:match "Authorization: (%a+)")
        assert.equal(second, (peer.asked[2] or ""):match "Authorization: (%a+)")
      end
      assert_failure("Proxy failed: HTTP/1.1 407 Auth (Basic)", { { "\r\n\r\n", ask_for "Basic" } },
        "http://me:secret@p", { proxy_auth = "digest" })
      assert_failure("Proxy failed: HTTP/1.1 407 Auth (Digest)", { { "\r\n\r\n", ask_for(DIGEST) } },
        "http://me:secret@p", { proxy_auth = "basic" })
    end)

    it("is not asked for ever", function()
      local step = { "\r\n\r\n", ask_for(DIGEST .. ", stale=true") }
      local _, why, peer = open({ step, step, step, step, step }, "http://me:secret@p")
      assert.same({ "Proxy failed: HTTP/1.1 407 Auth (Digest)", 3 }, { why, #peer.asked })
    end)
  end)

  describe("of a hostile proxy", function()
    for name, case in pairs {
      ["heads without end"] = { { "\r\n\r\n", "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(20000) },
        "HTTP: the head is over 65536 bytes" },
      ["a line without end"] = { { "\r\n\r\n", "HTTP/1.1 200 " .. ("x"):rep(100000) },
        "HTTP: the head is over 65536 bytes" },
      ["interim answers without end"] = { { "\r\n\r\n", ("HTTP/1.1 100 Continue\r\n\r\n"):rep(20000) }, "timeout" },
      ["a body without end"] = { { "\r\n\r\n", ask_for("Digest realm=r, nonce=n", "Transfer-Encoding: chunked\r\n")
        .. ("1\r\nx\r\n"):rep(5000) }, "timeout" },
      ["our own words"] = { { "\r\n\r\n", ASK .. BASIC .. "\r\n" },
        'not an HTTP proxy: "CONNECT peer.test:80 HTTP/1.1"' },
      ["our own password"] = { { "\r\n\r\n", "HTTP/1.1 500 secret bWU6c2VjcmV0\r\n\r\n" }, "HTTP/1.1 500 *** ***" },
    } do
      it("ends with a text, without the password in it: " .. name, function()
        assert_failure("Proxy failed: " .. case[2], { case[1] }, "http://me:secret@p")
      end)
    end
  end)

  it("is refused by name if something is wrong with it, and repeats no password", function()
    local long = ("x"):rep(256)
    for _, case in ipairs {
      { 1, "proxy' (boolean or string or table expected, got number)" },
      { "", "proxy' (the URL has no host)" },
      { "ftp://me:secret@p",
        "proxy' (the scheme of the URL is not http, https, socks4, socks4a, socks5 or socks5h)" },
      { "http://me:secret@p/path", "proxy' (the URL of a proxy has no path, no query and no fragment)" },
      { "http://me:secret@p?q", "proxy' (the URL of a proxy has no path, no query and no fragment)" },
      { "http://me:secret@p\n", "proxy' (the URL has a control character in it)" },
      { "http://me:secret@p:x", "proxy' (the URL is not valid: invalid port number)" },
      { "http://a%3Ab:secret@p", "proxy' (a user cannot have a colon in it)" },
      { "http://me:%0asecret@p", "proxy' (a user or a password cannot have control characters in it)" },
      { "socks4://me:secret@p", "proxy' (SOCKS4 has no passwords)" },
      { "socks4://m%00e@p", "proxy' (user: it has a NUL in it)" },
      { "socks5://" .. long .. "@p", "proxy' (user: longer than 255 bytes)" },
      { "socks5h://me:" .. long .. "@p", "proxy' (password: longer than 255 bytes)" },
      { {}, "proxy' (url: missing)" },
      { { url = 1 }, "proxy' (url: string expected, got number)" },
      { { url = "p", user = 1 }, "proxy' (user: string expected, got number)" },
      { { url = "p", pasword = "x" }, "proxy' (pasword: unknown)" },
      { { url = "p", headers = 1 }, "proxy' (headers: table expected, got number)" },
      { { url = "p", headers = { 1 } }, [[proxy' (headers: a name is a number; as in { ["X-Name"] = "value" })]] },
      { { url = "p", headers = { ["X-1"] = {} } }, "proxy' (headers: X-1: string or number expected, got table)" },
      { { url = "p", headers = { ["X 1"] = "" } }, 'proxy\' (headers: header name "X 1" is not a token)' },
      { { url = "p", headers = { ["X-1"] = "a\r\nb" } },
        "proxy' (headers: the value of header X-1 has a control character in it)" },
      { { url = "p", headers = { host = "x" } }, "proxy' (headers: host cannot be in a request to a proxy)" },
      { { url = "me@p", headers = { ["proxy-authorization"] = "x" } },
        "proxy' (headers: Proxy-Authorization cannot be combined with a user)" },
      { { url = "socks5://p", headers = {} }, "proxy' (headers: SOCKS has none)" },
      { "p", "proxy_auth' ('basic' or 'digest' expected, got 'ntlm')", { proxy_auth = "ntlm" } },
      { "p", "proxy_auth' ('basic' or 'digest' expected, got number)", { proxy_auth = 1 } },
      { "socks5://p", "proxy_auth' (the proxy is not an HTTP proxy)", { proxy_auth = "basic" } },
      { "https://p", "proxy_ssl' (table expected, got boolean)", { proxy_ssl = true } },
      { "https://p", "proxy_ssl.verify' (string or array of strings expected, got number)",
        { proxy_ssl = { verify = 1 } } },
      { "https://p", "proxy_ssl.verfy' (unknown)", { proxy_ssl = { verfy = "peer" } } },
      { "https://p", "proxy_ssl.cafile': No such file or directory (/none)", { proxy_ssl = { cafile = "/none" } } },
      { "http://p", "proxy_ssl.verfy' (unknown)", { proxy_ssl = { verfy = "peer" } } },
      { "http://p", "proxy_ssl.fingerprint' (only an https proxy has a certificate)",
        { proxy_ssl = { fingerprint = ("0"):rep(64) } } },
      { "p", "proxy' (cannot be combined with sockproxy)", { sockproxy = true } },
    } do
      assert_failure("bad option '" .. case[2], nil, case[1], case[3])
      assert.is_nil(case[2]:find "secret")
    end
    assert.is_nil(w.asked)
  end)

  it("never has the name of an onion service looked up", function()
    local name = ("a"):rep(56) .. ".onion"
    for _, proxy in ipairs { "socks5://p", "socks4://p", false } do
      for _, host in ipairs { name, "www." .. name, "X.ONION", name .. "." } do
        local conn, why = w.luws.wsopen("ws://" .. host .. "/", nil, { proxy = proxy })
        assert.is_false(conn)
        assert.matches("^Connection to %S+:80 failed: names of onion services are not looked up; use a proxy that "
          .. "knows them, by socks5h://, socks4a:// or http://$", why)
      end
    end
    assert.is_false((w.luws.wsopen("ws://x.onion/", nil, { sockproxy = true })))
    assert.is_nil(w.asked)
    local steps = { { 3, "\5\0" }, { 7 + #name, SOCKS5[2][2] } }
    assert.is_table((open(steps, "socks5h://p", nil, "ws://" .. name .. "/")))
    assert.is_table((open(CONNECT, "http://p", nil, "ws://" .. name .. "/")))
  end)

  it("shows no password in a dump, nor in debug mode", function()
    local logged = {}
    local before = rawget(_G, "luup")
    rawset(_G, "luup", { log = function(text) logged[#logged + 1] = text end })
    w.luws.debug_mode = true
    for _, proxy in ipairs { "http://me:secret@p", "me:secret@p", { url = "me:secret@p" },
      { url = "p", user = "me", password = "secret" }, "socks5h://me:secret@p" } do
      local steps = type(proxy) == "string" and proxy:find "socks" and { { 4, "\5\2" }, { 11, "\1\0" }, SOCKS5[2] }
        or type(proxy) == "table" and proxy.password and { { "\r\n\r\n", ask_for "Basic" }, CONNECT[1] } or CONNECT
      local conn = assert(open(steps, proxy))
      logged[#logged + 1] = w.luws.dump(conn) .. tostring(conn)
    end
    rawset(_G, "luup", before)
    local text = table.concat(logged, "\n")
    assert.is_nil(text:find "cret")
    assert.is_nil(text:find "bWU6c2VjcmV0")
  end)

  it("lets each name of a host be a host of its own for connecting_limit", function()
    local opened = {}
    local function start(name, proxy)
      return assert(w.luws.wsopen("ws://" .. name .. "/", nil, { proxy = proxy, wait = false, connecting_limit = 1,
        open_handler = function() opened[#opened + 1] = name .. " at " .. w.clock.now() end }))
    end
    w.dials = { { 2 }, { 1 }, { 1 } }
    w.peers = { w:peer { proxy = CONNECT }, w:peer { proxy = CONNECT }, w:peer { proxy = CONNECT } }
    local conns = { start("a.test", "http://p"), start("b.test", "http://p"), start("a.test", "http://p") }
    while #opened < 3 do w.reactor.step(10) end
    assert.same({ "b.test at 1", "a.test at 2", "a.test at 2" }, opened)
    assert.equal(3, #conns)
  end)
end)
