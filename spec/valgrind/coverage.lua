-- What of luws a program has used. It notes functions, methods and options, and tells which were not used. Which there
-- are, it reads from the modules and from types/luws.lua, which spec/types_spec.lua keeps true. So what is added
-- to luws is missed here until the program uses it.

local luws = require "luws"
-- The other modules, by the name of each after "luws.".
local MODULES = {
  bridge = require "luws.bridge", cookies = require "luws.cookies", engineio = require "luws.engineio",
  http = require "luws.http",
  json = require "luws.json", mock = require "luws.mock", reactor = require "luws.reactor",
  record = require "luws.record", server = require "luws.server", socketio = require "luws.socketio",
  websocket = require "luws.websocket",
}

local coverage = {}

local used = {} -- a description such as "option deflate.level" -> true

local function note_options(options, prefix)
  for name, value in pairs(options) do
    used["option " .. prefix .. name] = true
    if name == "deflate" or name == "sockproxy" or name == "proxy" or name == "reconnect" or name == "auth" then
      note_options(type(value) == "table" and value or {}, name .. ".")
    end
  end
end

local function wsopen(url, handler, options)
  note_options(options or {}, "")
  return luws.wsopen(url, handler, options)
end

--- noting(name, module): returns a table that stands for a module, or an object, and notes which of its functions are
-- looked up.
function coverage.noting(name, module)
  return setmetatable({}, {
    __index = function(_, key)
      used[name .. "." .. key] = true
      return module == luws and key == "wsopen" and wsopen or module[key]
    end,
    __newindex = function(_, key, value) module[key] = value end,
    __call = function(_, ...) return module(...) end,
  })
end

--- From now on, whatever requires luws or another of its modules gets a table that notes.
function coverage.begin()
  package.loaded["luws"] = coverage.noting("luws", luws)
  for name, module in pairs(MODULES) do package.loaded["luws." .. name] = coverage.noting(name, module) end
  local Jar = getmetatable(MODULES.cookies.jar())
  Jar.__index = coverage.noting("jar", Jar)
end

--- Calls a method of a connection, and notes it.
function coverage.call(conn, name, ...)
  used["conn:" .. name] = true
  return conn[name](conn, ...)
end

--- Returns a sorted list of what was never used, and how much there is in all.
function coverage.missing()
  local all = {}
  for name, value in pairs(luws) do if type(value) == "function" then all["luws." .. name] = true end end
  for name in io.open("types/luws/cookies.lua"):read("*a"):gmatch "function jar:(%w+)" do all["jar." .. name] = true end
  for name in io.open("types/luws/bridge.lua"):read("*a"):gmatch "function bridge:([%w_]+)" do
    all["bridge." .. name] = true
  end
  for name in io.open("types/luws/server.lua"):read("*a"):gmatch "function server:([%w_]+)" do
    all["srv." .. name] = true
  end
  for module, functions in pairs(MODULES) do
    for name, value in pairs(functions) do
      if type(value) == "function" then all[module .. "." .. name] = true end
    end
  end
  local prefixes = { Options = "", DeflateOptions = "deflate.", SockProxyOptions = "sockproxy.",
    ProxyOptions = "proxy.", ReconnectOptions = "reconnect.", AuthOptions = "auth." }
  local prefix
  for line in io.lines "types/luws.lua" do
    local class = line:gsub(" %(exact%)", ""):match "^%-%-%-@class luws%.(%w+)"
    if class then prefix = prefixes[class] end
    local option, method = line:match "^%-%-%-@field ([%w_]+)", line:match "^function Connection:([%w_]+)"
    if option and prefix then all["option " .. prefix .. option] = true end
    if method then all["conn:" .. method] = true end
  end
  local missing, count = {}, 0
  for name in pairs(all) do
    count = count + 1
    if not used[name] then missing[#missing + 1] = name end
  end
  table.sort(missing)
  return missing, count
end

return coverage
