-- The lines that the bridge writes for its operator.

local world = require "spec.support.world"

describe("the log of a bridge", function()
  local logs, lines

  setup(function() logs = world.new().import "bridge/log" end)
  before_each(function() lines = {} end)

  local function new(level)
    return logs.new(level, function(_, line) lines[#lines + 1] = line end)
  end

  it("has a line for each thing that happens", function()
    local log = new "info"
    local connection = { client = "192.0.2.1:5000", endpoint = "/a?token=hush", peer = "tcp://localhost:5900" }
    log:listening "ws://[::]:8001/"
    log:opened(connection)
    connection.subprotocol, connection.bytes_in, connection.bytes_out = "binary", 2 ^ 40, 0
    connection.seconds, connection.code = 1.5, 1000
    log:closed(connection)
    connection.client, connection.code, connection.why = nil, 1011, "connection reset"
    log:closed(connection)
    log:refused("192.0.2.1:5000", "/b?token=hush", 502, "connection refused")
    log:refused("192.0.2.1:5000", "", 408, "the request was not complete in time")
    log:connecting(connection) -- which is not shown
    assert.same({
      "luws bridge: listening at ws://[::]:8001/",
      "luws bridge: open: 192.0.2.1:5000 /a?... -> tcp://localhost:5900",
      "luws bridge: closed: 192.0.2.1:5000 /a?... -> tcp://localhost:5900 (binary), 1099511627776 bytes in, "
        .. "0 bytes out, 1.5 s, code 1000",
      "luws bridge: closed: unix /a?... -> tcp://localhost:5900 (binary), 1099511627776 bytes in, 0 bytes out, "
        .. "1.5 s, code 1011: connection reset",
      "luws bridge: refused: 192.0.2.1:5000 /b?..., 502: connection refused",
      "luws bridge: refused: 192.0.2.1:5000 -, 408: the request was not complete in time",
    }, lines)
  end)

  it("is as detailed as it is told to be", function()
    for level, expected in pairs { error = 1, info = 2, debug = 3 } do
      lines = {}
      local log = new(level)
      log:error "a"
      log:info "b"
      log:connecting { client = "192.0.2.1:5000", endpoint = "/a?b", peer = "tcp://localhost:1", subprotocol = "c" }
      assert.equal(expected, #lines)
      assert.equal(lines[3] and "luws bridge: connecting: 192.0.2.1:5000 /a?... -> tcp://localhost:1 (c)", lines[3])
    end
  end)

  it("shows on one line what clients and peers have said", function()
    local log = new "error"
    log:error("a %s", "x\r\nluws bridge: open: forged\27[2J\0\127\194\155 %s \\")
    log:error("%s", ("y"):rep(300))
    assert.same({
      "luws bridge: a x\\x0d\\x0aluws bridge: open: forged\\x1b[2J\\x00\\x7f\\xc2\\x9b %s \\\\",
      "luws bridge: " .. ("y"):rep(256) .. "...",
    }, lines)
  end)

  it("does not fail with what it writes to", function()
    local log = logs.new("info", error)
    log:info "x"
  end)
end)
