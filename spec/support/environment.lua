-- Replaces the environment of Lua programs for the time of a call. Knows nothing of what the variables mean.

local unpack = require "spec.support.compat".unpack

local environment = {}

--- with(variables, f, ...): calls f(...) with this environment and no other. Returns what f returns.
function environment.with(variables, f, ...)
  local real = os.getenv
  os.getenv = function(name) return variables[name] end -- luacheck: ignore 122
  local results = { pcall(f, ...) }
  os.getenv = real -- luacheck: ignore 122
  assert(results[1], results[2])
  return unpack(results, 2, 4)
end

return environment
