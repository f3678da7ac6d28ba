-- Peers that mean harm, in memory: each ends as it must, when it must, and every call does a bounded amount of work and
-- holds a bounded number of bytes. `make hostile` measures the same over real sockets, in seconds and bytes.

local hostile = require "spec.support.hostile"
local world = require "spec.support.world"

-- Bytes that a session may hold between calls if the attack says nothing: a read, and the unsent pongs (SECURITY.md).
local HELD = (256 + 64) * 1024

--- Plays an attack. Returns what was seen, and the most bytes that the session has held between two calls.
local function play(attack, scale)
  local w = world.new()
  local held, state_of = 0, w.import("quick").state_of
  local peer = w:play(hostile.script(attack, scale))
  local function measured(...)
    local conn = w.conn_of_handler
    local state = conn and state_of(conn)
    if state and state.session then
      held = math.max(held, w.native.incoming(state.session) + w.native.outgoing(state.session))
    end
    return ...
  end
  local meter = {
    now = w.clock.now,
    around = function(f, conn, ...)
      if type(conn) == "table" then w.conn_of_handler = conn end
      return measured(f(conn, ...))
    end,
  }
  local options = attack.proxy == true and { sockproxy = { required = true } } or {}
  if type(attack.proxy) == "string" then options.proxy = attack.proxy .. "me:secret@peer.test" end
  for name, value in pairs(options.sockproxy and attack.options and attack.options.sockproxy or {}) do
    options.sockproxy[name] = value
  end
  local seen = hostile.endure(attack, w.luws, peer.url, meter, options)
  w.luws.wsclose(seen.conn)
  return seen, held
end

describe("a peer that", function()
  for _, attack in ipairs(hostile.attacks) do
    it(attack.name, function()
      local seen, held = play(attack, 1)
      assert.equal(attack.refused, seen.refused)
      assert.equal(attack.told, seen.told)
      assert.equal(attack.sent, seen.sent)
      assert.is_true((seen.ends or 0) <= 1, "it ends once")
      if attack.counts then assert.same(attack.counts(1), seen.counts) end
      assert.is_true(seen.most <= hostile.MOST_EVENTS, ("%d events in one call"):format(seen.most))
      assert.is_true(held <= (attack.held or HELD), ("%d bytes are held"):format(held))
      if attack.deadline then assert.near(attack.deadline, seen.seconds, 0.15) end
    end)
  end
end)
