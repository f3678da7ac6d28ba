-- Conversations that succeed, for everything.lua: each way to send and to receive, over sockets of either kind.

local coverage = require "spec.valgrind.coverage"
local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local source = require "spec.support.source"
local ssl = require "ssl"

local call = coverage.call
local TEXT = ("Grüße %d "):rep(20000):gsub("%%d", "5") -- 180 KB

-- What is sent and comes back.
local MESSAGES = {
  { 1, "" }, { 1, "x" }, { 1, TEXT:sub(1, 124) .. "." }, { 2, ("\0\255"):rep(63) }, { 2, ("\128"):rep(65535) },
  { 1, TEXT },
}

return function(scheme)
  local tls = scheme == "wss"
  local echo = servers.url("demo", scheme, "/echo?a=b")

  local function plain(host, port) return socket.connect(host, port) end

  local function luasec(host, port)
    local secure = assert(ssl.wrap(socket.connect(host, port), { mode = "client", protocol = "any", verify = "none" }))
    secure:settimeout(5)
    assert(secure:dohandshake())
    return secure
  end

  --- Opens a connection to `url`; returns it, and the list of what its handler is told.
  local function open(url, options)
    local told = {}
    options = options or {}
    if url:find "^wss" then options.ssl_verify, options.ssl_cafile = "peer", servers.ca_file() end
    options.max_payload_size = options.max_payload_size or 2 ^ 20
    local conn, why = luws.wsopen(url, function(_, opcode, data, ...)
      told[#told + 1] = { opcode, data, select("#", ...) }
    end, options)
    return assert(conn, why), told
  end

  local function until_told(conn, told, count)
    poll(luws, conn, function() return #told >= count end)
    assert(#told >= count, "only " .. #told .. " messages came")
  end

  local function finish(conn)
    luws.wsclose(conn, 1000, "done")
    if not luws.wswait(conn, 5) then error "the closing handshake does not end" end
    assert(conn.close_code == 1000 and conn.was_clean, tostring(conn.close_code))
  end

  --- Has all messages echoed, with these options.
  local function echoes(options)
    local conn, told = open(echo, options)
    for i, message in ipairs(MESSAGES) do
      assert(luws.wssend(conn, message[1], message[2]))
      assert(luws.wsflush(conn))
      until_told(conn, told, i)
      assert(told[i][1] == message[1] and told[i][2] == message[2], "the echo differs")
    end
    assert(luws.wssend(conn, 1, source { "a", TEXT, "", "b" }))
    until_told(conn, told, #MESSAGES + 1)
    assert(told[#told][2] == "a" .. TEXT .. "b")
    finish(conn)
    return told
  end

  --- The same over a socket of the program's own, and without a reply to the close frame.
  local function echoes_over_own_socket(options)
    local url = options.connect == luasec and echo:gsub("^wss", "ws") or echo
    local conn, told = open(url, options)
    for i, message in ipairs(MESSAGES) do
      assert(luws.wssend(conn, message[1], message[2]))
      until_told(conn, told, i)
      assert(told[i][2] == message[2], "the echo differs")
    end
    luws.wsclose(conn)
    assert(not conn.connected)
  end

  local function controls()
    local seen = {}
    local conn = open(echo, { control_handler = function(_, opcode, data, ...)
      seen[#seen + 1] = { opcode, data, select("#", ...) }
      return opcode ~= 9
    end, handler_args = { 1, nil, n = 3 }, ping_interval = 0.05, ping_timeout = 60 })
    for i, data in ipairs { "", ("p"):rep(125) } do
      assert(luws.wssend(conn, 9, data))
      poll(luws, conn, function() return #seen >= i end)
      assert(seen[i][1] == 10 and seen[i][2] == data and seen[i][3] == 3)
    end
    assert(luws.wshandleincoming("\137\2hi", conn))
    assert(seen[3][1] == 9 and seen[3][2] == "hi")
    poll(luws, conn, function() return conn.latency end)
    assert(#seen == 3 and conn.latency_smoothed >= 0)
    finish(conn)
  end

  local function methods()
    local conn, told = open(echo, { receive_timeout = 60, receive_chunk_size = 7 })
    assert(call(conn, "getfd") > 2 and call(conn, "pollfd") == call(conn, "getfd"))
    assert(call(conn, "dirty") == false and call(conn, "events") == "r" and call(conn, "timeout") > 0)
    assert(call(conn, "settimeout", 1) == 1)
    assert(select(2, call(conn, "receive")) == "timeout")
    assert(luws.wssend(conn, 1, ("x"):rep(100)))
    until_told(conn, told, 1)
    if tls then
      assert(conn.tls.verified and #conn.tls.fingerprint == 95)
      assert(conn.socket:getfd() > 2)
    end
    assert(conn.socket:setoption("keepalive", true) == 1)
    assert(conn.socket:getpeername() and conn.timings.upgrade >= 0)
    assert(select(2, conn.socket:setoption("nonsense", true)) == "unsupported option")
    assert(tostring(conn):find "^luws%-websock" and luws.dump(conn):find "connected=true")
    assert(luws.wslastping(conn) <= luws.gettime())
    assert(call(conn, "close", 1001, "bye") == 1)
    luws.wswait(conn, 5)
    assert(conn.close_code == 1001 and call(conn, "pollfd") == -1)
  end

  local function parts()
    local conn, told = open(echo)
    assert(luws.wshandleincoming("\1\3abc", conn))
    luws.wsreset(conn)
    assert(luws.wshandleincoming("\129\1e", conn))
    assert(#told == 1 and told[1][2] == "e")
    for i = 1, 9 do assert(luws.wshandleincoming(("\129\126\0\5hello"):sub(i, i), conn) or i > 0) end
    luws.wsclose(conn)
    luws.wswait(conn, 5)
  end

  local function a_sink()
    local got, over = {}, false
    local conn, told = open(echo, { sink = function(_, opcode)
      return opcode == 2 and function(piece)
        got[#got + 1] = piece
        over = over or piece == nil
        return 1
      end
    end })
    assert(luws.wssend(conn, 2, TEXT))
    poll(luws, conn, function() return over end)
    assert(table.concat(got) == TEXT)
    assert(luws.wssend(conn, 1, "not into the sink"))
    until_told(conn, told, 1)
    -- One that is receiving when the message is dropped.
    assert(luws.wshandleincoming("\2\3abc", conn))
    luws.wsreset(conn)
    finish(conn)
  end

  local function a_full_queue()
    local drained, refused = 0, nil
    local peer = scripted.peer { tls = tls, receive_buffer = 4096, { "upgrade" }, { "wait" }, { "read_to_eof" } }
    local conn = open(peer.url, { send_timeout = 0, max_buffered = 2 ^ 20, drain_handler = function()
      drained = drained + 1
    end })
    for _ = 1, 200 do
      local ok, why = luws.wssend(conn, 2, TEXT)
      if not ok then refused = why break end
    end
    assert(refused == "send error: buffer full", refused)
    assert(conn.bufferedAmount > 0 and call(conn, "events") == "rw")
    assert(luws.wssend(conn, 10, "pong"))
    peer:go()
    poll(luws, conn, function() return drained > 0 end)
    assert(drained == 1 and conn.bufferedAmount == 0)
    luws.wsclose(conn)
    luws.wswait(conn, 0)
  end

  local function a_flood(query, options)
    local conn, told = open(servers.url("demo", scheme, "/flood?size=300&count=500" .. query), options)
    poll(luws, conn)
    assert(#told == 501 and told[501][1] == false, #told)
    assert(conn.close_code == 1000)
    luws.wsclose(conn)
  end

  local function handlers_that_do_much()
    local rounds = 0
    local conn
    conn = assert(luws.wsopen(echo, function(self, opcode)
      if not opcode then return end
      rounds = rounds + 1
      if rounds == 1 then
        luws.wssend(self, 1, "again")
        luws.wsreceive(self)
        error { "not a string" }
      elseif rounds == 2 then
        self.msghandler = setmetatable({}, { __call = function() rounds = rounds + 1 luws.wsclose(self) end })
        luws.wssend(self, 1, "and again")
      end
    end, { upgrade_timeout = 5, connect_timeout = 15, ssl_verify = "none" }))
    assert(luws.wssend(conn, 1, "x"))
    poll(luws, conn, function() return not conn.connected end)
    assert(rounds == 3, rounds)
  end

  local function request_headers()
    local peer = scripted.peer { tls = tls, { "upgrade", headers = { "Sec-WebSocket-Protocol: b", "Set-Cookie: c=d" } },
      { "read_frame" }, { "close" } }
    local conn = open(peer.url, { use_masking = false, subprotocols = { "a", "b" },
      upgrade_headers = { ["X-Number"] = 5, Authorization = "Bearer abc" } })
    assert(conn.subprotocol == "b" and conn.response_headers["set-cookie"][1] == "c=d")
    assert(luws.wssend(conn, 1, "unmasked"))
    local seen = peer:result()
    assert(seen.headers["x-number"] == "5" and seen.frames[1].masked == false)
    luws.wsclose(conn)
  end

  local function any_bytes()
    local frame = scripted.frame { payload = "\255", length_form = 64 }
    local peer = scripted.peer { tls = tls, { "upgrade" }, { "drip", frame, 0.001 }, { "read_frame" }, { "close" } }
    local conn, told = open(peer.url, { validate_utf8 = false, allow_long_lengths = true })
    until_told(conn, told, 1)
    assert(told[1][2] == "\255")
    assert(luws.wssend(conn, 1, "\254"))
    luws.wsclose(conn, 1000, "\253")
    luws.wswait(conn, 5)
  end

  --- A debug hook that raises an error in the middle of a call.
  local function interruptions()
    for instructions = 5, 205, 40 do
      local conn = open(echo)
      luws.wssend(conn, 1, "x")
      luws.wswait(conn, 1)
      local was_called = false -- a handler's error goes to the log, and the connection stays open
      debug.sethook(function()
        debug.sethook()
        was_called = true
        error("hook", 0)
      end, "", instructions)
      pcall(function() while not was_called and luws.wsreceive(conn) ~= nil do luws.wswait(conn, 0.01) end end)
      debug.sethook()
      luws.wsclose(conn)
    end
  end

  return {
    { "plain", echoes },
    { "compressed", echoes, { deflate = true } },
    { "compressed, with every setting", echoes, { deflate = { level = 1, threshold = 0, client_max_window_bits = 9,
      server_max_window_bits = 9, client_no_context_takeover = true, server_no_context_takeover = true } } },
    { "compressed, in fragments", echoes, { deflate = { level = 9 }, fragment_size = 1000 } },
    { "gathered", echoes, { coalesce = true } },
    { "gathered and compressed", echoes, { coalesce = 100, deflate = true } },
    { "own sockets", echoes_over_own_socket, { connect = tls and luasec or plain } },
    { "own sockets, compressed", echoes_over_own_socket, { connect = plain, deflate = true,
      fragment_size = 5000 } },
    { "control frames", controls },
    { "methods", methods },
    { "parts", parts },
    { "a sink", a_sink },
    { "a full queue", a_full_queue },
    { "a flood", a_flood, "" },
    { "a flood of text", a_flood, "&text=unicode", { receive_chunk_size = 1000 } },
    { "a flood in fragments", a_flood, "&fragment=90", { deflate = true } },
    { "handlers that do much", handlers_that_do_much },
    { "headers of requests", request_headers },
    { "any bytes", any_bytes },
    { "interruptions", interruptions },
  }
end
