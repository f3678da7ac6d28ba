-- How much memory an open connection takes, measured with many of them at once, each of which has echoed a message;
-- twenty, if they are compressed.
--
--   LUA many.lua SCHEME COUNT [deflate|windows|takeover]
--
-- `deflate` compresses; so does `windows`, with windows of 9 bits in both directions, and `takeover`, without context
-- takeover in both directions. Prints the memory for each connection. Fails if that is much more than the manual says,
-- if one did not echo, or if they leave descriptors behind. Run by scripts/soak.sh, in the project's folder, and with
-- enough descriptors (ulimit -n).

local luws = require "luws"
local measure = require "spec.support.measure"
local servers = require "spec.support.servers"
local socket = require "socket"

local scheme, count, compression = arg[1], tonumber(arg[2]), arg[3]
local DEFLATE = {
  deflate = { threshold = 0 },
  windows = { threshold = 0, client_max_window_bits = 9, server_max_window_bits = 9 },
  takeover = { threshold = 0, client_no_context_takeover = true, server_no_context_takeover = true },
}

-- In KiB. README.md, docs/large-messages.md and docs/compression.md have the figures that this prints.
local MOST = ({ ws = 10, wss = 42, deflate = 375, windows = 250, takeover = 16 })[compression or scheme]

local url = servers.url("demo", scheme, "/echo")
local text = ("The quick brown fox jumps over the lazy dog. "):rep(22)
local conns, echoed = {}, 0

local function handler(_, _, data)
  if data == text then echoed = echoed + 1 end
end

--- Opens connections until there are this many, and has each of them echo a message.
local function open(most)
  for i = #conns + 1, most do
    conns[i] = assert(luws.wsopen(url, handler, {
      ssl_verify = "peer", ssl_cafile = servers.ca_file(), deflate = DEFLATE[compression],
    }))
  end
end

local function echo(from)
  for i = from, #conns do assert(luws.wssend(conns[i], 1, text)) end
  for i = from, #conns do
    local before, deadline = echoed, socket.gettime() + 60
    repeat luws.wswait(conns[i], 1) until luws.wsreceive(conns[i]) == nil or echoed > before
      or socket.gettime() > deadline
  end
end

local function close(from)
  for i = #conns, from, -1 do
    luws.wsclose(conns[i])
    luws.wswait(conns[i], 5)
    conns[i] = nil
  end
end

-- What is freed after each message must not leave holes that are never used again.
local ROUNDS = compression and 20 or 1

-- The first ones are for what is allocated once.
local FIRST = 50
open(FIRST)
echo(1)
luws.sleep(1.1) -- storage that was large once is kept for a second
luws.wsreceive(conns[1])
local descriptors = measure.descriptors()
local before = measure.resident()
local began = socket.gettime()
open(FIRST + count)
for _ = 1, ROUNDS do echo(FIRST + 1) end
local took = socket.gettime() - began
luws.sleep(1.1)
luws.wsreceive(conns[1])
local bytes = (measure.resident() - before) / count
local wanted = FIRST + count * ROUNDS
assert(echoed == wanted, ("%d of %d messages were echoed"):format(echoed, wanted))
close(FIRST + 1)
luws.sleep(0.1)
local left = (measure.resident() - before) / 2 ^ 20
io.write(("%d connections at once%s in %.1f s: %.1f KiB each; once they are closed, %.1f MiB remain\n"):format(count,
  compression and " (" .. compression .. ")" or "", took, bytes / 1024, left))
assert(measure.descriptors() == descriptors, "descriptors were left")
assert(bytes <= MOST * 1024, ("more than %d KiB"):format(MOST))
