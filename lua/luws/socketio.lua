--[[
The module luws.socketio: Socket.IO (protocol 5, as JavaScript's 3.x and 4.x speak it), client and server, with the
names that the JavaScript libraries have. Checks what it is given; the work is done in socketio/*, over luws.engineio.
--]]

local _, import = ...
local binary, json, reactor = import("binary"), import("json").public, import("reactor").public
local managers, parser = import("socketio/client/manager"), import("socketio/parser")
local queries, servers, waiting = import("query"), import("socketio/server"), import("socketio/waiting")
local worlds = import("worlds")

local io = {
  --- The version of the protocol.
  protocol = parser.protocol,
  --- binary(bytes): makes a binary value; is_binary(value): whether any value is one.
  binary = binary.new,
  is_binary = binary.is,
  -- Values of JSON.
  json = json, null = json.null, array = json.array, array_mt = json.array_mt, object_mt = json.object_mt,
  --- spawn(f, ...): runs a function in which one may wait for answers.
  spawn = waiting.spawn,
  -- The reactor's, for the real world.
  step = reactor.step, run = reactor.run, stop = reactor.stop, getfd = reactor.getfd, timeout = reactor.timeout,
}

--- Manager(uri [, opts]): makes a manager of its own.
function io.Manager(uri, opts)
  local other = worlds.elsewhere(opts, "socketio")
  if other then return other.Manager(uri, opts) end
  return managers.new(uri, opts)
end

--- server(options): makes a server. Returns nil and why not, if it cannot listen.
function io.server(options)
  local other = worlds.elsewhere(options, "socketio")
  if other then return other.server(options) end
  return servers.new(options)
end

-- Managers by the server and the path of the engine, as long as somebody uses them.
local shared = setmetatable({}, { __mode = "v" })

local PORTS = { http = "80", https = "443" }
local SCHEMES = { http = "http", https = "https", ws = "http", wss = "https" }

--- parse(url): returns the parts of a URL: the server's address, what identifies it, the namespace, and the
-- parameters of the query. Without a scheme it is https.
local function parse(url)
  if not url:find "^%a[%w+.-]*://" then url = "https://" .. url:gsub("^//", "") end
  local given, authority, path, query = url:match "^(%a[%w+.-]*)://([^/?#]*)([^?#]*)%??([^#]*)"
  local scheme = SCHEMES[given:lower()]
  if not scheme then error(("bad argument #1 to 'io' (unknown scheme '%s')"):format(given), 0) end
  local host, port = authority:match "^(.-):(%d+)$"
  local id = ("%s://%s:%s"):format(scheme, (host or authority):lower(), port or PORTS[scheme])
  return {
    source = scheme .. "://" .. authority,
    id = id,
    namespace = path == "" and "/" or path,
    query = query ~= "" and queries.parse(query) or nil,
  }
end

--- connect(url [, opts]): returns the socket of a namespace, which is the path of the URL. Sockets for one server
-- share a manager, and so a connection, unless opts.forceNew is set, opts.multiplex is false, or the namespace is in
-- use there.
function io.connect(url, opts)
  if type(url) ~= "string" then
    error(("bad argument #1 to 'io' (string expected, got %s)"):format(type(url)), 2)
  end
  if opts ~= nil and type(opts) ~= "table" then
    error(("bad argument #2 to 'io' (table expected, got %s)"):format(type(opts)), 2)
  end
  local other = worlds.elsewhere(opts, "socketio")
  if other then return other.connect(url, opts) end
  local given = {}
  for name, value in pairs(opts or {}) do given[name] = value end
  local parsed = parse(url)
  local _, wrong = parser.namespace(parsed.namespace)
  if wrong then error(("bad argument #1 to 'io' (%s)"):format(wrong), 2) end
  if given.query == nil then given.query = parsed.query end
  local id = parsed.id .. tostring(given.path or "/socket.io"):gsub("/$", "")
  local manager = shared[id]
  local is_own = given.forceNew or given.multiplex == false or manager and manager.nsps[parsed.namespace]
  if is_own or not manager then
    manager = managers.new(parsed.source, given)
    if not is_own then shared[id] = manager end
  else
    managers.check(parsed.source, given) -- its options count, but these are not to be wrong unnoticed
  end
  return manager:socket(parsed.namespace, given)
end

local meta = {}

function meta.__call(_, url, opts) return io.connect(url, opts) end

return { public = setmetatable(io, meta) }
