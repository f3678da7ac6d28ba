-- A chat in the browser: whoever opens http://127.0.0.1:8080/ROOM talks to the others in that room.
--
--   lua5.1 examples/chat_server.lua [PORT]
--
-- The page is chat.html, in the folder of this file. The first message of a client is its name.

local luws = require "luws"
local json = require "luws.json"
local server = require "luws.server"

local port = tonumber((...) or 8080)
local folder = (debug.getinfo(1, "S").source:match "^@(.*)/" or ".")

local srv, why

--- say(room, who, text): tells everybody in a room.
local function say(room, who, text) srv:broadcast(room, 1, json.encode { who = who, text = text }) end

srv, why = server.listen {
  port = port,
  max_payload_size = 4096,
  on_request = function(request)
    if request.headers.upgrade then return nil end -- go on, and open a WebSocket
    return server.file(folder, "/chat.html")
  end,
  on_open = server.spawn(function(conn, request)
    local room = request.path
    local opcode, name = conn:message()
    if opcode ~= 1 or name == "" then return end
    srv:join(conn, room)
    say(room, name, "is here, with " .. #srv:members(room) - 1 .. " others")
    while true do
      local kind, text = conn:message()
      if not kind then break end
      if kind == 1 then say(room, name, text) end
    end
    say(room, name, "has left")
  end),
}
if not srv then
  io.stderr:write(why, "\n")
  os.exit(1)
end
luws.debug_mode = os.getenv "LUWS_DEBUG" ~= nil
print(("http://%s:%d/"):format(srv:address()))
io.stdout:flush()
assert(srv:run { signals = true })
