-- The promises that a plugin written for LuWS relies on, over ws and wss: the options of wsopen. Sockets that a
-- connect function may return are in ../foreign_spec.lua, LuWS's recipe for SockProxy is in ../sockproxy_spec.lua.

local child = require "spec.support.child"
local log = require "spec.support.log"
local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local session = require "spec.support.session"
local socket = require "socket"
local sockets = require "spec.support.sockets"

local function ignore() end

setup(function() log.spend_warning(luws) end)

for _, scheme in ipairs { "ws", "wss" } do
  describe(("the options that a plugin written for LuWS gives, over %s:"):format(scheme), function()
    local tls = scheme == "wss"
    local s = session.new(luws, { tls = tls })

    after_each(function() s:close() end)

    for name, case in pairs {
      ["in their order"] = { { "a", 2, false }, { "a", 2, false, n = 3 } },
      ["nil holes kept"] = { { nil, "b", nil, "d" }, { nil, "b", nil, "d", n = 4 } },
      ["trailing values kept"] = { { "a", n = 3 }, { "a", nil, nil, n = 3 } },
    } do
      it("handler_args: passed to both handlers after data, " .. name, function()
        local controls = {}
        s:open({ { "send", "\137\1p\129\1m" }, { "hold" } }, {
          handler_args = case[1],
          control_handler = function(...) controls[#controls + 1] = { n = select("#", ...), ... } end,
        })
        s:await(1)
        for i, call in ipairs { controls[1], s.calls[1] } do
          assert.is_true(rawequal(s.conn, call[1]))
          assert.same(i == 1 and { 9, "p" } or { 1, "m" }, { call[2], call[3] })
          assert.equal(3 + case[2].n, call.n)
          for k = 1, case[2].n do assert.equal(case[2][k], call[3 + k]) end
        end
      end)
    end

    it("receive_timeout: seconds without a byte from the peer; 0 = off", function()
      local half = { "send", "\129\9half" }
      s:open({ half, { "hold" } }, { handler_args = { "arg" }, receive_timeout = 0.05 })
      local _, more, why = s:await(1)
      assert.same({ s.conn, false, "message timeout", "arg", n = 4 }, s.calls[1])
      assert.same({ nil, "message timeout" }, { more, why })
      s.conn.options.receive_timeout = 0
      luws.wswait(s.conn, 0.1)
      assert.is_not_nil((luws.wsreceive(s.conn)))
      assert.equal(1, #s.told)
    end)

    for _, case in ipairs { { nil, 16384, "16384 by default" }, { 1000, 1000, "as given" } } do
      it("receive_chunk_size: maximum bytes read by one wsreceive, in one socket read; " .. case[3], function()
        local bytes, reads, inner = 0, 0, nil
        local text = ("x"):rep(60000)
        s:open({ { "wait" }, { "send", scripted.frame { payload = text } }, { "hold" } }, {
          receive_chunk_size = case[1],
          connect = function(host, port)
            inner = socket.connect(host, port)
            return sockets.over(inner, {
              receive = function(_, most)
                local data, why, partial = inner:receive(most)
                reads, bytes = reads + 1, bytes + #(data or partial)
                return data, why, partial
              end,
            })
          end,
        })
        luws.wsreceive(s.conn) -- to read any TLS session tickets
        s.peer:go()
        local most, full = 0, 0
        repeat
          bytes, reads = 0, 0
          local more, nb = luws.wsreceive(s.conn)
          most = math.max(most, bytes)
          assert.is_true(reads <= 1, reads)
          if bytes == case[2] then
            full = full + 1
            assert.is_true(more)
          end
          if not tls then assert.equal(bytes, nb) end
          if more == false and not s.told[1] then socket.select({ inner }, nil, 5) end
        until s.told[1]
        assert.is_true(s.told[1][2] == text)
        assert.equal(case[2], most)
        assert.is_true(full >= math.floor(60000 / case[2]) - 1, full)
      end)
    end

    for name, case in pairs {
      -- the peer's bytes, the options, and the message delivered, or the error about the limit and the length
      ["65535 by default, which is taken"] = { scripted.frame { payload = ("x"):rep(65535) }, {}, ("x"):rep(65535) },
      ["65536 is too big"] = {
        scripted.frame { payload = ("x"):rep(65536) }, {}, { "65535 bytes: it has 65536" },
      },
      ["fragments are counted together"] = {
        "\1\6abcdef\128\5ghijk", { max_payload_size = 10 }, { "10 bytes: it has 11" },
      },
      ["fragments up to it are taken"] = { "\1\6abcdef\128\4ghij", { max_payload_size = 10 }, "abcdefghij" },
      ["after decompression"] = { -- a hundred times the letter a, RFC 7692 section 7.2.1
        scripted.frame { rsv = 4, payload = "\74\76\164\61\0\0" }, { max_payload_size = 99, deflate = true },
        { "99 bytes" },
      },
      ["after decompression, up to it"] = {
        scripted.frame { rsv = 4, payload = "\74\76\164\61\0\0" }, { max_payload_size = 100, deflate = true },
        ("a"):rep(100),
      },
    } do
      it("max_payload_size: maximum bytes of one message, then message too big, close 1009: " .. name, function()
        local header = case[2].deflate and { "Sec-WebSocket-Extensions: permessage-deflate" } or nil
        case[2].close_timeout = 5 -- for the data still to come once it is known to be too much
        s:open({ { "upgrade", headers = header }, { "send", case[1] }, { "read_frame" }, { "hold" } }, case[2])
        local value, more, why = s:await(1)
        if type(case[3]) == "string" then
          assert.is_true(value[1] == 1 and value[2] == case[3])
          return
        end
        local text = ("message too big (over %s; see max_payload_size)"):format(case[3][1])
        assert.same({ s.conn, false, text, n = 3 }, s.calls[1])
        assert.same({ nil, text, false }, { more, why, s.conn.connected })
        local close = s.peer:at(4).frames[1]
        assert.same({ 8, scripted.close_payload(1009, text) }, { close.opcode, close.payload })
      end)
    end

    it("use_masking: false sends unmasked frames, true masked ones", function()
      for _, masking in ipairs { false, true } do
        s:open({ { "read_frame" }, { "hold" } }, { use_masking = masking })
        assert.is_true(luws.wssend(s.conn, 1, "hi"))
        local frame = s.peer:at(3).frames[1]
        assert.same({ masking, "hi" }, { frame.masked, frame.payload })
        luws.wsclose(s.conn)
      end
    end)

    it("control_handler: before the default handling of every control frame", function()
      local controls = {}
      s:open({ { "send", "\137\1a\138\1b\136\2\3\232" }, { "read_frame", 2 }, { "hold" } }, {
        control_handler = function(_, opcode, data)
          controls[#controls + 1] = { opcode, data, s.conn.bufferedAmount, s.conn.connected, #s.told }
        end,
      })
      s:poll()
      assert.same({ 9, "a", 0, true, 0 }, controls[1])
      assert.same({ 10, "b" }, { controls[2][1], controls[2][2] })
      assert.same({ 8, "\3\232", true, 0 }, { controls[3][1], controls[3][2], controls[3][4], controls[3][5] })
      assert.same({ s.conn, false, "receiver error: closed", n = 3 }, s.calls[1])
    end)

    it("an unknown option is ignored, a wrong type is a clear error naming the option", function()
      s:open({ { "hold" } }, { unknown = true, [5] = {}, receive_timeuot = "x" })
      assert.is_true(s.conn.connected)
      for name, wrong in pairs {
        handler_args = "x", receive_timeout = "5", receive_chunk_size = {}, max_payload_size = true, ssl_protocol = 3,
        ssl_verify = true, ssl_mode = 1, ssl_options = 2, use_masking = "yes", control_handler = "f", connect = 1,
        upgrade_headers = "X: y", connect_timeout = "1", upgrade_timeout = {}, close_timeout = ignore,
        fragment_size = "x", send_timeout = {}, max_buffered = "1", drain_handler = 1,
      } do
        local result, message = luws.wsopen(s.peer.url, ignore, { [name] = wrong })
        assert.is_false(result)
        assert.matches(("^bad option '%s' %%(.+ expected, got %s%%)$"):format(name, type(wrong)), message)
      end
    end)

    it("upgrade_headers: name to value; one trailing CRLF in a value is tolerated", function()
      local headers = { ["X-Token"] = "a b", ["X-Old"] = "value\r\n", Origin = "http://hub", ["X-Number"] = 7 }
      s:open({ { "send", "\129\1x" }, { "hold" } }, { upgrade_headers = headers })
      local seen = s.peer:at(3).headers
      assert.same({ "a b", "value", "http://hub", "7" },
        { seen["x-token"], seen["x-old"], seen.origin, seen["x-number"] })
      assert.equal(1, #s.peer:so_far().heads)
      s:await(1) -- the request was complete
      assert.equal("value\r\n", headers["X-Old"]) -- the caller's table is unchanged
    end)

    it("upgrade_headers: CR, LF and NUL, and names that are not tokens, are rejected", function()
      s:open { { "hold" } }
      for name, value in pairs {
        ["X-CR"] = "a\rb", ["X-LF"] = "a\nb", ["X-NUL"] = "a\0b", ["X-Two"] = "a\r\n\r\n", ["X-Evil"] = "a\r\nEvil: 1",
        ["X Space"] = "a", ["X:"] = "a", [""] = "a", ["X\r\nEvil"] = "a", ["X-\195\188"] = "a",
      } do
        local result, message = luws.wsopen(s.peer.url, ignore, { upgrade_headers = { [name] = value } })
        assert.is_false(result)
        assert.matches("^bad option 'upgrade_headers' %(.+%)$", message)
        assert.is_nil(message:find("[%z\r\n]")) -- it may go to a log
      end
      assert.equal(1, s.peer:connections())
    end)

    describe("connect:", function()
      local url, handler

      before_each(function()
        handler = s:recorder()
        url = servers.url("demo", scheme, "/echo")
      end)

      it("an error that it raises reaches the caller of wsopen", function()
        local raised = { code = 7 }
        local ok, err = pcall(luws.wsopen, url, handler, { connect = function() error(raised, 0) end })
        assert.is_false(ok)
        assert.is_true(rawequal(raised, err))
      end)

      it("nil, err is reported; nil or false without a message still gives false and a message", function()
        local port = servers.start("demo")[scheme]
        local none = ("Connection to %s:%d failed: connect returned no socket")
          :format(tls and "localhost" or "127.0.0.1", port)
        for _, case in ipairs { { nil, nil, none }, { false, nil, none }, { nil, "its words", "its words" } } do
          assert.same({ false, case[3] },
            { luws.wsopen(url, handler, { connect = function() return case[1], case[2] end }) })
        end
      end)

      it("the object is kept alive while the connection lives, and wsclose closes it through its own close", function()
        local alive, closed = setmetatable({}, { __mode = "k" }), 0
        s.conn = assert(luws.wsopen(url, handler, {
          connect = function(host, port)
            local own = sockets.over(socket.connect(host, port), {
              close = function(inner)
                closed = closed + 1
                return inner:close()
              end,
            })
            alive[own] = true
            return own
          end,
        }))
        assert.equal(s.conn.socket, (next(alive)))
        s.conn.socket, s.conn.options.connect = nil, nil
        collectgarbage()
        collectgarbage()
        assert.is_not_nil(next(alive))
        assert.is_true(luws.wssend(s.conn, 1, "hello"))
        s:await(1)
        assert.same({ s.conn, 1, "hello", n = 3 }, s.calls[1])
        assert.equal(0, closed)
        luws.wsclose(s.conn)
        luws.wsclose(s.conn)
        assert.equal(1, closed)
      end)
    end)
  end)
end

describe("the ssl_ options that a plugin written for LuWS gives:", function()
  local trusted = servers.ca_file()

  -- the options, and nil or how the failure begins
  for _, case in ipairs {
    { {} }, -- the certificate is not signed by a known authority
    { { ssl_protocol = "any" } },
    { { ssl_protocol = "all" } },
    { { ssl_protocol = "sslv23" } },
    { { ssl_protocol = "tlsv1_2" } },
    { { ssl_protocol = "tlsv1_3" } },
    { { ssl_protocol = "tlsv1" }, "Failed SSL negotation: " }, -- the server supports nothing older than 1.2
    { { ssl_protocol = "tlsv1_1" }, "Failed SSL negotation: " },
    { { ssl_verify = "none" } },
    { { ssl_verify = "peer" }, "Failed SSL negotation: " },
    { { ssl_verify = "peer", ssl_cafile = trusted } },
    { { ssl_verify = "client_once", ssl_cafile = trusted } },
    { { ssl_verify = "fail_if_no_peer_cert", ssl_cafile = trusted } },
    { { ssl_verify = { "peer", "fail_if_no_peer_cert" }, ssl_cafile = trusted } },
    { { ssl_verify = { "peer", "fail_if_no_peer_cert" } }, "Failed SSL negotation: " },
    { { ssl_mode = "client" } },
    { { ssl_mode = "server" }, "bad option 'ssl_mode': a WebSocket client is a TLS client (server)" },
    { { ssl_options = "all" } },
    { { ssl_options = { "all", "no_sslv3" } } },
    { { ssl_options = "all,no_sslv2, no_sslv3" } },
    { { ssl_options = { "all", "no_tlsv1_2" } } },
    { { ssl_options = "no_tlsv1_2,no_tlsv1_3" }, "bad option 'ssl_options': " },
  } do
    it(luws.dump(case[1]) .. (case[2] and " fails" or " opens"), function()
      local peer = scripted.peer { tls = true, { "upgrade" }, { "send", "\129\5hello" }, { "read_frame" }, { "close" } }
      local got
      local conn, why = luws.wsopen(peer.url, function(_, ...) got = { ... } end, case[1])
      if case[2] then
        assert.is_false(conn)
        assert.equal(case[2], why:sub(1, #case[2]))
      else
        assert.is_nil(why)
        poll(luws, conn, function() return got end)
        luws.wsclose(conn)
        assert.same({ 1, "hello" }, got)
      end
      peer:close()
    end)
  end

  it("ssl_verify peer loads the system's roots, sends the host's name, and checks it", function()
    -- environment variables tell OpenSSL where this system's roots are
    local program = [[
      local luws = require "luws"
      for _, url in ipairs(arg) do
        local conn, err = luws.wsopen(url, nil, { ssl_verify = "peer" })
        print(conn and "open" or err:match "^[^:]*: ")
        luws.wsclose(conn)
      end
    ]]
    local good = scripted.peer { tls = true, { "upgrade" }, { "read_frame" }, { "close" } }
    local wrong = scripted.peer { tls = true, address = "127.0.0.2", { "upgrade" }, { "hold" } }
    local output = child.run {
      environment = "SSL_CERT_FILE='" .. trusted .. "'", input = program, good.url, wrong.url,
    }
    assert.equal("open\nFailed SSL negotation: \n", output)
    assert.equal("localhost", good:result().sni)
    assert.is_nil(wrong:result().head)
    good:close()
    wrong:close()
  end)
end)
