-- The command line as scripts use it: in pipes, with files; what it prints where, and its exit status. Over real
-- sockets, for that is all that it adds to the module. On a terminal: command_terminal_spec.lua.

local command = require "spec.support.command"
local files = require "spec.support.files"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local unpack = require "spec.support.compat".unpack

local read = files.read
local line, run, shell = command.line, command.run, command.shell

local function closing(code)
  return scripted.frame { opcode = "close", payload = scripted.close_payload(code, "why") }
end

describe("luws connect", function()
  local peer
  local url = servers.url("demo", "ws", "/echo")

  after_each(function()
    if peer then peer:close() end
    peer = nil
  end)

  -- what is done, the input, the arguments, and what goes to the standard output
  for _, case in ipairs {
    { "sends lines and prints messages as they are", "one\ntwo \27[1m\r\nlast", {}, "one\ntwo \27[1m\r\nlast\n" },
    { "sends empty lines", "\na\n", {}, "\na\n" },
    { "sends what -x says and no input", "input\n", { "-x", "a b", "--execute=c" }, "a b\nc\n" },
    { "prints binary messages as digits", "\1\254\n", { "-b" }, "01fe\n" },
    { "prints JSON with line ends", "", { "-j", "-x", '{"a":[1.50,{},"\\"}"],"b":null}', "-x", "no {json" },
      '{\n  "a": [\n    1.50,\n    {},\n    "\\"}"\n  ],\n  "b": null\n}\nno {json\n' },
    { "sends lines with slashes as they are", "/ping\n//x\n", {}, "/ping\n//x\n" },
    { "obeys lines with slashes if it is told to", "/binary 00 Ff\n//x\n", { "--slash" }, "00ff\n/x\n" },
    { "compresses and offers subprotocols", "a\n", { "--compress", "-H", "X-A: b" }, "a\n" },
  } do
    local name, input, arguments, expected = unpack(case)
    it(name, function()
      arguments[#arguments + 1] = url
      local output, said, status = run(input, "connect", "-w", "0.3", unpack(arguments))
      assert.equal(expected, output)
      assert.equal("connected to " .. url .. "\nclosed\n", said)
      assert.equal(0, status)
    end)
  end

  it("reads files, nothing, and no input at all", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    for i = 1, 30000 do file:write("line ", i, "\n") end
    file:close()
    local talk = line("connect", "-q", "-w", "0.3", url)
    local output, said, status = shell(("%s <%s 2>$errors"):format(talk, path))
    assert.is_true(output == read(path), "not all lines have come back")
    assert.same({ "", 0 }, { said, status })
    os.remove(path)
    for _, input in ipairs { "</dev/null", "<&-" } do
      assert.same({ "", "", 0 }, { shell(("%s %s 2>$errors"):format(talk, input)) })
    end
  end)

  it("sends more than the server takes at once, and waits until it has left", function()
    local script = "yes 'much to send' | head -n 100000 | %s 2>$errors"
    local talk = line("connect", "-q", "-w", "0", servers.url("demo", "ws", "/drain"))
    local output, said, status = shell(script:format(talk))
    assert.same({ "", "", 0 }, { output, said, status })
  end)

  it("writes binary messages to a file", function()
    local path = os.tmpname()
    local output, _, status = run("a\1\nb\n", "connect", "-q", "-b", "-w", "0.3", "-o", path, url)
    assert.same({ "", 0, "a\1b" }, { output, status, read(path) })
    os.remove(path)
    output, _, status = run("a\n", "connect", "-b", "-o", "/nowhere/file", url)
    assert.same({ "", 1 }, { output, status })
  end)

  it("does not send what is not UTF-8, says so, and fails", function()
    local output, said, status = run("\255\nmore\n", "connect", "-w", "0.3", url)
    assert.same({ "", 1 }, { output, status })
    assert.matches("\nnot sent: send error: [^\n]*UTF%-8\nnot everything was sent\nclosed\n$", said)
  end)

  -- how it ends, the peer's script, the status, and what is said (a pattern)
  for _, case in ipairs {
    { "is closed with 1000", { { "upgrade" }, { "send", closing(1000) }, { "read_to_eof" } }, 0,
      "\nclosed by the server: 1000 %(normal closure%): why\n" },
    { "is closed with another code", { { "upgrade" }, { "send", closing(4001) }, { "read_to_eof" } }, 7,
      "\nclosed by the server: 4001: why\n" },
    { "is lost", { { "upgrade" } }, 6, "\nlost: no close frame came\n" },
    { "breaks a rule", { { "upgrade" }, { "send", "\255\255" }, { "read_to_eof" } }, 6, "\nlost: [^\n]+\n" },
    { "is refused", { { "upgrade", status = "HTTP/1.1 401 Go away" }, { "read_to_eof" } }, 5,
      "^cannot open ws://127.0.0.1:%d+/: upgrade failed; HTTP/1.1 401 Go away\n  %w" },
  } do
    local name, script, expected, text = unpack(case)
    it("tells by its status that the connection " .. name, function()
      peer = scripted.peer(script)
      local output, said, status = run("", "connect", "-w", "9", peer.url)
      assert.matches(text, said)
      assert.same({ "", expected }, { output, status })
    end)
  end

  it("says with -q how it was closed if that is an error, and nothing if not", function()
    for code, expected in pairs { [1000] = { "", 0 }, [4001] = { "closed by the server: 4001: why\n", 7 } } do
      peer = scripted.peer { { "upgrade" }, { "send", closing(code) }, { "read_to_eof" } }
      local _, said, status = run("", "connect", "-q", "-w", "9", peer.url)
      assert.same(expected, { said, status })
      peer:close()
    end
  end)

  it("verifies certificates, says how to trust another one, and does so", function()
    local secure = servers.url("demo", "wss", "/echo")
    local _, said, status = run("a\n", "connect", secure)
    assert.equal(4, status)
    assert.matches("^cannot open wss://[^\n]*: Failed SSL negotation: certificate verify failed", said)
    local fingerprint, key = said:match "\n    (%x[%x:]+)\n[^\n]*\n    (sha256/%S+)\n"
    for _, arguments in ipairs {
      { "--ca", servers.ca_file() }, { "--fingerprint", fingerprint }, { "--fingerprint=" .. key }, { "--insecure" },
    } do
      local output
      arguments[#arguments + 1] = secure
      output, said, status = run("a\n", "connect", "-w", "0.3", unpack(arguments))
      assert.same({ "a\n", 0 }, { output, status }, said)
    end
    assert.matches("was not verified", said)
  end)

  it("does not show what is secret in a URL", function()
    local secret = url:gsub("//", "//me:hush@") .. "?token=hush"
    local output, said, status = run("a\n", "connect", "-w", "0.3", secret)
    assert.same({ "a\n", "connected to " .. url .. "?...\nclosed\n", 0 }, { output, said, status })
  end)

  it("sends nothing of what it says to the server, where a standard stream is closed", function()
    local talk = line("connect", "-w", "0.3", "-x", "a", url)
    assert.same({ "a\n", "", 0 }, { shell(talk .. " 2>&-") })
    local output, said, status = shell(talk .. " >&- 2>$errors")
    assert.same({ "", 1 }, { output, status })
    assert.matches("^connected to [^\n]*\nluws: the output cannot be written: Bad file descriptor\n$", said)
    peer = scripted.peer { { "upgrade" }, { "read_frame", 2 }, { "send", closing(1000) }, { "read_to_eof" } }
    shell(line("connect", "-w", "9", "-x", "a", peer.url) .. " <&- >&- 2>&-")
    assert.equal("a", peer:result().frames[1].payload)
  end)

  for signal, expected in pairs { INT = 130, TERM = 143 } do
    it("closes the connection when it gets the signal " .. signal, function()
      peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "send", "\136\2\3\233" }, { "read_to_eof" } }
      local _, said, status = shell(([[
        %s </dev/null 2>$errors & wait_for grep -q connected $errors
        kill -%s $!; wait $!]]):format(line("connect", "-w", "forever", peer.url), signal))
      assert.equal(expected, status)
      assert.matches("\nclosed", said)
    end)
  end
end)

describe("luws listen", function()
  -- the arguments, what the clients send in turn, what each prints, and a line of the log (a pattern)
  for _, case in ipairs {
    { "echoes", { "--log" }, "a", "a\n", "#1 text: a\n#1 closed: 1000\n" },
    { "greets", { "-x", "hello", "--log" }, "a", "hello\n", "#1 open: 127.0.0.1 /path\n" },
    { "broadcasts to others", { "--broadcast" }, "a", "", "^$" },
  } do
    local name, arguments, input, expected, log = unpack(case)
    it(name .. ", and closes when it is told to end", function()
      local path = os.tmpname()
      local output, said, status = shell(([[
        %s 0 >%s 2>$errors & wait_for grep -q listening $errors
        url=$(sed -n 's/^listening at //p' $errors)path
        %s "$url" </dev/null 2>/dev/null; wait_for %s
        kill -TERM $!; wait $!]]):format(line("listen", unpack(arguments)), path,
        line("connect", "-w", "0.3", "-x", input), log == "^$" and "true" or "grep -q closed " .. path))
      assert.same({ expected, 143 }, { output, status }, said)
      assert.matches(log, read(path))
      os.remove(path)
    end)
  end

  it("talks: sends its input to all clients once there are some, and prints what they say", function()
    local output, said, status = shell(([[
      printf 'one\nlast' | %s >$errors.out 2>$errors & wait_for grep -q listening $errors
      url=$(sed -n 's/^listening at //p' $errors)
      printf 'hi\n/binary ff00\n' | %s $url
      wait_for grep -q ff00 $errors.out; cat $errors.out; rm $errors.out
      kill -TERM $!; wait $!]]):format(line("listen", "0", "--talk"), line("connect", "-q", "--slash", "-w", "0.3")))
    assert.same({ "one\nlast\nhi\nff00\n", 143 }, { output, status }, said)
  end)
end)

describe("luws doctor", function()
  local peer

  after_each(function()
    if peer then peer:close() end
    peer = nil
  end)

  --- Returns what it reports, without times.
  local function examine(...)
    local output, _, status = run("", "doctor", ...)
    return (output:gsub(" %(%d+%.%d ms%)", ""):gsub("%d+%.%d ms", "N ms")), status
  end

  it("reports each step to a server and back, and nothing secret", function()
    local url = servers.url("demo", "wss", "/echo")
    local output, status = examine("--ca", servers.ca_file(), (url:gsub("//", "//me:hush@") .. "?token=hush"))
    for _, text in ipairs {
      "luws%s+%d+, [^\n]+", "url%s+" .. url:gsub("%p", "%%%0") .. "%?%.%.%.", "lookup%s+ok%s+localhost: [%x:., ]+",
      "connect%s+ok%s+[%x:.]+ port %d+", "tls%s+ok%s+TLSv1.%d, %S+, the certificate is verified",
      "certificate%s+of [^\n]+, by [^\n]+, until %d+%-%d+%-%d+", "%s+SHA%-256 [%x:]+, key sha256/%S+",
      "upgrade%s+ok%s+101", "ping%s+ok%s+3 of 3 answered: N ms, N ms, N ms", "close%s+ok%s+the server has answered",
    } do
      assert.matches("%f[^\n%z]" .. text .. "\n", output)
    end
    assert.is_nil(output:find "hush")
    assert.equal(0, status)
  end)

  -- where it ends, the peer, the status, and the last lines (a pattern)
  for _, case in ipairs {
    { "connecting", function() return scripted.refused() end, 3,
      "\nconnect%s+FAILED%s+Connection to 127.0.0.1:%d+ failed: connection refused\n$" },
    { "TLS", function() return { url = servers.url("demo", "wss", "/echo"), close = function() end } end, 4,
      "\nconnect%s+ok[^\n]+\ntls%s+FAILED%s+certificate verify failed [^\n]+\n.*SHA%-256.*sha256/" },
    { "the upgrade", function()
      return scripted.peer { { "upgrade", status = "HTTP/1.1 404 Not Found" }, { "read_to_eof" } }
    end, 5, "\nconnect%s+ok[^\n]+\nupgrade%s+FAILED%s+HTTP/1.1 404 Not Found\n" },
    { "a server that does not answer", function() return scripted.peer { { "upgrade" } } end, 6,
      "\nupgrade%s+ok%s+101\nping%s+FAILED%s+0 of 3 answered\nclose%s+FAILED%s+the server has closed, code 1006\n$" },
  } do
    local name, start, expected, text = unpack(case)
    it("says what is wrong with " .. name, function()
      peer = start()
      local output, status = examine(peer.url)
      assert.matches(text, output)
      assert.equal(expected, status)
    end)
  end

  -- the certificate, how OpenSSL says what is wrong with it, and what that means (patterns)
  for _, case in ipairs {
    { "expired", "certificate has expired", "its time is over, or the clock here is wrong %(it says %d+%-%d+%-%d+%)" },
    { "future", "certificate is not yet valid", "its time has not come, or the clock" },
    { "wrong-host", "hostname mismatch", "it is for other names than localhost" },
    { "self-signed", "self.signed certificate", "the server has signed it itself" },
    { "unknown", "unable to get local issuer certificate", "nobody here trusts its authority %(%-%-ca FILE does%)" },
    { "wrong-purpose", "unsuitable certificate purpose", "it is not for servers" },
  } do
    local name, wrong, meaning = unpack(case)
    it("says in words what is wrong with the certificate " .. name, function()
      peer = scripted.peer { tls = { certificate = name } }
      local output, status = examine("--ca", servers.ca_file(), peer.url)
      local report = "\nconnect%s+ok[^\n]*\ntls%s+FAILED%s+certificate verify failed %(" .. wrong .. "%)\n  " .. meaning
      assert.matches(report, output)
      assert.matches("\n    sha256/%S+\n", output)
      assert.equal(4, status)
    end)
  end

  it("reports the certificate of a server that refuses the upgrade, too", function()
    peer = scripted.peer {
      { "upgrade", status = "HTTP/1.1 404 Not Found" }, { "read_to_eof" }, tls = { certificate = "server" },
    }
    local output, status = examine("--ca", servers.ca_file(), peer.url)
    assert.matches("\ntls%s+ok%s+TLSv1.3, %S+, the certificate is verified\ncertificate%s+of CN=[^\n]+\n"
      .. "%s+SHA%-256 [^\n]+\nupgrade%s+FAILED%s+HTTP/1.1 404 Not Found\n", output)
    assert.equal(5, status)
  end)

  it("says that a name has no address", function()
    local output, status = examine "ws://no-such-host.invalid/"
    assert.matches("\nlookup%s+FAILED%s+no%-such%-host.invalid: [^\n]+\n$", output)
    assert.equal(3, status)
  end)
end)

describe("luws", function()
  it("prints its version and its pages", function()
    local version = require "luws"._VERSION
    assert.matches("^luws " .. version .. " %(Lua%w* %d[^\n]*%)\n$", (run("", "--version")))
    for _, words in ipairs { { "help" }, { "--help" } } do
      local output, said, status = run("", unpack(words))
      assert.same({ "", 0 }, { said, status })
      for _, name in ipairs { "connect", "listen", "doctor", "bridge" } do
        assert.matches("\n  " .. name .. " ", output)
      end
    end
    for _, name in ipairs { "connect", "listen", "doctor" } do
      local output = run("", "help", name)
      assert.matches("^usage: luws " .. name .. " ", output)
      assert.equal(output, (run("", name, "--help")))
      for text in output:gmatch "[^\n]+" do assert.is_true(#text <= 100, text) end
    end
  end)

  -- wrong words, and what is said (plain)
  for _, case in ipairs {
    { {}, "luws: a command is missing" },
    { { "conect" }, "luws: there is no command 'conect' (connect?)" },
    { { "help", "me" }, "luws: there is no command 'me'" },
    { { "--wrong" }, "luws: unknown option '--wrong'" },
    { { "connect" }, "luws connect: the URL is missing\nusage: luws connect [OPTION]... URL\n" },
    { { "connect", "ws://h/", "x" }, "luws connect: too many arguments: x" },
    { { "connect", "--isecure", "ws://h/" }, "luws connect: unknown option '--isecure' (--insecure?)" },
    { { "connect", "-z", "ws://h/" }, "luws connect: unknown option '-z'" },
    { { "connect", "--json=yes", "ws://h/" }, "luws connect: option '--json' takes no value" },
    { { "connect", "ws://h/", "-H" }, "luws connect: option '-H' needs a value: NAME:VALUE" },
    { { "connect", "-Hhush", "ws://h/" }, "luws connect: option '-H': NAME:VALUE expected\n" },
    { { "connect", "--auth", "hush", "ws://h/" }, "luws connect: option '--auth': USER:PASSWORD expected\n" },
    { { "connect", "-vqz", "ws://h/" }, "luws connect: unknown option '-z'" },
    { { "listen" }, "luws listen: the port is missing\n" },
    { { "help", "connect", "x" }, "luws: too many arguments: x" },
    { { "connect", "ftp://h/" }, "it does not begin with ws:// or wss://" },
    { { "connect", "" }, "luws connect: Invalid protocol/address for WebSocket open in URL ws://: " },
    { { "listen", "x" }, "luws listen: a port from 0 to 65535 expected, got 'x'" },
    { { "listen", "1e3" }, "luws listen: a port from 0 to 65535 expected, got '1e3'" },
    { { "listen", "--echo", "--broadcast", "0" }, "luws listen: only one of" },
    { { "connect", "--cert", "build/pki/client.pem", "wss://h/" },
      "luws connect: option '--cert': --key is missing (build/pki/client.pem)\n" },
    { { "doctor", "ftp://h" }, "it does not begin with ws:// or wss://" },
  } do
    it("refuses " .. (table.concat(case[1], " "):gsub("^$", "nothing")), function()
      local output, said, status = run("", unpack(case[1]))
      assert.same({ "", 2 }, { output, status })
      assert.truthy(said:find(case[2], 1, true), said)
    end)
  end
end)
