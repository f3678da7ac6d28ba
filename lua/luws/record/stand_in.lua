--[[
A connection that is not there: what a handler is given while rows are replayed. The functions of luws take it, because
it has a world of its own. What is done to it goes to an owner, who compares it with the rows; once it has a live
connection, everything is done to that.

The owner has sent(name, opcode, data), which returns true, or false and why not; and closed(name, code, reason).
--]]

local native, import, world = ...
local guard = import("guard")
local luws = import("luws")

local stand_in = {}

local OWNER, NAME, LIVE = {}, {}, {}

local methods = {}
for name, value in pairs { getfd = -1, pollfd = -1, dirty = false, events = "r", settimeout = 1 } do
  methods[name] = function(conn)
    local live = rawget(conn, LIVE)
    if live then return live[name](live) end
    return value
  end
end

function methods.timeout(conn)
  local live = rawget(conn, LIVE)
  if live then return live:timeout() end
  return nil
end

function methods.receive(conn)
  local live = rawget(conn, LIVE)
  if live then return live:receive() end
  return nil, "timeout"
end

local api = {}

function methods.close(conn, code, reason)
  api.wsclose(conn, code, reason)
  return 1
end

local StandIn = {}

function StandIn:__index(key)
  local method = methods[key]
  if method then return method end
  local live = rawget(self, LIVE)
  if live then return live[key] end
  if key == "bufferedAmount" or key == "bufferedPayload" then return 0 end
end

function StandIn:__tostring()
  return ("luws-websock[%s:%s]"):format(guard.text(self.ip) or "?", guard.text(self.port) or "?")
end

-- What luws does with a connection of another world (worlds.lua).
StandIn[world.HOME] = { world = {}, api = api }

--- handed(name, result, ...): makes a function of the API, which the live connection gets if there is one; otherwise
-- it returns these.
local function handed(name, ...)
  local results, count = { ... }, select("#", ...)
  api[name] = function(conn, ...)
    local live = rawget(conn, LIVE)
    if live then return luws[name](live, ...) end
    return guard.unpack(results, 1, count)
  end
end

handed("wsflush", true)
handed("wsreceive", false, 0)
handed("wswait", true)
handed("wsreset")
handed("watch", true)

function api.wshandleincoming(data, conn)
  local live = rawget(conn, LIVE)
  if live then return luws.wshandleincoming(data, live) end
  return nil, "not connected"
end

--- Returns all that a source gives.
local function drained(source)
  local pieces = {}
  repeat
    local piece = source()
    pieces[#pieces + 1] = piece
  until not piece
  return table.concat(pieces)
end

function api.wssend(conn, opcode, data)
  local live = rawget(conn, LIVE)
  if live then return luws.wssend(live, opcode, data) end
  if type(data) == "function" then data = drained(data) end
  if type(data) ~= "string" then data = data ~= nil and guard.text(data) or "" end
  return rawget(conn, OWNER).sent(rawget(conn, NAME), tonumber(opcode) or 1, data)
end

function api.wsclose(conn, code, reason)
  local live = rawget(conn, LIVE)
  if live then return luws.wsclose(live, code, reason) end
  if conn.closing then return end
  conn.connected, conn.closing = false, true
  rawget(conn, OWNER).closed(rawget(conn, NAME), code, reason)
end

--- new(owner, name, url): returns one for a connection that was recorded under this name.
function stand_in.new(owner, name, url)
  local target = type(url) == "string" and native.parse_url((url:gsub("%?.*", ""))) or {}
  return setmetatable({
    [OWNER] = owner, [NAME] = name, [LIVE] = nil,
    connected = false, closing = false, options = {},
    proto = target.secure and "wss" or "ws", ip = target.host, port = target.port, path = target.resource,
    lastMessage = 0, lastPing = 0,
  }, StandIn)
end

--- name_of(conn): returns the name of the recorded connection that it stands for.
function stand_in.name_of(conn) return rawget(conn, NAME) end

--- go_on(conn, live): from now on, it stands for this connection.
function stand_in.go_on(conn, live)
  for key in next, conn do
    if type(key) == "string" and key ~= "options" then conn[key] = nil end
  end
  rawset(conn, LIVE, live)
end

return stand_in
