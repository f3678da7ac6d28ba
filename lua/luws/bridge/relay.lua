--[[
A client of the bridge and its peer: has their bytes carried (src/lua/relay) in the turns of both, and decides what
becomes of one side when the other has ended. Knows neither where the peer was found, nor why the client was let in.
--]]

local native, import = ...
local clock, close, connection, guard, quick = import("clock"), import("close"), import("connection"),
  import("guard"), import("quick")
local reactor = import("reactor").public

local relays = {}

-- After the peer's end, how long the client's close frame is waited for; and after the client's end, the peer's. In
-- seconds.
local ANSWER = 2

-- A side that takes nothing of what is left for it is given up after this many seconds.
local STUCK = 30

-- How many messages a framing function of the program is asked for in one turn.
local MOST = 1000

local KINDS = { text = true, binary = false }

local Relay = {}
Relay.__index = Relay

--- set_due(self, time): has the connection's turn come at this time at the latest.
local function set_due(self, time)
  if time >= self.due then return end
  self.due = time
  if self.state.item then self.state.item:at(time) end
end

--- fail(self, code, why, shown): ends the connection with this code, and does not wait for an answer. `shown` is what
-- the client is told.
local function fail(self, code, why, shown)
  local state = self.state
  self.why = self.why or why
  if state.phase == "closed" then return end
  native.close(state.session, code, shown)
  close.finish(state, why, nil, true)
end

--- client_ended(self, what, why): the client has closed the connection, is gone, or has broken a rule.
local function client_ended(self, what, why)
  local state = self.state
  if what == "closed" then
    close.finish(state, "closed", "receiver error: closed")
  elseif what == "too big" then
    fail(self, 1009, why, why)
  else
    -- After the peer's end there is nothing left to lose by that.
    if not self.is_ending then self.why = self.why or why end
    close.finish(state, why, "receiver error: " .. why, true)
  end
end

--- peer_ended(self, what, why): the peer has ended its side, is gone, or has sent what cannot be passed on.
local function peer_ended(self, what, why)
  local state = self.state
  if what == "failed" then return fail(self, 1011, "peer: " .. why, "the peer has failed") end
  if what == "too long" then return fail(self, 1009, why, why) end
  if state.phase ~= "open" then return end
  native.close(state.session, 1000, "")
  connection.closing(state)
  connection.write(state)
  self.is_ending, self.taken, self.progress = true, native.taken(state.session), clock.now()
  set_due(self, self.progress + ANSWER)
end

--- ask(self, at_end): asks the framing function of the program for messages. Returns true if there may be more.
local function ask(self, at_end)
  local relay = self.native
  for _ = 1, MOST do
    local held = native.relay_held(relay)
    if held == "" then return false end
    local ok, length, kind = guard.free(self.framing.call, self.memory, held, at_end)
    local wrong = nil
    if not ok then
      wrong = tostring(length)
    elseif length == nil or length == 0 then
      if #held > self.max_segment then
        wrong = ("a message of the peer is longer than %d bytes"):format(self.max_segment)
        return fail(self, 1009, wrong, wrong)
      end
      if at_end then native.relay_take(relay, #held, false) end
      return false
    elseif type(length) ~= "number" or length % 1 ~= 0 or length < 0 or length > #held then
      wrong = ("it returned %s for %d bytes"):format(tostring(length), #held)
    elseif kind ~= nil and KINDS[kind] == nil then
      wrong = ("it returned the kind %s"):format(tostring(kind))
    end
    if wrong then return fail(self, 1011, "the framing function: " .. wrong, "the framing has failed") end
    native.relay_take(relay, length, KINDS[kind] ~= false)
    if self.state.phase == "closed" then return false end
  end
  return true
end

--- move(self, client, peer): carries what can be carried. The numbers say what has happened to the descriptors. Returns
-- whether there is more to do at once.
local function move(self, client, peer)
  local more, what, why, peer_what, reason, asks = native.relay_move(self.native, client, peer)
  if asks or self.is_asked then
    self.is_asked = ask(self, self.at_end or peer_what ~= nil)
    if self.state.phase ~= "closed" then self.state.wire:write() end -- the messages together
    if self.is_asked and peer_what then -- the end comes after its last messages
      self.at_end = { peer_what, reason }
      peer_what = nil
    elseif self.at_end and not self.is_asked then
      peer_what, reason = self.at_end[1], self.at_end[2]
      self.at_end = nil
    end
    more = more or self.is_asked
  end
  if peer_what then peer_ended(self, peer_what, reason) end
  if what and self.state.phase ~= "closed" then client_ended(self, what, why) end
  return more
end

--- stay(self, now): looks after a connection whose client is alive. Returns when it is to be done again.
local function stay(self, now)
  local state, due = self.state, math.huge
  if self.is_ending then
    local taken = native.taken(state.session)
    if taken ~= self.taken then self.taken, self.progress = taken, now end
    local limit = native.outgoing(state.session) > 0 and STUCK or ANSWER
    if now >= self.progress + limit then close.finish(state, "closed", nil, true) end
    return self.progress + ANSWER
  end
  if self.idle_timeout > 0 then
    local _, _, active = native.relay_counts(self.native)
    due = active + self.idle_timeout
    if now >= due then
      self.why = "idle"
      close.close(state, 1001, "idle", "idle")
      return due
    end
  end
  if state.keepalive then
    local interval = state.keepalive.times(state.opening)
    -- What a client has sent, and nobody has read, says that it is alive.
    if native.relay_is_held(self.native) then return math.min(due, now + interval) end
    if now >= native.keepalive_due(state.number) then
      state.keepalive.turn(self.conn, state)
      if state.phase == "closed" then self.why = self.why or state.over end
    end
    due = math.min(due, native.keepalive_due(state.number))
  end
  return due
end

--- turn_of_client(self, item, now, happened): the turn of the connection.
local function turn_of_client(self, now, happened)
  local state = self.state
  if state.phase == "closed" then
    self:leave()
    return false, nil
  end
  local is_due = now >= self.due
  local more = move(self, is_due and happened + 1 or happened, 0)
  if state.phase ~= "closed" and (is_due or now >= self.due) then self.due = stay(self, now) end
  if state.phase == "closed" then return true, nil end
  state.item:wants_room(native.sendable(state.session) > 0)
  return more, self.due
end

--- drain(self, now): without a client, gives the peer what is left for it. Returns the results of a turn.
local function drain(self, now)
  local waiting, more = native.relay_drain(self.native)
  if waiting and waiting ~= self.waiting then self.waiting, self.progress = waiting, now end
  local limit = waiting and self.progress + (waiting > 0 and STUCK or ANSWER)
  if waiting and now < limit then return more, limit end
  self:finish()
  return false, nil
end

local function turn_of_peer(item, now, happened)
  local self = item.state
  if self.is_left then return drain(self, now) end
  -- Descriptors of sockets told of an end before it was connected, if only of attempts to connect.
  return move(self, 0, happened), nil
end

--- leave(): the client has left, and nothing more is read from it.
function Relay:leave()
  if self.is_left or not self.native then return end
  self.from_client, self.to_client = native.relay_counts(self.native)
  native.relay_leave(self.native)
  self.is_left, self.progress, self.waiting = true, clock.now(), nil
  self.peer.item:notice()
end

--- finish(): closes the peer's socket.
function Relay:finish()
  if not self.native then return end
  if not self.is_left then self.from_client, self.to_client = native.relay_counts(self.native) end
  self.native = nil
  self.peer:close()
  self.set:remove(self)
end

--- counts(): returns how many bytes of data have come from the client, and gone to it.
function Relay:counts()
  if self.is_left or not self.native then return self.from_client, self.to_client end
  local from, to = native.relay_counts(self.native)
  return from, to
end

local Set = {}
Set.__index = Set

--- join(conn, peer, framing): joins a connection that is open and a peer, whose bytes become messages by this framing
-- (bridge/framing). Returns the relay, whose field `why` is the reason of its end if that is an error.
function Set:join(conn, peer, framing)
  local state = quick.state_of(conn)
  local relay = setmetatable({
    conn = conn, state = state, peer = peer, native = peer.native, framing = framing, memory = {}, set = self,
    idle_timeout = self.idle_timeout, max_segment = self.max_segment,
    due = 0, is_ending = false, taken = 0, progress = 0, waiting = nil, is_left = false, is_asked = false, at_end = nil,
    from_client = 0, to_client = 0, why = nil,
  }, Relay)
  self.all[relay] = true
  native.relay_join(peer.native, state.session)
  state.turn = function(_, now, happened) return turn_of_client(relay, now, happened) end
  state.item:notice()
  peer.item.turn, peer.item.state = turn_of_peer, relay
  peer.item:notice()
  return relay
end

--- remove(relay): nothing of its peer is left.
function Set:remove(relay)
  self.all[relay] = nil
  if self.abort and self:is_empty() then self.abort:cancel() end
end

--- is_empty(): returns whether nothing of any peer is left.
function Set:is_empty() return next(self.all) == nil end

--- close(seconds): closes what is left of the peers after this time.
function Set:close(seconds)
  if self:is_empty() then return end
  self.abort = reactor.after(seconds, function()
    local left = {}
    for relay in pairs(self.all) do left[#left + 1] = relay end
    for _, relay in ipairs(left) do relay:finish() end
  end)
end

--- options(settings, framing): returns the options of the native function relay_stream, for a peer whose bytes become
-- messages by this framing.
function relays.options(settings, framing)
  return {
    framing = framing.name and framing or nil, max_segment = settings.max_segment,
    max_message = settings.max_message, buffer = settings.buffer,
  }
end

--- set(settings): returns an object for the relays of a bridge with these settings.
function relays.set(settings)
  return setmetatable({
    all = {}, idle_timeout = settings.idle_timeout, max_segment = settings.max_segment, abort = nil,
  }, Set)
end

return relays
