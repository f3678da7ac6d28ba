-- The requests of a bridge's clients: where they come in, what they offer, and what becomes of those that never end or
-- ask for something else.

local bridging = require "spec.support.bridging"
local serving = require "spec.support.serving"
local unpack = require "spec.support.compat".unpack

local till, read = bridging.till, bridging.read

after_each(bridging.over)

describe("a bridge", function()
  it("takes IPv4 and IPv6 at ::, and says who they are", function()
    local server = bridging.listen()
    local b = bridging.start { listen = "::", host = server.address }
    for _, host in ipairs { "127.0.0.1", "::1" } do
      b.host = host
      b:open "/"
      server:accept()
      local client = host == "::1" and "%[::1%]" or host
      till(function() return b:said(("^open: %s:%%d+ / %%->"):format(client)) end)
    end
  end)

  -- the option protocol, the lines of the request, and the subprotocol of the answer
  for name, case in pairs {
    ["by its name, in the client's spelling"] = { "MQTT", { "x", " a ,mqtt" }, "mqtt" },
    ["as the first that is offered"] = { "*", { " b", "a, b" }, "b" },
    ["not at all, if it is not offered"] = { "mqtt", { "a", "b" }, nil },
    ["not at all, if none is wanted"] = { nil, { "a" }, nil },
    ["not at all, if none is offered"] = { "*", {}, nil },
  } do
    it("selects the subprotocol " .. name, function()
      local b = bridging.start { host = bridging.listen().address, protocol = case[1] }
      local lines = {}
      for i, offer in ipairs(case[2]) do lines[i] = "Sec-WebSocket-Protocol: " .. offer end
      local _, head = b:open("/", unpack(lines))
      assert.equal(case[3], head:match "\r\n[Ss]ec%-[Ww]eb[Ss]ocket%-[Pp]rotocol: ([^\r]*)")
    end)
  end

  it("takes a message that comes with the request, before the peer is there", function()
    local server = bridging.listen()
    local b = bridging.start { host = server.address }
    local raw = b:dial()
    raw:send(serving.upgrade "/" .. bridging.frame(1, "early"))
    local peer = server:accept()
    assert.equal("early", peer:read(5))
    peer:send "late"
    assert.matches("^HTTP/1.1 101 .*\r\n\r\n\129\4late$", (read(raw, function(all) return all:find "late" end)))
  end)

  it("takes the cookies of all lines", function()
    local seen
    local b = bridging.start { peer = function(request) seen = request.headers.cookie end }
    assert.equal(404, (b:refused("/", "Cookie: a=1", "cookie: b=2; c=3")))
    assert.equal("a=1; b=2; c=3", seen)
  end)

  it("ends a request that is not complete in handshake_timeout, and says so", function()
    local server = bridging.listen()
    local b = bridging.start { host = server.address, handshake_timeout = 0.1 }
    for _, case in ipairs { { "", nil }, { "GET / HTTP/1.1\r\n", 408 } } do
      local raw = b:dial()
      raw:send(case[1])
      local all, ended = read(raw)
      assert.same({ case[2], true }, { serving.status(all), ended })
    end
    assert.is_nil((server.raw:accept()))
    till(function() return b:said "^refused: 127.0.0.1:%d+ %-, 408: " end)
  end)

  it("refuses a request that is too large", function()
    local b = bridging.start { host = bridging.listen().address }
    assert.equal(431, (b:refused("/", "X: " .. ("x"):rep(20000))))
    assert.is_true(b:said "^refused: 127.0.0.1:%d+ %-, 431: ")
  end)

  it("tells its status to GET alone, and to those who have the password", function()
    local b = bridging.start { host = bridging.listen().address, status = "/status", auth = "user:password" }
    local known = "Authorization: Basic " .. require("mime").b64 "user:password"
    for _, case in ipairs {
      { 401, "GET /status HTTP/1.1" }, { 200, "GET /status HTTP/1.1", known }, { 200, "GET /status?x HTTP/1.1", known },
      { 405, "POST /status HTTP/1.1", known }, { 405, "HEAD /status HTTP/1.1", known },
      { 426, "GET /status/ HTTP/1.1", known },
    } do
      local all = b:raw(serving.request(case[2], "Connection: close", case[3]))
      assert.equal(case[1], serving.status(all), case[2])
      assert.equal(case[1] == 200, all:find('{"', 1, true) ~= nil)
    end
  end)
end)
