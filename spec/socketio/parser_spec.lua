-- Packets of Socket.IO: what Lua values become in them and back, and which packets and values are wrong. The grammar
-- itself is tested in src/socketio.rs.

local world = require "spec.support.world"
local unpack = require "spec.support.compat".unpack

local THREAD = coroutine.create(function() end)

local w, binary, json, parser

setup(function()
  w = world.new()
  binary, json, parser = w.import "binary", w.import("json").public, w.import "socketio/parser"
end)

local function packed(...) return { n = select("#", ...), ... } end

--- Returns the packets that messages make, each as a list with n; and what the last add returned.
local function read(messages, most, as_strings)
  local decoder, packets, last = parser.decoder(most or math.huge, as_strings), {}, nil
  for _, message in ipairs(messages) do
    last = packed(decoder:add(message, function(list, ...) list[#list + 1] = packed(...) end, packets))
  end
  return packets, last
end

describe("binary values", function()
  it("have their bytes, their length, parts, and equality by content", function()
    for _, bytes in ipairs { "", "a", "\0\255", ("x"):rep(70000) } do
      local value = binary.new(bytes)
      assert.equal("userdata", type(value))
      assert.equal(bytes, tostring(value))
      assert.equal(#bytes, #value)
      assert.is_true(value == binary.new(bytes))
      assert.is_false(value == binary.new(bytes .. "b"))
      assert.equal(bytes:sub(2, -1), value:sub(2, -1))
      assert.equal(bytes:sub(1, 1), value:sub(1, 1))
      assert.is_true(binary.is(value))
    end
  end)

  it("are told from every other value", function()
    local others = { 1, "a", true, {}, print, THREAD, io.stdout, json.null, setmetatable({}, {}) }
    for _, other in ipairs(others) do
      assert.is_false(binary.is(other))
      assert.is_nil(binary.bytes(other))
    end
    assert.is_false(binary.is(nil))
  end)

  it("are made of strings only, and show no metatable", function()
    assert.has_error(function() binary.new(5) end, "bad argument #1 to 'binary' (string expected, got number)")
    assert.has_error(function() binary.new "a".sub(5, 1) end,
      "calling 'sub' on bad self (binary value expected, got number)")
    assert.equal("binary value of luws", getmetatable(binary.new ""))
  end)
end)

describe("encoding", function()
  it("writes each kind of packet", function()
    for text, values in pairs {
      ["0"] = packed(parser.CONNECT, "/", nil), ['0{"token":"x"}'] = packed(parser.CONNECT, "/", nil, { token = "x" }),
      ["0/adm,"] = packed(parser.CONNECT, "/adm", nil, nil), ["1/adm,"] = packed(parser.DISCONNECT, "/adm"),
      ['2["m",1]'] = packed(parser.EVENT, "/", nil, "m", 1), ['2/adm,7["m"]'] = packed(parser.EVENT, "/adm", 7, "m"),
      ["3/adm,7[]"] = packed(parser.ACK, "/adm", 7), ['30["a",null]'] = packed(parser.ACK, "/", 0, "a", json.null),
      ['4{"message":"no"}'] = packed(parser.CONNECT_ERROR, "/", nil, { message = "no" }),
      ['4/x,"no"'] = packed(parser.CONNECT_ERROR, "/x", nil, "no"),
      ['29007199254740992["m"]'] = packed(parser.EVENT, "/", 2 ^ 53, "m"),
    } do
      assert.same({ text }, { parser.encode(unpack(values, 1, values.n)) })
    end
  end)

  it("counts nil among the arguments", function()
    assert.equal('2["m",null,1,null]', parser.encode(parser.EVENT, "/", nil, "m", nil, 1, nil))
    assert.equal("35[null]", parser.encode(parser.ACK, "/", 5, nil))
  end)

  it("puts binary values at any depth apart, in the order in which the text has them", function()
    local a, b, c = binary.new "a", binary.new "b", binary.new ""
    assert.same({ '53-/x,1["m",{"k":[{"_placeholder":true,"num":0}],"z":{"_placeholder":true,"num":1}},' ..
      '{"_placeholder":true,"num":2}]', b, a, c },
      { parser.encode(parser.EVENT, "/x", 1, "m", { z = a, k = { b } }, c) })
    assert.same({ '61-2[{"_placeholder":true,"num":0}]', a }, { parser.encode(parser.ACK, "/", 2, a) })
    assert.same({ '52-["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', a, a },
      { parser.encode(parser.EVENT, "/", nil, "m", a, a) })
  end)

  it("says which argument cannot be sent, and why", function()
    local circle = {}
    circle.list = { 1, circle }
    local deep, many = {}, {}
    for _ = 1, 512 do deep = { deep } end
    for i = 1, 1001 do many[i] = binary.new "" end
    for _, case in ipairs {
      { "argument 1: cannot encode a function", print },
      { "argument 2: list[3]: cannot encode a thread", 1, { list = { 1, 2, THREAD } } },
      { "argument 1: cannot encode a userdata", io.stdout },
      { "argument 1: list[2]: the table contains itself", circle },
      { "argument 1: the keys of a table must be 1 to n without gaps, or all strings", { 1, nil, 3, x = 2 } },
      { "argument 1: a.b: the string is not UTF-8; use io.binary for bytes", { a = { b = "\255" } } },
      { "argument 1: a key is not UTF-8", { ["\255"] = 1 } },
      { "argument 1: [1001]: more than 1000 binary values", many },
      { "an object with _placeholder = true cannot be sent together with binary values", binary.new "",
        { _placeholder = true, num = 0 } },
    } do
      assert.same({ nil, case[1] }, { parser.encode(parser.EVENT, "/", nil, "m", unpack(case, 2)) })
    end
    local _, why = parser.encode(parser.EVENT, "/", nil, "m", deep)
    assert.matches("^argument 1: %[1%].*: nested deeper than 512 levels$", why)
    assert.same({ nil, "argument 1: cannot encode a function" }, { parser.encode(parser.ACK, "/", 1, print) })
    assert.same({ nil, "more than 1000 arguments" }, { parser.encode(parser.ACK, "/", 1, unpack(many)) })
  end)

  it("sends an object that looks like a placeholder if there is nothing to confuse it with", function()
    local text = parser.encode(parser.EVENT, "/", nil, "m", { _placeholder = true, num = 0 })
    assert.equal('2["m",{"_placeholder":true,"num":0}]', text)
    assert.same({ { n = 5, 2, "/", nil, "m", { _placeholder = true, num = 0 } } }, (read { text }))
  end)
end)

describe("decoding", function()
  it("gives the kind, the namespace, the id and the arguments", function()
    for text, expected in pairs {
      ["0"] = packed(0, "/", nil), ['0/x,{"sid":"1"}'] = packed(0, "/x", nil, { sid = "1" }),
      ["1/x"] = packed(1, "/x", nil), ['2["m"]'] = packed(2, "/", nil, "m"),
      ['2/x?a=b,["m"]'] = packed(2, "/x?a=b", nil, "m"), ['27["m"]'] = packed(2, "/", 7, "m"),
      ['2["m",null,[null],null]'] = packed(2, "/", nil, "m", nil, { json.null }, nil),
      ["2[5,false]"] = packed(2, "/", nil, 5, false), ["3/x,12[]"] = packed(3, "/x", 12),
      ["3/x,12[null]"] = packed(3, "/x", 12, nil), ['4"no"'] = packed(4, "/", nil, "no"),
    } do
      assert.same({ expected }, (read { text }), text)
    end
  end)

  it("waits for binary values and puts each in its places, by number", function()
    local a, b = binary.new "a", binary.new "b"
    local text = '52-/x,3["m",{"_placeholder":true,"num":1},[{"k":{"num":0,"_placeholder":true}}],' ..
      '{"_placeholder":true,"num":1}]'
    local packets, last = read { text, a, b }
    assert.same({ n = 1, true }, last)
    assert.same({ { n = 7, 2, "/x", 3, "m", b, { { k = a } }, b } }, packets)
    packets = read({ text, a, b }, nil, true)
    assert.same({ n = 7, 2, "/x", 3, "m", "b", { { k = "a" } }, "b" }, packets[1])
    local some, waits = read { text, a }
    assert.same({ {}, { n = 1, true } }, { some, waits })
  end)

  it("gives back what was encoded", function()
    for _, args in ipairs {
      packed("m"), packed("m", nil, nil), packed("m", { a = { json.null, json.array(), {} } }, 0.1, -5, "\0\31\"é"),
      packed("m", binary.new "x", { b = { binary.new "" } }), packed("m", true, false, json.array { 1, { 2 } }),
    } do
      local messages = { parser.encode(parser.EVENT, "/n", 9, unpack(args, 1, args.n)) }
      local again = read(messages)[1]
      assert.same({ parser.EVENT, "/n", 9, args.n + 3 }, { again[1], again[2], again[3], again.n })
      assert.same(messages, { parser.encode(unpack(again, 1, again.n)) })
    end
  end)

  it("says which rule a message breaks", function()
    local a, text = binary.new "aaa", '52-["m",{"_placeholder":true,"num":0}]'
    for _, case in ipairs {
      { "binary data without a packet", { a } },
      { "binary data without a packet", { text, a, a, a } },
      { "text in place of binary data", { text, a, '2["m"]' } },
      { "text in place of binary data", { text, text } },
      { "the binary values of a packet are too large", { text, a, a }, #text + 5 },
      { "unknown packet type", { "9" } }, { "invalid payload", { '2["disconnect"]' } },
      { "invalid payload", { "2[]" } }, { "invalid payload", { "2{}" } },
      { "expected value at line 1 column 1", { '2abc["m"]' } },
      { "illegal attachments", { '51-["m",{"_placeholder":true,"num":1}]' } },
      { "nested deeper than 512 levels at line 1 column 517", { '2["m",' .. ("["):rep(1000) } },
      { "invalid unicode code point at line 1 column 3", { '2["\255"]' } },
    } do
      local _, last = read(case[2], case[3])
      assert.same({ n = 2, nil, case[1] }, last)
    end
  end)
end)
