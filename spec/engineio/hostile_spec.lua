-- Servers that are hostile to the client of luws.engineio, in virtual time; and clients and programs that are to its
-- server, over real sockets.

local engine = require "spec.support.engine"
local http_peers = require "spec.support.http_peers"
local json = require "luws.json"
local luws = require "luws"
local reactor = require "luws.reactor"
local unpack = require "spec.support.compat".unpack
local world = require "spec.support.world"

describe("the client", function()
  local HANDSHAKE = '0{"sid":"s","upgrades":[],"pingInterval":300,"pingTimeout":200}'

  local w, server, socket, told

  local function connect(options)
    socket = w.import("engineio").public.connect("http://peer.test/", options)
    for _, name in ipairs { "open", "message", "close" } do
      socket:on(name, function(value) told[#told + 1] = name .. (value and " " .. value or "") end)
    end
    socket:on("error", function(err) told[#told + 1] = err.message end)
  end

  before_each(function()
    w = world.new()
    server, told = http_peers.new(w), {}
  end)

  it("ends a session that does not begin with a handshake", function()
    local nameless = HANDSHAKE:gsub('"s"', '""', 1)
    for _, body in ipairs { "2", "4x", "5", "6", "3", "bAAAA", "0{}", nameless } do
      for _, transport in ipairs { "polling", "websocket" } do
        if transport == "polling" or body ~= "bAAAA" then
          connect { transports = { transport } }
          local request = server:next()
          if transport == "polling" then
            request:respond(body)
          else
            request:accept()
            request:send(1, body)
          end
          server:pass(0.01)
          assert.same({ "server error", "close transport error" }, told, body)
          told = {}
        end
      end
    end
  end)

  it("listens no more to a transport whose handshake was wrong, when it tries the next", function()
    connect { tryAllTransports = true }
    server:next():respond "0{}"
    local ws = server:next()
    ws:accept()
    ws:send(1, HANDSHAKE)
    assert.is_nil(server:next(0.1)) -- no GET
    assert.same({ "websocket", "open" }, { ws.query.transport, unpack(told) })
  end)

  it("has one answer for all pings that come while it waits", function()
    connect()
    server:next():respond(HANDSHAKE .. ("\0302"):rep(1000))
    server:pass(0.01)
    assert.same({ "open" }, told)
    assert.equal(1, socket:bufferedPackets()) -- the first is on its way
  end)

  it("has an event for an empty message", function()
    connect()
    local data
    socket:on("data", function(value) data = value end)
    server:next():respond(HANDSHAKE .. "\0304")
    server:pass(0.01)
    assert.same({ "", "open", "message " }, { data, unpack(told) })
  end)

  it("cannot be made to send other requests by what is in a query", function()
    for _, transport in ipairs { "polling", "websocket" } do
      connect { query = "a=b c\r\nX: y#z", transports = { transport } }
      assert.matches("a=b%%20c%%0D%%0AX:%%20y%%23z&EIO=4", server:next().target)
    end
  end)

  it("takes no query from a fragment", function()
    socket = w.import("engineio").public.connect "http://peer.test/#x?a=b"
    assert.is_nil(server:next().query.a)
  end)

  it("tells that there is no transport to try, and that this is the end", function()
    connect { transports = {} }
    server:pass(0.01)
    assert.same({ "No transports available", "close transport error" }, told)
  end)

  it("does not wait for a server that refuses its goodbye", function()
    connect()
    server:next():respond(HANDSHAKE)
    server:next()
    socket:close()
    server:next():respond("", { status = 400 })
    local began = w.clock.now()
    w.reactor.run()
    assert.equal(began, w.clock.now())
  end)
end)

describe("the server", function()
  after_each(engine.over)

  it("refuses names of sessions that cannot be told, or are taken", function()
    local e = engine.start()
    for _, id in ipairs { "", "\255", "a b", "a\r\nb", 5 } do
      e.engine.generateId = function() return id end
      assert.equal(400, e:get("transport=polling").status)
    end
    e.engine.generateId = function() return "same" end
    local opened, over = 0, 0
    for _ = 1, 3 do
      luws.wsopen(e.base:gsub("http", "ws") .. "?EIO=4&transport=websocket", function(_, opcode)
        if opcode then opened = opened + 1 else over = over + 1 end
      end, { wait = false, reactor = reactor })
    end
    engine.till(function() return opened + over == 3 end)
    assert.same({ 1, 2, 1 }, { opened, over, e.engine.clientsCount })
    e.sockets[1]:close(true)
    engine.till(function() return e.engine.clientsCount == 0 end)
  end)

  it("says its own words where those of allowRequest cannot be sent", function()
    local e = engine.start { allowRequest = function(_, done) done "no \255 way" end }
    assert.same({ code = 4, message = "Forbidden" }, json.decode(e:get("transport=polling").body))
  end)

  it("opens no session for a client that has gone while the program was asked", function()
    local answer
    local e = engine.start { allowRequest = function(_, done) answer = done end }
    local _, request = e:ask "transport=polling"
    engine.till(function() return answer end)
    request:cancel()
    engine.rest(0.05)
    answer(nil, true)
    engine.rest(0.02)
    assert.same({ 0, 0 }, { e.engine.clientsCount, #e.sockets })
  end)

  it("has the answer of the program about an origin once", function()
    local e = engine.start { cors = { origin = function(_, done)
      done(nil, true)
      done(nil, "http://evil.test")
    end } }
    local headers = e:get("transport=polling", { headers = { Origin = "http://a.test" } }).headers
    assert.same({ "http://a.test", "Origin" }, { headers["access-control-allow-origin"], headers.vary })
  end)
end)
