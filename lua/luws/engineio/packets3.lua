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

--- next_binary(body, place): returns kind and data of the packet of a binary payload that begins at this place, and the
-- place after it; nil if it is none.
local function next_binary(body, place)
  local mark, digits, first = body:match("^([%z\1])([%z\1-\9]+)\255()", place)
  if not digits or #digits > MOST_DIGITS then return nil end
  local count = tonumber((digits:gsub(".", function(digit) return tostring(digit:byte()) end)))
  local bytes = body:sub(first, first + count - 1)
  local is_text = mark ~= "\1"
  if #bytes < count or is_text and native.check_text(TEXT, bytes) then return nil end
  local kind, data = (is_text and packets3.parse or packets3.parse_bytes)(bytes)
  return kind, data, first + count
end

--- next_text(body, place): the same for a payload that is text.
local function next_text(body, place)
  local digits, first = body:match("^(%d+):()", place)
  local stop = digits and #digits <= MOST_DIGITS and after(body, first, tonumber(digits))
  if not stop then return nil end
  local kind, data = packets3.parse(body:sub(first, stop - 1))
  return kind, data, stop
end

--- skipped(body, place): returns the place after those that have nothing in them, which npm's engine.io passes over.
local function skipped(body, place)
  while body:find("^0+:", place) do place = body:find(":", place, true) + 1 end
  return place
end

--- each(body, media_type): see packets.
function packets3.each(body, media_type)
  local is_bytes = media_type == BINARY_MIME
  local is_good, place = body ~= "" and (is_bytes or not native.check_text(TEXT, body)), 1
  local function broken()
    place = nil
    return "error"
  end
  return function()
    if not place then return nil end
    if not is_good then return broken() end
    if not is_bytes then place = skipped(body, place) end
    if place > #body then return nil end
    local kind, data
    kind, data, place = (is_bytes and next_binary or next_text)(body, place)
    if not kind then return broken() end
    return kind, data
  end
end

return packets3
