--[[
A Luup system with one plugin, in a world in memory: variables, attributes, delays, and openLuup's scheduler, on the
world's clock. The plugin is loaded as it is, with `luup`, `luws`, os.time and os.date in the place of the real ones,
until stop. It knows how plugins are loaded and called, and nothing of what they do.
--]]

local _, import = ...
local arguments, nets = import("arguments"), import("mock/net")

local luup = {}

local OPTIONS = { folder = "string", plugin = "string", service = "string", openLuup = "any", net = "table" }

-- The modules of luws, beside itself, that belong to a world.
local OF_WORLDS = { "cookies", "engineio", "http", "reactor", "record", "server", "socketio", "websocket" }

local Host = {}
Host.__index = Host

local function read(path)
  local file, why = io.open(path, "rb")
  if not file then error(("luup: %s"):format(why), 0) end
  local text = file:read "*a"
  file:close()
  return text
end

--- Compiles a text whose globals are in a table of its own, as each device's are.
local function compile(text, name, environment)
  local setfenv = rawget(_G, "setfenv")
  local chunk, why
  if setfenv then
    chunk, why = rawget(_G, "loadstring")(text, "=" .. name)
    if chunk then setfenv(chunk, environment) end
  else
    chunk, why = load(text, "=" .. name, "t", environment)
  end
  if not chunk then error("luup: " .. why, 0) end
  return chunk
end

--- Returns a text of XML as it was meant.
local function plain(text)
  return (text:gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&quot;", '"'):gsub("&apos;", "'"):gsub("&amp;", "&"))
end

--- Runs the Lua code of an implementation file: that of the files that it names, and its own after that. They share
-- their local variables. Places in it are told as lines of the first file.
local function run_code(xml, folder, environment)
  local parts, first = {}, nil
  for name in plain(xml:match "<files>(.-)</files>" or ""):gmatch "[^%s,;]+" do
    parts[#parts + 1] = read(folder .. name)
    first = first or name
  end
  parts[#parts + 1] = plain(xml:match "<functions>(.-)</functions>" or "")
  compile(table.concat(parts, "\n"), first or "functions", environment)()
end

--- Loads the implementation file. Returns the name of the startup function, and the actions by their names.
local function implementation(xml, folder, environment)
  run_code(xml, folder, environment)
  local actions = {}
  for action in xml:gmatch "<action>(.-)</action>" do
    local name, kind, code = action:match "<name>(.-)</name>.-<(%l+)>(.-)</%l+>"
    if kind == "run" or kind == "job" then
      actions[name] = compile("local lul_device, lul_settings = ... " .. plain(code), name, environment)
    end
  end
  return xml:match "<startup>%s*(.-)%s*</startup>", actions
end

local function check_seconds(seconds)
  if type(seconds) ~= "number" or seconds < 0 then
    error("bad argument #2 to 'call_delay' (a number of seconds expected)", 3)
  end
end

--- Returns the table `luup` that the plugin sees.
local function api(host)
  local clock = host.net.clock

  local function key(service, name, device)
    if type(service) ~= "string" or type(name) ~= "string" or type(device) ~= "number" then
      error("luup: a service, the name of a variable and the number of a device expected", 3)
    end
    return service .. "\n" .. name .. "\n" .. device
  end

  --- Calls a function after a time. Its errors are logged and fail the test, as a handler's do.
  local function later(seconds, who, f)
    clock.after(seconds, function()
      if host.is_over then return end
      local ok, err = xpcall(f, debug.traceback)
      if not ok then
        host.logged[#host.logged + 1] = { who .. ": " .. err, 1 }
        host.net:failed(who .. ": " .. err:match "^[^\n]*")
      end
    end, who)
  end

  -- The functions of the implementation are global for the plugin only.
  local function global(name)
    local f = type(name) == "string" and host.environment[name]
    if type(f) ~= "function" then error("luup: the name of a global function expected, got " .. tostring(name), 3) end
    return f
  end

  return {
    openLuup = host.openLuup and {} or nil,
    log = function(text, level) host.logged[#host.logged + 1] = { text, level or 50 } end,
    variable_get = function(service, name, device) return host.variables[key(service, name, device)] end,
    variable_set = function(service, name, value, device)
      local at = key(service, name, device)
      local old = host.variables[at]
      host.variables[at] = tostring(value)
      local watcher = host.watchers[at]
      if watcher and old ~= tostring(value) then
        later(0, "the watcher of " .. name, function() watcher(device, service, name, old, tostring(value)) end)
      end
    end,
    variable_watch = function(name, service, variable, device)
      host.watchers[key(service, variable, device)] = global(name)
    end,
    call_delay = function(name, seconds, data)
      local f = global(name)
      check_seconds(seconds)
      host.delay = seconds
      later(seconds, name, function() f(data) end)
      return 0
    end,
    attr_get = function(name, device) return host.attributes[device] and host.attributes[device][name] end,
    attr_set = function(name, value, device)
      host.attributes[device] = host.attributes[device] or {}
      host.attributes[device][name] = value
    end,
    set_failure = function(value, device) host.failure[device] = value end,
  }
end

--- Puts a module in the place of another one, until stop.
local function replace(host, name, module)
  host.before.replaced[name] = package.loaded[name] or false
  package.loaded[name] = module
end

--- start(options): loads a plugin. Options: folder (with its files), plugin (its name: I_NAME1.xml is its
-- implementation), service (for get and set), openLuup (whether the host is openLuup), net (a world). Fields: net,
-- logged (text and level), failure and attributes (by device), delay (the last that was asked for).
function luup.start(options)
  arguments.options("luup", options, OPTIONS)
  if not options.plugin then error("luup: the option 'plugin' is missing (the name of the plugin)", 2) end
  local net = options.net or nets.new()
  local host = setmetatable({
    net = net, openLuup = options.openLuup, service = options.service, plugin = options.plugin, variables = {},
    watchers = {}, logged = {}, failure = {}, attributes = {}, is_over = false,
    environment = setmetatable({}, { __index = _G }), -- the globals of the implementation
  }, Host)
  local modules = package.loaded
  host.before = {
    path = package.path, luup = rawget(_G, "luup"), time = os.time, date = os.date, globals = {}, modules = {},
    replaced = {}, -- modules by their names
  }
  for name in pairs(_G) do host.before.globals[name] = true end
  for name in pairs(modules) do host.before.modules[name] = true end
  rawset(_G, "luup", api(host))
  replace(host, "luws", net.luws)
  for _, name in ipairs(OF_WORLDS) do replace(host, "luws." .. name, net.module(name)) end
  net.has_no_loop = not host.openLuup
  if host.openLuup then
    -- The world drives its reactor itself, so the scheduler has nothing to call.
    net.descriptor = 0
    replace(host, "openLuup.scheduler", { socket_watch = function() end })
  end
  local time, date = os.time, os.date
  os.time = function(when) return when and time(when) or math.floor(net.clock.time()) end -- luacheck: ignore
  os.date = function(format, when) return date(format, when or os.time()) end -- luacheck: ignore
  local folder = (options.folder or "."):gsub("/?$", "/")
  package.path = folder .. "?.lua;" .. package.path
  local ok, err = pcall(function()
    local xml = read(folder .. "I_" .. options.plugin .. "1.xml")
    host.start, host.actions = implementation(xml, folder, host.environment)
  end)
  if ok then return host end
  host:stop()
  error(err, 2)
end

--- startup(device): starts the plugin's device of that number. Returns what its function returns.
function Host:startup(device)
  local name = self.start
  if not name then error(("luup: I_%s1.xml names no startup function"):format(self.plugin), 2) end
  local start = self.environment[name]
  if type(start) ~= "function" then error(("luup: there is no startup function '%s'"):format(name), 2) end
  return start(device)
end

--- action(device, name [, settings]): calls an action. Returns what it returns.
function Host:action(device, name, settings)
  local action = name ~= nil and self.actions[name]
  if not action then error(("luup: there is no action '%s'"):format(tostring(name)), 2) end
  return action(device, settings or {})
end

--- get(device, name), set(device, name, value): a variable of the service that start was given.
function Host:get(device, name) return rawget(_G, "luup").variable_get(self.service, name, device) end
function Host:set(device, name, value) rawget(_G, "luup").variable_set(self.service, name, value, device) end

--- stop(): puts everything back, and forgets the plugin's globals and modules.
function Host:stop()
  if self.is_over then return end
  self.is_over, self.net.has_no_loop = true, false
  local before, modules = self.before, package.loaded
  package.path, os.time, os.date = before.path, before.time, before.date -- luacheck: ignore
  for _, names in ipairs { { _G, before.globals }, { modules, before.modules } } do
    for name in pairs(names[1]) do
      if not names[2][name] then names[1][name] = nil end
    end
  end
  rawset(_G, "luup", before.luup)
  for name, module in pairs(before.replaced) do modules[name] = module or nil end
end

return luup
