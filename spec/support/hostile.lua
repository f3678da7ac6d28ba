-- A program that endures hostile peers. hostile_spec.lua plays them in memory and counts; spec/hostile plays them over
-- real sockets and measures time and memory.
--
--   for _, attack in ipairs(hostile.attacks) do -- hostile_attacks.lua
--     local steps = hostile.script(attack, 1)   -- for a scripted peer
--     local seen = hostile.endure(attack, luws, url, meter, options)
--   end
--
-- It knows the module's API. It knows nothing of sockets or clocks.

local hostile = {}

hostile.attacks = require "spec.support.hostile_attacks"

--- The most events of a call.
hostile.MOST_EVENTS = 1000

-- The upgrade of a peer that compresses.
local DEFLATE = { "upgrade", headers = { "Sec-WebSocket-Extensions: permessage-deflate" } }

--- script(attack, scale): returns the steps of the peer, with the upgrade that the attack needs.
function hostile.script(attack, scale)
  local steps = attack.steps(scale)
  local first = steps[1][1]
  if first ~= "request" and first ~= "upgrade" and not attack.proxy then
    table.insert(steps, 1, attack.deflate and DEFLATE or { "upgrade" })
  end
  return steps
end

--- endure(attack, luws, url, meter, options): opens a connection to the peer and endures it. `meter` has now() (seconds
-- on a clock) and around(f, ...), which calls f, measures what it likes, and returns f's results; `options` are
-- further options of wsopen. Returns what has happened: refused (the error of wsopen), told (the last error that the
-- handler was told), ends (how often it was told one), sent (the error of the last wssend), counts (of messages and
-- controls), most (events of one call), calls, seconds (from the beginning to the end), conn.
function hostile.endure(attack, luws, url, meter, options)
  local seen = { counts = { messages = 0, controls = 0 }, most = 0, calls = 0 }
  local counts, events = seen.counts, 0
  local given = { deflate = attack.deflate }
  for name, value in pairs(attack.options or {}) do given[name] = value end
  for name, value in pairs(options or {}) do given[name] = value end
  function given.control_handler()
    counts.controls, events = counts.controls + 1, events + 1
  end
  local function handler(_, opcode, data)
    if not opcode then
      seen.told, seen.ends = data, (seen.ends or 0) + 1
      return
    end
    counts.messages, events = counts.messages + 1, events + 1
  end

  local client = { seen = seen }
  function client.call(name, ...)
    local before = events
    seen.calls = seen.calls + 1
    local first, second, third = meter.around(luws[name], ...)
    seen.most = math.max(seen.most, events - before)
    return first, second, third
  end

  --- Receives until the connection is over, for `seconds`, or, if `is_timed`, until a time-out.
  function client.receive(seconds, is_timed)
    local deadline = seconds and meter.now() + seconds or math.huge
    while meter.now() < deadline do
      local more, why = client.call("wsreceive", client.conn)
      if more == nil and (is_timed or why ~= "message timeout") then break end
      if not more then client.call("wswait", client.conn, math.min(0.1, deadline - meter.now())) end
    end
  end

  local began = meter.now()
  client.conn, seen.refused = client.call("wsopen", url, handler, given)
  if client.conn then
    seen.conn = client.conn
    began = meter.now()
    local act = attack.act or function() client.receive() end
    act(client)
  end
  seen.seconds = meter.now() - began
  return seen
end

return hostile
