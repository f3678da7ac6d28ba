--[[
A world without a network and without real time: a clock, servers, and an instance of luws whose connections lead to
them. Everything in it is the same each time it runs: time passes only in waits and in advance, and keys, masks and
faults come from seeds.
--]]

local _, import, world = ...
local arguments, dials, link = import("arguments"), import("mock/dial"), import("mock/link")
local places, processes = import("mock/places"), import("mock/process")
local servers, sockets = import("mock/server"), import("mock/socket")

local nets = {}

local Net = {}
Net.__index = Net

-- Errors of dials, as the system has them.
local REFUSED, UNKNOWN = "connection refused", "Name or service not known"

--- fate(host, port): returns after how many seconds a dial has an answer, and why it fails, if it does.
function Net:fate(host, port)
  local fate = self.fates[host:lower() .. ":" .. port] or self.fates[host:lower()]
  if fate == "silent" then return math.huge, nil end
  if fate then return 0, fate end
  local server = self.places:at(host, port)[1]
  if not server then return 0, REFUSED end
  return server:delay_of_dial(), nil
end

--- attach(host, port): brings a client that has dialled to its server. Returns the client's end of the wire.
function Net:attach(host, port)
  local server = self.places:at(host, port)[1]
  if not server then return nil, REFUSED end
  return server:meet()
end

--- track(peer): there is a connection. Those that are not forgotten are open.
function Net:track(peer)
  self.alive[peer] = true
  self.order[#self.order + 1] = peer
end

function Net:forget(peer) self.alive[peer] = nil end

--- server_of(peer): returns the server that listens at the path of a peer's request, or nil.
function Net:server_of(peer)
  local path = peer.request.resource:match "^[^?]*"
  local any
  for _, server in ipairs(self.places:at(peer.server.host, peer.server.port)) do
    if server.path == path then return server end
    if server.path == "/" then any = any or server end
  end
  return any
end

--- draw(value): returns the present value of a fault or a delay.
function Net:draw(value) return link.draw(value, self.random) end

--- rename_timers(net): gives timers the name of the place where they were set, for the error about a world that spins.
local function rename_timers(net)
  local reactor, clock = net.reactor, net.clock
  local after = reactor.after
  function reactor.after(seconds, f)
    if type(f) ~= "function" then return after(seconds, f) end
    local who = "a timer set at " .. clock.place()
    return after(seconds, function()
      clock.turn(who)
      f()
    end)
  end
end

-- What is asked of a world

--- listen(url [, options]): makes a server. Options: subprotocols (a list), respond (what it answers to a request, or a
-- function of the request), deflate, max_payload_size, tls ({ certificate, key }, PEM), faults, delay and close_delay
-- (seconds until it answers a request or a close frame), echo (sends messages back), answers (false: no pongs), record
-- (a recording or its file: says what the recorded peer said), compare ("strict": the client has to say what it said).
function Net:listen(url, options)
  options = options == nil and {} or options
  arguments.check("listen", 1, url, "string")
  arguments.options("listen", options, servers.OPTIONS, 2)
  arguments.one_of("listen", options, "compare", "strict", "off")
  return servers.new(self, url, options)
end

--- refuse(host), blackhole(host), unresolvable(host): what becomes of connections to a host, or to "host:port", from
-- now on: they are refused, get no answer, or have a name that nobody knows. restore(host) ends that.
for name, fate in pairs { refuse = REFUSED, blackhole = "silent", unresolvable = UNKNOWN, restore = false } do
  Net[name] = function(self, host)
    arguments.check(name, 1, host, "string")
    self.fates[host:lower()] = fate or nil
  end
end

--- options([given]): returns a copy of options for wsopen with which it opens the connection in this world.
function Net:options(given)
  local options = { reactor = self.reactor }
  for name, value in pairs(given or {}) do options[name] = value end
  return options
end

--- Raises the first thing that has gone wrong since the last time.
local function check(net)
  local wrong = table.remove(net.wrong, 1)
  if net.clock.spun then wrong = net.clock.spun end
  if wrong then error(wrong, 3) end
end

--- Does what is to be done at this moment.
local function rest(net)
  local clock, reactor = net.clock, net.reactor
  if net.is_running then error("this world is running already: a handler must not run it", 0) end
  net.is_running = true
  local ok, err = pcall(function()
    repeat
      local any = clock.run()
      net.luws.gettime() -- whatever lingers goes on
      local turns = net.has_no_loop and 0 or reactor.step(0)
    until turns == 0 and not any and clock.next_time() > clock.now()
  end)
  net.is_running = false
  if not ok then error(err, 0) end
end

--- Returns when something is to be done next.
local function next_time(net)
  local left = not net.has_no_loop and net.reactor.timeout() or nil
  return math.min(net.clock.next_time(), left and net.clock.now() + left or math.huge)
end

--- Advances to that time, and does what is due on the way.
local function advance_to(net, time)
  rest(net)
  while true do
    local following = next_time(net)
    if following > time then break end
    net.clock.set(following)
    rest(net)
  end
end

--- run(): does everything that is to be done now. No time passes.
function Net:run()
  rest(self)
  check(self)
end

--- advance(seconds): lets time pass, and does what falls due, in the order of its times.
function Net:advance(seconds)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds < math.huge) then
    error(("bad argument #1 to 'advance' (a number of at least 0 expected, got %s)"):format(tostring(seconds)), 2)
  end
  local time = self.clock.now() + seconds
  advance_to(self, time)
  self.clock.set(time)
  rest(self)
  check(self)
end

-- After this many moments, settle gives up.
local STEPS = 10000

--- settle(): lets time pass until nothing is left to be done.
function Net:settle()
  rest(self)
  for _ = 1, STEPS do
    local time = next_time(self)
    if time == math.huge then return check(self) end
    self.clock.set(time)
    rest(self)
  end
  local who = self.clock.next_name() or "a connection or a timer of the reactor"
  error(("settle: there is no end: at %g s, %s still has something to do"):format(self.clock.now(), who), 2)
end

--- after(seconds, f): calls f() after that time.
function Net:after(seconds, f) return self.reactor.after(seconds, f) end

--- now(): returns the seconds since this world began.
function Net:now() return self.clock.now() end

--- failed(what): notes what fails the test.
function Net:failed(what) self.wrong[#self.wrong + 1] = what end

--- finish(): ends the test. Raises an error that names all messages which were expected and have not come, all
-- connections that are still open, and all errors of handlers.
function Net:finish()
  local ok, err = pcall(rest, self)
  if not ok then self:failed(tostring(err)) end
  for _, peer in ipairs(self.order) do
    if peer.expected[1] ~= nil then
      self:failed(("%s: more messages are expected: %d"):format(peer.who, #peer.expected))
    end
    -- A peer that reads no more does not see that the client has closed its end.
    local is_over = peer.line.broken or peer.line.other.broken
    if self.alive[peer] and not is_over then self:failed(peer.who .. ": the connection is still open") end
  end
  self.order = {}
  local wrong = self.wrong
  self.wrong = {}
  if wrong[1] then error(table.concat(wrong, "\n"), 2) end
end

--- Returns a generator of numbers from 0 to 1 (Park and Miller's).
local function generator(seed)
  local state = math.floor(seed) % 2147483646 + 1
  return function()
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
end

--- Returns what the parts of an instance ask this world for.
local function seams_of(net)
  local seams = { clock = net.clock, seed = net.seed, random = net.random }
  function seams.dial(state, host, port) return dials.new(net, state, host, port) end
  function seams.is_secure(target)
    local server = net.places:at(target.host, target.port)[1]
    return server and server.is_secure
  end
  function seams.failed(what, err) net:failed(what .. ": " .. tostring(err):match "^[^\n]*") end
  return seams
end

-- Options of a world.
local OPTIONS = { seed = "whole", faults = "table", limit = "positive" }

--- new([options]): makes a world. Options: seed (of everything random; 1), faults (of all its servers), limit (the most
-- turns at one moment, 1,000,000).
function nets.new(options)
  options = options == nil and {} or options
  arguments.options("net", options, OPTIONS)
  local wrong = options.faults and servers.wrong_faults(options.faults)
  if wrong then error("net: " .. wrong, 2) end
  local self = setmetatable({
    places = places.new(), fates = {}, alive = {}, order = {}, wrong = {}, faults = options.faults,
    random = generator(options.seed or 1),
    has_no_loop = false, -- nobody steps its reactor but the program
  }, Net)
  local seeds = (options.seed or 1) * 1000
  function self.seed()
    seeds = seeds + 1
    return seeds
  end
  local seams, serve = seams_of(self), nil
  function seams.serve(given)
    serve = serve or processes.new(self, seams_of(self))
    return serve(given)
  end
  function seams.poller(is_due)
    local poller = self.memory.poller(self.clock, is_due)
    poller.fd = function() return self.descriptor or -1 end
    return poller
  end
  self.luws = world.instance("luws", seams)
  self.memory, self.clock = seams.memory, seams.clock
  self.clock.limit = options.limit or self.clock.limit
  self.reactor, self.is_stepping = seams.import("reactor").public, seams.import("turns").is_stepping
  function self.module(name) return seams.import(name).public end
  rename_timers(self)
  self.connect = sockets.connector(self)
  return self
end

return nets
