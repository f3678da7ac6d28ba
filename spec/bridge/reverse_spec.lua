-- The bridge's other direction: clients of TCP, a server of WebSocket.

local bridging = require "spec.support.bridging"
local luws = require "luws"
local servers = require "spec.support.servers"
local serving = require "spec.support.serving"
local socket = require "socket"

local till, read = bridging.till, bridging.read

after_each(bridging.over)

--- started(handlers, more): returns a bridge to a new server, and that.
local function started(handlers, more)
  local s = serving.start(handlers)
  local options = { reverse = true, url = ("ws://127.0.0.1:%d/path"):format(s.port) }
  for name, value in pairs(more or {}) do options[name] = value end
  return bridging.start(options), s
end

describe("a bridge in reverse", function()
  it("passes the bytes of its clients on as messages, and messages as bytes", function()
    local b, s = started({
      subprotocols = { "chat" }, on_message = function(conn, opcode, data) luws.wssend(conn, opcode, data:upper()) end,
    }, { framing = "newline", framing_config = "lf", protocol = "chat" })
    local raw = b:dial()
    raw:send "one\ntwo\nthr"
    assert.equal("ONE\nTWO\n", read(raw, function(all) return #all == 8 end))
    assert.same({ "open", { 1, "one\n" }, { 1, "two\n" } }, s.events)
    assert.same({ "chat", "/path" }, { s.conns[1].subprotocol, s.conns[1].request.path })
    raw:shutdown "send"
    assert.equal("THR", read(raw))
    till(function() return #s.events == 5 end)
    assert.same({ { 1, "thr" }, { 1000, "" } }, { s.events[4], s.events[5] })
    till(function() return b:said "11 bytes in, 11 bytes out, .* code 1000$" end)
  end)

  it("verifies a server over TLS", function()
    for authority, status in pairs { [servers.ca_file()] = "^open: ", [false] = "502: .*certificate verify failed" } do
      local s = serving.start { ssl_certificate = servers.pki "server.pem", ssl_key = servers.pki "server.key" }
      local b = bridging.start {
        reverse = true, url = ("wss://localhost:%d/"):format(s.port), tls_peer_ca = authority or nil,
      }
      b:dial()
      till(function() return b:said(status) end)
    end
  end)

  it("ends the client when the server closes, after what it has sent", function()
    local b = started { on_open = function(conn)
      luws.wssend(conn, 1, "hello")
      luws.wsclose(conn, 4000)
    end }
    assert.equal("hello", read(b:dial()))
    till(function() return b.bridge:stats().connections == 0 end)
    assert.is_true(b:said "code 4000$")
  end)

  it("keeps what is secret in its URL out of its log", function()
    local s = serving.start {}
    local url = ("ws://me:hush@127.0.0.1:%d/path?token=hush"):format(s.port)
    local b = bridging.start { reverse = true, url = url, log_level = "debug" }
    b:dial():close()
    till(function() return b:said "^closed: " end)
    for _, line in ipairs(b.lines) do assert.is_nil(line:find "hush", line) end
    assert.is_true(b:said(("^open: 127.0.0.1:%%d+ %%- %%-> ws://127.0.0.1:%d/path%%?%%.%%.%%.$"):format(s.port)))
    s.srv:close()
    till(function() return s.srv:is_closed() end)
    b:dial()
    till(function() return b:said "^refused: " end)
    for _, line in ipairs(b.lines) do assert.is_nil(line:find "hush", line) end
  end)

  it("ends a client whose server is not there, and says why", function()
    local free = bridging.listen()
    free:close()
    local b = bridging.start { reverse = true, url = ("ws://127.0.0.1:%d/"):format(free.port) }
    assert.equal("", read(b:dial()))
    till(function() return b:said "refused: 127.0.0.1:%d+ ws://127.0.0.1:%d+/, 502: .*connection refused" end)
    assert.equal(1, b.bridge:stats().refused)
  end)

  it("closes with 1001, and takes nobody then", function()
    local b, s = started {}
    local raw = b:dial()
    till(function() return s.events[1] and b.bridge:stats().connections == 1 end)
    b.bridge:close()
    assert.equal("", read(raw))
    till(function() return s.events[2] end)
    assert.equal(1001, s.events[2][1])
    raw:close()
    till(function() return b.bridge:is_closed() end)
    assert.is_nil((socket.connect(b.host, b.port)))
  end)
end)
