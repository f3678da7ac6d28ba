-- A world for specs, without a network and without real time: an instance of the module whose connections lead to peers
-- in memory, and a clock that advances only when something waits.
--
--   local w = world.new()
--   local peer = w:peer()                       -- the engine in server role; accepts the upgrade, answers nothing else
--   local conn = w:open(peer, options)          -- what the handler is told is in w.told, as with session.lua
--   peer:send(1, "Hello")
--   w.luws.wsreceive(conn)
--   assert.same({ { 1, "Hello" } }, w.told)
--
-- Specs that also run with real sockets use world.session(), which has the functions of session.lua. Its peers play the
-- steps of scripted.lua in memory (player.lua).
--
-- It knows the seams of the driver (loader.lua) and the wire in memory; it knows nothing of what is tested.

local luws = require "luws"
local player = require "spec.support.player"
local sessions = require "spec.support.session"
local unpack = require "spec.support.compat".unpack

local world = {}

local EPOCH = 1700000000 -- os.time's value when the clock starts, in seconds
local PATIENCE = 3600 -- virtual seconds after which an endless wait is the spec's mistake
local MOST_IDLE = 100000 -- waits at one moment; more are an endless loop

local native, memory, EVENT -- set by the first world

-- The clock

--- Returns a clock that starts at 0 and advances only in waits. after(seconds, f) calls f at that time.
local function new_clock()
  local clock, now, idle = {}, 0, 0
  -- A list, each with the next one. Finalisers run here, too, so nothing may allocate while it changes.
  local timers = { time = -math.huge, next = false }

  function clock.now() return now end
  function clock.time() return EPOCH + now end

  function clock.after(seconds, f)
    local timer, before = { time = now + seconds, f = f, next = false }, timers
    while before.next and before.next.time <= timer.time do before = before.next end
    before.next, timer.next = timer, before.next
  end

  --- run(): calls what is due.
  function clock.run()
    while timers.next and timers.next.time <= now do
      local timer = timers.next
      timers.next = timer.next
      timer.f()
    end
  end

  --- pass(seconds, done): lets time pass until done() is true, or for this long. Returns whether it is true.
  function clock.pass(seconds, done)
    local deadline = now + seconds
    local patience = now + PATIENCE
    while true do
      clock.run()
      if done() then return true end
      local following = timers.next and timers.next.time or math.huge
      local time = math.min(following, deadline)
      if time > patience then error("this wait has no end: nothing is going to happen", 0) end
      idle = time > now and 0 or idle + 1
      if idle > MOST_IDLE then error("this loop has no end: it waits for nothing, again and again", 0) end
      now = math.max(now, time)
      native.set_clock(clock.native, now) -- the sessions' clock
      if following > deadline then return false end
    end
  end

  function clock.sleep(seconds)
    clock.pass(math.max(0, seconds), function() return false end)
  end

  return clock
end

-- Peers

local Peer = {}
Peer.__index = Peer

local HEADER = "^received %a+ %(opcode (%d+)%), (%d+) bytes, fin=(%d) rsv=([01]+)$" -- as in the engine's trace

--- note_frames(peer): records the headers of the frames that have arrived since the last call.
local function note_frames(peer)
  for _, line in ipairs(native.trace(peer.session)) do
    local opcode, length, fin, rsv = line:match(HEADER)
    if opcode then
      peer.frames[#peer.frames + 1] = {
        fin = fin == "1", opcode = tonumber(opcode), rsv = tonumber(rsv, 2), payload = "", length = tonumber(length),
        masked = true, -- the engine rejects unmasked frames from a client
      }
    end
  end
end

--- fill(peer, data, is_control): assigns arrived data to the frames that it belongs to. Those up to peer.complete have
-- all of theirs.
local function fill(peer, data, is_control)
  note_frames(peer)
  for i = peer.complete + 1, #peer.frames do
    local frame = peer.frames[i]
    local missing = frame.length - #frame.payload
    if missing > 0 and frame.opcode >= 8 == is_control then
      frame.payload = frame.payload .. data:sub(1, missing)
      data = data:sub(missing + 1)
    end
    if i == peer.complete + 1 and frame.length == #frame.payload then peer.complete = i end
  end
end

--- note(peer, event, data): records one event. Messages come in pieces, so that incomplete ones show, too.
local function note(peer, event, data)
  if event == EVENT.begin then
    native.stream(peer.session)
    peer.message = { opcode = data:byte() }
    return
  elseif event == EVENT.piece or event == EVENT.last then
    fill(peer, data, false)
    table.insert(peer.message, data)
    if event == EVENT.piece then return end
    event, data = peer.message.opcode, table.concat(peer.message)
  else
    fill(peer, data, true)
  end
  peer.events[#peer.events + 1] = { event, data }
  if peer.on_event then peer:on_event(event, data) end
end

--- take_in(): reads what has arrived and turns it into events.
function Peer:take_in()
  local line = self.line
  if self.plain then
    table.insert(self.pieces, line:take())
    return
  end
  table.insert(self.pieces, line:peek())
  while self.wire:read(65536) do end
  while true do
    local event, data = native.next(self.number)
    if not event then break end
    native.done(self.session)
    if event == EVENT.request then
      local resource, headers, subprotocols = native.request(self.session)
      self.request = { resource = resource, headers = headers, subprotocols = subprotocols }
      self:on_request()
    elseif event == EVENT.failure then
      self.failure = data
    else
      note(self, event, data)
    end
  end
  note_frames(self)
end

--- Handles a request. A spec or a script may replace this.
function Peer:on_request() self:accept() end

--- accept(): answers the request and continues with frames. Returns the response, which is sent unless `silently`.
function Peer:accept(silently)
  native.accept(self.session, self.subprotocol)
  native.set_trace(self.session, true)
  native.announce(self.session, true)
  if not silently then return end
  local response = native.peek(self.session, math.huge)
  native.sent(self.session, #response)
  return response
end

-- How SockProxy is played.
local SOCKPROXY = { { 0, "OK TOGGLEDBITS-SOCKPROXY 21350 4711\n" }, { "\n", "OK CONN 4711\n" } }

--- Plays a proxy until it has connected. Returns whether it has.
local function negotiate(peer)
  local line, steps = peer.line, peer.proxy
  while steps[#peer.asked + 1] do
    local step = steps[#peer.asked + 1]
    local ends = step[1]
    local length = type(ends) == "number" and line:waiting() >= ends and ends
      or type(ends) == "string" and select(2, line:peek():find(ends, 1, true))
    if not length then return false end
    table.insert(peer.asked, length > 0 and line:take(length) or "")
    if step[2] ~= "" then line:send(step[2]) end
    if step.closes then peer:vanish() end
  end
  return true
end

--- Does what there is to do: runs the script if there is one; otherwise reads and answers.
function Peer:advance()
  if self.script then return self.script() end
  if self.is_paused then return end
  if self.proxy and not negotiate(self) then
    if self.hangs_up and self.line.finished then self:vanish() end
    return
  end
  self:take_in()
  if self.wire then self.wire:write() end
  if self.hangs_up and self.line.finished then self:vanish() end
end

--- came(): returns all bytes that have arrived.
function Peer:came() return table.concat(self.pieces) end

--- seen(): returns the frames that have arrived, each as { fin, opcode, payload }.
function Peer:seen()
  local seen = {}
  for i, frame in ipairs(self.frames) do seen[i] = { frame.fin, frame.opcode, frame.payload } end
  return seen
end

--- incomplete(): returns how many bytes of an incomplete frame have arrived.
function Peer:incomplete() return native.incoming(self.session) end

--- pause([capacity]): stops reading, with room for `capacity` more bytes (none by default).
function Peer:pause(capacity)
  self.is_paused, self.line.capacity = true, capacity or 0
end

--- resume(): reads again, with unlimited room.
function Peer:resume()
  self.is_paused, self.line.capacity = false, math.huge
  local near = self.line.other
  if near.on_room then near.on_room() end
  self:advance()
end

--- send(opcode, data [, fin]): sends a message, a fragment or a control frame.
function Peer:send(opcode, data, fin)
  assert(native.send(self.session, opcode, data, fin ~= false))
  self.wire:write()
end

--- close([code, reason]): sends a close frame.
function Peer:close(code, reason)
  assert(native.close(self.session, code or 1000, reason or ""))
  self.wire:write()
end

--- raw(bytes): puts any bytes on the wire.
function Peer:raw(bytes) self.line:send(bytes) end

--- finish([why]): ends the stream.
function Peer:finish(why) self.line:finish(why) end

--- vanish(): ends the stream, and accepts nothing from then on.
function Peer:vanish() self.line:close() end

--- answer_close(): answers close frames from now on.
function Peer:answer_close()
  self.on_event = function(peer, event)
    if event == 8 then native.reply_close(peer.session) end
  end
  return self
end

--- echo(): sends messages back, and answers pings and close frames, from now on.
function Peer:echo()
  self.on_event = function(peer, event, data)
    if event == 8 then
      native.reply_close(peer.session)
    elseif event == 9 then
      native.pong(peer.session, data)
    elseif event ~= 10 then
      native.send(peer.session, event, data, true)
    end
  end
  return self
end

--- talk(message, count): sends a binary message so many times from now on, as there is room, and reads nothing before
-- that is done; then it counts the messages that come. Returns { sent, received }. It keeps no record, so it is fast.
function Peer:talk(message, count)
  local session, said = self.session, { sent = 0, received = 0 }
  native.set_trace(session, false)
  native.announce(session, false)
  function self.advance()
    while self.wire:write() and said.sent < count do
      assert(native.send(session, 2, message, true))
      said.sent = said.sent + 1
    end
    if native.outgoing(session) > 0 then return self.world.clock.after(0.001, self.advance) end
    while self.wire:read(65536) do end
    while true do
      local event = native.next(self.number)
      if not event then break end
      native.done(session)
      if event == 2 then said.received = said.received + 1 end
    end
  end
  self.advance()
  return said
end

-- The world

local World = {}
World.__index = World

--- peer([options]): returns a peer that accepts the next connection. Options: subprotocol, and the options of a session
-- (deflate, max_payload_size, validate_utf8); certificate and key (PEM): it speaks TLS; plain = true: bytes only,
-- without an engine; hangs_up = true: ends the stream when the client has; proxy: it is reached through one that plays
-- these steps, true stands for SockProxy's. A step is how many bytes the proxy takes, or up to which bytes, and what it
-- says then; with `closes`, it ends the connection. Its fields: asked (what the proxy has taken, by steps), request
-- (resource, headers, subprotocols), events ({ opcode, data }, complete messages), frames (fin, opcode, rsv, payload),
-- failure; line (its end of the wire).
function World:peer(options)
  options = options or {}
  local peer = setmetatable({
    world = self, events = {}, frames = {}, complete = 0, pieces = {}, subprotocol = options.subprotocol,
    plain = options.plain, hangs_up = options.hangs_up,
    proxy = options.proxy == true and SOCKPROXY or options.proxy or nil, asked = {},
  }, Peer)
  if not options.plain then
    peer.session, peer.number = native.session {
      role = "server", seed = 1, deflate = options.deflate, max_payload_size = options.max_payload_size or 2 ^ 30,
      fragment_size = 0, validate_utf8 = options.validate_utf8, certificate = options.certificate, key = options.key,
    }
  end
  self.next_peer = peer
  return peer
end

--- server(make): returns what takes all connections from now on, each with a peer of its own: make(n) returns the peer
-- of the connection number n. Its field peers has those that there were.
function World:server(make)
  local server = { peers = {} }
  function server.new_connection()
    local peer = make(#server.peers + 1)
    server.peers[#server.peers + 1], self.next_peer = peer, server
    return peer
  end
  self.next_peer = server
  return server
end

--- play(steps): returns a peer that plays the steps of scripted.lua on each connection from now on; see player.lua.
function World:play(steps)
  self.next_peer = player.new(self, steps)
  return self.next_peer
end

--- attach(peer): connects a peer. Returns the other end of its wire. If the world has a function `relay`, that end is
-- what the function returns for it (relay.lua).
function World:attach(peer)
  assert(not peer.line, "this peer has its connection already")
  local near, far = memory.pair()
  peer.line = far
  if not peer.plain then peer.wire = memory.wire(peer.session, far, self.clock) end
  local is_due = false
  local function advance()
    is_due = false
    peer:advance()
  end
  function far.on_input()
    if is_due then return end
    is_due = true
    self.clock.after(0, advance)
  end
  if peer.script or peer.proxy then far.on_input() end
  return self.relay and self.relay(near) or near
end

local Dial = {}
Dial.__index = Dial

function Dial:advance(seconds)
  local w, plan = self.world, self.plan
  if self.is_held then
    if w.lookup and w.lookup.hangs then w.clock.sleep(seconds) end
    return nil, w.lookup and w.lookup.why
  end
  if w.answers_late and not self.was_asked then
    self.was_asked = true
    return nil
  end
  if not w.clock.pass(seconds, function() return w.clock.now() >= plan.at end) then return nil end
  if plan.why then return nil, plan.why end
  local peer = w.network and w.network(self.host, self.port) or w.peers and table.remove(w.peers, 1) or w.next_peer
  assert(peer, "the spec has no peer for this connection")
  if peer.new_connection then peer = peer:new_connection() end
  return memory.wire(self.session, w:attach(peer), w.clock), { getfd = function() return -1 end }
end

function Dial:due()
  if self.world.answers_late then return nil end
  return math.max(0, self.plan.at - self.world.clock.now())
end

function Dial:untried()
  local w = self.world
  if w.lookup and w.lookup.hangs then return nil end
  return w.addresses or { self.host }
end

function Dial.descriptors() return {} end

-- If the world has answers_late, the name was looked up right after the first attempt to go on. Otherwise there is none
-- to be looked up.
function Dial:wake()
  return not self.world.answers_late
end

function Dial.is_queued() return false end

function Dial:hold() self.is_held = true end

function Dial:go_on() self.is_held = false end

function Dial:cancel() self.world.cancelled = self.world.cancelled + 1 end

--- next_dial(): returns how the next attempt to connect goes. By default it succeeds at once. The field dials may be a
-- list of others, used up one by one: { seconds, why } for one that takes so long and then fails, unless why is nil.
function World:next_dial()
  local seconds, why = unpack(table.remove(self.dials, 1) or { 0 })
  local plan = { at = self.clock.now() + seconds, why = why }
  self.clock.after(math.min(seconds, PATIENCE), function() end) -- so that a wait ends then
  return plan
end

--- open([peer [, options [, handler]]]): opens a connection to a peer. What its handler is told is in told, call by
-- call.
function World:open(peer, options, handler)
  self.next_peer = peer or self:peer()
  local told = {}
  self.told = told
  self.conn = assert(self.luws.wsopen("ws://peer.test/", handler or function(_, ...) told[#told + 1] = { ... } end,
    options))
  return self.conn, self.next_peer
end

--- open_later([peer [, options]]): begins to open a connection to a peer, without waiting. Returns it, and what is
-- told: "open", or the handler's arguments.
function World:open_later(peer, options)
  self.next_peer = peer or self:peer()
  local told = {}
  options = options or {}
  options.wait = false
  options.open_handler = function(conn) told[#told + 1] = conn.connected and "open" or "not open" end
  local conn = self.luws.wsopen("ws://peer.test/", function(_, ...) told[#told + 1] = { ... } end, options)
  return assert(conn), told
end

--- receive_all([conn]): calls wsreceive until there is nothing more for now. Returns what the last call returned.
function World:receive_all(conn)
  local more, bytes
  repeat more, bytes = self.luws.wsreceive(conn or self.conn) until not more
  return more, bytes
end

--- new(): returns a world with an instance of the module (luws) and its clock. Other fields: conn and told (of the last
-- `open`), network (nil, or a function that returns the peer at a host and a port), asked (the host and port dialled
-- last), cancelled (how many attempts to connect were given up), random (what is drawn instead of a random number, 0),
-- memory (wires/memory.lua), reactor (of this world), import (returns a part of the driver), native (what the driver is
-- given of the binding). A spec may set peers (those of the next connections, in order), addresses (what a name is
-- looked up as; itself by default), lookup (how that fails: { why = text } or { hangs = true }) and dials.
function world.new()
  local self = setmetatable({ clock = new_clock(), told = {}, dials = {}, cancelled = 0, random = 0 }, World)
  local seed = 0
  local seams = {
    clock = self.clock,
    seed = function()
      seed = seed + 1
      return seed
    end,
    dial = function(state, host, port)
      self.asked = { host, port }
      local plan = self:next_dial()
      return setmetatable({ world = self, host = host, port = port, session = state.session, plan = plan }, Dial)
    end,
  }
  function seams.random() return self.random end
  function seams.poller(is_due)
    return memory.poller(self.clock, is_due)
  end
  self.luws = luws.instance("luws", seams)
  native, memory = seams.native, seams.memory
  self.memory, self.native, self.import = seams.memory, seams.native, seams.import
  self.reactor = seams.import("reactor").public
  self.clock.native = native.virtual_clock()
  EVENT = EVENT or native.event_numbers()
  return self
end

--- session(): returns the same as session.lua's `new`, but with a world of its own (`world`): its peers play their
-- steps in memory.
function world.session()
  local w = world.new()
  local s = sessions.new(w.luws)
  s.world = w
  function s.new_peer(_, steps)
    s.peer = w:play(steps)
    return s.peer
  end
  return s
end

--- places: by name, functions that make a session in memory, and sessions over real sockets and TLS.
world.places = {
  ["in memory"] = world.session,
  ["over wss"] = function() return sessions.new(luws, { tls = true }) end,
}

return world
