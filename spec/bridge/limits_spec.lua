-- What a bridge withstands: floods from both sides at once, clients and peers that hold up its end, and too few
-- descriptors.

local bridging = require "spec.support.bridging"
local child = require "spec.support.child"
local luws = require "luws"
local measure = require "spec.support.measure"
local serving = require "spec.support.serving"
local socket = require "socket"

local till, frame = bridging.till, bridging.frame

after_each(bridging.over)
after_each(child.over)

local COUNT, PIECE = 100, ("x"):rep(65536)

it("a bridge loses nothing if both sides flood, and read only when they cannot send any more", function()
  local server = bridging.listen()
  local b = bridging.start { host = server.address, framing = "fixedlength", framing_config = tostring(#PIECE) }
  local raw = b:open "/"
  local peer = server:accept()
  local ends = {
    { raw = raw, sends = frame(2, PIECE):rep(COUNT), gets = ("\130\127\0\0\0\0\0\1\0\0" .. PIECE):rep(COUNT) },
    { raw = peer.raw, sends = PIECE:rep(COUNT), gets = PIECE:rep(COUNT) },
  }
  for i, one in ipairs(ends) do
    one.sent, one.parts, one.came = bridging.flood(one.raw, ends[3 - i].raw, one.sends), {}, 0
  end
  till(function()
    for _, one in ipairs(ends) do
      if one.sent < #one.sends then
        local last, _, part = one.raw:send(one.sends, one.sent + 1)
        one.sent = last or part
      end
      local data, _, part = one.raw:receive(#PIECE)
      one.parts[#one.parts + 1] = data or part
      one.came = one.came + #(data or part)
    end
    return ends[1].came >= #ends[1].gets and ends[2].came >= #ends[2].gets
  end, 0.001)
  for _, one in ipairs(ends) do assert.is_true(table.concat(one.parts) == one.gets) end
end)

it("a client that does not read holds a few times the buffer, also if its messages have one byte each", function()
  local BUFFER = 4 * 1024 * 1024
  local server, bytes = bridging.listen(), ("x"):rep(BUFFER)
  local b = bridging.start { host = server.address, framing = "fixedlength", framing_config = "1", buffer = BUFFER }
  local raw = b:open "/"
  local peer, before = server:accept(), measure.resident()
  bridging.flood(peer.raw, raw, bytes)
  local held = measure.resident() - before
  assert.is_true(held < 6 * BUFFER, held)
end)

it("a bridge that is closed waits for peers no longer than it says, whatever is queued for them", function()
  local server = bridging.listen()
  local b = bridging.start { host = server.address }
  local raw = b:open "/"
  local peer = server:accept()
  bridging.flood(raw, peer.raw, frame(2, PIECE):rep(COUNT))
  local begun = luws.gettime()
  assert.is_true(b.bridge:close { timeout = 0.3 })
  till(function() return b.bridge:is_closed() end)
  local took = luws.gettime() - begun
  assert.is_true(took >= 0.29 and took < 2, took)
  assert.is_true(b:said "code 1001")
end)

--- closed_in(b): closes a bridge within 0.2 seconds. Returns how many seconds that has taken.
local function closed_in(b)
  local begun = luws.gettime()
  b.bridge:close { timeout = 0.2 }
  till(function() return b.bridge:is_closed() end)
  return luws.gettime() - begun
end

it("a bridge that is closed waits for clients no longer than it says, if they do not answer", function()
  local server = bridging.listen()
  local b = bridging.start { host = server.address }
  local raw = b:open "/"
  local peer = server:accept()
  local took = closed_in(b)
  assert.is_true(took >= 0.19 and took < 2, took)
  assert.same({ "\136\2\3\233", true }, { bridging.read(raw) })
  assert.is_true(select(2, peer:read()))
end)

it("a bridge in reverse that is closed waits for a server no longer than it says, if that does not answer", function()
  local s = serving.start { on_open = function(conn) conn:pause() end }
  local b = bridging.start { reverse = true, url = ("ws://127.0.0.1:%d/"):format(s.port) }
  local raw = b:dial()
  till(function() return b.bridge:stats().connections == 1 end)
  local took = closed_in(b)
  assert.is_true(took >= 0.19 and took < 2, took)
  assert.same({ "", true }, { bridging.read(raw) })
end)

it("a bridge that is closed says what is wrong with how", function()
  local b = bridging.start {}
  for _, case in ipairs {
    { 5, "bad argument #1 to 'close' (table expected, got number)" },
    { { timeout = -1 }, "bad option 'close' (timeout: a number of at least 0 expected, got -1)" },
    { { timout = 1 }, "bad option 'close' (timout: unknown)" },
  } do
    local closed, why = b.bridge:close(case[1])
    assert.is_nil(closed)
    assert.is_truthy(why:find(case[2], 1, true), why)
  end
  assert.is_false(b.bridge:is_closed())
end)

it("a bridge without descriptors refuses clients or has them wait, does not spin, and goes on with the next", function()
  local server = bridging.listen("127.0.0.1", 64)
  -- run() would raise the limit.
  local lacking = child.serve {
    input = [[
      local bridge, reactor = require "luws.bridge", require "luws.reactor"
      local b = assert(bridge.listen { listen = "127.0.0.1", port = 0, host = arg[1] })
      reactor.watch_signal("TERM", function()
        print(os.clock() < 1)
        os.exit(0)
      end)
      while b:step() do end
    ]],
    server.address, descriptors = 20,
  }
  local host, port = lacking.line:match "^luws bridge: listening at ws://([%d.]+):(%d+)$"
  local b = setmetatable({ host = host, port = tonumber(port) }, { __index = serving.methods })
  local raws, seen = {}, {}
  for i = 1, 30 do
    raws[i] = b:dial()
    raws[i]:send(serving.upgrade "/")
  end
  socket.sleep(0.3)
  for _, raw in ipairs(raws) do
    local line = raw:receive "*l" or "nothing"
    seen[line] = (seen[line] or 0) + 1
    raw:close()
  end
  assert.is_true(seen["HTTP/1.1 502 Bad Gateway"] > 0 and seen.nothing > 0) -- which have no peer, which wait
  local peers = {}
  local client = b:connect "/"
  luws.wssend(client.conn, 1, "the last one")
  till(function()
    local raw = server.raw:accept()
    if raw then
      raw:settimeout(0)
      peers[#peers + 1] = raw
    end
    for _, peer in ipairs(peers) do
      if peer:receive(12) == "the last one" then return true end
    end
  end)
  for _, peer in ipairs(peers) do peer:close() end
  local said, status = lacking:stop()
  assert.is_truthy(said:find("Too many open files", 1, true), said)
  assert.matches("true\n$", said)
  assert.equal(0, status)
end)
