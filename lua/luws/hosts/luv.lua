--[[
Hangs the reactor into libuv's loop, by luv: a poll handle gives it its turns, and keeps the loop going as long as there
is anything to drive.
--]]

local host = {}

local modules = package.loaded
local handle

function host.is_here()
  local uv = modules.luv
  return type(uv) == "table" and type(uv.new_poll) == "function"
end

--- is_attached(): returns whether libuv's loop gives the reactor its turns.
function host.is_attached() return handle ~= nil end

function host.attach(outer)
  if handle then return true end
  local uv = modules.luv
  local made, why = uv.new_poll(outer.getfd())
  if not made then return false, tostring(why) end
  handle = made
  local function settle()
    if outer.is_idle() then uv.unref(handle) else uv.ref(handle) end
  end
  uv.poll_start(handle, "r", function()
    outer.turn()
    settle()
  end)
  outer.on_busy(settle)
  settle()
  return true
end

return host
