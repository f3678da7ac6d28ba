--[[
pcall for user code that may yield. PUC Lua 5.1 cannot yield through pcall; there, such code runs in a coroutine
of its own, and its yields are handed on to whoever resumes us.
--]]

local protect = {}

--- Whether a function under pcall can yield: LuaJIT, and Lua 5.2 and later. To try it would be an error in hosts that
-- have coroutines of their own and load us where there are none yet.
protect.yields_through_pcall = rawget(_G, "jit") ~= nil or _VERSION ~= "Lua 5.1"

-- Of the coroutines that are made here: in whose place they run. And of those, which have yielded for them.
local root_of = setmetatable({}, { __mode = "kv" })
local yielding = setmetatable({}, { __mode = "k" })
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
local depth = setmetatable({}, { __mode = "k" }) -- by coroutine: of events within events

--- is_deep(): whether events are delivered within events to the end of what there may be of that.
function protect.is_deep()
  local root = protect.root()
  -- Its last yield has broken the coroutine off, for it may not go through a pcall of the program's.
  if yielding[root] then depth[root], yielding[root] = nil, nil end
  return (depth[root] or 0) >= DEEPEST
end

--- enter(): delivering begins, unless it is too deep; whether it does. leave(): and ends.
function protect.enter()
  if protect.is_deep() then return false end
  local root = protect.root()
  depth[root] = (depth[root] or 0) + 1
  return true
end

function protect.leave()
  local root = protect.root()
  depth[root] = (depth[root] or 1) - 1
end

local function back(root, ...)
  yielding[root] = nil
  return ...
end

local function relay(thread, trace, ok, ...)
  if not ok then return false, trace and trace((...), thread) or (...) end
  if coroutine.status(thread) == "dead" then return true, ... end
  local root = root_of[thread]
  yielding[root] = true
  return relay(thread, trace, coroutine.resume(thread, back(root, coroutine.yield(...))))
end

--- call(f, trace): calls f(), which may yield. Returns true and what it returns; or false and its error, or
-- what trace(error, thread) makes of that. `thread` is nil where f ran in ours, and trace is then called with
-- f's stack still there.
function protect.call(f, trace)
  if protect.yields_through_pcall or not coroutine.running() then
    return xpcall(f, trace or function(err) return err end)
  end
  local thread = coroutine.create(f)
  root_of[thread] = protect.root()
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
