--[[
Moves bytes between a session and its socket: opens, reads once, flushes, closes. Calls no handlers
and does not look at messages. Of a connection's state (open) it has to do with session, wire, buffered and ended.

The methods of a user's socket may yield, and whoever runs meanwhile may close the connection: its session is then
gone from the state, and every function here looks for that behind each of them.

A wire has: read(session, max) -> bytes of plaintext, more | nil, why; write(session) -> true | nil, why; wait(read,
write, seconds) -> ready; shutdown(); close(); dirty(session) -> whether it holds bytes that its descriptor does not
tell of.
"timeout" as a reason means: not now; so does none for read. `step`: the most seconds of one wait for a user.
--]]

local native = ...

local pump = {}

-- While a send waits for room, what the peer sends is read, up to this many bytes: enough for two
-- peers that send to each other to get on, and a bound on memory.
local BACKLOG = 1024 * 1024

-- One read where the user has no say in its size.
local DISCARD = 65536

local CLOSE = 8

--- native_wire(socket): the fast one: the bytes do not become Lua strings.
function pump.native_wire(socket)
  return {
    step = math.huge,
    read = function(session, max) return session:read(max) end,
    write = function(session) return session:write() end,
    wait = function(read, write, seconds)
      local deadline = native.monotonic() + seconds
      local ready
      -- A signal interrupts the wait, so that Lua can run what it has in store for it (Ctrl-C raises an error).
      repeat ready = socket:wait(read, write, deadline - native.monotonic()) until ready ~= nil
      return ready
    end,
    shutdown = function() socket:shutdown() end,
    close = function() socket:close() end,
    dirty = function(session) return session:holds_more() end,
  }
end

-- A look-up of a name is interrupted by no signal, so it is waited for in steps of so many seconds.
local STEP = 0.2

--- dial(host, port, seconds): a native socket, or nil and why not.
function pump.dial(host, port, seconds)
  local dial, deadline = native.dial(host, port), native.monotonic() + seconds
  local socket, why
  repeat
    local left = deadline - native.monotonic()
    socket, why = dial:advance(math.min(left, STEP))
  until socket or why or left <= 0
  dial:cancel()
  return socket, why or "timeout"
end

--- sleep(seconds).
function pump.sleep(seconds)
  local deadline = native.monotonic() + seconds
  repeat until native.sleep(deadline - native.monotonic())
end

--- read(state, max): one read. Returns the bytes that came, and whether there may be more at once.
-- When no more will ever come, state.ended says why.
function pump.read(state, max)
  local session = state.session
  if state.ended or not session then return 0, false end
  local count, more = state.wire.read(session, max)
  if not count then
    if more ~= "timeout" then state.ended = more end -- nil: not now, either
    return 0, false
  end
  if session:ended() then state.ended = "closed" end
  return count, more
end

--- receive(state, size): what one wsreceive takes in: at most `size` bytes, of which some may have been
-- read before. Returns what pump.read does.
function pump.receive(state, size)
  local buffered = state.buffered
  if buffered == 0 then return pump.read(state, size) end
  state.buffered = 0
  if buffered >= size then return buffered, not state.ended end
  local count, more = pump.read(state, size - buffered)
  return buffered + count, more
end

--- flush(state, seconds): writes what is queued; waits for at most so long while there is no room, and
-- reads meanwhile. Returns true, or nil and why something is left.
function pump.flush(state, seconds)
  local session, wire = state.session, state.wire
  local ok, why = wire.write(session)
  if ok or why ~= "timeout" or seconds <= 0 then return ok, why end
  local deadline = native.monotonic() + seconds
  repeat
    local broken = session:tls_error()
    if broken then return nil, broken end
    local left = deadline - native.monotonic()
    if left <= 0 then return nil, "timeout" end
    local reading = not state.ended and session:incoming() < BACKLOG
    wire.wait(reading, session:sendable() > 0, left)
    if reading then
      local count = pump.read(state, DISCARD) -- whose socket may yield, and others receive meanwhile
      state.buffered = state.buffered + count
      if count > 0 then state.injected = false end
    end
    if state.session ~= session then return nil, "closed" end
    ok, why = wire.write(session)
  until ok or why ~= "timeout"
  return ok, why
end

--- open(state, size, deadline, tls_timeout, upgrade_timeout): the proxy's negotiation, TLS and the upgrade, by
-- reads of at most `size` bytes. `deadline` is that of the first step; a later one has its own time. Returns
-- true; or nil, "proxy", "tls" or "upgrade", and why.
function pump.open(state, size, deadline, tls_timeout, upgrade_timeout)
  local session, wire = state.session, state.wire
  local step = session:routed() and "tls" or "proxy"
  while true do
    local written, why = wire.write(session)
    local count, more = pump.read(state, size)
    if step == "proxy" and session:routed() then
      step, deadline = "tls", native.monotonic() + tls_timeout
    end
    if step == "tls" and session:secured() then
      step, deadline = "upgrade", native.monotonic() + upgrade_timeout
    end
    local event, text, of_tls = session:next_event()
    if event then return true end
    if event == false then
      wire.write(session) -- a TLS alert, so that the peer knows why, too
      -- What a TLS 1.3 server has against the client's certificate comes when TLS seems to be agreed upon.
      return nil, of_tls and "tls" or step, text
    end
    if state.ended then
      return nil, step, state.ended == "closed" and "the peer closed the connection" or state.ended
    end
    if not written and why ~= "timeout" then return nil, step, why end
    local left = deadline - native.monotonic()
    if left <= 0 then return nil, step, "timeout" end
    if count == 0 and not more then wire.wait(true, session:sendable() > 0, left) end
  end
end

--- body(state, size, most, seconds): the beginning of a refused upgrade's body, at most `most` bytes; waits for
-- at most so long until it has come.
function pump.body(state, size, most, seconds)
  local deadline = native.monotonic() + seconds
  while true do
    local body, complete = state.session:body(most)
    local left = deadline - native.monotonic()
    if complete or state.ended or left <= 0 or state.session:incoming() > BACKLOG then return body end
    local count, more = pump.read(state, size)
    if count == 0 and not more and not state.ended then state.wire.wait(true, false, left) end
  end
end

--- drain(state, seconds, to_end): reads and forgets until the peer's close frame has come (or, with
-- `to_end`, until the peer has ended), or the time is over. Reads once even without any time.
local function drain(state, seconds, to_end)
  local session, wire = state.session, state.wire
  local deadline = native.monotonic() + seconds
  while not state.ended do
    local count, more = pump.read(state, DISCARD)
    if state.session ~= session then return end
    repeat
      local event = session:next_event()
      if (event == false or event == CLOSE) and not to_end then return end
    until not event
    local left = deadline - native.monotonic()
    if left <= 0 then return end
    if count == 0 and not more and not state.ended then
      -- Behind our goodbye nothing can be written any more.
      wire.wait(true, not to_end and session:sendable() > 0, left)
      if not to_end then wire.write(session) end
    end
  end
end

--- goodbye(state): nothing more will be sent, and the peer is told so, without waiting; `linger` is to follow.
function pump.goodbye(state)
  local session, wire = state.session, state.wire
  if not session then return end
  wire.write(session)
  session:shutdown()
  wire.write(session)
  wire.shutdown()
end

--- linger(state, seconds): frees the socket, once the peer has ended or the time is over. Closing a socket
-- with unread bytes in it resets the connection, and so takes from the peer what it has not read yet.
function pump.linger(state, seconds)
  drain(state, seconds, true)
  state.wire.close()
  state.session:free()
end

--- close(state, seconds): ends the connection and tells the peer. Waits for at most so long until what is
-- queued is sent and the peer has answered our close frame; `linger` is to follow.
function pump.close(state, seconds)
  local deadline = native.monotonic() + seconds
  pump.flush(state, seconds)
  if not state.session then return end
  local sent, received = state.session:close_state()
  if sent and not received then drain(state, deadline - native.monotonic()) end
  pump.goodbye(state)
end

return pump
