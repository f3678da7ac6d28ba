-- luws bridge, as a process: its words and its file, where it listens, its signals and its statuses. What a bridge does
-- is tested in the other specs.

local bridging = require "spec.support.bridging"
local child = require "spec.support.child"
local command = require "spec.support.command"
local files = require "spec.support.files"
local luws = require "luws"
local servers = require "spec.support.servers"
local serving = require "spec.support.serving"
local socket = require "socket"
local terminal = require "spec.support.terminal"
local unix = require "socket.unix"
local unpack = require "spec.support.compat".unpack

local till = serving.till

describe("luws bridge", function()
  local running, paths = {}, {}

  after_each(function()
    bridging.over() -- a bridge waits for its peers at the end
    for _, one in ipairs(running) do one:stop() end
    for _, path in ipairs(paths) do os.remove(path) end
    running, paths = {}, {}
  end)

  --- start(word, ...), start{ word, ..., descriptors = }: starts it with these words. Returns an object of which
  -- `connect` is as in serving, and `child`.
  local function start(first, ...)
    local words = type(first) == "table" and first or { first, ... }
    local one = child.serve { descriptors = words.descriptors, "bin/luws", "bridge", unpack(words) }
    running[#running + 1] = one
    local scheme, host, port = one.line:match "^luws bridge: listening at (%a+)://(%S+):(%d+)$"
    return setmetatable({ child = one, scheme = scheme, host = host, port = port }, { __index = serving.methods })
  end

  local function temporary(text)
    local path = os.tmpname()
    paths[#paths + 1] = path
    return files.write(path, text)
  end

  --- assert_joins(client, peer): what one of the two sends, the other receives.
  local function assert_joins(client, peer)
    assert.is_true(luws.wssend(client.conn, 1, "to the peer"))
    assert.equal("to the peer", (peer:read(11)))
    peer:send "to the client"
    till(function() return client.told[1] end)
    assert.equal("to the client", client.told[1][2])
  end

  it("joins clients with the peer that its words name, and closes them when it is told to end", function()
    for _, signal in ipairs { "TERM", "INT" } do
      local listener = bridging.listen()
      local b = start("-l", "127.0.0.1", "-p", "0", "-c", "host=127.0.0.1", "-c", "port=" .. listener.port,
        "-c", "protocol=B", "--compress")
      local client = b:connect("/a?secret", { subprotocols = { "a", "b" }, deflate = true })
      assert.equal("b", client.conn.subprotocol)
      local peer = listener:accept()
      assert_joins(client, peer)
      os.execute(("kill -%s %s"):format(signal, b.child.pid))
      till(function() return client.conn.close_code end)
      assert.equal(1001, client.conn.close_code)
      peer:close()
      local said, status = b.child:wait()
      assert.equal(0, status)
      local ends = ("%%S+ /a%%?%%.%%.%%. %%-> tcp://127.0.0.1:%d %%(b%%)"):format(listener.port)
      assert.matches(("^luws bridge: open: %s\n"):format(ends), said)
      local over = ("\nluws bridge: closed: %s, 11 bytes in, 13 bytes out, %%d+%%.%%d s, code 1001\n$"):format(ends)
      assert.matches(over, said)
    end
  end)

  it("has as many descriptors as the system allows", function()
    local listener = bridging.listen()
    local b = start { "-l", "127.0.0.1", "-p", "0", "-c", "host=" .. listener.address, descriptors = 20 }
    for _ = 1, 20 do assert.is_true(b:connect "/".conn.connected) end
  end)

  it("reads websocksy's files", function()
    local listener = bridging.listen()
    local folder = files.unused()
    os.execute("mkdir " .. folder)
    paths[#paths + 1] = folder .. "/chat"
    paths[#paths + 1] = folder
    files.output(("echo '%s chat newline lf' >%s/chat"):format(listener.address, folder))
    local b = start(temporary(([[
      # websocksy's own layout
[core]
port = 0
listen = 127.0.0.1
ping = 30
backend = file

[backend]
path = %s/
expression = %%cookie:room%%
expression = %%endpoint%%
]]):format(folder)))
    local client = b:connect("/chat/", { subprotocols = { "chat" } })
    local peer = listener:accept()
    peer:send "one\ntwo"
    till(function() return client.told[1] end)
    assert.same({ 1, "one\n" }, client.told[1])
    assert.equal(404, serving.status(b:raw(serving.upgrade "/none")))
  end)

  it("has backends and framings that are Lua files", function()
    local listener = bridging.listen()
    local backend = temporary [[
      local options = ...
      return function(request)
        return { host = options[request.path], framing = options.framing, framing_config = "3" }
      end]]
    local framing = temporary [[
      local size = tonumber((...))
      return function(_, data) return #data >= size and size or nil, "text" end]]
    local b = start("-l", "127.0.0.1", "-p", "0", "-b", "lua:" .. backend, "-c", "framing=lua:" .. framing,
      "-c", "/in=" .. listener.address)
    local client = b:connect "/in"
    listener:accept():send "abcdef"
    till(function() return client.told[2] end)
    assert.same({ { 1, "abc" }, { 1, "def" } }, client.told)
    assert.equal(500, serving.status(b:raw(serving.upgrade "/none"))) -- a peer without a host
  end)

  it("runs the example", function()
    local text = files.read "examples/bridge.cfg"
    local listener = bridging.listen()
    text = text:gsub("port = 8001", "port = 0"):gsub(":1883", ":" .. listener.port)
    local b = start(temporary(text))
    local client = b:connect("/", { upgrade_headers = { Origin = "http://localhost:3000" }, subprotocols = { "mqtt" } })
    assert_joins(client, listener:accept())
    assert.equal(403, serving.status(b:raw(serving.upgrade("/", "Origin: https://evil.example"))))
  end)

  it("listens at a unix domain socket that only its user can use", function()
    local listener, path = bridging.listen(), bridging.path()
    local left = unix.stream()
    assert(left:bind(path)) -- nobody listens there any more
    left:close()
    local b = child.serve { "bin/luws", "bridge", "-l", "unix://" .. path, "-c", "host=" .. listener.address }
    running[#running + 1] = b
    assert.equal("luws bridge: listening at unix://" .. path, b.line)
    assert.equal("600\n", files.output("stat -c %a " .. path))
    local raw = unix.stream()
    assert(raw:connect(path))
    raw:send(serving.upgrade "/")
    listener:accept():close()
    raw:close()
    b:stop()
    assert.is_nil(io.open(path))
  end)

  it("takes the sockets that systemd passes to it", function()
    local listener = bridging.listen()
    local activate = "import os, socket, sys; s = socket.create_server(('127.0.0.1', 0)); fd = s.fileno(); "
      .. "os.dup2(fd, 3) if fd != 3 else None; os.set_inheritable(3, True); os.environ['LISTEN_FDS'] = '1'; "
      .. "os.environ['LISTEN_PID'] = str(os.getpid()); os.execvp(sys.argv[1], sys.argv[1:])"
    local errors = os.tmpname()
    paths[#paths + 1] = errors
    local words = command.line("bridge", "-l", "192.0.2.1", "-p", "1", "-c", "host=" .. listener.address)
    local pipe = io.popen(("exec python3 -c %s %s 2>%s & echo $!"):format(command.quote(activate), words, errors))
    local pid = pipe:read "*l"
    local port = till(function() return files.read(errors):match "listening at ws://127.0.0.1:(%d+)\n" end)
    local b = setmetatable({ host = "127.0.0.1", port = port }, { __index = serving.methods })
    assert_joins(b:connect "/", listener:accept())
    os.execute("kill " .. pid)
    pipe:close()
  end)

  it("speaks TLS, and asks clients for a certificate", function()
    local listener = bridging.listen()
    local b = start("-l", "127.0.0.1", "-p", "0", "-c", "host=" .. listener.address,
      "--tls-cert", "build/pki/server.pem", "--tls-key", "build/pki/server.key", "--tls-client-ca", servers.ca_file())
    assert.equal("wss", b.scheme)
    b.host = "localhost"
    local options = {
      ssl_verify = "peer", ssl_cafile = servers.ca_file(), ssl_certificate = "build/pki/client.pem",
      ssl_key = "build/pki/client.key",
    }
    assert_joins(b:connect("/", options), listener:accept())
    options.ssl_certificate, options.ssl_key = nil, nil
    assert.is_falsy(b:connect("/", options).conn.connected)
  end)

  it("reads its certificates again on HUP, and keeps the old ones if they are bad", function()
    local place = temporary(files.read(servers.pki "server.pem"))
    local b = start("-l", "127.0.0.1", "-p", "0", "-c", "host=h:1", "--tls-cert", place,
      "--tls-key", servers.pki "server.key")
    --- Returns the fingerprint of the certificate that it shows to a client that wants another one.
    local function fingerprint()
      local url = ("wss://127.0.0.1:%d/"):format(b.port)
      local _, why = luws.wsopen(url, nil, { ssl_fingerprint = ("00"):rep(32) })
      return assert(why:match "fingerprint mismatch: it is ([%x:]+)", why)
    end
    local function hang_up() os.execute("kill -HUP " .. b.child.pid) end
    local first = fingerprint()
    files.write(place, files.read(servers.pki "renewed.pem"))
    hang_up()
    till(function() return fingerprint() ~= first end)
    local second = fingerprint()
    files.write(place, files.read(servers.pki "rekeyed.pem"))
    hang_up()
    assert.equal(second, fingerprint())
    local said, status = b.child:stop()
    assert.equal(0, status)
    assert.matches("luws bridge: the certificates cannot be read again: [^\n]*not the key of the certificate", said)
  end)

  it("says on a terminal where it listens, and ends by Ctrl-C", function()
    local window = terminal.start(command.line("bridge", "-l", "127.0.0.1", "-p", "0", "-c", "host=h:1"))
    window:till "luws bridge: listening at ws://127.0.0.1:"
    window:key "C-c"
    assert.equal(0, window:status())
    assert.is_nil(window:screen(true):find "\27%[%d")
    window:close()
  end)

  it("goes on without its log, if nobody reads that any more", function()
    local talk = command.line("connect", "-q")
    local output, _, status = command.shell(([[
      mkfifo $errors.pipe; %s 2>$errors.pipe &
      url=$(head -n 1 $errors.pipe | sed 's/.* at //'); rm $errors.pipe
      for i in 1 2; do %s $url 2>/dev/null; echo "$?"; done
      kill $!; wait $!]]):format(command.line("bridge", "-l", "127.0.0.1", "-p", "0", "-c", "host=127.0.0.1:1"), talk))
    assert.same({ "5\n5\n", 0 }, { output, status }) -- refused twice, which the log was to be told
  end)

  it("says that it cannot listen", function()
    local taken = assert(socket.bind("127.0.0.1", 0))
    local _, port = taken:getsockname()
    local output, said, status = command.run("", "bridge", "-l", "127.0.0.1", "-p", port)
    taken:close()
    assert.same({ "", ("luws bridge: Listening on 127.0.0.1:%d failed: address already in use\n"):format(port), 1 },
      { output, said, status })
  end)

  it("prints its options, those of both backends, and its version", function()
    local output, said, status = command.run("", "bridge", "--help")
    assert.same({ "", 0 }, { said, status })
    for _, text in ipairs {
      "usage: luws bridge [OPTION]... | luws bridge FILE\n", "\n  -p, --port PORT ", "\n      --allow PATTERN ",
      "\n  -c, --backend-option OPTION=VALUE ", "\n  -c framing=NAME ", "\n  -c expression=TEMPLATE ",
    } do
      assert.truthy(output:find(text, 1, true), text)
    end
    for text in output:gmatch "[^\n]+" do assert.is_true(#text <= 120, text) end
    assert.equal(output, (command.run("", "help", "bridge")))
    assert.equal((command.run("", "--version")), (command.run("", "bridge", "--version")))
  end)

  -- wrong words, and what is said (plain)
  for _, case in ipairs {
    { { "/nowhere/bridge.cfg" }, "/nowhere/bridge.cfg cannot be read: No such file or directory" },
    { { "-p", "9000", "x" }, "an option expected, got 'x' (a file stands alone)" },
    { { "x", "-p", "9000" }, "an option expected, got 'x' (a file stands alone)" },
    { { "-p" }, "option '-p' needs a value: PORT" },
    { { "-p", "" }, "option '-p': a port from 0 to 65535 or the name of a service expected, got ''" },
    { { "-p", "99999" }, "option '-p': a port from 0 to 65535 or the name of a service expected, got '99999'" },
    { { "-k", "x" }, "option '-k': a number from 0 to 31536000 expected, got 'x'" },
    { { "-b", "none" }, "option '-b': defaultpeer, file or lua:FILE expected, got 'none'" },
    { { "-b", "lua:/nowhere" }, "option '-b': cannot open /nowhere" },
    { { "-c", "host" }, "option '-c': OPTION=VALUE expected, got 'host'" },
    { { "-c", "hots=h" }, "option '-c hots': unknown" },
    { { "-c", "framing=nwline" }, "option '-c framing': " },
    { { "-c", "framing=fixedlength" }, "option '-c framing': " },
    { { "-c", "path=/", "-b", "file" }, "option '-c path': unknown" },
    { { "-b", "file" }, "option 'path': it is missing: the backend 'file' needs a folder" },
    { { "-b", "file", "-c", "path=/", "-c", "expression=%cookie:a" },
      "option '-c expression': the variable %cookie: does not end with another %" },
    { { "-z", "1" }, "unknown option '-z'" },
    { { "--alow", "x" }, "unknown option '--alow' (--allow?)" },
    { { "--compress=yes" }, "option '--compress' takes no value" },
    { { "--allow", "10.0.0.1" }, "option '--allow': a pattern such as tcp://127.0.0.1:* or unix:///run/* expected" },
    { { "--auth", "hush" }, "option '--auth': USER:PASSWORD expected\n" },
    { { "--tls-cert", "build/pki/server.pem" }, "option '--tls-cert': the private key (tls-key) is missing" },
    { { "--tls-cert", "Makefile", "--tls-key", "Makefile" },
      "option '--tls-cert': no PEM certificate in it (Makefile)" },
    { { "--tls-cert", "build/pki/server.pem", "--tls-key", "build/pki/rsa.key" },
      "option '--tls-key': not the key of the certificate (build/pki/rsa.key)" },
    { { "--tls-cert", "build/pki/server.pem", "--tls-key", "build/pki/server.key", "--tls-client-ca", "Makefile" },
      "option '--tls-client-ca': no PEM certificate in it (Makefile)" },
    { { "--tls-peer-ca", "Makefile" }, "option '--tls-peer-ca': no PEM certificate in it (Makefile)" },
    { { "--trusted-proxies", "proxy.example" },
      "option '--trusted-proxies': an IP address, a network such as 10.0.0.0/8 or 'unix' expected, "
        .. "got 'proxy.example'" },
    { { "--reverse" }, "option '--reverse': the server (the backend's option url) is missing" },
  } do
    it("refuses " .. table.concat(case[1], " "), function()
      local output, said, status = command.run("", "bridge", unpack(case[1]))
      assert.same({ "", 1 }, { output, status })
      assert.truthy(said:find("luws bridge: ", 1, true) == 1 and said:find(case[2], 1, true), said)
      assert.is_nil(said:find("listening", 1, true))
      assert.is_nil(said:find("hush", 1, true))
    end)
  end

  it("refuses what is wrong in a file, with its line", function()
    local path = temporary "[core]\nport = 0\nprt = 1\n"
    local _, said, status = command.run("", "bridge", path)
    assert.equal(1, status)
    assert.equal(("luws bridge: %s:3: option 'prt': unknown; port?"):format(path), said:match "^[^\n]*")
  end)
end)
