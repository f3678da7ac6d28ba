-- Plays the attacks of spec/support/hostile.lua over real sockets, prints a table of what each has cost, and fails if
-- one has cost too much or has not ended as it must. `make hostile` runs it, on a machine that does nothing else:
--
--   LUA run.lua [PATTERN]: LUAS has the interpreters (lua5.1 luajit); PATTERN chooses among the attacks by their names
--
-- Each attack is endured in a process of its own: over ws and wss, by a native and by a user's socket. One that costs
-- too much time is played again, up to three times, and the best counts: what luws does is in every run, and what the
-- machine does besides is not.

local hostile = require "spec.support.hostile"
local scripted = require "spec.support.scripted"

local LONGEST = 0.010 -- s of processor time that one call may take, besides what client.lua does not count
local LATE = 0.15 -- s after a deadline
local KIB = 4096 -- growth of the process, if the attack says nothing
local TRIES = 3
local PATIENCE = 60 -- s for one attack

local PLACES = {
  { "ws", "native" }, { "ws", "user" }, { "wss", "native" }, { "wss", "user" },
}

local pattern = arg[1] or ""
local interpreters = {}
for lua in (os.getenv "LUAS" or "lua5.1 luajit"):gmatch "%S+" do interpreters[#interpreters + 1] = lua end

--- Plays an attack once. Returns what client.lua has seen; or nil and what went wrong.
local function play(number, attack, place, lua)
  local script = hostile.script(attack, attack.scale or 1)
  script.tls, script.deadline = place[1] == "wss", PATIENCE
  local peer, calm = scripted.peer(script), scripted.peer { { "upgrade" }, { "hold" }, tls = script.tls }
  local command = "timeout %d %s spec/hostile/client.lua %d %s %s %s 2>&1"
  local pipe = io.popen(command:format(PATIENCE, lua, number, peer.url, place[2], calm.url))
  local output = pipe:read "*a"
  pipe:close()
  peer:close()
  calm:close()
  local seen = (loadstring or load)(output:match "return {.*" or "") -- luacheck: ignore
  seen = seen and seen()
  if seen then return seen end
  return nil, output == "" and "it does not end" or output
end

--- Returns what is wrong with what was seen, as an array of texts; and whether only times are.
local function faults(attack, seen)
  local wrong, late = {}, {}
  local function differs(what, wanted, was)
    if wanted ~= was then wrong[#wrong + 1] = ("%s: %s, not %s"):format(what, tostring(was), tostring(wanted)) end
  end
  differs("refused", attack.refused, seen.refused)
  differs("told", attack.told, seen.told)
  differs("sent", attack.sent, seen.sent)
  local counts = attack.counts and attack.counts(attack.scale or 1)
  for name, count in pairs(counts or {}) do differs(name, count, seen[name]) end
  if seen.ends > 1 then wrong[#wrong + 1] = "it has ended more than once" end
  if seen.most > hostile.MOST_EVENTS then wrong[#wrong + 1] = ("%d events in one call"):format(seen.most) end
  if seen.kib > (attack.kib or KIB) then wrong[#wrong + 1] = ("%d KiB"):format(seen.kib) end
  if seen.longest > LONGEST then late[#late + 1] = ("%s took %.1f ms"):format(seen.where, seen.longest * 1000) end
  if attack.deadline and seen.seconds > attack.deadline + LATE then
    late[#late + 1] = ("ended after %.2f s, not %.2f"):format(seen.seconds, attack.deadline)
  end
  local are_times = #wrong == 0
  for _, fault in ipairs(late) do wrong[#wrong + 1] = fault end
  return wrong, are_times
end

--- Endures an attack. Returns the best of what was seen, and what is wrong with it.
local function endure(number, attack, place, lua)
  local best, wrong
  for _ = 1, TRIES do
    local seen, why = play(number, attack, place, lua)
    if not seen then return nil, { why } end
    local found, are_times = faults(attack, seen)
    if not best or #found < #wrong or #found == #wrong and seen.longest < best.longest then
      best, wrong = seen, found
    end
    if #wrong == 0 or not are_times then break end
  end
  return best, wrong
end

local failed = 0
for _, lua in ipairs(interpreters) do
  for _, place in ipairs(PLACES) do
    print(("\n%s, %s, %s socket:"):format(lua, place[1], place[2]))
    print("  call/ms     calls  most events      KiB   Lua KiB        s  a peer that")
    for number, attack in ipairs(hostile.attacks) do
      if attack.name:find(pattern, 1, true) and not (attack.proxy and (place[1] == "wss" or place[2] == "user")) then
        local seen, wrong = endure(number, attack, place, lua)
        if seen then
          print(("  %7.2f %9d %12d %8d %9d %8.2f  %s"):format(seen.longest * 1000, seen.calls, seen.most, seen.kib,
            seen.heap, seen.seconds, attack.name))
        end
        for _, fault in ipairs(wrong) do print("    WRONG: " .. attack.name .. ": " .. fault) end
        failed = failed + (#wrong > 0 and 1 or 0)
        io.stdout:flush()
      end
    end
  end
end
print(failed == 0 and "\nhostile: every peer was endured" or ("\nhostile: %d were not endured"):format(failed))
os.exit(failed == 0 and 0 or 1)
