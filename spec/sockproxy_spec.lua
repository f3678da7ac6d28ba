-- options.sockproxy, and LuWS's own recipe for SockProxy as options.connect: against a stand-in for the daemon
-- (support/sockproxy.py) that behaves well or fails in a chosen way.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local compat = require "spec.support.compat"
local world = require "spec.support.world"
local unpack = compat.unpack

local function unhex(digits)
  return digits == "-" and "" or (digits:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end))
end

--- Returns what the stand-in received since the last call: mode, state, pid, conn, before, between of each connection.
local function record()
  local control = assert(socket.connect("127.0.0.1", servers.start("sockproxy").control))
  control:settimeout(20)
  local seen = {}
  for line in assert(control:receive("*a")):gsub("end\n$", ""):gmatch("[^\n]+") do
    local mode, state, pid, conn, before, between = line:match("^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$")
    seen[#seen + 1] = { mode = mode, state = state, pid = unhex(pid), conn = unhex(conn), before = unhex(before),
      between = unhex(between) }
  end
  control:close()
  return seen
end

--- Returns options.sockproxy for a mode of the stand-in.
local function proxy(mode, fields)
  local result = { port = servers.start("sockproxy")[mode] }
  for name, value in pairs(fields or {}) do result[name] = value end
  return result
end

local got

local function handler(_, opcode, data) got = { opcode, data } end

local function assert_echo(conn, text)
  got = nil
  assert.is_true(luws.wssend(conn, 1, text))
  poll(luws, conn, function() return got end)
  assert.same({ 1, text }, got)
end

-- The log matters only where a test says so.
local logged
local function with_luup(f)
  logged = {}
  local before = rawget(_G, "luup")
  rawset(_G, "luup", { log = function(text, level) logged[#logged + 1] = { text, level } end })
  local results = { pcall(f) }
  rawset(_G, "luup", before)
  assert(results[1], results[2])
  return unpack(results, 2)
end

local function quietly(url, options)
  return with_luup(function() return luws.wsopen(url, handler, options) end)
end

describe("options.sockproxy", function()
  local conn

  before_each(record)

  after_each(function() luws.wsclose(conn) end)

  for _, scheme in ipairs { "ws", "wss" } do
    it("goes through SockProxy: " .. scheme, function()
      local url = servers.url("demo", scheme, "/echo")
      for _, mode in ipairs { "good", "bytes", "slow" } do
        conn = assert(luws.wsopen(url, handler, { sockproxy = proxy(mode, { required = true }) }))
        local seen = record()
        assert.same({ { mode = mode, state = "piped", pid = conn.sockproxy_pid, before = "", between = "",
          conn = ("CONN %s RTIM=0 PACE=0\n"):format(url:match("//([^/]+)")) } }, seen)
        assert.is_true(conn.proxied)
        assert.is_truthy(conn.sockproxy_pid:match("^%d+$"))
        assert_echo(conn, "Hello")
        assert_echo(conn, ("x"):rep(60000))
        luws.wsclose(conn)
        assert.is_true(luws.wswait(conn, 5))
        assert.same({ 1000, true }, { conn.close_code, conn.was_clean })
      end
    end)
  end

  it("states its settings in the CONN line", function()
    for _, case in ipairs {
      { {}, "RTIM=0 PACE=0" },
      { { rtim = 5000, pace = 2 }, "RTIM=5000 PACE=2" },
      { { action = "Other", pid = "unused" }, "RTIM=0 PACE=0" }, -- without a device there is nobody to notify
      { { device = 12, service = "urn:me:serviceId:X1" }, "NTFY=12/urn:me:serviceId:X1/HandleReceive RTIM=0 PACE=0" },
      { { device = 0, service = "s", action = "Go", pid = "mine", rtim = 1, pace = 3 },
        "NTFY=0/s/Go/mine RTIM=1 PACE=3" },
      { { device = 1000000, service = "s", pid = "7" }, "NTFY=1000000/s/HandleReceive/7 RTIM=0 PACE=0" },
    } do
      local url = servers.url("demo", "ws", "/echo")
      conn = assert(luws.wsopen(url, handler, { sockproxy = proxy("good", case[1]) }))
      assert.equal(("CONN %s %s\n"):format(url:match("//([^/]+)"), case[2]), record()[1].conn)
      luws.wsclose(conn)
    end
  end)

  it("uses the proxy's host, and lets the proxy look up the server's name", function()
    local url = servers.url("demo", "ws", "/echo"):gsub("127%.0%.0%.1", "localhost")
    conn = assert(luws.wsopen(url, handler, { sockproxy = proxy("good", { host = "localhost" }) }))
    assert.is_true(conn.proxied)
    assert.equal("CONN " .. url:match("//([^/]+)") .. " RTIM=0 PACE=0\n", record()[1].conn)
    assert.equal("localhost", conn.ip)
  end)

  it("is not used unless it is asked for", function()
    for _, given in ipairs { {}, { sockproxy = false } } do
      conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler, given))
      assert.same({ false, nil }, { conn.proxied, conn.sockproxy_pid })
      luws.wsclose(conn)
    end
    assert.same({}, record())
  end)

  it("is named when the server seems to break a rule, because SockProxy can lose bytes", function()
    local broken = scripted.peer { { "upgrade" }, { "send", "\193\0" }, { "hold" } }
    conn = assert(luws.wsopen(broken.url, handler, { sockproxy = proxy "good", close_timeout = 0 }))
    assert.is_true(conn.proxied)
    local _, _, why = poll(luws, conn)
    assert.equal("reserved bit set (RSV1) (through SockProxy, which can lose bytes)", why)
    broken:close()
  end)

  it("is not blamed for other options that are wrong", function()
    assert.same({ false, "bad option 'ssl_cafile': No such file or directory (/none)" },
      { quietly("wss://127.0.0.1:1/", { sockproxy = true, ssl_cafile = "/none" }) })
    assert.same({}, logged)
  end)

  it("true stands for all defaults, and connects whether or not there is a proxy", function()
    conn = assert(quietly(servers.url("demo", "ws", "/echo"), { sockproxy = true }))
    assert_echo(conn, "there")
  end)

  it("is checked", function()
    for _, case in ipairs {
      { 1, "bad option 'sockproxy' (boolean or table expected, got number)" },
      { { port = 0 }, "bad option 'sockproxy' (port: whole number from 1 to 65535 expected, got 0)" },
      { { port = "2504" }, "bad option 'sockproxy' (port: whole number from 1 to 65535 expected, got string)" },
      { { host = 1 }, "bad option 'sockproxy' (host: string expected, got number)" },
      { { device = 1.5, service = "s" }, "bad option 'sockproxy' (device: whole number from 0 up expected, got 1.5)" },
      { { device = 1 }, "bad option 'sockproxy' (service: missing)" },
      { { rtim = -1 }, "bad option 'sockproxy' (rtim: whole number from 0 up expected, got -1)" },
      { { required = 1 }, "bad option 'sockproxy' (required: boolean expected, got number)" },
      { { blks = 1 }, "bad option 'sockproxy' (blks: unknown)" },
    } do
      assert.same({ false, case[2] }, { luws.wsopen("ws://127.0.0.1:1/", handler, { sockproxy = case[1] }) })
    end
  end)

  -- mode, the fate of the connection there, and what wsopen says if the proxy is required
  local refused = scripted.refused()
  for _, case in ipairs {
    { "silent", "left", "SockProxy failed: timeout" },
    { "wrong", "failed", 'SockProxy failed: this is not SockProxy: "220 mail.example ESMTP"' },
    { "endless", "left", 'SockProxy failed: this is not SockProxy: "' .. ("OK TOGGLEDBITS-SOCKPROXY "):rep(3):sub(1, 60)
      .. '"' },
    { "closes", "failed", "SockProxy failed: the peer closed the connection" },
    { "busy", "failed", "SockProxy failed: TOOMANY too many connections" },
    { "refuses", "failed", "SockProxy failed: CONN target is not to my liking" },
    { "vanishes", "failed", "SockProxy failed: the peer closed the connection" },
    { "mute", "left", "SockProxy failed: timeout" },
    { "nobody", nil, ("SockProxy failed: Connection to 127.0.0.1:%d failed: connection refused"):format(refused.port) },
  } do
    local mode, state, problem = unpack(case)

    local function options(required)
      local given = proxy(mode, { required = required, timeout = state == "left" and 0.2 or nil })
      given.port = given.port or refused.port
      return { sockproxy = given, close_timeout = 0 }
    end

    it("connects directly, with a new socket, if the proxy is " .. mode, function()
      local peer = scripted.peer { { "upgrade" }, { "send", "\129\2hi" }, { "hold" } }
      conn = assert(quietly(peer.url, options()))
      assert.same({ false, nil }, { conn.proxied, conn.sockproxy_pid })
      got = nil
      poll(luws, conn, function() return got end)
      assert.same({ 1, "hi" }, got)
      assert.equal(1, peer:connections())
      local seen = record()
      assert.equal(state and 1 or 0, #seen)
      if state then
        assert.equal(state, seen[1].state)
        assert.same({ "", "" }, { seen[1].before, seen[1].between })
      end
      assert.same({ { ("luws: %s; connecting to 127.0.0.1:%d without it"):format(problem, peer.port), 2 } }, logged)
      peer:close()
    end)

    it("fails if it is required and the proxy is " .. mode, function()
      local peer = scripted.peer { { "upgrade" }, { "hold" } }
      local started = luws.gettime()
      local results = { luws.wsopen(peer.url, handler, options(true)) }
      assert.same({ false, problem }, results)
      local took = luws.gettime() - started
      if problem:match("timeout") then assert.is_true(took >= 0.19 and took < 5, took) end
      assert.equal(0, peer:connections())
      peer:close()
    end)
  end

  it("passes on what the proxy says about a server that refuses", function()
    local nobody = scripted.refused()
    local ok, why = luws.wsopen(nobody.url, handler, { sockproxy = proxy("good", { required = true }) })
    assert.is_false(ok)
    assert.is_truthy(why:match("^SockProxy failed: CONN .*refused"), why)
    ok, why = quietly(nobody.url, { sockproxy = proxy("good") })
    assert.same({ false, ("Connection to 127.0.0.1:%d failed: connection refused"):format(nobody.port) }, { ok, why })
  end)

  it("passes on what the proxy says on one line, without control characters", function()
    local w = world.new()
    w:play { { "send", "ERR \27[2Jgone\tor \194\155\n" }, { "hold" } }
    assert.same({ false, "SockProxy failed: \\x1b[2Jgone\\tor \\xc2\\x9b" },
      { w.luws.wsopen("ws://peer.test/", handler, { sockproxy = { required = true } }) })
  end)

  it("does not try again when the server itself refuses the upgrade or fails in TLS", function()
    local peer = scripted.peer { { "upgrade", status = "HTTP/1.1 403 Forbidden" }, { "close" } }
    local ok, why, response = luws.wsopen(peer.url, handler, { sockproxy = proxy("good") })
    assert.same({ false, "upgrade failed; HTTP/1.1 403 Forbidden" }, { ok, why:match("^[^\r\n]*") })
    assert.equal(403, response.status)
    assert.equal(1, peer:connections())
    local plain = servers.url("demo", "ws", "/echo"):gsub("^ws:", "wss:")
    ok, why = luws.wsopen(plain, handler, { sockproxy = proxy("good"), connect_timeout = 0.5 })
    assert.is_false(ok)
    assert.is_truthy(why:match("^Failed SSL negotation: "), why)
    local seen = record()
    assert.same({ 2, "piped", "piped" }, { #seen, seen[1].state, seen[2].state })
    peer:close()
  end)

  it("waits for a slow proxy for its own timeout, whatever connect_timeout is", function()
    local url = servers.url("demo", "ws", "/echo")
    conn = assert(luws.wsopen(url, handler, { connect_timeout = 0.3, sockproxy = proxy("slow", { timeout = 5 }) }))
    assert.is_true(conn.proxied)
  end)

  it("connects directly if SockProxy's grammar cannot express the request", function()
    local six = scripted.peer { address = "::1", { "upgrade" }, { "hold" } }
    conn = assert(quietly(six.url, { sockproxy = proxy("good"), close_timeout = 0 }))
    assert.is_false(conn.proxied)
    assert.same({}, record())
    assert.same({ false, "SockProxy failed: it cannot connect to an IPv6 address" },
      { luws.wsopen(six.url, handler, { sockproxy = proxy("good", { required = true }) }) })
    assert.same({}, record())
    six:close()
  end)

  it("rejects by name values that its grammar would misread, whether or not it is required", function()
    for name, words in pairs {
      host = { "a b", "\255", "" },
      service = { "a b", "a/b", "", "\255", "a\0", "a\n" },
      action = { "a\nCONN", "a/b", "", "\255" },
      pid = { " ", "1/2", "", "\255" },
    } do
      for _, word in ipairs(words) do
        for _, required in ipairs { true, false } do
          local options = proxy("good", { device = 1, service = "s", required = required })
          options[name] = word
          assert.same({ false, ("bad option 'sockproxy' (%s: visible ASCII without slashes expected)"):format(name) },
            { luws.wsopen("ws://127.0.0.1:1/", handler, { sockproxy = options }) })
        end
      end
    end
    assert.same({}, record())
  end)

  it("cannot be combined with a connect function, which is a route of its own", function()
    assert.same({ false, "bad option 'sockproxy' (cannot be combined with connect)" },
      { luws.wsopen(servers.url("demo", "ws", "/echo"), handler, { sockproxy = true, connect = socket.connect }) })
  end)
end)

-- Word for word what LuWS's README tells plugin authors to use.
local RECIPE = [[
local usingProxy = false -- declare global so other parts of our plugin know if proxy in use or not
function connect_sockproxy( ip, port, options )
	local sock = socket.tcp()
	if not sock then
		return nil, "Can't get socket for connection"
	end
	-- Try SockProxy plugin first
	sock:settimeout( 5 )
	local st,se = sock:connect( "127.0.0.1", 2504 )
	if st then
		local ans,ae = sock:receive("*l")
		if ans and ans:match("^OK TOGGLEDBITS%-SOCKPROXY") then
			sock:send( string.format("CONN %s:%d NTFY=%d/%s/%s RTIM=0 PACE=0\n",
				ip, port, NOTIFY_DEVICE, NOTIFY_SERVICE, NOTIFY_ACTION ) )
			ans,ae = sock:receive("*l")
			if ans and ans:match("^OK CONN") then
				-- Successful proxy connection! Return socket to LuWS
				usingProxy = true
				return sock
			end
		end
		-- Proxy negotiation failed; fallback to plain connect.
		sock:shutdown("both")
	end
	-- No good. Close socket, make a new one.
	luup.log("SockProxy connection attempt failed, using plain socket")
	sock:settimeout( 15 )
	local r, e = sock:connect( ip, port )
	if r then
		usingProxy = false
		return sock
	end
	sock:close()
	return nil, string.format("Connection to %s:%s failed: %s", ip, port, tostring(e))
end
]]

describe("LuWS's recipe for SockProxy", function()
  local conn

  --- Returns the recipe with the port of the stand-in, and a function that says whether it uses the proxy.
  local function recipe(port)
    local text, count = RECIPE:gsub("2504", port)
    assert.equal(1, count)
    local names = "local socket, NOTIFY_DEVICE, NOTIFY_SERVICE, NOTIFY_ACTION, connect_sockproxy = ...\n"
    local text_of_all = names .. text .. "return connect_sockproxy, function() return usingProxy end"
    local chunk = assert(compat.loadstring(text_of_all))
    return chunk(socket, 12, "urn:me:serviceId:X1", "HandleReceive")
  end

  before_each(record)

  after_each(function() luws.wsclose(conn) end)

  for _, scheme in ipairs { "ws", "wss" } do
    local url = servers.url("demo", scheme, "/echo")

    it("goes through the proxy: " .. scheme, function()
      for _, mode in ipairs { "good", "bytes", "slow" } do
        local connect, is_proxied = recipe(servers.start("sockproxy")[mode])
        conn = assert(luws.wsopen(url, handler, { connect = connect }))
        assert.is_true(is_proxied())
        local seen = record()[1]
        assert.same({ "piped", "", "" }, { seen.state, seen.before, seen.between })
        assert.equal(("CONN %s NTFY=12/urn:me:serviceId:X1/HandleReceive RTIM=0 PACE=0\n")
          :format(url:match("//([^/]+)")), seen.conn)
        assert_echo(conn, "Hello")
        assert_echo(conn, ("x"):rep(60000))
        luws.wsclose(conn)
        assert.equal(1000, conn.close_code_sent)
      end
    end)

    it("connects directly where there is no proxy: " .. scheme, function()
      local connect, is_proxied = recipe(scripted.refused().port)
      conn = assert(quietly(url, { connect = connect }))
      assert.is_false(is_proxied())
      assert.same({ { "SockProxy connection attempt failed, using plain socket" } }, logged)
      assert_echo(conn, "Hello")
      luws.wsclose(conn)
      assert.equal(1000, conn.close_code_sent)
    end)
  end

  it("has its own message passed on when it uses the same socket twice, which cannot work", function()
    local url = servers.url("demo", "ws", "/echo")
    for _, mode in ipairs { "wrong", "refuses" } do
      local ok, why = quietly(url, { connect = (recipe(servers.start("sockproxy")[mode])) })
      assert.is_false(ok)
      assert.equal(("Connection to %s failed: already connected"):format(url:match("//([^/]+)")), why)
    end
  end)
end)
