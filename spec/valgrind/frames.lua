-- What a peer may not send, for everything.lua: before the upgrade, and frame by frame.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"

local frame, close_payload = scripted.frame, scripted.close_payload

local WRONG = {
  { "a reserved bit", frame { rsv = 1 } },
  { "every reserved bit", frame { rsv = 7, payload = "x" } },
  { "a reserved opcode", frame { opcode = 3 } },
  { "a reserved control opcode", frame { opcode = 11 } },
  { "a mask", frame { mask = true, payload = "x" } },
  { "a control frame in fragments", frame { opcode = "ping", fin = false } },
  { "a control frame that is long", frame { opcode = "ping", payload = ("x"):rep(126) } },
  { "a length that is too long", frame { length_form = 16, payload = "x" } },
  { "a length of 8 bytes that is too long", frame { length_form = 64, payload = "x" } },
  { "a length of 64 bits", "\130\127\255\255\255\255\255\255\255\255" },
  { "a continuation of nothing", frame { opcode = "continuation", payload = "x" } },
  { "a message within a message", frame { fin = false, payload = "a" } .. frame { payload = "b" } },
  { "text that is not UTF-8", frame { payload = "\195\40" } },
  { "text that is not UTF-8 over a border", frame { fin = false, payload = "\226\130" }
    .. frame { opcode = "continuation", payload = "\40" } },
  { "text that ends too early", frame { payload = "\240\159\146" } },
  { "a close frame of one byte", frame { opcode = "close", payload = "x" } },
  { "a close code that does not exist", frame { opcode = "close", payload = close_payload(1005) } },
  { "a close reason that is not UTF-8", frame { opcode = "close", payload = close_payload(1000, "\255") } },
  { "a message that is too big", frame { opcode = "binary", length = 70000 } },
  { "fragments that are too big", frame { opcode = "binary", fin = false, payload = ("x"):rep(40000) }
    .. frame { opcode = "continuation", payload = ("x"):rep(40000) } },
}

-- With compression: these bytes are no valid DEFLATE, or too much of it.
local DEFLATED = {
  { "compressed nonsense", frame { rsv = 4, opcode = "binary", payload = ("\255"):rep(50) } },
  { "a compressed distance before the start", frame { rsv = 4, opcode = "binary", payload = "\2\7\0\0\0" } },
  { "a compressed control frame", frame { rsv = 4, opcode = "ping", payload = "x" } },
  { "a continuation that says it is compressed", frame { rsv = 4, fin = false, payload = "x" }
    .. frame { rsv = 4, opcode = "continuation", payload = "x" } },
}

local function ends(bytes, upgrade, options)
  local peer = scripted.peer { upgrade, { "send", bytes }, { "hold" } }
  local why
  local conn = assert(luws.wsopen(peer.url, function(_, opcode, data) why = opcode == false and data end, options))
  poll(luws, conn)
  assert(why and not conn.connected, tostring(why))
  assert(({ [1002] = true, [1007] = true, [1009] = true })[conn.close_code_sent], conn.close_code_sent)
  luws.wsclose(conn)
  peer:close()
  -- The same bytes, one at a time.
  local quiet = scripted.peer { upgrade, { "hold" } }
  conn = assert(luws.wsopen(quiet.url, nil, options))
  local ok = true
  for i = 1, math.min(#bytes, 300) do ok = ok and luws.wshandleincoming(bytes:sub(i, i), conn) end
  luws.wsclose(conn)
  quiet:close()
  assert(not ok or #bytes > 300)
end

-- Responses that are no upgrade.
local RESPONSES = {
  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
    .. "5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 301 Moved\r\nLocation: ws://x/\r\n\r\n", "nonsense\r\n\r\n",
  "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 101 Yes\r\n\r\n",
  "HTTP/1.1 101 Yes\r\n" .. ("X: y\r\n"):rep(20000), "HTTP/1.1 401 \255\r\nX:\0\r\n\r\n", "\22\3\1\0\2\2\40",
  "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    .. "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n\r\n",
  "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    .. "Sec-WebSocket-Protocol: nobody-asked\r\n\r\n",
}

local function refuses(response)
  local peer = scripted.peer { { "upgrade", response = response }, { "close" } }
  local conn, why, answer = luws.wsopen(peer.url, nil, { deflate = true, upgrade_timeout = 1 })
  assert(conn == false and type(why) == "string", tostring(why))
  assert(answer == nil or type(answer.body) == "string")
  peer:close()
end

local parts = {}
for _, case in ipairs(WRONG) do parts[#parts + 1] = { case[1], ends, case[2], { "upgrade" } } end
local DEFLATES = { "upgrade", headers = { "Sec-WebSocket-Extensions: permessage-deflate" } }
for _, case in ipairs(DEFLATED) do parts[#parts + 1] = { case[1], ends, case[2], DEFLATES, { deflate = true } } end
for i, response in ipairs(RESPONSES) do parts[#parts + 1] = { "response " .. i, refuses, response } end
return parts
