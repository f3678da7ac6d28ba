--[[
cqueues remembers the descriptors that it has polled. One that is closed must be taken out of it before, or the next
socket, which may get the same number, is taken for this one.
--]]

local cqueues = {}

local modules = package.loaded

--- release(socket): to be called before a socket is closed, and after the last pollfd() that tells of it.
function cqueues.release(socket)
  local loaded = modules.cqueues
  if not loaded then return end
  pcall(function()
    local fd = socket:getfd()
    if fd >= 0 then loaded.cancel(fd) end
  end)
end

return cqueues
