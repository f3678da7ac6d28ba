--[[
serve_luws.lua READY: the server that the Autobahn suite's fuzzing client tests, for Lua 5.1 and LuaJIT. Listens on a
free port of 127.0.0.1, writes `ws PORT` to the file READY, and ends with its standard input.

It echoes each message with its own opcode. It knows nothing of what a case is about; the suite judges.
--]]

local luws = require "luws"
local reactor = require "luws.reactor"
local server = require "luws.server"

local ready = ...

local srv = assert(server.listen {
  port = 0,
  on_message = function(conn, opcode, data) assert(luws.wssend(conn, opcode, data)) end,
  deflate = { threshold = 0 }, -- compress every message, however short, for cases that accept that
  max_payload_size = 64 * 1024 * 1024, -- the suite's are 16 MiB
  max_buffered = 64 * 1024 * 1024,
  receive_chunk_size = 65536,
})
local _, port = srv:address()

-- A reader of the file must not see half of it.
local file = assert(io.open(ready .. ".part", "w"))
file:write("ws ", port, "\n")
file:close()
assert(os.rename(ready .. ".part", ready))

reactor.watch_fd(0, "r", function() os.exit(0) end)
srv:run()
