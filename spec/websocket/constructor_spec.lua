-- The constructor of WebSocket objects: what it takes, what it refuses, and what is sent for it (WHATWG WebSockets and
-- URL, RFC 6455 section 4.1).

local object = require "spec.support.object"

local INVALID = "^[^ ]+:%d+: SyntaxError: the URL is not valid: "

local failing = object.failing

describe("the URL of a WebSocket object", function()
  local o

  before_each(function() o = object.new() end)

  --- Returns the URL of an object, and the resource that its peer was asked for.
  local function opened(url, options)
    local peer = o.world:peer()
    local ws = o:create(options, nil, url)
    o:run(function() return peer.request end)
    return ws.url, peer.request and peer.request.resource
  end

  -- what is given, the attribute url, the resource name, and the base URL
  local valid = {
    { "ws://host", "ws://host/", "/" },
    { "wss://host", "wss://host/" },
    { "WS://HOST/Path", "ws://host/Path", "/Path" },
    { "http://host/a", "ws://host/a", "/a" },
    { "https://host/a", "wss://host/a" },
    { "HTTP://host:80/", "ws://host/", "/" },
    { "ws://host:80/", "ws://host/", "/" },
    { "ws://host:443/", "ws://host:443/", "/" },
    { "wss://host:443/", "wss://host/" },
    { "wss://host:80/", "wss://host:80/" },
    { "ws://host:/", "ws://host/", "/" },
    { "ws://host:0080/", "ws://host/", "/" },
    { "ws://host:65535/", "ws://host:65535/", "/" },
    { "ws:host", "ws://host/", "/" },
    { "ws:/host", "ws://host/", "/" },
    { "ws:///host/", "ws://host/", "/" },
    { "ws://host?", "ws://host/?", "/" },
    { "ws://host/?a", "ws://host/?a", "/?a" },
    { "ws://host?a=1&b", "ws://host/?a=1&b", "/?a=1&b" },
    { "ws://host/??", "ws://host/??", "/??" },
    { "ws://host/a?b?", "ws://host/a?b?", "/a?b?" },
    { "ws://host/a b", "ws://host/a%20b", "/a%20b" },
    { "ws://host/ü", "ws://host/%C3%BC", "/%C3%BC" },
    { "ws://host/?ü", "ws://host/?%C3%BC", "/?%C3%BC" },
    { "ws://host/%7E~", "ws://host/%7E~", "/%7E~" },
    { "ws://host/a/../b/./c", "ws://host/b/c", "/b/c" },
    { "ws://host/%2e%2E/b", "ws://host/b", "/b" },
    { "ws://host/../../a", "ws://host/a", "/a" },
    { "ws://host\\a\\b", "ws://host/a/b", "/a/b" },
    { "ws://host/?'\"<>`", "ws://host/?%27%22%3C%3E`", "/?%27%22%3C%3E`" },
    { "ws://host/{}|", "ws://host/%7B%7D|", "/%7B%7D|" },
    { "  ws://host/ \n", "ws://host/", "/" },
    { "ws://ho\tst/a\nb", "ws://host/ab", "/ab" },
    { "ws://0x7f.1/", "ws://127.0.0.1/", "/" },
    { "ws://2130706433/", "ws://127.0.0.1/", "/" },
    { "ws://[0:0::1]/", "ws://[::1]/", "/" },
    { "ws://[2001:DB8:0:0::1]:81/", "ws://[2001:db8::1]:81/", "/" },
    { "ws://bücher.example/", "ws://xn--bcher-kva.example/", "/" },
    { "ws://%68ost/", "ws://host/", "/" },
    { "ws://u:p@host/", "ws://u:p@host/", "/" },
    { "ws://u@host/", "ws://u@host/", "/" },
    { "ws://ü:@host/", "ws://%C3%BC@host/", "/" },
    { "/b", "ws://base/b", "/b", "ws://base/a" },
    { "b?c", "ws://base/x/b?c", "/x/b?c", "http://base/x/y" },
    { "", "wss://base/a?b", nil, "https://base/a?b#c" },
    { "//other/c", "wss://other/c", nil, "wss://base/" },
    { "?q", "ws://base/a?q", "/a?q", "ws://base/a" },
    { "ws://other/", "ws://other/", "/", "ws://base/a" },
  }
  for _, case in ipairs(valid) do
    local given, url, resource, base = case[1], case[2], case[3], case[4]
    it(("'%s'%s is %s"):format(given, base and " at " .. base or "", url), function()
      local seen_url, seen = opened(given, { base = base })
      assert.equal(url, seen_url)
      if resource then assert.equal(resource, seen) end
    end)
  end

  local invalid = {
    "", "host", "/path", "host:80", "ws://", "ws:", "ftp://host/", "file:///a", "mailto:a@b", "about:blank",
    "javascript:1", "ws://host/#", "ws://host/#a", "ws://host#", "ws://host/?#", "ws://ho st/", "ws://ho<st/",
    "ws://ho>st/", "ws://ho^st/", "ws://ho|st/", "ws://ho%00st/", "ws://ho%20st/", "ws://host:65536/", "ws://host:a/",
    "ws://host:-1/", "ws://[::1", "ws://[::1]a/", "ws://[:::1]/", "ws://[g::]/", "ws://256.1.1.1/", "ws://1.2.3.4.5/",
    "ws://@/", "ws://:80/", "ws://u:p@/", "ws://\255/", "wss://?a",
  }
  for _, given in ipairs(invalid) do
    it(("'%s' is refused at once"):format((given:gsub("[^ -~]", "?"))), function()
      assert.matches(INVALID, failing(o.WebSocket, given))
      assert.is_nil(o.world.asked)
    end)
  end

  it("is relative to nothing if the base is not one", function()
    for _, base in ipairs { "nowhere", "about:blank", "mailto:a@b" } do
      assert.matches(INVALID, failing(o.WebSocket, "a", nil, { base = base }))
    end
    assert.matches("bad option 'base' %(string expected, got number%)",
      failing(o.WebSocket, "a", nil, { base = 1 }))
  end)

  it("is a string", function()
    for _, value in ipairs { 1, {}, true, print } do
      assert.matches(":%d+: bad argument #1 to 'WebSocket' %(string expected, got " .. type(value),
        failing(o.WebSocket, value))
    end
    assert.matches("#1 to 'WebSocket' %(string expected, got nil%)", failing(o.WebSocket))
  end)

  it("may have a host that cannot be a name, which fails later", function()
    for _, url in ipairs { "ws://a..b/", "ws://./" } do
      o.seen = {}
      local ws = o:create({}, nil, url)
      assert.same({ 0, {} }, { ws.readyState, o.seen })
      o:run()
      assert.same({ "3 error", "3 close 1006 unclean" }, o.seen)
      assert.matches("host name", o.events[#o.events - 1].message)
    end
  end)

  it("sends user and password as an Authorization header", function()
    local peer = o.world:peer()
    o:create({}, nil, "ws://u:p%20w@peer.test/")
    o:run(function() return peer.request end)
    assert.equal("Basic dTpwIHc=", peer.request.headers.authorization)
  end)
end)

describe("the subprotocols of a WebSocket object", function()
  local o

  before_each(function() o = object.new() end)

  -- what is given, and the header
  local valid = {
    { nil, nil }, { {}, nil }, { "chat", "chat" }, { { "chat" }, "chat" }, { { "b", "a" }, "b, a" },
    { { "chat", "Chat" }, "chat, Chat" }, { "!#$%&'*+-.^_`|~09AZaz", "!#$%&'*+-.^_`|~09AZaz" },
  }
  for i, case in ipairs(valid) do
    it(("are offered as %s (case %d)"):format(tostring(case[2]), i), function()
      local peer = o.world:peer()
      o:create({}, case[1])
      o:run(function() return peer.request end)
      assert.equal(case[2], peer.request.headers["sec-websocket-protocol"])
    end)
  end

  local invalid = {
    { "", "is not a token" }, { { "" }, "is not a token" }, { "a b", "is not a token" }, { "a,b", "is not a token" },
    { "a/b", "is not a token" }, { "a;b", "is not a token" }, { 'a"', "is not a token" }, { "ü", "is not a token" },
    { "a\r\n", "is not a token" }, { "a\0", "is not a token" }, { { "a", "b", "a" }, "a' is there twice" },
    { { "a", "a=" }, "is not a token" },
  }
  for i, case in ipairs(invalid) do
    it(("are refused if one %s (case %d)"):format(case[2], i), function()
      assert.matches("^[^ ]+:%d+: SyntaxError: the subprotocol '.*'? ?" .. case[2],
        failing(o.WebSocket, "ws://peer.test/", case[1]))
      assert.is_nil(o.world.asked)
    end)
  end

  it("are a string or an array of strings", function()
    for _, value in ipairs { 1, true, print } do
      assert.matches("#2 to 'WebSocket' %(string or table expected, got " .. type(value),
        failing(o.WebSocket, "ws://peer.test/", value))
    end
    assert.matches("#2 to 'WebSocket' %(array of strings expected, got one with a number%)",
      failing(o.WebSocket, "ws://peer.test/", { "a", 1 }))
  end)

  it("are refused after the URL is", function()
    assert.matches(INVALID, failing(o.WebSocket, "nowhere", ""))
  end)

  -- what is asked for, what the server selects, and the events
  local OPENS, FAILS = { "1 open" }, { "3 error", "3 close 1006 unclean" }
  local answers = {
    { { "a", "b" }, "a", OPENS }, { { "a", "b" }, "b", OPENS }, { { "a", "b" }, nil, FAILS },
    { { "a", "b" }, "c", FAILS }, { { "a" }, "A", FAILS }, { nil, "a", FAILS }, { nil, nil, OPENS },
    { { "a", "b" }, "a, b", FAILS }, { { "a" }, "", FAILS },
  }
  for i, case in ipairs(answers) do
    local asked, selected, seen = case[1], case[2], case[3]
    it(("of which the server selects %s (case %d)"):format(tostring(selected), i), function()
      o.world:play {
        { "upgrade", headers = selected and { "Sec-WebSocket-Protocol: " .. selected } or nil }, { "hold" },
      }
      local ws = o:create({}, asked)
      assert.equal("", ws.protocol)
      o:run(function() return #o.seen == #seen end)
      assert.same(seen, o.seen)
      assert.equal(seen == OPENS and selected or "", ws.protocol)
    end)
  end
end)

describe("the options of a WebSocket object", function()
  local o

  before_each(function() o = object.new() end)

  it("are those of wsopen, and are checked at once", function()
    assert.matches("^[^ ]+:%d+: bad option 'connect_timeout' %(number expected, got string%)",
      failing(o.WebSocket, "ws://peer.test/", nil, { connect_timeout = "long" }))
    assert.matches("^[^ ]+:%d+: bad option 'close_timeout'",
      failing(o.WebSocket, "ws://peer.test/", nil, { close_timeout = -1 }))
    assert.matches("#3 to 'WebSocket' %(table expected, got string%)",
      failing(o.WebSocket, "ws://peer.test/", nil, "options"))
    assert.is_nil(o.world.asked)
  end)

  for _, name in ipairs {
    "wait", "sink", "handler_args", "control_handler", "open_handler", "close_handler", "subprotocols", "reconnect",
  } do
    it(("cannot be %s"):format(name), function()
      assert.matches(("^[^ ]+:%%d+: bad option '%s' %%(it is not for a WebSocket object%%)"):format(name),
        failing(o.WebSocket, "ws://peer.test/", nil, { [name] = print }))
    end)
  end

  it("are copied: the table stays the program's", function()
    local options = { origin = "http://site", upgrade_headers = { ["X-A"] = "1", ORIGIN = "http://old" } }
    local peer = o.world:peer()
    o:create(options)
    o:run(function() return peer.request end)
    assert.same({ "http://site", "1" }, { peer.request.headers.origin, peer.request.headers["x-a"] })
    assert.same({ origin = "http://site", upgrade_headers = { ["X-A"] = "1", ORIGIN = "http://old" } }, options)
  end)

  it("offer compression unless they say otherwise", function()
    for _, case in ipairs { { nil, "permessage-deflate; client_max_window_bits" }, { false, nil } } do
      local peer = o.world:peer()
      o:create { deflate = case[1] }
      o:run(function() return peer.request end)
      assert.equal(case[2], peer.request.headers["sec-websocket-extensions"])
    end
  end)

  it("take messages of 64 MiB, unlike wsopen", function()
    local ws = o:create {}
    local options = ws.connection.options
    assert.same({ 64 * 1024 * 1024, "peer", 1 }, { options.max_payload_size, options.ssl_verify,
      options.connecting_limit })
    ws = o:create { max_payload_size = 10, ssl = { verify = "none" }, connecting_limit = 0 }
    options = ws.connection.options
    assert.same({ 10, nil, 0 }, { options.max_payload_size, options.ssl_verify, options.connecting_limit })
  end)
end)

describe("a new WebSocket object", function()
  local o

  before_each(function() o = object.new() end)

  it("is CONNECTING, and nothing was told", function()
    local ws = o:create()
    assert.same({ 0, "ws://peer.test/", "", "", 0, "string" },
      { ws.readyState, ws.url, ws.protocol, ws.extensions, ws.bufferedAmount, ws.binaryType })
    assert.same({}, o.seen)
    assert.equal("WebSocket (ws://peer.test)", tostring(ws))
    assert.is_nil(ws.responseHeaders)
  end)

  it("has constants, as the class has, which cannot be changed", function()
    local ws = o:create()
    for name, value in pairs { CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3 } do
      for _, owner in ipairs { ws, o.WebSocket } do
        assert.equal(value, owner[name])
        assert.matches("^[^ ]+:%d+: attempt to assign read%-only field '" .. name .. "'",
          failing(function() owner[name] = 7 end))
        assert.equal(value, owner[name])
      end
    end
  end)

  for _, name in ipairs {
    "readyState", "url", "protocol", "extensions", "bufferedAmount", "connection", "responseHeaders",
  } do
    it(("has the field %s, which cannot be assigned"):format(name), function()
      local ws = o:create()
      local before = ws[name]
      assert.matches("^[^ ]+:%d+: attempt to assign read%-only field '" .. name .. "'",
        failing(function() ws[name] = 1 end))
      assert.equal(before, ws[name])
    end)
  end

  it("takes other fields, which are the program's", function()
    local ws = o:create()
    ws.name, ws.onfoo = "one", 5
    assert.same({ "one", 5 }, { ws.name, ws.onfoo })
    assert.is_nil(ws.nothing)
  end)

  it("has methods that are called with a colon", function()
    local ws = o:create()
    for _, name in ipairs { "send", "close", "ping", "getfd", "receive" } do
      assert.matches("calling '" .. name .. "' on bad self %(WebSocket expected, got string%)", failing(ws[name], "x"))
    end
    assert.matches("calling 'addEventListener' on bad self %(an event target expected, got string%)",
      failing(ws.addEventListener, "open", print))
  end)
end)
