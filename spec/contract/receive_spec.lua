-- The promises that a plugin written for LuWS relies on, in memory and over wss: wsreceive. How it reports the end and
-- time-outs, and that it never blocks, is in ../receive_spec.lua and ../close_spec.lua.

local log = require "spec.support.log"
local memory_socket = require "spec.support.memory_socket"
local poll = require "spec.support.poll"
local real = require "luws"
local scripted = require "spec.support.scripted"
local session = require "spec.support.session"
local socket = require "socket"
local sockets = require "spec.support.sockets"
local world = require "spec.support.world"

local CLOSED = "receiver error: closed"

setup(function() log.spend_warning(real) end)

for place, new in pairs(world.places) do
  describe(("wsreceive, as a plugin written for LuWS relies on it, %s:"):format(place), function()
    local s, luws, logged

    before_each(function()
      s = new()
      luws = s.luws
      logged = log.start()
    end)

    after_each(function()
      s:close()
      log.stop()
    end)

    --- Creates a connect function for the peer whose sockets have some methods replaced.
    local function connecting(replaced)
      if s.world then return memory_socket.connecting(s, replaced) end
      return sockets.connecting(replaced)
    end

    it("nothing waiting: false, 0; some data: false, n; over TLS nb counts decrypted bytes", function()
      s:open { { "wait" }, { "send", "\129\5Hello" }, { "hold" } }
      luws.wsreceive(s.conn) -- to read any TLS session tickets
      assert.same({ false, 0 }, { luws.wsreceive(s.conn) })
      s.peer:go()
      local _, more, nb = s:await(1)
      assert.same({ false, 7 }, { more, nb })
      assert.same({ { 1, "Hello" } }, s.told)
    end)

    it("a full chunk: true", function()
      s:open({ { "wait" }, { "send", "\130\126\3\232" .. ("x"):rep(1000) }, { "hold" } },
        { receive_chunk_size = 100 })
      luws.wsreceive(s.conn)
      s.peer:go()
      luws.wswait(s.conn, 5)
      assert.same({ true, 100 }, { luws.wsreceive(s.conn) }) -- over TLS, bytes of plaintext
      s:await(1)
      assert.same({ { 2, ("x"):rep(1000) } }, s.told)
    end)

    it("socket error: nil, err; the handler gets receiver error: err", function()
      local replaced = {}
      s:open({ { "hold" } }, { connect = connecting(replaced) })
      function replaced.receive() return nil, "unplugged" end
      assert.same({ nil, "unplugged" }, { luws.wsreceive(s.conn) })
      assert.same({ { false, "receiver error: unplugged" } }, s.told)
    end)

    it("a text message is checked for valid UTF-8 across fragments, as early as possible", function()
      s:open { { "send", "\1\1\226\0\1\130\128\2\172!" }, { "hold" } }
      s:await(1)
      assert.same({ { 1, "\226\130\172!" } }, s.told) -- a character in three fragments
      for _, bytes in ipairs { "\1\1\226\0\1x", "\1\2a\255", "\129\100\237\160", "\1\3\244\144\128" } do
        s:open { { "send", bytes }, { "read_frame" }, { "hold" } } -- none of these messages ends
        local _, more, why = s:poll()
        assert.same({ nil, "text message is not valid UTF-8" }, { more, why })
        assert.same({ { false, why } }, s.told)
        assert.equal(scripted.close_payload(1007, why), s.peer:at(4).frames[1].payload)
      end
    end)

    it("handlers may be functions or callable tables; a nil handler is tolerated, with a debug line", function()
      s:open {
        { "wait" }, { "send", "\129\1a" }, { "wait" }, { "send", "\129\5quiet\136\0" }, { "hold" },
      }
      local got
      s.conn.msghandler = setmetatable({}, { __call = function(_, ...) got = { ... } end })
      s.peer:go()
      s:poll(function() return got end)
      assert.same({ s.conn, 1, "a" }, got)
      s.conn.msghandler, luws.debug_mode = nil, true
      s.peer:go()
      local ok, more, why = pcall(function() return select(2, s:poll()) end)
      luws.debug_mode = false
      assert.same({ true, nil, "closed" }, { ok, more, why })
      local lines = {}
      for _, line in ipairs(logged) do
        assert.equal(50, line[1])
        if line[2]:find("has no handler", 1, true) then lines[#lines + 1] = line[2] end
      end
      assert.equal(2, #lines)
      assert.truthy(lines[1]:find('"quiet"', 1, true) and lines[2]:find(CLOSED, 1, true))
    end)

    it("a handler's error never escapes: it is logged with its traceback, and the loop continues", function()
      local count = 0
      s:open({ { "send", "\129\1a\1\1b\128\1c\137\1p\136\2\3\232" }, { "read_frame", 2 }, { "hold" } }, {
        control_handler = function() error "control" end,
      }, function(_, opcode, data)
        count = count + 1
        error(opcode and data or {})
      end)
      local _, more, why = s:poll()
      assert.same({ nil, "closed", 3 }, { more, why, count })
      assert.equal(5, #logged)
      for i, text in ipairs { "a", "bc", "control", "control", "table" } do
        assert.equal(1, logged[i][1])
        assert.truthy(logged[i][2]:find(text, 1, true))
        assert.truthy(logged[i][2]:find("stack traceback:", 1, true), logged[i][2])
        assert.truthy(logged[i][2]:find("contract/receive_spec.lua", 1, true), logged[i][2])
      end
      local frames = s.peer:at(4).frames
      assert.same({ 10, "p", 8, "\3\232" },
        { frames[1].opcode, frames[1].payload, frames[2].opcode, frames[2].payload })
    end)

    it("a handler may call wssend, wsclose, wsreceive or wsopen, on this or another connection", function()
      local other, got = nil, {}
      s:open({ { "send", "\129\1a\129\1b" }, { "hold" } }, nil, function(c, _, data)
        got[#got + 1] = data
        if data == "a" then
          other = assert(luws.wsopen(s.peer.url, function(_, _, text) got[#got + 1] = "other " .. text end,
            { close_timeout = 0 }))
          assert(luws.wssend(other, 1, "x"))
          poll(luws, other, function() return got[#got] == "other b" end)
          luws.wsclose(other)
          assert(luws.wsreceive(c) ~= nil)
          assert(luws.wssend(c, 1, "y"))
        end
      end)
      s:poll(function() return #got >= 4 end)
      assert.same({ "a", "other a", "other b", "b" }, got)
      assert.same({ true, false }, { s.conn.connected, other.connected })
      assert.same({}, logged)
    end)

    it("after wsclose inside a handler no further handler is called, and it is not an error", function()
      for _, told in ipairs { 1, 9, 8, false } do
        local calls = 0
        local function handler(c, opcode)
          if opcode ~= told then return end
          calls = calls + 1
          luws.wsclose(c)
        end
        s:open({ { "send", "\137\0\129\1a\129\1b\136\0" }, { "hold" } }, { control_handler = handler },
          handler)
        local _, more, why = s:poll()
        assert.is_nil(more)
        assert.is_truthy(why == "not connected" or why == "closed", why)
        assert.equal(1, calls)
        assert.is_false(s.conn.connected)
        assert.same({ nil, "not connected" }, { luws.wsreceive(s.conn) })
      end
      assert.same({}, logged)
    end)

    local frame = scripted.frame
    for name, case in pairs {
      ["masked server frame"] = { frame { payload = "x", mask = true }, 1002 },
      ["reserved bit 1"] = { frame { rsv = 4 }, 1002 },
      ["reserved bit 2"] = { frame { rsv = 2 }, 1002 },
      ["reserved bit 3"] = { frame { rsv = 1 }, 1002 },
      ["reserved opcode"] = { frame { opcode = 3 }, 1002 },
      ["reserved control opcode"] = { frame { opcode = 15 }, 1002 },
      ["continuation of nothing"] = { frame { opcode = 0 }, 1002 },
      ["new message inside a fragmented one"] = { "\1\1a\129\1b", 1002 },
      ["control frame over 125 bytes"] = { frame { opcode = 9, payload = ("x"):rep(126) }, 1002 },
      ["control frame fragmented"] = { frame { opcode = 10, fin = false }, 1002 },
      ["bad UTF-8"] = { frame { payload = "\192\128" }, 1007 },
      ["bad UTF-8 in a close reason"] = { frame { opcode = 8, payload = "\3\232\255" }, 1007 },
      ["bad close code"] = { frame { opcode = 8, payload = scripted.close_payload(999) }, 1002 },
      ["close code of one byte"] = { frame { opcode = 8, payload = "\3" }, 1002 },
      ["non-minimal length of 16 bits"] = { frame { payload = "x", length_form = 16 }, 1002 },
      ["non-minimal length of 64 bits"] = { frame { payload = "x", length_form = 64 }, 1002 },
      ["over-long length"] = { "\130\127\128\0\0\0\0\0\0\0", 1002 },
      ["more than max_payload_size"] = { "\130\127\127\255\255\255\255\255\255\255", 1009 },
    } do
      it("protocol errors: handler(conn, false, message), a close frame, nil, message: " .. name, function()
        s:open { { "send", "\129\2ok" .. case[1] .. "\129\4lost" }, { "read_frame" }, { "read_to_eof" } }
        local _, more, why = s:poll()
        assert.is_nil(more)
        assert.is_true(type(why) == "string" and why ~= "closed")
        assert.same({ { 1, "ok" }, { false, why } }, s.told)
        local close = s.peer:result().frames[1]
        assert.same({ 8, scripted.close_payload(case[2], why) }, { close.opcode, close.payload })
        assert.same({ nil, why }, { luws.wsreceive(s.conn) })
        assert.equal(2, #s.told)
      end)
    end
  end)
end

describe("wsreceive, as a plugin written for LuWS relies on it, over wss:", function()
  local s = session.new(real, { tls = true })

  after_each(function() s:close() end)

  it("over TLS a full chunk counts plaintext bytes, here of a 5,000-byte record", function()
    s:open({ { "wait" }, { "send", "\130\126\19\132" .. ("x"):rep(4996) }, { "hold" } }, { receive_chunk_size = 2048 })
    real.wsreceive(s.conn) -- to read any TLS session tickets
    s.peer:go()
    for i, expected in ipairs { { true, 2048 }, { true, 2048 }, { false, 904 } } do
      real.wswait(s.conn, 5)
      assert.same(expected, { real.wsreceive(s.conn) }, i)
    end
    assert.same({ { 2, ("x"):rep(4996) } }, s.told)
  end)

  for _, chunk in ipairs { 1000, 16384, 1000000 } do
    it("data held in the TLS layer is drained before it returns false; a chunk of " .. chunk, function()
      local count, size = 5, 15000
      s:open({ { "send", scripted.frame { payload = ("x"):rep(size) }:rep(count) }, { "hold" } },
        { receive_chunk_size = chunk })
      while not s.told[count] do
        local more = real.wsreceive(s.conn)
        -- Only the descriptor is checked, as a program does after false.
        if more == false and not s.told[count] then
          assert.equal(1, #socket.select({ s.conn.socket }, nil, 5))
        end
      end
      for i = 1, count do assert.equal(size, #s.told[i][2]) end
    end)
  end
end)

describe("wsreceive, as a plugin written for LuWS relies on it, in time:", function()
  it("of a flood of handler errors 10 are logged per second, and then the number of the others", function()
    local s = world.session()
    local logged = log.start()
    finally(function()
      s:close()
      log.stop()
    end)
    s:open({ { "send", "\129\1a", times = 13 }, { "wait" }, { "send", "\129\1b" }, { "hold" } }, nil,
      function(_, _, data) error("its mistake with " .. data, 0) end)
    s.world:receive_all(s.conn)
    assert.equal(10, #logged)
    for _, line in ipairs(logged) do
      assert.equal(1, line[1])
      assert.matches("its mistake with a\nstack traceback:", line[2], 1, true)
    end
    s.world.clock.sleep(1)
    s.peer:go()
    s.world:receive_all(s.conn)
    assert.equal(12, #logged)
    assert.same({ 1, "luws: handlers raised more errors: 3 (at most 10 are logged in a second)" }, logged[11])
    assert.matches("its mistake with b", logged[12][2], 1, true)
  end)

  it("the rest of such a flood is reported at the end of the connection at the latest", function()
    local s = world.session()
    local logged = log.start()
    finally(log.stop)
    s:open({ { "send", "\129\1a", times = 11 }, { "hold" } }, nil, function() error("its mistake", 0) end)
    s.world:receive_all(s.conn)
    s:close()
    assert.same({ 11, { 1, "luws: handlers raised more errors: 1 (at most 10 are logged in a second)" } },
      { #logged, logged[11] })
  end)
end)
