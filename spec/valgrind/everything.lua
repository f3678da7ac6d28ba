-- Uses all of luws once, in every way in which it may be used or fail, so that valgrind can look at it: each function,
-- method and option (coverage.lua finds what is missing), each kind of error, and connections in every state at the
-- end, which the closing of the Lua state has to end. Every result is checked, so that nothing passes by not happening.
--
--   LUA everything.lua    prints what was done; fails at the first thing that is otherwise than expected
--
-- Run by scripts/valgrind.sh, in the project's folder.

luup = { log = function() end } -- luacheck: ignore (handlers raise errors on purpose)

local coverage = require "spec.valgrind.coverage"
coverage.begin()
local luws = require "luws"
require "spec.support.stepping".PATIENCE = 30 -- valgrind takes its time

local began = luws.gettime()
local done = 0

--- Does each of a list's parts, { what, f, ... }, as f(...).
local function play(title, list)
  for _, part in ipairs(list) do
    local what, f = part[1], part[2]
    local ok, why = xpcall(function() f(unpack(part, 3, 10)) end, debug.traceback)
    if not ok then error(("%s: %s: %s"):format(title, what, why), 0) end
    done = done + 1
  end
  io.write(("%6.1f s  %s: %d\n"):format(luws.gettime() - began, title, #list))
end
unpack = rawget(_G, "unpack") or table.unpack -- luacheck: ignore

for _, scheme in ipairs { "ws", "wss" } do
  local echoes, failures = require "spec.soak.connections" (scheme)
  local list = { { "an echo", echoes } }
  for i, failure in ipairs(failures) do list[#list + 1] = { "failure " .. i, failure } end
  play(scheme .. ", connections that fail", list)
  play(scheme .. ", conversations", require "spec.valgrind.conversations" (scheme))
end
play("frames that are wrong", require "spec.valgrind.frames")
play("options for TLS", require "spec.valgrind.tls")
play("SockProxy", require "spec.valgrind.sockproxy")
play("proxies", require "spec.valgrind.proxies")
play("redirects and cookies", require "spec.valgrind.redirects")
-- Before connections that stay: it runs until nothing is left to drive.
play("WebSocket objects", require "spec.valgrind.websocket")
play("the reactor", require "spec.valgrind.reactor")
play("HTTP requests", require "spec.valgrind.http")
play("Engine.IO", require "spec.valgrind.engineio")
play("JSON", require "spec.valgrind.json")
play("Socket.IO", require "spec.valgrind.socketio")
play("worlds without a network", require "spec.valgrind.mock")
play("recordings", require "spec.valgrind.record")
play("servers", require "spec.valgrind.server")
play("bridges", require "spec.valgrind.bridge")
play("wrong arguments", require "spec.valgrind.arguments")

luup.left = require "spec.valgrind.left" () -- luacheck: ignore (alive until the Lua state is closed)

local missing, count = coverage.missing()
if missing[1] then error("not used: " .. table.concat(missing, ", "), 0) end
io.write(("%d things done; all of the %d functions, methods and options used\n"):format(done, count))
io.write("everything went as expected\n")
