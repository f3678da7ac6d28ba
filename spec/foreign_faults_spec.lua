-- options.connect: a socket that is a table with nothing behind it, and does only what LuaSocket promises: parts of
-- what it is asked for, "timeout", "wantread" and "wantwrite" at any time, and errors together with bytes.

local log = require "spec.support.log"
local luws = require "luws"
local mime = require "mime"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"

local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" -- RFC 6455 section 1.3

-- A WebSocket server without a network: a socket of which nothing is real.

local function accept_value(key)
  local pipe = assert(io.popen("printf %s '" .. key .. GUID .. "' | openssl dgst -sha1 -binary", "r"))
  local hash = pipe:read("*a")
  pipe:close()
  return (mime.b64(hash))
end

local function xor(a, b)
  local result, bit = 0, 1
  while a > 0 or b > 0 do
    if a % 2 ~= b % 2 then result = result + bit end
    a, b, bit = math.floor(a / 2), math.floor(b / 2), bit * 2
  end
  return result
end

--- The first frame in the bytes (masked, under 64 KiB): its opcode, its payload, and the rest; nil if incomplete.
local function parse_frame(bytes)
  if #bytes < 6 then return nil end
  local first, second = bytes:byte(1, 2)
  local size, at = second - 128, 3
  if size == 126 then
    size, at = bytes:byte(3) * 256 + bytes:byte(4), 5
  end
  if #bytes < at + 3 + size then return nil end
  local key, payload = { bytes:byte(at, at + 3) }, {}
  for i = 1, size do
    payload[i] = string.char(xor(bytes:byte(at + 3 + i), key[(i - 1) % 4 + 1]))
  end
  return first % 16, table.concat(payload), bytes:sub(at + 4 + size)
end

--- A socket with an echo server in it. faults.send(memory, bytes) and faults.receive(memory, max) may do the method's
-- work instead: what they return is returned, unless it is nothing.
local function memory_socket(faults)
  local memory = { inbox = "", outbox = "", closed = 0, late = 0, timeouts = {}, sends = 0, receives = 0, sent = "" }
  local upgraded = false

  local function serve()
    if not upgraded then
      local key, rest = memory.inbox:match("Sec%-WebSocket%-Key: (%S+)\r\n.-\r\n\r\n(.*)$")
      if not key then return end
      upgraded, memory.inbox = true, rest
      memory.outbox = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        .. "Sec-WebSocket-Accept: " .. accept_value(key) .. "\r\n\r\n"
    end
    local opcode, payload, rest = parse_frame(memory.inbox)
    while opcode do
      memory.inbox = rest
      memory.outbox = memory.outbox .. scripted.frame { opcode = opcode, payload = payload }
      opcode, payload, rest = parse_frame(memory.inbox)
    end
  end

  local function alive()
    if memory.closed > 0 then memory.late = memory.late + 1 end
  end

  function memory:take(bytes) -- what a send does
    self.inbox = self.inbox .. bytes
    serve()
    return #bytes
  end

  function memory:give(max) -- what a receive returns
    local bytes = self.outbox:sub(1, max)
    self.outbox = self.outbox:sub(#bytes + 1)
    return bytes
  end

  function memory:send(bytes)
    alive()
    self.sends = self.sends + 1
    local results = faults.send and { faults.send(self, bytes) } or {}
    if next(results) then return unpack(results, 1, 3) end
    return self:take(bytes)
  end

  function memory:receive(max)
    alive()
    self.receives = self.receives + 1
    local results = faults.receive and { faults.receive(self, max) } or {}
    if next(results) then return unpack(results, 1, 3) end
    if #self.outbox >= max then return self:give(max) end
    return nil, "timeout", self:give(max)
  end

  function memory:settimeout(seconds)
    alive()
    self.timeouts[tostring(seconds)] = true
    return 1
  end

  function memory:close()
    self.closed = self.closed + 1
    if faults.close then faults.close() end
    return 1
  end

  return memory
end

local got

local function handler(_, opcode, data) got[#got + 1] = { opcode, data } end

local function echo(conn, text)
  got = {}
  assert.same({ true }, { luws.wssend(conn, 2, text) })
  poll(luws, conn, function() return got[1] end)
  assert.is_true(#got == 1 and got[1][1] == 2 and got[1][2] == text)
end

describe("a socket that is a table with nothing behind it", function()
  local conn

  local function open(faults, options)
    local memory = memory_socket(faults)
    options = options or {}
    options.connect = function() return memory end
    conn = assert(luws.wsopen("ws://memory/", handler, options))
    assert.equal(memory, conn.socket)
    return memory
  end

  before_each(function() got = {} end)

  after_each(function() luws.wsclose(conn) end)

  --- A fault that does these one after the other, and again: functions, or lists of what to return.
  local function turns(list)
    local turn = 0
    return function(...)
      turn = turn % #list + 1
      local what = list[turn]
      if type(what) == "function" then return what(...) end
      return unpack(what, 1, 3)
    end
  end

  local function one(memory, bytes) return memory:take(bytes:sub(1, 1)) end
  local function one_then(why)
    return function(memory, bytes) return nil, why, memory:take(bytes:sub(1, 1)) end
  end
  local function some(memory, max)
    local bytes = memory:give(math.min(max, 3))
    if bytes == "" then return nil, "timeout", "" end
    return nil, "timeout", bytes
  end
  local NOTHING = {}

  for _, case in ipairs {
    { "does all at once", {} },
    { "sends single bytes and says so", { send = one } },
    { "sends single bytes and then has no room", { send = one_then "timeout" } },
    { "sends in fits and starts", {
      send = turns { { nil, "timeout", 0 }, one_then "wantwrite", { nil, "wantread", 0 }, NOTHING, { nil, "timeout" } },
    } },
    { "receives single bytes", {
      receive = function(memory)
        local byte = memory:give(1)
        if byte == "" then return nil, "timeout" end
        return nil, "timeout", byte
      end,
    } },
    { "receives in fits and starts", {
      receive = turns { { nil, "wantread", "" }, some, { nil, "wantwrite" }, { nil, "timeout", "" }, NOTHING },
    } },
    { "does both in fits and starts", {
      send = turns { { nil, "wantread", 0 }, one, one_then "timeout", { nil, "wantwrite", 0 } },
      receive = turns { { nil, "timeout" }, some, { nil, "wantread" } },
    } },
  } do
    local name, faults = unpack(case)

    it(name, function()
      local memory = open(faults)
      echo(conn, "")
      echo(conn, "Hello")
      echo(conn, ("\0\255"):rep(60)) -- to the limit of the shortest form of a frame, and beyond
      echo(conn, ("x"):rep(126))
      assert.is_true(luws.wssend(conn, 9, "ping"))
      luws.wsclose(conn)
      assert.same({ 1000, true }, { conn.close_code, conn.was_clean })
      assert.same({ 1, 0, "" }, { memory.closed, memory.late, memory.inbox })
    end)
  end

  it("delivers what came with the error, and then the error", function()
    for _, why in ipairs { "closed", "connection reset by peer", "something of its own" } do
      local ending = false
      local memory = open({
        receive = function(memory, max)
          if ending then return nil, why, memory:give(max) end
        end,
      }, { close_timeout = 0 })
      memory.outbox, ending = "\129\5Hello\129\9cut", true
      local _, more, reason = poll(luws, conn)
      assert.same({ nil, why }, { more, reason })
      assert.same({ { 1, "Hello" }, { false, "receiver error: " .. why } }, got)
      assert.same({ 1, 0, false, 1006 }, { memory.closed, memory.late, conn.connected, conn.close_code })
      got = {}
    end
  end)

  it("says why it cannot send", function()
    for _, why in ipairs { "closed", "broken pipe" } do
      local broken = false
      local memory = open({ send = function() if broken then return nil, why, 0 end end }, { close_timeout = 0 })
      broken = true
      assert.same({ false, "send error: " .. why }, { luws.wssend(conn, 1, "x") })
      luws.wsclose(conn)
      assert.same({ 1, 0 }, { memory.closed, memory.late })
    end
  end)

  it("that returns what no socket does has failed with that, and is closed all the same", function()
    local unspeakable = setmetatable({}, { __tostring = function() error("no") end })
    for _, case in ipairs {
      { "its receive returned a table", receive = function() return {} end },
      { "its receive returned a boolean", receive = function() return true end },
      { "its receive returned a number", receive = function() return 5 end },
      { "table", receive = function() return nil, unspeakable end },
      { "false", receive = function() return nil, false end },
      { "an error without a message", receive = function() error() end },
      { "it broke", receive = function() error("it broke", 0) end },
    } do
      local rubbish = false
      local memory = open({ receive = function() if rubbish then return case.receive() end end }, { close_timeout = 0 })
      rubbish = true
      assert.same({ nil, case[1] }, { luws.wsreceive(conn) })
      assert.same({ { false, "receiver error: " .. case[1] } }, got)
      luws.wsclose(conn)
      assert.same({ 1, 0 }, { memory.closed, memory.late })
      got = {}
    end
    for _, case in ipairs {
      { "its send returned -1", function() return nil, "timeout", -1 end },
      { "its send returned 1e+300", function() return 1e300 end },
      { "its send returned 0.5", function() return 0.5 end },
      { "its send returned a string", function() return "1" end },
      { "its send returned a table", function() return nil, "timeout", {} end },
      { "table", function() return nil, unspeakable end },
      { "an error without a message", function() error() end },
    } do
      local rubbish = false
      local memory = open({ send = function() if rubbish then return case[2]() end end }, { close_timeout = 0 })
      rubbish = true
      for _ = 1, 2 do
        local ok, why = luws.wssend(conn, 1, "x")
        assert.is_false(ok)
        assert.equal("send error: " .. case[1], why)
      end
      luws.wsclose(conn)
      assert.same({ 1, 0 }, { memory.closed, memory.late })
    end
  end)

  it("whose method is never resumed, or yields where it cannot, keeps nobody else from it", function()
    for _, work in ipairs { "send", "receive" } do
      for _, how in ipairs { "given up", "under a pcall" } do
        local waits = false
        local memory = open({
          [work] = function() if waits then coroutine.yield() end end,
        }, { close_timeout = 0 })
        waits = true
        if work == "receive" then memory.outbox = "\129\1x" end
        local name = work == "send" and "wssend" or "wsreceive"
        coroutine.wrap(function()
          -- PUC Lua 5.1 ends this by an error, which LuaJIT does not.
          if how == "under a pcall" then pcall(luws[name], conn, 1, "first") else luws[name](conn, 1, "first") end
        end)()
        waits = false
        collectgarbage()
        collectgarbage()
        got = {}
        if work == "send" then assert.is_true(luws.wssend(conn, 1, "second")) end
        poll(luws, conn, function() return got[work == "send" and 2 or 1] end)
        assert.same(work == "send" and { { 1, "first" }, { 1, "second" } } or { { 1, "x" } }, got, work .. " " .. how)
        assert.equal(0, conn.bufferedAmount)
        luws.wsclose(conn)
      end
    end
  end)

  it("whose close fails is in the log, and keeps nobody from hearing of the end", function()
    local warned = log.start()
    finally(log.stop)
    local memory = open({ close = function() error({}) end })
    memory.outbox = "\136\2\3\232"
    local _, more, why = poll(luws, conn)
    assert.same({ nil, "closed" }, { more, why })
    assert.same({ { false, "receiver error: closed" } }, got)
    luws.wsclose(conn)
    assert.equal(1, memory.closed)
    assert.same({ { 2, "luws: a socket of the program's cannot be closed: table" } },
      { { warned[1][1], (warned[1][2]:gsub("table: .*", "table")) } })
    assert.same({ false, "upgrade failed; it broke" }, {
      luws.wsopen("ws://host/", handler, {
        connect = function()
          return memory_socket { receive = function() error("it broke", 0) end, close = function() error({}) end }
        end,
      }),
    })
    assert.equal(2, #warned)
  end)

  it("is not asked without end where it takes nothing", function()
    local stuck = false
    local memory = open({ send = function() if stuck then return nil, "timeout", 0 end end },
      { send_timeout = 0.1, close_timeout = 0 })
    stuck = true
    local sends, receives, started = memory.sends, memory.receives, luws.gettime()
    assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 1, "first") })
    local took = luws.gettime() - started
    assert.is_true(took >= 0.09 and took < 2, took)
    assert.is_true(memory.sends - sends <= 200, memory.sends - sends)
    assert.is_true(memory.receives - receives <= 400, memory.receives - receives)
    assert.equal(11, conn.bufferedAmount)
    assert.same({ false, "send error: timeout; nothing of this was sent" }, { luws.wssend(conn, 1, "second") })
    assert.equal(11, conn.bufferedAmount)
    -- What was queued goes out first, and whole.
    stuck = false
    assert.is_true(luws.wssend(conn, 1, "third"))
    poll(luws, conn, function() return got[2] end)
    assert.same({ { 1, "first" }, { 1, "third" } }, got)
    -- With a time-out of 0 it is asked once or twice.
    stuck, sends, conn.options.send_timeout = true, memory.sends, 0
    assert.same({ false, "send error: timeout" }, { luws.wssend(conn, 1, "fourth") })
    assert.is_true(memory.sends - sends <= 2, memory.sends - sends)
  end)

  it("is never made to wait by wsreceive, and not asked without end by wswait", function()
    local memory = open {}
    memory.timeouts, memory.receives = {}, 0
    assert.same({ false, 0 }, { luws.wsreceive(conn) })
    assert.same({ ["0"] = true }, memory.timeouts)
    local started = luws.gettime()
    assert.is_false(luws.wswait(conn, 0.1))
    assert.is_true(luws.gettime() - started < 2)
    assert.is_true(memory.receives <= 200, memory.receives)
    memory.outbox = "\129\1x"
    assert.is_true(luws.wswait(conn, 5))
    luws.wsreceive(conn)
    assert.same({ { 1, "x" } }, got)
  end)
end)
