--[[
Packets of Engine.IO 4, and payloads of several: values become what is sent, and back. A packet is a table with `kind`
and `data`: nil, a string (text), or a binary value, which only a message has. Knows nothing of transports.

Another revision of the protocol has the same functions for frames and payloads (packets3).
--]]

local native, import = ...
local binary = import("binary")

local packets = {}

local TEXT = 1 -- the opcode of text messages

local NAMES = { [0] = "open", "close", "ping", "pong", "message", "upgrade", "noop" }
local DIGITS = {}
for digit, name in pairs(NAMES) do DIGITS[name] = tostring(digit) end

-- Separates the packets of a payload. JSON escapes it in strings.
local SEPARATOR = "\30"

--- What a transport announces a payload as.
packets.MIME = "text/plain; charset=UTF-8"

--- problem(data): returns why this cannot be the data of a message; nil if it can. U+001E ends a packet in a payload,
-- so no text may have it: a message could not be sent by every transport.
function packets.problem(data)
  if type(data) ~= "string" then
    return not binary.is(data) and "string or binary value expected, got " .. type(data) or nil
  end
  if data:find(SEPARATOR, 1, true) then return "a text cannot have U+001E in it" end
  local why = native.check_text(TEXT, data)
  return why and why .. "; see engineio.binary"
end

--- check(data): raises an error unless this can be the data of a message.
function packets.check(data)
  local why = packets.problem(data)
  if why then error(("bad argument #1 to 'send' (%s)"):format(why), 0) end
end

--- compress(options): returns false if the options of a message say that it is not to be compressed, and else nil.
function packets.compress(options)
  if type(options) == "table" and options.compress == false then return false end
  return nil
end

--- kind_of(digit): returns the kind of packets that begin with this character; nil for none.
function packets.kind_of(digit)
  local number = digit:find "^%d$" and tonumber(digit)
  return number and NAMES[number] or nil
end

--- digit_of(kind): returns the character that packets of this kind begin with.
function packets.digit_of(kind) return DIGITS[kind] end

--- frame(kind, data, takes_binary): returns what a WebSocket message has for a packet, and whether it is binary.
function packets.frame(kind, data, takes_binary)
  if type(data) == "userdata" then
    local bytes = binary.bytes(data)
    if takes_binary then return bytes, true end
    return "b" .. native.base64(bytes), false
  end
  return DIGITS[kind] .. (data or ""), false
end

--- parse(text): returns kind and data of the packet that a text is; nil if it is none.
function packets.parse(text)
  local first = text:sub(1, 1)
  if first == "b" then
    local bytes = native.unbase64(text:sub(2))
    if bytes then return "message", binary.new(bytes) end
    return nil
  end
  local kind = packets.kind_of(first)
  if kind and #text > 1 then return kind, text:sub(2) end
  return kind
end

--- parse_bytes(bytes): the same for a binary WebSocket message.
function packets.parse_bytes(bytes) return "message", binary.new(bytes) end

--- payload(list): returns the body that has these packets, and its media type.
function packets.payload(list)
  local texts = {}
  for i, packet in ipairs(list) do texts[i] = packets.frame(packet.kind, packet.data, false) end
  return table.concat(texts, SEPARATOR), packets.MIME
end

--- size(packet): returns how many bytes a packet takes in a payload.
function packets.size(packet)
  local data = packet.data
  if type(data) == "userdata" then return 1 + math.ceil(#tostring(data) / 3) * 4 end
  return 1 + (data and #data or 0)
end

--- The most packets in a payload: python-engineio drops the whole of one that has more.
packets.MOST = 16

--- each(body): returns a function that returns kind and data of the next packet of a body each time it is called: nil
-- after the last one, and the kind "error", once, for something that is no packet.
function packets.each(body)
  local first, is_over = 1, false
  local function broken()
    is_over = true
    return "error"
  end
  local is_text = not native.check_text(TEXT, body)
  return function()
    if is_over then return nil end
    if not is_text then return broken() end
    local separator = body:find(SEPARATOR, first, true)
    local kind, data = packets.parse(body:sub(first, separator and separator - 1))
    if not kind then return broken() end
    first, is_over = separator and separator + 1, not separator
    return kind, data
  end
end

return packets
