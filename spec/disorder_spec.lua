-- Calls out of order: coroutines that alternate where a user's socket yields, calls made during others, and random
-- mixtures of these. Every message is delivered whole, in order and once, and the end is reported once.

local log = require "spec.support.log"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local session = require "spec.support.session"
local sockets = require "spec.support.sockets"
local compat = require "spec.support.compat"
local unpack = compat.unpack

local CLOSED = "receiver error: closed"

describe("if the socket yields while the peer's close frame is answered, the end", function()
  local s = session.new(luws)

  after_each(function() s:close() end)

  --- Checks that the handler is notified `times` times if another coroutine calls this function meanwhile.
  local function check(name, times, says)
    local replaced, came = {}, "\136\2\3\232"
    s:open({ { "hold" } }, { connect = sockets.connecting(replaced) })
    function replaced.receive()
      local bytes = came
      came = ""
      return nil, bytes == "" and "closed" or "timeout", bytes
    end
    function replaced.send(_, bytes)
      if compat.running() then coroutine.yield() end
      return #bytes
    end
    local receiver = coroutine.create(function() return luws.wsreceive(s.conn) end)
    assert(coroutine.resume(receiver))
    assert.equal("suspended", coroutine.status(receiver))
    luws[name](s.conn)
    assert.equal(times, #s.told)
    assert.same({ true, nil, says }, { coroutine.resume(receiver) })
    assert.same({ nil, says }, { luws.wsreceive(s.conn) })
    assert.same(times == 1 and { { false, CLOSED } } or {}, s.told)
  end

  it("is reported once, even if another coroutine has received it", function() check("wsreceive", 1, "closed") end)

  it("is not reported after another coroutine's wsclose", function() check("wsclose", 0, "not connected") end)
end)

describe("wsreset after wshandleincoming", function()
  local s = session.new(luws)

  after_each(function() s:close() end)

  it("and a send that has read half a frame breaks nothing: later messages are delivered", function()
    local replaced, room = {}, true
    s:open({ { "hold" } }, { connect = sockets.connecting(replaced), send_timeout = 10 })
    local bytes = scripted.frame { opcode = 2, payload = ("x"):rep(50) } .. scripted.frame { payload = "next" }
    local given = bytes:sub(1, 20)
    function replaced.receive()
      local piece = given
      given = ""
      return nil, "timeout", piece
    end
    function replaced.send(_, piece)
      if room then return #piece end
      room = true
      return nil, "timeout", 0
    end
    assert.is_true(luws.wshandleincoming("\129\1i", s.conn))
    room = false
    assert.is_true(luws.wssend(s.conn, 1, "out"))
    assert.equal("", given)
    luws.wsreset(s.conn)
    given = bytes:sub(21)
    for _ = 1, 2 do assert.is_false((luws.wsreceive(s.conn))) end
    -- The frame that came in halves may or may not be forgotten: no wsreceive has taken its first half.
    assert.same({ 1, "i" }, s.told[1])
    assert.same({ 1, "next" }, s.told[#s.told])
    assert.equal("", given)
  end)
end)

describe("options that close the connection when they are read", function()
  local s = session.new(luws)

  after_each(function()
    luws.debug_mode = false
    s:close()
    log.stop()
  end)

  for _, key in ipairs { "sink", "max_payload_size", "receive_chunk_size" } do
    for _, debugging in ipairs { false, true } do
      it(("make wsreceive report it: %s%s"):format(key, debugging and ", in debug_mode" or ""), function()
        log.start()
        local armed = false
        s:open({ { "wait" }, { "send", "\129\1x" }, { "hold" } }, setmetatable({}, {
          __index = function(_, asked)
            if not armed or asked ~= key then return end
            armed = false
            luws.wsclose(s.conn)
          end,
        }))
        luws.debug_mode = debugging
        assert.same({ false, 0 }, { luws.wsreceive(s.conn) })
        armed = true
        s.peer:go()
        luws.wswait(s.conn, 5)
        assert.same({ nil, "not connected" }, { luws.wsreceive(s.conn) })
        assert.same({}, s.told)
      end)
    end
  end
end)

describe("whatever a socket, coroutines and handlers do,", function()
  local MOST = 80 -- messages
  local ENOUGH = 20000 -- turns

  -- In PUC Lua 5.1 handlers cannot yield, but control handlers and sinks can.
  local ANYWHERE = compat.yields_through_pcall

  local s = session.new(luws)
  local peer, logged

  setup(function() peer = scripted.peer { { "upgrade" }, { "hold" } } end)

  teardown(function() peer:close() end)

  before_each(function() logged = log.start() end)

  after_each(log.stop)

  --- Gives the same numbers for the same seed in every interpreter: random(n) returns an integer from 1 to n.
  local function generator(seed)
    local state = seed * 7919 + 12345
    return function(n)
      state = (state * 16807) % 2147483647
      return math.floor(state / 2147483647 * n) + 1
    end
  end

  --- Returns the bytes of this many messages that begin with their numbers; some are fragmented, around a ping.
  local function messages(random, count, longest)
    local frames = {}
    for i = 1, count do
      local payload = ("%06d"):format(i) .. ("x"):rep(random(longest) - 1)
      if random(4) == 1 then
        local at = random(#payload)
        frames[#frames + 1] = scripted.frame { opcode = 2, payload = payload:sub(1, at), fin = false }
        frames[#frames + 1] = scripted.frame { opcode = 9, payload = "p" }
        frames[#frames + 1] = scripted.frame { opcode = 0, payload = payload:sub(at + 1) }
      else
        frames[#frames + 1] = scripted.frame { opcode = 2, payload = payload }
      end
    end
    return table.concat(frames)
  end

  --- Replaces the methods of a socket with ones that send and receive in pieces, time out, and may yield.
  local function disturb(replaced, random, bytes, longest, may_yield)
    local at = 1
    function replaced.receive(_, max)
      if may_yield() and random(4) == 1 then coroutine.yield() end
      if random(4) == 1 then return nil, "timeout", "" end
      local piece = bytes:sub(at, at + math.min(random(2 * longest), max) - 1)
      at = at + #piece
      if #piece == max then return piece end
      return nil, at > #bytes and "closed" or "timeout", piece
    end
    function replaced.send(_, piece)
      if may_yield() and random(4) == 1 then coroutine.yield() end
      local way = random(3)
      if way == 1 then return nil, "timeout", 0 end
      if way == 2 then return nil, "timeout", random(#piece + 1) - 1 end
      return #piece
    end
  end

  --- What a handler does.
  local function act(random, may_yield)
    local what = random(12)
    if what <= 2 then
      luws.wssend(s.conn, 2, ("y"):rep(random(5000)))
    elseif what == 3 then
      luws.wsreceive(s.conn)
    elseif what == 4 then
      luws.wssend(s.conn, 9, "z")
      luws.wsreceive(s.conn)
    elseif what == 5 then
      luws.wswait(s.conn, 0)
    elseif what == 6 and may_yield() then
      coroutine.yield()
    elseif what == 7 then
      s.conn.options.receive_chunk_size = random(3000)
    end
  end

  --- Creates sinks for some of the messages; `record` gets each message whole.
  local function some_to_sinks(random, record)
    return function()
      if random(2) == 1 then return nil end
      local pieces = {}
      return function(piece, err)
        if piece then
          pieces[#pieces + 1] = piece
        else
          record(err or table.concat(pieces))
        end
        return 1
      end
    end
  end

  local function play(seed)
    local random = generator(seed)
    local count, longest = random(MOST), ({ 5, 300, 20000 })[random(3)]
    local yields, quiet = random(2) == 1, random(4) == 1
    local got, told, depth, replaced = {}, {}, 0, {}

    local function may_yield() return yields and compat.running() and (ANYWHERE or depth == 0) end

    local function record(data) got[#got + 1] = tonumber(data:sub(1, 6)) or data end

    local function act_deeper()
      if quiet then return end
      depth = depth + 1
      act(random, may_yield)
      depth = depth - 1
    end

    s.conn = assert(luws.wsopen(peer.url, function(_, opcode, data)
      if not opcode then
        told[#told + 1] = { data, #got }
        return
      end
      record(data)
      act_deeper()
    end, {
      connect = sockets.connecting(replaced),
      close_timeout = 0,
      send_timeout = random(4) == 1 and 10 or 0, -- no value in between, so that no game depends on the clock
      receive_chunk_size = random(20000),
      sink = random(3) == 1 and some_to_sinks(random, record) or nil,
      control_handler = random(3) == 1 and act_deeper or nil,
    }))
    disturb(replaced, random, messages(random, count, longest), longest, may_yield)

    local receivers, says = {}, {}
    for i = 1, yields and random(3) or 1 do
      receivers[i] = coroutine.create(function()
        repeat
          local more, why = luws.wsreceive(s.conn)
          coroutine.yield()
          says[i] = more == nil and why or nil
        until more == nil
      end)
    end
    local turns = 0
    repeat
      local alive = false
      turns = turns + 1
      for _, receiver in ipairs(receivers) do
        if coroutine.status(receiver) ~= "dead" then
          alive = true
          assert(coroutine.resume(receiver))
        end
      end
    until not alive or turns > ENOUGH
    luws.wsclose(s.conn)
    for i = 1, count do assert.equal(i, got[i]) end
    for i = 1, #receivers do assert.equal("closed", says[i]) end
    assert.same({ { { CLOSED, count } }, count, {} }, { told, #got, logged })
  end

  -- Regression: the last one ended before another coroutine had delivered everything it had read.
  for _, range in ipairs { { 1, 10 }, { 11, 20 }, { 21, 30 }, { 31, 40 }, { 1100, 1100 } } do
    it(("each message arrives once and in order, and the end once: games %d to %d"):format(unpack(range)), function()
      for seed = range[1], range[2] do
        local ok, why = pcall(play, seed)
        if not ok then error(("game %d: %s"):format(seed, type(why) == "table" and why.message or tostring(why)), 0) end
      end
    end)
  end
end)
