-- A process that opens, uses and closes connections all the time must not grow. Two thirds of them echo a message; each
-- of the others fails in one of the ways below, in turn. Afterwards the process has the descriptors and threads that it
-- had after its first rounds, and at most MOST more memory.
--
--   LUA churn.lua SCHEME COUNT    prints what happened, and fails if something is left
--
-- Run by scripts/soak.sh, in the project's folder. How many connections there can be at once is many.lua's matter.

local luws = require "luws"
local measure = require "spec.support.measure"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"

local scheme, count = arg[1], tonumber(arg[2])
local MOST = 1024 * 1024 -- bytes

luup = { log = function() end } -- luacheck: ignore (handlers raise errors on purpose)

local tls = scheme == "wss"
local echo = servers.url("demo", scheme, "/echo")

local function peer(script)
  if script.tls == nil then script.tls = tls end
  return (scripted.peer(script).url:gsub("^ws+", scheme))
end

--- Opens a connection, if that is possible. Returns it and the list of what its handler will be told; or false and why
-- not. `handler` is called, too.
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
    local conn = open(echo, { sink = function() return function() called = true return nil, "on purpose" end end })
    assert(luws.wssend(conn, 1, "x"))
    luws.wswait(conn, 1)
    luws.wsreceive(conn)
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

local failures = 0

local function play(rounds)
  for i = 1, rounds do
    if i % 3 == 0 then
      failures = failures + 1
      FAILURES[failures % #FAILURES + 1]()
    else
      echoes()
    end
    if i % 100 == 0 then collectgarbage() end -- those that nobody closes must not fill the table of descriptors
  end
end

--- Returns what the process has once everything that was begun is over.
local function rest()
  collectgarbage()
  luws.sleep(0.1) -- for those that linger
  return measure.descriptors(), measure.threads(), measure.resident()
end

play(30 * #FAILURES) -- the first ones, ten failures of each kind
local descriptors, threads, resident = rest()
local began = socket.gettime()
failures = 0
play(count)
local left_descriptors, left_threads, left_resident = rest()
local grown = left_resident - resident
io.write(("%d connections in %.0f s, %d of them failures of %d kinds; descriptors %d -> %d, threads %d -> %d, "
  .. "resident memory %.1f MiB %+.2f MiB\n"):format(count, socket.gettime() - began, failures, #FAILURES, descriptors,
  left_descriptors, threads, left_threads, resident / 2 ^ 20, grown / 2 ^ 20))
assert(left_descriptors == descriptors and left_threads == threads, "something was left")
assert(grown <= MOST, "the process has grown")
