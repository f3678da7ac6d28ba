--[[
JSON (RFC 8259) as Lua values and back, for programs. Arrays and empty objects keep their kind by their metatables, and
null is a value of its own, so what was decoded is encoded as it was. The work is done in src/json.rs and
src/lua/raw/json/; no metamethod is called there.
--]]

local native = ...

local public = {
  --- The metatables of arrays and of empty objects. Tables of other libraries with such a field are the same to encode.
  array_mt = { __jsontype = "array" },
  object_mt = { __jsontype = "object" },
}

local decode, ARRAY, OBJECT = native.json_decode, public.array_mt, public.object_mt

--- null as a value: the light userdata NULL, as in lua-cjson.
public.null = decode("null", ARRAY, OBJECT)

--- decode(text): returns the value of a JSON text; or nil and what is wrong with the text, and where.
function public.decode(text)
  if type(text) ~= "string" then
    return nil, ("bad argument #1 to 'decode' (string expected, got %s)"):format(type(text))
  end
  return decode(text, ARRAY, OBJECT)
end

--- encode(value): returns the JSON text of a value, with the members of objects sorted by their names; or nil, and what
-- of the value is not JSON.
public.encode = native.json_encode

--- array([list]): makes a table, or a new one, an array even if it is empty. Returns it.
function public.array(list)
  if list ~= nil and type(list) ~= "table" then
    error(("bad argument #1 to 'array' (table expected, got %s)"):format(type(list)), 2)
  end
  return setmetatable(list or {}, ARRAY)
end

return { public = public }
