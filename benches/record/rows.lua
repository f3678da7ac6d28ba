-- What recordings cost: writing rows, loading a file, replaying it, and a state in its middle. For each, the median of
-- some rounds, in rows per second.
--
--   LUA rows.lua [COUNT]    COUNT rows (100,000)
--
-- It fails if loading takes longer than a second or replaying is slower than 100,000 rows a second.

local luws = require "luws"
local record = require "luws.record"

local COUNT = tonumber((...)) or 100000
local ROUNDS = 5

-- The least that is accepted, in rows per second.
local LEAST = { load = 100000, replay = 100000 }

local path = os.tmpname()

local function clock() return 0 end

local function answer(number) return ('{"type":"answer","id":%d,"on":true}'):format(number) end

--- Writes a conversation of questions and answers.
local function write()
  os.remove(path)
  local rec = assert(record.new { file = path, flush = "close", clock = clock })
  rec:write { out = "open", conn = "hub", url = "ws://hub.test/", outside = true }
  rec:write { ["in"] = "open", conn = "hub", protocol = "v2" }
  for i = 1, COUNT / 2 - 1 do
    rec:write { ["in"] = "message", conn = "hub", text = ('{"type":"event","id":%d,"room":"hall"}'):format(i) }
    rec:write { out = "send", conn = "hub", text = answer(i) }
  end
  assert(rec:close())
end

local rec

local function load() rec = assert(record.load(path)) end

local function replay()
  local number = 0
  local ok, played = rec:replay { handlers = { hub = function(conn, opcode)
    if opcode ~= 1 then return end
    number = number + 1
    luws.wssend(conn, 1, answer(number))
  end } }
  assert(ok and played == COUNT, played)
end

local function state() assert(rec:state().rows == COUNT) end

local failed = false
for _, part in ipairs { { "write", write }, { "load", load }, { "replay", replay }, { "state", state } } do
  local name, f = part[1], part[2]
  local times = {}
  for round = 1, ROUNDS do
    if name == "state" then load() end -- otherwise it is known already
    collectgarbage()
    local began = os.clock()
    f()
    times[round] = os.clock() - began
  end
  table.sort(times)
  local rate = COUNT / times[(ROUNDS + 1) / 2]
  local is_slow = LEAST[name] and rate < LEAST[name]
  failed = failed or is_slow
  print(("%-7s %9.0f rows/s%s"):format(name, rate, is_slow and (", at least %d wanted"):format(LEAST[name]) or ""))
end
os.remove(path)
os.exit(failed and 1 or 0)
