-- What must come of a conversation (conversation.lua) if its line fails: which messages arrive, what each function
-- returns, and when. It is compared with the same conversation over a line without faults (usual), for what arrives
-- depends only on which bytes have passed.
--
-- It knows the documented texts (docs/errors.md) and deadlines.

local assert = require "luassert"
local conversation = require "spec.support.conversation"

local outcome = {}

local OPTIONS = conversation.OPTIONS

-- How late a user's socket may be asked again while something waits to be sent, in seconds: LuaSocket cannot wait for
-- both.
local OFTEN = 0.002

-- The longest wait of a user's socket, in seconds.
local STEP = 0.2

-- The size of an encrypted alert of TLS 1.2 (AES-GCM), in bytes.
local ALERT = 31

local EXACT = 1e-6

-- What a fatal fault is for the client. `over`: the stream ends, and why. `up`, `down`: what it is like to send, and to
-- receive.
local MEANING = {
  ends = { over = "closed" },
  vanishes = { over = "closed" },
  breaks = { over = "timed out" },
  stalls = { up = "stuck", down = "silent" },
  freezes = { up = "stuck", down = "silent" },
  swallows = { up = "lost", down = "silent" },
}

--- Returns why nothing more comes after this fault; or nil, and what it is like to send, and to receive.
local function meaning(how)
  local means = MEANING[how.fault]
  local is_both = how.fault == "freezes"
  return means.over, (is_both or how.way == "up") and means.up, (is_both or how.way == "down") and means.down
end

--- Returns the opcodes and the data of these.
local function contents(list)
  local data = {}
  for i, each in ipairs(list) do data[i] = { each.opcode, each.data } end
  return data
end

--- Returns those that are messages, and not control frames: what wssend was given, or what the server received.
local function messages(list)
  local data = {}
  for _, each in ipairs(list) do
    local opcode = each.opcode or each[1]
    if opcode < 8 then data[#data + 1] = { opcode, each.data or each[2] } end
  end
  return data
end

--- Returns the elements whose bytes have passed.
local function passed(list, bytes)
  local whole = {}
  for _, each in ipairs(list) do
    if each.mark <= bytes then whole[#whole + 1] = each end
  end
  return whole
end

--- An upgrade succeeds exactly if the response passes. Otherwise wsopen fails at once, or at its deadline, and has
-- closed the socket. Returns whether it succeeds.
local function check_opening(how, seen, usual, at)
  local down = seen.relay.down.passed
  if down >= usual.opening.down then
    assert.equal(nil, seen.why, at)
    return true
  end
  local over = meaning(how)
  local is_tls = how.identity and down < usual.flight
  local prefix = is_tls and "Failed SSL negotation: " or "upgrade failed; "
  local why = over == "closed" and "the peer closed the connection" or over or "timeout"
  local hint = is_tls and " (is it ws?)" or not how.identity and " (is it wss?)" or ""
  if over == "closed" and down == 0 then why = why .. hint end
  assert.same({ false, prefix .. why }, { seen.conn, seen.why }, at)
  local limit = is_tls and OPTIONS.connect_timeout or OPTIONS.upgrade_timeout
  assert.near(over and 0 or limit, seen.opened_at, EXACT, at)
  assert.equal(seen.opened_at, seen.closed_at, at)
  return false
end

--- Everything that has come through is told, in order and once, and when it comes. Then the end, once.
local function check_received(how, seen, usual, at)
  local count = seen.passed "down"
  local expected = passed(usual.told, count)
  local slack = how.users and OFTEN + EXACT or EXACT
  local over, _, receiving = meaning(how)
  local last = expected[#expected]
  local ended_at = nil
  if last and last.opcode == false then
    over, ended_at = "closed", last.at -- the close frame has come
  elseif usual.over or seen.over then
    local heard_at, before = seen.opened_at, 0
    for _, each in ipairs(usual.said) do
      if before < count then heard_at = each.at end -- one byte of it is enough
      before = each.mark
    end
    if over then
      ended_at = seen.relay.began_at
    elseif receiving or seen.over then
      over = "message timeout"
      ended_at = heard_at + OPTIONS.receive_timeout
    end
    if over then
      local text = over == "message timeout" and over or "receiver error: " .. over
      expected[#expected + 1] = { opcode = false, data = text, at = ended_at }
    end
  end
  assert.same(contents(expected), contents(seen.told), at)
  for i, each in ipairs(expected) do assert.near(each.at, seen.told[i].at, slack, at) end
  if ended_at then
    assert.equal(over, seen.over, at)
    assert.near(ended_at, seen.over_at, slack, at)
  end
  local broken_off = over == "message timeout" and "not connected" or over
  assert.same(seen.broken_off[1] and { broken_off } or {}, seen.broken_off, at)
end

--- Each wssend says what became of its message, in time; and the server gets what has come through, in order and once.
local function check_sent(how, seen, usual, at)
  local over, sending = meaning(how)
  if how.fault == "ends" and how.way == "down" then over = nil end -- the server still reads
  local is_fatal, is_stuck = over or sending == "stuck", false
  for i, each in ipairs(seen.sent) do
    -- A message during which the fault begins may have gone out before.
    local is_fine = each.is_before or each.ok and not each.is_after or not is_fatal
    -- Nobody waits twice for a deaf peer. Messages are refused, and control frames are queued.
    local is_refused = is_stuck and each.opcode < 8
    local why = "send error: " .. (over or is_refused and "timeout; nothing of this was sent" or "timeout")
    -- A message from a source that was begun and cannot be ended ends the connection.
    if i > 1 and how.program == "sends a source" and not seen.sent[1].ok then is_fine, why = false, "not connected" end
    assert.same({ is_fine, not is_fine and why or nil }, { each.ok, each.why }, at)
    local waited = not is_fine and not (over or is_stuck) and why ~= "not connected" and OPTIONS.send_timeout or 0
    assert.near(waited, each.took, EXACT, at)
    is_stuck = is_stuck or not is_fine
  end
  local expected = messages(passed(usual.sent, seen.passed "up"))
  for i = #expected, 1, -1 do expected[i] = messages(seen.sent)[i] end -- it may have given up before
  assert.same(expected, messages(seen.peer.events), at)
  assert.is_nil(seen.peer.failure, at)
end

--- The connection is closed at once where nothing more can come, and otherwise by the deadline.
local function check_closing(how, seen, usual, at)
  local over = meaning(how)
  local has_ended = seen.over == "closed" or seen.over == "timed out"
  local has_failed = how.program == "sends a source" and not seen.sent[1].ok
  local ended_at = has_ended and seen.over_at or seen.closes_at
  local lingers = not over and not how.users and OPTIONS.close_timeout or 0
  if not has_failed then assert.near(ended_at + lingers, seen.closed_at, EXACT, at) end
  local conn = seen.conn
  local is_answered = seen.relay.down.passed >= usual.relay.down.passed
  assert.equal(is_answered and usual.conn.close_code or 1006, conn.close_code, at)
  assert.same({ false, true, -1 }, { conn.connected, conn.closing, conn:getfd() }, at)
  -- A close frame counts once it has left. TLS's alert, which follows it, does not.
  local has_left = seen.written >= usual.written - (how.identity and ALERT or 0)
  assert.equal(is_answered and has_left and usual.conn.was_clean, conn.was_clean, at)
end

--- Nothing is asked more often than what happens, or what a deadline, makes necessary.
local function check_calls(how, seen, usual, at)
  local limit = 20
  local _, sending = meaning(how)
  if how.users then limit = limit + seen.ended_at / (sending == "stuck" and OFTEN or STEP) * 2 end
  assert.is_true(seen.reads <= usual.reads + limit and seen.writes <= usual.writes + limit,
    ("%s: %d reads, %d writes"):format(at, seen.reads, seen.writes))
end

--- Returns a conversation as text, for a report.
local function shown(how)
  return ("%s, with %s socket, %s %s after %d bytes"):format(how.program, how.users and "its own" or "our", how.way,
    how.fault, how.at)
end

--- check(how, seen, usual): checks a conversation over a line with a fatal fault.
function outcome.check(how, seen, usual)
  local at = shown(how)
  assert.is_truthy(seen.closed_at, at)
  if check_opening(how, seen, usual, at) then
    check_received(how, seen, usual, at)
    check_sent(how, seen, usual, at)
    check_closing(how, seen, usual, at)
  end
  if how.users then assert.same({ 1, 0 }, { seen.socket.closed, seen.socket.late }, at) end
  check_calls(how, seen, usual, at)
end

--- check_slow(how, seen, usual, seconds): checks a conversation over a line that takes at most so many seconds longer:
-- nothing else is different.
function outcome.check_slow(how, seen, usual, seconds)
  local at = shown(how)
  -- A user's socket is asked again every few milliseconds, for each byte if there is only room for one.
  if how.users then seconds = seconds + OFTEN * (how.fault == "crawls" and seen.written or #seen.told) end
  assert.equal(nil, seen.why, at)
  assert.same(contents(usual.told), contents(seen.told), at)
  for i, each in ipairs(usual.told) do
    local late = seen.told[i].at - each.at
    assert.is_true(late >= -EXACT and late <= seconds + EXACT, ("%s: %g s late"):format(at, late))
  end
  for i, each in ipairs(usual.sent) do assert.same({ each.ok, each.why }, { seen.sent[i].ok, seen.sent[i].why }, at) end
  assert.same(messages(usual.peer.events), messages(seen.peer.events), at)
  if how.users then
    assert.same({ 1, 0 }, { seen.socket.closed, seen.socket.late }, at)
  else
    assert.same({ usual.conn.close_code, true }, { seen.conn.close_code, seen.conn.was_clean }, at)
  end
end

return outcome
