-- Peers that misbehave on purpose, for specs: the Lua side of scripted_server.py, and the bytes of valid and invalid
-- frames.
--
--   local peer = scripted.peer { { "upgrade" }, { "send", "\129\5Hello" }, { "read_frame" }, { "close" } }
--   ... connect to peer.url, receive, send ...
--   local seen = peer:result()
--
-- It knows the control port's requests, and nothing of the client under test. The server plays the steps in one thread
-- per connection. Each step has the deadline of the script, 10 s by default. Everything that arrives is recorded. The
-- steps:
--
--   {"upgrade", headers =, replace =, status =, response =, tail =, pieces =, interval =}
--        reads a request's head and answers 101 in one write. headers: list of additional lines. replace: by name of a
--        usual header, another value, a list of several, or false for none. status: another status line. response: the
--        whole response as text; "{accept}" in it stands for the right hash. tail: bytes after it in the same write.
--        pieces: bytes per write, interval: seconds between writes.
--   {"request"}  {"read", n}  {"read_until", bytes}  {"read_frame", n or 1}  {"read_to_eof"}
--   {"send", bytes, times =}  {"pieces", bytes, n, interval}  {"drip", bytes, interval}
--        write everything at once, in pieces of n bytes, in single bytes
--   {"tls", certificate = "server", clients =, authority = "ca", least = "tlsv1_2", newest = "tlsv1_3", alpn =}
--        a TLS handshake; option `tls` of the script, true or such a table without "tls", does it first. certificate:
--        the name of one that pki.sh makes. clients: "required" or "optional", whether clients must have one, and
--        authority: who must have signed it. least, newest: versions, in LuaSec's words. alpn: the protocols that can
--        be selected, separated by commas (http/1.1; "": none). ciphers: OpenSSL's list; with
--        @SECLEVEL=0, DHE has a group of 1,024 bits. curve: the only one.
--   {"sleep", seconds}  {"wait"}: until peer:go(); neither reads, so a client's sends get stuck eventually
--   {"echo", seconds}: sends messages and pings back for this long, or until the client closes; then closes (1001), too
--   {"hold"}: reads until the client or peer:close() ends the connection, without a deadline
--   {"shutdown", notify = true}  {"close", notify = true}  {"reset"}: half close, FIN, RST; notify: with a close_notify
--
-- The end of a script closes the connection.

local socket = require "socket"
local servers = require "spec.support.servers"
local unpack = require "spec.support.compat".unpack

local scripted = {}

local PATIENCE = 10 -- seconds that a spec waits for a script's end, unless it says otherwise

-- The names of the values after a step's name.
local POSITIONS = {
  read = { "count" },
  read_frame = { "count" },
  read_until = { "end" },
  send = { "data" },
  pieces = { "data", "size", "interval" },
  drip = { "data", "interval" },
  sleep = { "seconds" },
  echo = { "seconds" },
}

local USUAL_HEADERS = {
  { "Upgrade", "websocket" },
  { "Connection", "Upgrade" },
  { "Sec-WebSocket-Accept", "{accept}" },
}

local HEX = {} -- byte -> two digits
for code = 0, 255 do HEX[string.char(code)] = ("%02x"):format(code) end

local function hex(bytes)
  return (bytes:gsub(".", HEX))
end

-- The control port

-- Sends one request. Returns the lines of the answer, each a list of words. If the server refuses a request, the spec
-- is wrong, so this raises an error.
local function ask(request, patience, level)
  local control = assert(socket.tcp())
  control:settimeout(patience + PATIENCE)
  assert(control:connect("127.0.0.1", servers.start("scripted").control))
  assert(control:send(request))
  control:shutdown "send"
  local answer = assert(control:receive "*a")
  control:close()
  local lines, head, data = {}, answer:match "^(.-\n)\n(.*)$"
  for line in head:gmatch "[^\n]+" do
    local words = {}
    for word in line:gmatch "%S+" do
      local from, to = word:match "^(%d+):(%d+)$"
      words[#words + 1] = from and data:sub(from + 1, tonumber(to)) or word
    end
    lines[#lines + 1] = words
  end
  if lines[1][1] == "refusal" then error("scripted peer: " .. lines[1][2], level + 1) end
  return lines
end

local function option(name, value)
  if value == true or value == false then
    return name .. "=" .. (value and 1 or 0)
  elseif type(value) == "number" then
    return name .. "=" .. ("%.14g"):format(value)
  end
  return name .. "=" .. hex(value)
end

--- Returns the response that an `upgrade` step sends, with "{accept}" in it.
function scripted.response(step)
  if step.response then return step.response end
  local lines, replace = { step.status or "HTTP/1.1 101 Switching Protocols" }, {}
  for name, value in pairs(step.replace or {}) do
    replace[name:lower()] = value
  end
  for _, header in ipairs(USUAL_HEADERS) do
    local name, value = header[1], replace[header[1]:lower()]
    replace[name:lower()] = nil
    if value == nil then
      value = header[2]
    end
    for _, each in ipairs(type(value) == "table" and value or { value or nil }) do
      lines[#lines + 1] = name .. ": " .. each
    end
  end
  local unknown = next(replace)
  if unknown then
    error("scripted peer: no usual header is called " .. unknown, 4)
  end
  for _, line in ipairs(step.headers or {}) do
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

local function step_line(step)
  local name, fields = step[1], {}
  for key, value in pairs(step) do
    if type(key) == "number" and key > 1 then
      key = (POSITIONS[name] or {})[key - 1] or ("value" .. key) -- a name that the server refuses
    end
    if key ~= 1 then
      fields[key] = value
    end
  end
  if name == "upgrade" then
    fields.response = scripted.response(step)
    fields.status, fields.replace, fields.headers = nil, nil, nil
  end
  local words = { name }
  for key, value in pairs(fields) do
    words[#words + 1] = option(key, value)
  end
  return table.concat(words, " ")
end

-- Returns the line of the `tls` step that the option `tls` stands for.
local function handshake_line(how)
  local step = { "tls" }
  for key, value in pairs(type(how) == "table" and how or {}) do step[key] = value end
  return step_line(step)
end

-- Peers

local function parse_headers(head)
  local headers = {}
  for name, value in head:gmatch "\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return headers
end

-- Returns the record of a connection, or nil if there has been no such connection yet; then how many there have been.
local function parse_record(lines)
  local seen = { heads = {}, frames = {}, raw = "", rest = "", sent = 0, eof = false, reset = false, ended = false }
  local connections = tonumber(lines[1][2])
  for i = 2, #lines do
    local name, value, more = lines[i][1], lines[i][2], lines[i][3]
    if name == "step" then
      seen.step, seen.step_name = tonumber(value), more
    elseif name == "frame" then
      local _, fin, rsv, opcode, masked, key, payload = unpack(lines[i])
      seen.frames[#seen.frames + 1] = {
        fin = fin == "1", rsv = tonumber(rsv), opcode = tonumber(opcode), masked = masked == "1", key = key,
        payload = payload,
      }
    elseif name == "head" then
      seen.heads[#seen.heads + 1] = value
    elseif name == "sent" or name == "eof" or name == "reset" then
      seen[name] = tonumber(value)
    elseif name == "ended" or name == "close_notify" then
      seen[name] = value == "1"
    else
      seen[name] = value
    end
  end
  seen.head = seen.heads[#seen.heads]
  if seen.head then
    seen.request_line, seen.headers = seen.head:match "^[^\r\n]*", parse_headers(seen.head)
  end
  return #lines > 1 and seen or nil, connections
end

local Peer = {}
Peer.__index = Peer

local function query(peer, connection, seconds, step)
  local request = ("result %d %d %.14g"):format(peer.port, connection, seconds) .. (step and " " .. step or "")
  return parse_record(ask(request, seconds, 3))
end

local function awaited(peer, connection, seconds, step)
  local seen, connections = query(peer, connection or 1, seconds or PATIENCE, step)
  if not seen then
    error(("scripted peer: %d connections came in %g s"):format(connections, seconds or PATIENCE), 3)
  elseif not seen.ended and not (step and seen.step >= step) then
    error(("scripted peer: still at step %d (%s) after %g s; %d bytes and %d frames came"):format(
      seen.step, seen.step_name, seconds or PATIENCE, #seen.raw, #seen.frames), 3)
  end
  return seen
end

--- Waits until the script of a connection (1: the first) has ended. Returns its record. Raises an error if it takes
-- longer than `seconds`.
-- seen.head and seen.heads (requests), .request_line, .headers (lower-case names); .frames[i].fin .rsv .opcode .masked
-- .key .payload; .rest (the bytes of an unfinished frame); .raw (all bytes); .eof and .reset (false, or seconds after
-- the connection began); .sent (bytes); .error (nil, or which step failed and why); .step, .step_name. With TLS: .sni
-- (the name that the client asked for), .alpn, .version and .cipher (as selected), .client (the subject of its
-- certificate, as in "commonName=x"), each nil without TLS, and .close_notify (whether the client sent one).
function Peer:result(connection, seconds)
  return (awaited(self, connection, seconds))
end

--- Waits until a connection's script has reached this step, so that all earlier ones are done. Returns the record.
function Peer:at(step, connection, seconds)
  return (awaited(self, connection, seconds, step))
end

--- Returns the record so far, without waiting; nil if the server has not accepted such a connection yet.
function Peer:so_far(connection)
  return (query(self, connection or 1, 0))
end

--- Returns whether a connection's script has ended; for specs that must keep receiving meanwhile.
function Peer:done(connection)
  local seen = query(self, connection or 1, 0)
  return seen ~= nil and seen.ended
end

--- Returns how many connections there have been.
function Peer:connections()
  return (select(2, query(self, 1, 0)))
end

--- Lets one `wait` step pass.
function Peer:go()
  ask("go " .. self.port, 0, 2)
end

--- Closes the port, which refuses connections from then on, and ends its connections.
function Peer:close()
  if self.closed then return end
  self.closed = true
  ask("close " .. self.port, 0, 2)
end

local function new_peer(request, options)
  local port = tonumber(ask(request, 0, 3)[1][2])
  local host = options.address or (options.tls and "localhost" or "127.0.0.1")
  if host:find(":", 1, true) then
    host = "[" .. host .. "]"
  end
  local url = ("%s://%s:%d/"):format(options.tls and "wss" or "ws", host, port)
  return setmetatable({ url = url, host = host, port = port }, Peer)
end

--- Returns a peer that plays these steps on each connection. Options, besides the steps: tls (see the step), address
-- ("::1", or "127.0.0.2", which is a wrong host for the certificate), deadline (seconds for each step, at most 60),
-- receive_buffer (bytes).
function scripted.peer(script)
  local words = { "script" }
  for key, value in pairs(script) do
    if type(key) ~= "number" then
      if key == "tls" then value = value and handshake_line(value) or "" end
      words[#words + 1] = key == "address" and "address=" .. value or option(key, value)
    end
  end
  local lines = { table.concat(words, " ") }
  for _, step in ipairs(script) do
    lines[#lines + 1] = step_line(step)
  end
  return (new_peer(table.concat(lines, "\n"), script))
end

--- Returns a peer with only url, host, port and close(), which refuses connections. Options: address, tls (for the
-- URL).
function scripted.refused(options)
  options = options or {}
  return (new_peer("refused " .. (options.address or "127.0.0.1"), options))
end

--- The same as `refused`, but connecting neither succeeds nor fails.
function scripted.silent(options)
  options = options or {}
  return (new_peer("silent " .. (options.address or "127.0.0.1"), options))
end

-- Frames

local OPCODES = { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 }

-- Returns a number as `width` bytes, the highest first. Doubles are exact for the powers of two that specs need.
local function big_endian(number, width)
  local bytes = {}
  for i = width, 1, -1 do
    bytes[i] = string.char(number % 256)
    number = math.floor(number / 256)
  end
  return table.concat(bytes)
end

local function xor(a, b)
  local result, bit = 0, 1
  while a > 0 or b > 0 do
    if a % 2 ~= b % 2 then
      result = result + bit
    end
    a, b, bit = math.floor(a / 2), math.floor(b / 2), bit * 2
  end
  return result
end

local function masked(payload, key)
  local at = 0
  return (payload:gsub(".", function(byte)
    at = at % 4 + 1
    return string.char(xor(byte:byte(), key:byte(at)))
  end))
end

--- Returns the bytes of a frame, valid or not (RFC 6455 section 5.2). Options: opcode (a number or "text", "binary",
-- "close", "ping", "pong", "continuation"; default text), fin (true), rsv (0 to 7), payload (""), mask (true or four
-- bytes; servers must not mask), length_form (7, 16 or 64 bits; default the shortest), length (claimed in the header;
-- default the payload's).
function scripted.frame(options)
  local payload, key = options.payload or "", options.mask
  if key == true then
    key = "\1\2\3\4"
  end
  local length = options.length or #payload
  local form = options.length_form or (length < 126 and 7 or length < 65536 and 16 or 64)
  local opcode = options.opcode or "text"
  opcode = OPCODES[opcode] or opcode
  local first = (options.fin == false and 0 or 128) + (options.rsv or 0) * 16 + opcode
  local second = (key and 128 or 0) + (form == 7 and length or form == 16 and 126 or 127)
  return string.char(first, second) .. (form == 7 and "" or big_endian(length, form / 8))
    .. (key and key .. masked(payload, key) or payload)
end

--- Returns the payload of a close frame (RFC 6455 section 5.5.1).
function scripted.close_payload(code, reason)
  return big_endian(code, 2) .. (reason or "")
end

return scripted
