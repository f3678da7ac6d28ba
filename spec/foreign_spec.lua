-- options.connect: the user's own sockets (LuaSocket's, LuaSec's, or tables), over ws and wss.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local sockets = require "spec.support.sockets"
local ssl = require "ssl"
local compat = require "spec.support.compat"
local unpack = compat.unpack

local function direct(host, port) return socket.connect(host, port) end

--- Wraps a connection with LuaSec. It is verified: here that is up to the user.
local function with_tls(host, port)
  local plain = assert(socket.connect(host, port))
  local secure = assert(ssl.wrap(plain, { mode = "client", protocol = "any", verify = "none" }))
  secure:settimeout(10)
  assert(secure:dohandshake())
  return secure
end

--- Creates a table with only the four methods, over a socket. `calls` gets their names in order; `before`, if given,
-- is called in each of them.
local function table_over(inner, calls, before)
  local outer = {}
  for _, name in ipairs { "send", "receive", "settimeout", "close" } do
    outer[name] = function(self, ...)
      assert(self == outer)
      calls[#calls + 1] = name
      if before then before(name) end
      return inner[name](inner, ...)
    end
  end
  return outer
end

local function count(calls, name)
  local total = 0
  for _, call in ipairs(calls) do
    if call == name then total = total + 1 end
  end
  return total
end

local got

local function handler(_, opcode, data) got[#got + 1] = { opcode, data } end

--- Opens a connection whose socket raises an error in receive while unplugged. Returns it and a setter for that.
local function pluggable()
  local is_unplugged = false
  local conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler, {
    close_timeout = 0,
    connect = function(host, port)
      return table_over(direct(host, port), {}, function(name)
        if is_unplugged and name == "receive" then error("unplugged", 0) end
      end)
    end,
  }))
  return conn, function(now) is_unplugged = now end
end

local function echo(conn, text)
  got = {}
  assert.same({ true }, { luws.wssend(conn, 2, text) })
  poll(luws, conn, function() return got[1] end)
  assert.is_true(#got == 1 and got[1][1] == 2 and got[1][2] == text)
end

describe("options.connect", function()
  local conn, peer

  before_each(function() got = {} end)

  after_each(function()
    luws.wsclose(conn)
    if peer then peer:close() end
  end)

  it("gets host, port and the caller's own options, once", function()
    for _, case in ipairs { { "ws", "127.0.0.1" }, { "wss", "localhost" } } do
      local url = servers.url("demo", case[1], "/echo")
      local calls = {}
      local options = {
        connect = function(...)
          calls[#calls + 1] = { n = select("#", ...), ... }
          return direct(...)
        end,
      }
      conn = assert(luws.wsopen(url, handler, options))
      assert.equal(1, #calls)
      assert.same({ 3, case[2], servers.start("demo")[case[1]] }, { calls[1].n, calls[1][1], calls[1][2] })
      assert.equal("number", type(calls[1][2]))
      assert.equal(options, calls[1][3])
      assert.equal(options, conn.options)
      luws.wsclose(conn)
    end
    local host
    luws.wsopen("ws://[::1]/", handler, { connect = function(h, port) host = h .. " " .. port end })
    assert.equal("::1 80", host)
  end)

  local kinds = {
    { "a socket of LuaSocket", "ws", direct },
    { "a socket of LuaSocket", "wss", direct },
    { "a socket of LuaSocket with a time-out of its own", "ws", function(host, port)
      local inner = socket.connect(host, port)
      inner:settimeout(0.001)
      return inner
    end },
    { "a socket that LuaSec has secured", "ws to a wss port", with_tls },
    { "a table over a socket", "ws", function(...) return table_over(direct(...), {}) end },
    { "a table over a socket", "wss", function(...) return table_over(direct(...), {}) end },
    { "a table over a socket of LuaSec", "ws to a wss port", function(...) return table_over(with_tls(...), {}) end },
  }

  for _, kind in ipairs(kinds) do
    local name, scheme, connect = unpack(kind)
    it(("may return %s: %s"):format(name, scheme), function()
      local url = servers.url("demo", scheme:match("wss") or "ws", "/echo")
      if scheme:match("to a wss") then url = url:gsub("^wss", "ws") end
      local own
      conn = assert(luws.wsopen(url, handler, {
        connect = function(...)
          own = connect(...)
          return own
        end,
        max_payload_size = 2 ^ 21,
      }))
      assert.equal(own, conn.socket)
      assert.same({ false, 0 }, { luws.wsreceive(conn) })
      echo(conn, "")
      echo(conn, "Hello")
      echo(conn, ("0123456789abcdef"):rep(65536)) -- 1 MiB
      luws.wsclose(conn)
      assert.same({ 1000, "", false }, { conn.close_code_sent, conn.close_reason_sent, conn.connected })
      assert.equal("closed", (select(2, own:send("x"))))
    end)
  end

  for _, tls in ipairs { false, true } do
    local scheme = tls and "wss" or "ws"
    local ANSWER = "\136\5\15\161bye" -- 4001

    local function state()
      return { conn.close_code, conn.close_reason, conn.was_clean, conn.close_code_sent, conn.close_reason_sent }
    end

    it("is sent the close frame and closed before wsclose returns, not awaiting an answer: " .. scheme, function()
      peer = scripted.peer {
        tls = tls, { "upgrade" }, { "read_frame", 2 }, { "wait" }, { "send", ANSWER }, { "read_to_eof" },
      }
      local calls = {}
      conn = assert(luws.wsopen(peer.url, handler, {
        close_timeout = 30,
        connect = function(...) return table_over(direct(...), calls) end,
      }))
      assert.is_true(luws.wssend(conn, 1, "first"))
      luws.wsclose(conn, 4000, "enough")
      assert.same({ 1, "close" }, { count(calls, "close"), calls[#calls] })
      assert.same({ 1006, "", false, 4000, "enough" }, state())
      assert.is_true(luws.wswait(conn, 0)) -- nothing lingers
      local frames = peer:at(3).frames
      assert.same({ { 1, "first" }, { 8, scripted.close_payload(4000, "enough") } },
        { { frames[1].opcode, frames[1].payload }, { frames[2].opcode, frames[2].payload } })
      peer:go()
      peer:result()
      assert.same({ 1006, "", false, 4000, "enough" }, state())
      assert.same({}, got)
    end)

    it("ends cleanly if one receive returns the peer's answer: " .. scheme, function()
      peer = scripted.peer { tls = tls, { "upgrade" }, { "read_frame" }, { "send", ANSWER }, { "hold" } }
      local is_closing = false
      conn = assert(luws.wsopen(peer.url, handler, {
        connect = sockets.connecting {
          receive = function(inner, ...)
            if is_closing then assert(socket.select({ inner }, nil, 5)[1]) end -- the answer is there then
            return inner:receive(...)
          end,
        },
      }))
      luws.wsreceive(conn) -- to read any TLS session tickets
      is_closing = true
      luws.wsclose(conn)
      assert.same({ 4001, "bye", true, 1000, "" }, state())
      assert.same({}, got)
    end)
  end

  it("takes what it can at once, and is closed with the rest unsent", function()
    peer = scripted.peer { { "upgrade" }, { "read_to_eof" } }
    local room, calls = math.huge, {}
    conn = assert(luws.wsopen(peer.url, handler, {
      use_masking = false,
      send_timeout = 0,
      connect = function(host, port)
        local inner = assert(socket.connect(host, port))
        local own = table_over(inner, calls)
        function own.send(_, bytes)
          local taken = bytes:sub(1, math.min(room, #bytes))
          room = room - #taken
          if taken ~= "" then assert(inner:send(taken)) end
          if taken == bytes then return #bytes end
          return nil, "timeout", #taken
        end
        return own
      end,
    }))
    room = 4
    assert.is_true(luws.wssend(conn, 1, "Hello"))
    room = 5
    luws.wsclose(conn)
    assert.same({ 1, "close" }, { count(calls, "close"), calls[#calls] })
    local seen = peer:result()
    assert.equal("\129\5Hello\136\2", seen.raw:sub(#seen.head + 1))
  end)

  for _, tls in ipairs { false, true } do
    it("loses no bytes held in LuaSocket's own buffer: " .. (tls and "wss" or "ws"), function()
      -- a preamble and the bytes after it in one write; likewise the 101 and a frame
      peer = scripted.peer {
        { "read", 1 }, { "send", "READY\r\n" }, tls and { "tls" } or { "upgrade", tail = "\129\5Hello" },
        tls and { "upgrade", tail = "\129\5Hello" } or { "hold" }, { "hold" },
      }
      conn = assert(luws.wsopen(tls and peer.url:gsub("^ws", "wss") or peer.url, handler, {
        close_timeout = 0,
        connect = function(host, port)
          local own = assert(socket.connect(host, port))
          own:send("?")
          assert.equal("READY", own:receive("*l"))
          return own
        end,
      }))
      poll(luws, conn, function() return got[1] end)
      assert.same({ { 1, "Hello" } }, got)
    end)
  end

  it("loses no bytes that arrived together with the line that connect has read", function()
    -- Here the server responds before the request; the accept hash does not matter, the bytes of the response do.
    peer = scripted.peer { { "send", "READY\r\nHTTP/1.1 403 Buffered\r\nContent-Length: 2\r\n\r\nno" }, { "hold" } }
    local own
    local ok, why, response = luws.wsopen(peer.url, handler, {
      connect = function(host, port)
        own = assert(socket.connect(host, port))
        assert.equal("READY", own:receive("*l"))
        assert.is_true(own:dirty())
        return own
      end,
    })
    assert.same({ false, "upgrade failed; HTTP/1.1 403 Buffered" }, { ok, why:match("^[^\r\n]*") })
    assert.equal("no", response.body)
    assert.equal("closed", (select(2, own:receive(1))))
  end)

  it("is kept alive with the connection, and closed once by wsclose; then it is not called again", function()
    local calls, alive = {}, setmetatable({}, { __mode = "k" })
    conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler, {
      connect = function(...)
        local own = table_over(direct(...), calls)
        alive[own] = true
        return own
      end,
    }))
    collectgarbage()
    collectgarbage()
    assert.equal(conn.socket, (next(alive)))
    echo(conn, "Hello")
    conn.socket = nil -- the user may overwrite it
    collectgarbage()
    collectgarbage()
    assert.is_truthy(next(alive))
    echo(conn, "Hello")
    assert.equal(0, count(calls, "close"))
    luws.wsclose(conn)
    assert.same({ 1, "close" }, { count(calls, "close"), calls[#calls] })
    luws.wsclose(conn)
    luws.wsreceive(conn)
    luws.wssend(conn, 1, "late")
    luws.wswait(conn, 0)
    assert.equal("close", calls[#calls])
    assert.equal(1, count(calls, "close"))
  end)

  it("is also closed once if wsopen fails after connect, and when the peer ends the connection", function()
    for _, case in ipairs {
      { { { "upgrade", status = "HTTP/1.1 403 Forbidden" }, { "close" } }, "upgrade failed; HTTP/1.1 403 Forbidden" },
      { { { "close" } }, "upgrade failed; the peer closed the connection (is it wss?)" },
      { { { "hold" } }, "upgrade failed; timeout" },
    } do
      local calls = {}
      peer = scripted.peer(case[1])
      local ok, why = luws.wsopen(peer.url, handler, {
        upgrade_timeout = 0.2,
        connect = function(...) return table_over(direct(...), calls) end,
      })
      assert.same({ false, case[2] }, { ok, why:match("^[^\r\n]*") })
      assert.same({ 1, "close" }, { count(calls, "close"), calls[#calls] })
      peer:close()
    end
    for _, ending in ipairs { { "close" }, { "send", "\136\2\3\232" }, { "send", "\131\0" } } do
      local calls = {}
      peer = scripted.peer { { "upgrade" }, ending, { "hold" } }
      conn = assert(luws.wsopen(peer.url, handler, {
        close_timeout = 0,
        connect = function(...) return table_over(direct(...), calls) end,
      }))
      poll(luws, conn)
      luws.wsclose(conn)
      luws.wsclose(conn)
      assert.same({ 1, "close" }, { count(calls, "close"), calls[#calls] })
      peer:close()
    end
  end)

  it("gets keepalive and no delay, if it can", function()
    conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler, { connect = direct }))
    for _, name in ipairs { "keepalive", "tcp-nodelay" } do
      assert.is_truthy(conn.socket:getoption(name), name)
    end
    luws.wsclose(conn)
  end)

  for name, setoption in pairs {
    ["is not a function"] = true,
    ["returns an error"] = function() return nil, "setsockopt failed" end,
    ["raises an error"] = function() error("not supported", 0) end,
    ["yields"] = function() if coroutine.running() then coroutine.yield() end end,
  } do
    it("may have a setoption that " .. name, function()
      local asked = {}
      local thread = coroutine.wrap(function()
        conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler, {
          connect = function(...)
            local outer = table_over(direct(...), {})
            outer.setoption = setoption
            if type(setoption) == "function" then
              function outer.setoption(self, option, on)
                assert.equal(outer, self)
                asked[#asked + 1] = { option, on }
                return setoption()
              end
            end
            return outer
          end,
        }))
        assert.is_true(luws.wssend(conn, 1, "goes on"))
        luws.wsclose(conn)
        return "done"
      end)
      local result
      repeat result = thread() until result == "done"
      assert.same(type(setoption) == "function" and { { "keepalive", true }, { "tcp-nodelay", true } } or {}, asked)
    end)
  end

  it("fails with the function's own error text, or with ours if it gives none", function()
    local named = setmetatable({}, { __tostring = function() return "as a table" end })
    for _, case in ipairs {
      { "Connection to 127.0.0.1:1 failed: connect returned no socket", nil },
      { "Connection to 127.0.0.1:1 failed: connect returned no socket", false },
      { "no such luck", nil, "no such luck" },
      { "", false, "" },
      { "as a table", nil, named },
      { "bad option 'connect' (a socket expected, got number)", 5 },
      { "bad option 'connect' (a socket expected, got string)", "socket" },
      { "bad option 'connect' (a socket expected, got boolean)", true },
      { "bad option 'connect' (a socket expected, got function)", print },
      { "bad option 'connect' (a socket expected, got a table without send)", {} },
      { "bad option 'connect' (a socket expected, got a table without close)",
        { send = print, receive = print, settimeout = print } },
      { "bad option 'connect' (a socket expected, got a userdata without send)", io.stdout },
      { "bad option 'connect' (a socket expected, got a table without send)", setmetatable({}, { __index = error }) },
    } do
      local results = { luws.wsopen("ws://127.0.0.1:1/", handler, {
        connect = function() return case[2], case[3] end,
      }) }
      assert.same({ false, case[1] }, results)
    end
  end)

  it("passes its errors unchanged to wsopen's caller", function()
    local err = { code = 7 }
    for _, value in ipairs { err, "as text", setmetatable({}, { __tostring = error }) } do
      local ok, why = pcall(luws.wsopen, "ws://127.0.0.1:1/", handler, { connect = function() error(value, 0) end })
      assert.is_false(ok)
      assert.is_true(rawequal(value, why))
    end
  end)
end)

describe("in a coroutine,", function()
  before_each(function() got = {} end)

  --- Runs f in a coroutine that is resumed at each yield. Returns the number of yields and the yielded values.
  local function drive(f)
    local yields, thread = {}, coroutine.create(f)
    local deadline = luws.gettime() + 20
    while true do
      local ok, value = coroutine.resume(thread)
      assert(ok, value)
      if coroutine.status(thread) == "dead" then return yields end
      yields[#yields + 1] = value
      assert(luws.gettime() < deadline, "still yielding")
    end
  end

  for _, scheme in ipairs { "ws", "wss" } do
    it("connect may yield: " .. scheme, function()
      local yields = drive(function()
        local conn = assert(luws.wsopen(servers.url("demo", scheme, "/echo"), handler, {
          connect = function(host, port)
            assert.equal("back", coroutine.yield("one") or "back")
            coroutine.yield("two")
            return direct(host, port)
          end,
        }))
        echo(conn, "Hello")
        luws.wsclose(conn)
        assert.equal(1000, conn.close_code_sent)
      end)
      assert.same({ "one", "two" }, yields)
    end)

    it("each method may yield, as those of an event loop's sockets: " .. scheme, function()
      local yields = drive(function()
        local calls = {}
        local conn = assert(luws.wsopen(servers.url("demo", scheme, "/echo"), handler, {
          connect = function(...) return table_over(direct(...), calls, coroutine.yield) end,
          max_payload_size = 2 ^ 21,
        }))
        echo(conn, "Hello")
        echo(conn, ("x"):rep(2 ^ 20))
        luws.wsclose(conn)
        assert.equal(1000, conn.close_code_sent)
        assert.same({ 1, "close" }, { count(calls, "close"), calls[#calls] })
      end)
      for _, name in ipairs { "send", "receive", "settimeout", "close" } do
        assert.is_true(count(yields, name) > 0, name)
      end
    end)
  end

  it("one may close the connection while another is within a method of its socket", function()
    for name, call in pairs {
      wsreceive = function(conn) return luws.wsreceive(conn) end,
      wsclose = function(conn) return luws.wsclose(conn) end,
      wssend = function(conn) return luws.wssend(conn, 1, "x") end,
    } do
      local yielding = false
      local function pause() if yielding and compat.running() then coroutine.yield() end end
      local conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler, {
        close_timeout = 0,
        connect = function(host, port) return table_over(direct(host, port), {}, pause) end,
      }))
      yielding = true
      local thread = coroutine.create(function() return call(conn) end)
      assert(coroutine.resume(thread))
      assert.equal("suspended", coroutine.status(thread), name)
      yielding = false
      luws.wsclose(conn)
      while coroutine.status(thread) ~= "dead" do assert(coroutine.resume(thread)) end
      assert.is_false(conn.connected)
    end
  end)

  it("a method that raises an error has failed for good", function()
    local conn, unplug = pluggable()
    unplug(true)
    assert.same({ nil, "unplugged" }, { luws.wsreceive(conn) })
    assert.same({ { false, "receiver error: unplugged" } }, got)
    luws.wsclose(conn)
  end)

  it("one may send while another receives, in separate method calls", function()
    local inside, most = {}, 0
    local conn
    drive(function()
      conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler, {
        connect = function(...)
          local own = table_over(direct(...), {})
          for _, name in ipairs { "send", "receive" } do
            local method = own[name]
            own[name] = function(...)
              inside[name] = (inside[name] or 0) + 1
              most = math.max(most, inside[name])
              coroutine.yield(name)
              inside[name] = inside[name] - 1
              return method(...)
            end
          end
          return own
        end,
      }))
    end)
    got = {}
    local threads = {
      coroutine.create(function() poll(luws, conn, function() return got[6] end) end),
      coroutine.create(function()
        for turn = 1, 6 do assert(luws.wssend(conn, 1, "number " .. turn)) end
      end),
    }
    local deadline, alive = luws.gettime() + 20, true
    while alive and luws.gettime() < deadline do
      alive = false
      for _, thread in ipairs(threads) do
        if coroutine.status(thread) ~= "dead" then
          alive = true
          assert(coroutine.resume(thread))
        end
      end
    end
    local texts = {}
    for i, message in ipairs(got) do texts[i] = message[2] end
    assert.same({ "number 1", "number 2", "number 3", "number 4", "number 5", "number 6" }, texts)
    assert.equal(1, most)
    drive(function() luws.wsclose(conn) end)
    assert.equal(1000, conn.close_code_sent)
  end)

  it("the methods of its socket are called in the program's own coroutine", function()
    local running, conn = {}, nil
    local thread
    thread = coroutine.create(function()
      conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler, {
        connect = function(host, port)
          running.connect = compat.running()
          return table_over(direct(host, port), {}, function(name) running[name] = compat.running() end)
        end,
      }))
      echo(conn, "Hello")
    end)
    assert(coroutine.resume(thread))
    for _, name in ipairs { "connect", "send", "receive", "settimeout" } do
      assert.equal(thread, running[name], name)
    end
    luws.wsclose(conn)
    assert.is_nil(running.send) -- the main coroutine
  end)

  it("an error of a method is caught where yields can cross pcall; otherwise the caller gets it", function()
    local conn, unplug = pluggable()
    unplug(true)
    local results = {}
    coroutine.wrap(function() results = { pcall(luws.wsreceive, conn) } end)()
    unplug(false)
    if compat.yields_through_pcall then
      assert.same({ true, nil, "unplugged" }, results)
      assert.same({ nil, "unplugged" }, { luws.wsreceive(conn) })
      assert.same({ { false, "receiver error: unplugged" } }, got)
    else
      assert.same({ false, "unplugged" }, results)
      assert.same({ nil, "interrupted" }, { luws.wsreceive(conn) })
      assert.same({ { false, "receiver error: interrupted" } }, got)
    end
    assert.is_false(conn.connected)
  end)
end)
