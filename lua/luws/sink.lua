--[[
Passes messages to an LTN12 sink piece by piece: calls the option sink, and the sinks that it returns. If a sink fails,
the caller must end the connection, because nobody takes the rest of the message.
--]]

local native, import = ...
local guard, log, options = import("guard"), import("log"), import("options")

local sink = {}

options.register {
  { "sink", nil, options.callable }, -- sink(conn, opcode): returns an LTN12 sink for a new message, or nil
}

--- begin(conn, state, opcode): asks the user for a sink at the beginning of a message.
function sink.begin(conn, state, opcode)
  local choose = options.of(conn).sink
  local number = (state.announced or 0) + 1
  state.announced = number
  if choose == nil then return native.done(state.session) end
  local ok, chosen = guard.call_yielding(state, guard.for_yielding(state, choose), conn, opcode)
  if not ok then log.handler_failed(("the option sink of %s raised an error"):format(guard.name(conn)), chosen) end
  if not ok or state.phase == "closed" or chosen == nil or chosen == false then return end
  if not guard.is_callable(chosen) then
    log.error("the sink of %s is not a function but a %s", guard.name(conn), type(chosen))
    return
  end
  -- During that call, another coroutine may have received.
  if state.announced == number and native.stream(state.session) then
    state.sink = chosen
  else
    log.error("the sink of %s came too late: its message has gone to the handler", guard.name(conn))
  end
end

--- reason(ok, why): returns why a sink has failed: it has raised an error, or returned `why`.
local function reason(ok, why)
  if not ok then return why:match("^(.-)\nstack traceback:") or why end
  if why == nil then return "it gave no reason" end
  return guard.has_text(why) and guard.text(why) or "an error that is a " .. type(why)
end

--- give(conn, state, taker, data, err): gives a sink a piece, or the end of its message. Returns nil; or, if the sink
-- has failed, why. It gets nothing more then.
local function give(conn, state, taker, data, err)
  local number = state.announced
  local callee = guard.for_yielding(state, taker)
  if data ~= nil and state.phase == "closed" then return nil end -- a finaliser has closed it
  local ok, taken, why = guard.call_yielding(state, callee, data, err)
  if ok and (taken or data == nil) then return nil end
  -- During that call, another coroutine may have received, and another message may have begun.
  if state.sink == taker and state.announced == number then state.sink = nil end
  why = reason(ok, ok and why or taken)
  log.handler_failed(("the sink of %s failed"):format(guard.name(conn)), ok and why or taken)
  return "sink failed: " .. why
end

--- piece(conn, state, data, last): gives the sink, if there still is one, a piece of its message. Returns nil; or, if
-- the sink has failed, why.
function sink.piece(conn, state, data, last)
  local taker = state.sink
  if not taker then return native.done(state.session) end
  -- A message that begins during the call of the sink belongs to another sink.
  if last then state.sink = nil end
  local why
  if data == "" then native.done(state.session) else why = give(conn, state, taker, data) end
  if last and not why then why = give(conn, state, taker, nil) end
  return why
end

--- break_off(conn, state, err): tells the sink why the rest of its message will not come.
function sink.break_off(conn, state, err)
  local taker = state.sink
  state.sink = nil
  give(conn, state, taker, nil, err)
end

return sink
