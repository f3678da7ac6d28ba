--[[
Who listens where in a world in memory. It knows servers as values, and what names of hosts mean: "127.0.0.1" and
"localhost" are one, and a server at "0.0.0.0" or "::" is there under every name.
--]]

local places = {}

local Places = {}
Places.__index = Places

local ANY = { ["0.0.0.0"] = true, ["::"] = true }
local HERE = { ["127.0.0.1"] = "localhost", ["::1"] = "localhost" }

--- Returns the key of a place.
local function key_of(host, port)
  host = host:lower()
  return (ANY[host] and "*" or HERE[host] or host) .. ":" .. port
end

--- new(): returns an object in which nobody listens.
function places.new() return setmetatable({}, Places) end

--- at(host, port): returns a list of those who listen there; the first is the one that a client reaches.
function Places:at(host, port)
  local here = self[key_of(host, port)]
  return here and here[1] and here or self[key_of("::", port)] or {}
end

--- is_taken(host, port): returns whether somebody listens exactly there.
function Places:is_taken(host, port)
  local here = self[key_of(host, port)]
  return here ~= nil and here[1] ~= nil
end

--- enter(server, host, port): a server listens there from now on.
function Places:enter(server, host, port)
  local key = key_of(host, port)
  self[key] = self[key] or {}
  table.insert(self[key], server)
end

--- leave(server): it listens no more.
function Places:leave(server)
  for _, here in pairs(self) do
    for i = #here, 1, -1 do
      if here[i] == server then table.remove(here, i) end
    end
  end
end

return places
