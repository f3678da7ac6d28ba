--[[
The life cycle of a connection: its state, every transition of its phase, and what moves it on.

  connecting   being opened: `state.step` is what goes on with that (open)
  open         messages go both ways
  closing      we have sent a close frame and wait for the peer's; messages still come
  closed       for good: `state.over` is what wsreceive says, `state.news` what a handler is still to be told

`advance` does what can be done without waiting and says what it waits for; only `wait` blocks. Knows bytes and phases;
what the bytes mean to a user is not known here (receive), nor what is left to do for the peer after the end (linger).

A wire carries the bytes of a session. All have the same methods:

  read(max)        one read of at most `max` bytes of plaintext, into the session: how many came, and whether there may
                   be more at once; nil if there is nothing now; nil and why if nothing will ever come
  write()          what the session has to send: true when nothing is left; nil and "timeout" (no room now), or why not
  wait(read, write, seconds)
                   until it can be read from, or written to, or the time is over; whether it can
  dirty()          whether bytes have come that its descriptor does not tell of
  held()           how many of its reads and writes this coroutine is in the middle of; only where they call user code
  shutdown()       nothing more will be sent
  close()          frees everything
  adapts           without `max`, a read takes as many bytes as seems right
  calls_nobody     reading from it calls no user code, raises no error and does not yield
  came             bytes that a wait has brought into the session, for the next read to count
  lingers          whether it can be left to `linger` when the connection is over
  release()        of one that lingers: the object that the user has of it (conn.socket) has none of it from then on
--]]

local native, import = ...
local clock = import("clock")

local connection = {}

local incoming, sendable = native.incoming, native.sendable

-- While a send waits for room, what the peer sends is read, up to this many bytes: enough for two peers that send to
-- each other to get on, and a bound on memory.
local BACKLOG = 1024 * 1024

-- What one read takes where the user has set no receive_chunk_size and the wire does not adapt, in bytes.
local READ = 16384

--- new(opening): a connection that is to be opened with these options.
function connection.new(opening)
  return {
    phase = "connecting",
    opening = opening, -- the options as wsopen has read them
    step = nil, -- what goes on with opening, as long as that lasts
    session = nil, -- the native session: bytes in, events out
    number = nil, -- by which the hottest functions know it
    given = nil, -- the options table of the user, as it was last looked at
    wire = nil, -- what carries its bytes
    conn = nil, -- the user's table, once there is one
    unread = 0, -- bytes that were read while something was sent, for the next wsreceive to count
    ended = nil, -- why no more bytes will come, once that is known
    broken = nil, -- why no more can be sent, once that is known
    more = false, -- the last wsreceive has left events for the next
    message = nil, -- the turn of a message from a source that is not complete (send)
    injected = false, -- the last bytes came by wshandleincoming
    over = nil, -- of a connection that is closed: why
    news = nil, -- what the handler is to be told of that
    failure = nil, -- of one that was never open: text, hop, kind, response
    lingering = nil, -- what `linger` has of it
    close_frame = nil, -- code and reason of the one that `linger` is to send
    -- What else there is belongs to one part each: plan, deadline, hop, answered, refusal and socket to open; size and
    -- announces to receive; sink and announced to sink; tracing to trace; unwatch to hosts/openluup.
  }
end

--- opened(state): connecting -> open. What has come together with the end of the opening is for the first wsreceive.
function connection.opened(state)
  state.phase, state.step = "open", nil
  native.set_heard(state.number, clock.now())
  native.take_back(state.session) -- storage for opening it
  state.unread, state.wire.came = incoming(state.session), 0
  connection.settle(state)
end

--- settle(state): what most calls of wsreceive and wssend do is native (src/lua/raw/quick.rs) and knows of all this:
-- whether there is nothing to do but to read, whether messages can be sent at any time, and whether those that come may
-- go to the handler and nowhere else. To be called after each change of what that depends on; the native side itself
-- takes back the first when it has left something to be done.
function connection.settle(state)
  local can_send = state.phase == "open" and not state.message
  local is_calm = can_send and state.wire.calls_nobody and state.unread == 0
    and not (state.more or state.ended or state.broken)
  local is_plain = not (state.tracing or state.announces or state.injected)
  native.settle(state.number, is_calm, can_send, is_plain, state.size)
end

--- set_message(state, turn): a message is being sent from its source, by whoever has this turn; nil: not any more.
function connection.set_message(state, turn)
  state.message = turn
  connection.settle(state)
end

--- closing(state): open -> closing: a close frame has been sent.
function connection.closing(state)
  state.phase = "closing"
  connection.settle(state)
  state.conn.closing = true
end

--- closed(state, over, news): -> closed.
function connection.closed(state, over, news)
  state.phase, state.step, state.over, state.news = "closed", nil, over, news
  if state.session then native.retire(state.session) end
  local conn = state.conn
  if conn then conn.connected, conn.closing = false, true end
end

--- failed(state, failure): connecting -> closed.
function connection.failed(state, failure)
  state.failure = failure
  connection.closed(state, failure.text, nil)
end

--- read(state, max): one read. Returns how many bytes came and whether there may be more at once; nil if nothing came,
-- not even bytes that TLS keeps. When nothing will ever come, state.ended says why.
function connection.read(state, max)
  if state.ended then return nil, false end
  local wire = state.wire
  local came = wire.came -- what a wait has brought; with that the wire would not wait again
  wire.came = 0
  local count, more = wire:read(max)
  if count then return count + came, more end
  if more then
    state.ended = more
    connection.settle(state)
  end
  if came > 0 then return came, false end
  return nil, false
end

--- broken(state, why): nothing more can be sent.
function connection.broken(state, why)
  state.broken = why
  connection.settle(state)
end

--- write(state): sends what is queued, as far as there is room: true when nothing is left; nil and "timeout", or why
-- no more can be sent.
function connection.write(state)
  local ok, why = state.wire:write()
  if not ok and why ~= "timeout" then connection.broken(state, why) end
  return ok, why
end

--- take(state, max): what one wsreceive takes in: at most `max` bytes, or as many as seems right, of which some may
-- have been read before. Nothing is read while events wait that came earlier. Returns the same as `read`.
function connection.take(state, max)
  local wire = state.wire
  local unread = state.unread + wire.came
  if unread > 0 or not wire.adapts then max = max or READ end
  if unread == 0 then
    if state.more then return 0, true end
    return connection.read(state, max)
  end
  wire.came = 0
  if unread >= max then
    state.unread = unread - max
    return max, true
  end
  state.unread = 0
  if state.more then return unread, true end
  local count, more = connection.read(state, max - unread)
  count = unread + (count or 0)
  if count > max then -- what a user's socket brings over TLS can be more than was asked for
    state.unread, count, more = count - max, max, true
  end
  return count, more
end

--- advance(state, now, max): does what can be done without waiting: goes on with opening; or writes what is queued, and
-- reads at most `max` bytes unless that is nil. Returns whether it waits for something to read, for room to write, and
-- until when at most.
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
      if sendable(session) > 0 and not state.broken then return true, true, now end
    end
  end
  local wants_more = not max or reading and not state.ended
  return wants_more, sendable(session) > 0, math.huge
end

--- outgoing(state): the bytes that wait to be sent.
function connection.outgoing(state)
  return state.session and state.phase ~= "closed" and native.outgoing(state.session) or 0
end

return connection
