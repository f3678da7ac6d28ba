-- JSON, for everything.lua: each function, with what is right and what is wrong.

local json = require "luws.json"

local function roundtrip()
  for _, text in ipairs { "null", "[]", '{"a":{},"b":[1,2.5,true,"\195\169"]}', ("["):rep(512) .. ("]"):rep(512) } do
    assert(json.encode(assert(json.decode(text))) == text)
  end
  assert(json.encode { json.array(), json.null } == "[[],null]")
end

local function mistakes()
  for _, text in ipairs { "", "[1,", '{"a" 1}', '"\255"', '"\\ud800', ("["):rep(10000) } do
    local value, why = json.decode(text)
    assert(value == nil and why)
  end
  local circle = {}
  circle.list = { circle }
  for _, value in ipairs { print, { { x = io.stdout } }, circle, { 1, x = 2 }, "\255", { [("k"):rep(500)] = print } } do
    local text, why = json.encode(value)
    assert(text == nil and why)
  end
  assert(not pcall(json.array, 5))
end

return { { "texts and values", roundtrip }, { "mistakes", mistakes } }
