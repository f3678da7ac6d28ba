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
