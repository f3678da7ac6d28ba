-- A stand-in for a Luup system with one plugin, for specs: variables, attributes, delays and openLuup's scheduler, with
-- a clock that only the spec advances.
--
--   local host = luup.start { folder = "examples/luup-plugin/", plugin = "WSListener", openLuup = true }
--   host:startup(7)
--   host:run(function() return host:get(7, "Status") == "connected" end)
--   host:stop()
--
-- It knows how plugins are loaded and called, and nothing of WebSockets.

local compat = require "spec.support.compat"
local files = require "spec.support.files"
local socket = require "socket"

local luup = {}

local PATIENCE = 10 -- seconds of the real clock that run() waits

local Host = {}
Host.__index = Host

local read = files.read

--- Loads the code of the implementation file into its own environment, as openLuup does for each device.
local function implementation(xml)
  local environment = setmetatable({}, { __index = _G })
  local function compile(text, name)
    return compat.setfenv(assert(compat.loadstring(text, "=" .. name)), environment)
  end
  compile(xml:match "<functions>(.-)</functions>", "functions")()
  local actions = {}
  for action in xml:gmatch "<action>(.-)</action>" do
    local name, kind, code = action:match "<name>(.-)</name>.-<(%l+)>(.-)</%l+>"
    assert(kind == "run" or kind == "job", "an action has a run or a job")
    actions[name] = compile("local lul_device, lul_settings = ... " .. code, name)
  end
  return environment[xml:match "<startup>(.-)</startup>"], actions
end

-- Returns the table `luup` that plugins see.
local function api(host)
  local function key(service, name, device)
    assert(service and name and type(device) == "number", "service, name and device number are needed")
    return service .. " " .. name .. " " .. device
  end

  local function later(seconds, call)
    host.serial = host.serial + 1
    table.insert(host.timers, { at = host.clock + seconds, serial = host.serial, call = call })
  end

  local function global(name)
    assert(type(name) == "string" and type(_G[name]) == "function", "the name of a global function is needed")
    return _G[name]
  end

  return {
    log = function(text, level) table.insert(host.logged, { text, level or 50 }) end,
    openLuup = host.openLuup and {} or nil,
    variable_get = function(service, name, device) return host.variables[key(service, name, device)] end,
    variable_set = function(service, name, value, device)
      assert(type(value) == "string", "variables are strings")
      local at = key(service, name, device)
      local old = host.variables[at]
      host.variables[at] = value
      local watcher = host.watchers[at]
      if watcher and old ~= value then later(0, function() watcher(device, service, name, old, value) end) end
    end,
    variable_watch = function(name, service, variable, device)
      host.watchers[key(service, variable, device)] = global(name)
    end,
    call_delay = function(name, seconds, data)
      local call = global(name)
      assert(seconds >= 0 and seconds % 1 == 0, "delays are whole seconds")
      host.delay = seconds
      later(seconds, function() call(data) end)
      return 0
    end,
    attr_get = function(name, device) return host.attributes[device] and host.attributes[device][name] end,
    set_failure = function(value, device) host.failure[device] = value end,
  }
end

--- Starts a host. Options: folder (with the plugin's files), plugin (its name), openLuup (whether the host is
-- openLuup), service (used by get, set and the actions). Fields of the host: delay (last given to call_delay), logged
-- (text and level), failure and attributes (by device), watched (the scheduler's sockets).
function luup.start(options)
  local host = setmetatable({
    openLuup = options.openLuup, service = options.service, plugin = options.plugin,
    clock = 0, serial = 0, timers = {}, variables = {}, watchers = {}, logged = {}, failure = {}, attributes = {},
    watched = {}, path = package.path,
  }, Host)
  rawset(_G, "luup", api(host))
  package.path = options.folder .. "?.lua;" .. package.path
  if host.openLuup then
    package.loaded["openLuup.scheduler"] = {
      socket_watch = function(sock, callback) host.watched[sock] = callback end,
    }
  end
  host.start, host.actions = implementation(read(options.folder .. "I_" .. options.plugin .. "1.xml"))
  return host
end

--- Removes everything that the plugin has left in this process.
function Host:stop()
  package.path = self.path
  rawset(_G, "luup", nil)
  package.loaded["openLuup.scheduler"] = nil
  for _, names in ipairs { package.loaded, _G } do
    for name in pairs(names) do
      if type(name) == "string" and name:find(self.plugin, 1, true) then rawset(names, name, nil) end
    end
  end
end

--- Starts the plugin's device of that number. Returns what its startup function returns.
function Host:startup(device) return self.start(device) end

--- Calls an action. Returns what it returns.
function Host:action(device, name, settings) return self.actions[name](device, settings or {}) end

function Host:get(device, name) return _G.luup.variable_get(self.service, name, device) end

function Host:set(device, name, value) _G.luup.variable_set(self.service, name, value, device) end

--- Advances the clock, and calls what becomes due, in order. Calls without a delay that are requested meanwhile are
-- left to the next pass.
function Host:pass(seconds)
  local stop, newest = self.clock + seconds, self.serial
  local function earlier(a, b) return a.at < b.at or a.at == b.at and a.serial < b.serial end
  while true do
    table.sort(self.timers, earlier)
    local timer = self.timers[1]
    if not timer or timer.at > stop or seconds == 0 and timer.serial > newest then break end
    table.remove(self.timers, 1)
    self.clock = math.max(self.clock, timer.at)
    timer.call()
  end
  self.clock = stop
end

--- Does one round of the scheduler's work with its sockets. Pauses briefly for the peer if nothing is watched.
function Host:serve()
  local list = {}
  for sock in pairs(self.watched) do list[#list + 1] = sock end
  for _, sock in ipairs((socket.select(list, nil, 0.002))) do
    if self.watched[sock] then self.watched[sock](sock) end
  end
end

--- Serves and passes this many seconds (0) repeatedly until done() is true. Raises an error if that takes too long.
function Host:run(done, seconds)
  local deadline = socket.gettime() + PATIENCE
  while not done() do
    assert(socket.gettime() < deadline, "it did not come to that")
    self:pass(seconds or 0)
    self:serve()
  end
end

return luup
