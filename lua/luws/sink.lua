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

--- feed(conn, state, data, err): gives the sink a piece (nil: the end; with `err`, a bad one). A sink that fails gets
-- no more, and the rest of its message goes nowhere.
function sink.feed(conn, state, data, err)
  local wanted, session = state.sink, state.session
  if data == nil then state.sink = nil end
  local ok, taken, why = protect.call(function() return wanted(data, err) end, protect.trace)
  if ok and (taken or data == nil) then return end
  state.sink = nil
  if data ~= nil and state.session and state.session == session then session:forget() end
  log.error("the sink of %s failed: %s", protect.text(conn), ok and (protect.text(why) or "?") or taken)
end

return sink
