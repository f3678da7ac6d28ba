-- The states of WebSocket objects, what their methods do in each of them, and the events of a connection's life, in
-- their order (WHATWG WebSockets, RFC 6455 section 7): over luws's own sockets and over a program's.

local object = require "spec.support.object"
local scripted = require "spec.support.scripted"

local failing, frame, payload = object.failing, scripted.frame, scripted.close_payload

local LOST = { "3 error", "3 close 1006 unclean" }

for _, place in ipairs(object.places) do
  describe("a WebSocket object over " .. place, function()
    local o

    before_each(function() o = object.new(place) end)

    --- Returns an object in this state, and its peer, if it has one. The peer answers nothing.
    local function in_state(name, options)
      if name == "CONNECTING" then
        local peer = o.world:peer()
        return o:create(options), peer
      end
      local ws, peer = o:open(options)
      peer.on_event = nil
      if name == "CLOSING" then ws:close() end
      if name == "CLOSED" then
        peer:vanish()
        o:run()
      end
      o.seen = {}
      assert(ws.readyState == ws[name])
      return ws, peer
    end

    describe("in the state", function()
      local SENT = { OPEN = true }
      for _, name in ipairs { "CONNECTING", "OPEN", "CLOSING", "CLOSED" } do
        it(name .. " sends if it is open", function()
          local ws, peer = in_state(name)
          if name == "CONNECTING" then
            for _, given in ipairs { "x", { 1 } } do
              assert.matches("^[^ ]+:%d+: InvalidStateError: ", failing(ws.send, ws, given))
            end
            assert.matches("InvalidStateError: ", failing(ws.ping, ws))
            assert.equal(0, ws.bufferedAmount)
            return
          end
          ws:send "text"
          ws:send("bytes", "binary")
          ws:ping "p"
          assert.same({}, o.seen)
          assert.equal(9, ws.bufferedAmount)
          o.WebSocket.step(0.1)
          o:run(function() return #peer.events == 3 end)
          local messages = {}
          for _, event in ipairs(peer.events) do
            if event[1] ~= 8 then messages[#messages + 1] = event end
          end
          assert.same(SENT[name] and { { 1, "text" }, { 2, "bytes" }, { 9, "p" } } or {}, messages)
          assert.equal(SENT[name] and 0 or 9, ws.bufferedAmount)
        end)

        it(name .. " checks what is given to send", function()
          local ws = in_state(name)
          for _, given in ipairs { true, print, coroutine.create(function() end) } do
            assert.matches("^[^ ]+:%d+: bad argument #1 to 'send' %(string expected, got " .. type(given),
              failing(ws.send, ws, given))
          end
          assert.matches("#1 to 'send' %(string expected, got nil%)", failing(ws.send, ws))
          assert.matches("#2 to 'send' %(\"binary\" or nil expected%)", failing(ws.send, ws, "x", "text"))
          assert.matches(name == "CONNECTING" and "InvalidStateError" or "#1 to 'send' %(the text is not UTF%-8",
            failing(ws.send, ws, "\255"))
          assert.equal(0, ws.bufferedAmount)
        end)

        -- code, reason, and the error
        local wrong = {
          { 999, nil, "InvalidAccessError" }, { 1001, nil, "InvalidAccessError" }, { 1004, nil, "InvalidAccessError" },
          { 1005, nil, "InvalidAccessError" }, { 2999, nil, "InvalidAccessError" },
          { 5000, nil, "InvalidAccessError" }, { 0, nil, "InvalidAccessError" }, { -1, nil, "InvalidAccessError" },
          { 0 / 0, nil, "InvalidAccessError" }, { math.huge, nil, "InvalidAccessError" },
          { 2999.4, nil, "InvalidAccessError" }, { 1000, ("x"):rep(124), "SyntaxError" },
          { nil, ("ü"):rep(62), "SyntaxError" }, { 999, ("x"):rep(124), "InvalidAccessError" },
          { "text", nil, "bad argument #1 to 'close' %(number expected, got string%)" },
          { {}, nil, "bad argument #1 to 'close' %(number expected, got table%)" },
          { 1000, {}, "bad argument #2 to 'close' %(string expected, got table%)" },
          { 1000, "\255", "bad argument #2 to 'close' %(the text is not UTF%-8%)" },
        }
        it(name .. " checks what is given to close, and does nothing then", function()
          local ws = in_state(name)
          for _, case in ipairs(wrong) do
            assert.matches("^[^ ]+:%d+: " .. case[3], failing(ws.close, ws, case[1], case[2]))
            assert.equal(ws[name], ws.readyState)
          end
          assert.same({}, o.seen)
        end)
      end

      it("CONNECTING fails when it is closed", function()
        local ws, peer = in_state "CONNECTING"
        ws:close(1000, "bye")
        assert.same({ 2, {} }, { ws.readyState, o.seen })
        ws:close(3000)
        ws:send "lost"
        assert.equal(4, ws.bufferedAmount)
        o:run()
        assert.same({ LOST, 3, 4 }, { o.seen, ws.readyState, ws.bufferedAmount })
        assert.equal("closed before the connection was established", o.events[1].message)
        assert.is_nil(peer.request)
      end)

      it("CONNECTING fails when it is closed during the upgrade, and a late answer opens nothing", function()
        local peer = o.world:peer()
        function peer.on_request() end
        local ws = o:create()
        o:run(function() return peer.request end)
        ws:close()
        peer:accept()
        peer.wire:write()
        o:run()
        assert.same(LOST, o.seen)
      end)

      it("CONNECTING fails when it is closed after the answer has come, but before it was told", function()
        local peer = o.world:peer()
        local ws = o:create()
        o:run(function() return ws.connection.connected or ws.readyState ~= 0 end)
        if ws.readyState == 0 then
          ws:close()
          o:run()
          assert.same(LOST, o.seen)
        end
        peer:vanish()
      end)

      it("OPEN begins the closing handshake when it is closed, once", function()
        local ws, peer = in_state "OPEN"
        ws:send "first"
        ws:close(3001, "bye")
        assert.same({ 2, {} }, { ws.readyState, o.seen })
        ws:close(4000)
        ws:close()
        o:run(function() return peer.events[2] end)
        assert.same({ { 1, "first" }, { 8, payload(3001, "bye") } }, peer.events)
      end)

      it("CLOSED stays closed", function()
        local ws = in_state "CLOSED"
        ws:close()
        ws:close(3000, "x")
        o:run()
        assert.same({ {}, 3 }, { o.seen, ws.readyState })
      end)
    end)

    -- what is given to close, and the payload of the close frame
    for i, case in ipairs {
      { {}, "" }, { { 1000 }, payload(1000) }, { { 3000 }, payload(3000) }, { { 4999, "" }, payload(4999) },
      { { 1000, "ü" }, payload(1000, "ü") }, { { 3000, ("x"):rep(123) }, payload(3000, ("x"):rep(123)) },
      { { 999.5 }, payload(1000) }, { { 1000.5 }, payload(1000) }, { { "3000" }, payload(3000) },
      { { nil, "why" }, payload(1000, "why") }, { { nil, "" }, "" }, { { 4999.5 - 0.1 }, payload(4999) },
      { { 1000, 42 }, payload(1000, "42") },
    } do
      it(("sends a close frame with what it is given (case %d)"):format(i), function()
        local ws, peer = o:open()
        ws:close(case[1][1], case[1][2])
        o:run()
        assert.same({ { 8, case[2] } }, peer.events)
        local code = case[2] == "" and 1005 or case[2]:byte(1) * 256 + case[2]:byte(2)
        assert.same({ "1 open", "3 close " .. code .. " clean" }, o.seen) -- the peer's answer has no reason
      end)
    end

    -- How a connection ends. What is done once it is open, and the events after `open`.
    local ends = {
      { "the server closes", function(_, peer) peer:close(4000, "bye") end, { "3 close 4000 clean bye" } },
      { "the server closes with 1000", function(_, peer) peer:close(1000) end, { "3 close 1000 clean" } },
      { "the server closes without a code", function(_, peer) peer:raw(frame { opcode = "close" }) end,
        { "3 close 1005 clean" } },
      { "the server closes with 1001 to 1014",
        function(_, peer) peer:raw(frame { opcode = "close", payload = payload(1013, "later") }) end,
        { "3 close 1013 clean later" } },
      { "the server sends, and closes", function(_, peer)
        peer:send(1, "a")
        peer:send(2, "b")
        peer:close(3000)
      end, { "1 message text a", "1 message binary b", "3 close 3000 clean" } },
      { "the server sends after its close frame", function(_, peer)
        peer:raw(frame { opcode = "close", payload = payload(3000) } .. frame { payload = "late" })
      end, { "3 close 3000 clean" } },
      { "both close", function(ws, peer)
        peer:close(4001)
        ws:close(3500, "mine")
      end, { "3 close 4001 clean" } },
      { "the server answers with another code", function(ws, peer)
        function peer.on_event(_, event) if event == 8 then peer:close(4001, "other") end end
        ws:close(3500)
      end, { "3 close 4001 clean other" } },
      { "the connection is lost", function(_, peer) peer:vanish() end, LOST },
      { "the connection is lost after a message", function(_, peer)
        peer:send(1, "last")
        peer:vanish()
      end, { "1 message text last", LOST[1], LOST[2] } },
      { "the connection is lost within a message", function(_, peer)
        peer:raw(frame { payload = "half", length = 10 })
        peer:vanish()
      end, LOST },
      { "the connection is lost after our close frame", function(ws, peer)
        peer.on_event = nil
        ws:close(3000)
        peer:vanish()
      end, LOST },
      { "the server does not answer our close frame", function(ws, peer)
        peer.on_event, peer.hangs_up = nil, nil
        ws:close(3000)
      end, LOST },
      { "the server goes on sending instead of answering our close frame", function(ws, peer)
        peer.on_event = nil
        ws:close(3000)
        peer:send(1, "ignored")
        peer:send(2, "ignored")
      end, LOST },
      { "the server sends before it answers our close frame", function(ws, peer)
        function peer.on_event(_, event)
          if event ~= 8 then return end
          peer:send(1, "ignored")
          peer:close(3000)
        end
        ws:close(3000)
      end, { "3 close 3000 clean" } },
      { "a handler closes during the first of two messages", function(ws, peer)
        ws:addEventListener("message", function() ws:close(3000) end)
        peer:send(1, "a")
        peer:send(1, "b")
      end, { "1 message text a", "3 close 3000 clean" } },
      { "the server pings", function(_, peer)
        peer:send(9, "p")
        peer:close(3000)
      end, { "1 ping p", "3 close 3000 clean" } },
      { "the server pongs", function(_, peer)
        peer:send(10, "q")
        peer:close(3000)
      end, { "1 pong q", "3 close 3000 clean" } },
      { "we ping", function(ws, peer)
        function peer.on_event(_, event, data)
          if event == 9 then peer:send(10, data) peer:close(3000) end
        end
        ws:ping "r"
      end, { "1 pong r", "3 close 3000 clean" } },
      { "the program closes the connection by wsclose", function(ws) o.world.luws.wsclose(ws.connection, 3002) end,
        { "3 close 3002 clean" } },
    }
    -- Rules that the server breaks (RFC 6455 section 7.1.7).
    for name, bytes in pairs {
      ["a reserved opcode"] = frame { opcode = 3 },
      ["a reserved bit"] = frame { rsv = 2, payload = "x" },
      ["a mask"] = frame { payload = "x", mask = true },
      ["a continuation of nothing"] = frame { opcode = "continuation", payload = "x" },
      ["a message within a message"] = frame { fin = false, payload = "a" } .. frame { payload = "b" },
      ["a ping of 126 bytes"] = frame { opcode = "ping", payload = ("x"):rep(126) },
      ["a ping in fragments"] = frame { opcode = "ping", fin = false },
      ["text that is not UTF-8"] = frame { payload = "\255" },
      ["a close frame of one byte"] = frame { opcode = "close", payload = "x" },
      ["a close frame with a reason that is not UTF-8"] = frame { opcode = "close", payload = payload(1000, "\255") },
      ["a close frame with the code 0"] = frame { opcode = "close", payload = payload(0) },
      ["a close frame with the code 999"] = frame { opcode = "close", payload = payload(999) },
      ["a close frame with the code 1004"] = frame { opcode = "close", payload = payload(1004) },
      ["a close frame with the code 1005"] = frame { opcode = "close", payload = payload(1005) },
      ["a close frame with the code 1006"] = frame { opcode = "close", payload = payload(1006) },
      ["a close frame with the code 1015"] = frame { opcode = "close", payload = payload(1015) },
      ["a close frame with the code 1016"] = frame { opcode = "close", payload = payload(1016) },
      ["a close frame with the code 2999"] = frame { opcode = "close", payload = payload(2999) },
    } do
      ends[#ends + 1] = { "the server sends " .. name, function(_, peer) peer:raw(bytes) end, LOST }
    end
    table.sort(ends, function(a, b) return a[1] < b[1] end)
    for _, case in ipairs(ends) do
      it("ends if " .. case[1], function()
        local ws, peer = o:open()
        assert.same({ "1 open" }, o.seen)
        o.seen = {}
        case[2](ws, peer)
        assert.same({}, o.seen) -- nothing is told from within a call
        o:run()
        assert.same(case[3], o.seen)
        assert.equal(3, ws.readyState)
        local last = o:last()
        assert.is_boolean(last.wasClean)
        if not last.wasClean then assert.is_string(o.events[#o.events - 1].message) end
      end)
    end

    it("sends the code for what the server has done, and tells 1006", function()
      local _, peer = o:open { deflate = false }
      o.seen = {}
      peer:raw(frame { payload = "\255" })
      o:run()
      assert.same(LOST, o.seen)
      assert.equal(1007, peer.events[1][2]:byte(1) * 256 + peer.events[1][2]:byte(2))
    end)

    it("is CLOSING from the server's close frame to the end of the stream", function()
      local ws, peer = o:open()
      local states = {}
      peer.hangs_up = nil
      peer:close(3000)
      for _ = 1, 40 do
        o.WebSocket.step(0.05)
        if states[#states] ~= ws.readyState then states[#states + 1] = ws.readyState end
      end
      o:run()
      if place == object.places[1] then assert.same({ 2 }, { states[#states] }) end
      assert.same({ "1 open", "3 close 3000 clean" }, o.seen)
    end)

    it("waits for the server's answer for close_timeout", function()
      for _, case in ipairs { { nil, 10 }, { 3, 3 }, { 0, 0 } } do
        local ws, peer = o:open { close_timeout = case[1] }
        peer.on_event, peer.hangs_up = nil, nil
        local began = o.clock.now()
        ws:close()
        o:run()
        assert.is_true(math.abs(o.ended - began - case[2]) <= 0.05)
        assert.matches("has not answered the close frame", o.events[#o.events - 1].message)
      end
    end)

    it("tells why opening has failed by error and close", function()
      local refused = "HTTP/1.1 403 Forbidden\r\nX-Why: no\r\nContent-Length: 0\r\n\r\n"
      o.world:play { { "upgrade", response = refused }, { "hold" } }
      local ws = o:create()
      o:run()
      assert.same(LOST, o.seen)
      assert.matches("403 Forbidden", o.events[1].message)
      assert.equal("no", ws.responseHeaders["x-why"])
      assert.same({ "", "" }, { ws.protocol, ws.extensions })
    end)

    -- Answers to the upgrade that are wrong (RFC 6455 section 4.1).
    for name, step in pairs {
      ["a redirect"] = { "upgrade", status = "HTTP/1.1 302 Found", headers = { "Location: ws://peer.test/b" } },
      ["another status"] = { "upgrade", status = "HTTP/1.1 200 OK" },
      ["no Upgrade"] = { "upgrade", replace = { Upgrade = false } },
      ["another Upgrade"] = { "upgrade", replace = { Upgrade = "h2c" } },
      ["no Connection"] = { "upgrade", replace = { Connection = false } },
      ["no Sec-WebSocket-Accept"] = { "upgrade", replace = { ["Sec-WebSocket-Accept"] = false } },
      ["a wrong Sec-WebSocket-Accept"] = { "upgrade", replace = { ["Sec-WebSocket-Accept"] = "x" } },
      ["an unknown extension"] = { "upgrade", headers = { "Sec-WebSocket-Extensions: x" } },
      ["an unknown parameter"] = { "upgrade", headers = { "Sec-WebSocket-Extensions: permessage-deflate; x" } },
      ["no HTTP"] = { "upgrade", response = "hello\r\n\r\n" },
      ["nothing"] = { "request" },
    } do
      it("fails if the server answers with " .. name, function()
        o.world:play { step, { "sleep", 1 } }
        o:create()
        o:run()
        assert.same(LOST, o.seen)
      end)
    end

    -- Answers that are unusual, but right.
    for name, step in pairs {
      ["Connection: keep-alive, UPGRADE"] = { "upgrade", replace = { Connection = "keep-alive, UPGRADE" } },
      ["Upgrade: WebSocket"] = { "upgrade", replace = { Upgrade = "WebSocket" } },
      ["single bytes"] = { "upgrade", pieces = 1, interval = 0.01 },
      ["a message right behind"] = { "upgrade", tail = "\129\2hi" },
    } do
      it("opens if the server answers with " .. name, function()
        o.world:play { step, { "hold" } }
        o:create()
        o:run(function() return o.seen[name:find "message" and 2 or 1] end)
        assert.equal("1 open", o.seen[1])
        if name:find "message" then assert.equal("1 message text hi", o.seen[2]) end
      end)
    end

    it("keeps protocol, extensions and url after the end", function()
      local ws = o:open({}, { "b", "a" }, o.world:peer { subprotocol = "a", deflate = {} })
      assert.same({ "a", "permessage-deflate" }, { ws.protocol, ws.extensions })
      ws:close()
      o:run()
      assert.same({ 3, "a", "permessage-deflate", "ws://peer.test/" },
        { ws.readyState, ws.protocol, ws.extensions, ws.url })
    end)

    it("fires nothing before the reactor's turn", function()
      local ws, peer = o:open()
      peer:send(1, "waits")
      o.clock.sleep(1)
      assert.same({ "1 open" }, o.seen)
      ws:close()
      o.clock.sleep(1)
      assert.same({ "1 open" }, o.seen)
    end)

    it("goes on after a listener that raises an error, and never lets it out of a step", function()
      local logs = require "spec.support.log"
      local ws, peer = o:open()
      function ws.onmessage() error "a mistake" end
      local lines = logs.capture(function()
        peer:send(1, "a")
        peer:send(1, "b")
        peer:close(3000)
        o:run()
      end)
      assert.equal(2, #lines)
      assert.same({ "1 open", "1 message text a", "1 message text b", "3 close 3000 clean" }, o.seen)
    end)

    it("fails if nothing comes for receive_timeout", function()
      o:open { receive_timeout = 30 }
      o:run()
      assert.same({ "1 open", LOST[1], LOST[2] }, o.seen)
      assert.equal("message timeout", o.events[2].message)
    end)

    it("does as event loops ask", function()
      local ws = o:create()
      assert.same({ -1, -1, false, 1 }, { ws:getfd(), ws:pollfd(), ws:dirty(), ws:settimeout(0) })
      assert.matches("^rw?$", ws:events())
      assert.is_number(ws:timeout())
      o.world.next_peer = o.world:peer()
      o.clock.sleep(1)
      for _ = 1, 20 do ws:receive() end -- drives it, too
      o:run(function() return ws.readyState == 1 end)
      assert.same({ "1 open" }, o.seen)
      assert.same({ nil, "timeout" }, { ws:receive() })
    end)
  end)
end
