--[[
Jars of cookies: the module luws.cookies, and what the opening of a connection does with one. The rules about cookies
are native (src/cookies). Knows no connection.

A connection takes the jars of any world, and its own world's clock says what in them has expired.
--]]

local native, import, world = ...
local clock, guard = import("clock"), import("guard")

local cookies = { public = {} }

-- The key in a jar of the native one.
local JAR = {}

local Jar = { [world.HOME] = JAR }
Jar.__index = Jar

function Jar.__tostring() return "luws-cookies" end

--- key_of(value): returns the key of the native one in a jar, whose metatable may be another world's; nil for what is
-- no jar.
local function key_of(value)
  local meta = type(value) == "table" and guard.metatable_of(value)
  return type(meta) == "table" and rawget(meta, world.HOME) or nil
end

--- method(name, count): returns a method of jars that calls the native function of this name with this many strings.
local function method(name, count)
  local f = native["jar_" .. name]
  return function(jar, ...)
    local key = key_of(jar)
    if not key then return nil, ("bad self for '%s' (jar expected, got %s)"):format(name, type(jar)) end
    for i = 1, count do
      local kind = type((select(i, ...)))
      if kind ~= "string" then
        return nil, ("bad argument #%d to '%s' (string expected, got %s)"):format(i, name, kind)
      end
    end
    return f(rawget(jar, key), clock.time(), ...)
  end
end

--- set(url, line): keeps a cookie from the value of a Set-Cookie header that has come from this URL (ws, wss, http or
-- https). Returns true, or nil and why it is not kept.
Jar.set = method("set", 2)

--- header(url): returns the value of the Cookie header for a request to this URL; nil if there are no cookies for it.
Jar.header = method("header", 1)

--- encode(): returns the cookies as the text of a cookie file in Netscape's format. decode(text): adds those of such a
-- text. Returns true, or nil and what is wrong; then nothing was added.
Jar.encode, Jar.decode = method("encode", 0), method("decode", 1)

--- save(path): writes that text to a file that only its owner may read. load(path): adds the cookies of a file. Each
-- returns true, or nil and why not.
Jar.save, Jar.load = method("save", 1), method("load", 1)

--- jar(): returns an empty jar.
function cookies.public.jar() return setmetatable({ [JAR] = native.jar() }, Jar) end

--- read(value): reads the option cookies.
function cookies.read(value)
  local key = key_of(value)
  if key and rawget(value, key) then return value end
  return nil, "a jar of luws.cookies expected, got " .. type(value)
end

--- keep(jar, url, headers): keeps the cookies of a response's headers. What is not a cookie for this URL is passed
-- over, as in browsers.
function cookies.keep(jar, url, headers)
  for _, line in ipairs(headers["set-cookie"] or {}) do Jar.set(jar, url, line) end
end

--- Calls f(cookie, name) for each cookie in the value of a Cookie header.
local function each(value, f)
  for cookie in value:gmatch "[^;]+" do
    cookie = cookie:match "^%s*(.-)%s*$"
    f(cookie, cookie:match "^([^=]-)%s*=")
  end
end

--- join(jar, url, own): returns the value of the Cookie header for this URL. The user's own cookies come first, and
-- those of the jar that have the same names are left out. Returns nil if there are none.
function cookies.join(jar, url, own)
  local kept = jar and Jar.header(jar, url)
  if not (own and kept) then return own or kept end
  local names, all = {}, { own }
  each(own, function(_, name) names[name or ""] = true end)
  each(kept, function(cookie, name)
    if not names[name] then all[#all + 1] = cookie end
  end)
  return table.concat(all, "; ")
end

return cookies
