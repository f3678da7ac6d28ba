--[[
Messages that go to an LTN12 sink as they come: the option sink, and what it returned for a message.
--]]

local native, import = ...
local guard, log, options = import("guard"), import("log"), import("options")

local sink = {}

options.register {
  { "sink", nil, options.callable }, -- sink(conn, opcode): an LTN12 sink for the message that begins, or nil
}

--- begin(conn, state, opcode): a message begins: asks the user for a sink.
function sink.begin(conn, state, opcode)
  local choose = options.of(conn).sink
  local number = (state.announced or 0) + 1
  state.announced = number
  if choose == nil then return native.done(state.session) end
  local ok, chosen = guard.call_yielding(state, guard.for_yielding(state, choose), conn, opcode)
  if not ok then log.handler_failed(("the option sink of %s raised an error"):format(guard.name(conn)), chosen) end
  if not ok or state.phase == "closed" or chosen == nil or chosen == false then return end
  if not guard.is_callable(chosen) then
    log.error("the sink of %s is no function but a %s", guard.name(conn), type(chosen))
    return
  end
  -- While the user was asked, others may have received.
  if state.announced == number and native.stream(state.session) then
    state.sink = chosen
  else
    log.error("the sink of %s comes too late: its message went to the handler meanwhile", guard.name(conn))
  end
end

--- give(conn, state, taker, data, err): gives a sink a piece, or its end. One that fails gets no more, and the rest of
-- its message goes nowhere. Whether it takes more.
local function give(conn, state, taker, data, err)
  local number = state.announced
  local callee = guard.for_yielding(state, taker)
  if data ~= nil and state.phase == "closed" then return false end -- a finaliser has closed it
  local ok, taken, why = guard.call_yielding(state, callee, data, err)
  if ok and (taken or data == nil) then return true end
  -- While it was at it, others may have received, and the message may be over.
  if state.sink == taker and state.announced == number then
    state.sink = nil
    if state.phase ~= "closed" then native.forget(state.session) end
  end
  log.handler_failed(("the sink of %s failed"):format(guard.name(conn)), ok and (guard.text(why) or "?") or taken)
  return false
end

--- piece(conn, state, data, last): gives the sink, if there is still one, what came of its message.
function sink.piece(conn, state, data, last)
  local taker = state.sink
  if not taker then return native.done(state.session) end
  -- What begins while it is at it is another's.
  if last then state.sink = nil end
  if data == "" then native.done(state.session) end
  if (data == "" or give(conn, state, taker, data)) and last then give(conn, state, taker, nil) end
end

--- break_off(conn, state, err): tells the sink that the end of its message will not come, and why.
function sink.break_off(conn, state, err)
  local taker = state.sink
  state.sink = nil
  give(conn, state, taker, nil, err)
end

return sink
