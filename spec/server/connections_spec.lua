-- A server's connections: from the upgrade to the end, with clients of luws's own, and with raw ones.

local log = require "spec.support.log"
local luws = require "luws"
local serving = require "spec.support.serving"

local till, upgrade = serving.till, serving.upgrade

after_each(serving.over)

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
