--[[
Hangs the reactor into copas: a thread of copas gives it its turns. Uses only what copas 1.1 and later ones have in
common.
--]]

local host = {}

local modules = package.loaded

-- The copas that has our thread, as long as there is anything to drive.
local attached

function host.is_here()
  local copas = modules.copas
  return type(copas) == "table" and type(copas.addthread) == "function" and type(copas.receive) == "function"
end

--- Whether copas runs; versions that do not say so are taken to.
function host.is_running() return modules.copas.running ~= false end

--- Returns an object that copas.receive takes for a socket. Its receive() gives the reactor its turn, and returns true
-- once done() does.
local function proxy(outer, done)
  local has_begun = false
  return {
    getfd = outer.getfd,
    dirty = function() return done() or outer.dirty() end,
    settimeout = function() return 1 end,
    close = function() return 1 end, -- copas closes what a thread has waited for, when that ends
    receive = function()
      -- copas begins a thread where it is made, and that is no place to call handlers.
      if has_begun and not done() then outer.turn() end
      has_begun = true
      if done() then return true end
      return nil, "timeout"
    end,
  }
end

--- wait(outer, done): lets the other threads of copas run until done() returns true. Returns true, or false and why
-- not.
local function wait(outer, done)
  local socket = proxy(outer, done)
  repeat
    local ok, err = modules.copas.receive(socket)
    -- Some versions have a time-out of their own.
    if not ok and err ~= "timeout" then return false, tostring(err) end
  until ok
  return true
end

function host.attach(outer)
  local function begin()
    local copas = modules.copas
    if not host.is_here() or attached == copas or outer.is_idle() then return end
    attached = copas
    copas.addthread(function()
      local ok, why = wait(outer, outer.is_idle)
      attached = nil
      if not ok then outer.failed(why) end
    end)
  end
  outer.on_busy(begin)
  begin()
  return true
end

host.pause = wait

return host
