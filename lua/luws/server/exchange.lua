--[[
The requests on a connection that a server has accepted, until one of them becomes a WebSocket or the connection ends:
the steps that drive takes while it is "connecting". Reads a request, asks the handlers, answers, and reads the next
one. Every wait has a deadline. What the handlers say is checked in responses; what a server is, is in owner.

  head       a request is being read, or waited for
  asked      the program answers it later
  answering  the response is being sent
--]]

local native, import = ...
local clock, close, connection, guard, log = import("clock"), import("close"), import("connection"), import("guard"),
  import("log")
local files, requests, responses, upgrades = import("server/files"), import("server/request"),
  import("server/responses"), import("server/upgrade")

local exchange = {}

local EVENT = native.event_numbers()

-- How many bytes are read at a time, and about how many may wait while a request is answered later.
local READ = 16384

-- How long a connection is kept for the next request (in seconds), and how many requests it is kept for.
local KEEP_ALIVE, MOST_REQUESTS = 5, 100

-- The options of an upgrade that request:accept was not called for.
local PLAIN = upgrades.options()

--- abort(state, request): tells the program of a request that it is not going to answer any more; nil for none.
local function abort(state, request)
  local handlers = state.exchange.handlers
  local on_abort = request and handlers and handlers.on_abort
  if not on_abort then return end
  local ok, err = guard.free(on_abort, request)
  if not ok then log.handler_failed("on_abort of a server raised an error", err) end
end

--- give_up(state): a request that was accepted later does not become a WebSocket after all, or not one that on_open is
-- told of.
function exchange.give_up(state)
  local on_fail = state.exchange.on_fail
  state.exchange.on_fail = nil
  if not on_fail then return end
  local ok, err = guard.free(on_fail)
  if not ok then log.handler_failed("the on_fail of a request raised an error", err) end
end

--- finish(state, why): ends a connection that has not become a WebSocket. What is queued has been sent; what the peer
-- still sends is read for a while, for unread bytes would destroy the response on its way.
local function finish(state, why)
  local ex = state.exchange
  local file, request = ex.file, ex.request
  if file then file:close() end
  ex.file, ex.request = nil, nil
  close.finish(state, why, nil, true)
  abort(state, request)
end

--- open(response): opens the file of a response. Returns what reads it, and its length; or nil and the response that
-- takes its place.
local function open(response)
  local file, length = files.open(response)
  if file then return file, length end
  if not length then return nil, responses.not_found() end
  log.error("a file cannot be sent: %s", length)
  return nil, responses.refusal(500, "internal server error")
end

--- answer(state, response): sends a response to the present request. One that a handler has got wrong becomes a 500.
local function answer(state, response)
  local ex = state.exchange
  local request, owner = ex.request, state.owner
  exchange.give_up(state)
  if ex.request ~= request then return end -- the program has closed the server, which has answered
  local status, headers, body = responses.prepare(response)
  if not status then
    log.error("the response to a request for %s is not valid: %s", log.bytes(request.target), headers)
    return answer(state, responses.refusal(500, "internal server error"))
  end
  local file, length = nil, #body
  if files.is_file(response) then
    file, length = open(response)
    if not file then return answer(state, length) end
  end
  ex.count, ex.request = ex.count + 1, nil
  local keeps = not (ex.ends or owner:is_closing() or ex.count >= MOST_REQUESTS or response.is_last)
  local is_head = request.method == "HEAD"
  local ok, goes_on = native.reply(state.session, status, headers, is_head and "" or body, length, keeps)
  if file and (is_head or not ok) then
    file:close()
    file = nil
  end
  if not ok then return finish(state, goes_on) end
  ex.stage, ex.goes_on, ex.file = "answering", goes_on, file
  native.take_back(state.session)
  state.deadline = math.huge -- the peer has to take it (stuck)
  -- Last, for it may close the server.
  if response.is_refusal then owner:refused(ex.place, request, status, (body:gsub("\n$", ""))) end
end

local function refuse(state, status, text) answer(state, responses.refusal(status, text)) end

--- give_up_request(state, status, text): refuses a request that is not complete, or not answered yet.
local function give_up_request(state, status, text)
  local ex = state.exchange
  local request = ex.request
  ex.request = request or { method = "GET", target = "" } -- the head is not complete
  refuse(state, status, text)
  abort(state, request)
end

--- called(state, what, f, ...): calls a handler. Returns true and what it returns; false if the request is not to be
-- answered any more: the handler has raised an error, or it has closed the server.
local function called(state, what, f, ...)
  local request = state.exchange.request
  local ok, result = guard.free(f, ...)
  if not ok then log.handler_failed(what .. " of a server raised an error", result) end
  if state.phase ~= "connecting" or state.exchange.request ~= request then return false end
  if not ok then refuse(state, 500, "internal server error") end
  return ok, result
end

--- upgrade(state, given): opens the WebSocket that a request asks for, or refuses it. `given` are the options of
-- request:accept.
local function upgrade(state, given)
  local ex = state.exchange
  local status, text = upgrades.problem(state)
  if status then return refuse(state, status, text) end
  local is_open, headers, subprotocol = upgrades.terms(ex, given, function(...) return called(state, ...) end)
  if not is_open then return end
  if not headers then return refuse(state, 500, "internal server error") end
  if state.owner:is_closing() then return refuse(state, 503, "the server is shutting down") end
  local ok, why = native.open(state.session, subprotocol, headers)
  if not ok then return finish(state, why) end
  ex.subprotocol = subprotocol
  connection.opened(state)
end

--- go_on(state, response): does what a handler has decided: nil opens the WebSocket.
local function go_on(state, response)
  if response == nil or response == true then return upgrade(state, PLAIN) end
  answer(state, response)
end

--- wait_for_answer(state): leaves a request to be answered by its methods.
local function wait_for_answer(state)
  local ex = state.exchange
  local request = ex.request
  ex.stage = "asked"
  native.take_back(state.session)
  state.deadline = clock.now() + ex.handlers.answer_timeout
  -- What is decided outside of a turn is done in the next one.
  local function decide(f, given, on_fail)
    if ex.request ~= request or state.phase ~= "connecting" or ex.decided then return nil, "the request is over" end
    ex.decided, ex.on_fail = function() f(state, given) end, on_fail
    request.answer, request.asked = nil, nil
    if state.item then state.item:notice() end
    return true
  end
  request.answer = {
    accept = function(given)
      local read, wrong = upgrades.options(given)
      if not read then return nil, wrong end
      return decide(upgrade, read, read.on_fail)
    end,
    respond = function(response) return decide(answer, response) end,
  }
end

--- ask(state): asks the handlers about a request that is complete.
local function ask(state)
  local ex = state.exchange
  local request = ex.request
  local on_request = ex.handlers.on_request
  if not on_request then return go_on(state, nil) end
  request.asked = function() return upgrades.problem(state) end
  local ok, response = called(state, "on_request", on_request, request)
  if ok and response == responses.LATER then return wait_for_answer(state) end
  request.asked = nil
  if not ok then return end
  go_on(state, response)
end

--- begin_request(state): deals with the head of a request.
local function begin_request(state)
  local ex, owner = state.exchange, state.owner
  ex.request, ex.ends = requests.new(state, ex.place, owner.trusted)
  native.done(state.session)
  ex.handlers = owner:handlers_for(ex.request.path)
  local on_head = ex.handlers.on_head
  if on_head then
    local goes_on, response = called(state, "on_head", on_head, ex.request)
    if not goes_on then return end
    if response ~= nil and response ~= true then return answer(state, response) end
  end
  local ok, status, text = native.take_body(state.session, ex.handlers.max_body)
  if not ok then return give_up_request(state, status or 400, text or status) end
  if not ex.handlers.methods[ex.request.method] then
    return answer(state, {
      status = 405, body = "the method is not allowed\n", headers = { Allow = ex.handlers.methods.allow },
      is_refusal = true,
    })
  end
end

--- next_event(state): deals with one event. Returns whether there was one.
local function next_event(state)
  local ex = state.exchange
  local event, data = native.next(state.number)
  if not event then return false end
  if event == EVENT.request then
    begin_request(state)
  elseif event == EVENT.body then
    native.done(state.session)
    ex.request.body = data ~= "" and data or nil
    ask(state)
  else -- it cannot be read, or TLS has failed; the engine has queued the answer
    native.done(state.session)
    local _, _, _, status = native.failure(state.session)
    local request = ex.request
    ex.stage, ex.goes_on, ex.why, ex.request = "answering", false, data, nil
    state.deadline = math.huge
    state.owner:refused(ex.place, request, status, data)
    abort(state, request)
  end
  return true
end

--- is_answered(state, written): goes on with sending a response. Returns whether all of it was sent.
local function is_answered(state, written)
  local ex = state.exchange
  if not written then return false end
  local file = ex.file
  if not file then return true end
  local piece = file:read()
  if piece then
    native.send_body(state.session, piece)
    return false
  end
  file:close()
  ex.file = nil
  if file.left > 0 then ex.goes_on = false end -- it has become shorter: only the end of the connection can tell
  return true
end

--- next_request(state, now): after a response, waits for another request, or ends the connection.
local function next_request(state, now)
  local ex = state.exchange
  if not ex.goes_on or state.owner:is_closing() then return finish(state, ex.why or "answered") end
  ex.stage, ex.has_begun = "head", false
  state.deadline = now + KEEP_ALIVE
end

--- timed_out(state): gives up a request that the client or the program has not completed in time.
local function timed_out(state)
  local ex = state.exchange
  if ex.stage == "asked" then
    log.warning("a request for %s was not answered in time", log.bytes(ex.request.target))
    return give_up_request(state, 503, "the request was not answered in time")
  end
  if not (ex.has_begun or ex.request) then return finish(state, "timeout") end
  give_up_request(state, 408, "the request was not complete in time")
end

--- read(state): reads, unless the peer is to wait. Returns how many bytes have come, and whether there may be more.
local function read(state)
  local ex = state.exchange
  local is_full = ex.stage == "asked" and native.incoming(state.session) >= READ
  if ex.stage == "answering" or is_full then return nil, false end
  local count, more = connection.read(state, READ)
  -- Where no event is asked for, what has come stays, in no more storage than it needs.
  if count and ex.stage == "asked" then native.take_back(state.session) end
  return count, more
end

--- send_on(state, written, now): a step while a response is being sent. Returns the results of a step.
local function send_on(state, written, now)
  if is_answered(state, written) then
    next_request(state, now)
    return false, false, now
  end
  local limit = (state.stuck or now) + state.opening.upgrade_timeout
  if state.stuck and now >= limit then
    finish(state, "timeout")
    state.lingering.deadline = now -- the rest would not be taken either
    return false, false, now
  end
  return false, true, written and now or limit
end

--- step(state, now): takes a step. Returns the results of connection.advance.
function exchange.step(state, now)
  local ex, session = state.exchange, state.session
  local written, why = connection.write(state)
  if not written and why ~= "timeout" then
    finish(state, why)
    return false, false, now
  end
  if ex.stage == "answering" then return send_on(state, written, now) end
  if ex.decided then
    local decided = ex.decided
    ex.stage, ex.decided = "head", nil
    decided()
    return false, false, now
  end
  local count, more = read(state)
  if ex.stage == "head" then
    if not ex.has_begun and native.incoming(session) > 0 then
      ex.has_begun = true
      if ex.count > 0 then state.deadline = now + state.opening.upgrade_timeout end
    end
    if next_event(state) then return false, false, now end
  end
  if state.ended then
    finish(state, state.ended)
    return false, false, now
  end
  if now >= state.deadline then
    timed_out(state)
    return false, false, now
  end
  -- What has come may have to be answered by TLS, and nobody tells that there still is room for that.
  local is_sendable = native.sendable(session) > 0
  local goes_on = count and (count > 0 or more) and ex.stage == "head" or is_sendable and written
  return true, is_sendable, goes_on and now or state.deadline
end

--- begin(state, place): begins with a connection that was just accepted.
function exchange.begin(state, place)
  state.exchange = {
    place = place, stage = "head", has_begun = false, count = 0, request = nil, handlers = nil, ends = false,
    decided = nil, on_fail = nil, goes_on = true, file = nil, why = nil, subprotocol = nil,
  }
  state.step = exchange.step
  state.deadline = clock.now() + state.opening.upgrade_timeout
end

--- shut_down(state): the server is being closed: a request that has begun is refused, and others are not waited for.
function exchange.shut_down(state)
  local ex = state.exchange
  if ex.stage == "answering" or ex.decided then return end -- it ends after the response
  local is_waiting = ex.stage == "head" and not ex.request and not ex.has_begun and native.incoming(state.session) == 0
  if is_waiting then return finish(state, "closed") end
  give_up_request(state, 503, "the server is shutting down")
  if state.item then state.item:notice() end
end

return exchange
