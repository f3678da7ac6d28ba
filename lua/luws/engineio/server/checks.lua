--[[
What a request to an engine may be refused for, in the order in which that is asked: the errors of npm's engine.io. An
Origin with control characters (INVALID_ORIGIN there) does not come so far: luws.server refuses it.
--]]

local _, import = ...
local guard, log = import("guard"), import("log")

local checks = {}

--- The errors by their numbers, and their words.
checks.UNKNOWN_TRANSPORT, checks.UNKNOWN_SID, checks.BAD_METHOD, checks.BAD_REQUEST = 0, 1, 2, 3
checks.FORBIDDEN, checks.UNSUPPORTED = 4, 5
checks.MESSAGES = {
  [0] = "Transport unknown", "Session ID unknown", "Bad handshake method", "Bad request", "Forbidden",
  "Unsupported protocol version",
}

--- revision(request): returns the revision of the protocol that a request is of.
function checks.revision(request) return request.query_table.EIO == "4" and 4 or 3 end

--- of_kind(answer): checks whether a request asks for a WebSocket if, and only if, its transport is one. Returns the
-- number of the error and its context, or nil.
local function of_kind(answer)
  if answer.is_upgrade == (answer.request.query_table.transport == "websocket") then return nil end
  return checks.BAD_REQUEST, { name = "TRANSPORT_HANDSHAKE_ERROR" }
end

--- of_session(session, answer): checks a request of a session. Returns the number of the error and its context, or nil.
function checks.of_session(session, answer)
  local request = answer.request
  local transport, previous = request.query_table.transport, session.transport.name
  if not answer.is_upgrade and previous ~= transport then
    return checks.BAD_REQUEST, { name = "TRANSPORT_MISMATCH", transport = transport, previousTransport = previous }
  end
  local protocol = checks.revision(request)
  if session.protocol ~= protocol then
    return checks.BAD_REQUEST,
      { name = "PROTOCOL_MISMATCH", protocol = protocol, previousProtocol = session.protocol }
  end
  return of_kind(answer)
end

--- ask_program(engine, request, f): asks allowRequest about a handshake.
local function ask_program(engine, request, f)
  local allow, is_answered = engine.own.allowRequest, false
  if not allow then return f() end
  local function answered(err, is_allowed)
    if is_answered then return end
    is_answered = true
    if is_allowed then return f() end
    f(checks.FORBIDDEN, { message = err })
  end
  local ok, err = guard.free(allow, request, answered)
  if ok then return end
  log.handler_failed("allowRequest of an engine raised an error", err)
  answered(nil, false)
end

--- verify(engine, answer, f): checks a request. Calls f(), or f(number, context) for an error, now or later.
function checks.verify(engine, answer, f)
  local request = answer.request
  local query = request.query_table
  if not engine.has_transport[query.transport] then
    return f(checks.UNKNOWN_TRANSPORT, { transport = query.transport })
  end
  if query.sid and query.sid ~= "" then
    local session = engine.clients[query.sid]
    if not session then return f(checks.UNKNOWN_SID, { sid = query.sid }) end
    return f(checks.of_session(session, answer))
  end
  if request.method ~= "GET" then return f(checks.BAD_METHOD, { method = request.method }) end
  local number, context = of_kind(answer)
  if number then return f(number, context) end
  ask_program(engine, request, f)
end

return checks
