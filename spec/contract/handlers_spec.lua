-- The promises that a plugin written for LuWS relies on, over ws and over wss: handlers, the end, bugs of LuWS that are
-- fixed here, and how real programs call it. The closing handshake is in ../close_spec.lua.

local child = require "spec.support.child"
local log = require "spec.support.log"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local session = require "spec.support.session"

local CLOSED = "receiver error: closed"

setup(function() log.spend_warning(luws) end)

for _, scheme in ipairs { "ws", "wss" } do
  describe(("a plugin written for LuWS relies on this over %s:"):format(scheme), function()
    local s = session.new(luws, { tls = scheme == "wss" })

    --- Returns the first frames that the peer receives, once it has reached that step, as { opcode, payload }.
    local function frames_at(step)
      local list = {}
      for i, frame in ipairs(s.peer:at(step).frames) do list[i] = { frame.opcode, frame.payload } end
      return list
    end

    after_each(function()
      s:close()
      log.stop()
    end)

    describe("handlers,", function()
      it("opcode 1 or 2 with the whole message, always the first frame's, or false with an error text", function()
        s:open {
          { "send", "\129\1a\130\2\0\255\2\1b\0\1c\128\1d\1\0\128\1e\1\0\0\0\128\0\129\0" }, { "close" },
        }
        s:poll()
        assert.same({
          { 1, "a" }, { 2, "\0\255" }, { 2, "bcd" },
          { 1, "e" }, { 1, "" }, -- an empty first fragment still is the first
          { 1, "" }, { false, CLOSED },
        }, s.told)
      end)

      it("control_handler: before the default handling; returning exactly false suppresses it", function()
        local returns = { f = false, n = nil, t = true, z = 0, e = "" }
        s:open({ { "send", "\137\1f\137\1n\137\1t\137\1z\137\1e\136\2\3\233" }, { "read_frame", 5 }, { "hold" } }, {
          control_handler = function(_, opcode, data)
            if opcode == 9 then return returns[data] end
          end,
        })
        s:poll()
        -- all but the first are answered, each ping with the same payload, the close frame with its code
        assert.same({ { 10, "n" }, { 10, "t" }, { 10, "z" }, { 10, "e" }, { 8, "\3\233" } }, frames_at(4))
        assert.same({ { false, CLOSED } }, s.told)
      end)

      it("control_handler: false suppresses the default for close, too", function()
        s:open({ { "send", "\136\2\3\233" }, { "wait" }, { "hold" } },
          { control_handler = function() return false end })
        luws.wswait(s.conn, 5)
        assert.is_not_nil((luws.wsreceive(s.conn)))
        assert.same({ {}, true, 0 }, { s.told, s.conn.connected, s.conn.bufferedAmount })
      end)

      it("default for pong: nothing", function()
        s:open { { "send", "\138\1x\129\1m" }, { "read_frame" }, { "hold" } }
        s:await(1)
        assert.same({ { 1, "m" } }, s.told)
        assert(luws.wssend(s.conn, 1, "first"))
        assert.same({ { 1, "first" } }, frames_at(4))
      end)

      it("default for close: marked closing, the code echoed, then the handler; notified of the end once", function()
        s:open { { "send", "\136\6\15\161four" }, { "read_frame" }, { "close" } }
        local recorder, state = s.conn.msghandler, nil
        s.conn.msghandler = function(c, ...)
          recorder(c, ...)
          state = { c.closing, c.connected, c.close_code, c.close_reason, c.was_clean }
        end
        local _, more, why = s:poll()
        assert.same({ nil, "closed" }, { more, why })
        assert.same({ true, false, 4001, "four", true }, state)
        for _ = 1, 3 do assert.same({ nil, "closed" }, { luws.wsreceive(s.conn) }) end
        assert.same({ { false, CLOSED } }, s.told)
        assert.same({ { 8, "\15\161" } }, frames_at(4))
      end)

      it("1006 if no close frame came", function()
        for _, ending in ipairs { { "close" }, { "reset" }, { "send", "\131\0" } } do
          s:open { ending, ending[1] == "send" and { "hold" } or nil }
          s:poll()
          assert.same({ 1006, "", false, false },
            { s.conn.close_code, s.conn.close_reason, s.conn.was_clean, s.conn.connected })
          assert.equal(1, #s.told)
        end
      end)
    end)

    describe("the end,", function()
      it("wsclose is safe at any time, any number of times, with nil too; sends a close frame if none was", function()
        luws.wsclose(nil)
        for _, before in ipairs {
          function() end,
          function() assert(luws.wssend(s.conn, 8, "")) end,
          function() assert.has_error(function() luws.wssend(s.conn, 1, error) end) end,
        } do
          s:open { { "read_frame" }, { "hold" } }
          before()
          for _ = 1, 3 do luws.wsclose(s.conn) end
          assert.same({ false, -1 }, { s.conn.connected, s.conn.socket:getfd() })
          local seen = s.peer:result()
          assert.equal(1, #seen.frames)
          assert.equal(8, seen.frames[1].opcode)
          assert.is_truthy(seen.eof)
          assert.same({}, s.told)
        end
      end)

      it("wsclose does not block, however long the peer may take", function()
        s:open({ { "wait" } }, { send_timeout = 0, close_timeout = 30 })
        luws.wssend(s.conn, 2, ("x"):rep(12 * 1024 * 1024)) -- more than the sockets hold, and the peer does not read
        local started = luws.gettime()
        luws.wsclose(s.conn)
        assert.is_true(luws.gettime() - started < 1)
        assert.is_false(s.conn.connected)
        assert.is_false(luws.wswait(s.conn, 0)) -- it is still sending
      end)

      it("a connection that is simply dropped frees its socket: garbage-collected, or the Lua state closed", function()
        s:open { { "read_to_eof" } }
        s.conn = nil
        collectgarbage()
        collectgarbage()
        assert.is_truthy(s.peer:result().eof)
        local output, status = child.program([[
          luup = { log = function() end } -- warnings do not matter here
          print(require "luws".wsopen(arg[1]) and "open")
        ]], s.peer.url)
        assert.same({ "open\n", 0 }, { output, status })
        assert.is_truthy(s.peer:result(2).eof)
      end)
    end)

    describe("the rest,", function()
      it("wsreset forgets the partly received message and frame; wshandleincoming feeds raw bytes", function()
        s:open { { "hold" } }
        for _, part in ipairs { "\129", "\129\126\1", "\129\9part", "\1\4part", "\1\4part\128\9rest", "\137\9pi" } do
          assert.is_true(luws.wshandleincoming(part, s.conn))
          luws.wsreset(s.conn)
          assert.is_true(luws.wshandleincoming("\130\2ok", s.conn))
        end
        assert.same({ { 2, "ok" }, { 2, "ok" }, { 2, "ok" }, { 2, "ok" }, { 2, "ok" }, { 2, "ok" } }, s.told)
        luws.wshandleincoming("\136\0", s.conn)
        assert.same({ false, CLOSED }, s.told[7])
        assert.same({ nil, "closed" }, { luws.wshandleincoming("\129\1x", s.conn) })
        luws.wsreset(s.conn)
        luws.wsreset(nil)
      end)

      it("wslastping(conn) is the time of the last complete frame, 0 for nil, usable as an os.time() number", function()
        s:open { { "wait" }, { "send", "\137\0" }, { "wait" }, { "send", "\129\9half" }, { "hold" } }
        local opened = luws.wslastping(s.conn)
        assert.is_true(math.abs(os.time() - opened) < 2)
        s.peer:go()
        s:poll(function() return luws.wslastping(s.conn) > opened end)
        local heard = luws.wslastping(s.conn)
        s.peer:go()
        luws.wswait(s.conn, 5)
        luws.wsreceive(s.conn)
        assert.equal(heard, luws.wslastping(s.conn)) -- half a frame does not count
        assert.equal(0, luws.wslastping(nil))
      end)

      it("dump(value) pretty-prints a table for logs and survives recursion", function()
        s:open { { "hold" } }
        s.conn.myself = s.conn
        local text = luws.dump { a = 1, conn = s.conn }
        assert.truthy(text:find("a=1", 1, true) and text:find("myself=(recursion)", 1, true), text)
        assert.truthy(text:find(('proto="%s"'):format(scheme), 1, true), text)
      end)
    end)

    describe("found broken in LuWS:", function()
      it("debug logging through a whole conversation, and its own errors, on each interpreter", function()
        local lines = {}
        rawset(_G, "luup", { log = function(text, level) lines[#lines + 1] = level .. text end })
        luws.debug_mode = true
        local ok, why = pcall(function()
          s:open({ { "send", "\137\1p\1\1a\128\1b\129\0\136\2\3\232" }, { "read_frame", 4 } },
            { handler_args = { 1, nil, 3 } })
          assert(luws.wssend(s.conn, 1, ("%s%d"):rep(100)))
          assert(luws.wssend(s.conn, 9))
          s:poll()
          luws.wsclose(s.conn)
        end)
        luws.debug_mode = false
        assert.is_true(ok, why)
        assert.is_true(#lines > 8, #lines)
        for _, line in ipairs(lines) do assert.matches("^50luws: ", line) end
        assert.same({ { 1, "ab", 1, nil, 3 }, { 1, "", 1, nil, 3 }, { false, CLOSED, 1, nil, 3 } }, s.told)
      end)

      it("64 KiB took 16.5 ms to mask", function()
        s:open { { "hold" } }
        local data, best = ("x"):rep(65535), math.huge
        for _ = 1, 20 do
          local started = luws.gettime()
          assert(luws.wssend(s.conn, 2, data))
          best = math.min(best, luws.gettime() - started)
        end
        assert.is_true(best < 0.008, best)
      end)

      it("fragments were concatenated in quadratic time", function()
        -- 40,000 fragments of 100 bytes: copying the message so far at each of them would move 80 GB
        local count, piece = 40000, ("y"):rep(100)
        s:open({ { "hold" } }, { max_payload_size = count * 100 })
        assert(luws.wshandleincoming("\2\0", s.conn))
        local batch = ("\0\100" .. piece):rep(100)
        local started = luws.gettime()
        for _ = 1, count / 100 do assert(luws.wshandleincoming(batch, s.conn)) end
        assert(luws.wshandleincoming("\128\0", s.conn))
        assert.is_true(luws.gettime() - started < 2)
        assert.is_true(s.told[1][1] == 2 and s.told[1][2] == piece:rep(count))
      end)

      it("an LTN12 send ignored failed frames", function()
        s:open { { "send", "\136\0" }, { "read_frame" }, { "close" } }
        local pulled = 0
        local ok, why = luws.wssend(s.conn, 1, function()
          pulled = pulled + 1
          if pulled == 2 then s:poll() end -- the peer's end comes midway
          return pulled < 10 and "chunk" or nil
        end)
        assert.same({ false, "not connected" }, { ok, why })
        assert.is_true(pulled <= 3, pulled)
      end)
    end)

    describe("how real programs call it:", function()
      it("pcall(luws.wsreceive, conn) in a loop while res and more; wsclose and a new wsopen at the end", function()
        s:open { { "send", ("\129\1x"):rep(20) }, { "close" } }
        local ends, count = 0, 0
        s.conn.msghandler = function(c, opcode, data)
          if opcode == false then
            ends = ends + 1
            assert.equal("lost: " .. CLOSED, "lost: " .. data)
            luws.wsclose(c) -- from within the handler
          else
            count = count + 1
          end
        end
        local deadline = luws.gettime() + 10
        repeat
          local res, more, err
          repeat res, more, err = pcall(luws.wsreceive, s.conn) until not (res and more)
          assert.is_true(res, more)
          if more == nil then assert.equal("string", type(err)) end
          luws.wswait(s.conn, 0.1) -- once a second, in a hub
        until more == nil or luws.gettime() > deadline
        assert.same({ 20, 1 }, { count, ends })
        -- From Lua 5.3 on os.difftime takes whole numbers only, so there it is a subtraction.
        local since = rawget(math, "type") and function(a, b) return a - b end or os.difftime
        assert.is_true(since(os.time(), luws.wslastping(s.conn)) < 90)
        local err
        s.conn, err = luws.wsopen(s.peer.url, function() end, { upgrade_headers = {} })
        assert.is_true(s.conn.connected)
        assert.is_nil(err)
      end)

      it("conn, err = wsopen(url, handler, {upgrade_headers = headers}); if not err then ...", function()
        s:open { { "hold" } }
        local count, opened, err = (function(...) return select("#", ...), ... end)(
          luws.wsopen(s.peer.url, function() end, { upgrade_headers = { ["X-Token"] = "t\r\n" }, close_timeout = 0 }))
        assert.same({ 1, nil }, { count, err })
        assert.equal("t", s.peer:at(2, 2).headers["x-token"])
        luws.wsclose(opened)
      end)

      it('wssend(conn, 0x09, "") as a keepalive', function()
        local pongs = 0
        s.conn = assert(luws.wsopen(servers.url("demo", scheme, "/echo"), nil, {
          control_handler = function(_, opcode) if opcode == 10 then pongs = pongs + 1 end end,
        }))
        local before = luws.wslastping(s.conn)
        assert.is_true(luws.wssend(s.conn, 0x09, ""))
        s:poll(function() return pongs == 1 end)
        assert.equal(1, pongs)
        assert.is_true(luws.wslastping(s.conn) > before)
      end)

      it("several hundred KiB of JSON from an endpoint that fragments, with a self-signed certificate", function()
        local json = ('{"id":12,"name":"caf\195\169 \226\130\172"},'):rep(12000)
        local bytes, at = {}, 1
        for _, size in ipairs { 1, 65535, 100000, 4096, 0 } do -- characters are cut, too
          local piece = json:sub(at, at + size - 1)
          bytes[#bytes + 1] = scripted.frame { opcode = at == 1 and 1 or 0, fin = false, payload = piece }
          at = at + size
        end
        bytes[#bytes + 1] = scripted.frame { opcode = 0, payload = json:sub(at) }
        s:open({ { "pieces", table.concat(bytes), 30000, 0.0001 }, { "hold" } }, { max_payload_size = 2 ^ 20 })
        local deadline = luws.gettime() + 10
        repeat
          local res, more
          repeat res, more = pcall(luws.wsreceive, s.conn) until not (res and more)
          if not s.told[1] then luws.wswait(s.conn, 1) end
        until s.told[1] or luws.gettime() > deadline
        assert.is_true(#json > 300000 and s.told[1][1] == 1 and s.told[1][2] == json)
      end)
    end)
  end)
end
