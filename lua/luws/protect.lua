--[[
pcall for user code that may yield. PUC Lua 5.1 cannot yield through pcall; there, such code runs in a coroutine
of its own, and its yields are handed on to whoever resumes us.
--]]

local protect = {}

local probe = coroutine.create(function() pcall(coroutine.yield) end)
coroutine.resume(probe)

--- Whether a function under pcall can yield: LuaJIT, and Lua 5.2 and later.
protect.yields_through_pcall = coroutine.status(probe) == "suspended"

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

--- broken_off(): whether the running coroutine was broken off by its last yield, which may not go through a pcall
-- of the program's. Asked once.
function protect.broken_off()
  local root = protect.root()
  local broken = yielding[root]
  yielding[root] = nil
  return broken
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
