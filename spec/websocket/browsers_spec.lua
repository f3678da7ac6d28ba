-- What WebSocket clients in other languages lack, by the names that their authors give it: each is here.

local object = require "spec.support.object"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local reactor = require "luws.reactor"
local WebSocket = require "luws.websocket"

describe("a feature that is missing elsewhere:", function()
  it("bufferedAmount is right, whatever the socket is", function()
    for _, place in ipairs(object.places) do
      local o = object.new(place)
      local ws, peer = o:open()
      peer:pause(0)
      ws:send(("x"):rep(1000))
      o.WebSocket.step(0.1)
      assert.equal(1000, ws.bufferedAmount)
    end
  end)

  it("subprotocols are offered, and the selected one is told", function()
    local o = object.new()
    local ws, peer = o:open({}, { "v2.chat", "chat" }, o.world:peer { subprotocol = "chat" })
    assert.same({ "chat", "v2.chat, chat" }, { ws.protocol, peer.request.headers["sec-websocket-protocol"] })
  end)

  it("extensions: messages are compressed", function()
    local o = object.new()
    local ws, peer = o:open({}, nil, o.world:peer { deflate = {} })
    assert.equal("permessage-deflate", ws.extensions)
    ws:send(("x"):rep(10000))
    o.WebSocket.step(0.1)
    assert.same({ { 1, ("x"):rep(10000) } }, peer.events)
    assert.is_true(peer.frames[1].length < 100 and peer.frames[1].rsv == 4)
  end)

  it("cookies are kept, also from a server that refuses, and sent", function()
    local o = object.new()
    local jar = o.world.import "cookies".public.jar()
    o.world:play { { "upgrade", headers = { "Set-Cookie: a=1", "Set-Cookie: b=2" }, status = "HTTP/1.1 403 Forbidden" },
      { "hold" } }
    o:create { cookies = jar }
    o:run()
    assert.same({ "3 error", "3 close 1006 unclean" }, o.seen)
    local _, peer = o:open { cookies = jar }
    assert.equal("a=1; b=2", peer.request.headers.cookie)
  end)

  it("no more than one connection to an address is CONNECTING", function()
    local o = object.new()
    local peers = {}
    o.world.next_peer = { new_connection = function(self)
      local peer = o.world:peer()
      o.world.next_peer = self
      function peer.on_request() end
      peers[#peers + 1] = peer
      return peer
    end }
    o:create()
    o:create()
    o.WebSocket.step(1)
    assert.equal(1, #peers)
  end)

  it("wss works over any socket", function()
    local ws = WebSocket(servers.url("demo", "wss", "/echo"), nil, {
      ssl_cafile = servers.ca_file(),
      connect = function(host, port) return require "socket".connect(host, port) end,
    })
    local answer
    function ws.onopen() ws:send "secret" end
    function ws.onmessage(event)
      answer = event.data
      ws:close()
    end
    reactor.run(10)
    assert.equal("secret", answer)
  end)

  it("error events are fired, and tell why", function()
    local o = object.new()
    o.world.dials = { { 0, "connection refused" } }
    o:create()
    o:run()
    assert.same({ "3 error", "3 close 1006 unclean" }, o.seen)
    assert.matches("connection refused", o.events[1].message)
  end)

  it("a head may come in pieces, with frames right behind it", function()
    local o = object.new()
    o.world:play { { "upgrade", pieces = 7, interval = 0.01, tail = scripted.frame { payload = "early" } }, { "hold" } }
    o:create()
    o:run(function() return o.seen[2] end)
    assert.same({ "1 open", "1 message text early" }, o.seen)
  end)

  it("handlers and listeners are one list", function()
    local o = object.new()
    local ws, order = o.WebSocket "ws://peer.test/", {}
    ws:addEventListener("close", function() order[#order + 1] = 1 end)
    function ws.onclose() order[#order + 1] = 2 end
    ws:addEventListener("close", function() order[#order + 1] = 3 end)
    ws:close()
    o:run()
    assert.same({ 1, 2, 3 }, order)
  end)

  it("a socket may end, fail, and take only a part", function()
    local memory_socket = require "spec.support.memory_socket"
    local o = object.new()
    local taken = 0
    local faults = { send = function(self, bytes)
      taken = taken + 1
      local count = self:take(bytes:sub(1, 3))
      if count < #bytes then return nil, "timeout", count end
      return count
    end }
    local peer = o.world:peer():answer_close()
    local ws = o:create { connect = function() return memory_socket.new(faults, o.world, peer) end }
    o:run(function() return ws.readyState == 1 end)
    ws:send "in small pieces"
    o:run(function() return peer.events[1] end)
    assert.same({ 1, "in small pieces" }, peer.events[1])
    assert.is_true(taken > 5)
    function faults.receive() return nil, "the tunnel is gone", "" end
    o:run()
    assert.matches("the tunnel is gone", o.events[#o.events - 1].message)
  end)
end)
