-- A bridge by which pages in a browser talk to devices in the house that know TCP only.
--
--   lua5.1 examples/bridge.lua PORT NAME=ADDRESS...
--   lua5.1 examples/bridge.lua 8001 meter=tcp://192.168.1.20:23 amplifier=tcp://192.168.1.21:60128
--
-- With that, ws://localhost:8001/meter leads to the first of them, and nothing else can be reached. What the device
-- `meter` sends becomes a message for each telegram; with others, what a read has brought is one. Ends in order on
-- Ctrl-C. PORT 0 is any that is free.

local bridge = require "luws.bridge"

if #arg < 2 then
  io.stderr:write "usage: lua5.1 examples/bridge.lua PORT NAME=ADDRESS...\n"
  os.exit(1)
end
local port = table.remove(arg, 1)
local devices, allowed = {}, {}
for _, word in ipairs(arg) do
  local name, address = word:match "^(%w+)=(.+)$"
  if not name then
    io.stderr:write("NAME=ADDRESS expected, not ", word, "\n")
    os.exit(1)
  end
  devices[name] = address
  allowed[#allowed + 1] = address
end

--- A smart meter (DSMR P1) ends each telegram by a line with an exclamation mark and a checksum.
local function telegram(state, data)
  local _, last = data:find("\n!%x*\r\n", state.searched or 1)
  -- A telegram comes in many reads: only its last line is looked at again.
  state.searched = not last and data:match ".*()\n" or nil
  return last, "text"
end

local framings = { meter = telegram }

local ok, why = bridge.run {
  listen = "127.0.0.1",
  port = tonumber(port) or port,
  allow = allowed,
  origin = { "http://localhost:*" }, -- where the page is from
  peer = function(request)
    local name = request.path:match "^/(%w+)$"
    if not devices[name] then return nil, 404 end
    return { host = devices[name], framing = framings[name] }
  end,
}
if not ok then
  io.stderr:write(why, "\n")
  os.exit(1)
end
