-- How a server ends: by its program, by a signal, and with the Lua state.

local child = require "spec.support.child"
local luws = require "luws"
local serving = require "spec.support.serving"
local socket = require "socket"

local request, status_of, till, upgrade = serving.request, serving.status, serving.till, serving.upgrade

after_each(serving.over)
after_each(child.over)

describe("a server that is closed", function()
  it("says goodbye to its connections, refuses requests that have begun, and is gone when all have answered", function()
    local s = serving.start()
    local client = s:connect()
    local begun, silent = s:dial(), s:dial()
    begun:send "GET /"
    till(function() return s.srv:stats().accepted == 3 end)
    serving.rest(0.02)
    luws.wssend(s.conns[1], 1, "last")
    assert.is_true(s.srv:close())
    assert.is_nil(s.srv:address())
    assert.is_nil(socket.connect(s.host, s.port))
    till(function() return client.conn.close_code end)
    assert.same({ { 1, "last" }, { false, "receiver error: closed" } }, client.told)
    assert.same({ 1001, "" }, { client.conn.close_code, client.conn.close_reason })
    local reply = serving.read(begun)
    assert.equal(503, status_of(reply))
    assert.same({ "", true }, { serving.read(silent) })
    begun:close()
    silent:close()
    assert.is_true(s.srv:run())
    assert.same({ nil, "closed" }, { s.srv:step(0) })
    assert.same({ "open", { 1001, "" } }, s.events)
  end)

  it("aborts after its timeout what does not answer; its code and reason can be chosen", function()
    local s = serving.start()
    local raw = s:dial()
    raw:send(upgrade "/")
    till(function() return s.conns[1] end)
    local begun = luws.gettime()
    s.srv:close { code = 1012, reason = "restart", timeout = 0.1 }
    s.srv:run()
    assert.is_true(luws.gettime() - begun < 2)
    assert.is_truthy(serving.read(raw):find "\136\9\3\244restart$")
    assert.same({ 1006, "" }, s.events[2])
    assert.is_true(s.srv:close())
  end)

  it("can be closed while it asks about a request, which gets a 503", function()
    local s
    s = serving.start {
      on_request = function()
        s.srv:close()
        return { status = 200 }
      end,
    }
    assert.equal(503, status_of(s:raw(request "GET / HTTP/1.1")))
  end)

  it("can be closed by a handler, and by its options wrongly it is not", function()
    local s
    s = serving.start { on_message = function() s.srv:close() end }
    local client = s:connect()
    assert.same({ nil, "bad option 'close' (code: whole number from 1000 to 4999 expected, got 3)" },
      { s.srv:close { code = 3 } })
    assert.same({ nil, "bad option 'run' (x: unknown)" }, { s.srv:run { x = 1 } })
    assert.same({ nil, "bad argument #1 to 'close' (table expected, got number)" }, { s.srv:close(1) })
    assert.same({ nil, "bad argument #1 to 'run' (table expected, got string)" }, { s.srv:run "signals" })
    luws.wssend(client.conn, 1, "x")
    s.srv:run()
    assert.equal(1001, client.conn.close_code)
  end)
end)

describe("run with signals", function()
  local PROGRAM = [[
    local luws, server = require "luws", require "luws.server"
    local srv = assert(server.listen {
      port = 0, on_open = function(conn)
        io.popen("kill -HUP $PPID; kill -%s $PPID"):close() -- during os.execute, INT would be ignored
        luws.wssend(conn, 1, "last")
      end,
    })
    local _, port = srv:address()
    local told = {}
    local conn = luws.wsopen("ws://127.0.0.1:" .. port .. "/", function(_, ...) told[#told + 1] = select(2, ...) end,
      { wait = false, reactor = require "luws.reactor" })
    require "luws.reactor".after(10, function() os.exit(3) end)
    assert(srv:run { signals = true })
    require "luws.reactor".run(0.1)
    print(conn.close_code, told[1], server.listen { port = 0 } ~= nil)
  ]]

  for _, signal in ipairs { "TERM", "INT" } do
    it(("closes the server on %s, and returns"):format(signal), function()
      local said, status = child.start { input = PROGRAM:format(signal) }()
      assert.equal(0, status, said)
      assert.is_truthy(said:find "1001%s+last%s+true", said)
    end)
  end

  it("is for one server at a time", function()
    local s, other = serving.start(), serving.start()
    local results
    require("luws.reactor").after(0.01, function()
      s.srv:close()
    end)
    local ok, why = s.srv:run {
      signals = true,
      done = function()
        results = results or { other.srv:run { signals = true, done = function() return true end } }
      end,
    }
    assert.same({ true, nil }, { ok, why })
    assert.same({ nil, "reactor: signal INT cannot be watched: it is watched already" }, results)
    assert.is_true(luws.gettime() > 0)
  end)
end)

describe("the end of the Lua state", function()
  -- What the program of a server does with a connection, to which it has sent more than the socket takes.
  local PROGRAM = [[
    local luws, server = require "luws", require "luws.server"
    local doing, is_over = ..., false
    local srv
    srv = assert(server.listen {
      port = 0, max_buffered = 20000000, ping_interval = 0,
      on_request = function(request)
        if request.path == "/response" then
          is_over = true
          return { body = ("x"):rep(12000000) }
        end
      end,
      on_open = function(conn)
        is_over = true
        for i = 1, 12 do assert(luws.wssend(conn, 2, ("x"):rep(1000000))) end
        if doing == "closes the connection" then luws.wsclose(conn) end
        if doing == "closes the server" then srv:close() end
      end,
    })
    print((select(2, srv:address())))
    io.stdout:flush()
    while not is_over do srv:step() end
  ]]

  for _, case in ipairs {
    { "does nothing", 1001 }, { "closes the connection", 1000 }, { "closes the server", 1001 }, { "answers" },
  } do
    it("does not take from a client what is queued for it: the program " .. case[1], function()
      local ending = child.serve { case[1], input = PROGRAM }
      local raw = assert(socket.connect("127.0.0.1", tonumber(ending.line)))
      raw:settimeout(serving.PATIENCE)
      raw:send(case[2] and upgrade "/" or request "GET /response HTTP/1.1")
      socket.sleep(0.1)
      local all = assert(raw:receive "*a")
      local data = all:match "\r\n\r\n(.*)$"
      if case[2] then
        assert.equal(12 * 1000010 + 4, #data)
        assert.equal("\136\2" .. string.char(math.floor(case[2] / 256), case[2] % 256), data:sub(-4))
      else
        assert.equal(12000000, #data)
      end
      raw:close()
      assert.same({ "", 0 }, { ending:wait() })
    end)
  end
end)
