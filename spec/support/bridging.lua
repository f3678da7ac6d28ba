-- Bridges of luws.bridge for specs, over real sockets: a bridge whose log is noted, clients that are luws's own or raw,
-- and peers whose sockets are the spec's.
--
--   local peer = bridging.listen()                  -- a TCP server; peer.address, peer:accept()
--   local b = bridging.start { host = peer.address } -- b.bridge, b.lines
--   local client = b:connect "/path"                -- client.conn, client.told
--   after_each(bridging.over)
--
-- It steps the reactor, which drives the bridge and the clients.

local bridge = require "luws.bridge"
local serving = require "spec.support.serving"
local socket = require "socket"
local unix = require "socket.unix"

local bridging = { till = serving.till, read = serving.read }

local till = serving.till

local bridges, sockets, paths = {}, {}, {}

local Bridging = setmetatable({}, { __index = serving.methods })
Bridging.__index = Bridging

--- start(options): returns a bridge at a free port. Its field `lines` has the lines of its log, after `luws bridge: `.
function bridging.start(options)
  local given, lines = { listen = "127.0.0.1", port = 0 }, {}
  for name, value in pairs(options) do given[name] = value end
  given.log = function(_, line) lines[#lines + 1] = line:gsub("^luws bridge: ", "") end
  local self = setmetatable({ lines = lines, bridge = assert(bridge.listen(given)) }, Bridging)
  bridges[#bridges + 1] = self.bridge
  self.host, self.port = self.bridge:address()
  return self
end

--- said(pattern): returns whether a line of the log has this pattern in it.
function Bridging:said(pattern)
  for _, line in ipairs(self.lines) do
    if line:find(pattern) then return true end
  end
  return false
end

--- dial(): returns a raw socket that is connected to the bridge.
function Bridging:dial()
  local raw
  if self.port then
    raw = serving.methods.dial(self)
  else -- the host is a path
    raw = unix.stream()
    assert(raw:connect(self.host))
    raw:settimeout(0)
  end
  sockets[#sockets + 1] = raw -- a bridge that is closed waits for its clients
  return raw
end

--- refused(...): sends a request with these lines after the upgrade's. Returns the status, and all of the response.
function Bridging:refused(path, ...)
  local all = self:raw(serving.upgrade(path, ...))
  return serving.status(all), all
end

--- frame(opcode, payload [, is_part]): returns a client's frame. Its masking key is 0.
function bridging.frame(opcode, payload, is_part)
  local length = #payload
  local head = string.char((is_part and 0 or 128) + opcode)
  if length < 126 then
    head = head .. string.char(128 + length)
  elseif length < 65536 then
    head = head .. string.char(254, math.floor(length / 256), length % 256)
  else
    head = head .. "\255\0\0\0\0" .. string.char(math.floor(length / 2 ^ 24), math.floor(length / 2 ^ 16) % 256,
      math.floor(length / 256) % 256, length % 256)
  end
  return head .. "\0\0\0\0" .. payload
end

--- flood(from, to, bytes): sends from one end of a bridge until nothing more gets through, because the other end does
-- not read. Returns how much was sent, which is not all.
function bridging.flood(from, to, bytes)
  for _, raw in ipairs { from, to } do -- their buffers are full soon
    raw:setoption("recv-buffer-size", 65536)
    raw:setoption("send-buffer-size", 65536)
  end
  local at, stalled = 1, 0
  till(function()
    local count, _, part = from:send(bytes, at)
    count = (count or part) + 1 - at
    at, stalled = at + count, count > 0 and 0 or stalled + 1
    return stalled > 5 or at > #bytes
  end, 0.001)
  assert(at <= #bytes, "it takes everything")
  return at - 1
end

--- open(path, ...): returns a raw socket whose upgrade is complete.
function Bridging:open(path, ...)
  local raw = self:dial()
  raw:send(serving.upgrade(path or "/", ...))
  local head = bridging.read(raw, function(all) return all:find("\r\n\r\n", 1, true) end)
  assert(head:find "^HTTP/1.1 101", head)
  return raw, head
end

-- Sockets of peers. Their methods: read(count) returns so many bytes, or what came before the end; send and close are
-- LuaSocket's.

local Peer = {}
Peer.__index = Peer

local function peer_of(raw)
  raw:settimeout(0)
  sockets[#sockets + 1] = raw
  return setmetatable({ raw = raw, all = "" }, Peer)
end

--- read(count): returns what comes, up to so many bytes, or up to the end; and whether that has come.
function Peer:read(count)
  local ended = false
  till(function()
    local data, why, part = self.raw:receive(65536)
    self.all = self.all .. (data or part or "")
    ended = why == "closed"
    return ended or count and #self.all >= count
  end, 0.001)
  local all = self.all:sub(1, count or -1)
  self.all = self.all:sub(#all + 1)
  return all, ended
end

--- skip(): returns how many bytes have come, and whether the end has.
function Peer:skip()
  local count = 0
  while true do
    local data, why, part = self.raw:receive(65536)
    count = count + #(data or part)
    if why then return count, why == "closed" end
  end
end

--- send(bytes): sends all of it.
function Peer:send(bytes)
  local at = 1
  till(function()
    local sent, _, part = self.raw:send(bytes, at)
    at = (sent or part) + 1
    return at > #bytes
  end, 0.001)
end

function Peer:close() self.raw:close() end

--- shutdown(): ends the sending side.
function Peer:shutdown() self.raw:shutdown "send" end

--- reset(): closes the connection so that the other side has an error.
function Peer:reset()
  self.raw:setoption("linger", { on = true, timeout = 0 })
  self.raw:close()
end

local Listener = {}
Listener.__index = Listener

--- accept(): returns the next connection.
function Listener:accept()
  return peer_of(till(function() return (self.raw:accept()) end, 0.001))
end

function Listener:close() self.raw:close() end

local function listener(raw, address)
  raw:settimeout(0)
  sockets[#sockets + 1] = raw
  return setmetatable({ raw = raw, address = address }, Listener)
end

--- listen([host [, backlog]]): returns a TCP server at a free port. Its field `address` is as the bridge takes it.
function bridging.listen(host, backlog)
  host = host or "127.0.0.1"
  local raw = assert(socket.bind(host, 0, backlog))
  local _, port = raw:getsockname()
  local self = listener(raw, ("tcp://%s:%d"):format(host:find ":" and "[" .. host .. "]" or host, port))
  self.port = tonumber(port)
  return self
end

--- path(): returns a path that is free, for a unix domain socket.
function bridging.path()
  local path = os.tmpname()
  os.remove(path)
  paths[#paths + 1] = path
  return path
end

--- listen_unix(): the same at a path.
function bridging.listen_unix()
  local path, raw = bridging.path(), unix.stream()
  assert(raw:bind(path))
  assert(raw:listen())
  return listener(raw, "unix://" .. path)
end

--- udp(): returns a UDP socket, LuaSocket's, and its address.
function bridging.udp()
  local raw = assert(socket.udp())
  assert(raw:setsockname("127.0.0.1", 0))
  raw:settimeout(0)
  sockets[#sockets + 1] = raw
  local _, port = raw:getsockname()
  return raw, ("udp://127.0.0.1:%d"):format(port)
end

--- unix_dgram(): returns a datagram socket of the unix domain, LuaSocket's, and its address.
function bridging.unix_dgram()
  local path, raw = bridging.path(), unix.dgram()
  assert(raw:bind(path))
  raw:settimeout(0)
  sockets[#sockets + 1] = raw
  return raw, "unix-dgram://" .. path
end

--- over(): ends all of it, and checks that nothing of a bridge is left.
function bridging.over()
  for _, raw in ipairs(sockets) do raw:close() end
  for _, one in ipairs(bridges) do one:close() end
  for _, one in ipairs(bridges) do till(function() return one:is_closed() end) end
  for _, path in ipairs(paths) do os.remove(path) end
  bridges, sockets, paths = {}, {}, {}
  serving.over()
end

return bridging
