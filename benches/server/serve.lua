-- The server of luws that run.py measures.
--
-- Listens on a free port, and prints it. Echoes binary messages. Answers the text `idle` with how many microseconds a
-- step with nothing to do takes; `broadcast` with how many milliseconds the call takes that sends 1 KiB to everybody;
-- and `delivery` with how many it takes until the kernel has it for all of them.

local luws = require "luws"
local reactor = require "luws.reactor"
local server = require "luws.server"

local STEPS = 100000
local TEXT, BINARY = 1, 2

local payload = ("x"):rep(1024)
local asking -- the connection to be answered, and what it has asked
local question
local first, last -- of the connections, in the order in which they are written to

local srv = assert(server.listen {
  port = 0,
  max_connections = 20000,
  on_open = function(conn) first, last = first or conn, conn end,
  on_message = function(conn, opcode, data)
    if opcode == BINARY then return luws.wssend(conn, BINARY, data) end
    asking, question = conn, data
  end,
})

local questions = {}

function questions.idle()
  local began = luws.gettime()
  for _ = 1, STEPS do reactor.step(0) end
  return (luws.gettime() - began) / STEPS * 1e6
end

function questions.broadcast()
  local began = luws.gettime()
  srv:broadcast(nil, BINARY, payload, asking)
  return (luws.gettime() - began) * 1e3
end

function questions.delivery()
  local others = last == asking and first or last
  local began = luws.gettime()
  srv:broadcast(nil, BINARY, payload, asking)
  while others.bufferedAmount > 0 do reactor.step(0) end
  return (luws.gettime() - began) * 1e3
end

local _, port = srv:address()
print(port)
io.stdout:flush()
while true do
  srv:step()
  if question then
    local answer = questions[question]()
    luws.wssend(asking, TEXT, ("%.3f"):format(answer))
    question = nil
  end
end
