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

return interpreted
