-- JSON: what is decoded and encoded, what keeps its kind, and what is wrong with what is neither.

local json = require "luws.json"

local INTEGERS = rawget(math, "type") ~= nil -- whether numbers may be integers

local function nested(depth) return ("["):rep(depth) .. ("]"):rep(depth) end

describe("luws.json", function()
  it("decodes every kind of value", function()
    for _, case in ipairs {
      { "true", true }, { " false\n", false }, { '"text"', "text" }, { "0", 0 }, { "-1.5e2", -150 }, { "0.1", 0.1 },
      { "9007199254740992", 2 ^ 53 }, { "1e-400", 0 }, { '"\\u0000\\"\\\\\\/\\n\\u00e9"', '\0"\\/\n\195\169' },
      { '"\\ud83d\\ude00"', "\240\159\152\128" }, { '"\195\169"', "\195\169" },
    } do
      assert.same({ case[2] }, { json.decode(case[1]) })
    end
    assert.same({ { a = { 1, "b", { c = {} } } } }, { json.decode '{"a":[1,"b",{"c":{}}]}' })
    assert.same({ a = 2 }, json.decode '{"a":1,"a":2}')
  end)

  it("replaces surrogates without their other half", function()
    local REPLACED = "\239\191\189"
    for text, expected in pairs {
      ["\\ud800"] = REPLACED, ["\\ude00\\ud83d"] = REPLACED .. REPLACED, ["\\ud83d\\u0041"] = REPLACED .. "A",
      ["\\ud800\\ud83d\\ude00"] = REPLACED .. "\240\159\152\128", ["\\\\ud800"] = "\\ud800",
    } do
      assert.equal(expected, json.decode('"' .. text .. '"'))
    end
  end)

  it("has null as a value of its own", function()
    assert.equal("userdata", type(json.null))
    assert.equal(json.null, json.decode "null")
    local list = json.decode "[null,1,null]"
    assert.equal(3, #list)
    assert.same({ json.null, 1, json.null }, list)
    assert.equal("[null,1,null]", json.encode(list))
    assert.equal("null", json.encode(json.null))
    assert.equal("null", json.encode(nil))
  end)

  it("says what is wrong with a text, and where", function()
    for text, expected in pairs {
      [""] = "EOF while parsing a value at line 1 column 0",
      ["[1,\n 2,]"] = "trailing comma at line 2 column 4",
      ["[1] x"] = "trailing characters at line 1 column 5",
      ['{"a" 1}'] = "expected `:` at line 1 column 6",
      ["{a:1}"] = "key must be a string at line 1 column 2",
      ['"\255"'] = "invalid unicode code point at line 1 column 2",
      ["1e999"] = "number out of range at line 1 column 5",
      ["nul"] = "EOF while parsing a value at line 1 column 3",
      [nested(513)] = "nested deeper than 512 levels at line 1 column 514",
      [("["):rep(100000)] = "nested deeper than 512 levels at line 1 column 513",
    } do
      assert.same({ nil, expected }, { json.decode(text) })
    end
    for _, wrong in ipairs { 5, {}, true } do
      local _, why = json.decode(wrong)
      assert.equal(("bad argument #1 to 'decode' (string expected, got %s)"):format(type(wrong)), why)
    end
  end)

  it("encodes every kind of value, with the names of an object sorted", function()
    for _, case in ipairs {
      { true, "true" }, { 0, "0" }, { -0.0, "0" }, { 1.5, "1.5" }, { 0.1, "0.1" }, { 2 ^ 53, "9007199254740992" },
      { -2 ^ 53, "-9007199254740992" }, { 1e100, "1e+100" }, { 5e-324, "5e-324" }, { 0 / 0, "null" },
      { 1 / 0, "null" }, { -1 / 0, "null" }, { 'a"\n\0\127\195\169/', '"a\\"\\n\\u0000\127\195\169/"' },
      { {}, "{}" }, { { 1, { 2 } }, "[1,[2]]" }, { { b = 1, a = { d = 1, c = 2 }, [""] = 3, B = 4 },
        '{"":3,"B":4,"a":{"c":2,"d":1},"b":1}' },
      { { ["1"] = true }, '{"1":true}' },
    } do
      assert.same({ case[2] }, { json.encode(case[1]) })
    end
  end)

  it("reads numbers back as they were", function()
    for _, number in ipairs { 1 / 3, 2 / 3, 1e21, 1.7976931348623157e308, 2 ^ 53 - 1, 123456789.123, 4.35, 2 ^ 64 } do
      assert.equal(number, json.decode(json.encode(number)))
    end
  end)

  it("keeps arrays and empty objects what they are", function()
    for _, text in ipairs { "[]", "{}", '{"a":[],"b":{},"c":[[],{}]}', "[[1]]" } do
      assert.equal(text, json.encode(json.decode(text)))
    end
    assert.equal(json.array_mt, getmetatable(json.decode "[1]"))
    assert.equal(json.object_mt, getmetatable(json.decode "{}"))
    assert.is_nil(getmetatable(json.decode '{"a":1}'))
    assert.same({ "array", "object" }, { json.array_mt.__jsontype, json.object_mt.__jsontype })
    assert.equal("[]", json.encode(json.array()))
    local list = {}
    assert.equal(list, json.array(list))
    assert.equal("[[]]", json.encode { list })
    assert.equal("[]", json.encode(setmetatable({}, { __jsontype = "array" }))) -- another library's
    assert.has_error(function() json.array(5) end, "bad argument #1 to 'array' (table expected, got number)")
  end)

  it("has integers where Lua has them", function()
    if not INTEGERS then
      assert.equal("9007199254740992", json.encode(json.decode "9007199254740993")) -- all that a double can hold
      return
    end
    local kind = rawget(math, "type")
    assert.same({ "integer", "float", "float" },
      { kind(json.decode "1"), kind(json.decode "1.0"), kind(json.decode "1e0") })
    for _, text in ipairs { "9007199254740993", "9223372036854775807", "-9223372036854775808" } do
      assert.equal(text, json.encode(json.decode(text)))
    end
    assert.equal("float", kind(json.decode "9223372036854775808"))
  end)

  it("names the place of what is not JSON", function()
    local KEYS = "the keys of a table must be 1 to n without gaps, or all strings"
    local circle = { list = {} }
    circle.list[1] = circle
    for _, case in ipairs {
      { print, "cannot encode a function" },
      { { 1, { x = { print } } }, "[2].x[1]: cannot encode a function" },
      { { a = { ["b c"] = io.stdout } }, 'a["b c"]: cannot encode a userdata' },
      { { coroutine.create(function() end) }, "[1]: cannot encode a thread" },
      { { a = { 1, 2, nil, 4 } }, "a: " .. KEYS },
      { { 1, x = 2 }, KEYS }, { { [true] = 1 }, KEYS }, { { [0] = 1 }, KEYS }, { { [1.5] = 1 }, KEYS },
      { setmetatable({ x = 1 }, json.array_mt), KEYS }, { setmetatable({ 1 }, json.object_mt), KEYS },
      { circle, "list[1]: the table contains itself" },
      { "\255", "the string is not UTF-8" }, { { a = "\237\160\128" }, "a: the string is not UTF-8" },
      { { ["\255"] = 1 }, "a key is not UTF-8" },
    } do
      assert.same({ nil, case[2] }, { json.encode(case[1]) })
    end
    local deep = {}
    for _ = 1, 512 do deep = { deep } end
    local _, why = json.encode(deep)
    assert.matches("^%[1%]%[1%].*%.%.%.: nested deeper than 512 levels$", why)
    assert.equal(nested(511), json.encode(json.decode(nested(511))))
    assert.equal(nested(512), json.encode(json.decode(nested(512))))
  end)

  it("encodes a table twice where it stands twice, and calls no metamethod", function()
    local twice = { 1 }
    assert.equal("[[1],[1]]", json.encode { twice, twice })
    local odd = setmetatable({}, { __index = error, __pairs = error, __len = error, __metatable = false })
    assert.equal("{}", json.encode(odd))
  end)
end)
