-- A server's connections: from the upgrade to the end, with clients of luws's own, and with raw ones.

local files = require "spec.support.files"
local child = require "spec.support.child"
local log = require "spec.support.log"
local luws = require "luws"
local server = require "luws.server"
local serving = require "spec.support.serving"
local socket = require "socket"

local till, upgrade = serving.till, serving.upgrade

after_each(serving.over)
after_each(child.over)

local function echo(conn, opcode, data) luws.wssend(conn, opcode, data) end

describe("a server's connection", function()
  it("exchanges messages, and its end is told once to each side", function()
    local s = serving.start { on_message = echo }
    local client = s:connect "/a?b=c"
    local large = ("0123456789"):rep(100000)
    for _, message in ipairs { { 1, "Hello" }, { 2, "\0\1" }, { 1, "" }, { 1, large } } do
      assert.is_true(luws.wssend(client.conn, message[1], message[2]))
    end
    client.conn.options.max_payload_size = 2000000
    till(function() return #client.told == 4 end)
    assert.same({ { 1, "Hello" }, { 2, "\0\1" }, { 1, "" }, { 1, large } }, client.told)
    assert.same({ "open", { 1, "Hello" }, { 2, "\0\1" }, { 1, "" }, { 1, large } }, s.events)
    luws.wsclose(client.conn, 4001, "bye")
    till(function() return s.events[6] end)
    assert.same({ 4001, "bye" }, s.events[6])
    local conn = s.conns[1]
    assert.same({ false, true, 4001, true },
      { conn.connected, conn.closing, conn.close_code, conn.was_clean })
    assert.same({ 0, 1 }, { s.srv:count(), s.srv:stats().accepted })
  end)

  it("counts in the server's statistics, with the data of its messages", function()
    local taken = {}
    local s = serving.start {
      sink = function(conn) return conn.path == "/sink" and require("ltn12").sink.table(taken) end,
      on_message = echo, fragment_size = 1000, deflate = { server_no_context_takeover = true },
    }
    local one, two = s:connect("/", { deflate = true }), s:connect "/sink"
    for _, data in ipairs { "Hello", "", ("x"):rep(2000) } do luws.wssend(one.conn, 2, data) end
    luws.wssend(one.conn, 9, "a ping")
    till(function() return #one.told == 3 end)
    luws.wssend(two.conn, 1, ("y"):rep(100000))
    till(function() return #table.concat(taken) == 100000 end)
    assert.equal(2, s.srv:broadcast(nil, 1, ("z"):rep(100)))
    local parts = { "ab", "c" }
    luws.wssend(s.conns[2], 1, function() return table.remove(parts, 1) end)
    till(function() return #two.told == 2 end)
    luws.wsclose(one.conn)
    till(function() return s.srv:count() == 1 end)
    s:raw(serving.request("GET / HTTP/1.1", "Connection: close"))
    assert.same({
      accepted = 3, refused = 1, open = 1, messages_received = 4, bytes_received = 102005,
      messages_sent = 6, bytes_sent = 2005 + 200 + 3,
    }, s.srv:stats())
  end)

  it("tells the code of a client that was gone before the answer", function()
    local s = serving.start { on_message = echo }
    for _, case in ipairs {
      { "\136\130\0\0\0\0\3\232", { 1000, "" } },
      { "\136\133\0\0\0\0\15\161bye", { 4001, "bye" } },
      { "\136\128\0\0\0\0", { 1005, "" } },
      { "", { 1006, "" } },
    } do
      local raw, count = s:dial(), #s.events
      raw:send(upgrade "/")
      till(function() return #s.events == count + 1 end)
      assert(raw:receive "*l")
      raw:send(case[1])
      raw:close()
      till(function() return #s.events == count + 2 end)
      assert.same({ "open", case[2] }, { s.events[count + 1], s.events[count + 2] })
    end
  end)

  it("lingers as long as it has to, whatever other server is collected meanwhile", function()
    do
      local other = serving.start {}
      other:connect "/"
      other.srv:close { timeout = 0 }
      till(function() return other.srv:is_closed() end)
      serving.over()
    end
    local s = serving.start { close_timeout = 0.1 }
    local raw = s:dial()
    raw:send(upgrade "/")
    till(function() return s.conns[1] end)
    luws.wsclose(s.conns[1])
    for _ = 1, 4 do collectgarbage() end
    till(function() return s.events[2] end)
    assert.same({ 1006, "" }, s.events[2])
    assert.equal(0, s.srv:count())
  end)

  it("has the fields of a client's, and some of its own", function()
    local seen
    local s = serving.start {
      subprotocols = { "b", "a" }, response_headers = { ["X-Server"] = "luws" },
      on_open = function(conn, request) seen = { conn, request } end,
    }
    local client = s:connect("/p?q=1", { subprotocols = { "a", "b" }, upgrade_headers = { Cookie = "c=d; e=\"f\"",
      Origin = "http://o" } })
    till(function() return seen end)
    local conn, request = seen[1], seen[2]
    assert.equal("a", client.conn.subprotocol)
    assert.equal("luws", client.conn.response_headers["x-server"])
    assert.same({ true, false, "ws", "127.0.0.1", "/p?q=1", "a", 1, "127.0.0.1", 0 }, {
      conn.connected, conn.closing, conn.proto, conn.ip, conn.path, conn.subprotocol, conn.id, conn.remote,
      conn.bufferedAmount,
    })
    assert.equal(request, conn.request)
    assert.equal(s.srv, conn.server)
    assert.same({ "GET", "/p", "q=1", "/p?q=1", "1.1", "http://o", "127.0.0.1", { c = "d", e = "f" }, { "a", "b" } }, {
      request.method, request.path, request.query, request.target, request.http, request.origin, request.remote,
      request.cookies, request.subprotocols,
    })
    assert.is_true(request.remote_port > 0 and request.remote_port == conn.port)
    assert.equal("luws-websock[127.0.0.1:" .. conn.port .. "]", tostring(conn))
  end)

  it("is not the program's to receive from, or to wait for", function()
    local s = serving.start()
    s:connect()
    till(function() return s.conns[1] end)
    assert.same({ "served" }, { select(2, luws.wsreceive(s.conns[1])) })
    assert.is_false(luws.wswait(s.conns[1], 1))
  end)

  it("is closed with 1011 by the error of a handler, which goes to the log; the others go on", function()
    for _, case in ipairs {
      { "on_open", "the open_handler of", "" },
      { "on_message", "the handler of", "message" },
    } do
      local logged = log.start()
      local s = serving.start {
        [case[1]] = function(conn, _, data)
          if conn.path == "/bad" or data == "bad" then error(case[1] .. " is wrong") end
        end,
        ping_interval = 0,
      }
      local good, bad = s:connect "/good", s:connect "/bad"
      luws.wssend(bad.conn, 1, "bad")
      till(function() return bad.conn.close_code end)
      assert.equal(1011, bad.conn.close_code)
      assert.is_truthy(logged[1][2]:find(case[2], 1, true), logged[1][2])
      assert.is_truthy(logged[1][2]:find(case[1] .. " is wrong", 1, true))
      luws.wssend(good.conn, 1, "fine")
      till(function() return s.events[#s.events][2] == "fine" end)
      log.stop()
    end
  end)

  it("tells 1006 of a peer that is gone, and what a peer that breaks a rule has not sent", function()
    local s = serving.start()
    local raw = s:dial()
    raw:send(upgrade "/")
    till(function() return s.events[1] end)
    raw:close()
    till(function() return s.events[2] end)
    assert.same({ "open", { 1006, "" } }, s.events)
    local reply, ended = s:raw(upgrade "/" .. "\129\0") -- not masked
    assert.is_true(ended)
    assert.equal("\136", reply:match "\r\n\r\n(.)")
    assert.equal(1002, reply:byte(-1) == 0 and 0 or reply:match("\r\n\r\n\136.(..)"):byte(1) * 256
      + reply:match("\r\n\r\n\136.(..)"):byte(2))
    till(function() return s.events[4] end)
    assert.same({ 1006, "" }, s.events[4])
  end)

  it("ends with the code for what its peer has broken; the others go on", function()
    local s = serving.start { max_payload_size = 1000, on_message = echo }
    local calm = s:connect()
    for _, case in ipairs {
      { "\129\2hi", 1002 }, -- not masked
      { "\131\128\0\0\0\0", 1002 }, { "\128\128\0\0\0\0", 1002 }, { "\193\128\0\0\0\0", 1002 },
      { "\137\254\0\126\0\0\0\0", 1002 }, { "\129\129\0\0\0\0\255", 1007 },
      { "\130\254\3\233\0\0\0\0", 1009 }, { "\130\255\127\255\255\255\255\255\255\255\0\0\0\0", 1009 },
    } do
      local reply, ended = s:raw(upgrade "/" .. case[1])
      local high, low = reply:match "\r\n\r\n\136.(.)(.)"
      assert.same({ case[2], true }, { high:byte() * 256 + low:byte(), ended })
      assert.equal(case[2], s.conns[#s.conns].close_code_sent)
      luws.wssend(calm.conn, 1, "calm")
      calm.told = {}
      till(function() return calm.told[1] end)
    end
    assert.same({ 1, true }, { s.srv:count(), s.srv:connections()() == s.conns[1] })
  end)

  it("takes the frames that come with the request as its first messages", function()
    local s = serving.start { on_open = function(conn) luws.wssend(conn, 1, "first") end }
    local reply = s:raw(upgrade "/" .. "\129\130\0\0\0\0hi\136\128\0\0\0\0")
    assert.equal("\129\5first\136\0", reply:match "\r\n\r\n(.*)")
    till(function() return s.events[3] end)
    assert.same({ "open", { 1, "hi" }, { 1005, "" } }, s.events)
  end)

  it("can be closed by any handler, and sends nothing after that", function()
    local s = serving.start {
      on_message = function(conn, _, data)
        luws.wsclose(conn, 4000, data)
        assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "late") })
      end,
    }
    local client = s:connect()
    luws.wssend(client.conn, 1, "one")
    luws.wssend(client.conn, 1, "two")
    till(function() return client.conn.close_code end)
    assert.same({ 4000, "one" }, { client.conn.close_code, client.conn.close_reason })
    till(function() return s.events[3] end)
    assert.same({ "open", { 1, "one" }, { 4000, "" } }, s.events)
    assert.is_true(s.conns[1].was_clean)
  end)
end)

describe("a server listens", function()
  it("at each of several places, with one set of handlers", function()
    local path = os.tmpname()
    os.remove(path)
    local s = serving.start {
      listeners = { { port = 0 }, { host = "::1", port = 0 }, { unix = path, mode = "600" } },
    }
    local places = s.srv:addresses()
    assert.same({ "127.0.0.1", "::1", path }, { places[1].host, places[2].host, places[3].path })
    for i, host in ipairs { "127.0.0.1", "[::1]" } do
      s.host, s.port = host, places[i].port
      s:connect()
      till(function() return s.conns[i] end)
    end
    assert.same({ "127.0.0.1", "::1" }, { s.conns[1].remote, s.conns[2].remote })
    local unix = require "socket.unix"
    local raw = (unix.stream or unix)()
    assert(raw:connect(path))
    raw:settimeout(0)
    raw:send(upgrade "/")
    till(function() return s.conns[3] end)
    assert.is_nil(s.conns[3].remote)
    assert.equal("600\n", files.output("stat -c %a " .. path))
    raw:close()
    s.srv:close()
    assert.is_nil(io.open(path))
  end)

  it("and says why it cannot, before anything listens", function()
    local s = serving.start()
    for _, case in ipairs {
      { {}, "listen needs a port, a path (unix) or a descriptor (fd)" },
      { { port = 0, unix = "x" }, "listen has more than one of port, unix and fd" },
      { { port = 0, on_mesage = print }, "unknown option 'on_mesage' (on_message?)" },
      { { port = 0, on_open = 3 }, "bad option 'on_open' (function expected, got number)" },
      { { port = 70000 }, "bad option 'port' (whole number from 0 to 65535 expected, got 70000)" },
      { { port = 0, host = 1 }, "bad option 'host' (string expected, got number)" },
      { { port = 0, host = "" }, "bad option 'host' (a string that is not empty expected, without NUL)" },
      { { unix = "a\0b" }, "bad option 'unix' (a string that is not empty expected, without NUL)" },
      { { port = 0, backlog = 0 }, "bad option 'backlog' (whole number from 1 up expected, got 0)" },
      { { port = 0, reuseport = 1 }, "bad option 'reuseport' (boolean expected, got number)" },
      { { port = 0, methods = {} }, "bad option 'methods' (at least one expected)" },
      { { port = 0, methods = { "G T" } }, "bad option 'methods' (an element is not a token)" },
      { { port = 0, max_body = -1 }, "bad option 'max_body' (whole number from 0 up expected, got -1)" },
      { { port = 0, max_connections = 0 }, "bad option 'max_connections' (whole number from 1 up expected, got 0)" },
      { { port = 0, origins = { nil, "http://a" } }, "bad option 'origins' (array of origins expected)" },
      { { port = 0, origins = { 1 } }, "bad option 'origins' (array of origins expected)" },
      { { port = 0, origins = "*" }, "bad option 'origins' ('*' is not an origin, such as https://example.com)" },
      { { port = 0, origins = { "http://a", "http://b/" } },
        "bad option 'origins' ('http://b/' is not an origin, such as https://example.com)" },
      { { port = 0, answer_timeout = "x" }, "bad option 'answer_timeout' (number expected, got string)" },
      { { port = 0, subprotocols = "a b" }, "bad option 'subprotocols' (an element is not a token)" },
      { { port = 0, slow = "wait" }, "bad option 'slow' ('drop', 'close' or function expected, got 'wait')" },
      { { port = 0, trusted_proxies = 1 },
        "bad option 'trusted_proxies' (address or array of them expected, got number)" },
      { { port = 0, trusted_proxies = { "::1", "localhost" } },
        "bad option 'trusted_proxies' (an IP address or 'unix' expected, got 'localhost')" },
      { { port = 0, response_headers = { ["A"] = "b\r\nc" } },
        "bad option 'response_headers' (the value of header A has a control character in it)" },
      { { port = 0, response_headers = { upgrade = "x" } },
        "bad option 'response_headers' (header upgrade is the server's to send)" },
      { { port = 0, max_payload_size = "x" }, "bad option 'max_payload_size' (number expected, got string)" },
      { { port = 0, deflate = { level = 99 } },
        "bad option 'deflate' (level: whole number from 1 to 9 expected, got 99)" },
      { { port = 0, ping_interval = -1 }, "bad option 'ping_interval' (a number of at least 0 expected, got -1)" },
      { { fd = "x" }, "bad option 'fd' (whole number from 0 up expected, got string, or 'systemd')" },
      { { port = 0, mode = "600" }, "listen has a mode, which is for a path (unix)" },
      { { unix = "x", mode = "rw" }, "bad option 'mode' (permissions such as '600' expected)" },
      { { fd = 0 }, "Listening on descriptor 0 failed: it is not a listening socket" },
      { { fd = "systemd" }, "Listening on systemd's sockets failed: systemd has passed none" },
      { { listeners = {} }, "bad option 'listeners' (at least one expected)" },
      { { listeners = { {} } }, "bad option 'listeners' (1: it needs a port, a path (unix) or a descriptor (fd))" },
      { { listeners = { { port = 0, x = 1 } } }, "bad option 'listeners' (1: unknown option 'x')" },
      { { listeners = { { port = 0 }, nil, { port = 0 } } }, "bad option 'listeners' (array of tables expected)" },
      { { listeners = { { port = 0 } }, port = 1 }, "bad option 'port' (it belongs into each of listeners)" },
      { { port = s.port }, ("Listening on 127.0.0.1:%d failed: address already in use"):format(s.port) },
      { { unix = "/nowhere/x" }, "Listening on /nowhere/x failed: No such file or directory" },
      { { port = 0, reactor = 1 }, "bad option 'reactor' (a reactor expected, got number)" },
      { "x", "bad argument #1 to 'listen' (table expected, got string)" },
    } do
      assert.same({ nil, case[2] }, { server.listen(case[1]) })
    end
  end)

  it("and each option that is wrong is named", function()
    local classes = { ["luws.Place"] = true, ["luws.Handlers"] = true, ["luws.ServerOptions:"] = true }
    local wrong, count, is_option = coroutine.create(function() end), 0, nil -- a value that no option has
    for line in io.lines "types/luws/server.lua" do
      local class, name = line:match "^%-%-%-@class (%S+)", line:match "^%-%-%-@field (%w+[%w_]*)%?"
      if class then is_option = classes[class] end
      if name and is_option then
        local srv, why = server.listen { port = name ~= "listeners" and 0 or nil, [name] = wrong }
        assert.is_nil(srv, name)
        assert.equal(("bad option '%s' ("):format(name), why:sub(1, #name + 15), name)
        count = count + 1
      end
    end
    assert.is_true(count > 35, count)
  end)

  it("at the descriptors that systemd has passed on", function()
    local path = os.tmpname()
    os.remove(path)
    local activated = child.serve {
      environment = ([[python3 -c '
import os, socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
sockets[1].bind("%s")
sockets[1].listen()
for number, each in enumerate([os.dup(each.fileno()) for each in sockets]):
    os.dup2(each, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2")
os.execvp(sys.argv[1], sys.argv[1:])']]):format(path),
      input = [[
        local server = require "luws.server"
        local srv = assert(server.listen { fd = "systemd", on_request = function() return { body = "here" } end })
        local places = srv:addresses()
        print(#places, places[1].port, places[2].path)
        io.stdout:flush()
        srv:run { signals = true }
      ]],
    }
    local count, port, second = activated.line:match "^(%d+)%s+(%d+)%s+(%S+)$"
    assert.same({ "2", path }, { count, second }, activated.line)
    local s = setmetatable({ host = "127.0.0.1", port = tonumber(port) }, { __index = serving.methods })
    assert.is_truthy(s:raw(serving.request("GET / HTTP/1.1", "Connection: close")):find "here$")
    assert.same({ "", 0 }, { activated:stop() })
    os.remove(path)
  end)

  it("in an outer loop that watches one descriptor", function()
    local s = serving.start { on_message = echo }
    local srv, raw = s.srv, s:dial()
    local watched = { getfd = function() return srv:getfd() end, dirty = function() return srv:dirty() end }
    raw:send(upgrade "/" .. "\129\130\0\0\0\0hi\136\128\0\0\0\0")
    local all, why, turns = "", nil, 0
    while why ~= "closed" and turns < 1000 do
      local readable = socket.select({ watched, raw }, nil, math.min(srv:timeout() or 1, 1))
      turns = turns + 1
      if readable[watched] then srv:step(0) end
      local data, problem, part = raw:receive "*a"
      all, why = all .. (data or part), data and "closed" or problem
    end
    assert.equal("\129\2hi\136\0", all:match "\r\n\r\n(.*)$")
    assert.same({ "r", srv:getfd() }, { srv:events(), srv:pollfd() })
    assert.is_true(turns < 100, turns)
  end)

  it("at a descriptor that somebody else has begun to listen at", function()
    local listening = assert(socket.bind("127.0.0.1", 0))
    local s = serving.start { fd = listening:getfd() }
    local _, port = listening:getsockname()
    assert.equal(tonumber(port), s.port)
    s:connect()
    till(function() return s.conns[1] end)
    listening:close()
  end)
end)
