--[[
A world without a network and without real time: a clock, servers, and an instance of luws whose connections lead to
them. Everything in it is the same each time it runs: time passes only in waits and in advance, and keys, masks and
faults come from seeds.
--]]

local native, import, world = ...
local link, peers, sockets = import("mock/link"), import("mock/peer"), import("mock/socket")

local nets = {}

local Net = {}
Net.__index = Net

local Server = {}
Server.__index = Server

-- Errors of dials, as the system has them.
local REFUSED, UNKNOWN = "connection refused", "Name or service not known"

-- Options of listen, beside those that a server has as functions.
local OPTIONS = {
  subprotocols = "table", respond = "any", deflate = "any", max_payload_size = "number", tls = "table",
  faults = "table", delay = "any", close_delay = "any", echo = "boolean", answers = "boolean", record = "any",
}

-- At which stage a server drops the connection (fault drop_at).
local STAGES = { tcp = true, tls = true, upgrade = true, open = true, closing = true }

-- Servers

--- on(event, f): has the server call f(peer, ...) from now on: for "open" with the request, for "message" with data and
-- kind, for "close" with code, reason and whether it was clean, for "ping" and "pong" with data. Returns the server.
function Server:on(event, f)
  if not ({ open = 1, message = 1, close = 1, ping = 1, pong = 1 })[event] then
    error(("bad argument #1 to 'on' (unknown: '%s')"):format(tostring(event)), 2)
  end
  self.listeners[event] = f
  return self
end

--- accept(): returns the next connection that has been opened to this server, or nil if there is none.
function Server:accept()
  if not self.opened[1] and not self.net.is_running then self.net:run() end
  return table.remove(self.opened, 1)
end

--- close(): nobody listens any more. Connections that are open stay.
function Server:close()
  local place = self.net.places[self.place]
  for i = #place, 1, -1 do
    if place[i] == self then table.remove(place, i) end
  end
end

local REASONS = {
  [200] = "OK", [301] = "Moved Permanently", [302] = "Found", [307] = "Temporary Redirect",
  [308] = "Permanent Redirect", [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden",
  [404] = "Not Found", [407] = "Proxy Authentication Required", [429] = "Too Many Requests",
  [500] = "Internal Server Error", [502] = "Bad Gateway", [503] = "Service Unavailable",
}

--- Returns a response as bytes.
local function response_of(told)
  local status, body = told.status or 200, told.body or ""
  local lines = { ("HTTP/1.1 %d %s"):format(status, told.reason or REASONS[status] or "Status") }
  local names, has_length = {}, false
  for name in pairs(told.headers or {}) do
    names[#names + 1] = name
    has_length = has_length or name:lower() == "content-length"
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local values = told.headers[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      lines[#lines + 1] = name .. ": " .. value
    end
  end
  if not has_length then lines[#lines + 1] = "Content-Length: " .. #body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. body
end

--- Chooses the first of the client's subprotocols that the server has.
local function protocol_for(server, request)
  for _, name in ipairs(request.subprotocols) do
    for _, own in ipairs(server.subprotocols or {}) do
      if name == own then return name end
    end
  end
end

--- answer(peer): answers a request: accepts it, or does what `respond` says.
function Server:answer(peer)
  local told = self.respond
  if type(told) == "function" then told = told(peer.request) end
  if told == nil and self.script then told = self.script:answer() end
  if told == nil or told == true then return peer:accept(protocol_for(self, peer.request)) end
  if type(told) == "string" and told:find("{accept}", 1, true) then return peer:accept(nil, told) end
  if type(told) == "table" and told.protocol and not told.status then return peer:accept(told.protocol) end
  if peer.is_tls and type(told) == "table" then
    native.refuse(peer.session, told.status or 200, told.body or "")
    peer.wire:write()
  else
    peer:raw(type(told) == "string" and told or response_of(told))
  end
  peer.line:finish()
end

-- Dials

local Dial = {}
Dial.__index = Dial

--- Returns the user's object for a socket (conn.socket).
local function socket_of(near)
  return {
    getfd = function() return -1 end,
    setoption = function() return 1 end,
    close = function()
      near:close()
      near.other:close()
      return 1
    end,
  }
end

function Dial:advance(seconds)
  local net = self.net
  if self.is_held then return nil end
  if not net.clock.pass(seconds, function() return net.clock.now() >= self.at end) then return nil end
  if self.why then return nil, self.why end
  local near, why = net:attach(self.host, self.port)
  if not near then return nil, why end
  return net.memory.wire(self.session, near, net.clock), socket_of(near)
end

function Dial:due()
  return self.at < math.huge and math.max(0, self.at - self.net.clock.now()) or nil
end

function Dial:untried() return { self.host } end
function Dial.descriptors() return {} end
function Dial.wake() return true end
function Dial.is_queued() return false end
function Dial:hold() self.is_held = true end
function Dial:go_on() self.is_held = false end
function Dial.cancel() end

local function place_of(host, port) return host:lower() .. ":" .. port end

--- fate(host, port): returns after how many seconds a dial has an answer, and why it fails, if it does.
function Net:fate(host, port)
  local place = place_of(host, port)
  local fate = self.fates[place] or self.fates[host:lower()]
  if fate == "silent" then return math.huge, nil end
  if fate then return 0, fate end
  local server = self.places[place] and self.places[place][1]
  if not server then return 0, REFUSED end
  return self:draw(server.faults and server.faults.delay or 0), nil
end

--- attach(host, port): makes a peer for a client that has dialled. Returns the client's end of the wire.
function Net:attach(host, port)
  local servers = self.places[place_of(host, port)]
  local server = servers and servers[1]
  if not server then return nil, REFUSED end
  local peer, near = peers.new(self, server)
  if not peer then return nil, near end
  server.attempts = server.attempts + 1
  self.alive[peer] = true
  self.order[#self.order + 1] = peer
  if server.drops == "tcp" or server.drops == "tls" then
    self.clock.after(0, function() peer:reset() end, peer.who)
  end
  return near
end

--- server_of(peer): returns the server that listens at the path of a peer's request, or nil.
function Net:server_of(peer)
  local path = peer.request.resource:match "^[^?]*"
  local any
  for _, server in ipairs(self.places[peer.server.place]) do
    if server.path == path then return server end
    if server.path == "/" then any = any or server end
  end
  return any
end

--- opened(peer): a connection to a peer has been opened.
function Net.opened(_, peer)
  local opened = peer.server.opened
  opened[#opened + 1] = peer
end

function Net:forget(peer) self.alive[peer] = nil end

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
-- (a recording or its file: says what the recorded peer said).
function Net:listen(url, options)
  options = options or {}
  local target, why = native.parse_url(url)
  if not target then error(("bad argument #1 to 'listen' (%s)"):format(why), 2) end
  for name, value in pairs(options) do
    local kind = OPTIONS[name]
    if not kind then error(("listen: unknown option '%s'"):format(tostring(name)), 2) end
    if kind ~= "any" and type(value) ~= kind then
      error(("listen: bad option '%s' (%s expected, got %s)"):format(name, kind, type(value)), 2)
    end
  end
  local faults = options.faults or self.faults
  local wrong = faults and link.check(faults, { drop_at = true })
  if not wrong and faults and faults.drop_at and not STAGES[faults.drop_at] then
    wrong = ("bad fault 'drop_at' (unknown: '%s')"):format(tostring(faults.drop_at))
  end
  if wrong then error("listen: " .. wrong, 2) end
  local tls = options.tls
  local server = setmetatable({
    net = self, url = url, path = target.resource:match "^[^?]*", place = place_of(target.host, target.port),
    listeners = {}, opened = {}, attempts = 0, drops = faults and faults.drop_at or nil, faults = faults,
    subprotocols = options.subprotocols, respond = options.respond, deflate = options.deflate,
    max_payload_size = options.max_payload_size, delay = options.delay, close_delay = options.close_delay,
    answers = options.answers, certificate = tls and (tls.certificate or tls[1]), key = tls and (tls.key or tls[2]),
  }, Server)
  if type(server.deflate) ~= "table" then
    server.deflate = server.deflate and { threshold = 0, level = 6 } or nil
  end
  if options.record ~= nil then server.script = import("mock/recorded")(options.record, url) end
  if options.echo then server:on("message", function(peer, data, kind) peer:send(data, kind) end) end
  local place = self.places[server.place] or {}
  self.places[server.place] = place
  place[#place + 1] = server
  return server
end

--- refuse(host), blackhole(host), unresolvable(host): what becomes of connections to a host, or to "host:port", from
-- now on: they are refused, get no answer, or have a name that nobody knows. restore(host) ends that.
function Net:refuse(host) self.fates[host:lower()] = REFUSED end
function Net:blackhole(host) self.fates[host:lower()] = "silent" end
function Net:unresolvable(host) self.fates[host:lower()] = UNKNOWN end
function Net:restore(host) self.fates[host:lower()] = nil end

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
      local turns = reactor.step(0)
    until turns == 0 and not any and clock.next_time() > clock.now()
  end)
  net.is_running = false
  if not ok then error(err, 0) end
end

--- Returns when something is to be done next.
local function next_time(net)
  local left = net.reactor.timeout()
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
    if self.alive[peer] and not peer.line.broken then self:failed(peer.who .. ": the connection is still open") end
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

--- new([options]): makes a world. Options: seed (of everything random; 1), faults (of all its servers), limit (the most
-- turns at one moment, 1,000,000).
function nets.new(options)
  options = options or {}
  local self = setmetatable({
    places = {}, fates = {}, alive = {}, order = {}, wrong = {}, faults = options.faults,
    random = generator(options.seed or 1),
  }, Net)
  local seeds = (options.seed or 1) * 1000
  function self.seed()
    seeds = seeds + 1
    return seeds
  end
  local seams = { seed = self.seed, random = self.random }
  function seams.dial(state, host, port)
    local seconds, why = self:fate(host, port)
    local at = self.clock.now() + seconds
    if at > self.clock.now() and at < math.huge then self.clock.after(seconds, function() end, "a dial") end
    return setmetatable({ net = self, host = host, port = port, session = state.session, at = at, why = why }, Dial)
  end
  function seams.poller(is_due)
    local poller = self.memory.poller(self.clock, is_due)
    poller.fd = function() return self.descriptor or -1 end
    return poller
  end
  function seams.is_secure(target)
    local servers = self.places[place_of(target.host, target.port)]
    return servers and servers[1] and servers[1].certificate ~= nil
  end
  function seams.failed(what, err)
    self:failed(what .. ": " .. tostring(err):match "^[^\n]*")
  end
  self.luws = world.instance("luws", seams)
  self.memory, self.clock = seams.memory, seams.clock
  self.clock.limit = options.limit or self.clock.limit
  self.reactor = seams.import("reactor").public
  rename_timers(self)
  self.connect = sockets.connector(self)
  return self
end

return nets
