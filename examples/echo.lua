--[[
Talks to an echo server step by step, and prints what happens.

    lua5.1 examples/echo.lua [URL] [CA-FILE]

URL is ws://127.0.0.1:8080/echo by default. If CA-FILE (PEM) is given, the server's certificate is verified against it.
`make demo` runs this with its own server.
--]]

local luws = require "luws"

local url, ca_file = arg[1] or "ws://127.0.0.1:8080/echo", arg[2]

local received, pong, failure = {}, nil, nil

local function handler(_, opcode, data)
  if opcode == false then
    failure = data
  else
    received[#received + 1] = { opcode = opcode, data = data }
  end
end

local conn, err = luws.wsopen(url, handler, {
  max_payload_size = 2 * 1024 * 1024,
  ssl_verify = ca_file and "peer",
  ssl_cafile = ca_file,
  control_handler = function(_, opcode, data)
    if opcode == 10 then pong = data end
  end,
})
if not conn then
  print("cannot open " .. url .. ": " .. err)
  os.exit(1)
end
print("open:   " .. tostring(conn) .. " over " .. conn.proto)

local function step(name, ok, text)
  print(("%-7s %s"):format(name .. ":", text))
  if not ok then
    print("this is not what should have come")
    luws.wsclose(conn)
    os.exit(1)
  end
end

--- Polls until done() is true, or five seconds are over.
local function poll(done)
  local deadline = luws.gettime() + 5
  while not done() and luws.gettime() < deadline do
    local more, why = luws.wsreceive(conn)
    if more == nil then return nil, why end
    if not more and not done() then luws.wswait(conn, 1) end
  end
  return done()
end

local function echo(name, opcode, data, shown)
  assert(luws.wssend(conn, opcode, data))
  poll(function() return #received > 0 end)
  local message = table.remove(received, 1)
  local ok = message and message.opcode == opcode and message.data == data
  step(name, ok, shown .. (ok and " came back the same" or " did not come back the same"))
end

echo("text", 1, "Hello, WebSocket!", '"Hello, WebSocket!"')
echo("binary", 2, "\0\1\2\253\254\255", "6 bytes of binary")
echo("emoji", 1, "\240\159\152\128", "\240\159\152\128 (4 bytes of UTF-8)")
echo("large", 2, ("0123456789abcdef"):rep(65536), "1 MiB of binary")

local sent = luws.gettime()
assert(luws.wssend(conn, 9, "are you there"))
poll(function() return pong end)
step("ping", pong == "are you there", ("answered after %.2f ms"):format((luws.gettime() - sent) * 1000))

luws.wsclose(conn, 4000, "that was all")
luws.wswait(conn, 5) -- for the server's answer, which wsclose does not wait for
step("close", conn.was_clean and conn.close_code == 4000,
  ("the server answered %s, %s"):format(tostring(conn.close_code), conn.was_clean and "cleanly" or "not cleanly"))
if failure then print("told:   " .. failure) end
