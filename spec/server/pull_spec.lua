-- Servers that are asked for what happens: events one by one, and a coroutine for each connection.

local log = require "spec.support.log"
local luws = require "luws"
local reactor = require "luws.reactor"
local server = require "luws.server"
local serving = require "spec.support.serving"

local till = serving.till

after_each(serving.over)

local function open(port, told)
  local conn = assert(luws.wsopen(("ws://127.0.0.1:%d/x"):format(port), function(_, ...) told[#told + 1] = { ... } end,
    { wait = false, reactor = reactor }))
  return conn
end

describe("a server without handlers", function()
  it("hands out its events one by one", function()
    local srv = assert(server.listen { port = 0 })
    local _, port = srv:address()
    assert.same({ nil, "timeout" }, { srv:next(0) })
    local told = {}
    local client = open(port, told)
    local kind, request = srv:next(5)
    assert.same({ "request", "/x" }, { kind, request.path })
    assert.same({ nil, "timeout" }, { srv:next(0.01) })
    assert.is_true(request:accept())
    local opened, conn, same = srv:next(5)
    assert.same({ "open", true }, { opened, same == request })
    till(function() return client.connected end)
    luws.wssend(client, 1, "one")
    luws.wssend(client, 2, "two")
    assert.same({ "message", conn, 1, "one" }, { srv:next(5) })
    assert.same({ "message", conn, 2, "two" }, { srv:next(5) })
    luws.wssend(conn, 1, "back")
    till(function() return told[1] end)
    luws.wsclose(client, 4000, "bye")
    assert.same({ "close", conn, 4000, "bye" }, { srv:next(5) })
    srv:close()
    assert.same({ nil, "closed" }, { srv:next() })
  end)

  it("is like any other, with its routes, as long as nobody asks", function()
    local srv = assert(server.listen { port = 0 })
    assert(srv:route("/route", { on_request = function() return { body = "route" } end }))
    local host, port = srv:address()
    local s = setmetatable({ host = host, port = port, srv = srv }, { __index = serving.methods })
    local last = "Connection: close"
    assert.is_truthy(s:raw(serving.request("GET /route HTTP/1.1", last)):find "route$")
    assert.is_truthy(s:raw(serving.request("GET / HTTP/1.1", last)):find "^HTTP/1.1 426")
    local early = open(port, {})
    till(function() return early.connected end)
    assert.same({ nil, "timeout" }, { srv:next(0) })
    luws.wssend(early, 1, "nobody has heard of this one")
    local late = open(port, {})
    local kind, request = srv:next(5)
    request:accept()
    assert.same({ "request", "open" }, { kind, (srv:next(5)) })
    luws.wsclose(early)
    till(function() return srv:count() == 1 end)
    luws.wsclose(late, 4000)
    kind = { srv:next(5) }
    assert.same({ "close", 4000 }, { kind[1], kind[3] })
    srv:close()
    assert.same({ nil, "closed" }, { srv:next() })
  end)

  it("receives no more than a thousand messages that nobody asks for", function()
    local srv = assert(server.listen { port = 0, ping_interval = 0 })
    local _, port = srv:address()
    local client = open(port, {})
    local _, request = srv:next(5)
    request:accept()
    srv:next(5)
    till(function() return client.connected end)
    for i = 1, 3000 do assert.is_true(luws.wssend(client, 1, tostring(i))) end
    serving.rest(0.1)
    assert.is_true(srv.queue:length() <= 1100, srv.queue:length())
    for i = 1, 3000 do
      local kind, _, _, data = srv:next(5)
      assert.same({ "message", tostring(i) }, { kind, data })
    end
    luws.wsclose(client)
    assert.equal("close", (srv:next(5)))
    srv:close()
  end)

  it("is the only one", function()
    local s = serving.start()
    assert.same({ nil, "the server has handlers" }, { s.srv:next(0) })
  end)
end)

it("next takes seconds, and no other values", function()
  local s = serving.start()
  for _, case in ipairs {
    { "x", "bad argument #1 to 'next' (number expected, got string)" },
    { 0 / 0, "bad argument #1 to 'next' (a number expected, got NaN)" },
  } do
    local srv = assert(server.listen { port = 0 })
    assert.error_matches(function() srv:next(case[1]) end, case[2], 1, true)
    assert.same({ nil, "timeout" }, { srv:next(-1) })
    srv:close()
  end
  assert.same({ nil, "the server has handlers" }, { s.srv:next "x" })
end)

describe("server.spawn runs a coroutine for each connection,", function()
  it("which gets the messages in order, and ends the connection when it returns", function()
    local ended = 0
    local s = serving.start {
      on_open = server.spawn(function(conn, request)
        luws.wssend(conn, 1, "hello " .. request.path)
        while true do
          local opcode, data = conn:message()
          if not opcode then break end
          if data == "quit" then return end
          luws.wssend(conn, opcode, data:upper())
        end
        ended = ended + 1
      end),
    }
    local one, two = s:connect "/one", s:connect "/two"
    for _, data in ipairs { "a", "b", "quit" } do luws.wssend(one.conn, 1, data) end
    luws.wssend(two.conn, 2, "c")
    till(function() return one.conn.close_code and two.told[2] end)
    assert.same({ { 1, "hello /one" }, { 1, "A" }, { 1, "B" }, { false, "receiver error: closed" } }, one.told)
    assert.same({ 1000, 0 }, { one.conn.close_code, ended })
    assert.same({ { 1, "hello /two" }, { 2, "C" } }, two.told)
    luws.wsclose(two.conn)
    till(function() return ended == 1 end)
  end)

  it("in a for loop, where Lua can wait in one", function()
    local s = serving.start {
      on_open = server.spawn(function(conn)
        for opcode, data in conn:messages() do luws.wssend(conn, opcode, data) end
      end),
    }
    local can = require("luws").instance and (rawget(_G, "jit") or _VERSION ~= "Lua 5.1")
    local logged = log.start()
    local client = s:connect()
    if can then
      luws.wssend(client.conn, 1, "x")
      till(function() return client.told[1] end)
      assert.same({ 1, "x" }, client.told[1])
    else
      till(function() return client.conn.close_code end)
      assert.equal(1011, client.conn.close_code)
      assert.is_truthy(logged[1][2]:find("Lua 5.1 cannot wait in a for loop", 1, true))
    end
  end)

  it("and whose error closes the connection with 1011", function()
    local s = serving.start {
      on_open = server.spawn(function(conn)
        conn:message()
        error "boom"
      end),
    }
    local client = s:connect()
    local logged = log.start()
    luws.wssend(client.conn, 1, "x")
    till(function() return client.conn.close_code end)
    assert.equal(1011, client.conn.close_code)
    assert.is_truthy(logged[1][2]:find "the coroutine of .* raised an error: .*boom")
  end)

  it("and which can wait for other things, while its messages wait, and are bounded", function()
    local waiting, seen = nil, 0
    local s = serving.start {
      ping_interval = 0,
      on_open = server.spawn(function(conn)
        waiting = coroutine.running()
        coroutine.yield()
        while conn:message() do seen = seen + 1 end
      end),
    }
    local client = s:connect()
    for _ = 1, 500 do luws.wssend(client.conn, 1, "x") end
    serving.rest(0.05)
    assert.equal(0, seen)
    assert(coroutine.resume(waiting))
    till(function() return seen == 500 end)
  end)

  it("the only one that can wait for its messages", function()
    local inner, waiting, seen = nil, nil, {}
    local s = serving.start {
      on_open = server.spawn(function(conn)
        inner = conn
        waiting = coroutine.running()
        coroutine.yield()
        -- A coroutine within it can, as libraries have it for protected calls.
        local within = coroutine.create(function() return conn:message() end)
        local _, opcode, data = coroutine.resume(within)
        while coroutine.status(within) ~= "dead" do
          coroutine.yield()
          _, opcode, data = coroutine.resume(within)
        end
        seen = { opcode, data }
      end),
    }
    local client = s:connect()
    till(function() return inner end)
    for _ = 1, 2 do
      assert.error_matches(function() inner:message() end, "only the function of server.spawn can wait", 1, true)
      local ok, why = coroutine.resume(coroutine.create(function() return inner:message() end))
      assert.is_false(ok)
      assert.is_truthy(why:find("only the function of server.spawn can wait", 1, true), why)
      if waiting then assert(coroutine.resume(waiting)) end
      waiting = nil
      luws.wssend(client.conn, 1, "hi")
      till(function() return client.conn.close_code end)
      assert.same({ 1000, { 1, "hi" } }, { client.conn.close_code, seen })
    end
  end)

  it("which has to be a function", function()
    assert.error_matches(function() server.spawn(3) end, "bad argument #1 to 'spawn' (function expected, got number)",
      1, true)
  end)
end)
