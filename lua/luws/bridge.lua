--[[
The module luws.bridge: connects WebSocket clients with servers of TCP, TLS, UDP and unix domain sockets, as websocksy
does; or, in reverse, clients of TCP with a WebSocket server. Checks its options (bridge/settings); the work is done in
bridge/clients or bridge/reverse.
--]]

local native, import = ...
local clients, options, reactor = import("bridge/clients"), import("options"), import("reactor").public
local reverse, settings, shutdown = import("bridge/reverse"), import("bridge/settings"), import("server/shutdown")

local public = {}

-- Options of close.
local close_rows = {
  { "timeout", 5, options.at_least(0) }, -- seconds that clients and peers have to end
}

local Bridge = {}
local meta = { __index = Bridge }

--- open(given): begins to take clients. Returns the bridge; or nil and what is wrong.
local function open(given)
  local read, wrong = settings.read(given)
  if not read then return nil, wrong end
  local side
  side, wrong = (read.reverse and reverse or clients).listen(read)
  if not side then return nil, wrong end
  return setmetatable({ side = side, log = read.log, is_closing = false }, meta)
end

--- tell(self): tells the log where the bridge listens.
local function tell(self)
  for _, where in ipairs(self.side:addresses()) do self.log:listening(where) end
end

--- steps(self [, ready]): steps until a signal has closed the bridge, and nothing is left of it. Calls ready() once
-- signals do that. Returns true; or nil and why they cannot be watched.
local function steps(self, ready)
  native.raise_descriptor_limit() -- if it cannot be, clients wait once there are too many
  -- Whoever reads the log may go away. What is written then fails, and that is all.
  local is_watched, pipe = pcall(reactor.watch_signal, "PIPE", function() end)
  local ok, why = shutdown.steps(function() return self:is_closed() end, function() self:close() end, function()
    local ok, wrong = self.side:reload()
    if not ok then self.log:error("the certificates cannot be read again: %s", wrong) end
  end, ready)
  if is_watched then pipe:cancel() end
  if ok then return true end
  self:close()
  return nil, why
end

--- listen(options): begins to take clients, in the turns of the reactor. Returns the bridge; or nil and what is wrong.
function public.listen(given)
  local bridge, wrong = open(given)
  if not bridge then return nil, wrong end
  tell(bridge)
  return bridge
end

--- run(options): listens until a signal comes (INT or TERM), and closes all connections; HUP reads certificates again.
-- Returns true; or nil and what is wrong.
function public.run(given)
  local bridge, wrong = open(given)
  if not bridge then return nil, wrong end
  -- Whoever reads where it listens may send a signal.
  return steps(bridge, function() tell(bridge) end)
end

--- step([seconds]): one turn of everything that the reactor drives, this bridge included. Returns how much was done; or
-- nil and "closed" once nothing is left of the bridge.
function Bridge:step(seconds)
  if self:is_closed() then return nil, "closed" end
  return reactor.step(seconds)
end

--- run(): steps until a signal has closed the bridge, and nothing is left of it. Raises the limit of the process's
-- descriptors as far as it is allowed to. Returns true; or nil and why signals cannot be watched.
function Bridge:run() return steps(self) end

--- close([options]): takes nobody any more, and closes all connections with code 1001. Steps do the rest, for `timeout`
-- seconds at most. Returns true; or nil and what is wrong with the options.
function Bridge:close(given)
  local read, wrong = options.argument("close", close_rows, given)
  if not read then return nil, wrong end
  if not self.is_closing then
    self.is_closing = true
    self.side:close(read.timeout)
  end
  return true
end

--- is_closed(): returns whether nothing is left of the bridge.
function Bridge:is_closed() return self.side:is_closed() end

--- address(): returns host and port of the first listener; or its path. Nothing once the bridge is closed.
function Bridge:address() return self.side:address() end

--- addresses(): returns an array of all places where it listens, as URLs.
function Bridge:addresses() return self.side:addresses() end

--- stats(): returns a table with connections (that are open), total, refused, bytes_in and bytes_out.
function Bridge:stats() return self.side:stats() end

return { public = public }
