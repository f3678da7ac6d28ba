-- The option connecting_limit, in memory. reactor_sockets_spec.lua has what counts as the same address.

local world = require "spec.support.world"

local w, reactor, luws

before_each(function()
  w = world.new()
  reactor, luws = w.reactor, w.luws
end)

describe("connecting_limit", function()
  it("lets one connection after the other be opened, in order", function()
    local peers, opened, pending = {}, {}, {}
    for i = 1, 4 do
      local peer = w:peer()
      peer.on_request = function(self) pending[#pending + 1] = function() self:accept() self.wire:write() end end
      peers[i] = peer
      w.next_peer = nil
    end
    local conns = {}
    for i = 1, 4 do
      conns[i] = luws.wsopen("ws://peer.test/" .. i, nil, {
        wait = false, connecting_limit = 1, open_handler = function() opened[#opened + 1] = i end,
      })
    end
    for i = 1, 4 do
      w.next_peer = peers[i]
      repeat until reactor.step(1) == 0
      if i == 3 then
        luws.wsclose(conns[3]) -- one that is cancelled makes room, too
        pending = {}
      else
        assert.equal(1, #pending, i)
        table.remove(pending)()
      end
    end
    repeat until reactor.step(1) == 0
    assert.same({ 1, 2, 4 }, opened)
  end)

  it("does not hold up others, nor those who wait", function()
    local silent = w:peer { plain = true }
    local options = { wait = false, connecting_limit = 1, upgrade_timeout = 60 }
    w.next_peer = silent
    assert(luws.wsopen("ws://peer.test/", nil, options))
    reactor.step(0)
    w.next_peer = w:peer()
    assert(luws.wsopen("ws://peer.test/"))
    w.next_peer = w:peer()
    local other = assert(luws.wsopen("ws://other.test/", nil, options))
    reactor.run(1)
    assert.is_true(other.connected)
  end)

  it("gives each its time from when its turn comes", function()
    local told = {}
    for i = 1, 2 do
      w.next_peer = w:peer { plain = true }
      local peer = w.next_peer
      assert(luws.wsopen("ws://peer.test/", function(_, _, text) told[#told + 1] = { i, text, w.clock.now() } end,
        { wait = false, connecting_limit = 1, upgrade_timeout = 5 }))
      w.next_peer = peer
      reactor.step(0)
      if i == 1 then reactor.step(0) end
    end
    w.next_peer = w:peer { plain = true }
    reactor.run(60)
    assert.same({ { 1, "upgrade failed; timeout", 5 }, { 2, "upgrade failed; timeout", 10 } }, told)
  end)
end)
