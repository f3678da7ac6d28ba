-- What hostile peers do: a table of attacks, each with the way that it must end and what it may cost. hostile.lua says
-- how they are endured.
--
-- An attack has these fields:
--
--   name      a sentence with the peer as its subject
--   steps     steps(scale): the script of the peer (scripted.lua); a flood is `scale` times as long
--   options   of wsopen
--   deflate   whether the bytes are compressed
--   proxy     whether the peer plays SockProxy (true), or how the URL of the proxy that it plays begins
--   scale     the scale over real sockets; 1 without it, and always in memory
--   act       what the program does once the connection is open, instead of receiving: a function of `endure`'s client
--   refused   the error of wsopen; the connection is never open
--   told      what the handler is told last: an error
--   sent      the error of the last wssend
--   counts    counts(scale): how many messages and control frames the handlers get
--   deadline  seconds from the call of wsopen until the end, for what only a deadline can end
--   held      bytes of input and output together that the session may hold between calls (memory)
--   kib       how much the memory of the process may grow, in KiB (real sockets)

local peers = require "spec.support.hostile_peers"
local scripted = require "spec.support.scripted"

local frame = scripted.frame
local CLOSE, zeros, flood, floods = peers.CLOSE, peers.zeros, peers.flood, peers.floods
local bomb, bombs, deaf, each = peers.bomb, peers.bombs, peers.deaf, peers.each

-- What SECURITY.md says of the memory of a connection: a message, a read, the unsent pongs.
local MESSAGE, READ, PONGS = 65535, 256 * 1024, 64 * 1024

-- The bytes of a message that is too large, and of a large one.
local MUCH, ALLOWED = 16 * 1024 * 1024, 4 * 1024 * 1024

local CLOSED = "receiver error: closed"

--- Discards the pieces of all messages.
local function sink()
  return function() return true end
end

--- Calls wsclose at once, and then again and again what advances the rest.
local function close(client)
  client.call("wsclose", client.conn)
  while not client.call("wswait", client.conn, 0) do client.call("sleep", 0.005) end
end

--- Sends until there is no more room.
local function send(client)
  local data = ("x"):rep(100000)
  local ok
  repeat ok, client.seen.sent = client.call("wssend", client.conn, 2, data) until not ok
end

local PING = frame { opcode = "ping", payload = ("?"):rep(125) }
local TINY, EMPTY = frame { opcode = 2, payload = "x" }, frame { opcode = 2 }
local PART = frame { opcode = 0, fin = false }
local BEGIN = frame { opcode = 2, fin = false, payload = "<" }
local LARGEST = frame { opcode = 2, payload = ("x"):rep(MESSAGE) }
local TOO_BIG = "message too big (over 65535 bytes; see max_payload_size)"

-- A header with a different name in each line, in a head of almost 64 KiB.
local NAMES = {}
for i = 1, 7200 do NAMES[i] = ("%x: 1"):format(0xfff + i) end

return {
  -- Before the connection is open
  {
    name = "sends a head of 1 MiB in one line",
    steps = function() return { { "request" }, { "send", "HTTP/1.1 101 " }, flood("x", 2 ^ 20), { "hold" } } end,
    refused = "upgrade failed; the head is over 65536 bytes",
  },
  {
    name = "sends header lines without end",
    steps = function(scale)
      return { { "request" }, { "send", "HTTP/1.1 101 X\r\n" }, flood("X-Y: z\r\n", 2e4 * scale), { "hold" } }
    end,
    refused = "upgrade failed; the head is over 65536 bytes",
  },
  {
    name = "sends informational responses without end",
    steps = function(scale)
      return { { "request" }, flood("HTTP/1.1 103 Early Hints\r\n\r\n", 1e4 * scale), { "hold" } }
    end,
    refused = "upgrade failed; too many informational responses",
  },
  {
    name = "sends its response a byte at a time",
    steps = function()
      return { { "request" }, { "drip", "HTTP/1.1 101 Switching Protocols\r\n", 0.25 }, { "hold" } }
    end,
    options = { upgrade_timeout = 1 },
    refused = "upgrade failed; timeout",
    deadline = 1,
  },
  {
    name = "sends thousands of headers of different names",
    steps = function() return { { "upgrade", headers = NAMES }, { "send", CLOSE }, { "hold" } } end,
    told = CLOSED,
    kib = 8192,
  },
  {
    name = "refuses with a body without end",
    steps = function(scale)
      return { { "request" }, { "send", "HTTP/1.1 503 No\r\n\r\n" }, flood("x", 1e6 * scale), { "hold" } }
    end,
    refused = "upgrade failed; HTTP/1.1 503 No",
  },
  {
    name = "refuses with a body whose chunks are mostly extensions",
    steps = function(scale)
      local chunk = ("1;%s\r\nx\r\n"):format(("y"):rep(30000))
      return {
        { "request" }, { "send", "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n" }, flood(chunk, 40 * scale),
        { "hold" },
      }
    end,
    refused = "upgrade failed; HTTP/1.1 503 No",
    kib = 8192,
  },
  {
    name = "refuses with a body that comes a byte at a time",
    steps = function()
      return { { "request" }, { "send", "HTTP/1.1 503 No\r\n\r\n" }, { "drip", ("x"):rep(100), 0.1 }, { "hold" } }
    end,
    refused = "upgrade failed; HTTP/1.1 503 No",
    deadline = 0.5,
  },
  {
    name = "plays SockProxy with a greeting without end",
    steps = function(scale) return { { "send", "OK TOGGLEDBITS-SOCKPROXY " }, flood("x", 2e5 * scale), { "hold" } } end,
    proxy = true,
    refused = 'SockProxy failed: this is not SockProxy: "OK TOGGLEDBITS-SOCKPROXY ' .. ("x"):rep(35) .. '"',
  },
  {
    name = "plays SockProxy with greetings without end",
    steps = function(scale) return { flood("OK TOGGLEDBITS-SOCKPROXY 1 2\n", 1e4 * scale), { "hold" } } end,
    proxy = true,
    refused = 'SockProxy failed: this is not SockProxy: "OK TOGGLEDBITS-SOCKPROXY 1 2"',
  },
  {
    name = "plays SockProxy a byte at a time",
    steps = function() return { { "drip", "OK TOGGLEDBITS-SOCKPROXY 1 2\n", 0.25 }, { "hold" } } end,
    options = { sockproxy = { timeout = 1 } },
    proxy = true,
    refused = "SockProxy failed: timeout",
    deadline = 1,
  },
  {
    name = "plays an HTTP proxy with a head without end",
    steps = function(scale)
      return { { "send", "HTTP/1.1 200 OK\r\n" }, flood("X: y\r\n", 1e5 * scale), { "hold" } }
    end,
    proxy = "http://",
    refused = "Proxy failed: HTTP: the head is over 65536 bytes",
  },
  {
    name = "plays an HTTP proxy with interim answers without end",
    steps = function(scale) return { flood("HTTP/1.1 100 Continue\r\n\r\n", 2e4 * scale), { "hold" } } end,
    options = { connect_timeout = 1 },
    proxy = "http://",
    refused = "Proxy failed: timeout",
  },
  {
    name = "plays an HTTP proxy that asks for a password with a body without end",
    steps = function(scale)
      local head = "HTTP/1.1 407 X\r\nProxy-Authenticate: Digest realm=r, nonce=n\r\nTransfer-Encoding: chunked\r\n\r\n"
      return { { "send", head }, flood("1\r\nx\r\n", 5e4 * scale), { "hold" } }
    end,
    options = { connect_timeout = 1 },
    proxy = "http://",
    refused = "Proxy failed: HTTP/1.1 407 X (Digest)",
  },
  {
    name = "plays a SOCKS5 proxy a byte at a time",
    steps = function() return { { "drip", "\5\0\5\0\0\3\255" .. ("x"):rep(255), 0.25 }, { "hold" } } end,
    options = { connect_timeout = 1 },
    proxy = "socks5h://",
    refused = "Proxy failed: timeout",
    deadline = 1,
  },
  -- Floods of an open connection
  {
    name = "sends tiny messages without end",
    steps = floods(TINY, 1e4),
    counts = each(TINY, 1e4, { messages = 1 }, { controls = 1 }),
    told = CLOSED,
    scale = 1000,
  },
  {
    name = "sends empty messages to a sink",
    steps = floods(EMPTY, 1e4),
    options = { sink = sink },
    told = CLOSED,
    scale = 50,
  },
  {
    name = "sends pongs that nobody asked for",
    steps = floods("\138\0", 1e4),
    counts = each("\138\0", 1e4, { controls = 1 }, { controls = 1 }),
    told = CLOSED,
    scale = 50,
  },
  {
    name = "sends pings and reads none of the pongs",
    steps = deaf(PING, 3000),
    act = function(client)
      client.receive(1)
      client.call("wsclose", client.conn)
    end,
    held = PONGS + READ + 1024,
    scale = 30,
  },
  {
    name = "sends empty fragments without end",
    steps = floods(PART, 1e5, BEGIN, true),
    act = function(client) client.receive(1) end,
    scale = 20,
  },
  {
    name = "sends fragments of a byte without end",
    steps = floods(frame { opcode = 0, fin = false, payload = "x" }, 1e5, BEGIN, true),
    told = TOO_BIG,
  },
  {
    name = "sends pings inside a fragmented message",
    steps = floods("\137\0" .. PART .. "\138\0", 1000, BEGIN),
    counts = each("\137\0" .. PART .. "\138\0", 1000, { controls = 2 }, { controls = 1 }),
    told = CLOSED,
    scale = 200,
  },
  {
    name = "sends the largest messages without end",
    steps = floods(LARGEST, 20),
    counts = each(LARGEST, 20, { messages = 1 }, { controls = 1 }),
    told = CLOSED,
    scale = 100,
  },
  -- Compression
  {
    name = "sends a message that inflates to 16 MiB",
    steps = bomb(MUCH, true),
    deflate = true,
    told = TOO_BIG,
  },
  {
    name = "sends a message that inflates to 16 MiB to a sink",
    steps = bomb(MUCH),
    deflate = true,
    options = { sink = sink },
    told = CLOSED,
  },
  {
    name = "sends a message that inflates to 4 MiB, which are allowed",
    steps = bomb(ALLOWED),
    deflate = true,
    options = { max_payload_size = ALLOWED },
    counts = function() return { messages = 1, controls = 1 } end,
    told = CLOSED,
    kib = 4096 + 3 * 4096, -- the message, which grows by doubling, and the string
  },
  {
    name = "sends small messages that inflate to the largest",
    steps = bombs(MESSAGE, 300),
    deflate = true,
    counts = function(scale)
      return each(select(2, zeros(MESSAGE)), 300, { messages = 1 }, { messages = 1, controls = 1 })(scale)
    end,
    told = CLOSED,
    scale = 20,
  },
  {
    name = "sends compressed empty messages",
    steps = floods("\194\0", 1e4),
    deflate = true,
    counts = each("\194\0", 1e4, { messages = 1 }, { controls = 1 }),
    told = CLOSED,
    scale = 20,
  },
  -- Broken rules, with a flood after them
  {
    name = "promises a message of 2^62 bytes",
    steps = floods("x", 1e5, "\130\127\64\0\0\0\0\0\0\0", true),
    told = "message too big (over 65535 bytes: it has 4611686018427387904; see max_payload_size)",
    scale = 10,
  },
  {
    name = "promises a sink a message of 2^62 bytes",
    steps = floods("x", 1e6, "\130\127\64\0\0\0\0\0\0\0", true),
    options = { sink = sink },
    act = function(client) client.receive(1) end,
    scale = 10,
  },
  {
    name = "masks its frames",
    steps = floods(TINY, 1e4, frame { opcode = 2, payload = "x", mask = true }, true),
    told = "masked frame from a server",
  },
  {
    name = "sets reserved bits",
    steps = floods(TINY, 1e4, frame { opcode = 2, rsv = 3 }, true),
    told = "reserved bit set (RSV2, RSV3)",
  },
  {
    name = "uses a reserved opcode",
    steps = floods(TINY, 1e4, frame { opcode = 11 }, true),
    told = "reserved opcode 11",
  },
  -- The end
  {
    name = "closes ten thousand times",
    steps = floods(CLOSE, 1e4, nil, true),
    counts = function() return { messages = 0, controls = 1 } end,
    told = CLOSED,
  },
  {
    name = "sends messages after it has closed",
    steps = floods(TINY, 1e5, TINY .. CLOSE, true),
    counts = function() return { messages = 1, controls = 1 } end,
    told = CLOSED,
    scale = 10,
  },
  {
    name = "closes while the program sends, and reads nothing",
    steps = deaf(CLOSE, 1),
    options = { send_timeout = 0.3 },
    act = function(client)
      send(client)
      client.receive()
    end,
    sent = "send error: timeout",
    told = CLOSED,
    held = READ + 3e5,
    deadline = 0.3,
  },
  {
    name = "sends without end while the program sends, and reads nothing",
    steps = deaf(TINY, 1e4),
    options = { send_timeout = 0.3 },
    act = function(client)
      send(client)
      client.call("wsclose", client.conn)
    end,
    sent = "send error: timeout",
    deadline = 0.3,
    held = 1024 * 1024 + READ + 3e5,
    kib = 8192,
    scale = 1000,
  },
  {
    name = "sends tiny messages without end after wsclose",
    steps = floods(TINY, 1e5, nil, true),
    act = close,
    options = { close_timeout = 0.5 },
    deadline = 0.5,
    scale = 30,
  },
  {
    name = "sends small messages that inflate to the largest after wsclose",
    steps = bombs(MESSAGE, 3000, true),
    deflate = true,
    act = close,
    options = { close_timeout = 0.5 },
    deadline = 0.5,
    scale = 20,
  },
  {
    name = "sends a message that inflates to 16 MiB after wsclose",
    steps = bomb(MUCH, true),
    deflate = true,
    act = close,
    options = { close_timeout = 0.5, max_payload_size = MUCH },
    deadline = 0.5,
    kib = 4096 + 2 * 16 * 1024, -- as much as the user allows, while it is discarded
  },
  {
    name = "never answers a close frame",
    steps = deaf("", 0),
    act = close,
    options = { close_timeout = 0.5 },
    deadline = 0.5,
  },
  -- Silence
  {
    name = "begins the header of a frame and falls silent",
    steps = function() return { { "send", "\130\127\0" }, { "hold" } } end,
    options = { receive_timeout = 1 },
    act = function(client) client.receive(nil, true) end,
    told = "message timeout",
    deadline = 1,
  },
  {
    name = "sends a frame a byte at a time",
    steps = function() return { { "drip", "\130\125" .. ("x"):rep(125), 0.1 }, { "hold" } } end,
    options = { receive_timeout = 1 },
    act = function(client) client.receive(2) end, -- each byte is a sign of life
    counts = function() return { messages = 0, controls = 0 } end,
  },
}
