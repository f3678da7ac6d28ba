-- nginx before a bridge and a server, as people put it there: it speaks TLS with the clients.

local bridging = require "spec.support.bridging"
local luws = require "luws"
local servers = require "spec.support.servers"
local serving = require "spec.support.serving"

local till = bridging.till

after_each(bridging.over)

--- through(port): returns a client that is connected to this port through nginx.
local function through(port)
  local self = setmetatable({ scheme = "wss", host = "localhost", port = servers.start("nginx").both },
    { __index = serving.methods })
  return self:connect(("/%d/path"):format(port), {
    ssl_cafile = servers.ca_file(), ssl_verify = "peer", max_payload_size = 10 ^ 7,
  })
end

describe("behind nginx", function()
  local LARGE = ("0123456789"):rep(100000)

  it("a bridge passes messages both ways, and closes the connection after the peer's last one", function()
    local server = bridging.listen()
    local b = bridging.start { host = server.address, framing = "newline", framing_config = "lf" }
    local client = through(b.port)
    local peer = server:accept()
    luws.wssend(client.conn, 2, LARGE)
    assert.equal(LARGE, peer:read(#LARGE))
    peer:send "line\nrest"
    peer:close()
    till(function() return client.conn.close_code end)
    assert.same({ { 1, "line\n" }, { 1, "rest" } }, { client.told[1], client.told[2] })
    assert.equal(1000, client.conn.close_code)
  end)

  it("a bridge learns when the client closes the connection", function()
    local server = bridging.listen()
    local b = bridging.start { host = server.address }
    local client = through(b.port)
    local peer = server:accept()
    luws.wsclose(client.conn, 4001)
    assert.is_true(select(2, peer:read()))
    till(function() return b:said "code 4001" end)
  end)

  it("a server does the same", function()
    local s = serving.start {
      max_payload_size = 2 * #LARGE, on_message = function(conn, opcode, data) luws.wssend(conn, opcode, data) end,
    }
    local client = through(s.port)
    luws.wssend(client.conn, 1, LARGE)
    till(function() return client.told[1] end)
    assert.same({ 1, LARGE }, client.told[1])
    assert.equal("/path", s.conns[1].request.path)
    luws.wsclose(client.conn, 4001, "bye")
    till(function() return s.events[3] end)
    assert.same({ 4001, "bye" }, s.events[3])
  end)
end)
