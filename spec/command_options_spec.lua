-- The options of the command line: each does what its help says.

local command = require "spec.support.command"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local unpack = require "spec.support.compat".unpack

local function closing(code)
  return scripted.frame { opcode = "close", payload = scripted.close_payload(code, "") }
end

describe("luws connect", function()
  local peer

  after_each(function()
    if peer then peer:close() end
    peer = nil
  end)

  --- connect(script, input, ...): connects to a peer with this script. Returns what is printed, the status, and what
  -- the peer has seen.
  local function connect(script, input, ...)
    peer = scripted.peer(script)
    local arguments = { ... }
    arguments[#arguments + 1] = peer.url
    local output, said, status = command.run(input, "connect", unpack(arguments))
    return output .. said, status, peer:result()
  end

  -- the options, and what is in the request
  for _, case in ipairs {
    { { "-H", "X-A: b", "-H", "X-A:c" }, "\nX%-A: b, c\r\n" },
    { { "-H", "Cookie: a=1", "--header", "Cookie: b=2" }, "\nCookie: a=1; b=2\r\n" },
    { { "-qs", "one", "-jvstwo" }, "\nSec%-WebSocket%-Protocol: one, two\r\n" }, -- several in a word
    { { "-s", "one", "--subprotocol=two" }, "\nSec%-WebSocket%-Protocol: one, two\r\n" },
    { { "--compress" }, "\nSec%-WebSocket%-Extensions: permessage%-deflate" },
    { { "--auth", "me:hush" }, "^GET / HTTP/1.1\r\n" }, -- over ws, Basic has to be asked for
  } do
    it("asks for what these say: " .. table.concat(case[1], " "), function()
      local _, status, seen =
        connect({ { "upgrade" }, { "send", closing(1000) }, { "read_to_eof" } }, "", unpack(case[1]))
      assert.matches(case[2], seen.head)
      assert.is_nil(seen.head:find "hush")
      assert.equal(0, status)
    end)
  end

  -- the input, with --slash, and the first frame
  for _, case in ipairs {
    { "/ping a b\n", 9, "a b" },
    { "/pong\n", 10, "" },
    { "/binary 00ff\n", 2, "\0\255" },
    { "/close\n", 8, "\3\232" },
    { "/close 4001 bye now\n", 8, "\15\161bye now" },
    { "/quit\n", 8, "\3\232" },
    { "//quit\n", 1, "/quit" },
  } do
    it("obeys " .. case[1]:gsub("\n", ""), function()
      local _, status, seen =
        connect({ { "upgrade" }, { "read_frame" }, { "send", closing(1000) }, { "read_to_eof" } }, case[1], "--slash")
      assert.same({ case[2], case[3] }, { seen.frames[1].opcode, seen.frames[1].payload })
      assert.equal(0, status)
    end)
  end

  it("pings a silent server, which is lost if it does not answer", function()
    local said, status, seen = connect({ { "upgrade" }, { "read_frame" }, { "hold" } }, "", "--ping", "0.1", "-w", "9")
    assert.equal(9, seen.frames[1].opcode)
    assert.matches("\nlost: [^\n]*timeout\n$", said)
    assert.equal(6, status)
  end)

  it("says what the server has said that has refused it", function()
    local said, status = connect({
      { "upgrade", response = "HTTP/1.1 403 No\r\nX-Why: because\r\nContent-Length: 8\r\n\r\nGo away\n" },
      { "read_to_eof" },
    }, "")
    assert.matches("^cannot open [^\n]*: upgrade failed; HTTP/1.1 403 No\n", said)
    assert.truthy(said:find("\n  x-why: because\n  Go away\n", 1, true), said)
    assert.equal(5, status)
  end)

  it("uses the proxy from its options, or from the environment", function()
    local proxy = "http://127.0.0.1:" .. servers.start("tinyproxy").open
    local url = servers.url("demo", "ws", "/echo")
    local output, said, status = command.run("a\n", "connect", "-w", "0.3", "--proxy", proxy, url)
    assert.same({ "a\n", 0 }, { output, status }, said)
    output, said, status = command.shell(("http_proxy=%s timeout 20 %s 2>$errors"):format(proxy,
      command.line("connect", "-x", "a", "-w", "0.3", "--proxy", "env", url)))
    assert.same({ "a\n", 0 }, { output, status }, said)
    output, said, status = command.run("", "doctor", "--proxy", proxy, url)
    assert.same({ "", 0 }, { said, status })
    for _, text in ipairs { "proxy       " .. proxy, "proxy       ok", "upgrade     ok      101", "ping        ok" } do
      assert.truthy(output:find("\n" .. text, 1, true), output)
    end
    assert.is_nil(output:find("lookup", 1, true)) -- that is the proxy's to do
    output, said, status = command.run("", "doctor", "--proxy", (proxy:gsub("//", "//me:hush@")), "ws://127.0.0.1:1/")
    assert.matches("\nconnect%s+ok      %(%d[^\n]*\nproxy%s+FAILED%s+HTTP/1.1 %d%d%d [^\n]*\n$", output)
    assert.is_nil((output .. said):find("hush", 1, true))
    assert.equal(3, status)
    output, said, status = command.run("", "connect", "--proxy", "http://127.0.0.1:1", url)
    assert.matches("^cannot open [^\n]*: Proxy failed: connection refused\n", said)
    assert.same({ "", 3 }, { output, status })
  end)

  it("takes what a browser's address bar has for a URL, and ws without a scheme", function()
    local url = servers.url("demo", "ws", "/echo")
    for _, word in ipairs { url, (url:gsub("^ws:", "http:")), (url:gsub("^ws:", "HTTP:")), (url:gsub("^ws://", "")) } do
      local output, said, status = command.run("a\n", "connect", "-w", "0.3", word)
      assert.same({ "a\n", "connected to " .. url .. "\nclosed\n", 0 }, { output, said, status })
    end
    local _, said = command.run("", "connect", (servers.url("demo", "wss", "/"):gsub("^wss", "https")))
    assert.matches("^cannot open wss://", said)
  end)

  it("waits for a server that takes longer than -w to read what was sent, and to answer", function()
    local answers = "\129\0011\129\0012\129\0013\129\0014\129\0015"
    local said, status, seen = connect({
      { "upgrade" }, { "pieces", answers, 3, 0.15 }, { "read_frame", 2 }, { "send", closing(1000) }, { "read_to_eof" },
    }, "question\n", "-q", "-w", "0.4")
    assert.same({ "1\n2\n3\n4\n5\n", 0 }, { said, status })
    assert.same({ 1, 9 }, { seen.frames[1].opcode, seen.frames[2].opcode })
  end)

  it("does not wait for a server that goes on without end, once that has read everything", function()
    local begun = socket.gettime()
    local said, status = connect({
      { "upgrade" }, { "read_frame", 2 }, { "send", "\138\018luws: that was all" },
      { "pieces", ("\129\001x"):rep(50), 3, 0.1 },
    }, "question\n", "-q", "-w", "0.3")
    assert.matches("^x\n", said)
    assert.equal(0, status)
    assert.is_true(socket.gettime() - begun < 4)
  end)

  it("gives up after --timeout", function()
    peer = scripted.silent()
    local _, said, status = command.run("", "connect", "--timeout", "0.2", peer.url)
    assert.matches("^cannot open [^\n]*: [^\n]*: timeout\n", said)
    assert.equal(3, status)
  end)
end)

describe("luws listen", function()
  --- listen(arguments, signal, script): runs a script while luws listens; $url in it is where. Returns the same as
  -- command.shell.
  local function listen(arguments, signal, script)
    return command.shell(([[
      %s 2>$errors & wait_for grep -q listening $errors
      url=$(sed -n 's/^listening at //p' $errors)
      %s
      kill -%s $!; wait $!]]):format(command.line("listen", "0", unpack(arguments)), script, signal))
  end

  it("speaks subprotocols and compresses, if it is told to", function()
    local words = { "-v", "-s", "b", "-s", "a", "--compress", "-w", "0", "-x", "" }
    local script = command.line("connect", unpack(words)) .. ' "$url" 2>&1'
    local output, _, status = listen({ "-s", "a", "--compress" }, "INT", script)
    assert.matches("subprotocol a\n", output)
    assert.matches("\n  sec%-websocket%-extensions: permessage%-deflate", output)
    assert.equal(130, status)
    output, _, status = listen({ "--host", "::1" }, "HUP", script)
    assert.matches("^connected to ws://%[::1%]:%d+/\n", output)
    assert.is_nil(output:find "permessage")
    assert.equal(129, status)
  end)

  it("says that a port is in use", function()
    local peer = scripted.silent()
    local output, said, status = command.run("", "listen", tostring(peer.port))
    peer:close()
    assert.same({ "", ("Listening on 127.0.0.1:%d failed: address already in use\n"):format(peer.port), 3 },
      { output, said, status })
  end)
end)
