-- Records what luws logs, for specs: sets a global luup that has only a log.
--
--   before_each(function() logged = log.start() end)
--   after_each(log.stop)
--
-- This file knows the function luup.log, and nothing of what is logged. luup.lua is a stand-in for a whole Luup system.

local servers = require "spec.support.servers"

local log = {}

--- Starts recording. Returns the list of all that is logged from now on, as { level, text }.
function log.start()
  local lines = {}
  rawset(_G, "luup", { log = function(text, level) lines[#lines + 1] = { level, text } end })
  return lines
end

--- Removes luup.
function log.stop()
  rawset(_G, "luup", nil)
end

--- capture(f): calls f(). Returns the texts that were logged meanwhile.
function log.capture(f)
  local lines, texts = log.start(), {}
  local ok, err = pcall(f)
  log.stop()
  assert(ok, err)
  for i, line in ipairs(lines) do texts[i] = line[2] end
  return texts
end

--- Uses up the warning about the first unverified server, which is logged once per process, so that no test that reads
-- the log gets it.
function log.spend_warning(luws)
  log.start()
  luws.wsclose(luws.wsopen(servers.url("demo", "wss", "/echo")))
  log.stop()
end

return log
