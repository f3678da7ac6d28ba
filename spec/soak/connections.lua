-- Connections that come and go: one that echoes, and one for each way in which a connection can fail.
--
--   local echoes, failures = require "spec.soak.connections" (scheme)
--   echoes()       opens a connection, has a message echoed, and closes it; options can be given
--   failures[i]()  fails in one way, and raises an error if it fails otherwise
--
-- Nothing of them is left but what lingers, and what the collector has to find. It does not know who measures that.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"

return function(scheme)
  local tls = scheme == "wss"
  local echo = servers.url("demo", scheme, "/echo")

  local function peer(script)
    if script.tls == nil then script.tls = tls end
    return (scripted.peer(script).url:gsub("^ws+", scheme))
  end

  --- Opens a connection, if that is possible. Returns it and the list of what its handler will be told; or false and
  -- why not. `handler` is called, too.
  local function open(url, more, handler)
    local options = { ssl_verify = "peer", ssl_cafile = servers.ca_file(), close_timeout = 0.05 }
    for name, value in pairs(more or {}) do options[name] = value end
    local told = {}
    local conn, why = luws.wsopen(url, function(_, opcode, data)
      told[#told + 1] = { opcode, data }
      if handler then handler() end
    end, options)
    return conn, conn and told or why
  end

  --- Receives until the handler was told something, or the connection is over.
  local function receive(conn, told)
    local deadline = socket.gettime() + 10
    repeat luws.wswait(conn, 1) until luws.wsreceive(conn) == nil or #told > 0 or socket.gettime() > deadline
  end

  local function close(conn)
    luws.wsclose(conn)
    luws.wswait(conn, 1)
  end

  local function echoes(more)
    local text = ("x"):rep(1000)
    local conn, told = open(echo, more)
    assert(conn, told)
    assert(luws.wssend(conn, 1, text))
    receive(conn, told)
    assert(told[1] and told[1][2] == text, "no echo")
    close(conn)
  end

  -- Each of these returns a function that fails in one way.

  local function not_opened(expected, url, more)
    return function()
      local conn, why = open(url, more)
      assert(not conn and why:lower():find(expected, 1, true), why)
    end
  end

  local function ends(expected, url, more)
    return function()
      local conn, told = open(url, more)
      assert(conn, told)
      receive(conn, told)
      assert(told[1] and told[1][1] == false and told[1][2]:find(expected, 1, true), told[1] and told[1][2])
      close(conn)
    end
  end

  local UPGRADE, HOLD, RESET, CLOSE = { "upgrade" }, { "hold" }, { "reset" }, { "close" }
  local SHORT = 0.005 -- seconds
  local ENDED = tls and "" or "closed" -- TLS has texts of its own
  local large = ("x"):rep(2 ^ 22) -- more than the sockets have room for
  local deaf = peer { receive_buffer = 4096, UPGRADE, { "wait" } }

  local FAILURES = {
    -- opening
    not_opened("connection refused", scripted.refused { tls = tls }.url),
    not_opened("connection refused", (scripted.refused { tls = tls }.url:gsub("127.0.0.1", "localhost"))), -- a look-up
    not_opened("timeout", scripted.silent { tls = tls }.url, { connect_timeout = SHORT }),
    not_opened("timeout", peer { { "request" }, HOLD }, { upgrade_timeout = SHORT }),
    not_opened("failed", peer { tls = false, RESET }),
    not_opened("failed", peer { tls = false, { "read", 5 }, RESET }),
    not_opened("failed", peer { { "request" }, RESET }),
    not_opened("failed", peer { { "request" }, CLOSE }),
    not_opened("403", peer { { "upgrade", response = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno" } }),
    not_opened("upgrade failed", peer { { "upgrade", replace = { ["Sec-WebSocket-Accept"] = "wrong" } } }),
    not_opened("bad option", echo, { connect_timeout = -1 }),
    not_opened("bad option", echo, { ssl_cafile = "/nonexistent" }),
    function() assert(not pcall(luws.wsopen, "http://localhost/")) end,
    -- the peer's end, and what it may not send
    ends(ENDED, peer { UPGRADE, RESET }),
    ends(ENDED, peer { UPGRADE, { "send", "\129\126\16" }, RESET }), -- within a frame
    ends("closed", peer { UPGRADE, { "send", "\1\3abc" }, CLOSE }), -- within a message
    ends("closed", peer { UPGRADE, { "send", "\136\2\3\232" }, CLOSE }), -- with a close frame
    ends("reserved opcode", peer { UPGRADE, { "send", "\131\0" }, HOLD }),
    ends("not valid UTF-8", peer { UPGRADE, { "send", "\129\1\255" }, HOLD }),
    ends("too big", peer { UPGRADE, { "send", "\130\126\255\255" }, HOLD }, { max_payload_size = 1000 }),
    ends("message timeout", peer { UPGRADE, HOLD }, { receive_timeout = SHORT }),
    -- what the program does
    function() -- it sends to a peer that does not read
      local conn = assert(open(deaf, { send_timeout = SHORT }))
      assert(not luws.wssend(conn, 2, large))
      close(conn)
    end,
    function() -- its handler raises an error
      local conn, told = open(echo, nil, function() error "on purpose" end)
      assert(luws.wssend(conn, 1, "x"))
      receive(conn, told)
      close(conn)
    end,
    function() -- its source fails within a message
      local conn, sent = open(echo), false
      assert(not luws.wssend(conn, 2, function()
        if sent then return nil, "on purpose" end
        sent = true
        return "x"
      end))
      close(conn)
    end,
    function() -- its sink fails
      local called
      local function sink() called = true return nil, "on purpose" end
      local conn, told = open(echo, { sink = function() return sink end })
      assert(luws.wssend(conn, 1, "x"))
      receive(conn, told)
      assert(called)
      close(conn)
    end,
    function() -- its coroutine never comes back
      coroutine.wrap(function()
        local conn = open(echo)
        luws.wssend(conn, 2, function() coroutine.yield() end)
      end)()
    end,
    function() assert(open(echo)) end, -- it does not close
    function() luws.wsclose((open(echo))) end, -- it does not wait
    -- other ways to the same
    function() echoes { connect = function(host, port) return socket.connect(host, port) end } end,
    function() echoes { deflate = true } end,
  }
  if tls then
    for _, failure in ipairs {
      not_opened("certificate verify failed", peer { tls = { certificate = "unknown" }, UPGRADE }),
      not_opened("certificate verify failed", peer { tls = { certificate = "expired" }, UPGRADE }),
      not_opened("mismatch", peer { address = "127.0.0.2", UPGRADE }),
      not_opened("fingerprint", echo, { ssl_fingerprint = ("00"):rep(32) }),
      not_opened("failed", peer { tls = false, { "read", 5 }, { "send", "HTTP/1.1 400 Bad Request\r\n\r\n" }, CLOSE }),
      not_opened("failed", peer { tls = { newest = "tlsv1_2" }, UPGRADE }, { ssl_protocol = "tlsv1_3" }),
    } do FAILURES[#FAILURES + 1] = failure end
  end

  return echoes, FAILURES
end
