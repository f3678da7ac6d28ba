--[[
Which world a connection lives in. There is the real world, and there may be others (mock). A program has one module
table for all of them: the option `reactor` says in which world wsopen opens a connection, and every function of the
API hands a connection of another world on to that world's.
--]]

local _, import, world = ...
local guard, log, options = import("guard"), import("log"), import("options")

local worlds = {}

--- Returns the world of a reactor, or nil.
local function world_of(value)
  return type(value) == "table" and rawget(value, world.HOME) or nil
end

options.register {
  { "reactor", nil, function(value) -- what drives the connection, and so the world in which it is opened
    if world_of(value) then return value end
    return nil, "a reactor expected, got " .. type(value)
  end },
}

--- of_reactor(reactor): returns the API of the world of a reactor, if it is another one than ours.
function worlds.of_reactor(value)
  local other = world_of(value)
  return other and other ~= world and other.api or nil
end

--- elsewhere(given, name): returns the module of this name in the world of the reactor among these options, if that is
-- not ours. What are no options, or no reactor, is for others to find.
function worlds.elsewhere(given, name)
  local other = type(given) == "table" and world_of(given.reactor)
  return other and other ~= world and other.import(name).public or nil
end

--- serves(reactor): returns what listens for servers of luws.server in the world of a reactor, or in ours if that is
-- nil; nothing where they listen themselves.
function worlds.serves(reactor) return (world_of(reactor) or world).serve end

--- set_home(metatable, api): notes whose connections those with this metatable are.
function worlds.set_home(metatable, api) metatable[world.HOME] = { world = world, api = api } end

--- Returns where a connection lives: its world and its API; nil if it is none.
local function home_of(conn)
  local meta = type(conn) == "table" and guard.metatable_of(conn)
  return type(meta) == "table" and rawget(meta, world.HOME) or nil
end

--- of(conn): returns the API to which a connection belongs, if that is another instance's, of whatever world. A
-- server's connections belong to the instance that has made the server.
function worlds.of(conn)
  local home = home_of(conn)
  return home and home.api ~= log.settings and home.api or nil
end

--- part(conn, name): returns this part of the driver in the world in which a connection lives, if that is not ours.
function worlds.part(conn, name)
  local home = home_of(conn)
  return home and home.world ~= world and home.world.import(name) or nil
end

return worlds
