-- Has the tests of a describe block run without LuaJIT's compiler, whose code calls no debug hooks, and keeps the
-- functions and tables that it was made for from the collector:
--
--   describe("a debug hook", function()
--     before_each(interpreted.begin)
--     after_each(interpreted.finish)
--
-- It knows nothing of what is tested.

local compiler = rawget(_G, "jit")

local interpreted = {}

--- begin(): turns the compiler off, if there is one, and forgets what it has made.
function interpreted.begin()
  if compiler then
    compiler.off()
    compiler.flush()
  end
end

--- finish(): takes away a hook that is left, and turns the compiler on.
function interpreted.finish()
  debug.sethook()
  if compiler then compiler.on() end
end

--- interrupt(count, f, is_place): calls f, and raises the error "too long" after this many instructions, or at the next
-- one after that at which is_place() is true. Returns whether it was raised before the end of f, and by how many
-- instructions it was later. In is_place, the function that is interrupted is at level 3 of the stack.
function interpreted.interrupt(count, f, is_place)
  local raised, passed = false, 0
  local function hook()
    if not is_place() then
      passed = passed + 1
      debug.sethook(hook, "", 1)
      return
    end
    debug.sethook()
    raised = true
    error("too long", 0)
  end
  pcall(function()
    debug.sethook(hook, "", count)
    f()
    debug.sethook()
  end)
  debug.sethook()
  return raised, passed
end

return interpreted
