--[[
cqueues: hangs the reactor into the controller that runs, where a coroutine gives it its turns. And tells cqueues of
descriptors that are closed: it remembers those that it has polled, and would mistake the next socket with the same
number for the old one.
--]]

local host = {}

local modules = package.loaded

-- While a coroutine waits for something that another may bring about, it looks again after this many seconds.
local LOOK = 0.02

-- The controllers that have our coroutine, as long as there is anything to drive.
local attached = setmetatable({}, { __mode = "k" })

--- release(socket): must be called before a socket is closed, and after the last pollfd() that returns its descriptor.
function host.release(socket)
  local loaded = modules.cqueues
  if not loaded then return end
  pcall(function()
    local fd = socket:getfd()
    if fd >= 0 then loaded.cancel(fd) end
  end)
end

local function controller()
  local cqueues = modules.cqueues
  local ok, running = pcall(function() return cqueues.running() end)
  return ok and running or nil
end

function host.is_here() return controller() ~= nil end

function host.attach(outer)
  local function begin()
    local running = controller()
    if not running or attached[running] or outer.is_idle() then return end
    attached[running] = true
    running:wrap(function()
      repeat
        modules.cqueues.poll(outer.public)
        outer.turn()
      until outer.is_idle()
      attached[running] = nil
    end)
  end
  outer.on_busy(begin)
  begin()
  return true
end

--- pause(outer, done): lets the other coroutines run until done() returns true.
function host.pause(outer, done)
  local public = outer.public
  local object = {
    pollfd = public.pollfd,
    events = public.events,
    timeout = function() return math.min(LOOK, public.timeout() or LOOK) end,
  }
  while not done() do
    modules.cqueues.poll(object)
    outer.turn()
  end
  return true
end

return host
