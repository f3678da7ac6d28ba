-- What is in a recording of luws.record, and one of a program that depends on everything, for specs.

local luws = require "luws"
local mock = require "luws.mock"
local record = require "luws.record"

local recorded = { URL = "ws://hub.test/" }

--- said(rec [, from]): returns the kinds of rows of a recording, with what they carry.
function recorded.said(rec, from)
  local list = {}
  for row in rec:rows { from = from or 1 } do
    list[#list + 1] = ("%s%s %s"):format(row.dir and row.dir .. " " or "", row.kind,
      row.data or row.call or type(row.note) ~= "table" and row.note or ""):gsub("%s+$", "")
  end
  return list
end

--- program(rec): returns the handlers of a program that answers questions, with everything that it depends on.
function recorded.program(rec)
  local asked = 0
  return {
    open_handler = function(conn) luws.wssend(conn, 1, "hello " .. tostring(conn.subprotocol)) end,
    handler = function(conn, opcode, data)
      if opcode == false then
        rec:note("lost: " .. data)
      elseif data == "number" then
        luws.wssend(conn, 1, "number " .. rec:random(1000))
      elseif data == "time" then
        luws.wssend(conn, 1, ("time %.3f"):format(rec.clock()))
      elseif data == "level" then
        luws.wssend(conn, 1, "level " .. rec:note(function() return math.random() end))
      elseif opcode == 2 then
        asked = asked + 1
        luws.wssend(conn, 2, data .. string.char(asked))
      elseif data == "end" then
        luws.wsclose(conn, 1001, "bye")
      end
    end,
    control_handler = function(conn, opcode, data)
      if opcode == 9 then luws.wssend(conn, 10, "mine: " .. data) end
    end,
  }
end

--- conversation(): records a conversation of that program. Returns the recording.
function recorded.conversation()
  local net = mock.net()
  local server = net:listen(recorded.URL, { subprotocols = { "v2" } })
  local rec = record.new { clock = net }
  local handlers = recorded.program(rec)
  local conn = rec:wsopen("a", recorded.URL, handlers.handler, net:options {
    subprotocols = "v2", open_handler = handlers.open_handler, control_handler = handlers.control_handler,
  })
  net:run()
  local peer = server:accept()
  for _, question in ipairs { "number", "time", "level", "number" } do
    net:advance(0.75)
    peer:send(question)
  end
  net:run()
  luws.wssend(conn, 1, "from outside")
  peer:send("\0", "binary")
  peer:ping "p"
  peer:send("\1", "binary")
  net:run()
  peer:send "end"
  net:advance(2)
  return rec
end

return recorded
