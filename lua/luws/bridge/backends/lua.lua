--[[
Backends that are Lua functions: function(request) returns a table with host (the peer's address), and framing,
framing_config and subprotocol if it likes; or nil and the status to refuse the request with.
--]]

local _, import = ...
local answer, guard, plugin = import("bridge/backends/answer"), import("guard"), import("bridge/plugin")

local backend = {}

-- The fields of what a function returns, and what they may be.
local FIELDS = {
  host = { string = true }, port = { string = true, number = true },
  framing = { string = true, ["function"] = true }, framing_config = { string = true }, subprotocol = { string = true },
}

--- Returns what is wrong with the table that a function has returned, or nil.
local function mistake(peer)
  for name, value in pairs(peer) do
    local types = FIELDS[name]
    if not types then return ("unknown field '%s'"):format(tostring(name)) end
    if not types[type(value)] then return ("the field %s is a %s"):format(name, type(value)) end
  end
  return not peer.host and "the field host is missing" or nil
end

--- of(f): returns the backend that this function is.
function backend.of(f)
  return function(request)
    local ok, peer, status = guard.free(f, request)
    if not ok then return nil, 500, "the backend raised an error: " .. peer end
    if peer == nil or peer == false then
      local is_status = type(status) == "number" and status % 1 == 0 and status >= 400 and status <= 599
      return nil, is_status and status or 404, "the backend has no peer for it"
    end
    local wrong = type(peer) ~= "table" and "it returned a " .. type(peer) or mistake(peer)
    local found
    if not wrong then
      local given = {}
      for name, value in pairs(peer) do given[name] = value end
      given.port = peer.port and tostring(peer.port)
      found, _, wrong = answer.make(given)
    end
    if found then return found end
    return nil, 500, "the backend's answer cannot be used: " .. wrong
  end
end

--- make(path, own): returns the backend that a file is, which is given a table of its options; or nil, the name of an
-- option, and what is wrong.
function backend.make(path, own)
  local f, why = plugin.load(path, own)
  if not f then return nil, "backend", why end
  return backend.of(f)
end

return backend
