--[[
The same for Engine.IO 3, which clients of Socket.IO 1 and 2 speak: packets and payloads. In a payload each packet has
its length before it: that of a text in UTF-16 units, or, if the payload is binary, in bytes.
--]]

local native, import = ...
local binary, packets = import("binary"), import("engineio/packets")

local packets3 = {}

local TEXT = 1

-- More digits than this no length has.
local MOST_DIGITS = 10

local BINARY_MIME = "application/octet-stream"

--- frame(kind, data, takes_binary): see packets.
function packets3.frame(kind, data, takes_binary)
  local digit = packets.digit_of(kind)
  if type(data) ~= "userdata" then return digit .. (data or ""), false end
  local bytes = binary.bytes(data)
  if takes_binary then return string.char(tonumber(digit)) .. bytes, true end
  return "b" .. digit .. native.base64(bytes), false
end

--- parse(text): see packets.
function packets3.parse(text)
  if text:sub(1, 1) ~= "b" then return packets.parse(text) end
  local kind, bytes = packets.kind_of(text:sub(2, 2)), native.unbase64(text:sub(3))
  if kind and bytes then return kind, binary.new(bytes) end
  return nil
end

--- parse_bytes(bytes): see packets.
function packets3.parse_bytes(bytes)
  local kind = bytes ~= "" and packets.kind_of(tostring(bytes:byte()))
  if kind then return kind, binary.new(bytes:sub(2)) end
  return nil
end

--- units(text): returns how many UTF-16 units a text in UTF-8 has.
local function units(text)
  if not text:find "[\128-\255]" then return #text end
  local _, continued = text:gsub("[\128-\191]", "")
  local _, long = text:gsub("[\240-\247]", "")
  return #text - continued + long
end

--- length(lead): returns how many bytes the character has that begins with this byte.
local function length(lead) return lead >= 240 and 4 or lead >= 224 and 3 or lead >= 192 and 2 or 1 end

--- last_whole(text, first, last): returns where the last character ends that is whole between these places.
local function last_whole(text, first, last)
  for place = last, math.max(first, last - 3), -1 do
    local byte = text:byte(place)
    if byte < 128 or byte >= 192 then return place + length(byte) - 1 <= last and last or place - 1 end
  end
  return last
end

--- after(text, first, count): returns the place after so many UTF-16 units from the place `first` on; nil if the text
-- ends before that, or within a character.
local function after(text, first, count)
  local place = first
  while count > 0 do
    if place > #text then return nil end
    -- So many bytes have at most as many units, and at least a third of them.
    local last = last_whole(text, place, math.min(place + count - 1, #text))
    if last < place then last = place + length(text:byte(place)) - 1 end
    place, count = last + 1, count - units(text:sub(place, last))
  end
  return count == 0 and place or nil
end

local function is_binary(packet) return type(packet.data) == "userdata" end

--- payload(list, takes_binary): see packets.
function packets3.payload(list, takes_binary)
  local parts, has_binary = {}, false
  for _, packet in ipairs(list) do has_binary = has_binary or takes_binary and is_binary(packet) end
  for i, packet in ipairs(list) do
    local data, is_bytes = packets3.frame(packet.kind, packet.data, has_binary)
    if has_binary then
      local digits = tostring(#data):gsub("%d", function(digit) return string.char(tonumber(digit)) end)
      parts[i] = (is_bytes and "\1" or "\0") .. digits .. "\255" .. data
    else
      parts[i] = units(data) .. ":" .. data
    end
  end
  return table.concat(parts), has_binary and BINARY_MIME or packets.MIME
end

--- each_binary(body, f): each, for a binary payload.
local function each_binary(body, f)
  local place = 1
  while place <= #body do
    local mark, digits, first = body:match("^([%z\1])([%z\1-\9]+)\255()", place)
    if not digits or #digits > MOST_DIGITS then return false end
    local count = tonumber((digits:gsub(".", function(digit) return tostring(digit:byte()) end)))
    local data = body:sub(first, first + count - 1)
    if #data < count then return false end
    local kind, value
    if mark == "\1" then
      kind, value = packets3.parse_bytes(data)
    elseif not native.check_text(TEXT, data) then
      kind, value = packets3.parse(data)
    end
    if not kind then return false end
    if f(kind, value) == false then return true end
    place = first + count
  end
  return true
end

--- each(body, f, media_type): see packets.
function packets3.each(body, f, media_type)
  if body == "" then return false end
  if media_type == BINARY_MIME then return each_binary(body, f) end
  if native.check_text(TEXT, body) then return false end
  local place = 1
  while place <= #body do
    local digits, first = body:match("^(%d+):()", place)
    if not digits or #digits > MOST_DIGITS then return false end
    local stop = after(body, first, tonumber(digits))
    if not stop then return false end
    if stop > first then
      local kind, data = packets3.parse(body:sub(first, stop - 1))
      if not kind then return false end
      if f(kind, data) == false then return true end
    end
    place = stop
  end
  return true
end

return packets3
