-- Packets that wait for a transport (engineio/queue): their order, their sizes, and what taking some of many costs.

local world = require "spec.support.world"

local queue

before_each(function() queue = world.new().import("engineio/queue").new() end)

local function packet(data) return { kind = "message", data = data } end

--- Returns the data of packets.
local function data_of(list)
  local all = {}
  for i, one in ipairs(list) do all[i] = one.data end
  return all
end

it("keeps packets in their order, also those that are put back", function()
  for i = 1, 5 do queue:add(packet(tostring(i))) end
  local list = queue:take(3)
  assert.same({ { "1", "2", "3" }, 2, false }, { data_of(list), queue:count(), queue:is_empty() })
  queue:put_back(list, 1)
  queue:add(packet "6")
  assert.same({ 5, "6" }, { queue:count(), queue:newest().data })
  assert.same({ "2", "3", "4", "5", "6" }, data_of(queue:take(math.huge)))
  assert.same({ 0, true, 0, {} }, { queue:count(), queue:is_empty(), queue.bytes, queue:take(1) })
  assert.is_nil(queue:newest())
end)

it("takes what has room in a payload, and one packet in any case", function()
  for _, data in ipairs { "aaaa", "bbbb", "cccccccccccccccc", "d" } do queue:add(packet(data)) end
  for _, expected in ipairs { { "aaaa", "bbbb" }, { "cccccccccccccccc" }, { "d" } } do
    assert.same(expected, data_of(queue:take(16, 11))) -- each has its kind, and a separator before it
  end
end)

it("knows what its packets take", function()
  for _, data in ipairs { "", "aaaa" } do queue:add(packet(data)) end
  local all = queue.bytes
  assert.is_true(all > 200) -- an empty packet takes memory, too
  queue:put_back(queue:take(2), 0)
  assert.equal(all, queue.bytes)
end)

it("takes some of many without a look at the others", function()
  local looks = 0
  local counting = { __index = function() looks = looks + 1 end }
  for _ = 1, 1000 do queue:add(setmetatable({ kind = "ping" }, counting)) end
  looks = 0
  queue:put_back(queue:take(16), 8)
  assert.is_true(looks <= 24, looks)
end)
