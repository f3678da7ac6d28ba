--[[
testee_luws.lua PORT AGENT [AUTHORITY]: runs every case of the Autobahn suite's fuzzing server on 127.0.0.1:PORT, under
the name AGENT, for Lua 5.1 and LuaJIT; over wss if there is an authority (a PEM file) that it is verified by.

It echoes each message with its own opcode, and uses the module the way the README says: poll wsreceive, wait in
wswait, and close when no more will come. It knows nothing of what a case is about; the suite judges.
The exit status is 1 if a case could not be run.
--]]

local luws = require "luws"

local port, agent, authority = ...
local BASE = (authority and "wss" or "ws") .. "://127.0.0.1:" .. port

local OPTIONS = {
  -- compress every message, however short, for cases that accept that
  deflate = { threshold = 0 },
  -- the suite's are 16 MiB
  max_payload_size = 64 * 1024 * 1024,
  receive_chunk_size = 65536,
  -- a case in which nothing comes for so long is given up: no case is so slow
  receive_timeout = 30,
  ssl_verify = "peer",
  ssl_cafile = authority,
}

--- Opens BASE .. path and calls on_message(conn, opcode, data) for each message until the connection ends. Returns
-- whether it could be opened.
local function session(path, on_message)
  local conn, err = luws.wsopen(BASE .. path, function(conn, opcode, data)
    if opcode then on_message(conn, opcode, data) end
  end, OPTIONS)
  if not conn then
    io.stderr:write(path, ": ", err, "\n")
    return false
  end
  repeat
    local more = luws.wsreceive(conn)
    if more == false then luws.wswait(conn, 1) end
  until more == nil
  luws.wsclose(conn)
  luws.wswait(conn, 5)
  return true
end

local count
session("/getCaseCount", function(_, _, data) count = tonumber(data) end)

local status = count and 0 or 1
for case = 1, count or 0 do
  if not session(("/runCase?case=%d&agent=%s"):format(case, agent), luws.wssend) then status = 1 end
end
os.exit(status)
