-- Recordings, for everything.lua: each function of luws.record, files that are whole and that are not, and recordings
-- that are dropped while they are at work.

local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"
local WebSocket = require "luws.websocket"

local URL = "ws://hub.test/"

local function conversation()
  local net = mock.net()
  net:listen(URL, mock.echo())
  local path = os.tmpname()
  os.remove(path)
  local rec = assert(record.new { file = path, clock = net, seed = 1 })
  local function handler(conn, opcode, data)
    if opcode == 1 and #data < 20 then luws.wssend(conn, 2, data .. rec:random(9)) end
  end
  local told = 0
  rec:on("message", function(_, row) return { note = #row.data } end)
  local options = net:options { send_handler = function() told = told + 1 end }
  local conn = assert(luws.wsopen(URL, rec:handler("a", handler), rec:options(options)))
  luws.wssend(conn, 1, "hello")
  luws.wssend(conn, 2, ("\0\255"):rep(20000))
  local box = rec:outbox {
    conn = "a", ack = function(data) return tonumber(data) end, retry = 5, reactor = net.reactor,
  }
  box:send "1"
  local pulse = rec:heartbeat { conn = "a", reactor = net.reactor, interval = 1 }
  net:advance(3)
  assert(told >= 3 and pulse.last == 0 and box:count() == 0)
  pulse:stop()
  box:stop()
  luws.wsclose(conn)
  net:settle()
  assert(rec:close())
  local loaded = assert(record.load(path))
  assert(loaded:count() == rec:count() and loaded:dump() == rec:dump())
  loaded:replay { handlers = { a = handler }, compare = "loose" }
  assert(record.fold.combine(loaded:state(), { rows = 1 }).rows == loaded:count() + 1)
  assert(record.fold.default(nil, loaded:row(1)).rows == 1)
  local other = mock.net()
  other:listen(URL, { record = path, compare = "off" })
  assert(luws.wsopen(URL, nil, other:options()))
  other:settle()
  os.remove(path)
end

local function object()
  local net = mock.net()
  net:listen(URL, mock.echo())
  local rec = record.new { clock = net, memory = 1000 }
  local ws = rec:attach(WebSocket(URL, nil, net:options()))
  function ws.onopen() ws:send { 0, 255 } end
  net:run()
  assert(rec:row(4).data == "\0\255")
  -- It is dropped as it is.
end

local function branches()
  local net = mock.net()
  net:listen(URL)
  local rec = record.new { clock = net }
  rec:write { out = "open", conn = "a", url = URL, outside = true }
  rec:write { ["in"] = "open", conn = "a" }
  for i = 1, 2100 do rec:write { ["in"] = "message", conn = "a", text = "message " .. i } end
  local branch = rec:branch(1500)
  assert(branch:replay { handlers = { a = function() end }, live = net:options() })
  assert(branch:state().conns.a.opened == 2 and rec:state(1000).rows == 1000)
end

local function files()
  local path = os.tmpname()
  for _, text in ipairs {
    "", "x", '{"luws":"record/1"}\n{"row":1,"t":0', '{"luws":"record/1"}\n\0\0\n', '{"luws":"record/9"}\n',
    '{"luws":"record/1"}\n{"row":1,"t":0,"base64":"?"}\n',
  } do
    local file = io.open(path, "wb")
    file:write(text)
    file:close()
    local rec = record.load(path, { damaged = "skip" })
    if rec then rec:replay() end
  end
  os.remove(path)
  assert(not record.new { file = "/dev/full" })
end

return { { "a conversation", conversation }, { "an object", object }, { "branches", branches }, { "files", files } }
