-- The arguments and options of luws.engineio that are refused, before anything has happened.

local engineio = require "luws.engineio"
local luws_server = require "luws.server"

describe("a client refuses", function()
  for _, case in ipairs {
    { { nil }, "invalid url: string expected, got nil" },
    { { "ftp://x" }, "invalid url ftp://x: it does not begin with http:// or https://" },
    { { "http://x", 5 }, "bad options (table expected, got number)" },
    { { "http://x", { transports = { "webtransport" } } },
      "bad option 'transports' ('polling' or 'websocket' expected, got webtransport)" },
    { { "http://x", { transports = { x = "polling" } } }, "bad option 'transports' (a list expected)" },
    { { "http://x", { path = "x" } }, "bad option 'path' (a path as in a URL expected, which begins with /)" },
    { { "http://x", { path = "/x?y" } }, "bad option 'path' (a path as in a URL expected, which begins with /)" },
    { { "http://x", { path = "/x y" } }, "bad option 'path' (a path as in a URL expected, which begins with /)" },
    { { "http://x", { path = "/\r\n" } }, "bad option 'path' (a path as in a URL expected, which begins with /)" },
    { { "http://x", { upgrad = true } }, "unknown option 'upgrad' (upgrade?)" },
    { { "http://x", { rejectUnauthorized = false } }, "bad option 'rejectUnauthorized' (it is ssl_verify here)" },
    { { "http://x", { ca = "x" } }, "bad option 'ca' (it is ssl_cafile here)" },
    { { "http://x", { transportOptions = {} } },
      "bad option 'transportOptions' (all transports have the same options; extraHeaders are for all requests)" },
    { { "http://x", { autoUnref = true } },
      "bad option 'autoUnref' (a session keeps no program running; leave it out)" },
    { { "http://x", { useNativeTimers = true } }, "bad option 'useNativeTimers' (it is for browsers; leave it out)" },
    { { "http://x", { closeOnBeforeunload = true } },
      "bad option 'closeOnBeforeunload' (it is for browsers; leave it out)" },
    { { "http://x", { requestTimeout = "1" } },
      "bad option 'requestTimeout' (a number from 0 to 2147483647 expected, got string)" },
    { { "http://x", { extraHeaders = { X = "a\r\nb" } } },
      "bad option 'extraHeaders' (the value of header X has a control character in it)" },
    { { "http://x", { extraHeaders = { ["a b"] = 1 }, transports = { "websocket" } } },
      "bad option 'extraHeaders' (header name \"a b\" is not a token)" },
    { { "http://x", { protocols = "a b", transports = { "websocket" } } },
      "bad option 'protocols' (an element is not a token)" },
    { { "http://x", { protocols = "a b" } }, "bad option 'protocols' (an element is not a token)" },
    { { "http://x", { extraHeaders = { ["Sec-WebSocket-Key"] = "x" } } },
      "bad option 'extraHeaders' (Sec-WebSocket-Key belongs to the handshake)" },
    { { "https://x", { ssl_verify = "bogus" } }, "bad option 'ssl_verify': invalid verify option (bogus)" },
    { { "http://x", { ssl_ciphers = "bogus" } }, "bad option 'ssl_ciphers': no cipher match (bogus)" },
    { { "https://x", { ssl_cafile = "/nowhere" } },
      "bad option 'ssl_cafile': No such file or directory (/nowhere)" },
    { { "https://x", { proxy = "https://y", proxy_ssl = { cafile = "/nowhere" } } },
      "bad option 'proxy_ssl.cafile': No such file or directory (/nowhere)" },
    { { "http://x", { reactor = 5 } }, "bad option 'reactor' (a reactor expected, got number)" },
    { { "http://x", { cookies = 5 } }, "bad option 'cookies' (a jar of luws.cookies expected, got number)" },
  } do
    it(case[2], function()
      assert.same({ false, case[2] }, { pcall(engineio.connect, case[1][1], case[1][2]) })
    end)
  end
end)

describe("a server refuses", function()
  local srv

  setup(function() srv = assert(luws_server.listen { port = 0 }) end)
  teardown(function() srv:close { timeout = 0 } end)

  for _, case in ipairs {
    { { pingInterval = "x" }, "bad option 'pingInterval' (a number from 0 to 2147483647 expected, got string)" },
    { { pingTimeout = math.huge }, "bad option 'pingTimeout' (a number from 0 to 2147483647 expected, got inf)" },
    { { cors = { origin = 5 } },
      "bad option 'cors' (origin: string, table, boolean or function expected, got number)" },
    { { cors = { origin = "x\r\nEvil: 1" } }, "bad option 'cors' (origin: it has a control character in it)" },
    { { cors = { methods = { {} } } }, "bad option 'cors' (methods: string expected, got table)" },
    { { cors = { exposedHeaders = { "a\n" } } },
      "bad option 'cors' (exposedHeaders: it has a control character in it)" },
    { { cookie = { sameSite = "x" } },
      "bad option 'cookie' (sameSite: 'strict', 'lax', 'none' or a boolean expected)" },
    { { cookie = "io\r\nEvil: 1" }, "bad option 'cookie' (name: a token of RFC 9110 expected, such as io)" },
    { { cookie = { path = "/; Secure" } },
      "bad option 'cookie' (path: a string without control characters and ; expected)" },
    { { cookie = { domain = "x\r\n" } },
      "bad option 'cookie' (domain: a string without control characters and ; expected)" },
    { { initialPacket = "\255" },
      "bad option 'initialPacket' (a text message must be valid UTF-8; see engineio.binary)" },
    { { initialPacket = io.stdout },
      "bad option 'initialPacket' (string or binary value expected, got userdata)" },
    { { cert = "x" }, "bad option 'cert' (it is ssl_certificate here)" },
    { { destroyUpgrade = true },
      "bad option 'destroyUpgrade' (upgrades outside of the path are the program's or get 404 at once; leave it out)" },
    { { destroyUpgradeTimeout = 10 },
      "bad option 'destroyUpgradeTimeout' (upgrades outside of the path are the program's or get 404 at once; "
        .. "leave it out)" },
    { { wsEngine = "ws" }, "bad option 'wsEngine' (luws has its own; leave it out)" },
    { { transports = { "x" } }, "bad option 'transports' ('polling' or 'websocket' expected, got x)" },
  } do
    it(case[2], function()
      assert.same({ nil, case[2] }, { engineio.attach(srv, case[1]) })
      case[1].port = 0
      assert.same({ nil, case[2] }, { engineio.listen(case[1]) })
    end)
  end

  it("to be attached to what is no server", function()
    for _, case in ipairs { { nil, "nil" }, { 5, "number" }, { {}, "table" } } do
      assert.same({ nil, "a server of luws.server expected, got " .. case[2] }, { engineio.attach(case[1]) })
    end
  end)

  it("a middleware that is not a function", function()
    local engine = assert(engineio.listen { port = 0 })
    local ok, err = pcall(engine.use, engine, "x")
    engine:close()
    assert.is_false(ok)
    assert.matches("bad argument #1 to 'use' %(function expected, got string%)", err)
  end)

  it("nothing that turns off what is not there", function()
    local engine = assert(engineio.listen { port = 0, destroyUpgrade = false })
    engine:close()
  end)

  it("what only one of the two ways to make it has", function()
    assert.same({ nil, "unknown option 'port'" }, { engineio.attach(srv, { port = 0 }) })
    assert.same({ nil, "bad option 'reactor' (a reactor expected, got number)" },
      { engineio.attach(srv, { reactor = 5 }) })
    assert.same({ nil, "bad option 'perMessageDeflate' (it is the option deflate of the server)" },
      { engineio.attach(srv, { perMessageDeflate = true }) })
    assert.same({ nil, "unknown option 'prot'" }, { engineio.listen { prot = 0 } })
  end)
end)
