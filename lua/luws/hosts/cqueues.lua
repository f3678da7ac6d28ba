--[[
Removes sockets from cqueues, which remembers the descriptors that it has polled. Otherwise the next socket may get the
same number as a closed one and be mistaken for it.
--]]

local cqueues = {}

local modules = package.loaded

--- release(socket): must be called before a socket is closed, and after the last pollfd() that returns its descriptor.
function cqueues.release(socket)
  local loaded = modules.cqueues
  if not loaded then return end
  pcall(function()
    local fd = socket:getfd()
    if fd >= 0 then loaded.cancel(fd) end
  end)
end

return cqueues
