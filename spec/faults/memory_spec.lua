-- What becomes of a conversation if the network fails in it: each fault, in each direction, at every byte at which that
-- makes a difference. In memory and in virtual time, so that deadlines are exact. sockets_spec.lua does the same over
-- real sockets.

local conversation = require "spec.support.conversation"
local outcome = require "spec.support.outcome"
local relay = require "spec.support.relay"
local servers = require "spec.support.servers"
local world = require "spec.support.world"

local WAYS = { "up", "down" }

-- A key whose signatures are always of the same length, so that each conversation has the same number of bytes.
local IDENTITY = { certificate = servers.leaf "client-rsa.pem" }
do
  local file = assert(io.open(servers.pki "client-rsa.key"))
  IDENTITY.key = file:read "*a"
  file:close()
end

--- Returns where a fault can make a difference after the opening: the first and the last bytes of each frame (over TLS,
-- of each record), as numbers of bytes.
local function positions(usual, way)
  local list, set = {}, {}
  local function add(first, last)
    for at = first, last do
      if not set[at] then list[#list + 1] = at end
      set[at] = true
    end
  end
  local base, before, size = usual.opening[way], 0, usual.passed(way)
  for _, each in ipairs(way == "up" and usual.sent or usual.said) do
    add(base + before, base + math.min(before + 3, each.mark))
    add(base + each.mark - 1, base + each.mark)
    before = each.mark
  end
  add(base + before, base + size)
  return list
end

--- Returns every nth number from the first up to the last one, and that.
local function every(n, first, last)
  local list = {}
  for at = first, last - 1, n do list[#list + 1] = at end
  list[#list + 1] = last
  return list
end

-- The interpreters share the places, unless LUWS_FAULTS=all says otherwise (make faults): this one's number, and how
-- many there are.
local SHARE, SHARES = rawget(_G, "jit") and 1 or _VERSION == "Lua 5.1" and 0 or 2, 3
if os.getenv "LUWS_FAULTS" == "all" then SHARE, SHARES = 0, 1 end

local SCHEMES = {
  { "ws", PROGRAMS = conversation.PROGRAMS, step = 7, thin = 3 },
  { "wss", PROGRAMS = { receives = true, sends = true, closes = true }, identity = IDENTITY, step = 97, thin = 6 },
}

--- each(scheme, faults, f): makes a spec for each program, fault, direction and kind of socket: calls f(how, usual) for
-- each place where the fault can begin.
local function each(scheme, faults, f)
  local w = world.new()
  local other = w:open(w:peer():echo())
  local heard = w.told
  local usuals = {} -- conversations without a fault, by program and kind of socket

  local function usual_of(how)
    local key = how.program .. tostring(how.users)
    usuals[key] = usuals[key] or conversation.play(w, how)
    return usuals[key]
  end

  for program in pairs(scheme.PROGRAMS) do
    for turn, fault in ipairs(faults) do
      for _, way in ipairs(fault == "crawls" and { "up" } or WAYS) do
        it(("%s %s while a program %s"):format(fault, way, program), function()
          for _, users in ipairs { false, true } do
            local how = { program = program, users = users, identity = scheme.identity }
            local usual = usual_of(how)
            -- All programs open in the same way.
            local places = program == "closes"
              and every(scheme.step * SHARES, scheme.step * SHARE, usual.opening[way]) or {}
            -- Each fault has others of the places, so that together they have them all.
            for i, at in ipairs(positions(usual, way)) do
              if (i + turn + scheme.thin * SHARE) % (scheme.thin * SHARES) == 0 then places[#places + 1] = at end
            end
            how.fault, how.way, how.seconds = fault, way, relay.SLOW[fault]
            for _, at in ipairs(places) do
              how.at = at
              f(how, conversation.play(w, how), usual)
            end
          end
          -- Another connection of the same process goes on, without waiting.
          local now, count = w.clock.now(), #heard
          assert.is_true(w.luws.wssend(other, 1, fault))
          w.luws.wswait(other, 1)
          w:receive_all(other)
          assert.same({ 1, fault }, heard[count + 1])
          assert.same({ now, count + 1 }, { w.clock.now(), #heard })
        end)
      end
    end
  end
end

for _, scheme in ipairs(SCHEMES) do
  describe(("over %s nothing is lost, doubled, late or left behind if the network"):format(scheme[1]), function()
    each(scheme, relay.FATAL, outcome.check)
  end)

  describe(("over %s nothing is lost or doubled if the network"):format(scheme[1]), function()
    each(scheme, { "pauses", "drips", "crawls" }, function(how, seen, usual)
      local seconds = how.fault == "drips" and how.seconds * usual.relay[how.way].passed or how.seconds
      outcome.check_slow(how, seen, usual, seconds)
    end)
  end)
end
