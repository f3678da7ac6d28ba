-- Handlers that send, receive, or call wshandleincoming: each call ends by itself, however much is still to come, and
-- nothing is lost.

local log = require "spec.support.log"
local luws = require "luws"
local scripted = require "spec.support.scripted"
local session = require "spec.support.session"
local sockets = require "spec.support.sockets"
local world = require "spec.support.world"

local CLOSED = "receiver error: closed"
local PATIENCE = 10 -- seconds
local DEEPEST = 25 -- events within events
local ENOUGH = 1000 -- the point at which a spec stops a chain that should have stopped by itself

--- Returns the receive function of a socket that holds these bytes, and after them this error. With a `unit`, no call
-- crosses a multiple of that many bytes, as if no more had come yet.
local function receiving(bytes, why, unit)
  local at = 1
  return function(_, max)
    local piece = bytes:sub(at, at + math.min(max, unit and unit - (at - 1) % unit or max) - 1)
    at = at + #piece
    if #piece == max then return piece end
    return nil, at > #bytes and why or "timeout", piece
  end
end

describe("wsreceive whose handler sends when there is no room at first, and so reads meanwhile,", function()
  local s = session.new(luws)
  local SIZE, COUNT = 1024, 2500
  local CHUNK = 2 * SIZE
  local MOST = 1000 -- events in one wsreceive; it may stop before, after 5 milliseconds
  local stream = {}
  for i = 1, COUNT do
    stream[i] = scripted.frame { opcode = 2, payload = ("%04d"):format(i) .. ("x"):rep(SIZE - 4) }
  end
  stream = table.concat(stream)

  after_each(function() s:close() end)

  for name, case in pairs {
    ["ends, and leaves what comes to the next, in order"] = { why = "timeout" },
    ["says that there is more, though it has read all that there was"] = { why = "timeout", unit = #stream / COUNT },
    ["delivers all that came before the end, and then tells of that"] = { why = "closed", told = { CLOSED, COUNT } },
  } do
    it(name, function()
      local replaced, got, sent, told, room = {}, {}, 0, {}, true
      local options = { connect = sockets.connecting(replaced), receive_chunk_size = CHUNK }
      s:open({ { "hold" } }, options, function(c, opcode, data)
        if not opcode then
          told[#told + 1] = { data, #got }
          return
        end
        got[#got + 1] = tonumber(data:sub(1, 4))
        room = false
        if luws.wssend(c, 1, "sent") then sent = sent + 1 end
      end)
      replaced.receive = receiving(stream, case.why, case.unit)
      function replaced.send(_, bytes)
        if room then return #bytes end
        room = true
        return nil, "timeout", 0
      end
      local most, deadline = 0, luws.gettime() + PATIENCE
      local more, why
      repeat
        local before = #got
        more, why = luws.wsreceive(s.conn)
        most = math.max(most, #got - before)
        if #got < COUNT then assert.is_true(more) end
        assert.is_true(luws.gettime() < deadline)
      until #got >= COUNT and not more
      assert.is_true(most <= MOST, most)
      for i = 1, COUNT do assert.equal(i, got[i]) end
      assert.same({ COUNT, COUNT }, { #got, sent })
      assert.same({ case.told }, told)
      if case.told then assert.same({ nil, "closed" }, { more, why }) end
    end)
  end
end)

describe("wshandleincoming called again and again by what it calls", function()
  local s = session.new(luws)
  local logged

  before_each(function() logged = log.start() end)

  after_each(function()
    s:close()
    log.stop()
  end)

  for option, first in pairs { msghandler = "\129", control_handler = "\137", sink = "\129" } do
    for place, run in pairs {
      ["the main coroutine"] = function(f) f() end,
      ["another coroutine"] = function(f) coroutine.wrap(f)() end,
    } do
      it(("ends, and loses nothing: %s, in %s"):format(option, place), function()
        local injected, got, depth, deepest, most = 0, {}, 0, 0, ENOUGH

        local function inject(c)
          injected = injected + 1
          assert.is_true(luws.wshandleincoming(first .. "\4" .. ("%04d"):format(injected), c))
        end

        local function again(c)
          depth = depth + 1
          deepest = math.max(deepest, depth)
          if injected < most then inject(c) end
          depth = depth - 1
        end

        local function record(_, _, data) got[#got + 1] = tonumber(data) end

        local function record_and_again(...)
          record(...)
          again(...)
        end

        -- The sink factory declines, so the handler gets the messages.
        s:open({ { "hold" } }, {
          control_handler = option == "control_handler" and record_and_again or nil,
          sink = option == "sink" and again or nil,
        }, option == "msghandler" and record_and_again or record)
        run(function() inject(s.conn) end)
        assert.is_true(deepest > 1 and deepest <= DEEPEST, deepest)
        -- The next wsreceive goes on with what was left, and goes no deeper.
        local before = #got
        assert.is_true(before > 0)
        run(function() luws.wsreceive(s.conn) end)
        assert.is_true(before == injected or #got > before, before)
        assert.is_true(deepest <= DEEPEST, deepest)
        most = 0
        run(function() s:poll(function() return #got >= injected end) end)
        for i = 1, injected do assert.equal(i, got[i]) end
        assert.equal(injected, #got)
        assert.same({}, logged)
      end)
    end
  end
end)

describe("at the deepest level of nested handlers", function()
  it("connections can still be opened, closed and waited for", function()
    local w = world.new()
    local peer = w:peer()
    local depth, deepest, opened, closed = 0, 0, nil, nil
    local conn
    conn = w:open(peer, nil, function(_, opcode)
      if not opcode then return end
      depth = depth + 1
      deepest = math.max(deepest, depth)
      if depth == DEEPEST and not opened then
        w.next_peer = w:peer():answer_close()
        opened = assert(w.luws.wsopen("ws://other.test/"))
        w.luws.wsclose(opened)
        w.next_peer:finish()
        closed = w.luws.wswait(opened, 5)
      end
      w.luws.wsreceive(conn)
      depth = depth - 1
    end)
    for _ = 1, 100 do peer:send(1, "x") end
    w:receive_all(conn)
    assert.same({ DEEPEST, true, true }, { deepest, closed, opened.was_clean })
  end)
end)

describe("A chain of calls over the connections of four instances", function()
  local peer, conns, replaced, logged

  before_each(function()
    logged = log.start()
    peer = scripted.peer { { "upgrade" }, { "hold" } }
    conns, replaced = {}, {}
  end)

  after_each(function()
    for _, conn in ipairs(conns) do luws.wsclose(conn) end
    peer:close()
    log.stop()
  end)

  local FRAME = "\129\1x"

  for name, call in pairs {
    wsreceive = function(instance, conn) instance.wsreceive(conn) end,
    wshandleincoming = function(instance, conn) instance.wshandleincoming(FRAME, conn) end,
  } do
    for place, run in pairs {
      ["the main coroutine"] = function(f) f() end,
      ["another coroutine"] = function(f) coroutine.wrap(f)() end,
    } do
      it(("of %s ends, and loses nothing, in %s"):format(name, place), function()
        local instances, came, got, depth, deepest, most = {}, 0, 0, 0, 0, ENOUGH

        --- Stands in for the receive method of a socket that always has one more message.
        local function one_more()
          if came >= most then return nil, "timeout" end
          came = came + 1
          return nil, "timeout", FRAME
        end

        local function go_on(number)
          local following = number % 4 + 1
          if name == "wshandleincoming" then
            if came >= most then return end
            came = came + 1
          end
          call(instances[following], conns[following])
        end

        for i = 1, 4 do
          instances[i], replaced[i] = luws.instance("chain" .. i), {}
          conns[i] = assert(instances[i].wsopen(peer.url, function()
            got, depth = got + 1, depth + 1
            deepest = math.max(deepest, depth)
            go_on(i)
            depth = depth - 1
          end, { connect = sockets.connecting(replaced[i]), close_timeout = 0 }))
          replaced[i].receive = one_more
        end
        run(function() go_on(4) end)
        assert.is_true(deepest > 4 and deepest <= DEEPEST, deepest)
        most = 0
        local deadline = luws.gettime() + PATIENCE
        repeat
          for i = 1, 4 do run(function() instances[i].wsreceive(conns[i]) end) end
        until got >= came or luws.gettime() > deadline
        assert.equal(came, got)
        assert.is_true(deepest <= DEEPEST, deepest)
        assert.same({}, logged)
      end)
    end
  end
end)

describe("an error that a debug hook raises during wshandleincoming or wsreceive", function()
  local w

  before_each(function()
    log.start()
    w = world.new()
  end)

  after_each(function()
    debug.sethook()
    log.stop()
  end)

  -- Programs limit scripts this way, and Ctrl-C works this way.
  for name, run in pairs {
    ["in the main coroutine"] = function(work) return pcall(work) end,
    ["in another"] = function(work) return coroutine.resume(coroutine.create(work)) end,
  } do
    it("neither deafens it nor makes it repeat: it goes on, or ends with \"interrupted\", " .. name, function()
      local raised, interrupted = 0, 0
      for count = 1, 400 do
        local conn = w:open(nil, { sink = function() end })
        local ok = run(function()
          debug.sethook(function()
            debug.sethook()
            error "too long"
          end, "", count)
          w.luws.wshandleincoming("\129\1x", conn)
          w.luws.wsreceive(conn)
          debug.sethook()
        end)
        raised = raised + (ok and 0 or 1)
        w.luws.wshandleincoming("\129\4last", conn)
        local more, why = w.luws.wsreceive(conn)
        local last = table.remove(w.told)
        if more == nil then
          interrupted = interrupted + 1
          assert.same({ "interrupted", { false, "receiver error: interrupted" } }, { why, last }, count)
          assert.same({ nil, "interrupted" }, { w.luws.wsreceive(conn) })
        else
          assert.same({ 1, "last" }, last, count)
        end
        if w.told[1] then assert.same({ { 1, "x" } }, w.told, count) end
      end
      assert.is_true(raised > 50, ("%d raised, %d interrupted"):format(raised, interrupted))
    end)
  end
end)
