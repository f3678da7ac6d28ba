-- Hosts that fork: a child has copies of its parent's connections, on the same sockets. Whatever it does with them, and
-- however it ends, the parent's connections go on, and the peers never hear of the child. The child's own connections
-- are like any others.

local odd_host = require "spec.support.odd_host"
local servers = require "spec.support.servers"

-- What both have: a connection. `echo()` is what the peer answers to a message.
local PROGRAM = [[
  local url, kind = ...
  io.stdout:setvbuf "no"
  local luws = require "luws"
  local socket = require "socket"
  local seen = {}
  local options = { close_timeout = 5, send_timeout = 2 }
  if kind == "own socket" then
    function options.connect(host, port)
      local inner = socket.connect(host, port)
      return {
        send = function(_, ...) return inner:send(...) end,
        receive = function(_, ...) return inner:receive(...) end,
        settimeout = function(_, ...) return inner:settimeout(...) end,
        getfd = function() return inner:getfd() end,
        close = function() return inner:close() end,
      }
    end
  end
  local conn = assert(luws.wsopen(url, function(_, opcode, data) seen[#seen + 1] = data or opcode end, options))
  local function echo(text)
    seen = {}
    local ok, why = luws.wssend(conn, 1, text)
    if not ok then return why end
    local deadline = luws.gettime() + 5
    repeat
      luws.wswait(conn, 0.1)
      local more, why = luws.wsreceive(conn)
      if more == nil then return why end
    until #seen > 0 or luws.gettime() > deadline
    return table.concat(seen, " ")
  end
  assert(echo "before" == "before")
  local function fork(child)
    local pid = odd.fork()
    if pid == 0 then return child() end
    local status = odd.wait(pid)
    assert(status == 0, status)
    return pid
  end
]]

describe("a forked child", function()
  -- what the child does with its parent's connection; then it ends, and its Lua state is closed
  local doings = {
    ["only ends"] = "",
    ["ends without its Lua state"] = "odd.exit(0)",
    ["lets it be collected"] = "conn = nil collectgarbage() collectgarbage()",
    ["closes it"] = "luws.wsclose(conn, 1001, 'child') luws.wswait(conn, 0.1)",
    ["closes it by its method"] = "conn:close()",
    ["closes its socket"] = "conn.socket:close()",
    ["sends on it"] = "luws.wssend(conn, 1, 'from the child') luws.wssend(conn, 9, 'ping')",
    ["receives on it"] = "luws.wsreceive(conn) luws.wswait(conn, 0)",
    ["has a connection of its own"] = [[
      local echo
      local own = assert(luws.wsopen(url, function(_, _, data) echo = data end, { close_timeout = 5 }))
      assert(luws.wssend(own, 1, "own"))
      repeat luws.wswait(own, 1) luws.wsreceive(own) until echo
      luws.wsclose(own)
      assert(luws.wswait(own, 5) and own.was_clean and echo == "own")
    ]],
  }
  for name, doing in pairs(doings) do
    for _, kind in ipairs { "ws", "wss", "own socket" } do
      it(name .. ", and the parent's connection goes on: " .. kind, function()
        local output, status = odd_host.run {
          servers.url("demo", kind == "wss" and "wss" or "ws", "/echo"), kind,
          input = PROGRAM .. ([[
            if not fork(function() %s end) then return end
            print(echo "after")
            if not fork(function() %s end) then return end
            print(echo "again")
            luws.wsclose(conn)
            luws.wswait(conn, 5)
            -- Users' sockets are closed without waiting for the peer.
            print(kind == "own socket" or conn.close_code == 1000 and conn.was_clean)
          ]]):format(doing, doing),
        }
        assert.equal("after\nagain\ntrue\n", (output:gsub("2\tluws: the certificate[^\n]*\n", "")))
        assert.equal(0, status)
      end)
    end
  end

  for _, kind in ipairs { "ws", "wss", "own socket" } do
    it("is told whose connection it is: " .. kind, function()
      local output = odd_host.run {
        servers.url("demo", kind == "wss" and "wss" or "ws", "/echo"), kind,
        input = PROGRAM .. [[
          fork(function()
            print(luws.wssend(conn, 1, "x"))
            seen = {}
            print(luws.wsreceive(conn))
            print(seen[1], conn.connected)
            odd.exit(0)
          end)
        ]],
      }
      assert.equal("false\tsend error: the connection belongs to another process\n"
        .. "nil\tthe connection belongs to another process\n"
        .. "receiver error: the connection belongs to another process\tfalse\n",
        (output:gsub("2\tluws: the certificate[^\n]*\n", "")))
    end)
  end

  it("does not open its parent's lost connection again", function()
    local output = odd_host.run {
      servers.url("demo", "ws", "/close"), "ws",
      input = PROGRAM:gsub('assert%(echo "before" == "before"%)', "") .. [[
        local asked = 0
        local function on() asked = asked + 1 end
        local lost = assert(luws.wsopen(url, nil, { reconnect = { first = 0.1, on = on } }))
        local function receive(seconds)
          local deadline, more, why = luws.gettime() + seconds, nil, nil
          repeat
            luws.sleep(0.01)
            more, why = luws.wsreceive(lost)
          until more == nil or luws.gettime() > deadline
          return more, why
        end
        while lost.connected or asked == 0 do luws.wsreceive(lost) end
        fork(function()
          print(receive(5))
          odd.exit(0)
        end)
        print(receive(0.3))
        print(asked > 1)
      ]],
    }
    assert.equal("nil\tgave up: the connection belongs to another process\nfalse\t0\ntrue\n", output)
  end)

  for _, kind in ipairs { "ws", "wss" } do
    it("ends while its parent closes the connection, and the parent sees the peer's answer: " .. kind, function()
      local output = odd_host.run {
        servers.url("demo", kind, "/echo"), kind,
        input = PROGRAM .. [[
          luws.wsclose(conn)
          if not fork(function() collectgarbage() collectgarbage() luws.wswait(conn, 1) end) then return end
          luws.wswait(conn, 5)
          print(conn.close_code, conn.was_clean)
        ]],
      }
      assert.equal("1000\ttrue\n", (output:gsub("2\tluws: the certificate[^\n]*\n", "")))
    end)
  end
end)

it("a child's reactor is dead and says so, and the parent's goes on", function()
  local output, status = odd_host.run {
    input = PROGRAM:gsub("\n%s*", " ") .. [[
      local reactor = require "luws.reactor"
      local told, timed = {}, 0
      local driven = assert(luws.wsopen(url, function(_, _, data) told[#told + 1] = data end, { wait = false }))
      repeat reactor.step(5) until driven.connected
      reactor.after(0.05, function() timed = timed + 1 end)
      local fd = reactor.getfd()
      fork(function()
        print(reactor.getfd(), pcall(reactor.step, 0))
        print(pcall(reactor.watch_fd, 0, "r", print))
        luws.wsclose(driven)
        collectgarbage()
        print(luws.wsopen(url, nil, { wait = false }) and "opened by polling")
        odd.exit(0)
      end)
      assert(reactor.getfd() == fd)
      assert(luws.wssend(driven, 1, "after"))
      local deadline = luws.gettime() + 5
      repeat reactor.step(0.1) until told[1] and timed == 1 or luws.gettime() > deadline
      print(told[1], timed)
    ]],
    servers.url("demo", "ws", "/echo"), "ours",
  }
  assert.equal("-1\tfalse\treactor: this process is a fork, and the reactor is its parent's\n"
    .. "false\treactor: descriptor 0 cannot be watched: this process is a fork, and the reactor is its parent's\n"
    .. "opened by polling\nafter\t1\n", output)
  assert.equal(0, status)
end)

describe("a forked child of a server", function()
  local SERVER = [[
    io.stdout:setvbuf "no"
    local luws, server, reactor = require "luws", require "luws.server", require "luws.reactor"
    local path = os.tmpname()
    os.remove(path)
    local codes, heard = {}, nil
    local srv = assert(server.listen {
      listeners = { { port = 0 }, { unix = path } },
      on_message = function(conn, opcode, data) luws.wssend(conn, opcode, data) end,
      on_close = function(_, code) codes[#codes + 1] = code end,
    })
    local _, port = srv:address()
    local function till(done)
      local deadline = luws.gettime() + 5
      repeat reactor.step(0.1) until done() or luws.gettime() > deadline
    end
    local function open()
      local conn = luws.wsopen("ws://127.0.0.1:" .. port, function(_, _, data) heard = data end, { wait = false,
        reactor = reactor })
      till(function() return conn.connected end)
      return conn
    end
    local function echo(conn, text)
      luws.wssend(conn, 1, text)
      till(function() return heard == text end)
      return heard
    end
    local first = open()
    assert(echo(first, "before") == "before")
    local pid = odd.fork()
    if pid == 0 then
      %s
      return
    end
    assert(odd.wait(pid) == 0)
    print(echo(first, "after"), echo(open(), "new"), os.execute("test -S " .. path) and srv:count())
    srv:close()
    srv:run()
    print(table.concat(codes, " "))
  ]]
  local DEAD = "reactor: this process is a fork, and the reactor is its parent's"

  for _, case in ipairs {
    { "only ends", "" },
    { "ends without its Lua state", "odd.exit(0)" },
    { "lets it be collected", "srv = nil collectgarbage() collectgarbage()" },
    { "closes it", "srv:close { timeout = 0 } print(pcall(srv.run, srv))", "false\t" .. DEAD .. "\n" },
    { "closes its connections", "for conn in srv:connections() do luws.wsclose(conn, 4000) end" },
    { "sends to its connections",
      "print(srv:broadcast(nil, 1, 'x')) for conn in srv:connections() do print(luws.wssend(conn, 1, 'x')) end",
      "1\nfalse\tsend error: the connection belongs to another process\n" },
    { "steps it", "print(pcall(srv.step, srv, 0))", "false\t" .. DEAD .. "\n" },
    { "listens itself", "print(server.listen { port = 0 })",
      "nil\tthe reactor cannot watch a listener: " .. DEAD:gsub("reactor: ", "", 1) .. "\n" },
  } do
    it(case[1] .. ", and the parent's server goes on", function()
      local output, status = odd_host.run { input = SERVER:format(case[2]) }
      assert.equal((case[3] or "") .. "after\tnew\t2\n1001 1001\n", output)
      assert.equal(0, status)
    end)
  end

  it("and one that forks before it uses the reactor can serve from all of them", function()
    local output, status = odd_host.run {
      input = [[
        io.stdout:setvbuf "no"
        local socket, server = require "socket", require "luws.server"
        local bound = assert(socket.bind("127.0.0.1", 0))
        local _, port = bound:getsockname()
        local function serve(name)
          local srv
          srv = assert(server.listen {
            fd = bound:getfd(),
            on_request = function()
              srv:close()
              return { body = name }
            end,
          })
          srv:run()
        end
        local pids = {}
        for i = 1, 2 do
          pids[i] = odd.fork()
          if pids[i] == 0 then
            serve("child")
            return odd.exit(0)
          end
        end
        for i = 1, 2 do
          local client = assert(socket.connect("127.0.0.1", port))
          client:send "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
          client:settimeout(5)
          print((client:receive "*l"))
        end
        print(odd.wait(pids[1]), odd.wait(pids[2]))
      ]],
    }
    assert.equal(("HTTP/1.1 503 Service Unavailable\n"):rep(2) .. "0\t0\n", output)
    assert.equal(0, status)
  end)
end)
