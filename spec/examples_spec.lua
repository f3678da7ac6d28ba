-- The examples as a user runs them: what they print and with which status they end, so that what is shown works.

local child = require "spec.support.child"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

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

  -- what the server is, a peer, the output: a pattern with %URL and %HOST, and the status
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
  local SECONDS = 2.5 -- that each of them runs: the third turn, at one a second, is the last
  local peer, results

  -- They do nothing most of the time, so they run together.
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

  it("connects again when it loses its connection", function()
    assert_ran(results.closing, [[
connected to URL
lost: receiver error: closed
connected to URL
done
]])
    assert.equal(2, peer:connections())
    peer:go() -- the second script has nobody to talk to any more
    for i = 1, 2 do assert.equal("hello from the plugin", peer:result(i).frames[1].payload) end
  end)

  it("waits longer after each attempt that fails", function()
    assert_ran(results.refused, [[
cannot connect: Connection to HOST failed: connection refused; again in 1 s
cannot connect: Connection to HOST failed: connection refused; again in 2 s
done
]])
  end)
end)
