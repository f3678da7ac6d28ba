-- The data of WebSocket objects: what send takes, what message events have, and bufferedAmount.

local object = require "spec.support.object"

local failing = object.failing
local is_jit = rawget(_G, "jit") ~= nil
local ffi = is_jit and require "ffi"

for _, place in ipairs(object.places) do
  describe("a WebSocket object over " .. place, function()
    local o, ws, peer

    before_each(function()
      o = object.new(place)
      ws, peer = o:open()
      o.seen = {}
    end)

    local ALL = {}
    for byte = 0, 255 do ALL[#ALL + 1] = byte end
    local BYTES = string.char((unpack or table.unpack)(ALL)) -- luacheck: ignore

    -- what is given to send, and the message
    local sent = {
      { { "text" }, { 1, "text" } }, { { "" }, { 1, "" } }, { { "a\0b" }, { 1, "a\0b" } },
      { { "é€😀" }, { 1, "é€😀" } }, { { 42 }, { 1, "42" } }, { { "\255", "binary" }, { 2, "\255" } },
      { { "", "binary" }, { 2, "" } }, { { {} }, { 2, "" } }, { { { 104, 105 } }, { 2, "hi" } },
      { { ALL, "binary" }, { 2, BYTES } },
    }
    for i, case in ipairs(sent) do
      it(("sends what it is given (case %d)"):format(i), function()
        ws:send(case[1][1], case[1][2])
        assert.equal(#case[2][2], ws.bufferedAmount)
        o.WebSocket.step(0.1)
        assert.same({ case[2] }, peer.events)
        assert.equal(0, ws.bufferedAmount)
      end)
    end

    for i, bytes in ipairs { { 256 }, { -1 }, { 1.5 }, { "a" }, { 1, 2, {} }, { 0 / 0 } } do
      it(("refuses a table that is no array of bytes (case %d)"):format(i), function()
        assert.matches("^[^ ]+:%d+: bad argument #1 to 'send' %(array of bytes expected, element %d is none%)",
          failing(ws.send, ws, bytes))
        assert.same({ 0, {} }, { ws.bufferedAmount, peer.events })
      end)
    end

    it("sends large tables", function()
      local bytes = {}
      for n = 1, 100000 do bytes[n] = n % 256 end
      ws:send(bytes)
      o:run(function() return peer.events[1] end)
      assert.equal(100000, #peer.events[1][2])
      assert.equal(bytes[77777], peer.events[1][2]:byte(77777))
    end)

    it("refuses text that is not UTF-8, and sends nothing of it", function()
      for _, bad in ipairs { "\255", "a\192\128", "\237\160\128", "\244\144\128\128", "ok\226\130" } do
        assert.matches("#1 to 'send' %(the text is not UTF%-8; send bytes as \"binary\"%)", failing(ws.send, ws, bad))
      end
      ws:send "ok"
      o.WebSocket.step(0.1)
      assert.same({ { 1, "ok" } }, peer.events)
    end)

    it("sends arrays of the ffi", function()
      if not ffi then return end
      ws:send(ffi.new("uint8_t[3]", { 1, 2, 3 }))
      ws:send(ffi.new("uint8_t[?]", 2, { 4, 5 }))
      ws:send(ffi.new("uint8_t[?]", 4, { 6, 7, 8, 9 }), 2)
      local kept = ffi.new("uint8_t[2]", { 1, 0 })
      ws:send(ffi.cast("uint8_t *", kept), 2)
      assert.matches("#2 to 'send' %(a number of bytes expected", failing(ws.send, ws, ffi.cast("uint8_t *", kept)))
      assert.matches("#2 to 'send' %(at most 2 bytes expected", failing(ws.send, ws, kept, 3))
      assert.matches("#2 to 'send' %(a number of bytes expected", failing(ws.send, ws, kept, "binary"))
      o.WebSocket.step(0.1)
      assert.same({ { 2, "\1\2\3" }, { 2, "\4\5" }, { 2, "\6\7" }, { 2, "\1\0" } }, peer.events)
    end)

    -- Message events.

    --- received(message): has the peer send a message. Returns its event.
    local function received(message)
      local before = #o.events
      peer:send(message[1], message[2])
      o:run(function() return o.events[before + 1] end)
      return o:last()
    end

    it("receives text and bytes as strings at first", function()
      local event = received { 1, "é" }
      assert.same({ "é", false, "ws://peer.test", "" }, { event.data, event.binary, event.origin, event.lastEventId })
      assert.is_true(event.isTrusted and event.target == ws)
      event = received { 2, "\0\255" }
      assert.same({ "\0\255", true }, { event.data, event.binary })
      assert.equal("", received { 2, "" }.data)
    end)

    it("receives bytes as binaryType says at the time of the event", function()
      ws.binaryType = "table"
      assert.same({ 0, 128, 255 }, received { 2, "\0\128\255" }.data)
      assert.same({}, received { 2, "" }.data)
      assert.equal("text", received { 1, "text" }.data)
      peer:send(2, "a")
      o.clock.sleep(1)
      ws.binaryType = "string"
      received { 2, "b" }
      assert.equal("a", o.events[#o.events - 1].data)
    end)

    it("receives bytes as arrays of the ffi", function()
      if not ffi then return end
      ws.binaryType = "ffi"
      local event = received { 2, "\1\2\255" }
      assert.same({ 3, 1, 255, 3 }, { event.size, event.data[0], event.data[2], ffi.sizeof(event.data) })
      assert.equal(0, received { 2, "" }.size)
    end)

    it("has a binaryType that takes nothing else", function()
      for _, value in ipairs { "blob", "arraybuffer", "", 1, {}, not ffi and "ffi" or "FFI" } do
        assert.matches("^[^ ]+:%d+: bad value for 'binaryType' %(.*'table'.* expected, got ",
          failing(function() ws.binaryType = value end))
        assert.equal("string", ws.binaryType)
      end
    end)

    it("has the origin of its URL, without the default port", function()
      local other = object.new(place)
      for _, case in ipairs {
        { "ws://u:p@Peer.test:80/a?b", "ws://peer.test" }, { "ws://peer.test:8080/", "ws://peer.test:8080" },
        { "http://[::1]/", "ws://[::1]" },
      } do
        local its = other.world:peer()
        other.events = {}
        other:create({}, nil, case[1])
        other:run(function() return its.request end)
        its:send(1, "x")
        other:run(function() return other.events[2] end)
        assert.equal(case[2], other.events[2].origin)
      end
    end)

    -- bufferedAmount

    it("counts what was sent in this turn, even if it has left", function()
      ws:send "abc"
      assert.equal(3, ws.bufferedAmount)
      ws:send("é€")
      ws:send { 1, 2 }
      assert.equal(10, ws.bufferedAmount)
      o.WebSocket.step(0)
      assert.equal(0, ws.bufferedAmount)
      ws:send "d"
      assert.equal(1, ws.bufferedAmount)
    end)

    it("counts data, not frames, pings or compression", function()
      ws:send(("x"):rep(10000))
      ws:ping "ping"
      assert.equal(10000, ws.bufferedAmount)
      o:run(function() return #peer.events == 2 end)
      o.WebSocket.step(0)
      assert.equal(0, ws.bufferedAmount)
    end)

    it("counts what has not left, until its last byte has", function()
      ws:close()
      ws, peer = o:open { deflate = false }
      peer:pause(10)
      ws:send "12345" -- 11 bytes with its frame
      ws:send(("x"):rep(100))
      ws:send(("y"):rep(100), "binary")
      for _ = 1, 3 do
        o.WebSocket.step(0.1)
        assert.equal(205, ws.bufferedAmount)
      end
      peer.line.capacity = 11
      if peer.line.other.on_room then peer.line.other.on_room() end
      o.WebSocket.step(0.1)
      assert.equal(200, ws.bufferedAmount)
      ws:send "z"
      assert.equal(201, ws.bufferedAmount)
      peer:resume()
      o:run(function() return #peer.events == 4 end)
      o.WebSocket.step(0.1)
      assert.equal(0, ws.bufferedAmount)
    end)

    it("counts on after CLOSING, and keeps what has never left", function()
      ws:close()
      ws, peer = o:open { deflate = false, close_timeout = 1 }
      peer:pause(10)
      ws:send(("x"):rep(100))
      o.WebSocket.step(0.1)
      ws:close()
      ws:send "lost"
      ws:send("lost", "binary")
      assert.equal(108, ws.bufferedAmount)
      o.seen = {}
      o:run()
      assert.same({ "3 error", "3 close 1006 unclean" }, o.seen)
      assert.equal(108, ws.bufferedAmount)
      ws:send "more"
      assert.equal(112, ws.bufferedAmount)
    end)

    it("sends what was sent before close first, however long that takes", function()
      ws:close()
      ws, peer = o:open { deflate = false, close_timeout = 5 }
      peer:pause(0)
      for _ = 1, 10 do ws:send(("x"):rep(1000)) end
      ws:close(3000)
      assert.equal(10000, ws.bufferedAmount)
      local function some()
        peer.line.capacity = peer.line.capacity + 1000
        if peer.line.other.on_room then peer.line.other.on_room() end
        if peer.line.capacity < 11000 then o.clock.after(4, some) else peer:resume() end
      end
      o.clock.after(4, some)
      o.seen = {}
      o:run()
      assert.same({ "3 close 3000 clean" }, o.seen)
      assert.same({ 11, 0 }, { #peer.events, ws.bufferedAmount })
    end)

    it("never waits in send, and queues without a bound", function()
      ws:close()
      ws, peer = o:open { deflate = false }
      peer:pause(0)
      local before, message = o.clock.now(), ("x"):rep(1024 * 1024)
      for _ = 1, 40 do ws:send(message, "binary") end
      assert.same({ 40 * #message, before, 1 }, { ws.bufferedAmount, o.clock.now(), ws.readyState })
      peer:vanish()
      o:run()
      assert.equal(40 * #message, ws.bufferedAmount)
    end)

    it("fails if max_buffered is too small for a message", function()
      ws:close()
      ws, peer = o:open { deflate = false, max_buffered = 300 }
      peer:pause(0)
      ws:send(("x"):rep(250))
      assert.equal(1, ws.readyState)
      ws:send(("x"):rep(250))
      assert.same({ 2, 500 }, { ws.readyState, ws.bufferedAmount })
      ws:send "more"
      peer:resume()
      o.seen = {}
      o:run()
      assert.same("3 error", o.seen[1])
      assert.matches("^3 close 10%d+ unclean", o.seen[2])
      assert.matches("buffer full", o.events[#o.events - 1].message)
      -- A socket of the program's is closed at once.
      assert.equal(place == object.places[1] and 254 or 504, ws.bufferedAmount)
    end)
  end)
end
