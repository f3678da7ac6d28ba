--[[
Binary values: bytes that are not text, where texts and bytes are told apart by their type (in Engine.IO and Socket.IO).
A value is userdata, and never changes. Knows nothing of who sends it.
--]]

local native = ...

local binary = {}

local BINARY = { __metatable = "binary value of luws", __len = native.binary_length, __eq = native.binary_equal }

--- The metatable, as native functions are to be given it.
binary.META = BINARY

--- is(value): returns whether any value is a binary one.
function binary.is(value) return native.binary_is(value, BINARY) end

--- new(bytes): makes a binary value of a string.
function binary.new(bytes)
  if type(bytes) ~= "string" then
    error(("bad argument #1 to 'binary' (string expected, got %s)"):format(type(bytes)), 2)
  end
  return native.binary_new(bytes, BINARY)
end

--- bytes(value): returns the bytes of a binary value as a string; nil for any other value.
function binary.bytes(value) return native.binary_bytes(value, BINARY) end

BINARY.__tostring = binary.bytes
BINARY.__index = {}

--- value:sub(i [, j]): returns some of the bytes as a string, as string.sub does.
function BINARY.__index:sub(i, j)
  local bytes = binary.bytes(self)
  if not bytes then error(("calling 'sub' on bad self (binary value expected, got %s)"):format(type(self)), 2) end
  return bytes:sub(i, j)
end

return binary
