-- What luws logs, for specs: a global luup of which only the log is there.
--
--   before_each(function() logged = log.start() end)
--   after_each(log.stop)
--
-- It knows the function luup.log, and nothing of what is said. The stand-in for a whole Luup system is luup.lua.

local servers = require "spec.support.servers"

local log = {}

--- From now on all that is logged is in the list that this returns, as { level, text }.
function log.start()
  local lines = {}
  rawset(_G, "luup", { log = function(text, level) lines[#lines + 1] = { level, text } end })
  return lines
end

--- From now on there is no luup.
function log.stop()
  rawset(_G, "luup", nil)
end

--- The first server that is not verified is warned of, once in a process. This has it said now, and not to a test that
-- reads the log.
function log.spend_warning(luws)
  log.start()
  luws.wsclose(luws.wsopen(servers.url("demo", "wss", "/echo")))
  log.stop()
end

return log
