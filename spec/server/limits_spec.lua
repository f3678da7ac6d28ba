-- What a server bounds: time, connections, queues, turns.

local child = require "spec.support.child"
local luws = require "luws"
local reactor = require "luws.reactor"
local serving = require "spec.support.serving"
local socket = require "socket"

local request, status, till, upgrade = serving.request, serving.status, serving.till, serving.upgrade

after_each(serving.over)
after_each(child.over)

describe("a server does not wait for", function()
  it("a request longer than upgrade_timeout, however its bytes drip", function()
    local s = serving.start { upgrade_timeout = 0.1 }
    local silent, dripping, kept = s:dial(), s:dial(), s:dial()
    local begun = luws.gettime()
    kept:send(request "GET / HTTP/1.1")
    for _ = 1, 6 do
      dripping:send "G"
      serving.rest(0.03)
    end
    local all, ended = serving.read(silent)
    assert.same({ "", true }, { all, ended })
    all, ended = serving.read(dripping)
    assert.same({ 408, true }, { status(all), ended })
    assert.is_true(luws.gettime() - begun < 2)
    serving.read(kept, function(text) return text:find "upgrade\n" end)
    kept:send "GET"
    all, ended = serving.read(kept)
    assert.same({ 408, true }, { status(all), ended })
  end)

  it("a peer that takes nothing of its response", function()
    local s = serving.start { upgrade_timeout = 0.1, on_request = function() return { body = ("x"):rep(8000000) } end }
    local raw = s:dial()
    raw:send(request "GET / HTTP/1.1")
    till(function() return next(s.srv.owner.alive) end)
    till(function() return not next(s.srv.owner.alive) end)
    assert.equal(0, s.srv:count())
  end)

  it("a peer that is silent", function()
    local s = serving.start { ping_interval = 0.05, ping_timeout = 0.05 }
    local client = s:connect()
    local raw = s:dial()
    raw:send(upgrade "/")
    till(function() return s.events[3] end)
    assert.same({ "open", "open", { 1006, "" } }, s.events)
    assert.is_true(client.conn.connected)
    till(function() return s.conns[1].latency or s.conns[2].latency end)
  end)

  it("a peer that takes nothing and so is not read", function()
    local s = serving.start {
      ping_interval = 0.05, ping_timeout = 0.05, max_buffered = 10000000,
      on_open = function(conn)
        local data = ("x"):rep(1000000)
        repeat until not luws.wssend(conn, 2, data)
      end,
    }
    s:dial():send(upgrade "/")
    till(function() return s.events[2] end)
    assert.same({ 1006, "" }, s.events[2])
  end)
end)

describe("a server has room", function()
  it("for max_connections, and answers 503 to more", function()
    local s = serving.start { max_connections = 2 }
    local one, two = s:connect(), s:connect()
    local reply = s:raw(upgrade "/", function(all) return all:find "connections\n" end)
    assert.same({ 503, "5" }, { status(reply), reply:match "Retry%-After: (%d+)" })
    luws.wsclose(one.conn)
    till(function() return s.srv:count() == 1 end)
    s:connect()
    assert.is_true(two.conn.connected)
    assert.equal(2, s.srv:count())
  end)

  it("for max_buffered to each; wssend does not wait, and on_drain tells when the queue is empty", function()
    local s = serving.start { max_buffered = 100000, ping_interval = 0 }
    local raw = s:dial()
    raw:send(upgrade "/")
    till(function() return s.conns[1] end)
    local conn, data, count = s.conns[1], ("x"):rep(40000), 0
    local ok, why = luws.wssend(conn, 2, data)
    while ok do
      count = count + 1
      ok, why = luws.wssend(conn, 2, data)
    end
    assert.equal("send error: buffer full", why)
    assert.is_true(conn.bufferedAmount <= 100000 and conn.bufferedAmount > 25000)
    local length = 0
    till(function()
      local bytes, _, part = raw:receive(1000000)
      length = length + #(bytes or part or "")
      return s.events[2]
    end)
    assert.same({ "open", "drain" }, s.events)
    assert.equal(0, conn.bufferedAmount)
    till(function()
      local bytes, _, part = raw:receive(1000000)
      length = length + #(bytes or part or "")
      return length >= count * 40004
    end, 0)
  end)

  it("so an echo to a peer that does not read loses nothing, and reads no more than that", function()
    local refused = 0
    local s = serving.start {
      max_buffered = 100000, ping_interval = 0,
      on_message = function(conn, opcode, data)
        if not luws.wssend(conn, opcode, data) then refused = refused + 1 end
      end,
    }
    local raw = s:dial()
    raw:send(upgrade "/")
    serving.read(raw, function(all) return all:find "\r\n\r\n$" end)
    local frame = "\130\254" .. string.char(math.floor(10000 / 256), 10000 % 256) .. "\0\0\0\0" .. ("x"):rep(10000)
    local sent, count, still = 0, 0, 0
    while still < 10 do -- until nobody takes any more
      local _, _, last = raw:send(frame, sent + 1)
      if last == nil then
        count, sent, still = count + 1, 0, 0
      else
        still = last == sent and still + 1 or 0
        sent = last
      end
      reactor.step(0.001)
    end
    assert.is_true(s.conns[1].bufferedAmount <= 100000)
    assert.is_true(#s.events <= count)
    local length, expected = 0, (count + (sent > 0 and 1 or 0)) * 10004
    till(function()
      if sent > 0 then
        local all, _, last = raw:send(frame, sent + 1)
        sent = all and 0 or last
      end
      local bytes, _, part = raw:receive(1000000)
      length = length + #(bytes or part or "")
      return length >= expected
    end, 0)
    assert.same({ expected, 0 }, { length, refused })
  end)

  it("for the other connections while one floods", function()
    local s = serving.start { ping_interval = 0 }
    local flood, calm = s:connect(), s:connect()
    for _ = 1, 5000 do luws.wssend(flood.conn, 1, "x") end
    luws.wssend(calm.conn, 1, "calm")
    till(function()
      for i, event in ipairs(s.events) do
        if event[2] == "calm" then return i < 1000 end
      end
    end)
    till(function() return #s.events == 5003 end)
  end)
end)

it("a server accepts at most 64 connections in a turn, and the others in the next ones", function()
  local s = serving.start()
  for _ = 1, 150 do s:dial() end
  local counts = {}
  for turn = 1, 3 do
    s.srv:step(0)
    counts[turn] = s.srv:stats().accepted
  end
  assert.same({ 64, 128, 150 }, counts)
end)

it("a server without descriptors waits for one, and does not spin", function()
  local program = [[
    local server, reactor = require "luws.server", require "luws.reactor"
    local opened = 0
    local srv = assert(server.listen { port = 0, ping_interval = 0, on_open = function()
      opened = opened + 1
      if opened == 30 then print(os.clock() < 0.5) os.exit(0) end
    end })
    print((select(2, srv:address())))
    io.stdout:flush()
    reactor.after(20, function() os.exit(1) end)
    srv:run()
  ]]
  local lacking = child.serve { input = program, descriptors = 20 }
  local s = setmetatable({ host = "127.0.0.1", port = tonumber(lacking.line) }, { __index = serving.methods })
  local raws = {}
  for i = 1, 30 do
    raws[i] = s:dial()
    raws[i]:send(upgrade "/")
  end
  socket.sleep(0.2)
  for i = 1, 30 do raws[i]:close() end
  local said = lacking:wait()
  assert.is_truthy(said:find("no connection can be accepted for now: Too many open files", 1, true), said)
  assert.is_truthy(said:find "true\n$", said)
end)

describe("a peer that sends little, and then waits,", function()
  local PROGRAM = [[
    local measure = require "spec.support.measure"
    local server, reactor, socket = require "luws.server", require "luws.reactor", require "socket"
    local BYTES, COUNT, arrived, raws = %q, 200, 0, {}
    local srv = assert(server.listen {
      port = 0, ping_interval = 0, on_message = function(conn) conn:pause() end,
      on_request = function(request)
        arrived = arrived + 1
        if request.path == "/later" then return server.later end
      end,
    })
    local function connect()
      for _ = 1, COUNT do
        raws[#raws + 1] = assert(socket.connect(srv:address()))
        raws[#raws]:send(BYTES)
        reactor.step(0)
      end
      for _ = 1, 20 do reactor.step(0.002) end
    end
    connect() -- what is allocated once
    local before = measure.resident()
    connect()
    print(math.floor((measure.resident() - before) / 1024 / COUNT), arrived)
    os.exit(0)
  ]]
  local part, later = (upgrade "/"):gsub("\r\n\r\n$", "\r\nX: "), "GET /later HTTP/1.1"
  for _, case in ipairs {
    { "a part of a head", part .. ("x"):rep(2000), 0 },
    { "requests after one that is answered later", request(later, "X: " .. ("x"):rep(2000)):rep(3), 400 },
    { "messages for a connection that is paused",
      upgrade "/" .. ("\130\254\3\232\0\0\0\0" .. ("x"):rep(1000)):rep(5), 400 },
    { "a part of a message", upgrade "/" .. "\130\255\0\0\0\0\0\15\66\64\0\0\0\0" .. ("x"):rep(2000), 400 },
  } do
    it("holds little memory: " .. case[1], function()
      local said = child.run { input = PROGRAM:format(case[2]) }
      local kib, requests = said:match "^(%-?%d+)%s+(%d+)\n$"
      assert.equal(tostring(case[3]), requests, said)
      assert.is_true(tonumber(kib) <= 24, said)
    end)
  end
end)

it("a connection that is idle takes at most 5.5 KiB of Lua's memory", function()
  local said = child.run { upgrade "/", input = [[
    local server, reactor, socket = require "luws.server", require "luws.reactor", require "socket"
    local COUNT, opened, raws = 200, 0, {}
    local srv = assert(server.listen { port = 0, on_open = function() opened = opened + 1 end })
    local function open()
      for _ = 1, COUNT do
        raws[#raws + 1] = assert(socket.connect(srv:address()))
        raws[#raws]:send(arg[1])
      end
      collectgarbage()
      collectgarbage()
      local before = collectgarbage "count"
      while opened < #raws do reactor.step(0.01) end
      collectgarbage()
      collectgarbage()
      return (collectgarbage "count" - before) / COUNT
    end
    open() -- what is allocated once
    print(open())
    os.exit(0)
  ]] }
  assert.is_true((tonumber(said) or 100) <= 5.5, said)
end)

describe("a server's connection that is paused", function()
  it("gets no message until it is resumed, not even those that have come already", function()
    local s
    s = serving.start { on_message = function(conn) conn:pause() end, ping_interval = 0 }
    local client = s:connect()
    for i = 1, 3 do luws.wssend(client.conn, 1, "m" .. i) end
    till(function() return s.events[2] end)
    serving.rest(0.03)
    assert.same({ "open", { 1, "m1" } }, s.events)
    s.conns[1]:resume()
    till(function() return s.events[3] end)
    serving.rest(0.03)
    assert.same({ 1, "m2" }, s.events[3])
    assert.is_nil(s.events[4])
    assert.is_true(luws.wssend(s.conns[1], 1, "out"))
    till(function() return client.told[1] end)
    s.conns[1]:resume()
    till(function() return s.events[4] end)
  end)

  it("can be closed, and notices that its peer is gone when it is resumed", function()
    local s = serving.start { on_open = function(conn) conn:pause() end }
    local one, two = s:connect(), s:connect()
    till(function() return s.conns[2] end)
    luws.wsclose(one.conn)
    serving.rest(0.02)
    assert.same({ "open", "open" }, s.events)
    s.conns[1]:resume()
    luws.wsclose(s.conns[2], 4000)
    till(function() return s.events[4] end)
    till(function() return two.conn.close_code end)
    assert.equal(4000, two.conn.close_code)
  end)
end)
