-- Packets and payloads of Engine.IO, of revisions 4 and 3: what is sent, and what is read back, row by row.

local world = require "spec.support.world"

local w = world.new()
local binary = w.import "binary"
local revisions = { [4] = w.import "engineio/packets", [3] = w.import "engineio/packets3" }

local B = binary.new

--- Returns a value in a form that can be compared.
local function shown(value) return type(value) == "userdata" and { tostring(value) } or value end

--- Returns the packets of a body, as { kind, data }, and whether all of it was read.
local function read(revision, body, media_type)
  local found = {}
  for kind, data in revisions[revision].each(body, media_type) do
    if kind == "error" then return found, false end
    found[#found + 1] = { kind, shown(data) }
  end
  return found, true
end

local MIME, BYTES = "text/plain; charset=UTF-8", "application/octet-stream"

describe("a packet", function()
  -- The revision, the packet, the frame, and whether that is binary; then the same for a peer that takes no binary.
  for _, case in ipairs {
    { 4, { "open", "{}" }, "0{}" }, { 4, { "close" }, "1" }, { 4, { "ping", "probe" }, "2probe" },
    { 4, { "pong" }, "3" },
    { 4, { "message", "é" }, "4é" }, { 4, { "message" }, "4" }, { 4, { "upgrade" }, "5" }, { 4, { "noop" }, "6" },
    { 4, { "message", B "\0\255a" }, "\0\255a", true, "bAP9h" }, { 4, { "message", B "" }, "", true, "b" },
    { 3, { "message", "é" }, "4é" }, { 3, { "ping" }, "2" },
    { 3, { "message", B "\0\255a" }, "\4\0\255a", true, "b4AP9h" }, { 3, { "message", B "" }, "\4", true, "b4" },
  } do
    it(("of revision %d is %q"):format(case[1], case[3]), function()
      local codec, packet = revisions[case[1]], { kind = case[2][1], data = case[2][2] }
      local frame, is_binary = codec.frame(packet.kind, packet.data, true)
      assert.same({ case[3], case[4] or false }, { frame, is_binary })
      local parse = is_binary and codec.parse_bytes or codec.parse
      local expected = packet.data and shown(packet.data)
      local kind, data = parse(frame)
      assert.same({ packet.kind, expected }, { kind, shown(data) })
      local text, is_text_binary = codec.frame(packet.kind, packet.data, false)
      assert.same({ case[5] or case[3], false }, { text, is_text_binary })
      kind, data = codec.parse(text)
      assert.same({ packet.kind, expected }, { kind, shown(data) })
    end)
  end

  it("begins with a digit from 0 to 6, or is base64", function()
    for _, text in ipairs { "", "7", "9x", "x", "a", "\0", "b!", "bAP9", "B", " 4", "-1" } do
      assert.is_nil((revisions[4].parse(text)), text)
    end
    for _, text in ipairs { "", "7", "b", "b7AA==", "b4!", "x" } do assert.is_nil((revisions[3].parse(text)), text) end
    for _, bytes in ipairs { "", "\7a", "4a" } do assert.is_nil((revisions[3].parse_bytes(bytes)), bytes) end
  end)
end)

describe("a payload", function()
  -- The revision, the packets, the body, its type if it is binary; and the body for peers that take no binary.
  for _, case in ipairs {
    { 4, { { "message", "a" } }, "4a" },
    { 4, { { "message", "é" }, { "noop" }, { "message", B "\1" } }, "4é\0306\30bAQ==" },
    { 3, { { "message", "a" } }, "2:4a" },
    { 3, { { "message", "é€" }, { "noop" } }, "3:4é€1:6" },
    { 3, { { "message", "a\240\159\152\128b" } }, "5:4a\240\159\152\128b" }, -- a character of two units
    { 3, { { "message", "a:b" }, { "message" } }, "4:4a:b1:4" },
    { 3, { { "message", "é" }, { "message", B "\1\2" } }, "\0\3\2554é\1\3\255\4\1\2", BYTES, "2:4é6:b4AQI=" },
    { 3, { { "message", B(("x"):rep(12)) } }, "\1\1\3\255\4" .. ("x"):rep(12), BYTES, "18:b4" .. "eHh4eHh4eHh4eHh4" },
  } do
    it(("of revision %d is %q"):format(case[1], case[3]), function()
      local codec, list, expected = revisions[case[1]], {}, {}
      for i, packet in ipairs(case[2]) do
        list[i], expected[i] = { kind = packet[1], data = packet[2] }, { packet[1], shown(packet[2]) }
      end
      assert.same({ case[3], case[4] or MIME }, { codec.payload(list, true) })
      assert.same({ expected, true }, { read(case[1], case[3], case[4]) })
      local body, media_type = codec.payload(list, false)
      assert.same({ case[5] or case[3], MIME }, { body, media_type })
      assert.same({ expected, true }, { read(case[1], body, media_type) })
    end)
  end

  it("that has something else in it is read up to there", function()
    local a = { "message", "a" }
    for _, case in ipairs {
      { 4, "", {} }, { 4, "4a\30", { a } }, { 4, "4a\30x\0304a", { a } }, { 4, "\0304a", {} }, { 4, "4\255", {} },
      { 4, "97:0{", {} },
      { 3, "", {} }, { 3, "2:4a2", { a } }, { 3, "2:4a3:4a", { a } }, { 3, ":4a", {} }, { 3, "-1:4a", {} },
      { 3, "x", {} },
      { 3, "2:4a1:9", { a } }, { 3, "99999999999:4a", {} }, { 3, "2:4\240\159\152\128", {} }, { 3, "4a", {} },
      { 3, "\0\2\2554a\1\9\255\4", { a }, BYTES }, { 3, "\0\2\2554a\2\1\2554", { a }, BYTES },
      { 3, "\0\2\2554a\0\255", { a }, BYTES }, { 3, "\0\2\2554", {}, BYTES }, { 3, "\0" .. ("\1"):rep(400), {}, BYTES },
      { 3, "\0\2\2554\255", {}, BYTES },
    } do
      assert.same({ case[3], false }, { read(case[1], case[2], case[4]) }, case[2])
    end
    assert.same({ { a }, true }, { read(3, "0:2:4a") }) -- as npm's
  end)

  it("is over after its end, and after what is no packet", function()
    for _, case in ipairs { { 4, "4a" }, { 4, "4a\30x\0304a" }, { 4, "" }, { 3, "2:4a" }, { 3, "2:4ax" }, { 3, "" } } do
      local next_packet = revisions[case[1]].each(case[2])
      repeat local kind = next_packet() until not kind or kind == "error"
      for _ = 1, 3 do assert.is_nil(next_packet()) end
    end
  end)

  it("of a megabyte takes time in proportion", function()
    local n = 100000
    local text = ("é"):rep(n)
    local began = os.clock()
    for revision, body in pairs {
      [4] = ("4é\30"):rep(n) .. "6", [3] = ("2:4é"):rep(n), [5] = (n + 1) .. ":4" .. text,
      [6] = (2 * n + 1) .. ":4" .. ("\240\159\152\128"):rep(n),
    } do
      local count = 0
      for kind in revisions[revision == 4 and 4 or 3].each(body) do
        assert.not_equal("error", kind)
        count = count + 1
      end
      assert.equal(({ [3] = n, [4] = n + 1 })[revision] or 1, count)
    end
    assert.is_true(os.clock() - began < 5)
  end)

  it("has the size that is said of its packets", function()
    for _, data in ipairs { "é", B "", B "a", B "ab", B "abc", B "abcd" } do
      local packet = { kind = "message", data = data }
      assert.equal(#revisions[4].payload { packet }, revisions[4].size(packet))
    end
  end)
end)

it("a text that could not be sent by every transport is refused", function()
  for _, case in ipairs {
    { "a\30b", "bad argument #1 to 'send' (a text cannot have U+001E in it)" },
    { nil, "bad argument #1 to 'send' (string or binary value expected, got nil)" },
    { io.stdout, "bad argument #1 to 'send' (string or binary value expected, got userdata)" },
  } do
    assert.same({ false, case[2] }, { pcall(revisions[4].check, case[1]) })
  end
  local ok, why = pcall(revisions[4].check, "\255")
  assert.is_false(ok)
  assert.matches("see engineio.binary", why)
  for _, data in ipairs { "", "é", B "\255\30" } do revisions[4].check(data) end
end)
