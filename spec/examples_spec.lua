-- The examples as a user runs them: their output and their exit status. Servers are in example_servers_spec.lua.

local child = require "spec.support.child"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local unpack = require "spec.support.compat".unpack

describe("examples/echo.lua", function()
  local peer

  after_each(function()
    if peer then peer:close() end
    peer = nil
  end)

  local function run(...)
    local output, status = child.run { "examples/echo.lua", ... }
    return (output:gsub("answered after %d+%.%d%d ms", "answered after N ms")), status
  end

  for _, case in ipairs { { "ws", "127.0.0.1" }, { "wss", "localhost" } } do
    local scheme, host = unpack(case)
    it("talks to an echo server over " .. scheme, function()
      local url = servers.url("demo", scheme, "/echo")
      local output, status = run(url, scheme == "wss" and servers.ca_file() or nil)
      assert.equal(([[
open:   luws-websock[%s:%d] over %s
text:   "Hello, WebSocket!" came back the same
binary: 6 bytes of binary came back the same
emoji:  😀 (4 bytes of UTF-8) came back the same
large:  1 MiB of binary came back the same
ping:   answered after N ms
close:  the server answered 4000, cleanly
]]):format(host, servers.start("demo")[scheme], scheme), output)
      assert.equal(0, status)
    end)
  end

  -- what the server does, a peer, the output (a pattern with %URL and %HOST), and the status
  local function answering(bytes)
    return function() return scripted.peer { { "upgrade" }, { "read_frame" }, { "send", bytes }, { "read_to_eof" } } end
  end
  local cases = {
    {
      "does not listen",
      function() return scripted.refused() end,
      "cannot open %URL: Connection to %HOST failed: connection refused\n",
    },
    {
      "speaks no WebSocket",
      function() return scripted.peer { { "upgrade", status = "HTTP/1.1 404 Not Found" }, { "read_to_eof" } } end,
      "cannot open %URL: upgrade failed; HTTP/1.1 404 Not Found\n",
    },
    {
      "is not whom its certificate names",
      function() return scripted.peer { { "read_to_eof" }, tls = true, address = "127.0.0.2" } end,
      "cannot open %URL: Failed SSL negotation: [^\n]+\n",
      true,
    },
    {
      "answers something else",
      answering "\129\2no",
      "open:   luws%-websock%[%HOST%] over ws\n"
        .. 'text:   "Hello, WebSocket!" did not come back the same\n'
        .. "this is not what should have come\n",
    },
    {
      "closes",
      answering(scripted.frame { opcode = "close", payload = scripted.close_payload(1001, "bye") }),
      "open:   luws%-websock%[%HOST%] over ws\n"
        .. 'text:   "Hello, WebSocket!" did not come back the same\n'
        .. "this is not what should have come\n",
    },
  }
  for _, case in ipairs(cases) do
    local name, start, expected, tls = unpack(case)
    it("says what is wrong and ends with status 1 when the server " .. name, function()
      peer = start()
      local values = { URL = peer.url:gsub("%p", "%%%0"), HOST = peer.url:match("//(.*)/"):gsub("%p", "%%%0") }
      local output, status = run(peer.url, tls and servers.ca_file() or nil)
      assert.matches("^" .. expected:gsub("%%(%u+)", values) .. "$", output)
      assert.equal(1, status)
    end)
  end
end)

describe("examples/polling_plugin.lua", function()
  local SECONDS = 2.5 -- for which each of them runs: the third turn, at one a second, is the last
  local peer, results

  -- They are idle most of the time, so they run together.
  setup(function()
    local close_frame = scripted.frame { opcode = "close", payload = scripted.close_payload(1001) }
    peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "wait" }, { "send", close_frame }, { "read_to_eof" } }
    peer:go() -- the first connection is closed at once, the next one is not
    results = {
      echo = { url = servers.url("demo", "ws", "/echo") },
      closing = { url = peer.url },
      refused = { url = scripted.refused().url },
    }
    for _, result in pairs(results) do
      result.finish = child.start { "examples/polling_plugin.lua", result.url, tostring(SECONDS) }
    end
    for _, result in pairs(results) do
      result.output, result.status = result.finish()
      result.output = ("\n" .. result.output):gsub("\n%d%d:%d%d:%d%d\t", "\n"):sub(2)
    end
  end)

  teardown(function() peer:close() end)

  local function assert_ran(result, expected)
    assert.equal(expected:gsub("URL", result.url):gsub("HOST", result.url:match "//(.*)/"), result.output)
    assert.equal(0, result.status)
  end

  it("says hello, and receives", function()
    assert_ran(results.echo, "connected to URL\nreceived: hello from the plugin\ndone\n")
  end)

  it("reconnects when it loses its connection", function()
    assert_ran(results.closing, [[
connected to URL
lost: receiver error: closed
not connected: receiver error: closed; attempt 1 follows
connected to URL
done
]])
    assert.equal(2, peer:connections())
    peer:go() -- the second script has no peer any more
    for i = 1, 2 do assert.equal("hello from the plugin", peer:result(i).frames[1].payload) end
  end)

  it("waits longer after each attempt that fails", function()
    assert_ran(results.refused, [[
not connected: Connection to HOST failed: connection refused; attempt 1 follows
not connected: Connection to HOST failed: connection refused; attempt 2 follows
done
]])
  end)
end)

describe("examples/select_loop.lua", function()
  it("receives on all connections", function()
    local output, status = child.run { "examples/select_loop.lua", servers.url("demo", "ws", "/echo"), "0.3" }
    local seen = {}
    for line in output:gmatch "[^\n]+" do seen[#seen + 1] = line end
    assert.equal("done", table.remove(seen))
    table.sort(seen) -- the server may answer them in any order
    local expected = {}
    for i = 1, 3 do expected[i] = ("connection %d received: hello from connection %d"):format(i, i) end
    assert.same(expected, seen)
    assert.equal(0, status)
  end)

  it("receives at once, and ends with its last connection", function()
    local close_frame = scripted.frame { opcode = "close", payload = scripted.close_payload(1001) }
    local peer = scripted.peer {
      { "upgrade" }, { "read_frame" }, { "wait" }, { "send", "\129\4news" .. close_frame }, { "read_to_eof" },
    }
    local finish = child.start { "examples/select_loop.lua", peer.url, "30" }
    for i = 1, 3 do peer:at(3, i) end
    for _ = 1, 3 do peer:go() end
    local output, status = finish()
    for i = 1, 3 do
      -- Its own lines, in this order.
      local lines = {}
      for line in output:gmatch("connection " .. i .. " ([^\n]+)") do lines[#lines + 1] = line end
      assert.same({ "received: news", "lost: receiver error: closed" }, lines)
      local seen = peer:result(i)
      assert.equal("hello from connection " .. i, seen.frames[1].payload)
      assert.equal(8, seen.frames[2].opcode)
    end
    assert.matches("done\n$", output)
    assert.equal(0, status)
    peer:close()
  end)

  it("ends with status 1 when it cannot connect", function()
    local url = scripted.refused().url
    local output, status = child.run { "examples/select_loop.lua", url, "1" }
    assert.equal("cannot open " .. url .. ": Connection to " .. url:match "//(.*)/" .. " failed: connection refused\n",
      output)
    assert.equal(1, status)
  end)
end)

describe("examples/copas_loop.lua", function()
  it("talks on two connections", function()
    for _, scheme in ipairs { "ws", "wss" } do
      local output, status = child.run { "examples/copas_loop.lua", servers.url("demo", scheme, "/echo") }
      for _, name in ipairs { "one", "two" } do
        local answers = {}
        for number in output:gmatch("received: " .. name .. " (%d)\n") do answers[#answers + 1] = number end
        assert.equal("1 2 3", table.concat(answers, " "))
      end
      assert.matches("\ndone\n$", output)
      assert.equal(0, status)
    end
  end)

  it("lets the other thread run while one waits", function()
    local peer = scripted.peer {
      { "upgrade" }, { "read_frame" }, { "wait" }, { "send", "\129\1a" },
      { "read_frame" }, { "send", "\129\1b" }, { "read_frame" }, { "send", "\129\1c" }, { "hold" },
    }
    local finish = child.start { "examples/copas_loop.lua", peer.url }
    for i = 1, 2 do peer:at(3, i) end -- the second has sent before the first was answered
    for _ = 1, 2 do peer:go() end
    local output, status = finish()
    assert.equal("", (output:gsub("received: %a\n", ""):gsub("done\n", "")))
    assert.equal(0, status)
    peer:close()
  end)

  it("reports what failed, with status 1", function()
      local peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" } }
    local refused = scripted.refused()
    local output, status = child.run { "examples/copas_loop.lua", peer.url }
    for _, name in ipairs { "one", "two" } do -- in either order
      local count
      output, count = output:gsub(name .. " failed: receiver error: closed\n", "")
      assert.equal(1, count)
    end
    assert.equal("done\n", output)
    assert.equal(1, status)
    peer:close()
    output, status = child.run { "examples/copas_loop.lua", refused.url }
    local reason = ("cannot open %s: Connection to %s failed: connection refused")
      :format(refused.url, refused.url:match "//(.*)/")
    assert.equal(("one failed: %s\ntwo failed: %s\ndone\n"):format(reason, reason), output)
    assert.equal(1, status)
  end)
end)

describe("examples/luv_loop.lua", function()
  it("sends and receives, even more than the socket has room for", function()
    for _, scheme in ipairs { "ws", "wss" } do
      local output, status = child.run { "examples/luv_loop.lua", servers.url("demo", scheme, "/echo") }
      local expected = {}
      for _, size in ipairs { 5, 1000, 1000000 } do expected[#expected + 1] = ("received %d bytes\n"):format(size) end
      assert.equal(table.concat(expected) .. "done\n", (output:gsub("2\tluws: the certificate[^\n]*\n", "")))
      assert.equal(0, status)
    end
  end)

  it("reports what failed, with status 1", function()
      local peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" } }
    assert.same({ "lost: receiver error: closed\n", 1 }, { child.run { "examples/luv_loop.lua", peer.url } })
    peer:close()
    local url = scripted.refused().url
    local reason = ("cannot open %s: Connection to %s failed: connection refused\n"):format(url, url:match "//(.*)/")
    assert.same({ reason, 1 }, { child.run { "examples/luv_loop.lua", url } })
  end)
end)

describe("examples/ltn12_upload.lua", function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function upload(url, size)
    local file = assert(io.open(path, "wb"))
    file:write(("0123456789abcdef"):rep(size / 16))
    file:close()
    return child.run { "examples/ltn12_upload.lua", url, path }
  end

  it("sends a file and prints the answer", function()
    local output, status = upload(servers.url("demo", "ws", "/sink?count=1"), 5 * 1024 * 1024)
    local expected = {}
    for percent = 10, 100, 10 do expected[#expected + 1] = ("%3d %% read\n"):format(percent) end
    assert.equal(table.concat(expected) .. "sent 5242880 bytes\nanswer: 1 messages, 5242880 bytes\n", output)
    assert.equal(0, status)
  end)

  it("sends an empty file", function()
    local output, status = upload(servers.url("demo", "wss", "/sink?count=1"), 0)
    local warning, rest = output:match("^(2\tluws: the certificate of [^\n]*\n)(.*)$") -- the example trusts any server
    assert.is_string(warning)
    assert.equal("100 % read\nsent 0 bytes\nanswer: 1 messages, 0 bytes\n", rest)
    assert.equal(0, status)
  end)

  it("sends it in fragments", function()
    local peer = scripted.peer { { "upgrade" }, { "read_frame", 3 }, { "send", "\129\2ok" }, { "read_to_eof" } }
    local output, status = upload(peer.url, 160 * 1024)
    assert.matches("\nsent 163840 bytes\nanswer: ok\n$", output)
    assert.equal(0, status)
    local seen = {}
    for i, frame in ipairs(peer:result().frames) do seen[i] = { frame.opcode, frame.fin, #frame.payload } end
    assert.same({ { 2, false, 65536 }, { 0, false, 65536 }, { 0, true, 32768 } }, { seen[1], seen[2], seen[3] })
    peer:close()
  end)

  it("reports what is wrong, with status 1", function()
    local silent = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" } }
    local refused = scripted.refused()
    local host = refused.url:match "//(.*)/"
    local cases = {
      { {}, "usage: lua5.1 examples/ltn12_upload.lua URL FILE\n" },
      { { silent.url, path .. ".none" }, "cannot read " .. path .. ".none: No such file or directory\n" },
      {
        { refused.url, path },
        ("cannot open %s: Connection to %s failed: connection refused\n"):format(refused.url, host),
      },
      { { silent.url, path }, "100 % read\nsent 0 bytes\nno answer: receiver error: closed\n" },
    }
    for _, case in ipairs(cases) do
      local output, status = child.run { "examples/ltn12_upload.lua", unpack(case[1]) }
      assert.equal(case[2], output)
      assert.equal(1, status)
    end
    silent:close()
  end)
end)

describe("examples/sockproxy.lua", function()
  it("connects through SockProxy both ways", function()
    local proxy = scripted.peer {
      { "send", "OK TOGGLEDBITS-SOCKPROXY 1.1 99\n" }, { "read_until", "\n" }, { "send", "OK CONN 99\n" },
      { "upgrade" }, { "read_frame" }, { "send", "\129\5hello" }, { "read_to_eof" },
    }
    local output, status = child.run { "examples/sockproxy.lua", "ws://192.0.2.1:81/", tostring(proxy.port), "7" }
    assert.equal([[
by hand: connected through SockProxy
by hand: received hello
built in: connected through SockProxy
built in: received hello
]], output)
    assert.equal(0, status)
    local lines = {}
    for i = 1, 2 do
      local words = {}
      for word in proxy:result(i).raw:match "^[^\n]*":gmatch "%S+" do words[#words + 1] = word end
      table.sort(words)
      lines[i] = table.concat(words, " ")
    end
    local notify = "NTFY=7/urn:example-com:serviceId:WSListener1/HandleReceive"
    local expected = "192.0.2.1:81 CONN " .. notify .. " PACE=0 RTIM=0"
    assert.same({ expected, expected }, lines)
    proxy:close()
  end)

  it("connects directly if there is none", function()
    local refused = scripted.refused()
    -- either something else listens there, or it cannot connect
    local other = scripted.peer { { "send", "220 mail.example.com ESMTP\r\n" }, { "read_to_eof" } }
    local failing = scripted.peer {
      { "send", "OK TOGGLEDBITS-SOCKPROXY 1.1 99\n" }, { "read_until", "\n" },
      { "send", "ERR CONN failed\n" }, { "close" },
    }
    for _, proxy in ipairs { refused, other, failing } do
      local output, status = child.run {
        "examples/sockproxy.lua", servers.url("demo", "ws", "/echo"), tostring(proxy.port),
      }
      output = output:gsub("2\tluws: [^\n]*; connecting to 127%.0%.0%.1:%d+ without it\n", "(warning)\n")
      assert.equal([[
by hand: connected directly
by hand: received hello
(warning)
built in: connected directly
built in: received hello
]], output)
      assert.equal(0, status)
      proxy:close()
    end
  end)

  it("reports why it cannot connect, with status 1", function()
    local refused = scripted.refused()
    local output, status = child.run { "examples/sockproxy.lua", refused.url, tostring(refused.port) }
    local failure = ("cannot open %s: Connection to %s failed: connection refused\n")
      :format(refused.url, refused.url:match "//(.*)/")
    assert.equal("by hand: " .. failure .. "built in: " .. failure, (output:gsub("2\t[^\n]*\n", "")))
    assert.equal(1, status)
  end)
end)

describe("examples/websocket.lua", function()
  it("talks to an echo server over ws and wss", function()
    for _, scheme in ipairs { "ws", "wss" } do
      local url = servers.url("demo", scheme, "/echo")
      local output, status = child.run { "examples/websocket.lua", url, scheme == "wss" and servers.ca_file() or nil }
      assert.equal(([[
connecting to %s
open, 33 bytes sent
received: hello
received: from Lua
received: with a smile 🙂
received: 3 bytes
closed: 1000, clean
]]):format(url), output)
      assert.equal(0, status)
    end
  end)

  it("reports what failed, with status 1", function()
    local url = scripted.refused().url
    local output, status = child.run { "examples/websocket.lua", url }
    assert.equal(("connecting to %s\nfailed: Connection to %s failed: connection refused\nclosed: 1006, not clean\n")
      :format(url, url:match "//(.*)/"), output)
    assert.equal(1, status)
  end)
end)

describe("examples/reactor_loop.lua", function()
  for _, loop in ipairs { "run", "select", "copas", "cqueues", "luv", "frames" } do
    it("drives its connections in the loop " .. loop, function()
      local output, status = child.run { "examples/reactor_loop.lua", servers.url("demo", "ws", "/echo"), loop, "20" }
      assert.same({ "20 of 20 connections had an answer\n", 0 }, { output, status })
    end)
  end

  it("says why connections fail", function()
    local output, status = child.run { "examples/reactor_loop.lua", "ws://127.0.0.1:1/", "run", "3" }
    assert.same({ "lost: Connection to 127.0.0.1:1 failed: connection refused\n0 of 3 connections had an answer\n", 1 },
      { output, status })
  end)
end)

describe("examples/plugin_test.lua", function()
  it("passes", function()
    local output, status = child.run { "examples/plugin_test.lua" }
    assert.equal([[
passed: a lost connection is opened again, later each time
passed: a message goes into a variable
passed: a network that brings everything in pieces, late, changes nothing
passed: a quiet server is pinged, and one that is dead is given up
passed: the action Send sends
done
]], output)
    assert.equal(0, status)
  end)
end)
