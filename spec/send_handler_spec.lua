-- The option send_handler: a program is told what it sends, and nothing else changes.

local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local source = require "spec.support.source"

local URL = "ws://hub.test/"

describe("the option send_handler", function()
  local net, server, told

  before_each(function()
    net, told = mock.net(), {}
    server = net:listen(URL)
  end)

  local function open(options)
    options = options or {}
    options.send_handler = options.send_handler or function(_, ...) told[#told + 1] = { ... } end
    return assert(luws.wsopen(URL, nil, net:options(options)))
  end

  it("is called with each message as it was sent", function()
    local conn = open()
    assert.is_true(luws.wssend(conn, 1, "text"))
    assert.is_true(luws.wssend(conn, 2, "\0\255"))
    assert.is_true(luws.wssend(conn, "9", "p"))
    assert.is_true(luws.wssend(conn, 10))
    assert.is_true(luws.wssend(conn, 1, 42))
    assert.is_true(luws.wssend(conn, 1, source { "a", "", "b" }))
    assert.same({ { 1, "text" }, { 2, "\0\255" }, { 9, "p" }, { 10, "" }, { 1, "42" }, { 1, "ab" } }, told)
    net:run()
    assert.same({ "text", "\0\255", "42", "ab" }, server:accept():received())
  end)

  it("is called with what was not sent, and why", function()
    local conn = open { wait = false }
    assert.is_false(luws.wssend(conn, 1, "early"))
    net:run()
    assert.is_false(luws.wssend(conn, 1, "\255"))
    assert.is_false(luws.wssend(conn, 3, "x"))
    luws.wsclose(conn)
    assert.is_false(luws.wssend(conn, 1, "late"))
    assert.same({
      { 1, "early", "not connected" },
      { 1, "\255", "send error: a text message must be valid UTF-8" },
      { 3, "x", "bad argument #2 to 'wssend' (opcode 1, 2, 8, 9 or 10 expected, got 3)" },
      { 8, "\3\232" },
      { 1, "late", "not connected" },
    }, told)
  end)

  it("is called once for wsclose, with its close frame", function()
    for _, case in ipairs {
      { {}, "\3\232" }, { { 4001, "bye" }, "\15\161bye" }, { { "x", 5 }, "\3\232" }, { { 0 / 0 }, "\3\232" },
    } do
      told = {}
      local conn = open()
      assert.equal(0, select("#", luws.wsclose(conn, case[1][1], case[1][2])))
      conn:close()
      assert.same({ { 8, case[2] } }, told)
      net:run()
    end
  end)

  it("is told of what the queue takes, when it is given", function()
    local conn = open { wait = false, queue = 100 }
    assert.is_true(luws.wssend(conn, 1, "early"))
    assert.same({ { 1, "early" } }, told)
    net:run()
    assert.same({ { 1, "early" } }, told)
    assert.equal("early", server:accept():received(1))
  end)

  it("may send itself, and is not told of that", function()
    local conn
    conn = open { send_handler = function(...)
      told[#told + 1] = { ... }
      luws.wssend(conn, 1, "more")
    end }
    luws.wssend(conn, 1, "one")
    net:run()
    assert.equal(1, #told)
    assert.same({ "one", "more" }, server:accept():received())
  end)

  it("may raise an error, which goes to the log", function()
    local conn = open { send_handler = function() error "oops" end }
    local lines = log.capture(function() assert.is_true(luws.wssend(conn, 1, "x")) end)
    local text = "the send_handler of luws-websock[hub.test:80] raised an error"
    assert.truthy(table.concat(lines, "\n"):find(text, 1, true))
  end)

  it("leaves receiving to the usual turn", function()
    local conn = open()
    local peer = server:accept()
    local came = 0
    conn.msghandler = function() came = came + 1 end
    for _ = 1, 100 do peer:send "x" end
    net:run()
    assert.equal(100, came)
  end)

  it("must be a function", function()
    assert.same({ false, "bad option 'send_handler' (function expected, got number)" },
      { luws.wsopen(URL, nil, net:options { send_handler = 5 }) })
  end)
end)
