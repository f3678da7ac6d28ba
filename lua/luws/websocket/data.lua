--[[
What goes through a WebSocket object: the arguments of send and close, and the forms in which binary data is received.
Whatever is wrong with an argument is an error at the caller of the API function, whose level is `level`.
--]]

local native, import = ...
local events, guard = import("websocket/events"), import("guard")

local data = {}

local TEXT, BINARY = 1, 2

-- How many bytes string.char and string.byte are given at a time.
local PIECE = 4096

-- The library of LuaJIT; nil elsewhere.
local globals = package.loaded._G or _G
local has_ffi, ffi = pcall(rawget(globals, "jit") and rawget(globals, "require"), "ffi")
if not has_ffi then ffi = nil end

--- packed(level, bytes): returns an array of bytes as a string.
local function packed(level, bytes)
  local pieces, count = {}, #bytes
  for i = 1, count do
    local byte = bytes[i]
    if type(byte) ~= "number" or byte % 1 ~= 0 or byte < 0 or byte > 255 then
      events.wrong(level + 1, "send", 1, ("array of bytes expected, element %d is none"):format(i))
    end
  end
  for first = 1, count, PIECE do
    pieces[#pieces + 1] = string.char(guard.unpack(bytes, first, math.min(first + PIECE - 1, count)))
  end
  return table.concat(pieces)
end

--- copied(level, value, length): returns the bytes of an ffi array, or of a pointer with this length.
local function copied(level, value, length)
  if length ~= nil and (type(length) ~= "number" or length % 1 ~= 0 or length < 0) then
    events.wrong(level + 1, "send", 2, "a number of bytes expected")
  end
  local is_array = tostring(ffi.typeof(value)):find("%[%d*%??%]") ~= nil
  local size = is_array and ffi.sizeof(value)
  if not size and length == nil then events.wrong(level + 1, "send", 2, "a number of bytes expected, got nil") end
  if size and length and length > size then
    events.wrong(level + 1, "send", 2, ("at most %d bytes expected"):format(size))
  end
  return ffi.string(value, length or size)
end

--- read(level, given, how): returns the bytes of a message, and its opcode.
function data.read(level, given, how)
  local kind = type(given)
  if kind == "cdata" and ffi then return copied(level + 1, given, how), BINARY end
  if how ~= nil and how ~= "binary" then events.wrong(level + 1, "send", 2, '"binary" or nil expected') end
  if kind == "table" then return packed(level + 1, given), BINARY end
  if kind == "number" then given = tostring(given) end
  if type(given) ~= "string" then events.wrong(level + 1, "send", 1, "string expected, got " .. kind) end
  return given, how and BINARY or TEXT
end

--- refuse(level): raises the error for text that is not UTF-8.
function data.refuse(level)
  events.wrong(level + 1, "send", 1, 'the text is not UTF-8; send bytes as "binary"')
end

--- is_invalid(why): returns whether wssend has refused text that is not UTF-8.
function data.is_invalid(why) return why == "send error: a text message must be valid UTF-8" end

--- is_full(why): returns whether wssend could not queue a message.
function data.is_full(why)
  return why == "send error: buffer full" or why == "send error: not enough memory"
end

--- Returns a number as the Web IDL type [Clamp] unsigned short.
local function clamped(number)
  if number ~= number then return 0 end
  number = math.max(0, math.min(number, 65535))
  local whole = math.floor(number)
  local rest = number - whole
  if rest > 0.5 or rest == 0.5 and whole % 2 == 1 then whole = whole + 1 end
  return whole
end

--- read_close(level, code, reason, most): returns the arguments of close: code and reason, each nil for none.
function data.read_close(level, code, reason, most)
  local number = tonumber(code)
  if code ~= nil and not number then
    events.wrong(level + 1, "close", 1, "number expected, got " .. type(code))
  end
  if type(reason) == "number" then reason = tostring(reason) end
  if reason ~= nil and type(reason) ~= "string" then
    events.wrong(level + 1, "close", 2, "string expected, got " .. type(reason))
  end
  if number then
    code = clamped(number)
    if code ~= 1000 and (code < 3000 or code > 4999) then
      error(("InvalidAccessError: the code is 1000, or from 3000 to 4999, and not %d"):format(code), level + 1)
    end
  end
  if reason and #reason > most then
    error(("SyntaxError: the reason has %d bytes, and at most %d fit"):format(#reason, most), level + 1)
  end
  if reason and native.check_text(TEXT, reason) then events.wrong(level + 1, "close", 2, "the text is not UTF-8") end
  return code, reason ~= "" and reason or nil
end

--- close_payload(code, reason): returns the payload of a close frame. A reason needs a code, which is 1000 then.
function data.close_payload(code, reason)
  if not (code or reason) then return "" end
  code = code or 1000
  return string.char(math.floor(code / 256), code % 256) .. (reason or "")
end

local TYPES = { string = true, table = true, ffi = ffi ~= nil }

--- read_type(level, value): returns a value for binaryType.
function data.read_type(level, value)
  if TYPES[value] then return value end
  local got = type(value) == "string" and ("'%s'"):format(value) or type(value)
  local known = ffi and "'string', 'table' or 'ffi'" or "'string' or 'table'"
  error(("bad value for 'binaryType' (%s expected, got %s)"):format(known, got), level + 1)
end

local function bytes_of(text)
  local bytes = {}
  for first = 1, #text, PIECE do
    local piece = { text:byte(first, first + PIECE - 1) }
    for i = 1, #piece do bytes[first + i - 1] = piece[i] end
  end
  return bytes
end

--- shape(event, kind): gives a message event its data in the form that binaryType says.
function data.shape(event, kind)
  local text = event.data
  if kind == "table" then
    event.data = bytes_of(text)
  elseif kind == "ffi" then
    event.data, event.size = ffi.new("uint8_t[?]", #text), #text
    ffi.copy(event.data, text, #text)
  end
end

return data
