-- Conversations of a program with a server, over a line that may have a fault (relay.lua), and what both sides saw of
-- them. In a world (world.lua), so in virtual time.
--
--   local seen = conversation.play(w, { program = "receives", fault = "ends", way = "down", at = 150 })
--   assert.same({ { 0.25, 1, "one" }, ... }, seen.told)
--
-- It knows the functions of luws and what a usual program does with them. It does not know what should come of a fault.

local memory_socket = require "spec.support.memory_socket"
local relay = require "spec.support.relay"

local conversation = {}

--- The deadlines of all programs (s).
conversation.OPTIONS = {
  connect_timeout = 1.5, upgrade_timeout = 0.5, send_timeout = 0.6, receive_timeout = 0.7, close_timeout = 0.5,
}

--- The server's pause before each thing that it says (s).
conversation.PAUSE = 0.25

--- How long the line is left alone after the end (s).
conversation.PATIENCE = 1

local LONG = ("0123456789"):rep(13)

-- What the server says to a program that listens: opcode, data, and false for a fragment that is not the last.
local SAYS = {
  { 1, "one" }, { 9, "ping" }, { 2, "frag", false }, { 9, "" }, { 0, "ment" }, { 2, LONG }, { 2, "" }, { 8, "done" },
}

-- What a program says to the server that only answers.
local SENDS = { { 1, "one" }, { 9, "ping" }, { 2, LONG }, { 1, "" }, { 2, "last" } }

local CHUNKS = { "al", "pha", "", LONG, "omega" }

local function receive(seen, luws, conn)
  local more, why
  repeat
    luws.wswait(conn, 3600)
    more, why = luws.wsreceive(conn)
  until more == nil
  seen.over, seen.over_at = why, seen.now()
end

local function send(seen, luws, conn, opcode, data)
  local began, before = seen.now(), seen.relay.began
  local ok, why = luws.wssend(conn, opcode, data)
  seen.sent[#seen.sent + 1] = {
    opcode = opcode, data = data, ok = ok, why = why, took = seen.now() - began,
    is_before = not seen.relay.began, is_after = before ~= nil, mark = seen.passed("up"),
  }
  return ok
end

local function source_of(chunks)
  local i = 0
  return function()
    i = i + 1
    return chunks[i]
  end
end

--- What programs do: run(seen, luws, conn); options(seen): options of their own; and what their server does after the
-- upgrade: says, or echoes.
conversation.PROGRAMS = {
  receives = { says = SAYS, run = receive },
  ["receives to a sink"] = {
    says = SAYS, run = receive,
    options = function(seen)
      return {
        sink = function(_, opcode)
          local pieces = {}
          return function(piece, err)
            if piece then
              pieces[#pieces + 1] = piece
            elseif err then
              seen.broken_off[#seen.broken_off + 1] = err
            else
              seen.tell(opcode, table.concat(pieces))
            end
            return 1
          end
        end,
      }
    end,
  },
  ["receives and injects"] = {
    says = SAYS,
    run = function(seen, luws, conn)
      assert(luws.wshandleincoming("\129\8injected", conn))
      receive(seen, luws, conn)
    end,
  },
  sends = {
    run = function(seen, luws, conn)
      for _, message in ipairs(SENDS) do send(seen, luws, conn, message[1], message[2]) end
    end,
  },
  ["sends a source"] = {
    run = function(seen, luws, conn)
      send(seen, luws, conn, 2, source_of(CHUNKS))
      seen.sent[1].data = table.concat(CHUNKS)
      send(seen, luws, conn, 1, "after it")
    end,
  },
  ["sends and receives"] = {
    echoes = true,
    run = function(seen, luws, conn)
      for i, message in ipairs(SENDS) do
        send(seen, luws, conn, message[1], message[2])
        local more, why
        while #seen.told < i do
          luws.wswait(conn, 3600)
          more, why = luws.wsreceive(conn)
          if more == nil then
            seen.over, seen.over_at = why, seen.now()
            return
          end
        end
      end
    end,
    options = function(seen)
      return {
        control_handler = function(_, opcode, data)
          if opcode == 10 then seen.tell(opcode, data) end
        end,
      }
    end,
  },
  closes = { run = function() end },
}

--- says(program): returns what its server says.
function conversation.says(program) return conversation.PROGRAMS[program].says end

--- Makes the server say these things, one after the other.
local function speak(seen, peer, clock, says)
  local i = 0
  local function go_on()
    i = i + 1
    local item = says[i]
    if not item or peer.is_over or peer.line.finished then return end
    if item[1] == 8 then peer:close(4001, item[2]) else peer:send(item[1], item[2], item[3]) end
    seen.said[i] = { opcode = item[1], at = seen.now(), mark = seen.passed "down" }
    clock.after(conversation.PAUSE, go_on)
  end
  clock.after(conversation.PAUSE, go_on)
end

--- new_peer(seen, w, program, how): returns the server of this program.
local function new_peer(seen, w, program, how)
  local identity = how.identity or {}
  local peer = w:peer { hangs_up = true, certificate = identity.certificate, key = identity.key }
  peer:echo()
  local answer = peer.on_event
  function peer.on_event(_, event, data)
    if event == 8 then peer.is_over = true end
    if event >= 8 or program.echoes then answer(peer, event, data) end
  end
  function peer.on_request()
    peer:accept()
    if program.says then speak(seen, peer, w.clock, program.says) end
  end
  return peer
end

--- run(seen, luws, program, seconds): has a program talk to its server, if there is a connection, and close it; waits
-- for that for as long.
function conversation.run(seen, luws, program, seconds)
  if seen.conn then
    program.run(seen, luws, seen.conn)
    seen.closes_at = seen.now()
    luws.wsclose(seen.conn, 4000, "bye")
    assert(luws.wswait(seen.conn, seconds))
  end
  seen.ended_at = seen.now()
end

--- play(w, how): has a program talk to its server, close the connection, and wait for that. `how`: program (its
-- name); fault, way, at, seconds (relay.lua); users (whether the socket is the user's); identity (certificate and key
-- of a server that speaks TLS, in PEM). Returns what was seen. All times are in seconds since the beginning, and a mark
-- is how many bytes had passed since the opening:
--   conn, or nil and why; opened_at   what wsopen returned, and when
--   told              what the handler was given: opcode, data; at, mark (of the bytes from the server)
--   broken_off        what sinks were told of messages that were not completed
--   sent              each wssend: opcode, data, ok, why, took; is_before, is_after: whether it was over before the
--                     fault began, or began after it; mark (of the bytes to the server, after it)
--   over, over_at     what the last wsreceive returned, and when
--   closes_at, closed_at   when wsclose was called, and when the socket was closed
--   said              what the server has said: opcode, at, mark
--   peer, relay, socket   the server, the relay, and the user's socket
--   opening           the bytes that had passed when wsopen returned: up, down
--   passed(way)       the bytes that have passed since then
--   flight            the bytes from the server that had passed before the client's last write of the opening: with
--                     TLS, the server's part of the handshake
--   reads, writes     how often the client asked its end of the wire
--   written           the bytes that the client's end of the wire has taken
function conversation.play(w, how)
  local clock, luws = w.clock, w.luws
  local program = assert(conversation.PROGRAMS[how.program], how.program)
  local start = clock.now()
  local seen = { told = {}, sent = {}, said = {}, broken_off = {}, reads = 0, writes = 0, written = 0 }
  function seen.now() return clock.now() - start end
  function seen.passed(way) return seen.relay[way].passed - (seen.opening and seen.opening[way] or 0) end

  local options = program.options and program.options(seen) or {}
  for name, value in pairs(conversation.OPTIONS) do options[name] = value end
  options.ssl_protocol = "tlsv1_2" -- with tickets (TLS 1.3), the number of bytes is not always the same
  local peer = new_peer(seen, w, program, how)
  seen.peer = peer
  w.relay = relay.between(w, how, function(made)
    seen.relay = made
    local near, take, give = made.near, made.near.take, made.near.send
    function near.take(...)
      seen.reads = seen.reads + 1
      return take(...)
    end
    function near.send(line, bytes)
      seen.writes, seen.written = seen.writes + 1, seen.written + #bytes
      if not seen.opening then seen.flight = made.down.passed end
      return give(line, bytes)
    end
  end)
  if how.users then
    seen.socket = memory_socket.new(nil, w, peer)
    function options.connect() return seen.socket end
  end
  local url = how.identity and "wss://localhost/" or "ws://peer.test/"
  function seen.tell(opcode, data)
    seen.told[#seen.told + 1] = { at = seen.now(), opcode = opcode, data = data, mark = seen.passed "down" }
  end
  seen.conn, seen.why = luws.wsopen(url, function(_, opcode, data) seen.tell(opcode, data) end, options)
  w.relay = nil
  seen.opened_at = seen.now()
  seen.opening = { up = seen.relay.up.passed, down = seen.relay.down.passed }
  conversation.run(seen, luws, program, 3600)
  clock.sleep(conversation.PATIENCE) -- what is still on its way arrives
  seen.relay.began_at = seen.relay.began and seen.relay.began - start
  seen.closed_at = seen.relay.closed_at and seen.relay.closed_at - start
  return seen
end

return conversation
