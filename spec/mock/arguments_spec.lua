-- What worlds of luws.mock say about arguments that are wrong, and about servers that are told nonsense.

local luws = require "luws"
local mock = require "luws.mock"
local open = require "spec.support.mocked".open

local URL = "ws://hub.test/events"

describe("a world of luws.mock", function()
  local net

  before_each(function() net = mock.net() end)

  it("says that a wait has no end, and which arguments are wrong", function()
    local server = net:listen(URL)
    local conn, peer = open(net, server)
    assert.has_error(function() luws.wswait(conn) end, "this wait has no end: nothing is going to happen")
    for _, case in ipairs {
      { function() net:advance(-1) end, "bad argument #1 to 'advance' (a number of at least 0 expected, got -1)" },
      { function() net:advance() end, "bad argument #1 to 'advance' (a number of at least 0 expected, got nil)" },
      { function() net:listen "http://x" end, "bad argument #1 to 'listen' (" },
      { function() net:listen(URL, { fault = 1 }) end, "listen: unknown option 'fault'" },
      { function() net:listen(URL, { echo = 1 }) end, "listen: bad option 'echo' (boolean expected, got number)" },
      { function() net:listen(URL, { faults = { reorder = 1 } }) end, "listen: unknown fault 'reorder'" },
      { function() net:listen(URL, { faults = { up = { delay = -1 } } }) end,
        "listen: bad fault 'delay' (a number of at least 0 expected, got -1)" },
      { function() net:listen(URL, { faults = { drop_at = "x" } }) end, "listen: bad fault 'drop_at' (unknown: 'x')" },
      { function() net:listen(URL, { faults = { split_reads = {} } }) end, "listen: bad fault 'split_reads' (" },
      { function() net:listen(URL, { faults = { jitter = "x" } }) end,
        "listen: bad fault 'jitter' (a number of at least 0 expected, got string)" },
      { function() net:listen(URL, { faults = { bandwidth = mock.random(0, 5) } }) end,
        "listen: bad fault 'bandwidth' (a number of at least 1 expected, got table)" },
      { function() net:listen(URL, { respond = 5 }) end,
        "listen: bad option 'respond' (table, string or function expected, got number)" },
      { function() net:listen(URL, { delay = "x" }) end,
        "listen: bad option 'delay' (a number of at least 0 expected, got string)" },
      { function() net:listen(URL, { max_payload_size = 1.5 }) end,
        "listen: bad option 'max_payload_size' (a whole number of at least 0 expected, got 1.5)" },
      { function() net:listen(URL) end, "bad argument #1 to 'listen' (" .. URL .. " is in use)" },
      { function() net:listen(5) end, "bad argument #1 to 'listen' (string expected, got number)" },
      { function() net:listen(URL, 5) end, "bad argument #2 to 'listen' (table expected, got number)" },
      { function() server:on("data", print) end, "bad argument #1 to 'on' (unknown: 'data')" },
      { function() server:on() end, "bad argument #1 to 'on' (unknown: 'nil')" },
      { function() server:on("open", 5) end, "bad argument #2 to 'on' (function expected, got number)" },
      { function() net:refuse() end, "bad argument #1 to 'refuse' (string expected, got nil)" },
      { function() mock.net(5) end, "bad argument #1 to 'net' (table expected, got number)" },
      { function() mock.net { sed = 1 } end, "net: unknown option 'sed'" },
      { function() mock.net { seed = 0 / 0 } end, "net: bad option 'seed' (a whole number of at least 0 expected" },
      { function() mock.net { faults = { drop_at = 1 } } end, "net: bad fault 'drop_at' (unknown: '1')" },
      { function() mock.random("x") end, "bad argument #1 to 'random' (a number expected, got string)" },
      { function() mock.random(1) end, "bad argument #2 to 'random' (a number expected, got nil)" },
      { function() mock.random(2, 1) end, "bad argument #2 to 'random' (it is less than the first)" },
      { function() mock.luup() end, "bad argument #1 to 'luup' (table expected, got nil)" },
      { function() mock.luup {} end, "luup: the option 'plugin' is missing (the name of the plugin)" },
      { function() mock.luup { plugin = "X", folder = "/nowhere" } end, "luup: /nowhere/I_X1.xml: No such file" },
      { function() mock.WebSocket(5) end, "bad argument #1 to 'WebSocket' (string expected, got number)" },
      { function() mock.WebSocket("ws://x/", "y") end,
        "bad argument #2 to 'WebSocket' (number expected, got string)" },
      { function() net.connect(5) end, "bad argument #1 to 'connect' (string expected, got number)" },
      { function() net.connect "x" end, "bad argument #2 to 'connect' (number expected, got nil)" },
      { function() peer:send(5) end, "bad argument #1 to 'send' (string expected, got number)" },
      { function() peer:ping(5) end, "bad argument #1 to 'ping' (string expected, got number)" },
      { function() peer:close("x") end, "bad argument #1 to 'close' (number expected, got string)" },
      { function() peer:raw() end, "bad argument #1 to 'raw' (string expected, got nil)" },
      { function() peer:pause("x") end, "bad argument #1 to 'pause' (number expected, got string)" },
    } do
      local ok, err = pcall(case[1])
      assert.is_false(ok)
      assert.matches(case[2], err, 1, true)
    end
  end)

  it("fails the test if what a server was told to do is wrong, and ends that connection only", function()
    local server = net:listen(URL)
    for _, case in ipairs {
      { function() error "no idea" end, "no idea" },
      { function() return 5 end, "its 'respond' is a number" },
      { 5, "its 'respond' is a number" },
      { { status = "x" }, "bad argument" },
    } do
      server.respond = case[1]
      assert.is_false((luws.wsopen(URL, nil, net:options())))
      assert.error_matches(function() net:finish() end,
        "^the peer at ws://hub%.test/events, at a request: .*" .. case[2])
    end
    server.respond, server.faults = nil, { delay = "x" }
    assert.error_matches(function() luws.wsopen(URL, nil, net:options()) end, "ws://hub.test/events: bad fault 'delay'",
      1, true)
    server.faults = { drop_at = "upgrade" }
    assert.same({ false, "upgrade failed; the peer closed the connection (is it wss?)" },
      { luws.wsopen(URL, nil, net:options()) })
    server.faults = nil
    luws.wsclose((assert(luws.wsopen(URL, nil, net:options()))))
    net:settle()
    net:finish()
  end)
end)
