-- The peers of a bridge: every scheme, both ways, and what the client is told when there is none.

local bridging = require "spec.support.bridging"
local luws = require "luws"
local servers = require "spec.support.servers"
local serving = require "spec.support.serving"
local socket = require "socket"
local unix = require "socket.unix"

local till, frame, read = bridging.till, bridging.frame, bridging.read

after_each(bridging.over)

--- datagram(raw): returns the next datagram, and where it is from.
local function datagram(raw)
  local data, from, port
  till(function()
    data, from, port = raw:receivefrom(65536)
    return data
  end, 0.001)
  return data, from, port
end

describe("a stream peer", function()
  for _, case in ipairs {
    { "at an IPv4 address", function() return bridging.listen "127.0.0.1" end },
    { "at an IPv6 address", function() return bridging.listen "::1" end },
    { "at a unix domain socket", bridging.listen_unix },
  } do
    it("is reached " .. case[1], function()
      local server = case[2]()
      local client = bridging.start({ host = server.address }):connect "/"
      local peer = server:accept()
      luws.wssend(client.conn, 1, "question")
      assert.equal("question", peer:read(8))
      peer:send "answer"
      till(function() return client.told[1] end)
      assert.same({ 1, "answer" }, client.told[1])
      peer:shutdown()
      till(function() return client.conn.close_code end)
      assert.equal(1000, client.conn.close_code)
    end)
  end

  it("of the unix domain is waited for, while too many are before it", function()
    local path, raw = bridging.path(), unix.stream()
    assert(raw:bind(path))
    assert(raw:listen(0))
    raw:settimeout(0)
    local b = bridging.start { host = "unix://" .. path }
    b:open "/"
    local second = b:dial()
    second:send(serving.upgrade "/")
    serving.rest(0.1)
    assert.is_nil((second:receive(1)))
    raw:accept():close()
    assert.matches("^HTTP/1.1 101 ", (read(second, function(all) return all:find "\r\n\r\n" end)))
    raw:close()
  end)

  it("is reached at the address of its name at which it listens", function()
    local server = bridging.listen "127.0.0.1"
    local b = bridging.start { host = ("tcp://localhost:%d"):format(server.port) }
    assert.is_true(b:connect("/").conn.connected)
    server:accept()
  end)

  it("has the TCP options of one that does not wait for more data", function()
    local server = bridging.listen()
    local raw = bridging.start({ host = server.address }):open "/"
    local peer = server:accept()
    peer.raw:setoption("tcp-nodelay", true)
    local begun = luws.gettime()
    for _ = 1, 20 do
      raw:send(frame(2, "x"))
      peer:read(1)
      peer:send "y"
      read(raw, function(all) return #all == 3 end)
    end
    assert.is_true(luws.gettime() - begun < 0.5, "delayed acknowledgements take 40 ms each")
  end)
end)

describe("a datagram peer", function()
  --- talk(raw, b, framing): has both sides send what is special about datagrams.
  local function talk(raw, b, largest)
    local client = b:connect("/", { max_payload_size = 100000 })
    for _, message in ipairs { "one", "", "\0two\255", ("x"):rep(largest) } do
      luws.wssend(client.conn, 2, message)
      local data, from, port = datagram(raw)
      assert.equal(message, data)
      if port then raw:sendto(message, from, port) else raw:sendto(message, from) end
      till(function() return client.told[1] end)
      assert.same({ message == "\0two\255" and 2 or 1, message }, table.remove(client.told))
    end
    return client
  end

  it("of UDP gets each message as a datagram, and sends each datagram as a message", function()
    local raw, address = bridging.udp()
    local client = talk(raw, bridging.start { host = address }, 65507)
    luws.wssend(client.conn, 2, ("x"):rep(65508))
    till(function() return client.conn.close_code end)
    assert.equal(1009, client.conn.close_code)
  end)

  it("of the unix domain does the same, and its answers arrive", function()
    local path = bridging.path()
    local echo = io.popen("python3 -B spec/support/dgram_echo.py " .. path)
    assert.equal("ready", echo:read "*l")
    local b = bridging.start { host = "unix-dgram://" .. path }
    local client = b:connect("/", { max_payload_size = 100000 })
    for _, message in ipairs { "one", ("x"):rep(60000), "" } do
      luws.wssend(client.conn, 2, message)
      till(function() return client.told[1] end)
      assert.same({ 1, message }, table.remove(client.told))
    end
    echo:close()
  end)

  it("sends datagrams whole or not at all: one of 256 KiB or more ends the connection with 1009", function()
    local path = bridging.path()
    local echo = io.popen("python3 -B spec/support/dgram_echo.py " .. path)
    assert.equal("ready", echo:read "*l")
    local client = bridging.start({ host = "unix-dgram://" .. path }):connect("/", { max_payload_size = 2 ^ 20 })
    luws.wssend(client.conn, 1, "large 262143")
    till(function() return client.told[1] end)
    assert.is_true(table.remove(client.told)[2] == ("x"):rep(262143))
    luws.wssend(client.conn, 1, "large 300000")
    luws.wssend(client.conn, 1, "")
    till(function() return client.conn.close_code end)
    assert.same({ 1009, false }, { client.conn.close_code, client.told[1][1] })
    echo:close()
  end)

  it("closes with 1009 if the message is too large for a datagram", function()
    local _, address = bridging.unix_dgram()
    local client = bridging.start({ host = address }):connect "/"
    luws.wssend(client.conn, 2, ("x"):rep(4000000))
    till(function() return client.conn.close_code end)
    assert.equal(1009, client.conn.close_code)
  end)

  it("has each datagram framed by itself, and the rest of it sent with it", function()
    local raw, address = bridging.udp()
    local b = bridging.start { host = address, framing = "newline", framing_config = "lf", max_segment = 100 }
    local client = b:connect "/"
    luws.wssend(client.conn, 1, "hello")
    local _, from, port = datagram(raw)
    for _, data in ipairs { "a\nb", "", "c\n", "d" } do raw:sendto(data, from, port) end
    till(function() return #client.told == 4 end)
    assert.same({ { 1, "a\n" }, { 1, "b" }, { 1, "c\n" }, { 1, "d" } }, client.told)
    raw:sendto(("x"):rep(101), from, port)
    till(function() return client.conn.close_code end)
    assert.equal(1009, client.conn.close_code)
  end)

  it("that is not there ends the connection with 1011", function()
    local raw, address = bridging.udp()
    raw:close()
    local b = bridging.start { host = address }
    local client = b:connect "/"
    luws.wssend(client.conn, 1, "hello")
    till(function() return client.conn.close_code end)
    assert.equal(1011, client.conn.close_code)
    till(function() return b:said "peer: connection refused" end)
  end)

  it("of the unix domain that reads nothing stops its client, and loses nothing", function()
    local raw, address = bridging.unix_dgram()
    local b = bridging.start { host = address }
    local client = b:connect "/"
    for i = 1, 200 do luws.wssend(client.conn, 1, tostring(i)) end
    serving.rest(0.05)
    for i = 1, 200 do assert.equal(tostring(i), (datagram(raw))) end
  end)
end)

describe("a peer over TLS", function()
  --- start(certificate, options): returns a bridge with these options to a server of HTTP over TLS.
  local function start(certificate, options)
    local s = serving.start {
      ssl_certificate = servers.pki(certificate .. ".pem"), ssl_key = servers.pki "server.key",
      on_request = function(request) return { body = request.path } end,
    }
    local given = { host = ("tls://localhost:%d"):format(s.port) }
    for name, value in pairs(options) do given[name] = value end
    return bridging.start(given)
  end

  local ours = { tls_peer_ca = servers.ca_file() }

  it("is verified, and talks to the client", function()
    local client = start("server", ours):connect "/"
    assert.is_true(client.conn.connected)
    luws.wssend(client.conn, 1, serving.request("GET /question HTTP/1.1", "Connection: close"))
    till(function() return client.conn.close_code end)
    local all = ""
    for _, message in ipairs(client.told) do all = all .. (message[2] or "") end
    assert.matches("^HTTP/1.1 200 OK\r\n.*\r\n\r\n/question", all)
  end)

  it("learns before TLS who the client is, if proxy_protocol says so", function()
    local server = bridging.listen()
    local b = bridging.start { host = (server.address:gsub("^tcp", "tls")), proxy_protocol = true }
    b:dial():send(serving.upgrade "/")
    assert.matches("^PROXY TCP4 127.0.0.1 127.0.0.1 %d+ %d+\r\n\22\3", (server:accept():read(60)))
  end)

  -- its certificate, the options, and why it is refused
  for _, case in ipairs {
    { "server", {}, "self%-signed certificate in certificate chain" }, -- the system does not know our authority
    { "unknown", ours, "unable to get local issuer certificate" },
    { "self-signed", ours, "self%-signed certificate" },
    { "expired", ours, "certificate has expired" },
    { "wrong-host", ours, "hostname mismatch" },
    { "wrong-purpose", ours, "unsuitable certificate purpose" },
  } do
    it(("is refused for its certificate: %s (%s)"):format(case[1], case[3]:gsub("%%", "")), function()
      local b = start(case[1], case[2])
      local status, all = b:refused "/"
      assert.equal(502, status)
      assert.is_truthy(all:find("\r\n\r\nthe peer cannot be reached\n", 1, true))
      assert.is_true(b:said("502: tls://localhost:%d+: certificate verify failed %(" .. case[3] .. "%)$"))
    end)
  end

  it("that does not finish the handshake is given up after connect_timeout, with 504", function()
    local server = bridging.listen()
    local b = bridging.start { host = (server.address:gsub("^tcp", "tls")), connect_timeout = 0.3 }
    local begun = luws.gettime()
    assert.equal(504, (b:refused "/"))
    assert.is_true(luws.gettime() - begun >= 0.29)
    assert.is_true(select(2, server:accept():read()))
    assert.is_true(b:said "504: tls://127.0.0.1:%d+: timeout")
  end)
end)

describe("a request without a peer", function()
  it("is refused with 502 and a short text, and the log says why", function()
    local server = bridging.listen()
    server:close()
    for _, case in ipairs {
      { server.address, "connection refused" },
      { "unix://" .. bridging.path(), "No such file or directory" },
      { "unix-dgram://" .. bridging.path(), "No such file or directory" },
      { "tcp://no-such-name.invalid:80", ": " },
      { "udp://no-such-name.invalid:80", ": " },
    } do
      local b = bridging.start { host = case[1] }
      local status, all = b:refused "/some/path"
      assert.equal(502, status)
      local head, body = all:match "^(.-\r\n)\r\n(.*)$"
      assert.equal("the peer cannot be reached\n", body)
      assert.is_truthy(head:find("\r\nContent-Length: 27\r\n", 1, true), head)
      assert.is_truthy(head:find("\r\nConnection: close\r\n", 1, true), head)
      local line = ("refused: 127.0.0.1:%%d+ /some/path, 502: %s.*%s"):format(case[1]:gsub("%p", "%%%0"), case[2])
      assert.is_true(b:said(line), table.concat(b.lines, "\n"))
      assert.equal(1, b.bridge:stats().refused)
    end
  end)

  it("is refused with 504 after connect_timeout, if the peer takes no connection", function()
    local server = bridging.listen("127.0.0.1", 0)
    local first = socket.connect("127.0.0.1", server.port) -- there is no room for another one
    local b = bridging.start { host = server.address, connect_timeout = 0.2 }
    local begun = luws.gettime()
    local status, all = b:refused "/"
    local took = luws.gettime() - begun
    first:close()
    assert.is_true(took >= 0.19 and took < 2, took)
    assert.equal(504, status)
    assert.equal("the peer cannot be reached in time\n", all:match "\r\n\r\n(.*)$")
    assert.is_true(b:said "504: tcp://127.0.0.1:%d+: timeout$")
  end)

  it("connects to nothing if it is no upgrade, or may not become one", function()
    local server = bridging.listen()
    local b = bridging.start { host = server.address }
    for _, case in ipairs {
      { serving.request("GET / HTTP/1.1", "Connection: close"), 426 },
      { serving.request("POST / HTTP/1.1", "Content-Length: 0"), 405 },
      { serving.upgrade("/"):gsub("Version: 13", "Version: 12"), 426 },
      { serving.upgrade("/"):gsub("Key: [^\r]*", "Key: x"), 400 },
      { "GARBAGE\r\n\r\n", 400 },
      { "GET / HTTP/1.0\r\nHost: h\r\n\r\n", 505 },
    } do
      local raw = b:dial()
      raw:send(case[1])
      local all = read(raw, function(all) return all:find("\r\n\r\n", 1, true) end)
      assert.equal(case[2], serving.status(all), case[1])
      raw:close()
    end
    serving.rest(0.05)
    assert.is_nil((server.raw:accept()))
    till(function() return b.bridge:stats().refused == 6 end)
    assert.is_true(b:said "426: " and b:said "405: ")
  end)

  it("is refused with 503 beyond max_connections, those that are connecting included", function()
    local silent = bridging.listen()
    local b = bridging.start { host = (silent.address:gsub("^tcp", "tls")), max_connections = 1 }
    local first = b:dial()
    first:send(serving.upgrade "/")
    silent:accept()
    local status, all = b:refused "/"
    assert.equal(503, status)
    assert.is_truthy(all:find "too many connections")
  end)

  it("is not left to a peer whose client has gone meanwhile", function()
    local silent = bridging.listen()
    local b = bridging.start { host = (silent.address:gsub("^tcp", "tls")) }
    local raw = b:dial()
    raw:send(serving.upgrade "/")
    local peer = silent:accept()
    raw:close()
    assert.is_true(select(2, peer:read()))
    assert.is_true(b:said ", no answer: the client has gone")
  end)
end)

describe("the rules of access", function()
  it("keep the bridge from connecting to a peer that is not allowed, whatever its name is", function()
    local server = bridging.listen()
    local b = bridging.start { host = ("tcp://localhost:%d"):format(server.port), allow = { "tcp://10.0.0.*:*" } }
    assert.equal(403, (b:refused "/"))
    serving.rest(0.02)
    assert.is_nil((server.raw:accept()))
    local path = bridging.path()
    b = bridging.start { host = "unix://" .. path, allow = { "unix:///run/*" } }
    assert.equal(403, (b:refused "/"))
    b = bridging.start { host = server.address, allow = { "tcp://127.0.0.1:*" } }
    b:open "/"
    server:accept()
  end)

  it("are asked before the backend", function()
    local asked = 0
    local b = bridging.start {
      auth = "me:secret", origin = { "https://*.example" },
      peer = function()
        asked = asked + 1
        return nil, 404
      end,
    }
    local status, all = b:refused "/"
    assert.equal(401, status)
    assert.is_truthy(all:find "\r\nWWW%-Authenticate: Basic ")
    local password = "Authorization: Basic bWU6c2VjcmV0"
    assert.equal(403, (b:refused("/", password, "Origin: https://evil.test")))
    assert.equal(0, asked)
    assert.equal(404, (b:refused("/", password, "Origin: https://a.example")))
    assert.equal(404, (b:refused("/", password)))
    assert.equal(4, b.bridge:stats().refused)
  end)
end)

describe("the status", function()
  it("is told as JSON at its path", function()
    local server = bridging.listen()
    local b = bridging.start { host = server.address, status = "/status" }
    b:open "/"
    local peer = server:accept()
    peer:send "12345"
    serving.rest(0.02)
    local raw = b:dial()
    raw:send(serving.request "GET /status HTTP/1.1")
    local all = read(raw, function(all) return all:find("}", 1, true) end)
    assert.is_truthy(all:find "^HTTP/1.1 200 ")
    assert.equal('{"bytes_in":0,"bytes_out":5,"connections":1,"refused":0,"total":1}\n', all:match "\r\n\r\n(.*)$")
    local other = b:raw(serving.request("GET /other HTTP/1.1", "Connection: close"))
    assert.equal("426", other:match "^HTTP/1.1 (%d+)")
  end)
end)

describe("a listener", function()
  it("at a port that is taken is an error", function()
    local server = bridging.listen()
    local made, why = require("luws.bridge").listen { listen = "127.0.0.1", port = server.port }
    assert.is_nil(made)
    assert.equal(("Listening on 127.0.0.1:%d failed: address already in use"):format(server.port), why)
    assert.is_nil((socket.tcp():connect("127.0.0.1", 1)))
  end)
end)
