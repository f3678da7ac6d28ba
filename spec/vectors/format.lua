-- Reads the files of this folder, as README.md says; only the vectors that are for a client. Knows nothing of the
-- module.
--
--   for _, vector in ipairs(format.all()) do ... end
--
-- A vector has name, limit, validate_utf8 and allow_long_lengths (booleans or nil), deflate and wish (headers or nil),
-- subprotocols (array or nil), upgrade (whether it begins before that), input (bytes; with {accept} and {key} in them),
-- events (array of lines, with all bytes written out and text as it is).

local lfs = require "lfs"

local format = {}

local FOLDER = debug.getinfo(1, "S").source:match "^@(.*)format%.lua$"

local ANSWER = {
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Accept: {accept}",
}

--- The bytes of groups like `0102` and `0102*3`.
local function bytes(text)
  local groups = {}
  for digits, count in text:gmatch "(%x+)%*?(%d*)" do
    local group = digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)
    groups[#groups + 1] = group:rep(tonumber(count) or 1)
  end
  return table.concat(groups)
end

function format.hex(data)
  return (data:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

--- A line of a head, or the usual ones that it stands for, with their line ends.
local function lines(text)
  local name, without = text:match "^{(%w+)%s*w?i?t?h?o?u?t?%s*(.*)}$"
  if name ~= "101" then
    return (text:gsub("{space}", " "):gsub("{tab}", "\t")) .. "\r\n"
  end
  local usual = {}
  for _, line in ipairs(ANSWER) do
    if without == "" or line:sub(1, #without) ~= without then usual[#usual + 1] = line .. "\r\n" end
  end
  return table.concat(usual)
end

local function add(vector, word, value)
  if word == "in" then
    vector.input[#vector.input + 1] = bytes(value)
  elseif word == ">" then
    vector.upgrade = true
    vector.input[#vector.input + 1] = lines(value)
  elseif word == "utf8" then
    vector.events[#vector.events + 1] = "text " .. bytes(value)
  elseif word == "raw" then
    vector.events[#vector.events + 1] = "text " .. bytes(value)
  elseif word == "validate_utf8" or word == "allow_long_lengths" then
    vector[word] = value == "true"
  elseif word == "binary" or word == "ping" or word == "pong" then
    vector.events[#vector.events + 1] = word .. " " .. format.hex(bytes(value))
  elseif word == "text" or word == "close" or word == "error" or word == "open" or word == "fails" then
    vector.events[#vector.events + 1] = word .. " " .. value
  elseif word == "subprotocols" then
    vector.subprotocols = {}
    for name in value:gmatch "[^, ]+" do vector.subprotocols[#vector.subprotocols + 1] = name end
  elseif word == "limit" then
    vector.limit = tonumber(value)
  elseif word == "upgrade" then
    vector.upgrade = true
  else
    vector[word] = value -- role, deflate, wish; sends, which follows from the events
  end
end

local function read(name, vectors)
  for line in io.lines(FOLDER .. name .. ".txt") do
    local word, value = line:match "^  (%S+) ?(.*)$"
    if word then
      add(vectors[#vectors], word, value)
    elseif line:match "^[^#]" then
      vectors[#vectors + 1] = { name = name .. ": " .. line, limit = 65535, input = {}, events = {} }
    end
  end
end

--- Every vector that is for a client, in order.
function format.all()
  local vectors, mine = {}, {}
  local names = {}
  for file in lfs.dir(FOLDER) do names[#names + 1] = file:match "^(.*)%.txt$" end
  table.sort(names)
  for _, name in ipairs(names) do read(name, vectors) end
  for _, vector in ipairs(vectors) do
    vector.input = table.concat(vector.input)
    if vector.role ~= "server" then mine[#mine + 1] = vector end
  end
  return mine
end

return format
