--[[
Messages that go to an LTN12 sink as they come: the option sink, and what it returned for a message.
--]]

local _, import = ...
local log, options, protect = import("log"), import("options"), import("protect")

local sink = {}

--- begin(conn, state, opcode): a message begins: asks the user for a sink.
function sink.begin(conn, state, opcode)
  local session, choose = state.session, options.read(options.of(conn), "sink")
  local number = state.announced + 1
  state.announced = number
  if choose == nil then return end
  local ok, chosen = protect.call(function() return choose(conn, opcode) end, protect.trace)
  if not ok then log.error("the option sink of %s raised an error: %s", protect.text(conn), chosen) end
  if not ok or state.session ~= session or chosen == nil or chosen == false then return end
  if options.callable(chosen) then
    log.error("the sink of %s is no function but a %s", protect.text(conn), type(chosen))
    return
  end
  -- While the user was asked, others may have received.
  if state.announced == number and session:stream() then
    state.sink = chosen
  else
    log.error("the sink of %s comes too late: its message went to the handler meanwhile", protect.text(conn))
  end
end

--- give(conn, state, taker, data, err): gives a sink a piece, or its end. One that fails gets no more, and the rest of
-- its message goes nowhere. Whether it takes more.
local function give(conn, state, taker, data, err)
  local number, session = state.announced, state.session
  local ok, taken, why = protect.call(function() return taker(data, err) end, protect.trace)
  if ok and (taken or data == nil) then return true end
  -- While it was at it, others may have received, and the message may be over.
  if state.sink == taker and state.announced == number then
    state.sink = nil
    if session and state.session == session then session:forget() end
  end
  log.error("the sink of %s failed: %s", protect.text(conn), ok and (protect.text(why) or "?") or taken)
  return false
end

--- piece(conn, state, data, last): gives the sink what came of its message.
function sink.piece(conn, state, data, last)
  local taker = state.sink
  -- What begins while it is at it is another's.
  if last then state.sink = nil end
  if (data == "" or give(conn, state, taker, data)) and last then give(conn, state, taker, nil) end
end

--- break_off(conn, state, err): tells the sink that the end of its message will not come, and why.
function sink.break_off(conn, state, err)
  local taker = state.sink
  state.sink = nil
  give(conn, state, taker, nil, err)
end

return sink
