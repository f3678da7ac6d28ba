-- Runs a block of Lua from the documentation in its own process (spec/docs_spec.lua):
--
--   lua5.1 block.lua FILE ROOT WS_URL WSS_URL [HOST]
--
-- FILE is the block, ROOT the folder of the project. Whatever server the block names, it talks to one of these URLs,
-- and that server's certificate is not verified. HOST is "openluup" for blocks that need openLuup; a stand-in here has
-- what they use. This file knows what to replace, and nothing of the pages.

local file, root, ws, wss, host = ...

-- How long openLuup runs after the block, and how long one of its seconds lasts, in seconds.
local LAST, SECOND = 1.5, 0.05

local luws = require "luws"

-- Every connection that was opened.
local conns = {}

local function is_any_open()
  for _, conn in ipairs(conns) do
    if not conn.closing then return true end
  end
  return false
end

-- Whether an option says whom to trust, or what to connect through.
local function is_of_server(name)
  name = tostring(name)
  return name == "sockproxy" or name:find "^proxy" or name:find "^ssl"
end

--- Replaces wsopen in the module table, and in the instances that it makes.
local function redirected(module)
  local open, instance = module.wsopen, module.instance

  function module.wsopen(url, handler, options)
    local scheme = type(url) == "string" and url:match "^(wss?)://[^/#]+[^#]*$"
    local is_of_test = options and options.reactor -- in a world of luws.mock
    if not scheme or is_of_test then return open(url, handler, options) end
    local given = {}
    for name, value in pairs(options or {}) do
      if not is_of_server(name) then given[name] = value end
    end
    local conn, err, response = open(scheme == "wss" and wss or ws, handler, given)
    conns[#conns + 1] = conn or nil
    if conn and options then conn.options = options end
    return conn, err, response
  end

  function module.instance(...) return redirected(instance(...)) end

  return module
end

redirected(luws)

-- Loads the stub under any plugin's name.
table.insert(package.loaders or package.searchers, 2, function(name) -- luacheck: ignore
  if name:find "^L_[%w_]+_LuWS$" then return assert(loadfile(root .. "/lua/L_MyPlugin_LuWS.lua")) end
end)

local delayed, watched = {}, {}

local function ignore() end

if host == "openluup" then
  luup = setmetatable({ -- luacheck: ignore
    log = function(text, level) print(level or 50, text) end,
    openLuup = {},
    devices = {},
    call_delay = function(name, seconds, data)
      assert(type(_G[name]) == "function", "call_delay takes the name of a global function")
      delayed[#delayed + 1] = { at = luws.gettime() + tonumber(seconds) * SECOND, name = name, data = data }
      return 0
    end,
  }, { __index = function() return ignore end })
  package.loaded["openLuup.scheduler"] = {
    socket_watch = function(sock, callback) watched[sock] = callback end,
  }
end

assert(loadfile(file))()

local stop = luws.gettime() + LAST
while (delayed[1] or is_any_open()) and luws.gettime() < stop do
  for i = #delayed, 1, -1 do
    local call = delayed[i]
    if luws.gettime() >= call.at then
      table.remove(delayed, i)
      _G[call.name](call.data)
    end
  end
  local callbacks = {}
  for sock, callback in pairs(watched) do callbacks[sock] = callback end
  for sock, callback in pairs(callbacks) do callback(sock) end
  luws.sleep(0.01)
end
