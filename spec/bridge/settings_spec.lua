-- The options of a bridge: in Lua, on a command line, in a file. What is wrong is found before anything begins.

local files = require "spec.support.files"
local world = require "spec.support.world"

local CERTIFICATE, KEY = "build/pki/server.pem", "build/pki/server.key"

describe("the options of a bridge", function()
  local address, drafts, options, settings
  local path

  setup(function()
    local w = world.new()
    address, drafts, settings = w.import "bridge/address", w.import "bridge/draft", w.import "bridge/settings"
    options = w.import "bridge/options"
    path = os.tmpname()
  end)

  teardown(function() os.remove(path) end)

  local function write(text) files.write(path, text) end

  --- from_file(text): returns the settings in a file with this text, and remarks; or nil and what is wrong, without the
  -- name of the file.
  local function from_file(text)
    write(text)
    local draft = drafts.new()
    local remarks, wrong = draft:read(path)
    local read
    if remarks then read, wrong = draft:finish() end
    if read then return read, remarks end
    return nil, (wrong:gsub(path:gsub("%p", "%%%0"), "FILE"))
  end

  --- Returns the peer that a bridge with these settings has for a request for this path.
  local function peer_of(read, endpoint)
    return address.text(assert(read.backend { path = endpoint or "/", subprotocols = {}, headers = {} }).address)
  end

  it("have websocksy's defaults", function()
    local read = assert(settings.read {})
    local expected = {
      port = 8001, listen = "::", ping = 30, pong_timeout = 30, idle_timeout = 0, handshake_timeout = 10,
      connect_timeout = 10, max_connections = 1000, max_message = 16777216, max_segment = 1048576, buffer = 262144,
      compress = false, proxy_protocol = false, reverse = false, log_level = "info",
    }
    for name, value in pairs(expected) do assert.equal(value, read[name], name) end
    for _, name in ipairs { "allow", "origin", "auth", "auth_file", "tls_cert", "status", "target" } do
      assert.is_nil(read[name])
    end
    assert.same({ { host = "::", port = 8001 } }, read.places)
    assert.equal("tcp://localhost:5900", peer_of(read))
    assert.equal(read, settings.read(read))
    assert.equal(7, settings.read({ ping = 7 }).pong_timeout)
  end)

  it("are in the manual, each with its letter", function()
    local manual, missing = files.read "docs/bridge.md", {}
    for _, row in ipairs(options.CORE) do
      local short = row.short and ("`-%s %s`, "):format(row.short, row.value) or ""
      local long = ("`--%s%s`"):format(row[1], row.value and not row.short and " " .. row.value or "")
      if not manual:find(short .. long, 1, true) then missing[#missing + 1] = short .. long end
    end
    for _, rows in pairs(options.BACKENDS) do
      for _, row in ipairs(rows) do
        if not manual:find("| `" .. row[1] .. "` |", 1, true) then missing[#missing + 1] = row[1] end
      end
    end
    assert.same({}, missing)
  end)

  it("are read from Lua", function()
    local lines = {}
    local read = assert(settings.read {
      port = 0, listen = "unix:///run/bridge", host = "h", peer_port = 5, framing = "newline", framing_config = "lf",
      origin = "https://a.example", allow = { "tcp://127.0.0.1:*" }, auth = "user:password", status = "/status",
      tls_cert = CERTIFICATE, tls_key = KEY, tls_client_ca = CERTIFICATE,
      log = function(level, line) lines[#lines + 1] = level .. line end,
    })
    assert.equal("tcp://h:5", peer_of(read))
    assert.same({ { unix = "/run/bridge", mode = "600" } }, read.places)
    assert.same({
      ssl_certificate = CERTIFICATE, ssl_key = KEY, ssl_cafile = CERTIFICATE,
      ssl_verify = { "peer", "fail_if_no_peer_cert" },
    }, read.tls)
    assert.equal(401, read.access:refusal({ headers = {} }).status)
    assert.is_false(read.access:allows(address.parse "h:5", "192.0.2.1"))
    read.log:info "x"
    assert.same({ "infoluws bridge: x" }, lines)
    assert.equal("tcp://f:1", peer_of(assert(settings.read { peer = function() return { host = "f:1" } end })))
  end)

  -- options in Lua, and what is wrong
  for _, case in ipairs {
    { 5, "table of options expected, got number" },
    { { prt = 1 }, "bad option 'prt' (unknown; port?)" },
    { { path = "/" }, "bad option 'path' (unknown)" },
    { { backend = "file", host = "h" }, "bad option 'host' (unknown)" },
    { { backend = "none" }, "bad option 'backend' (defaultpeer, file or lua:FILE expected, got 'none')" },
    { { backend = "file" }, "bad option 'path' (it is missing: the backend 'file' needs a folder)" },
    { { backend = "lua:/nowhere" }, "bad option 'backend' (cannot open /nowhere" },
    { { backend = "file", peer = print }, "bad option 'backend' (there is a function for it, the option peer)" },
    { { peer = 5 }, "bad option 'peer' (a function expected, got 5)" },
    { { peer = print, host = "h" }, "bad option 'host' (unknown)" },
    { { port = 65536 }, "bad option 'port' (a whole number from 0 to 65535 expected, got 65536)" },
    { { port = "80" }, "bad option 'port' (a whole number from 0 to 65535 expected, got '80')" },
    { { peer_port = 0 }, "bad option 'peer_port' (a port from 1 to 65535 or the name of a service expected, got 0)" },
    { { listen = "" }, "bad option 'listen' (an address, a name or unix://PATH expected, got '')" },
    { { listen = "tcp://x" }, "bad option 'listen' (an address, a name or unix://PATH expected, got 'tcp://x')" },
    { { ping = 0 / 0 }, "bad option 'ping' (a number from 0 to 31536000 expected, got nan)" },
    { { ping = true }, "bad option 'ping' (a number from 0 to 31536000 expected, got true)" },
    { { connect_timeout = 0 }, "bad option 'connect_timeout' (a number from 0.001 to 31536000 expected, got 0)" },
    { { max_message = 1.5 }, "bad option 'max_message' (a whole number from 1 to 1073741824 expected, got 1.5)" },
    { { compress = "yes" }, "bad option 'compress' (true or false expected, got 'yes')" },
    { { status = "status" }, "bad option 'status' (a path that begins with / expected, got 'status')" },
    { { log_level = "all" }, "bad option 'log_level' (one of error, info, debug expected, got 'all')" },
    { { auth = "hush" }, "bad option 'auth' (USER:PASSWORD expected)" },
    { { auth_file = "/nowhere" },
      "bad option 'auth_file' (a file that can be read expected (No such file or directory), got '/nowhere')" },
    { { auth_file = "/" }, "bad option 'auth_file' (/ cannot be read: Is a directory)" },
    { { auth_file = "/dev/zero" },
      "bad option 'auth_file' (/dev/zero cannot be read: it has more than 1048576 bytes)" },
    { { auth_file = "/dev/null" }, "bad option 'auth_file' (/dev/null has no users)" },
    { { allow = {} }, "bad option 'allow' (at least one expected, got table)" },
    { { origin = { "https://a", 5 } }, "bad option 'origin' (a text expected, got table)" },
    { { host = "h:x" }, "bad option 'host' (a port from 1 to 65535 or the name of a service expected, got 'x')" },
    { { host = "h\n" }, "bad option 'host' (a text expected, got 'h\n')" },
    { { protocol = "a, b" }, "bad option 'protocol' (the name of a subprotocol expected, got 'a, b')" },
    { { tls_cert = CERTIFICATE }, "bad option 'tls_cert' (the private key (tls-key) is missing)" },
    { { tls_key = CERTIFICATE }, "bad option 'tls_key' (the certificate (tls-cert) is missing)" },
    { { tls_client_ca = CERTIFICATE }, "bad option 'tls_client_ca' (the certificate (tls-cert) is missing)" },
    { { tls_cert = CERTIFICATE, tls_key = CERTIFICATE }, "bad option 'tls_key' (no " },
    { { trusted_proxies = "localhost" },
      "bad option 'trusted_proxies' (an IP address, a network such as 10.0.0.0/8 or 'unix' expected, "
        .. "got 'localhost')" },
    { { reverse = true }, "bad option 'reverse' (the server (the backend's option url) is missing)" },
    { { url = "ws://h/" }, "bad option 'url' (it has no meaning without reverse)" },
    { { reverse = true, url = "ws://h/", allow = "tcp://a:1" }, "bad option 'allow' (it has no meaning with reverse)" },
    { { reverse = true, url = "ws://h/", host = "a" }, "bad option 'host' (it has no meaning with reverse)" },
    { { reverse = true, url = "ws://h/", protocol = "*" },
      "bad option 'protocol' (nobody offers a subprotocol with reverse)" },
    { { reverse = true, backend = "file", path = "/", expression = "a" },
      "bad option 'backend' (there is none with reverse)" },
    { { reverse = true, url = "http://h/" }, "bad option 'url' (" },
  } do
    it("are refused: " .. case[2]:gsub("\n", " "), function()
      local read, wrong = settings.read(case[1])
      assert.is_nil(read)
      assert.equal(case[2], (wrong:gsub("%-nan", "nan"):sub(1, #case[2])))
    end)
  end

  it("lead to a server, in reverse", function()
    local read = assert(settings.read { reverse = true, url = "wss://h/p", protocol = "a", framing = "binary" })
    assert.same({ url = "wss://h/p", framing = read.target.framing, subprotocol = "a" }, read.target)
    assert.equal("binary", read.target.framing.name)
    assert.is_nil(read.backend)
  end)

  describe("in a file", function()
    it("are websocksy's, with its spaces, comments and repetitions", function()
      local read, remarks = from_file(table.concat({
        "; a comment = 5", "port=9001", "  # [none] = 1", "[core] whatever", "\tlisten  =  127.0.0.1 \r",
        "port = 9002", "", "[backend]", "host = tcp://h:1\r", "framing = separator", "framing-config = a b=c ",
        "port = 2", "words", "[core]", "ping = 2.5", "compress = yes", "reverse = no",
      }, "\n"))
      assert.same({ "127.0.0.1", 9002, 2.5, true }, { read.listen, read.port, read.ping, read.compress })
      assert.same({ path .. ":13: there is no = in this line, so it is passed over" }, remarks)
      assert.equal("tcp://h:2", peer_of(read))
      local found = read.backend { path = "/", subprotocols = {}, headers = {} }
      assert.equal("a b=c", found.framing.config)
      assert.is_table((from_file "\239\187\191[core]\nport = 9001"))
      assert.is_table((from_file ""))
      assert.equal(80, from_file "port = http".port)
    end)

    it("configure the backend that was named last", function()
      local read = assert(from_file "backend = file\n[backend]\npath = /tmp\nexpression = a\nexpression = %endpoint%\n")
      assert.equal(404, (select(2, read.backend { path = "/", subprotocols = {}, headers = {} })))
      read = assert(from_file "[backend]\nhost = h:1\n[core]\nbackend = defaultpeer\n")
      assert.equal("tcp://localhost:5900", peer_of(read))
    end)

    -- the file, and what is wrong
    for _, case in ipairs {
      { "[cor]\n", "FILE:1: unknown section (lines begin with [core] or [backend])" },
      { "a\n [core]\n", "FILE:2: unknown section (lines begin with [core] or [backend])" },
      { "\nprt = 1", "FILE:2: option 'prt': unknown; port?" },
      { "= 1", "FILE:1: option '': unknown" },
      { "port =", "FILE:1: option 'port': a port from 0 to 65535 or the name of a service expected, got ''" },
      { "ping = 1e3", "FILE:1: option 'ping': a number from 0 to 31536000 expected, got '1e3'" },
      { "ping = -1", "FILE:1: option 'ping': a number from 0 to 31536000 expected, got '-1'" },
      { "max-connections = 0x10",
        "FILE:1: option 'max-connections': a whole number from 1 to 1000000 expected, got '0x10'" },
      { "compress = true", "FILE:1: option 'compress': yes or no expected, got 'true'" },
      { "auth = hush", "FILE:1: option 'auth': USER:PASSWORD expected" },
      { "[backend]\npath = /", "FILE:2: option 'path': unknown" },
      { "[backend]\nhots = h", "FILE:2: option 'hots': unknown" },
      { "[backend]\nhost = h:x\n",
        "FILE:2: option 'host': a port from 1 to 65535 or the name of a service expected, got 'x'" },
      { "[backend]\nframing = nwline\n", "FILE:2: option 'framing': " },
      { "[backend]\nframing = fixedlength\nframing-config = x\n", "FILE:2: option 'framing': " },
      { "backend = file\n[backend]\npath = /\nexpression = %cookie:a\n",
        "FILE:4: option 'expression': the variable %cookie: does not end with another %" },
      { "backend = file\n", "option 'path': it is missing: the backend 'file' needs a folder" },
      { "tls-cert = " .. CERTIFICATE, "FILE:1: option 'tls-cert': the private key (tls-key) is missing" },
      { "peer = x", "FILE:1: option 'peer': unknown" },
      { ("#"):rep(1024 * 1024 + 1), "FILE cannot be read: it has more than 1048576 bytes" },
    } do
      it("are refused: " .. case[2], function()
        local read, wrong = from_file(case[1])
        assert.is_nil(read)
        assert.equal(case[2], wrong:sub(1, #case[2]))
      end)
    end

    it("or the file itself cannot be read", function()
      for _, case in ipairs {
        { "/nowhere/bridge.cfg", "/nowhere/bridge.cfg cannot be read: No such file or directory" },
        { "/", "/ cannot be read: Is a directory" },
        { "/dev/zero", "/dev/zero cannot be read: it has more than 1048576 bytes" },
      } do
        assert.same({ nil, case[2] }, { drafts.new():read(case[1]) })
      end
    end)
  end)

  it("have passwords in a file, a line each", function()
    write "user:password\r\n\nb:c:d\n"
    local read = assert(settings.read { auth = "a:b", auth_file = path })
    for text, status in pairs { ["user:password"] = false, ["b:c:d"] = false, ["a:b"] = false, ["b:c"] = 401 } do
      local header = "Basic " .. require("mime").b64(text)
      local refusal = read.access:refusal { headers = { authorization = header } }
      assert.equal(status, refusal and refusal.status or false, text)
    end
    write "user:password\npassword\n"
    assert.same({ nil, ("bad option 'auth_file' (%s:2: USER:PASSWORD expected)"):format(path) },
      { settings.read { auth_file = path } })
  end)
end)
