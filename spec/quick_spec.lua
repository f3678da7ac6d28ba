-- wsreceive and wssend begin with a native fast path that checks little. These are the cases it must not miss.

local child = require "spec.support.child"
local real = require "luws"
local servers = require "spec.support.servers"
local session = require "spec.support.session"
local socket = require "socket"

local TEXT = "\129\1x"

describe("the fast path of wsreceive and wssend", function()
  local s

  before_each(function() s = session.new(real) end)
  after_each(function() s:close() end)

  local function ignore() end

  --- Lets the peer continue, and waits for what it sends.
  local function go()
    s.peer:go()
    real.wswait(s.conn, 5)
  end

  --- Polls once and finds nothing; the calls after that begin natively.
  local function settle()
    for _ = 1, 3 do assert.same({ false, 0 }, { real.wsreceive(s.conn) }) end
  end

  --- Receives until something was read, and returns how much. On a busy machine, a wsreceive may end before that, or
  -- leave events to the next one, as its 5 ms are over.
  local function read()
    local more, bytes
    repeat more, bytes = real.wsreceive(s.conn) until bytes ~= 0 or not more
    return bytes
  end

  --- Receives until a wsreceive leaves nothing to the next one. Returns what it says, with the bytes of all.
  local function receive()
    local all = 0
    while true do
      local more, bytes = real.wsreceive(s.conn)
      if more == nil then return more, bytes end
      all = all + bytes
      if not more then return more, all end
    end
  end

  local SILENCE = 60

  --- Checks that the connection knows that its peer was not silent at that time. Its receive_timeout is SILENCE.
  local function assert_heard(at)
    assert.is_true(real.gettime() + s.conn:timeout() >= at + SILENCE - 0.001)
  end

  --- Lets some time pass. Returns the time.
  local function later()
    real.sleep(0.02)
    return real.gettime()
  end

  it("does not hide the end if control_handler leaves answering the close frame to the user", function()
    s:open({ { "wait" }, { "send", "\136\2\3\232" }, { "hold" } }, {
      control_handler = function(_, opcode) return opcode ~= 8 end,
    })
    settle()
    go()
    assert.same({ false, 4 }, { receive() })
    settle()
    assert.same({ true }, { real.wssend(s.conn, 8, "\3\232") })
    assert.same({ nil, "closed" }, { receive() })
    assert.same({ { false, "receiver error: closed" } }, s.told)
  end)

  it("reads no more than a receive_chunk_size that options inherit", function()
    s:open({ { "wait" }, { "send", TEXT:rep(300) }, { "hold" } },
      setmetatable({}, { __index = { receive_chunk_size = 100 } }))
    settle()
    go()
    for _ = 1, 9 do assert.equal(100, read()) end
    assert.equal(0, read())
    assert.equal(300, #s.told)
  end)

  it("obeys replaced options after the next read at the latest", function()
    s:open({ { "wait" }, { "send", TEXT:rep(300) }, { "hold" } }, { receive_chunk_size = 100 })
    settle()
    go()
    assert.equal(100, read())
    s.conn.options = { receive_chunk_size = 200 }
    assert.equal(200, read())
    s.conn.options = {}
    assert.equal(600, read())
  end)

  it("reports messages and control frames that came together in order", function()
    local stream, control = "\129\1a\137\1p\129\1b\1\1c\138\0\128\1d\130\1e\136\2\3\232", {}
    s:open({ { "wait" }, { "send", stream }, { "read_to_eof" } }, {
      control_handler = function(_, opcode, data)
        control[#control + 1] = { opcode, data, #s.told }
      end,
    })
    settle()
    go()
    assert.same({ nil, "closed" }, { receive() })
    assert.same({ { 1, "a" }, { 1, "b" }, { 1, "cd" }, { 2, "e" }, { false, "receiver error: closed" } }, s.told)
    assert.same({ { 9, "p", 1 }, { 10, "", 2 }, { 8, "\3\232", 4 } }, control)
    local replies = s.peer:result().frames
    assert.same({ 10, "p", 8 }, { replies[1].opcode, replies[1].payload, replies[2].opcode })
  end)

  it("notes the time of each frame, also one that is not a whole message", function()
    s:open { { "wait" }, { "send", "\1\1a" }, { "wait" }, { "send", "\128\1b" }, { "hold" } }
    settle()
    s.conn.lastMessage, s.conn.lastPing = 0, 0
    go()
    assert.same({ false, 3 }, { receive() })
    assert.equal(0, s.conn.lastMessage)
    assert.is_true(math.abs(s.conn.lastPing - real.gettime()) < 5)
    go()
    assert.same({ false, 3 }, { receive() })
    assert.same({ { 1, "ab" } }, s.told)
    assert.is_true(s.conn.lastMessage > 0 and s.conn.lastMessage >= s.conn.lastPing)
  end)

  it("delivers what a wsreceive in the handler has read, once and in order", function()
    local told = {}
    s:open({ { "wait" }, { "send", "\129\1a\129\1b" }, { "wait" }, { "send", "\129\1c\129\1d" }, { "hold" } }, nil,
      function(conn, _, data)
        told[#told + 1] = data
        if data == "a" then
          s.peer:go()
          s.peer:at(5)
          repeat local more = real.wsreceive(conn) until not more -- it may stop after 5 ms
          told[#told + 1] = "back"
        end
      end)
    settle()
    go()
    receive()
    assert.same({ "a", "b", "c", "d", "back" }, told)
  end)

  it("stops after 1,000 messages, and goes on with the next call", function()
    s:open { { "wait" }, { "send", TEXT:rep(1500) }, { "hold" } }
    settle()
    s.peer:go()
    s.peer:at(3)
    local most = 0
    repeat
      local before, more = #s.told, real.wsreceive(s.conn)
      most = math.max(most, #s.told - before)
      assert.is_true(more or #s.told <= 1500)
    until #s.told == 1500
    assert.is_true(most <= 1000)
  end)

  it("notes the time of the peer in a call that ends before everything is delivered", function()
    s:open({ { "wait" }, { "send", TEXT:rep(1500) }, { "hold" } }, { receive_timeout = SILENCE })
    settle()
    local at = later()
    s.peer:go()
    s.peer:at(3)
    assert.equal(s.conn, socket.select({ s.conn }, nil, 5)[1]) -- what was sent may take a moment to arrive
    assert.is_true((real.wsreceive(s.conn)))
    while #s.told < 1500 do assert.is_not_nil((real.wsreceive(s.conn))) end
    assert_heard(at)
    for _, told in ipairs(s.told) do assert.equal(1, told[1]) end
  end)

  it("notes the time of the peer if the handler has left something to send", function()
    local steps = { { "wait" }, { "send", TEXT }, { "wait" }, { "send", TEXT }, { "hold" } }
    s:open(steps, { receive_timeout = SILENCE, coalesce = true }, function(conn, opcode, data)
      s.told[#s.told + 1] = data
      if opcode then real.wssend(conn, 1, "answer") end
    end)
    settle()
    for i = 1, 2 do
      local at = later()
      s.peer:go()
      repeat
        real.wswait(s.conn, 5)
        assert.is_not_nil((real.wsreceive(s.conn)))
      until s.told[i]
      settle()
      assert_heard(at)
    end
    assert.same({ "x", "x" }, s.told)
  end)

  it("notes the time of the peer before the handler is called", function()
    s:open({ { "wait" }, { "send", TEXT }, { "hold" } }, { receive_timeout = 0.3 }, function(conn, opcode, data)
      s.told[#s.told + 1] = data
      if opcode then s.nested = { real.wsreceive(conn) } end
    end)
    settle()
    real.sleep(0.35)
    s.peer:go()
    s.peer:at(3)
    receive()
    assert.same({ { false, 0 }, { "x" } }, { s.nested, s.told })
  end)

  it("applies a handler's settings from the next wsreceive on, whatever has come meanwhile", function()
    local stream = "\129\3one\137\1p\129\3two"
    for _, name in ipairs { "max_payload_size", "sink" } do
      local value = name == "sink" and function() return function() return 1 end end or 2
      s:open({ { "wait" }, { "send", stream }, { "hold" } }, {}, function(conn, _, data)
        s.told[#s.told + 1] = data
        conn.options[name] = value
      end)
      settle()
      go()
      assert.same({ false, 13 }, { receive() })
      assert.same({ "one", "two" }, s.told)
      s:close()
    end
  end)

  it("forgets the right part after wshandleincoming", function()
    s:open { { "wait" }, { "send", "\129\1a\129\6xyz" }, { "wait" }, { "send", "XYZ\129\1b" }, { "hold" } }
    settle()
    real.wshandleincoming("\129\1i", s.conn)
    go()
    assert.same({ false, 8 }, { receive() })
    real.wsreset(s.conn)
    go()
    assert.same({ false, 6 }, { receive() })
    assert.same({ { 1, "i" }, { 1, "a" }, { 1, "b" } }, s.told)
  end)

  it("obeys later settings: max_payload_size, a sink, debug_mode", function()
    s:open { { "wait" }, { "send", "\129\3abc" }, { "hold" } }
    settle()
    s.conn.options.max_payload_size = 2
    go()
    receive()
    assert.same({ { false, "message too big (over 2 bytes: it has 3; see max_payload_size)" } }, s.told)
    s:close()

    s:open { { "wait" }, { "send", "\129\3abc" }, { "hold" } }
    settle()
    local sunk = {}
    s.conn.options.sink = function()
      return function(chunk)
        sunk[#sunk + 1] = chunk or "end"
        return 1
      end
    end
    go()
    receive()
    assert.same({ {}, { "abc", "end" } }, { s.told, sunk })
    s:close()

    s:open { { "wait" }, { "send", "\129\3abc" }, { "hold" } }
    settle()
    local print, lines = _G.print, {}
    _G.print = function(_, line) lines[#lines + 1] = line end
    real.debug_mode = true
    go()
    receive()
    real.debug_mode, _G.print = false, print
    assert.is_true(#lines > 0)
    assert.same({ { 1, "abc" } }, s.told)
  end)

  it("treats missing options as empty", function()
    for _, options in ipairs { false, 0, "x" } do
      s:open { { "wait" }, { "send", TEXT }, { "hold" } }
      s.conn.options = options or nil
      settle()
      go()
      assert.same({ false, 3 }, { receive() })
      assert.same({ { 1, "x" } }, s.told)
      s:close()
    end
  end)

  it("reports receive_timeout when it has passed, not before", function()
    s:open({ { "hold" } }, { receive_timeout = 0.05 })
    settle()
    local deadline = real.gettime() + 5
    local more, why
    repeat more, why = real.wsreceive(s.conn) until more == nil or real.gettime() > deadline
    assert.same({ nil, "message timeout", { { false, "message timeout" } } }, { more, why, s.told })
  end)

  it("passes handler_args that the handler has set itself from the next message on", function()
    local seen = {}
    s:open({ { "wait" }, { "send", TEXT:rep(3) }, { "hold" } }, nil, function(conn, _, _, context)
      seen[#seen + 1] = tostring(context)
      conn.options.handler_args = { #seen }
    end)
    go()
    receive()
    assert.same({ "nil", "1", "2" }, seen)
  end)

  it("calls a replaced handler's successor from the next message on", function()
    local seen = {}
    local function other(_, _, data) seen[#seen + 1] = "other " .. data end
    s:open({ { "wait" }, { "send", TEXT:rep(3) }, { "hold" } }, nil, function(conn, _, data)
      seen[#seen + 1] = "first " .. data
      conn.msghandler = other
    end)
    go()
    receive()
    assert.same({ "first x", "other x", "other x" }, seen)
  end)

  it("continues without a handler, also if it was removed", function()
    s:open({ { "wait" }, { "send", TEXT:rep(3) }, { "hold" } }, nil, function(conn)
      s.told[#s.told + 1] = true
      conn.msghandler = nil
    end)
    go()
    assert.same({ false, 9 }, { receive() })
    assert.same({ true }, s.told)
  end)

  it("reports coalesced messages as dirty until a send of them was tried", function()
    s:open({ { "read_frame" }, { "hold" } }, { coalesce = true })
    settle()
    assert.is_false(s.conn:dirty())
    real.wssend(s.conn, 1, "x")
    assert.is_true(s.conn:dirty())
    settle()
    assert.is_false(s.conn:dirty())
    assert.equal("x", s.peer:at(3).frames[1].payload)
  end)

  it("does not hide the rest of a message that is sent while the handler has another", function()
    -- The socket takes less than that, so wssend reads meanwhile, while the handler still has a message.
    local size, got = 4 * 1024 * 1024, 0
    local steps = { receive_buffer = 4096, { "wait" }, { "send", TEXT:rep(20000) }, { "hold" } }
    s:open(steps, nil, function(conn, opcode, data)
      if not opcode then return end
      assert.same({ 1, "x" }, { opcode, data })
      got = got + 1
      if got % 5000 == 1 then real.wssend(conn, 2, ("y"):rep(size)) end
    end)
    go()
    local deadline = real.gettime() + 20
    while got < 20000 and s.conn.connected and real.gettime() < deadline do
      real.wswait(s.conn, 1)
      real.wsreceive(s.conn)
    end
    assert.equal(20000, got)
  end)

  it("loses only the message whose handler raises an error", function()
    local got = 0
    s:open({ { "wait" }, { "send", TEXT:rep(3) }, { "hold" } }, nil, function()
      got = got + 1
      error("handler")
    end)
    local print = _G.print
    _G.print = ignore
    go()
    receive()
    _G.print = print
    assert.equal(3, got)
  end)
end)

-- Runs in a program of its own, where nothing else disturbs the collector. It prints whether many finalisers ran, how
-- many messages came, and what the handler was told at the end.
local FINALISERS = [[
  local luws, url, case = require "luws", ...
  local conn, calls, messages, told, done = nil, 0, 0, {}, false
  local function litter()
    local proxy = newproxy(true)
    getmetatable(proxy).__gc = function()
      if done then return end
      calls = calls + 1
      luws.wsreceive(conn)
      litter()
    end
  end
  local garbage
  local function handler(_, opcode, data)
    garbage = { garbage and #garbage, data, {} } -- the messages are all the same string
    if opcode then messages = messages + 1 else told[#told + 1] = data end
  end
  local options, callable = { receive_timeout = 0.5 }, setmetatable({}, { __call = function(_, ...) handler(...) end })
  if case == "handler_args" then options.handler_args = { 1, 2 } end
  if case == "inherited options" then options = setmetatable(options, { __index = { handler_args = { 1 } } }) end
  conn = assert(luws.wsopen(url, case == "callable table" and callable or handler, options))
  luws.sleep(0.6) -- looks like silence to code that did not read
  collectgarbage("setpause", 20)
  collectgarbage("setstepmul", 400)
  for _ = 1, 20 do litter() end
  local deadline = luws.gettime() + 20
  while messages < 20000 and not told[1] and luws.gettime() < deadline do luws.wsreceive(conn) end
  done = true
  print(calls > 20, messages, told[1] or "receiver error: closed") -- the server closes after the flood
]]

describe("a finaliser that receives at any time", function()
  for _, case in ipairs { "nothing else", "handler_args", "inherited options", "callable table" } do
    it("interrupts nothing, and reports no silence that is over: " .. case, function()
      local url = servers.url("demo", "ws", "/flood?size=200&count=20000")
      assert.same({ "true\t20000\treceiver error: closed\n", 0 }, { child.program(FINALISERS, url, case) })
    end)
  end
end)

-- In a coroutine handlers may yield, so they are called in another way.
local IN_A_COROUTINE = [[
  local luws, url, deed, count = require "luws", ...
  count = tonumber(count)
  local messages, calls, done, garbage = 0, 0, false, nil
  local conn = assert(luws.wsopen(url, function(_, opcode, data)
    garbage = { garbage and #garbage, data, {} }
    if opcode then messages = messages + 1 end
  end))
  local function litter()
    local proxy = newproxy(true)
    getmetatable(proxy).__gc = function()
      if done then return end
      calls = calls + 1
      -- Once the connection is closed, there is little left to test.
      if deed == "wssend" then luws.wssend(conn, 9, "p") elseif deed ~= "wsclose" or calls > 5 then luws[deed](conn) end
      litter()
    end
  end
  collectgarbage("setpause", 20)
  collectgarbage("setstepmul", 400)
  if url:find "echo" then
    for _ = 1, count do luws.wssend(conn, 1, ("x"):rep(200)) end
  end
  coroutine.wrap(function()
    for _ = 1, 20 do litter() end
    local deadline = luws.gettime() + 20
    while messages < count and conn.connected and luws.gettime() < deadline do luws.wsreceive(conn) end
  end)()
  done = true
  print(calls > 5, deed == "wsclose" and conn.connected or deed ~= "wsclose" and messages)
]]

describe("a finaliser that runs while messages are delivered in a coroutine", function()
  for deed, case in pairs {
    wsreceive = { "/flood?size=200&count=20000", 20000, "true\t20000\n" },
    wsclose = { "/flood?size=200&count=20000", 20000, "true\tfalse\n" },
    -- A server that closes with unread bytes resets the connection, so this one must read.
    wssend = { "/echo", 3000, "true\t3000\n" },
  } do
    it("may call " .. deed, function()
      local url = servers.url("demo", "ws", case[1])
      assert.same({ case[3], 0 }, { child.program(IN_A_COROUTINE, url, deed, tostring(case[2])) })
    end)
  end
end)
