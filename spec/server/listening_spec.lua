-- Where a server listens, alone and with others, and what it says of places and options that are wrong.

local child = require "spec.support.child"
local files = require "spec.support.files"
local luws = require "luws"
local server = require "luws.server"
local serving = require "spec.support.serving"
local socket = require "socket"

local till, upgrade = serving.till, serving.upgrade

after_each(serving.over)
after_each(child.over)

local function echo(conn, opcode, data) luws.wssend(conn, opcode, data) end

describe("a server listens", function()
  it("at each of several places, with one set of handlers", function()
    local path = files.unused()
    local s = serving.start {
      listeners = { { port = 0 }, { host = "::1", port = 0 }, { unix = path, mode = "600" } },
    }
    local places = s.srv:addresses()
    assert.same({ "127.0.0.1", "::1", path }, { places[1].host, places[2].host, places[3].path })
    for i, host in ipairs { "127.0.0.1", "[::1]" } do
      s.host, s.port = host, places[i].port
      s:connect()
      till(function() return s.conns[i] end)
    end
    assert.same({ "127.0.0.1", "::1" }, { s.conns[1].remote, s.conns[2].remote })
    local unix = require "socket.unix"
    local raw = (unix.stream or unix)()
    assert(raw:connect(path))
    raw:settimeout(0)
    raw:send(upgrade "/")
    till(function() return s.conns[3] end)
    assert.is_nil(s.conns[3].remote)
    assert.equal("600\n", files.output("stat -c %a " .. path))
    raw:close()
    s.srv:close()
    assert.is_nil(io.open(path))
  end)

  it("and says why it cannot, before anything listens", function()
    local s = serving.start()
    for _, case in ipairs {
      { {}, "listen needs a port, a path (unix) or a descriptor (fd)" },
      { { port = 0, unix = "x" }, "listen has more than one of port, unix and fd" },
      { { port = 0, on_mesage = print }, "unknown option 'on_mesage' (on_message?)" },
      { { port = 0, on_open = 3 }, "bad option 'on_open' (function expected, got number)" },
      { { port = 70000 }, "bad option 'port' (whole number from 0 to 65535 expected, got 70000)" },
      { { port = 0, host = 1 }, "bad option 'host' (string expected, got number)" },
      { { port = 0, host = "" }, "bad option 'host' (a string that is not empty expected, without NUL)" },
      { { unix = "a\0b" }, "bad option 'unix' (a string that is not empty expected, without NUL)" },
      { { port = 0, backlog = 0 }, "bad option 'backlog' (whole number from 1 up expected, got 0)" },
      { { port = 0, reuseport = 1 }, "bad option 'reuseport' (boolean expected, got number)" },
      { { port = 0, methods = {} }, "bad option 'methods' (at least one expected)" },
      { { port = 0, methods = { "G T" } }, "bad option 'methods' (an element is not a token)" },
      { { port = 0, max_body = -1 }, "bad option 'max_body' (whole number from 0 up expected, got -1)" },
      { { port = 0, max_connections = 0 }, "bad option 'max_connections' (whole number from 1 up expected, got 0)" },
      { { port = 0, origins = { nil, "http://a" } }, "bad option 'origins' (array of origins expected)" },
      { { port = 0, origins = { 1 } }, "bad option 'origins' (array of origins expected)" },
      { { port = 0, origins = "*" }, "bad option 'origins' ('*' is not an origin, such as https://example.com)" },
      { { port = 0, origins = { "http://a", "http://b/" } },
        "bad option 'origins' ('http://b/' is not an origin, such as https://example.com)" },
      { { port = 0, answer_timeout = "x" }, "bad option 'answer_timeout' (number expected, got string)" },
      { { port = 0, subprotocols = "a b" }, "bad option 'subprotocols' (an element is not a token)" },
      { { port = 0, slow = "wait" }, "bad option 'slow' ('drop', 'close' or function expected, got 'wait')" },
      { { port = 0, trusted_proxies = 1 },
        "bad option 'trusted_proxies' (address or array of them expected, got number)" },
      { { port = 0, trusted_proxies = { "::1", "localhost" } },
        "bad option 'trusted_proxies' (an IP address, a network such as 10.0.0.0/8 or 'unix' expected, "
          .. "got 'localhost')" },
      { { port = 0, trusted_proxies = "10.0.0.0/33" },
        "bad option 'trusted_proxies' (an IP address, a network such as 10.0.0.0/8 or 'unix' expected, "
          .. "got '10.0.0.0/33')" },
      { { port = 0, response_headers = { ["A"] = "b\r\nc" } },
        "bad option 'response_headers' (the value of header A has a control character in it)" },
      { { port = 0, response_headers = { upgrade = "x" } },
        "bad option 'response_headers' (header upgrade is the server's to send)" },
      { { port = 0, max_payload_size = "x" }, "bad option 'max_payload_size' (number expected, got string)" },
      { { port = 0, deflate = { level = 99 } },
        "bad option 'deflate' (level: whole number from 1 to 9 expected, got 99)" },
      { { port = 0, ping_interval = -1 }, "bad option 'ping_interval' (a number of at least 0 expected, got -1)" },
      { { fd = "x" }, "bad option 'fd' (whole number from 0 up expected, got string, or 'systemd')" },
      { { port = 0, mode = "600" }, "listen has a mode, which is for a path (unix)" },
      { { unix = "x", mode = "rw" }, "bad option 'mode' (permissions such as '600' expected)" },
      { { fd = 0 }, "Listening on descriptor 0 failed: it is not a listening socket" },
      { { fd = "systemd" }, "Listening on systemd's sockets failed: systemd has passed none" },
      { { listeners = {} }, "bad option 'listeners' (at least one expected)" },
      { { listeners = { {} } }, "bad option 'listeners' (1: it needs a port, a path (unix) or a descriptor (fd))" },
      { { listeners = { { port = 0, x = 1 } } }, "bad option 'listeners' (1: unknown option 'x')" },
      { { listeners = { { port = 0 }, nil, { port = 0 } } }, "bad option 'listeners' (array of tables expected)" },
      { { listeners = { { port = 0 } }, port = 1 }, "bad option 'port' (it belongs into each of listeners)" },
      { { port = s.port }, ("Listening on 127.0.0.1:%d failed: address already in use"):format(s.port) },
      { { unix = "/nowhere/x" }, "Listening on /nowhere/x failed: No such file or directory" },
      { { port = 0, reactor = 1 }, "bad option 'reactor' (a reactor expected, got number)" },
      { "x", "bad argument #1 to 'listen' (table expected, got string)" },
    } do
      assert.same({ nil, case[2] }, { server.listen(case[1]) })
    end
  end)

  it("and each option that is wrong is named", function()
    local classes = { ["luws.Place"] = true, ["luws.Handlers"] = true, ["luws.ServerOptions:"] = true }
    local wrong, count, is_option = coroutine.create(function() end), 0, nil -- a value that no option has
    for line in io.lines "types/luws/server.lua" do
      local class, name = line:match "^%-%-%-@class (%S+)", line:match "^%-%-%-@field (%w+[%w_]*)%?"
      if class then is_option = classes[class] end
      if name and is_option then
        local srv, why = server.listen { port = name ~= "listeners" and 0 or nil, [name] = wrong }
        assert.is_nil(srv, name)
        assert.equal(("bad option '%s' ("):format(name), why:sub(1, #name + 15), name)
        count = count + 1
      end
    end
    assert.is_true(count > 35, count)
  end)

  it("at the descriptors that systemd has passed on", function()
    local path = files.unused()
    local activated = child.serve {
      environment = ([[python3 -c '
import os, socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
sockets[1].bind("%s")
sockets[1].listen()
for number, each in enumerate([os.dup(each.fileno()) for each in sockets]):
    os.dup2(each, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2")
os.execvp(sys.argv[1], sys.argv[1:])']]):format(path),
      input = [[
        local server = require "luws.server"
        local srv = assert(server.listen { fd = "systemd", on_request = function() return { body = "here" } end })
        local places = srv:addresses()
        print(#places, places[1].port, places[2].path)
        io.stdout:flush()
        srv:run { signals = true }
      ]],
    }
    local count, port, second = activated.line:match "^(%d+)%s+(%d+)%s+(%S+)$"
    assert.same({ "2", path }, { count, second }, activated.line)
    local s = setmetatable({ host = "127.0.0.1", port = tonumber(port) }, { __index = serving.methods })
    assert.is_truthy(s:raw(serving.request("GET / HTTP/1.1", "Connection: close")):find "here$")
    assert.same({ "", 0 }, { activated:stop() })
    os.remove(path)
  end)

  it("in an outer loop that watches one descriptor", function()
    local s = serving.start { on_message = echo }
    local srv, raw = s.srv, s:dial()
    local watched = { getfd = function() return srv:getfd() end, dirty = function() return srv:dirty() end }
    raw:send(upgrade "/" .. "\129\130\0\0\0\0hi\136\128\0\0\0\0")
    local all, why, turns = "", nil, 0
    while why ~= "closed" and turns < 1000 do
      local readable = socket.select({ watched, raw }, nil, math.min(srv:timeout() or 1, 1))
      turns = turns + 1
      if readable[watched] then srv:step(0) end
      local data, problem, part = raw:receive "*a"
      all, why = all .. (data or part), data and "closed" or problem
    end
    assert.equal("\129\2hi\136\0", all:match "\r\n\r\n(.*)$")
    assert.same({ "r", srv:getfd() }, { srv:events(), srv:pollfd() })
    assert.is_true(turns < 100, turns)
  end)

  it("at a descriptor that somebody else has begun to listen at", function()
    local listening = assert(socket.bind("127.0.0.1", 0))
    local s = serving.start { fd = listening:getfd() }
    local _, port = listening:getsockname()
    assert.equal(tonumber(port), s.port)
    s:connect()
    till(function() return s.conns[1] end)
    listening:close()
  end)

  it("where others listen that share the address, and only there", function()
    local s = serving.start { reuseport = true }
    local another = serving.start { port = s.port, reuseport = true }
    assert.equal(s.port, another.port)
    assert.same({ nil, ("Listening on 127.0.0.1:%d failed: address already in use"):format(s.port) },
      { server.listen { port = s.port } })
    for _ = 1, 30 do s:connect() end
    assert.equal(30, s.srv:count() + another.srv:count())
    s.srv:close()
    another:connect()
  end)

  it("by descriptors that no program inherits which is started", function()
    local function sockets() return files.output "ls -l /proc/self/fd | grep -c socket:" end
    local before, path = sockets(), files.unused()
    local s = serving.start { listeners = { { port = 0 }, { unix = path } } }
    s:connect()
    till(function() return s.conns[1] end)
    assert.equal(before, sockets())
  end)
end)
