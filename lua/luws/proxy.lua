--[[
Decides which proxy a connection goes through: SockProxy, if the option of that name asks for it. The engine does the
negotiation.
--]]

local _, import = ...
local options = import("options")

local proxy = {}

options.register {
  { "sockproxy", false, options.of_type("boolean", "table") }, -- its own options are read below
}

--- Reads a string that can be a word of a SockProxy command.
local function word(value)
  if type(value) ~= "string" then return nil, "string expected, got " .. type(value) end
  if not value:find("^[!-.0-~]+$") then return nil, "visible ASCII without slashes expected" end
  return value
end

local sockproxy_rows = {
  { "host", "127.0.0.1", word },
  { "port", 2504, options.whole(1, 65535) },
  -- what to notify; without a device, SockProxy notifies nobody
  { "device", nil, options.whole(0) },
  { "service", nil, word },
  { "action", "HandleReceive", word },
  { "pid", nil, word },
  { "rtim", 0, options.whole(0) }, -- ms of silence until SockProxy gives up; 0: never
  { "pace", 0, options.whole(0) }, -- s between notifications
  { "timeout", 10, options.at_least(0) }, -- s to reach SockProxy and for it to connect (up to 5)
  { "required", false, options.of_type("boolean") }, -- whether to fail without SockProxy
}

--- sockproxy(opening, target): returns a complete table of SockProxy's options, or nil if it is not wanted, or nil and
-- what is wrong with the options.
function proxy.sockproxy(opening, target)
  local wanted = opening.sockproxy
  if not wanted then return nil end
  if opening.connect then return nil, "bad option 'sockproxy' (cannot be combined with connect)" end
  local result, why = options.complete("sockproxy", sockproxy_rows, wanted)
  if not result then return nil, why end
  if result.device and not result.service then return nil, "bad option 'sockproxy' (service: missing)" end
  result.target_host, result.target_port = target.host, target.port
  result.device = result.device and ("%.0f"):format(result.device)
  return result
end

return proxy
