--[[
The life cycle of a connection: its state, all transitions between phases, and the functions that advance it.

  connecting   being opened, or waiting for its time to be opened again: `state.step` is the next step (open, reconnect)
  open         messages go both ways
  closing      we have sent a close frame and wait for the peer's; messages still arrive
  closed       final: `state.over` is what wsreceive returns, `state.news` what the handler has yet to be told

`advance` does what can be done without waiting and says what it waits for; only `wait` blocks. This file knows bytes
and phases. It does not know what the bytes mean to a user (receive), nor what remains to be done for the peer after the
end (linger).

A wire carries the bytes of a session. Every wire has these methods and fields:

  read(max)        reads once, at most `max` bytes of plaintext, into the session. Returns how many bytes came and
                   whether there may be more right now; nil if there is nothing now; nil and why if nothing will ever
                   come
  write()          sends what the session has queued. Returns true when nothing is left; nil and "timeout" (no room
                   now), or nil and why no more can be sent
  wait(read, write, seconds)
                   waits until it can be read from or written to, or the time is over; returns whether it can
  dirty()          returns whether bytes have arrived that its descriptor does not show
  held()           returns how many of its reads and writes the running coroutine is inside of; only on wires that call
                   user code
  shutdown()       ends our half of the stream
  close()          frees everything
  descriptor()     returns the descriptor that shows whether it can be read or written, or nil
  watch(f)         instead of a descriptor: calls f() whenever it can be read or written again. Returns false if that
                   is not said of everything
  adapts           true: a read without `max` chooses its own size
  calls_nobody     true: reading calls no user code, raises no errors and does not yield
  came             bytes that a wait has brought into the session, to be counted by the next read
  lingers          whether the wire can be left to `linger` once the connection is over
  release()        detaches the user's object for the socket (conn.socket) from a wire that lingers
--]]

local native, import = ...
local clock = import("clock")

local connection = {}

local incoming, outgoing, sendable = native.incoming, native.outgoing, native.sendable

-- While a send waits for room, up to this many bytes from the peer are read. This is enough for two peers that send to
-- each other to make progress, and it bounds the memory.
local BACKLOG = 1024 * 1024

-- The queue is worth a drain_handler's call if it held more than this part of max_buffered.
local WORTHWHILE = 0.25

-- The size of one read in bytes, if the user has not set receive_chunk_size and the wire does not adapt.
local READ = 16384

--- new(opening): makes the state of a connection that is to be opened with these options. It has at most 32 fields in
-- its constructor: with one more, Lua would make room for 64, which takes 1.3 KiB more for each connection.
function connection.new(opening)
  return {
    phase = "connecting",
    opening = opening, -- the options as wsopen has read them
    step = nil, -- the next step of opening, if it is not over
    turn = nil, -- turn(item, now, happened): its turns while it is open, and once it is over, instead of wsreceive's
    session = nil, -- the native session: bytes in, events out
    number = nil, -- identifies the session to the hottest functions
    given = nil, -- the user's options table, as last seen
    wire = nil, -- carries the session's bytes
    conn = nil, -- the user's table, once it exists
    unread = 0, -- bytes read during a send, to be counted by the next wsreceive
    ended = nil, -- why no more bytes will come, if that is known
    broken = nil, -- why no more can be sent, if that is known
    more = false, -- the last wsreceive has left events for the next one
    taken = 0, -- how many bytes the peer had taken when a write last left something
    stuck = nil, -- since when it has taken nothing more; nil while nothing is left
    awaits_drain = false, -- the handler is to be told when the queue is empty again
    message = nil, -- the turn of an incomplete message from a source (send)
    injected = false, -- the last bytes came from wshandleincoming
    told_silent = 0, -- when the handler was told that the peer is silent
    keepalive = nil, -- the part of that name, if the peer is pinged when it is silent
    keeper = nil, -- opens the connection again when it is lost (reconnect)
    retry_at = nil, -- when that is to be, while it waits for that
    outbox = nil, -- the messages that wait for the connection to be open
    over = nil, -- why the connection is closed
    news = nil, -- what the handler is to be told about the end
    failure = nil, -- why it was never open: text, hop, kind, response
    lingering = nil, -- its entry in `linger`, once it is over; until then `box` shows that it was open
    leave_gate = nil, -- says that it is not being opened any more (gate)
    item = nil, -- its item in the reactor, if that drives it
    owner = nil, -- the server that has accepted it (server/owner)
    is_paused = false, -- the program wants nothing more of it now
    greets = false, -- open_handler is to be called, or messages of the outbox are to be sent
    -- All other fields belong to one part each. open: plan, timings, reconnect, deadline, hop, answered, refusal,
    -- socket and is_in (at the gate); drive: attempts, watched, told_end and is_polled; receive: size, announces,
    -- is_lossy, was_greeted, is_greeting and is_telling; server/exchange: exchange; sink: sink and announced; told:
    -- is_telling_sent; trace: tracing; opener: waiter; close: close_frame (code and reason, for linger).
  }
end

--- brought(wire): takes the number of bytes that a wait has brought. The wire would not wait again before they are
-- taken.
local function brought(wire)
  local came = wire.came
  if came > 0 then wire.came = 0 end -- usually it is the class's, and the wire has no such field
  return came
end

--- is_opening(state): returns whether a connection is being opened, or the program's table does not say yet how that
-- has ended: until then the plan is there.
function connection.is_opening(state)
  local phase = state.phase
  return phase == "connecting" or state.plan ~= nil and (phase == "open" or state.failure ~= nil)
end

--- will_open(state): returns whether a connection is not open, but is to be: it is being opened, or comes back.
function connection.will_open(state)
  local phase = state.phase
  return phase == "connecting" or phase == "closed" and state.keeper ~= nil
end

--- leave_gate(state): makes room for others that are to be opened to the same place.
function connection.leave_gate(state)
  local leave = state.leave_gate
  state.leave_gate = nil
  if leave then leave() end
end

--- opened(state): connecting -> open. Bytes that came together with the end of the opening are left to the first
-- wsreceive.
function connection.opened(state)
  state.phase, state.step = "open", nil
  connection.leave_gate(state)
  native.set_heard(state.number, clock.now())
  native.take_back(state.session) -- the storage used for opening
  brought(state.wire)
  state.unread = incoming(state.session)
  connection.settle(state)
end

--- settle(state): informs the native side, which handles most calls of wsreceive and wssend (src/lua/raw/quick.rs):
-- whether reading is all there is to do (is_calm), whether messages can be sent without telling anybody (can_send), and
-- whether messages go to the handler and nowhere else (is_plain). Must be called after each change of the fields used
-- here. The native side clears is_calm by itself when it leaves something to do.
function connection.settle(state)
  -- What is gathered would be left without a notice if the driver did not see it.
  local is_seen = not (state.item and state.opening.coalesce > 0)
  local is_first = not state.outbox or state.outbox:is_empty() -- nothing earlier is to be sent
  local can_send = state.phase == "open" and not state.message and is_seen and is_first
  local is_calm = can_send and not state.greets and state.wire.calls_nobody and state.unread == 0
    and not (state.more or state.ended or state.broken or state.awaits_drain)
  local is_plain = not (state.tracing or state.announces or state.injected)
  native.settle(state.number, is_calm, can_send and not state.opening.send_handler, is_plain, state.size)
end

--- set_message(state, turn): notes that a message is being sent from its source by the holder of this turn; nil if none
-- is.
function connection.set_message(state, turn)
  state.message = turn
  connection.settle(state)
  if state.item then state.item:notice() end
end

--- closing(state): open -> closing. The program has sent a close frame, so it does not want the connection back, unless
-- the peer has sent one before.
function connection.closing(state)
  state.phase = "closing"
  local _, _, received = native.close_state(state.session)
  if received == nil then state.keeper = nil end
  connection.settle(state)
  state.conn.closing = true
end

--- closed(state, over, news): any phase -> closed.
function connection.closed(state, over, news)
  state.phase, state.step, state.over, state.news = "closed", nil, over, news
  connection.leave_gate(state)
  if state.session then native.retire(state.session) end
  local conn = state.conn
  if conn then conn.connected, conn.closing = false, true end
  if state.item then state.item:notice() end
end

local function nothing_to_do() return false, false, math.huge end

--- attempt_failed(state, failure): connecting -> connecting. The keeper decides what comes next.
function connection.attempt_failed(state, failure)
  state.failure, state.step = failure, nothing_to_do
  state.session, state.number, state.wire, state.socket, state.is_in = nil, nil, nil, nil, nil
  connection.leave_gate(state)
  state.is_polled = nil
end

--- failed(state, failure): connecting -> closed.
function connection.failed(state, failure)
  state.failure = failure
  connection.closed(state, failure.text, nil)
end

--- silent_since(state): returns since when the peer has been silent, or since the handler was told that it is.
function connection.silent_since(state) return math.max(native.heard(state.number), state.told_silent) end

--- read(state, max): reads once. Returns how many bytes came and whether there may be more right now; nil if nothing
-- came, not even bytes that TLS keeps to itself. If nothing will ever come, state.ended says why.
function connection.read(state, max)
  if state.ended then return nil, false end
  local wire = state.wire
  local came = brought(wire)
  local count, more = wire:read(max)
  if count then return count + came, more end
  if more then
    state.ended = more
    connection.settle(state)
  end
  if came > 0 then return came, false end
  return nil, false
end

--- broken(state, why): notes that nothing more can be sent.
function connection.broken(state, why)
  state.broken = why
  connection.settle(state)
end

--- is_held(state): returns whether nothing is to be read now: the program has paused the connection, or it is a
-- server's and its peer does not take what is sent to it. So a peer that never reads cannot have a server do more and
-- more for it.
function connection.is_held(state)
  return state.is_paused
    or state.owner ~= nil and state.awaits_drain
      and outgoing(state.session) > WORTHWHILE * state.opening.max_buffered
end

--- await_drain(state, is_awaited): notes whether the handler is to be told when the queue is empty again.
function connection.await_drain(state, is_awaited)
  if state.awaits_drain == is_awaited then return end
  state.awaits_drain = is_awaited
  if is_awaited and state.owner then native.end_turn(state.session) end
  connection.settle(state)
end

--- is_drained(state): returns whether the handler is to be told that the queue is empty again.
function connection.is_drained(state)
  return state.awaits_drain and state.phase == "open" and outgoing(state.session) == 0
end

--- note_queue(state): notes what a write has left in the queue.
function connection.note_queue(state)
  local left, taken = outgoing(state.session), native.taken(state.session)
  if left == 0 then
    state.stuck = nil
  elseif not state.stuck or taken ~= state.taken then
    state.taken, state.stuck = taken, clock.now()
  end
  if left > WORTHWHILE * state.opening.max_buffered then connection.await_drain(state, true) end
end

--- write(state): sends as much of the queue as there is room for. Returns true when nothing is left; nil and "timeout"
-- if there is no room, or nil and why no more can be sent.
function connection.write(state)
  local ok, why = state.wire:write()
  if ok or why == "timeout" then connection.note_queue(state) else connection.broken(state, why) end
  return ok, why
end

--- take(state, max): takes in the bytes for one wsreceive: at most `max`, or as many as seems right if that is nil.
-- Some of them may have been read before. Reads nothing while earlier events are waiting. Returns the same as `read`.
function connection.take(state, max)
  local wire = state.wire
  local unread = state.unread + wire.came
  if unread > 0 or not wire.adapts then max = max or READ end
  if unread == 0 then
    if state.more then return 0, true end
    return connection.read(state, max)
  end
  brought(wire)
  if unread >= max then
    state.unread = unread - max
    return max, true
  end
  state.unread = 0
  if state.more then return unread, true end
  local count, more = connection.read(state, max - unread)
  count = unread + (count or 0)
  if count > max then -- over TLS, a user's socket can bring more than was asked for
    state.unread, count, more = count - max, max, true
  end
  return count, more
end

--- advance(state, now, max): does what can be done without waiting: either takes the next step of opening, or writes
-- what is queued and reads at most `max` bytes (nothing if that is nil). Returns whether it waits to read, whether it
-- waits to write, and until when at most.
function connection.advance(state, now, max)
  local step = state.step
  if step then return step(state, now) end
  local session = state.session
  connection.write(state)
  local reading = max and not state.ended and incoming(session) < BACKLOG
  if reading then
    local count = connection.read(state, max)
    if count and count > 0 then
      state.unread, state.injected = state.unread + count, false
      connection.settle(state)
      if state.item then state.item:notice() end
      if sendable(session) > 0 and not state.broken then return true, true, now end
    end
  end
  local wants_more = not max or reading and not state.ended
  return wants_more, sendable(session) > 0, math.huge
end

--- outgoing(state): returns how many bytes are waiting to be sent.
function connection.outgoing(state)
  return state.session and state.phase ~= "closed" and outgoing(state.session) or 0
end

return connection
