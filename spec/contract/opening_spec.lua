-- The promises that a plugin written for LuWS relies on, over ws and over wss: loading and wsopen. The names of the
-- tests are the promises. The other files of this folder cover options, messages, handlers and bugs of LuWS that are
-- fixed here; the hard cases are in the specs of the parts.

local log = require "spec.support.log"
local luws = require "luws"
local memory_socket = require "spec.support.memory_socket"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local session = require "spec.support.session"
local socket = require "socket"
local world = require "spec.support.world"
local compat = require "spec.support.compat"
local unpack = compat.unpack

local ROOT = debug.getinfo(1, "S").source:match "^@(.*)spec/contract/opening_spec%.lua$" or ""

local function ignore() end

--- Creates a connect function that connects to this peer, whatever the URL says; `asked` records its arguments.
local function connect_to(peer, asked)
  return function(host, port)
    asked.host, asked.port = host, port
    return socket.connect("127.0.0.1", peer.port)
  end
end

setup(function() log.spend_warning(luws) end)

for _, scheme in ipairs { "ws", "wss" } do
  describe(("a plugin written for LuWS relies on this over %s:"):format(scheme), function()
    local tls = scheme == "wss"
    local s = session.new(luws, { tls = tls })

    after_each(function()
      s:close()
      log.stop()
    end)

    describe("loading,", function()
      it("every function is callable through pcall, from any coroutine", function()
        local got
        local function step(name, ...)
          local results = { coroutine.wrap(function(...) return pcall(luws[name], ...) end)(...) }
          collectgarbage() -- the coroutine is gone
          assert.is_true(results[1], name)
          return unpack(results, 2, 4)
        end
        s.conn = step("wsopen", servers.url("demo", scheme, "/echo"), function(_, ...) got = { ... } end)
        assert.equal("table", type(s.conn))
        assert.is_true(step("wssend", s.conn, 1, "hello"))
        local deadline = luws.gettime() + 10
        repeat
          step("wswait", s.conn, 1)
          assert.is_boolean((step("wsreceive", s.conn)))
        until got or luws.gettime() > deadline
        assert.same({ 1, "hello" }, got)
        assert.is_true(step("wshandleincoming", "\129\2hi", s.conn))
        assert.same({ 1, "hi" }, got)
        assert.is_true(step("wslastping", s.conn) > 0)
        assert.is_nil(step("wsreset", s.conn))
        assert.equal("string", type(step("dump", s.conn)))
        assert.is_nil(step("wsclose", s.conn))
        assert.same({ false, "not connected" }, { step("wssend", s.conn, 1, "x") })
      end)

      it("errors are Lua strings everywhere", function()
        local refused = scripted.refused { tls = tls }
        s:new_peer { { "upgrade", status = "HTTP/1.1 500 Oops" }, { "close" } }
        local function reason_of(...) return (select(2, ...)) end
        local reasons = {
          reason_of(pcall(luws.wsopen, 5)),
          reason_of(luws.wsopen(refused.url, ignore)),
          reason_of(luws.wsopen(s.peer.url, ignore)),
          reason_of(luws.wsopen(s.peer.url, ignore, { receive_timeout = {} })),
        }
        refused:close()
        s:open { { "send", "\131\0" }, { "hold" } }
        reasons[5] = reason_of(luws.wssend(s.conn, 3, "x"))
        reasons[6] = reason_of(luws.wssend(s.conn, 1, function() return nil, setmetatable({}, {}) end))
        reasons[7] = select(3, s:await(1))
        reasons[8] = s.told[1][2]
        reasons[9] = reason_of(luws.wsreceive(s.conn))
        reasons[10] = reason_of(luws.wssend(s.conn, 1, "x"))
        for i = 1, 10 do
          assert.equal("string", type(reasons[i]), i)
          assert.is_true(#("..." .. reasons[i]) > 3, i)
        end
      end)

      it("several plugins load their own copy under their own names, and do not disturb one another", function()
        local logged, plugins = {}, {}
        rawset(_G, "luup", { log = function(text, level) logged[#logged + 1] = level .. " " .. text end })
        for i, name in ipairs { "L_One_LuWS", "L_Two_LuWS" } do
          local stub = assert(loadfile(ROOT .. "lua/L_MyPlugin_LuWS.lua"))
          local plugin = { got = {}, module = compat.setfenv(stub, setmetatable({}, { __index = _G }))(name) }
          plugins[i] = plugin
          plugin.conn = assert(plugin.module.wsopen(servers.url("demo", scheme, "/echo"), function(c, _, data)
            assert(c == plugin.conn)
            plugin.got[#plugin.got + 1] = data
            if i == 1 then error "the first one's mistake" end
          end))
        end
        local one, two = unpack(plugins)
        one.module.debug_mode = true
        for i, plugin in ipairs(plugins) do assert(plugin.module.wssend(plugin.conn, 1, "hello " .. i)) end
        one.module.wssend, one.module.extra = nil, true -- only in its own copy
        for i, plugin in ipairs(plugins) do
          assert.is_true(poll(plugin.module, plugin.conn, function() return plugin.got[1] ~= nil end))
          assert.same({ "hello " .. i }, plugin.got)
        end
        assert.same({ "function", "nil" }, { type(two.module.wssend), type(two.module.extra) })
        for _, plugin in ipairs(plugins) do plugin.module.wsclose(plugin.conn) end
        local levels = {}
        for _, line in ipairs(logged) do levels[line:match "^%d+ [^:]*"] = true end
        assert.same({ ["50 L_One_LuWS"] = true, ["1 L_One_LuWS"] = true }, levels)
        for _, name in ipairs { "L_One_LuWS", "L_Two_LuWS" } do rawset(_G, name, nil) end
      end)

      for _, to in ipairs { "luup.log(msg, level) where a global luup exists", "otherwise print(level, msg)" } do
        it("debug_mode is read at each call; level 50 normal, 2 warning, 1 error, to " .. to, function()
          local logged, real_print = {}, _G.print
          local function record(message, level) logged[#logged + 1] = { level, (message:gsub("^luws: ", "")) } end
          s:open { { "send", "\129\1x" }, { "hold" } }
          s.conn.msghandler = function() error "its mistake" end
          if to:match "^luup" then
            rawset(_G, "luup", { log = record })
          else
            _G.print = function(level, message) record(message, level) end
          end
          local ok, why = pcall(function()
            assert(luws.wssend(s.conn, 1, "silent"))
            assert.same({}, logged)
            luws.debug_mode = true
            assert(luws.wssend(s.conn, 1, "logged"))
            assert.equal(50, logged[1] and logged[1][1])
            luws.debug_mode = false
            logged = {}
            s:poll(function() return logged[1] end)
            luws.wsclose(s.conn, 1006) -- a code that no close frame may carry
          end)
          _G.print, luws.debug_mode = real_print, false
          assert.is_true(ok, why)
          assert.same({ 1, 2, 2 }, { logged[1][1], logged[2][1], #logged })
          assert.matches("its mistake\nstack traceback:", logged[1][2])
        end)
      end
    end)

    describe("wsopen,", function()
      it("success: one value, a table, the same identity that handlers get; no handler is called within it", function()
        local key, seen = {}, {}
        s:new_peer { { "upgrade", tail = "\129\1a" }, { "wait" }, { "send", "\129\1b" }, { "hold" } }
        local results = { luws.wsopen(s.peer.url, function(...) seen[#seen + 1] = { ... } end, { close_timeout = 0 }) }
        s.conn = results[1]
        assert.same({ 1, "table", 0 }, { #results, type(s.conn), #seen })
        s.conn.my_field, key[s.conn] = 42, "found" -- a table key, with fields of the plugin's own
        assert.is_true(s:poll(function() return seen[1] ~= nil end))
        assert.is_true(rawequal(s.conn, seen[1][1]))
        assert.same({ 42, "found" }, { seen[1][1].my_field, key[seen[1][1]] })
        s.conn.msghandler = function(_, _, data) seen[2] = "replaced " .. data end
        s.peer:go()
        s:poll(function() return seen[2] end)
        assert.equal("replaced b", seen[2])
      end)

      it("tostring(conn) is luws-websock[host:port]; the fields are readable", function()
        local options = { close_timeout = 0 }
        local started = socket.gettime()
        s:new_peer { { "upgrade" }, { "read_frame" }, { "close" } }
        s.conn = assert(luws.wsopen(s.peer.url .. "a?b=c", ignore, options))
        assert.equal(("luws-websock[%s:%d]"):format(s.peer.host, s.peer.port), tostring(s.conn))
        assert.same({ true, false, scheme, s.peer.host, s.peer.port, "/a?b=c" },
          { s.conn.connected, s.conn.closing, s.conn.proto, s.conn.ip, s.conn.port, s.conn.path })
        assert.is_true(rawequal(options, s.conn.options) and rawequal(ignore, s.conn.msghandler))
        assert.is_true(s.conn.socket:getfd() >= 0)
        for _, field in ipairs { "lastMessage", "lastPing" } do
          assert.is_true(s.conn[field] >= started - 0.1 and s.conn[field] <= socket.gettime() + 0.1, field)
        end
        luws.wsclose(s.conn)
        s.conn = assert(luws.wsopen(s.peer.url)) -- nil options are fine
        assert.same({ "table", nil }, { type(s.conn.options), s.conn.msghandler })
      end)

      it("conn.options is read live: changing receive_timeout, handler_args or control_handler later works", function()
        s:open { { "wait" }, { "send", "\137\1p\129\1m" }, { "hold" } }
        local controls = {}
        s.conn.options.handler_args = { "later" }
        s.conn.options.control_handler = function(_, ...) controls[#controls + 1] = { ... } end
        s.peer:go()
        s:await(1)
        assert.same({ s.conn, 1, "m", "later", n = 4 }, s.calls[1])
        assert.same({ { 9, "p", "later" } }, controls)
        s.conn.options.receive_timeout = 0.02
        local _, more, why = s:await(2)
        assert.same({ s.conn, false, "message timeout", "later", n = 4 }, s.calls[2])
        assert.same({ nil, "message timeout" }, { more, why })
      end)

      it('failure: false, "message", never false, nil', function()
        local refused = scripted.refused { tls = tls }
        assert.same({ false, ("Connection to %s:%d failed: connection refused"):format(refused.host, refused.port) },
          { luws.wsopen(refused.url, ignore) })
        refused:close()
        for _, case in ipairs {
          { { "upgrade", status = "HTTP/1.1 401 Unauthorized" }, "upgrade failed; HTTP/1.1 401 Unauthorized" },
          { { "hold" }, "upgrade failed; timeout", { upgrade_timeout = 0.05 } },
          { { "close" }, "upgrade failed; the peer closed the connection" .. (tls and "" or " (is it wss?)") },
        } do
          s:new_peer { case[1] }
          local result, message = luws.wsopen(s.peer.url, ignore, case[3])
          assert.same({ false, case[2] }, { result, message })
        end
        if not tls then return end
        for _, case in ipairs {
          { { { "send", "no TLS at all" }, { "hold" } } },
          { { tls = true, { "hold" } }, { ssl_verify = "peer" } },
          { { { "close" } } },
        } do
          local other = scripted.peer(case[1])
          local result, message = luws.wsopen(other.url:gsub("^ws:", "wss:"), ignore, case[2])
          other:close()
          assert.is_false(result)
          assert.matches("^Failed SSL negotation: .", message)
        end
      end)

      it("a URL that is not a string or not ws:// or wss:// raises; fragments are rejected", function()
        for _, url in ipairs {
          false, 5, {}, "", "http://h/", scheme, scheme .. ":h", scheme .. "://h/#x", "x" .. scheme .. "://h/",
        } do
          local ok, err = pcall(luws.wsopen, url, ignore)
          assert.is_false(ok)
          assert.matches("Invalid protocol/address for WebSocket open in URL", err, 1, true)
        end
      end)

      -- after the scheme; the host and the port to connect to, the target, the Host header, and Authorization
      local default = tls and 443 or 80
      for name, case in pairs {
        ["ports default to 80/443, an empty path is /"] = { "hub.example", "hub.example", default, "/", "hub.example" },
        ["the default port is not in Host"] = { "h:" .. default .. "/", "h", default, "/", "h" },
        ["another port is"] = { "h:8080/p", "h", 8080, "/p", "h:8080" },
        ["the query is sent as is"] = { "h/a/b?c=d&e=%2f+g%20", "h", default, "/a/b?c=d&e=%2f+g%20", "h" },
        ["a query without a path"] = { "h?x=1", "h", default, "/?x=1", "h" },
        ["percent-encoding stays"] = { "h/%41%20b", "h", default, "/%41%20b", "h" },
        ["IPv6 literals"] = { "[::1]:81/", "::1", 81, "/", "[::1]:81" },
        ["userinfo is Basic auth"] = { "u:p%3Aw@h/", "h", default, "/", "h", "Basic dTpwOnc=" },
        ["IDN"] = { "b\195\188cher.example/", "xn--bcher-kva.example", default, "/", "xn--bcher-kva.example" },
      } do
        it("URLs: " .. name, function()
          s:new_peer { { "upgrade" }, { "hold" } }
          for _, spelt in ipairs { scheme, scheme:upper() } do -- upper-case schemes
            local asked = {}
            s.conn = assert(luws.wsopen(spelt .. "://" .. case[1], ignore,
              { connect = connect_to(s.peer, asked), close_timeout = 0 }))
            assert.same({ case[2], case[3] }, { asked.host, asked.port })
            assert.same({ scheme, case[2], case[3], case[4] }, { s.conn.proto, s.conn.ip, s.conn.port, s.conn.path })
            local number = spelt == scheme and 1 or 2
            local seen = s.peer:at(2, number)
            assert.equal(("GET %s HTTP/1.1"):format(case[4]), seen.request_line)
            assert.same({ case[5], case[6] }, { seen.headers.host, seen.headers.authorization })
            luws.wsclose(s.conn)
          end
        end)
      end

      it("frames that directly follow the response are delivered by the next wsreceive", function()
        s:open { { "upgrade", tail = "\129\1a\130\1b" }, { "hold" } }
        assert.same({ false, 6 }, { luws.wsreceive(s.conn) })
        assert.same({ { 1, "a" }, { 2, "b" } }, s.told)
      end)

      it("key and mask bytes do not come from math.random: equal seeds repeat nothing", function()
        local keys, masks, count = {}, {}, 8
        s:new_peer { { "upgrade" }, { "read_frame" }, { "hold" } }
        for i = 1, count do
          math.randomseed(1)
          s.conn = assert(luws.wsopen(s.peer.url, ignore, { close_timeout = 0 }))
          assert(luws.wssend(s.conn, 1, "same"))
          local seen = s.peer:at(3, i)
          local key, mask = seen.headers["sec-websocket-key"], seen.frames[1].key
          assert.is_nil(keys[key] or masks[mask])
          keys[key], masks[mask] = true, true
          luws.wsclose(s.conn)
        end
      end)

      it(("time-outs are by default %s, also with the user's own socket"):format(
        tls and "15 s for the connection" or "5 s for the upgrade"), function()
        for _, of_users in ipairs { false, true } do
          local m = world.session()
          m:new_peer { { "hold" } }
          assert.same({ false, tls and "Failed SSL negotation: timeout" or "upgrade failed; timeout" }, {
            m.luws.wsopen(scheme .. "://peer.test/", ignore, {
              connect = of_users and memory_socket.connecting(m, {}) or nil,
            }),
          })
          assert.near(tls and 15 or 5, m.world.clock.now(), 1e-6)
        end
      end)

      it("TCP keepalive is switched on, and Nagle off", function()
        s:open { { "hold" } }
        local same = socket.tcp()
        same:setfd(s.conn.socket:getfd())
        local keepalive, no_delay = same:getoption "keepalive", same:getoption "tcp-nodelay"
        same:setfd(-1)
        assert.same({ true, true }, { keepalive, no_delay })
      end)
    end)
  end)
end
