-- The client of Socket.IO above an engine in memory: how it connects, and how connections end. Time is virtual.

local engines = require "spec.support.engines"
local log = require "spec.support.log"
local world = require "spec.support.world"

local note, take = engines.note, engines.take

local e, io

before_each(function()
  e = engines.new(world.new())
  io = e.io
end)

local function connected(...) return e:connected(...) end

describe("io(url, opts)", function()
  it("takes the namespace, the query and the server from the URL", function()
    for url, expected in pairs {
      ["http://a.test"] = { "http://a.test", "/" }, ["ws://a.test:80/"] = { "http://a.test:80", "/" },
      ["https://a.test/chat?a=1&b=%2F+x"] = { "https://a.test", "/chat", { a = "1", b = "/ x" } },
      ["http://a.test?=x&b&c=d=e"] = { "http://a.test", "/", { [""] = "x", b = "", c = "d=e" } },
      ["wss://[::1]:3000/a/b#c"] = { "https://[::1]:3000", "/a/b" }, ["a.test/x"] = { "https://a.test", "/x" },
    } do
      local socket = io(url, { forceNew = true })
      assert.same(expected, { e:last().uri, socket.nsp, e:last().given.query })
    end
    io("http://b.test?a=1", { query = { c = "2" } })
    assert.same({ c = "2" }, e:last().given.query)
  end)

  it("shares a manager by scheme, host, port and path, unless that is not wanted", function()
    local first = io "http://a.test/one"
    for _, same in ipairs { "http://a.test/two", "http://A.test:80/three", "ws://a.test/four" } do
      assert.equal(first.io, io(same).io)
    end
    for _, case in ipairs {
      { "http://a.test/one" }, { "https://a.test/x" }, { "http://a.test:81/x" }, { "http://b.test/x" },
      { "http://a.test/x", { path = "/y" } }, { "http://a.test/x", { forceNew = true } },
      { "http://a.test/z", { multiplex = false } },
    } do
      assert.not_equal(first.io, io(case[1], case[2]).io, case[1])
    end
  end)

  it("raises an error for what is wrong with its arguments", function()
    for message, case in pairs {
      ["bad argument #1 to 'io' (string expected, got nil)"] = {},
      ["bad argument #2 to 'io' (table expected, got string)"] = { "http://a.test", "x" },
      ["bad argument #1 to 'io' (unknown scheme 'ftp')"] = { "ftp://a.test" },
      ["bad argument #1 to 'io' (a namespace cannot have a comma in its name)"] = { "http://a.test/a,b" },
      ["bad argument #1 to 'io' (the name of a namespace is not UTF-8)"] = { "http://a.test/\255" },
      ["bad option 'timeout' (a number of milliseconds or false expected, got x)"] = { "http://a.test",
        { timeout = "x" } },
      ["bad option 'reconnectionDelay' (a number of at least 0 expected, got -1)"] = { "http://a.test",
        { reconnectionDelay = -1 } },
      ["bad option 'auth' (table or function expected, got string)"] = { "http://a.test", { auth = "x" } },
      ["bad option 'retries' (it needs ackTimeout)"] = { "http://a.test", { retries = 1 } },
      ["bad option 'binaryType' ('binary' or 'string' expected, got blob)"] = { "http://a.test",
        { binaryType = "blob" } },
      ["bad option 'parser' (luws.socketio has Socket.IO's own parser only; leave it out, at both ends)"] = {
        "http://a.test", { forceNew = true, parser = {} },
      },
      ["unknown option 'reconnectionAttempt' (reconnectionAttempts?)"] = { "http://a.test",
        { reconnectionAttempt = 5 } },
      ["unknown option 'adapter'"] = { "http://a.test", { forceNew = true, adapter = {}, autoConnect = false } },
      ["bad option 'ssl_cafile': No such file or directory (/nowhere)"] = { "https://a.test",
        { ssl_cafile = "/nowhere", autoConnect = false } },
      ["bad option 'perMessageDeflate' (boolean or table expected, got number)"] = { "http://a.test",
        { forceNew = true, perMessageDeflate = 1, autoConnect = false } },
    } do
      local ok, why = pcall(io, case[1], case[2])
      assert.is_false(ok)
      assert.equal(message, (why:gsub("^[^ ]+:%d+: ", "")))
    end
    assert.equal(0, #e.made)
  end)

  it("raises an error for wrong options even if others count, as the manager is shared", function()
    io "https://a.test/x"
    for message, options in pairs {
      ["unknown option 'colour'"] = { colour = "red" },
      ["bad option 'ssl_cafile': No such file or directory (/nowhere)"] = { ssl_cafile = "/nowhere" },
    } do
      assert.same({ false, message }, { pcall(io, "https://a.test/y", options) })
    end
    assert.equal(1, #e.made)
  end)

  it("calls nobody before the reactor has its turn", function()
    local socket = io "http://a.test"
    local told = note(socket, {}, "connect", "connect_error")
    e:last():open():say '0{"sid":"s1"}'
    assert.same({}, told)
    e:turn()
    assert.same({ { "connect" } }, told)
  end)
end)

describe("connecting", function()
  it("asks to be let in with auth, and has an id then", function()
    local socket = io("http://a.test/x", { auth = { token = "t" } })
    assert.same({ false, true, true }, { socket.connected, socket.disconnected, socket.active })
    e:last():open()
    e:turn()
    assert.same({ '0/x,{"token":"t"}' }, e:last():heard())
    e:last():say '0/x,{"sid":"s1"}'
    e:turn()
    assert.same({ true, false, "s1", false }, { socket.connected, socket.disconnected, socket.id, socket.recovered })
    assert.same({ "open", 1 }, { socket.io.state, #e.made })
  end)

  it("asks once, even if the socket is made while the engine is being opened", function()
    local first = io "http://a.test"
    first.io:on("open", function() io "http://a.test/x" end)
    e:last():open()
    e:turn()
    assert.same({ "0", "0/x," }, e:last():heard())
    e:last():say('0{"sid":"s1"}', '0/x,{"sid":"s2"}')
    e:turn()
    local second = first.io:socket "/x"
    second:disconnect()
    second:connect()
    e:turn()
    assert.same({ "1/x,", "0/x," }, e:last():heard())
  end)

  it("asks a function for auth at each connection, which returns it or calls back", function()
    local count, later = 0, nil
    local socket = io("http://a.test", {
      auth = function(give)
        count = count + 1
        if count == 1 then return { n = 1 } end
        if count == 2 then give { n = 2 } else later = give end
      end,
    })
    for i = 1, 2 do
      e:last():open():say '0{"sid":"s"}'
      e:turn()
      assert.same({ '0{"n":' .. i .. "}" }, e:last():heard())
      e:last():lose "transport close"
      e:turn(2)
    end
    e:last():open()
    e:turn()
    assert.same({}, e:last():heard())
    later { n = 3 }
    later { n = 4 }
    assert.same({ '0{"n":3}' }, e:last():heard())
    -- An answer for a connection that is lost meanwhile is not sent over the next one.
    socket.auth = function(give) later = give end
    e:last():lose "transport close"
    e:turn(2)
    e:last():open()
    e:turn()
    local late = later
    e:last():lose "transport close"
    e:turn(4)
    e:last():open()
    e:turn()
    late { n = 5 }
    assert.same({}, e:last():heard())
  end)

  it("is refused by what is wrong with auth", function()
    for message, auth in pairs {
      ["auth: cannot encode a function"] = { f = print },
      ["auth: table expected, got number"] = function() return 5 end,
      ["auth: table with names expected, got a list"] = { "token" },
      ["auth: the function raised an error"] = function() error "no" end,
    } do
      log.start()
      local socket = io("http://a.test", { auth = auth, forceNew = true })
      local told = note(socket, {}, "connect_error")
      e:last():open()
      e:turn()
      log.stop()
      local got = told[1][2]:gsub("auth: f: ", "auth: ")
      assert.same({ message, false }, { got, socket.active })
    end
  end)

  it("is refused by what the program has made of auth since", function()
    local socket = io("http://a.test", { autoConnect = false })
    socket.auth = "token"
    local told = note(socket:connect(), {}, "connect_error")
    e:last():open()
    e:turn()
    assert.same({ { { "connect_error", "auth: table expected, got string" } }, {} }, { told, e:last():heard() })
  end)

  it("tells of a refusal, which is not tried again, with its data", function()
    for packet, expected in pairs {
      ['4{"message":"no","data":{"code":1}}'] = { "no", { code = 1 } },
      ['4"Unable to connect"'] = { "Unable to connect" },
      ['4{}'] = { "error" },
    } do
      local socket = io("http://a.test", { forceNew = true })
      local errors = {}
      socket:on("connect_error", function(err) errors[#errors + 1] = err end)
      local engine = e:last()
      engine:open():say(packet)
      e:turn(60)
      assert.same(expected, { errors[1].message, errors[1].data })
      assert.equal(expected[1], tostring(errors[1]))
      assert.same({ 1, false, true }, { #errors, socket.active, engine.is_closed })
      assert.equal(engine, e:last())
    end
  end)

  it("says that a server of version 2 is one", function()
    local socket = io "http://a.test"
    local told = note(socket, {}, "connect_error")
    e:last():open():say "0"
    e:turn()
    assert.equal("the server speaks Socket.IO v2.x, and this client v3.x and v4.x", told[1][2])
    assert.is_false(socket.active)
  end)

  it("gives up an attempt after its time, and tries again", function()
    local socket = io("http://a.test", { timeout = 3000 })
    local told = note(socket, {}, "connect_error")
    local first = e:last()
    e:turn(2.9)
    assert.same({}, told)
    e:turn(0.2)
    assert.same({ { "connect_error", "timeout" } }, told)
    assert.same({ true, true }, { socket.active, first.is_closed })
    e:turn(2)
    assert.equal(2, #e.made)
    first:open() -- too late
    e:turn()
    assert.equal("opening", socket.io.state)
  end)

  it("has no time limit if the option is false", function()
    local told = note(io("http://a.test", { timeout = false }), {}, "connect_error")
    e:turn(1000)
    assert.same({}, told)
  end)

  it("does nothing when it is connected", function()
    local socket, engine, told = connected()
    assert.equal(socket, socket:connect():open())
    e:turn(10)
    assert.same({ {}, {}, 1, 5 }, { engine:heard(), told, #e.made, io.protocol })
  end)

  it("happens when the program wants it, with autoConnect = false", function()
    local socket = io("http://a.test", { autoConnect = false })
    e:turn(10)
    assert.same({ 0, false }, { #e.made, socket.active })
    assert.equal(socket, socket:connect())
    e:last():open():say '0{"sid":"s1"}'
    e:turn()
    assert.is_true(socket.connected)
    assert.equal(socket, socket:connect())
    assert.equal(1, #e.made)
  end)
end)

describe("the end of a connection", function()
  for _, row in ipairs {
    { "ping timeout", true }, { "transport close", true }, { "transport error", true },
  } do
    it("by '" .. row[1] .. "' is told, and followed by another attempt", function()
      local socket, engine, told = connected()
      engine:lose(row[1], { description = "x" })
      e:turn()
      assert.same({ "disconnect", row[1], { description = "x" } }, take(told)[1])
      assert.same({ false, true }, { socket.connected, socket.active })
      assert.is_nil(socket.id)
      e:turn(2)
      assert.equal(2, #e.made)
      e:last():open():say '0{"sid":"s2"}'
      e:turn()
      assert.same({ { "connect" } }, take(told))
      assert.equal("s2", socket.id)
    end)
  end

  it("by a packet that breaks the protocol is told, and followed by another attempt", function()
    for _, text in ipairs { "9", '2["connect"]', "2", "51-[]" } do
      local _, engine, told = connected { forceNew = true }
      engine:say(text)
      e:turn()
      assert.same("parse error", take(told)[1][2])
      assert.is_true(engine.is_closed)
      local count = #e.made
      e:turn(2)
      assert.equal(count + 1, #e.made)
    end
  end)

  it("by the server is final", function()
    local socket, engine, told = connected()
    engine:say "1"
    e:turn(60)
    assert.same({ { "disconnect", "io server disconnect" } }, told)
    assert.same({ false, true, 1 }, { socket.active, engine.is_closed, #e.made })
  end)

  it("by the program is final, and told in the next turn", function()
    local socket, engine, told = connected()
    assert.equal(socket, socket:disconnect())
    assert.same({ "1" }, engine:heard())
    assert.same({ false, false, true }, { socket.connected, socket.active, engine.is_closed })
    assert.same({}, told)
    e:turn(60)
    assert.same({ { "disconnect", "io client disconnect" } }, told)
    assert.equal(1, #e.made)
    socket:disconnect()
    e:turn()
    assert.equal(1, #told)
  end)

  it("by the program is final during an attempt, and between two", function()
    for _, seconds in ipairs { 0, 0.4, 1, 30 } do
      local socket = io("http://a.test", { forceNew = true, timeout = 500 })
      local told = note(socket, {}, "connect", "disconnect")
      e:turn(seconds)
      socket:close()
      local count = #e.made
      e:last():open()
      e:turn(60)
      assert.same({ count, {} }, { #e.made, told })
    end
  end)

  it("can be followed by connect() at once", function()
    local socket, _, told = connected()
    socket:disconnect():connect()
    assert.equal(2, #e.made)
    e:last():open():say '0{"sid":"s2"}'
    e:turn()
    assert.same({ { "disconnect", "io client disconnect" }, { "connect" } }, told)
  end)
end)
