-- Only one WebSocket object at a time connects to the same address (RFC 6455 section 4.1).

local object = require "spec.support.object"

for _, place in ipairs(object.places) do
  describe("WebSocket objects over " .. place, function()
    local o, requests

    before_each(function()
      o = object.new(place)
      requests = {}
    end)

    --- Has each connection lead to a peer that answers after a second. Returns the peers.
    local function slow()
      local peers = {}
      o.world.next_peer = { new_connection = function(self)
        local peer = o.world:peer()
        o.world.next_peer = self
        peer:answer_close()
        peer.hangs_up = true
        function peer.on_request()
          requests[#requests + 1] = o.clock.now()
          o.clock.after(1, function()
            peer:accept()
            peer.wire:write()
          end)
        end
        peers[#peers + 1] = peer
        return peer
      end }
      return peers
    end

    local function near(expected, times)
      assert.equal(#expected, #times)
      for i, time in ipairs(expected) do assert.is_true(math.abs(times[i] - time) < 0.3, i .. ": " .. times[i]) end
    end

    it("connect one after the other, in their order", function()
      slow()
      local opened = {}
      for i = 1, 4 do
        o:create({}, nil, ("ws://peer.test:%d/%d"):format(80 + i, i)).onopen = function() opened[#opened + 1] = i end
      end
      o:run(function() return #opened == 4 end)
      near({ 0, 1, 2, 3 }, requests)
      assert.same({ 1, 2, 3, 4 }, opened)
    end)

    it("do not wait for those that are open, nor for other hosts", function()
      slow()
      local count = 0
      for i = 1, 3 do o:create({}, nil, ("ws://host%d.test/"):format(i)).onopen = function() count = count + 1 end end
      o:run(function() return count == 3 end)
      near({ 0, 0, 0 }, requests)
      o:create({}, nil, "ws://host1.test/").onopen = function() count = count + 1 end
      o:run(function() return count == 4 end)
      near({ 0, 0, 0, 1 }, requests)
    end)

    it("go on when one fails, or is closed while it waits or connects", function()
      slow()
      local sockets, opened = {}, {}
      for i = 1, 4 do
        sockets[i] = o:create()
        sockets[i].onopen = function() opened[#opened + 1] = i end
      end
      o:run(function() return #requests == 1 end)
      sockets[2]:close() -- it waits
      sockets[1]:close() -- it connects
      o:run(function() return #opened == 2 end)
      assert.same({ 3, 4 }, opened)
      near({ 0, 0, 1 }, requests)
      assert.same({ 3, 3, 1, 1 }, { sockets[1].readyState, sockets[2].readyState, sockets[3].readyState,
        sockets[4].readyState })
    end)

    it("connect as many as connecting_limit says", function()
      slow()
      local count = 0
      for _ = 1, 4 do o:create({ connecting_limit = 2 }).onopen = function() count = count + 1 end end
      o:run(function() return count == 4 end)
      near({ 0, 0, 1, 1 }, requests)
      for _ = 1, 3 do o:create({ connecting_limit = 0 }).onopen = function() count = count + 1 end end
      o:run(function() return count == 7 end)
      near({ 0, 0, 1, 1, 2, 2, 2 }, requests)
    end)

    it("have their connect_timeout from when it is their turn", function()
      slow()
      local opened = 0
      for _ = 1, 3 do
        o:create({ connect_timeout = 1.5, upgrade_timeout = 1.5 }).onopen = function() opened = opened + 1 end
      end
      o:run(function() return opened == 3 end)
      assert.equal(3, opened)
    end)
  end)
end
