-- What becomes of a conversation over real sockets if the network fails in it: with relay.py between a program and a
-- scripted server, over ws and wss, with our sockets and LuaSocket's. memory_spec.lua does the same in memory, at each
-- byte and with exact deadlines.
--
-- With LUWS_FAULTS=all (make faults), each fault is tried at many more places.

local conversation = require "spec.support.conversation"
local luws = require "luws"
local measure = require "spec.support.measure"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local sockets = require "spec.support.sockets"
local world = require "spec.support.world"

local IS_FULL = os.getenv "LUWS_FAULTS" == "all"

-- Deadlines (s), and how much longer they are where nothing fails: a busy machine must get on in time.
local PATIENT = 40
local OPTIONS = {
  connect_timeout = 0.5, upgrade_timeout = 0.5, send_timeout = 0.3, receive_timeout = 0.5, close_timeout = 0.2,
}

-- A deadline is never early, but a busy machine can be late (s).
local EARLY, LATE = 0.01, 3

local FAULTS = { "ends", "vanishes", "resets", "stalls", "freezes", "swallows", "pauses", "drips" }
local ENDS = { ends = true, vanishes = true, resets = true }
local SLOW = { pauses = 0.05, drips = 0.0005 }

--- Asks the relay. Returns the words of its answer.
local function ask(...)
  local control = assert(socket.connect("127.0.0.1", servers.start "relay".control))
  assert(control:send(table.concat({ ... }, " ") .. "\n"))
  control:settimeout(30)
  local first, second = assert(control:receive "*l"):match "^(%d+) ?(%d*)$"
  control:close()
  return tonumber(first), tonumber(second)
end

--- Returns the steps of the server of this program.
local function steps_of(program)
  local says = conversation.says(program)
  if not says then return { { "upgrade" }, { "echo", 10 } } end
  local steps = { { "upgrade" } }
  for _, item in ipairs(says) do
    local payload = item[1] == 8 and scripted.close_payload(4001, item[2]) or item[2]
    steps[#steps + 1] = { "send", scripted.frame { opcode = item[1], payload = payload, fin = item[3] } }
    steps[#steps + 1] = { "sleep", 0.002 }
  end
  steps[#steps + 1] = { "read_to_eof" }
  return steps
end

--- Plays a conversation. Returns what was seen: the fields that conversation.lua's have, and server, the messages that
-- it received.
local function play(how)
  local program = conversation.PROGRAMS[how.program]
  local peer = scripted.peer(how.steps)
  local port = ask("relay", peer.port, how.fault or "none", how.way or "up", how.at or 0, SLOW[how.fault] or 0)
  local began = socket.gettime()
  local seen = { told = {}, sent = {}, said = {}, broken_off = {}, relay = {} }
  function seen.now() return socket.gettime() - began end
  function seen.passed() return 0 end
  function seen.tell(opcode, data) seen.told[#seen.told + 1] = { opcode, data } end
  local options = program.options and program.options(seen) or {}
  local factor = (not how.fault or SLOW[how.fault]) and PATIENT or 1
  for name, value in pairs(OPTIONS) do options[name] = value * factor end
  if how.users then
    function options.connect(host, to) return socket.connect(host, to) end
  end
  local url = (how.tls and "wss://localhost:%d/" or "ws://127.0.0.1:%d/"):format(port)
  seen.conn, seen.why = luws.wsopen(url, function(_, opcode, data) seen.tell(opcode, data) end, options)
  seen.opened_at = seen.now()
  if not how.fault then
    local up, down
    -- The relay counts bytes when it has passed them on, which may be after they are here.
    repeat up, down = ask("passed", port) until down > 0 or seen.now() > 10
    seen.opening = { up = up, down = down }
  end
  conversation.run(seen, luws, program, 30)
  seen.up, seen.down = ask("report", port)
  seen.server = {}
  for _, frame in ipairs((peer:so_far() or { frames = {} }).frames) do
    if frame.opcode < 8 then seen.server[#seen.server + 1] = { frame.opcode, frame.payload } end
  end
  peer:close()
  return seen
end

--- Checks that a list is the beginning of another. Returns how long it is.
local function assert_begins(whole, list, at)
  for i, each in ipairs(list) do assert.same(whole[i], each, at) end
  return #list
end

local function assert_in_time(limit, took, at)
  assert.is_true(took >= limit - EARLY and took <= limit + LATE, ("%s: %g s, due after %g s"):format(at, took, limit))
end

--- Returns the messages of a list of { opcode, data }, and the text of the end, if that was told; then whether it was
-- told last, and once.
local function split(told)
  local list, text = {}, nil
  for i, each in ipairs(told) do
    if each[1] == false then
      assert.equal(#told, i, "the end is told last, and once")
      text = each[2]
    elseif each[1] < 8 then
      list[#list + 1] = each
    end
  end
  return list, text
end

local function sent_by(seen, is_sent)
  local list = {}
  for _, each in ipairs(seen.sent) do
    if each.opcode < 8 and is_sent(each) then list[#list + 1] = { each.opcode, each.data } end
  end
  return list
end

-- What a failed wsopen says, by whether the stream has ended. Which hop it was in depends on how far it had come; and a
-- server that gets only a part may say so, in a TLS alert.
local FAILURES = {
  [true] = {
    "^upgrade failed; the peer closed the connection", "^Failed SSL negotation: the peer closed the connection",
    "^Failed SSL negotation: tlsv1 alert ", "^Connection to %S+ failed: closed$",
    "^closed$", -- LuaSocket's connect
  },
  [false] = { "^upgrade failed; timeout$", "^Failed SSL negotation: timeout$" },
}

--- Checks what was seen of a conversation with a fault, beside the same without one.
local function check(how, seen, usual)
  local at = ("%s %s after %d bytes"):format(how.fault, how.way, how.at)
  if not seen.conn then
    local ends = ENDS[how.fault] or false
    local is_known = false
    for _, pattern in ipairs(FAILURES[ends]) do is_known = is_known or seen.why:find(pattern) ~= nil end
    assert.is_true(is_known, at .. ": " .. seen.why)
    assert_in_time(ends and 0 or 0.5, seen.opened_at, at)
    assert.is_true(how.tls or how.at < usual.opening[how.way], at)
    return
  end
  local told, text = split(seen.told)
  local wanted, usual_text = split(usual.told)
  local count = assert_begins(wanted, told, at)
  local is_whole = SLOW[how.fault] and not how.users
  if is_whole or SLOW[how.fault] and how.program == "receives" then
    assert.equal(#wanted, count, at)
    assert.equal(usual_text, text, at)
  elseif how.program == "receives" then
    local silent = not ENDS[how.fault] and text == "message timeout"
    if not silent then assert.equal("receiver error: closed", text, at) end
    -- Over ws, each byte that has passed is known to belong to a message or not.
    if not how.tls then
      local whole = 0
      for i, mark in ipairs(usual.marks) do
        if seen.down - usual.opening.down >= mark then whole = i end
      end
      assert.equal(whole, count, at)
    end
  end
  -- The server has a beginning of what wssend has accepted; and everything, if nothing fails.
  local accepted = sent_by(seen, function(each)
    return each.ok or each.why == "send error: timeout"
  end)
  local arrived = assert_begins(accepted, seen.server, at)
  if is_whole then assert.equal(#accepted, arrived, at) end
  for _, each in ipairs(seen.sent) do
    local is_known = each.ok or each.why == "send error: closed" or each.why:find "^send error: timeout"
    assert.is_truthy(is_known, ("%s: %s"):format(at, tostring(each.why)))
    if not each.ok and each.why:find "timeout" then assert_in_time(OPTIONS.send_timeout, each.took, at) end
  end
  assert.same({ false, -1 }, { seen.conn.connected, seen.conn:getfd() }, at)
  if seen.conn.was_clean then assert.equal(how.program == "sends" and 4000 or 4001, seen.conn.close_code, at) end
  local patience = OPTIONS.close_timeout * (SLOW[how.fault] and PATIENT or 1)
  assert.is_true(seen.ended_at - seen.closes_at <= patience + LATE, at)
end

-- The same conversations without a fault, by what they have in common, and in memory, by program.
local usuals, in_memory = {}, {}

--- Returns the same conversation without a fault, with the bytes of its opening, and the marks of the messages.
local function usual_of(how)
  local key = ("%s %s %s"):format(how.program, tostring(how.tls), tostring(how.users))
  if usuals[key] then return usuals[key] end
  local usual = play(how)
  assert.is_nil(usual.why)
  local virtual = in_memory[how.program] or conversation.play(world.new(), { program = how.program })
  in_memory[how.program], usuals[key] = virtual, usual
  usual.marks = {}
  for _, each in ipairs(virtual.told) do
    if each.opcode and each.opcode < 8 then usual.marks[#usual.marks + 1] = each.mark end
  end
  -- The server's first messages may have passed since, but what follows the opening is as long as in memory.
  if not how.tls and how.program == "receives" then
    usual.opening = { up = usual.up - virtual.passed "up", down = usual.down - virtual.passed "down" }
  end
  return usual
end

--- Returns where the fault begins: in the opening and after it.
local function places(usual, how, turn)
  local first, all = usual.opening[how.way], usual[how.way]
  if not IS_FULL then return { turn % 3 == 0 and math.floor(first / 2) or first + math.floor((all - first) / 2) } end
  local list = {}
  for i = 0, 4 do list[#list + 1] = math.floor(all * i / 5) end
  for i = 1, 5, 2 do list[#list + 1] = first + math.floor((all - first) * i / 6) end
  return list
end

local turn = 0
for _, tls in ipairs { false, true } do
  describe(("over %s and real sockets nothing is lost, doubled, or left behind if the network"):format(
    tls and "wss" or "ws"), function()
    local other, heard = nil, {}

    setup(function()
      other = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), function(_, ...) heard[#heard + 1] = { ... } end))
    end)

    teardown(function() luws.wsclose(other) end)

    for _, program in ipairs { "receives", "sends" } do
      for _, fault in ipairs(FAULTS) do
        for _, way in ipairs { "up", "down" } do
          turn = turn + 1
          local number = turn
          it(("%s %s while a program %s"):format(fault, way, program), function()
            for users = 0, 1 do
              if IS_FULL or users == number % 2 then
                local how = { program = program, tls = tls, users = users == 1, steps = steps_of(program) }
                how.steps.tls = tls
                local usual = usual_of(how)
                local before, running = sockets.count(), measure.threads()
                how.fault, how.way = fault, way
                for _, at in ipairs(places(usual, how, number)) do
                  how.at = at
                  check(how, play(how), usual)
                end
                assert.same({ before, running }, { sockets.count(), measure.threads() })
              end
            end
            -- Another connection of the same process goes on.
            local count = #heard
            assert.is_true(luws.wssend(other, 1, fault))
            repeat
              luws.wswait(other, 10)
              luws.wsreceive(other)
            until #heard > count
            assert.same({ { 1, fault } }, { heard[count + 1], heard[count + 2] })
          end)
        end
      end
    end
  end)
end
