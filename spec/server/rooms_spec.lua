-- Rooms: who gets what, in which order, and what becomes of those who do not take it.

local log = require "spec.support.log"
local luws = require "luws"
local reactor = require "luws.reactor"
local serving = require "spec.support.serving"

local till, upgrade = serving.till, serving.upgrade

after_each(serving.over)

--- Returns a server and that many clients, with the server's connections in their order.
local function crowd(count, options, client_options)
  local s, clients = serving.start(options), {}
  for i = 1, count do
    clients[i] = s:connect("/", client_options)
    till(function() return s.conns[i] end)
  end
  return s, clients
end

local function texts(client)
  local all = {}
  for i, told in ipairs(client.told) do all[i] = told[2] end
  return table.concat(all, " ")
end

describe("a broadcast", function()
  it("reaches the members of a room, all connections if there is none, and not the one that is excepted", function()
    local s, clients = crowd(4)
    local srv, conns = s.srv, s.conns
    assert.is_true(srv:join(conns[1], "a"))
    assert.is_false(srv:join(conns[1], "a"))
    srv:join(conns[2], "a")
    srv:join(conns[2], 7)
    srv:join(conns[3], 7)
    assert.equal(2, srv:broadcast("a", 1, "to-a"))
    assert.equal(1, srv:broadcast(7, 2, "to-7", conns[2]))
    assert.equal(4, srv:broadcast(nil, 1, "to-all"))
    assert.equal(3, srv:broadcast(nil, 1, "but-1", conns[1]))
    assert.equal(0, srv:broadcast("nobody", 1, "x"))
    luws.wssend(conns[2], 1, "own")
    till(function() return #clients[2].told == 4 and #clients[4].told == 2 and #clients[3].told == 3 end)
    assert.same({ "to-a to-all", "to-a to-all but-1 own", "to-7 to-all but-1", "to-all but-1" },
      { texts(clients[1]), texts(clients[2]), texts(clients[3]), texts(clients[4]) })
    assert.equal(2, clients[3].told[1][1])
    assert.same({ 2, 4, 0 }, { #srv:members "a", #srv:members(), #srv:members "nobody" })
    assert.is_true(srv:leave(conns[1], "a"))
    assert.is_false(srv:leave(conns[1], "a"))
    assert.equal(1, srv:broadcast("a", 1, "y"))
  end)

  it("is not for connections that have ended, which leave their rooms, or that are about to", function()
    local s, clients = crowd(3)
    local srv, conns = s.srv, s.conns
    for _, conn in ipairs(conns) do srv:join(conn, "room") end
    luws.wsclose(clients[1].conn)
    till(function() return srv:count() == 2 end)
    assert.equal(2, #srv:members "room")
    luws.wsclose(conns[2])
    assert.equal(1, srv:broadcast("room", 1, "x"))
    assert.is_false(srv:join(conns[1], "room"))
    luws.wsclose(conns[3])
    till(function() return srv:count() == 0 end)
    assert.same({ 0, 0 }, { #srv:members "room", srv:broadcast("room", 1, "x") })
  end)

  it("can be called in handlers, for whoever is in the middle of anything", function()
    local s
    s = serving.start {
      on_open = function(conn) s.srv:join(conn, "chat") end,
      on_message = function(conn, opcode, data) s.srv:broadcast("chat", opcode, data, conn) end,
      on_close = function() s.srv:broadcast("chat", 1, "gone") end,
    }
    local one, two = s:connect(), s:connect()
    till(function() return s.conns[2] end)
    for i = 1, 5 do luws.wssend(one.conn, 1, tostring(i)) end
    till(function() return two.told[5] end)
    luws.wsclose(one.conn)
    till(function() return two.told[6] end)
    assert.equal("1 2 3 4 5 gone", texts(two))
  end)

  it("is compressed for those who have agreed on that", function()
    for _, takeover in ipairs { false, true } do
      local s = serving.start { deflate = { server_no_context_takeover = not takeover, threshold = 0 } }
      local clients = {}
      for i = 1, 4 do
        clients[i] = s:connect("/", { deflate = i > 2 and { server_no_context_takeover = not takeover } or false })
        till(function() return s.conns[i] end)
      end
      local data = ("compress me "):rep(50)
      for round = 1, 3 do
        assert.equal(4, s.srv:broadcast(nil, 1, data .. round))
        luws.wssend(s.conns[3], 1, "own " .. data)
      end
      till(function() return #clients[3].told == 6 and #clients[4].told == 3 and #clients[1].told == 3 end)
      for round = 1, 3 do
        for i = 1, 4 do
          local told = clients[i].told[i == 3 and 2 * round - 1 or round]
          assert.same({ 1, data .. round }, told)
        end
      end
      serving.over()
    end
  end)

  it("refuses what cannot be sent", function()
    local s = crowd(1)
    assert.same({ false, false, 0 }, { s.srv:join(s.conns[1], 0 / 0), s.srv:leave(s.conns[1], 0 / 0),
      #s.srv:members(0 / 0) })
    for _, case in ipairs {
      { { nil, 9, "x" }, "bad argument #2 to 'broadcast' (opcode 1 or 2 expected)" },
      { { nil, 1, {} }, "bad argument #3 to 'broadcast' (string expected, got table)" },
      { { nil, 1, "\255" }, "send error: a text message must be valid UTF-8" },
      { { nil, 1, "x", 1 }, "bad argument #4 to 'broadcast' (connection expected, got number)" },
      { { nil, 1, "x", {} }, "bad argument #4 to 'broadcast' (connection expected, got table)" },
    } do
      local result, why = s.srv:broadcast(case[1][1], case[1][2], case[1][3], case[1][4])
      assert.is_nil(result)
      assert.is_truthy(why:find(case[2], 1, true), why)
    end
  end)
end)

describe("a multicast", function()
  it("reaches the connections that are chosen, before what is sent to one of them later", function()
    local s, clients = crowd(4)
    local conns = s.conns
    assert.same({ 2, {} }, { s.srv:multicast({ conns[1], conns[3] }, 1, "chosen") })
    assert.same({ 4, {} }, { s.srv:multicast(conns, 2, "all") })
    luws.wssend(conns[3], 1, "own")
    till(function() return clients[3].told[3] and clients[1].told[2] and clients[2].told[1] and clients[4].told[1] end)
    assert.same({ "chosen all", "all", "chosen all own", "all" },
      { texts(clients[1]), texts(clients[2]), texts(clients[3]), texts(clients[4]) })
    assert.equal(2, clients[2].told[1][1])
  end)

  it("returns those that did not take it", function()
    local s, clients = crowd(3, { max_buffered = 1000 })
    local conns = s.conns
    luws.wsclose(clients[1].conn)
    till(function() return s.srv:count() == 2 end)
    assert.same({ 2, { conns[1], "other" } }, { s.srv:multicast({ conns[1], conns[2], "other", conns[3] }, 1, "x") })
    local count, rest = s.srv:multicast({ conns[2] }, 1, ("x"):rep(2000))
    assert.same({ 0, conns[2] }, { count, rest[1] })
    assert.same({ 0, {} }, { s.srv:multicast({}, 1, "x") })
  end)

  it("is compressed unless the program does not want that", function()
    local s = crowd(2, { deflate = { server_no_context_takeover = true } }, { deflate = true })
    local data, waits = ("x"):rep(5000), {}
    for i, compress in ipairs { true, false } do
      s.srv:multicast(s.conns, 1, data, compress)
      waits[i] = s.conns[2].bufferedAmount
      till(function() return s.conns[1].bufferedAmount == 0 and s.conns[2].bufferedAmount == 0 end)
    end
    assert.is_true(waits[1] < 100)
    assert.equal(5004, waits[2])
  end)

  it("is written at once where much waits already", function()
    local s, clients = crowd(2, nil, { max_payload_size = 1000000 })
    s.srv:multicast(s.conns, 2, ("x"):rep(70000))
    assert.same({ 0, 0 }, { s.conns[1].bufferedAmount, s.conns[2].bufferedAmount })
    till(function() return clients[1].told[1] and clients[2].told[1] end)
    assert.equal(70000, #clients[2].told[1][2])
  end)

  it("refuses what cannot be sent", function()
    local s = crowd(1)
    for _, case in ipairs {
      { { 1, 1, "x" }, "bad argument #1 to 'multicast' (table expected, got number)" },
      { { {}, 8, "x" }, "bad argument #2 to 'multicast' (opcode 1 or 2 expected)" },
      { { {}, 2, {} }, "bad argument #3 to 'multicast' (string expected, got table)" },
      { { {}, 1, "\255" }, "send error: a text message must be valid UTF-8" },
    } do
      local result, why = s.srv:multicast(case[1][1], case[1][2], case[1][3])
      assert.is_nil(result)
      assert.is_truthy(why:find(case[2], 1, true), why)
    end
  end)
end)

it("what a room was sent reaches a member that leaves it at once", function()
  local s, clients = crowd(1)
  s.srv:join(s.conns[1], "room")
  s.srv:broadcast("room", 1, "x")
  s.srv:leave(s.conns[1], "room")
  till(function() return clients[1].told[1] end)
  assert.equal("x", texts(clients[1]))
end)

describe("a member of a room that does not take what is sent", function()
  --- Returns a server with a raw connection that reads nothing, and one that does; both are in a room.
  local function slow_room(slow)
    local s = serving.start { slow = slow, max_buffered = 100000, ping_interval = 0, close_timeout = 0.1 }
    local raw = s:dial()
    raw:send(upgrade "/")
    till(function() return s.conns[1] end)
    local quick = s:connect("/", { max_payload_size = 1000000 })
    till(function() return s.conns[2] end)
    for _, conn in ipairs(s.conns) do s.srv:join(conn, "room") end
    return s, raw, quick
  end

  --- Broadcasts until one of them is not taken by both. Returns how many were.
  local function fill(s)
    local data, count = ("x"):rep(50000), 0
    while s.srv:broadcast("room", 2, data) == 2 do
      count = count + 1
      serving.rest(0.002)
    end
    return count
  end

  it("is closed with 1013", function()
    local s, _, quick = slow_room()
    local count = fill(s)
    till(function() return s.events[3] end)
    assert.same({ 1006, "" }, s.events[3])
    till(function() return #quick.told == count + 1 end)
    assert.equal(1013, s.conns[1].close_code_sent)
    assert.is_true(quick.conn.connected)
  end)

  it("does not get the message, with slow = 'drop', and gets later ones", function()
    local s, raw = slow_room "drop"
    fill(s)
    assert.is_true(s.conns[1].connected)
    local all = 0
    till(function()
      local bytes, _, part = raw:receive(1000000)
      all = all + #(bytes or part or "")
      return s.conns[1].bufferedAmount == 0
    end, 0)
    assert.equal(2, s.srv:broadcast("room", 1, "later"))
    assert.is_true(all > 0)
    till(function()
      local bytes, _, part = raw:receive(1000000)
      return (bytes or part or ""):find "later$"
    end, 0)
    assert.same({ "open", "open", "drain" }, s.events)
  end)

  it("is told to a function, whose error goes to the log", function()
    local told = {}
    local s = slow_room(function(conn)
      told[#told + 1] = conn
      error "slow"
    end)
    local logged = log.start()
    fill(s)
    assert.same({ true, 1 }, { told[1] == s.conns[1], #told })
    assert.is_truthy(logged[1][2]:find("slow of a server raised an error", 1, true))
    assert.is_true(s.conns[1].connected)
  end)
end)

it("a broadcast to many runs no code for each, and all of them get it", function()
  local s, clients = crowd(300, { ping_interval = 0 })
  assert.equal(300, s.srv:broadcast(nil, 1, ("x"):rep(1024)))
  till(function()
    for _, client in ipairs(clients) do
      if not client.told[1] then return false end
    end
    return true
  end)
  assert.is_true(reactor.step(0) >= 0)
end)
