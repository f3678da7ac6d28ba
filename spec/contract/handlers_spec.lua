-- What a plugin written for LuWS relies on, promise by promise, each over ws and over wss: handlers, the end, what was
-- found broken in LuWS, and how programs are known to call it. The closing handshake is in ../close_spec.lua.

local child = require "spec.support.child"
local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local CLOSED = "receiver error: closed"

setup(function()
  -- The first server that is not verified is warned of, once in a process: not within a test that reads the log.
  rawset(_G, "luup", { log = function() end })
  luws.wsclose(luws.wsopen(servers.url("demo", "wss", "/echo")))
  rawset(_G, "luup", nil)
end)

for _, scheme in ipairs { "ws", "wss" } do
  describe(("a plugin written for LuWS relies on this over %s:"):format(scheme), function()
    local tls = scheme == "wss"
    local conn, peer, told

    --- A connection to a peer that plays these steps behind the upgrade; `told` gets what the handler is given.
    local function open(steps, options)
      local script = { tls = tls, { "upgrade" } }
      for _, step in ipairs(steps) do script[#script + 1] = step end
      if peer then peer:close() end
      peer = scripted.peer(script)
      told = {}
      options = options or {}
      options.close_timeout = options.close_timeout or 0 -- most scripts do not answer
      conn = assert(luws.wsopen(peer.url, function(...) told[#told + 1] = { n = select("#", ...), ... } end, options))
      return conn
    end

    --- What the handler was given, without the connection, which is always the same.
    local function messages()
      local list = {}
      for i, call in ipairs(told) do
        assert.is_true(rawequal(conn, call[1]))
        list[i] = { call[2], call[3] }
      end
      return list
    end

    local function await(count) return poll(luws, conn, function() return told[count] end) end

    --- The first frames that the peer gets, when it has got to that step, as { opcode, payload }.
    local function frames_at(step)
      local list = {}
      for i, frame in ipairs(peer:at(step).frames) do list[i] = { frame.opcode, frame.payload } end
      return list
    end

    after_each(function()
      luws.wsclose(conn)
      if peer then peer:close() end
      conn, peer = nil, nil
      rawset(_G, "luup", nil)
    end)

    describe("handlers,", function()
      it("opcode 1 or 2 with the whole message, always the first frame's, or false with an error text", function()
        open {
          { "send", "\129\1a\130\2\0\255\2\1b\0\1c\128\1d\1\0\128\1e\1\0\0\0\128\0\129\0" }, { "close" },
        }
        poll(luws, conn)
        assert.same({
          { 1, "a" }, { 2, "\0\255" }, { 2, "bcd" },
          { 1, "e" }, { 1, "" }, -- an empty first fragment is the first fragment, too
          { 1, "" }, { false, CLOSED },
        }, messages())
      end)

      it("control_handler: before the default handling; returning exactly false suppresses it", function()
        local returns = { f = false, n = nil, t = true, z = 0, e = "" }
        open({ { "send", "\137\1f\137\1n\137\1t\137\1z\137\1e\136\2\3\233" }, { "read_frame", 5 }, { "hold" } }, {
          control_handler = function(_, opcode, data)
            if opcode == 9 then return returns[data] end
          end,
        })
        poll(luws, conn)
        -- all but the first are answered, each ping with the same payload, the close frame with its code
        assert.same({ { 10, "n" }, { 10, "t" }, { 10, "z" }, { 10, "e" }, { 8, "\3\233" } }, frames_at(4))
        assert.same({ { false, CLOSED } }, messages())
      end)

      it("control_handler: false suppresses the default for close, too", function()
        open({ { "send", "\136\2\3\233" }, { "wait" }, { "hold" } }, { control_handler = function() return false end })
        luws.wswait(conn, 5)
        assert.is_not_nil((luws.wsreceive(conn)))
        assert.same({ {}, true, 0 }, { messages(), conn.connected, conn.bufferedAmount })
      end)

      it("default for pong: nothing", function()
        open { { "send", "\138\1x\129\1m" }, { "read_frame" }, { "hold" } }
        await(1)
        assert.same({ { 1, "m" } }, messages())
        assert(luws.wssend(conn, 1, "first"))
        assert.same({ { 1, "first" } }, frames_at(4))
      end)

      it("default for close: marked closing, the code echoed, then the handler; told of the end once", function()
        open { { "send", "\136\6\15\161four" }, { "read_frame" }, { "close" } }
        local state
        conn.msghandler = function(c, ...)
          told[#told + 1] = { c, ... }
          state = { c.closing, c.connected, c.close_code, c.close_reason, c.was_clean }
        end
        local _, more, why = poll(luws, conn)
        assert.same({ nil, "closed" }, { more, why })
        assert.same({ true, false, 4001, "four", true }, state)
        for _ = 1, 3 do assert.same({ nil, "closed" }, { luws.wsreceive(conn) }) end
        assert.same({ { false, CLOSED } }, messages())
        assert.same({ { 8, "\15\161" } }, frames_at(4))
      end)

      it("1006 where no close frame came", function()
        for _, ending in ipairs { { "close" }, { "reset" }, { "send", "\131\0" } } do
          open { ending, ending[1] == "send" and { "hold" } or nil }
          poll(luws, conn)
          assert.same({ 1006, "", false, false },
            { conn.close_code, conn.close_reason, conn.was_clean, conn.connected })
          assert.equal(1, #told)
        end
      end)
    end)

    describe("the end,", function()
      it("wsclose is safe at any time, any number of times, with nil too; sends a close frame if none was", function()
        luws.wsclose(nil)
        for _, before in ipairs {
          function() end,
          function() assert(luws.wssend(conn, 8, "")) end,
          function() assert.has_error(function() luws.wssend(conn, 1, error) end) end,
        } do
          open { { "read_frame" }, { "hold" } }
          before()
          for _ = 1, 3 do luws.wsclose(conn) end
          assert.same({ false, -1 }, { conn.connected, conn.socket:getfd() })
          local seen = peer:result()
          assert.equal(1, #seen.frames)
          assert.equal(8, seen.frames[1].opcode)
          assert.is_truthy(seen.eof)
          assert.same({}, messages())
        end
      end)

      it("wsclose does not block for longer than a bounded, short time", function()
        open({ { "wait" } }, { send_timeout = 0 })
        conn.options.close_timeout = nil -- the default
        luws.wssend(conn, 2, ("x"):rep(12 * 1024 * 1024)) -- more than the sockets hold, and nobody reads
        local started = luws.gettime()
        luws.wsclose(conn)
        assert.is_true(luws.gettime() - started < 2)
        assert.is_false(conn.connected)
      end)

      it("a connection that is simply dropped frees its socket: garbage-collected, or the Lua state closed", function()
        open { { "read_to_eof" } }
        conn = nil
        collectgarbage()
        collectgarbage()
        assert.is_truthy(peer:result().eof)
        local output, status = child.program([[
          luup = { log = function() end } -- warnings are not what is looked at
          print(require "luws".wsopen(arg[1]) and "open")
        ]], peer.url)
        assert.same({ "open\n", 0 }, { output, status })
        assert.is_truthy(peer:result(2).eof)
      end)
    end)

    describe("the rest,", function()
      it("wsreset forgets the partly received message and frame; wshandleincoming feeds raw bytes", function()
        open { { "hold" } }
        for _, part in ipairs { "\129", "\129\126\1", "\129\9part", "\1\4part", "\1\4part\128\9rest", "\137\9pi" } do
          assert.is_true(luws.wshandleincoming(part, conn))
          luws.wsreset(conn)
          assert.is_true(luws.wshandleincoming("\130\2ok", conn))
        end
        assert.same({ { 2, "ok" }, { 2, "ok" }, { 2, "ok" }, { 2, "ok" }, { 2, "ok" }, { 2, "ok" } }, messages())
        luws.wshandleincoming("\136\0", conn)
        assert.same({ false, CLOSED }, messages()[7])
        assert.same({ nil, "closed" }, { luws.wshandleincoming("\129\1x", conn) })
        luws.wsreset(conn)
        luws.wsreset(nil)
      end)

      it("wslastping(conn) is the time of the last complete frame, 0 for nil, usable as an os.time() number", function()
        open { { "wait" }, { "send", "\137\0" }, { "wait" }, { "send", "\129\9half" }, { "hold" } }
        local opened = luws.wslastping(conn)
        assert.is_true(math.abs(os.difftime(os.time(), opened)) < 2)
        peer:go()
        poll(luws, conn, function() return luws.wslastping(conn) > opened end)
        local heard = luws.wslastping(conn)
        peer:go()
        luws.wswait(conn, 5)
        luws.wsreceive(conn)
        assert.equal(heard, luws.wslastping(conn)) -- half a frame is none
        assert.equal(0, luws.wslastping(nil))
      end)

      it("dump(value) pretty-prints a table for logs and survives recursion", function()
        open { { "hold" } }
        conn.myself = conn
        local text = luws.dump { a = 1, conn = conn }
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
          open({ { "send", "\137\1p\1\1a\128\1b\129\0\136\2\3\232" }, { "read_frame", 4 } },
            { handler_args = { 1, nil, 3 } })
          assert(luws.wssend(conn, 1, ("%s%d"):rep(100)))
          assert(luws.wssend(conn, 9))
          poll(luws, conn)
          luws.wsclose(conn)
        end)
        luws.debug_mode = false
        assert.is_true(ok, why)
        assert.is_true(#lines > 8, #lines)
        for _, line in ipairs(lines) do assert.matches("^50luws: ", line) end
        assert.same({ { 1, "ab" }, { 1, "" }, { false, CLOSED } }, messages())
      end)

      it("64 KiB took 16.5 ms to mask", function()
        open { { "hold" } }
        local data, best = ("x"):rep(65535), math.huge
        for _ = 1, 20 do
          local started = luws.gettime()
          assert(luws.wssend(conn, 2, data))
          best = math.min(best, luws.gettime() - started)
        end
        assert.is_true(best < 0.008, best)
      end)

      it("fragments were concatenated in quadratic time", function()
        -- 40,000 fragments of 100 bytes: copying what came at each of them would move 80 GB
        local count, piece = 40000, ("y"):rep(100)
        open({ { "hold" } }, { max_payload_size = count * 100 })
        assert(luws.wshandleincoming("\2\0", conn))
        local batch = ("\0\100" .. piece):rep(100)
        local started = luws.gettime()
        for _ = 1, count / 100 do assert(luws.wshandleincoming(batch, conn)) end
        assert(luws.wshandleincoming("\128\0", conn))
        assert.is_true(luws.gettime() - started < 2)
        assert.is_true(told[1][2] == 2 and told[1][3] == piece:rep(count))
      end)

      it("an LTN12 send ignored failed frames", function()
        open { { "send", "\136\0" }, { "read_frame" }, { "close" } }
        local pulled = 0
        local ok, why = luws.wssend(conn, 1, function()
          pulled = pulled + 1
          if pulled == 2 then poll(luws, conn) end -- the peer's end comes midway
          return pulled < 10 and "chunk" or nil
        end)
        assert.same({ false, "not connected" }, { ok, why })
        assert.is_true(pulled <= 3, pulled)
      end)
    end)

    describe("how real programs call it:", function()
      it("pcall(luws.wsreceive, conn) in a loop while res and more; wsclose and a new wsopen at the end", function()
        open { { "send", ("\129\1x"):rep(20) }, { "close" } }
        local ends, count = 0, 0
        conn.msghandler = function(c, opcode, data)
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
          repeat res, more, err = pcall(luws.wsreceive, conn) until not (res and more)
          assert.is_true(res, more)
          if more == nil then assert.equal("string", type(err)) end
          luws.wswait(conn, 0.1) -- once a second, in a hub
        until more == nil or luws.gettime() > deadline
        assert.same({ 20, 1 }, { count, ends })
        assert.is_true(os.difftime(os.time(), luws.wslastping(conn)) < 90)
        local err
        conn, err = luws.wsopen(peer.url, function() end, { upgrade_headers = {} })
        assert.is_true(conn.connected)
        assert.is_nil(err)
      end)

      it("conn, err = wsopen(url, handler, {upgrade_headers = headers}); if not err then ...", function()
        open { { "hold" } }
        local count, opened, err = (function(...) return select("#", ...), ... end)(
          luws.wsopen(peer.url, function() end, { upgrade_headers = { ["X-Token"] = "t\r\n" }, close_timeout = 0 }))
        assert.same({ 1, nil }, { count, err })
        assert.equal("t", peer:at(2, 2).headers["x-token"])
        luws.wsclose(opened)
      end)

      it('wssend(conn, 0x09, "") as a keepalive', function()
        local pongs = 0
        conn = assert(luws.wsopen(servers.url("demo", scheme, "/echo"), nil, {
          control_handler = function(_, opcode) if opcode == 10 then pongs = pongs + 1 end end,
        }))
        local before = luws.wslastping(conn)
        assert.is_true(luws.wssend(conn, 0x09, ""))
        poll(luws, conn, function() return pongs == 1 end)
        assert.equal(1, pongs)
        assert.is_true(luws.wslastping(conn) > before)
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
        open({ { "pieces", table.concat(bytes), 30000, 0.0001 }, { "hold" } }, { max_payload_size = 2 ^ 20 })
        local deadline = luws.gettime() + 10
        repeat
          local res, more
          repeat res, more = pcall(luws.wsreceive, conn) until not (res and more)
          if not told[1] then luws.wswait(conn, 1) end
        until told[1] or luws.gettime() > deadline
        assert.is_true(#json > 300000 and told[1][2] == 1 and told[1][3] == json)
      end)
    end)
  end)
end
