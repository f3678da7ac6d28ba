--[[
pcall for user code that may yield. PUC Lua 5.1 cannot yield through pcall; there, such code runs in a coroutine
of its own, and its yields are handed on to whoever resumes us.
--]]

local protect = {}

--- Whether a function under pcall can yield: LuaJIT, and Lua 5.2 and later. To try it would be an error in hosts that
-- have coroutines of their own and load us where there are none yet.
protect.yields_through_pcall = rawget(_G, "jit") ~= nil or _VERSION ~= "Lua 5.1"

-- Of the coroutines that are made here: the one that made it, and in whose place it runs.
local maker_of = setmetatable({}, { __mode = "kv" })
local root_of = setmetatable({}, { __mode = "kv" })
local MAIN = {}

--- running(): the coroutine that runs, or what stands for the main one.
function protect.running() return coroutine.running() or MAIN end

--- root(): the same, but those that are made here count as the one they were made in.
function protect.root()
  local thread = protect.running()
  return root_of[thread] or thread
end

-- A handler may call wsreceive, whose handler may, and so on, over several connections. There is an end to that (of the
-- C stack, in PUC Lua): further down nothing is received. Each coroutine has a stack of its own, and may be given up
-- in a handler for good.
local DEEPEST = 50
local depth = setmetatable({}, { __mode = "k" }) -- by coroutine: of deliveries within deliveries
local delivers = setmetatable({}, { __mode = "k" }) -- the functions that do it

--- How many calls of these functions (keys) are on a stack of which info_at tells what is at a level.
local function on_stack(functions, info_at)
  local total, level = 0, 0
  while true do
    local info = info_at(level)
    if not info then return total end
    if functions[info.func] then total = total + 1 end
    level = level + 1
  end
end

--- calls_of(functions, thread): how many calls of these functions (keys) there are in a coroutine, the running one if
-- none is given.
function protect.calls_of(functions, thread)
  return on_stack(functions, function(level)
    if thread then return debug.getinfo(thread, level, "f") end
    return debug.getinfo(level, "f")
  end)
end

--- How many deliveries there really are, in the running coroutine and in those that wait for it.
local function count()
  local total, thread = protect.calls_of(delivers), maker_of[protect.running()]
  while thread do
    total = total + protect.calls_of(delivers, thread)
    thread = maker_of[thread]
  end
  return total
end

--- is_deep(): whether deliveries are within deliveries to the end of what there may be of that.
function protect.is_deep()
  local root = protect.root()
  if (depth[root] or 0) < DEEPEST then return false end
  -- An error of others (of a hook, of a finaliser, of a yield through a pcall of the program's) may have ended some.
  depth[root] = count()
  return depth[root] >= DEEPEST
end

--- delivery(f): a function that calls f with two arguments and counts that. Whoever calls it has asked is_deep before.
function protect.delivery(f)
  delivers[f] = true
  return function(a, b)
    local root = protect.root()
    depth[root] = (depth[root] or 0) + 1
    f(a, b)
    depth[root] = math.max(0, depth[root] - 1)
  end
end

local function relay(thread, trace, ok, ...)
  if not ok then return false, trace and trace((...), thread) or (...) end
  if coroutine.status(thread) == "dead" then return true, ... end
  return relay(thread, trace, coroutine.resume(thread, coroutine.yield(...)))
end

--- call(f, trace): calls f(), which may yield. Returns true and what it returns; or false and its error, or
-- what trace(error, thread) makes of that. `thread` is nil where f ran in ours, and trace is then called with
-- f's stack still there.
function protect.call(f, trace)
  if protect.yields_through_pcall or not coroutine.running() then
    return xpcall(f, trace or function(err) return err end)
  end
  local thread = coroutine.create(f)
  maker_of[thread], root_of[thread] = coroutine.running(), protect.root()
  return relay(thread, trace, coroutine.resume(thread))
end

--- text(value): what tostring makes of a value, or nil and why it makes nothing of it.
function protect.text(value)
  local ok, text = pcall(tostring, value)
  if not ok then
    local told, why = pcall(tostring, text)
    return nil, told and type(why) == "string" and why or "its __tostring fails"
  end
  if type(text) ~= "string" then return nil, "its __tostring returns no string" end
  return text
end

--- trace(err, thread): an error as text, with the stack of where it was raised.
function protect.trace(err, thread)
  local text = protect.text(err) or type(err)
  if thread then return debug.traceback(thread, text) end
  return debug.traceback(text, 2)
end

return protect
