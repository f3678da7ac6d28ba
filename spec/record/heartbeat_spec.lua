-- The heartbeat of a recording: pings that measure round trips, and find out that nobody answers.

local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"

local URL = "ws://hub.test/"

describe("a heartbeat", function()
  local net, server, rec

  before_each(function()
    net = mock.net()
    server = net:listen(URL, { faults = { delay = 0.25 } })
    rec = record.new { clock = net }
  end)

  it("measures round trips, and says so in rows and in the state", function()
    rec:wsopen("a", URL, nil, net:options())
    local pulse = rec:heartbeat { conn = "a", interval = 10, reactor = net.reactor }
    net:advance(25)
    assert.same({ 0.5, 0.5, 0.5, 0 }, { pulse.last, pulse.smoothed, pulse.minimum, pulse.missing })
    assert.near(0.1875, pulse.deviation, 1e-9)
    local pings = {}
    for row in rec:rows { conn = "a", kind = "ping" } do pings[#pings + 1] = { row.number, row.text } end
    assert.equal(2, #pings)
    assert.equal(1, pings[1][1])
    assert.truthy(pings[1][2]:find "^1 %d+%.%d+$")
    local state = rec:state().conns.a.rtt
    assert.same({ 0.5, 0.5, 2 }, { state.last, state.smoothed, state.count })
    assert.near(3, pulse:heard(rec:time() + 2.75), 1e-9)
    assert.near(3, pulse.skew, 1e-9)
    pulse:stop()
    net:advance(100)
    assert.equal(2, pulse.number)
  end)

  it("ends a connection whose peer answers no more, so that it comes back", function()
    server.answers = false
    rec:wsopen("a", URL, nil, net:options { reconnect = true })
    rec:heartbeat { conn = "a", interval = 10, missing = 2, reactor = net.reactor }
    net:advance(29)
    assert.equal(1, server.attempts)
    net:advance(10)
    assert.is_true(server.attempts > 1)
    local dead = {}
    for row in rec:rows { kind = "dead" } do dead[#dead + 1] = row.missing end
    assert.same({ 2 }, dead)
  end)

  it("leaves it to the program what becomes of a dead peer", function()
    server.answers = false
    local told = {}
    local conn = rec:wsopen("a", URL, nil, net:options())
    local pulse = rec:heartbeat { conn = "a", missing = 1, reactor = false, on_dead = function(...) told = { ... } end }
    pulse:turn()
    pulse:turn()
    assert.same({ conn, 1 }, told)
    assert.is_true(conn.connected)
    luws.wsclose(conn)
    pulse:turn() -- nothing is sent while it is closed
    assert.same({ nil, "not connected" }, { pulse:ping() })
  end)

  it("takes no pong twice, and none that is not its own", function()
    rec:wsopen("a", URL, nil, net:options())
    server.answers = false
    local pulse = rec:heartbeat { conn = "a", reactor = false }
    net:advance(1)
    local peer = server:accept()
    pulse:ping()
    net:advance(1)
    for _, data in ipairs { "", "x", "9 0.000000", "1 x", peer.pings[1], peer.pings[1] } do peer:pong(data) end
    net:advance(1)
    local rtts = {}
    for row in rec:rows { kind = "pong" } do rtts[#rtts + 1] = row.rtt or false end
    assert.same({ false, false, false, false, 1.25, false }, rtts)
  end)
end)
