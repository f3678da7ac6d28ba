-- Peers that send more than a program can take at once: each wsreceive returns soon, however much has piled up,
-- reports that there is more, and loses nothing. Handlers that raise an error for each message do not flood the log.

local log = require "spec.support.log"
local world = require "spec.support.world"

describe("a flood", function()
  local MOST = 1000 -- events that one wsreceive delivers

  local w, conn, peer

  before_each(function() w = world.new() end)

  --- Makes `frames` arrive while a wssend waits for room, so that they are all read ahead.
  local function read_ahead(frames, options, handler)
    options = options or {}
    options.send_timeout = 1
    conn, peer = w:open(w:peer { deflate = options.deflate }, options, handler)
    local line = peer.line
    local on_input = line.on_input
    line.capacity, line.on_input = 10, nil -- the peer does not read
    w.clock.after(0.1, function() peer:raw(frames) end)
    w.clock.after(0.2, function()
      line.capacity, line.on_input = math.huge, on_input
    end)
    assert.is_true(w.luws.wssend(conn, 2, ("x"):rep(100)))
    assert.same({ 0.2, "" }, { w.clock.now(), line.other:peek() })
  end

  --- Calls wsreceive until there is no more. Returns calls, most events in one, bytes, all events.
  local function drain(count_events)
    local calls, most, bytes, before = 0, 0, 0, 0
    local more
    repeat
      local nb
      more, nb = w.luws.wsreceive(conn)
      calls, bytes = calls + 1, bytes + (more == nil and 0 or nb)
      most, before = math.max(most, count_events() - before), count_events()
    until not more
    return calls, most, bytes, before
  end

  local function told() return #w.told end

  for name, case in pairs {
    ["of tiny messages"] = { "\130\1x", 1 },
    ["of empty messages"] = { "\130\0", 1 },
    ["of pings"] = { "\137\1p", 0 },
    ["of fragments, each message in three"] = { "\2\0\0\1x\128\0", 1 },
  } do
    it(name .. " is delivered a thousand events at a time, all of it", function()
      local count = 5000
      local frames = case[1]:rep(count)
      local controls = 0
      read_ahead(frames, { control_handler = function() controls = controls + 1 end })
      local calls, most, bytes, all = drain(function() return told() + controls end)
      assert.same({ count, #frames }, { all, bytes })
      assert.is_true(most <= MOST and calls >= count / MOST, ("%d calls, %d at most"):format(calls, most))
      assert.equal(count * case[2], told())
    end)
  end

  it("of endless fragments is read a piece at a time, with no limit on the number of frames", function()
    local frames = "\2\0" .. ("\0\0"):rep(3000 * MOST) .. "\128\1x"
    conn, peer = w:open()
    peer:raw(frames)
    local calls = drain(told)
    assert.is_true(calls >= 3, calls)
    assert.same({ { 2, "x" } }, w.told)
  end)

  it("whose handler is slow is interrupted after 5 milliseconds", function()
    local got = 0
    conn, peer = w:open(nil, nil, function()
      got = got + 1
      w.clock.sleep(0.002)
    end)
    peer:raw(("\130\1x"):rep(10))
    assert.same({ true, 30 }, { w.luws.wsreceive(conn) })
    assert.equal(3, got)
    assert.is_true(conn:dirty()) -- for event loops, which otherwise look at the descriptor
    for _ = 1, 3 do assert.same({ true, 0 }, { w.luws.wsreceive(conn) }) end
    assert.equal(10, got)
    assert.same({ false, 0 }, { w.luws.wsreceive(conn) }) -- only now has a read shown whether there is more
  end)

  it("before the end of the stream is delivered before the end is reported", function()
    conn, peer = w:open(nil, { receive_chunk_size = 100000 })
    peer:raw(("\130\1x"):rep(2500))
    peer:finish()
    local calls = drain(told)
    assert.is_true(calls >= 3)
    assert.equal(2501, told())
    assert.same({ false, "receiver error: closed" }, w.told[2501])
  end)

  it("does not grow a queue: nothing is read while events wait", function()
    conn, peer = w:open(nil, { receive_chunk_size = 3000 })
    for _ = 1, 20 do
      peer:raw(("\130\0"):rep(3000))
      w.luws.wsreceive(conn)
    end
    -- Everything not yet delivered is still with the peer, except for one read.
    assert.is_true(peer.line.other:waiting() >= 20 * 6000 - 2 * told() - 3000)
    drain(told)
    assert.equal(60000, told())
  end)

  it("whose handler raises errors logs ten tracebacks a second, and then a count", function()
    local logged = log.start()
    finally(log.stop)
    conn, peer = w:open(nil, nil, function() error "no" end)
    for _ = 1, 3 do
      peer:raw(("\130\0"):rep(700))
      w:receive_all()
      w.clock.sleep(1)
    end
    w.luws.wsclose(conn)
    local counts, tracebacks = {}, 0
    for _, line in ipairs(logged) do
      local count = line[2]:match "^luws: handlers raised more errors: (%d+)"
      if count then
        counts[#counts + 1] = tonumber(count)
      else
        tracebacks = tracebacks + 1
        assert.matches("^luws: the handler of luws%-websock%[peer%.test:80%] raised an error: .*no\nstack tra", line[2])
      end
      assert.equal(1, line[1])
    end
    assert.same({ { 690, 690, 690 }, 30 }, { counts, tracebacks })
  end)
end)
