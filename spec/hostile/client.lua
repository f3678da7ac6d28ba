-- Endures one attack of spec/support/hostile.lua over a real socket, in a process of its own, and prints what it has
-- seen and what it has cost, as Lua source:
--
--   LUA client.lua NUMBER URL native|user CALM_URL
--
-- Run by run.lua. Time is the processor's, which other processes do not lengthen by much; a call that waits may take a
-- tenth of that time in addition. Memory is what the kernel says of the whole process. What a calm peer costs comes
-- first and does not count: to open a connection with TLS, OpenSSL reads all authorities of the system.

local hostile = require "spec.support.hostile"
local luws = require "luws"
local measure = require "spec.support.measure"

local number, url, kind, calm = tonumber(arg[1]), arg[2], arg[3], arg[4]
local attack = hostile.attacks[number]
luup = { log = function() end } -- luacheck: ignore

--- Returns the most memory that the process has had so far, in KiB.
local function peak() return measure.status "VmHWM" end

local WAITING = 0.1 -- of the time that a call lasts

local longest, where, heap, opening = 0, nil, 0, 0

--- Notes what a call has cost, with what the clocks showed at its beginning. Returns its results.
local function measured(f, began, cpu, ...)
  local took = os.clock() - cpu
  took = took - WAITING * math.max(0, luws.gettime() - began - took)
  if f == luws.wsopen then took = took - opening end
  if took > longest then longest, where = took, f end
  heap = math.max(heap, collectgarbage "count")
  return ...
end

local meter = { now = luws.gettime }
function meter.around(f, ...) return measured(f, luws.gettime(), os.clock(), f(...)) end

local options = {}
if kind == "user" then
  local socket = require "socket"
  function options.connect(host, port) return socket.connect(host, port) end
end
if attack.proxy then
  local host, port = url:match "^ws://([^:]+):(%d+)/"
  if attack.proxy == true then
    options.sockproxy = { host = host, port = tonumber(port), required = true }
    for name, value in pairs(attack.options and attack.options.sockproxy or {}) do options.sockproxy[name] = value end
  else
    options.proxy = ("%sme:secret@%s:%s"):format(attack.proxy, host, port)
  end
end

for _ = 1, 2 do -- the second time, everything that is done once is done
  local cpu = os.clock()
  local conn = assert(luws.wsopen(calm, nil, { connect = options.connect, close_timeout = 0 }))
  opening = os.clock() - cpu
  luws.wsclose(conn)
end
collectgarbage()
collectgarbage()
local before, heap_before = peak(), collectgarbage "count"
local seen = hostile.endure(attack, luws, url, meter, options)
luws.wsclose(seen.conn)

local names = {}
for name, f in pairs(luws) do names[f] = name end
local function quoted(value) return value == nil and "nil" or ("%q"):format(value) end
print(("return { refused = %s, told = %s, sent = %s, ends = %d, messages = %d, controls = %d, most = %d, calls = %d,")
  :format(quoted(seen.refused), quoted(seen.told), quoted(seen.sent), seen.ends or 0, seen.counts.messages,
    seen.counts.controls, seen.most, seen.calls)
  .. (" seconds = %.6f, longest = %.6f, where = %s, kib = %d, heap = %d }")
  :format(seen.seconds, longest, quoted(names[where] or "?"), peak() - before, heap - heap_before))
