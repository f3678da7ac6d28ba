--[[
Packets of Socket.IO 5 in both directions: the messages of an engine, which are texts and binary values, and what they
mean. What a packet is stands in src/socketio.rs. Knows no connection.
--]]

local native, import = ...
local binary, json = import("binary"), import("json").public

local parser = {
  --- The protocol's version.
  protocol = 5,
  -- Kinds of packets. Whether one has binary values is seen from its arguments.
  CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4,
}

local ARRAY, OBJECT, BINARY = json.array_mt, json.object_mt, binary.META
local TEXT = 1 -- the opcode
local decode, encode = native.socketio_decode, native.socketio_encode

--- encode(kind, namespace, id, ...): returns the text of a packet with these arguments, or this value, and then the
-- binary values that are to follow it; or nil and which argument cannot be sent, and why. `id` may be nil.
function parser.encode(kind, namespace, id, ...) return encode(BINARY, kind, namespace, id, ...) end

local function checked(text, ...)
  if not text then error((...), 0) end
  return text, ...
end

--- encoded(kind, namespace, id, ...): the same, but raises an error for an argument that cannot be sent.
function parser.encoded(kind, namespace, id, ...) return checked(encode(BINARY, kind, namespace, id, ...)) end

local Decoder = {}
Decoder.__index = Decoder

--- forget(decoder): waits for no binary value any more.
local function forget(decoder)
  decoder.text, decoder.wanted, decoder.list = nil, 0, nil
end

local function decoded(decoder, receive, owner, text, kind, namespace, id, attachments, ...)
  if not kind then return nil, namespace end
  if attachments > 0 and not decoder.list then
    decoder.text, decoder.wanted, decoder.list = text, attachments, {}
    return true
  end
  forget(decoder)
  receive(owner, kind, namespace, id, ...)
  return true
end

--- Adds a binary value to those that have come for a packet.
local function add_binary(decoder, value, receive, owner)
  local list = decoder.list
  if not list then return nil, "binary data without a packet" end
  decoder.size = decoder.size + #value
  if decoder.size > decoder.most then return nil, "the binary values of a packet are too large" end
  list[#list + 1] = decoder.as_strings and binary.bytes(value) or value
  if #list < decoder.wanted then return true end
  return decoded(decoder, receive, owner, nil, decode(decoder.text, ARRAY, OBJECT, list))
end

--- add(message, receive, owner): takes the next message of an engine. If a packet is complete with it, calls
-- receive(owner, kind, namespace, id, ...). Returns true; or nil and which rule of the protocol the message breaks.
-- After that nothing more can be understood.
function Decoder:add(message, receive, owner)
  if type(message) ~= "string" then return add_binary(self, message, receive, owner) end
  if self.list then return nil, "text in place of binary data" end
  self.size = #message
  return decoded(self, receive, owner, message, decode(message, ARRAY, OBJECT))
end

--- decoder(most, as_strings): makes what reads the packets of a connection. A packet and its binary values may have
-- `most` bytes together; the field `size` has how many the last one had. If `as_strings`, binary values become strings.
function parser.decoder(most, as_strings)
  local decoder = setmetatable({ most = most, size = 0, as_strings = as_strings or false }, Decoder)
  forget(decoder)
  return decoder
end

-- Names that no event of a program may have, in either role.
local RESERVED = {
  connect = true, connect_error = true, disconnect = true, disconnecting = true, newListener = true,
  removeListener = true,
}

--- check_name(name): raises an error unless an event may have this name.
function parser.check_name(name)
  if type(name) ~= "string" then
    error(("bad argument #1 to 'emit' (string expected, got %s)"):format(type(name)), 0)
  end
  if RESERVED[name] then error(('"%s" is a reserved event name'):format(name), 0) end
end

--- namespace(name): returns the name of a namespace with its slash; or nil and what is wrong with it.
function parser.namespace(name)
  if type(name) ~= "string" then return nil, "string expected, got " .. type(name) end
  if name:sub(1, 1) ~= "/" then name = "/" .. name end
  if name:find(",", 1, true) then return nil, "a namespace cannot have a comma in its name" end
  if native.check_text(TEXT, name) then return nil, "the name of a namespace is not UTF-8" end
  return name
end

return parser
