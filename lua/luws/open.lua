--[[
Opens connections as planned (planning), step by step: dial (or call the user's connect), then whatever comes before
frames (proxy, TLS, upgrade), each under its deadline. Where the plan is to make a plain request, its response is what
comes last. Every step does what can be done without waiting (connection.advance). Calls no handlers, and does not know
the user's connection table.
--]]

local native, import = ...
local clock, connection, log = import("clock"), import("connection"), import("log")
local dialling, guard, planning = import("dialling"), import("guard"), import("planning")

-- Parts that few programs need (users' sockets, proxies) are loaded on demand.

local open = {}

local EVENT = native.event_numbers()

-- Size in bytes of one read before the connection is open.
local READ = 16384

-- How much of a refused upgrade's body is waited for (in bytes), and for how long (in seconds); and how many bytes may
-- arrive before the body is complete.
local BODY, BODY_TIME, MOST_BEFORE = 4096, 0.5, 64 * 1024

-- Begins the text of a failure. That of a proxy's is in its route.
local PREFIX = { tls = "Failed SSL negotation: ", upgrade = "upgrade failed; " }
local PLAIN_PREFIX = { tls = PREFIX.tls, upgrade = "request failed; " }

-- The steps. Each returns the results of connection.advance.

local NOTHING_TO_WAIT_FOR = 0

local dial_step, negotiate, start, begin

-- How the operating system says that the process, or the system, may open no more files.
local NO_DESCRIPTOR = "Too many open files"

--- drop(state): frees what an attempt has used.
local function drop(state)
  if state.wire and state.wire.close then state.wire:close() end
  if state.session then native.free(state.session) end
end

--- fail(state, hop, text, kind, response): ends an attempt that has failed. If only an optional proxy failed, makes
-- another attempt without it. If there was no descriptor, makes another attempt after a collection: connections that
-- nobody holds keep theirs until then. A user's own `connect` is called once only for each server, unless a proxy is to
-- be asked again. An attempt that user code has ended meanwhile, by wsclose, cannot fail.
local function fail(state, hop, text, kind, response)
  if state.phase ~= "connecting" then return false, false, NOTHING_TO_WAIT_FOR end
  local plan = state.plan
  local is_proxys = plan.proxy and hop == "proxy"
  local tls = hop == "upgrade" and native.peer(state.session) or nil
  local asks_again = is_proxys and import("proxy").asks_again(plan.proxy, kind, state.session)
  drop(state)
  if asks_again then
    begin(state, state.deadline)
    return false, false, NOTHING_TO_WAIT_FOR
  end
  if not plan.has_collected and not state.opening.connect and text:find(NO_DESCRIPTOR, 1, true) then
    plan.has_collected = true
    guard.collect()
    begin(state)
    return false, false, NOTHING_TO_WAIT_FOR
  end
  local prefix = (plan.ask and PLAIN_PREFIX or PREFIX)[hop]
  if hop then text = (is_proxys and plan.proxy.prefix or prefix or "") .. planning.hidden(state, text) end
  if is_proxys and not plan.proxy.required then
    log.warning("%s; connecting to %s:%d without it", text, plan.target.host, plan.target.port)
    plan.proxy = nil
    begin(state)
  else
    local failure = { text = text .. planning.trail(state), hop = hop, kind = kind, response = response, tls = tls }
    local ended = state.keeper and connection.attempt_failed or connection.failed
    ended(state, failure)
  end
  return false, false, NOTHING_TO_WAIT_FOR
end

--- closed_by(state): returns the text for a connection that the peer has closed; with a hint if it has sent nothing, as
-- servers do that expect TLS and do not get it, or the reverse.
local function closed_by(state)
  local route = state.plan.proxy
  if state.hop == "proxy" and route.kind ~= "sockproxy" then return "the proxy closed the connection" end
  local text, ask = "the peer closed the connection", state.plan.ask
  if state.answered or route then return text end
  if state.hop == "tls" then return text .. (ask and " (is it http?)" or " (is it ws?)") end
  return state.plan.target.secure and text or text .. (ask and " (is it https?)" or " (is it wss?)")
end

--- note_time(state, step): notes how long a step of opening has taken. The next one begins.
local function note_time(state, step)
  local plan, now = state.plan, clock.now()
  state.timings[step], plan.since = now - plan.since, now
end

--- connected(state, wire, socket): goes on to the next step; bytes can be exchanged now.
local function connected(state, wire, socket)
  note_time(state, "connect")
  state.wire, state.socket = wire, socket
  state.step = negotiate -- last: there may be no memory for the others
  return false, false, NOTHING_TO_WAIT_FOR
end

--- Calls the user's own connect function. Its errors go on to the caller.
local function connect_step(state)
  local opening, plan = state.opening, state.plan
  local host, port = dialling.destination(plan)
  local began = clock.now()
  local socket, why = opening.connect(host, port, plan.given)
  local foreign = import("wires/foreign")
  if state.phase ~= "connecting" then -- that function has called wsclose
    if socket and not foreign.check(socket) then foreign.make(state.session, socket):close() end
    return false, false, NOTHING_TO_WAIT_FOR
  end
  if not socket then
    why = why and (guard.text(why) or type(why))
      or ("Connection to %s:%d failed: connect returned no socket"):format(host, port)
    return fail(state, plan.proxy and "proxy" or nil, why)
  end
  local wrong = foreign.check(socket)
  if wrong then return fail(state, nil, ("bad option 'connect' (%s)"):format(wrong), "options") end
  -- The time that the user's own function takes does not count.
  state.deadline = state.deadline + clock.now() - began
  return connected(state, foreign.make(state.session, socket), socket)
end

--- unconnected(why, host, port): returns the text for a server or a proxy that cannot be reached.
local function unconnected(why, host, port)
  return ("Connection to %s:%d failed: %s"):format(host, port, why)
end

function dial_step(state, now)
  local wire, plan = state.wire, state.plan
  local made, more = wire.wire, wire.more
  if not made and not more then
    wire:wait(nil, nil, 0)
    made, more = wire.wire, wire.more
  end
  if not state.timings.lookup and wire.dial:untried() then note_time(state, "lookup") end
  if made then return connected(state, made, more) end
  local why = more
  if not why and now < state.deadline then
    local left = wire.dial:due()
    return true, true, math.min(state.deadline, left and now + left or math.huge)
  end
  why = why or wire:timeout()
  local route = plan.proxy
  if route and route.kind ~= "sockproxy" then return fail(state, "proxy", why) end
  return fail(state, route and "proxy" or nil, unconnected(why, dialling.destination(plan)))
end

--- Looks the server's name up, for a proxy that cannot.
local function look_up_step(state, now)
  local plan, dial = state.plan, state.wire
  local found, why = dial:look_up()
  if found then
    dial:close()
    if not import("proxy").next_address(plan.proxy, found) then
      return fail(state, "proxy", "SOCKS4: no IPv6 addresses")
    end
    begin(state, state.deadline)
    return false, false, NOTHING_TO_WAIT_FOR
  end
  if not why and now < state.deadline then return true, true, state.deadline end
  return fail(state, nil, unconnected(why or dial:timeout(), plan.target.host, plan.target.port))
end

--- gate_step(state, now): waits until connecting_limit allows one more connection to be opened to the same place.
local function gate_step(state, now)
  local is_in = state.is_in
  if is_in == nil then
    local found = dialling.places(state)
    if not found and now < state.deadline then return true, true, state.deadline end
    state.is_in = false
    state.leave_gate = import("gate").enter(found or {}, function()
      state.is_in = true
      if state.item then state.item:notice() end
    end)
  elseif is_in then
    -- The time for the rest begins now.
    state.deadline = now + (state.plan.proxy and state.plan.proxy.timeout or state.opening.connect_timeout)
    return start(state)
  end
  return true, true, state.is_in and now or math.huge
end

--- start(state): takes the first step of an attempt that nothing holds up.
function start(state)
  local wire = state.wire
  if wire then
    wire.dial:go_on()
    state.step = dial_step
  else
    state.step = connect_step
  end
  return false, false, NOTHING_TO_WAIT_FOR
end

--- begin(state, deadline): begins an attempt, through the proxy if the plan has one. It has the time of a new one,
-- unless it goes on with one that has a deadline.
function begin(state, deadline)
  local plan, opening = state.plan, state.opening
  local route = plan.proxy
  state.hop, state.ended, state.answered = nil, nil, nil
  state.timings, plan.since = {}, clock.now()
  state.deadline = deadline or clock.now() + (route and route.timeout or opening.connect_timeout)
  if route and route.looks_up and not route.addresses then
    state.session, state.number = nil, nil
    state.wire = dialling.begin(state, plan.target.host, plan.target.port)
    state.step = look_up_step
    state.wire.dial:hold()
    return
  end
  plan.parameters.proxy = route
  local session, number, hop = native.session(plan.parameters)
  state.session = session
  if not session then
    state.wire = nil
    return fail(state, hop, number, "options")
  end
  state.number = number
  if state.item then native.set_driven(number, true) end
  state.wire = not opening.connect and dialling.begin(state, dialling.destination(plan)) or nil
  local is_waited_for = opening.wait and not state.keeper
  if opening.connecting_limit == 0 or is_waited_for or state.is_in then
    start(state)
    return
  end
  if state.wire then state.wire.dial:hold() end
  state.step = gate_step
end

--- Waits, until a deadline, for the beginning of the body of a response that has refused the upgrade.
local function await_body(state, now)
  local session = state.session
  local body, complete = native.body(session, BODY)
  if not (complete or state.ended or now >= state.deadline or native.incoming(session) > MOST_BEFORE) then
    local count, more = connection.read(state, READ)
    if count and (count > 0 or more) or state.ended then return true, false, now end
    return true, false, state.deadline
  end
  local _, headers, status, reason = native.response(session)
  return fail(state, "upgrade", state.refusal, "refused",
    { status = status, reason = reason, headers = headers, body = body })
end

--- lead_on(state): makes the attempt that a response leads to.
local function lead_on(state)
  drop(state)
  connection.leave_gate(state)
  state.wire, state.session, state.is_in = nil, nil, nil
  local why = planning.aim(state)
  if why then return fail(state, nil, why, "options") end
  begin(state)
  return false, false, NOTHING_TO_WAIT_FOR
end

--- refused(state, text): goes on after a response that has refused the upgrade: with another attempt, or with its body.
local function refused(state, text)
  local leads_on, why = planning.leads_on(state)
  if leads_on then return lead_on(state) end
  state.refusal, state.step = text .. (why or ""), await_body
  state.deadline = clock.now() + math.min(BODY_TIME, state.opening.upgrade_timeout)
  return false, false, NOTHING_TO_WAIT_FOR
end

local function nothing_to_do() return false, false, math.huge end

--- answered(state, body): goes on after the response to a plain request: with another attempt, or with its owner.
local function answered(state, body)
  local leads_on, why = planning.leads_on(state)
  if leads_on then return lead_on(state) end
  state.step = nothing_to_do
  state.owner:answered(state, body, why)
  return nothing_to_do()
end

--- Goes through everything that comes before frames; the engine knows which hop it is at.
function negotiate(state, now)
  local session, wire, opening = state.session, state.wire, state.opening
  local before = state.hop or native.status(session)
  local written, why = wire:write()
  local is_stuck = native.sendable(session) > 0
  local count, more = connection.read(state, READ)
  if count then state.answered = true end
  local hop = native.status(session)
  if hop ~= before then note_time(state, before) end
  if hop ~= state.hop then
    if hop == "upgrade" then
      state.deadline = now + opening.upgrade_timeout
    elseif state.hop == "proxy" and state.plan.proxy.timeout then
      state.deadline = now + opening.connect_timeout
    end
    if hop ~= "frames" then state.hop = hop end
  end
  local event, text = native.next(state.number)
  native.done(session)
  if event == EVENT.open then
    if not state.timings.upgrade then note_time(state, "upgrade") end
    planning.keep_cookies(state)
    connection.opened(state)
    return true, false, now
  elseif event == EVENT.failure then
    wire:write() -- a TLS alert tells the peer why
    local failed_hop, kind = native.failure(session)
    if kind ~= "refused" then return fail(state, failed_hop, text, kind) end
    return refused(state, text)
  elseif event == EVENT.body then
    return answered(state, text)
  end
  -- A peer that takes nothing any more may still have said why.
  local over = state.ended or not written and why ~= "timeout" and not count and why
  if over then
    local kind = state.hop == "proxy" and native.proxy_retry(session) and "again" or nil
    return fail(state, state.hop, over == "closed" and closed_by(state) or over, kind)
  end
  if now >= state.deadline then return fail(state, state.hop, "timeout") end
  -- What has come may have to be answered: by TLS, for instance.
  local is_sendable = native.sendable(session) > 0
  local goes_on = count and (count > 0 or more) or is_sendable and not is_stuck
  return true, is_sendable, goes_on and now or state.deadline
end

--- Returns why the option wait cannot be "yield" here, or nil.
local function cannot_yield()
  if not guard.running() then return "bad option 'wait' ('yield' is for coroutines)" end
  if guard.is_fenced() then return "bad option 'wait' ('yield' cannot cross pcall in Lua 5.1)" end
end

--- begin(target, given): returns the state of a connection in its first step, or nil and what is wrong with the
-- options. Does not wait.
function open.begin(target, given)
  local state = connection.new(nil)
  local wrong = planning.prepare(state, target, given)
  if not wrong and state.opening.wait == "yield" then wrong = cannot_yield() end
  if wrong then return nil, wrong end
  begin(state)
  return state
end

--- plan(owner, target, given, ask): returns the state of a connection that is to make a plain request, for its owner
-- (http), and has no step yet; or nil and what is wrong with the options.
function open.plan(owner, target, given, ask)
  local state = connection.new(nil)
  state.owner = owner
  local wrong = planning.prepare(state, target, given, ask)
  if wrong then return nil, wrong end
  return state
end

--- dial(state): begins what was planned.
function open.dial(state) begin(state) end

--- ask(state, planned): makes the next request on this connection, as planned with another state, whose owner is this
-- one's from now on. Returns whether it could.
function open.ask(state, planned)
  if not native.ask(state.session, planned.plan.parameters) then return false end
  state.plan, state.opening, state.owner = planned.plan, planned.opening, planned.owner
  state.step, state.answered, state.deadline = negotiate, nil, clock.now() + state.opening.upgrade_timeout
  return true
end

--- again(state, target, given): the step that begins another attempt, with the options as they are now.
function open.again(state, target, given)
  local wrong = planning.prepare(state, target, given)
  if wrong then return fail(state, nil, wrong, "options") end
  if state.phase == "connecting" then begin(state) end -- reading an inherited option can close the connection
  return false, false, NOTHING_TO_WAIT_FOR
end

--- raised(state, err): ends an attempt in which the user's connect function, or a debug hook, has raised an error.
function open.raised(state, err)
  if state.phase ~= "connecting" then return end -- user code has closed it before
  local text = guard.text(err) or type(err)
  if state.plan then
    fail(state, nil, text)
  else -- it has not begun: it is still waited for
    connection.attempt_failed(state, { text = text })
  end
end

--- cancel(state): ends an attempt because the user has closed the connection.
function open.cancel(state)
  drop(state)
  connection.closed(state, "not connected", nil)
end

return open
