-- WebSocket objects that nobody has any more, and those that are there at the end of the program.

local child = require "spec.support.child"
local interpreted = require "spec.support.interpreted"
local object = require "spec.support.object"
local scripted = require "spec.support.scripted"

local function collect()
  for _ = 1, 4 do collectgarbage() end
end

describe("a WebSocket object that the program has forgotten", function()
  local o, peer

  --- Opens an object that nobody has, after f(ws), and returns what has come to its peer.
  local function forgotten(f, options)
    peer = o.world:peer():answer_close()
    peer.hangs_up = true
    local is_open
    do
      local ws = o.WebSocket("ws://peer.test/", nil, options)
      ws:addEventListener("open", function() is_open = true end, { once = true })
      if f then f(ws) end
    end
    local limit = o.clock.now() + 20
    while not is_open and o.clock.now() < limit do o.WebSocket.step(0.1) end
    collect()
    o.WebSocket.step(1)
    collect()
    o.WebSocket.step(1)
    return peer.events
  end

  before_each(function()
    interpreted.begin() -- machine code would hold what it was made for
    o = object.new()
  end)

  after_each(interpreted.finish)

  it("is closed without a code", function()
    assert.same({ { 8, "" } }, forgotten())
    assert.is_true(peer.line.finished ~= nil)
  end)

  for _, kind in ipairs { "message", "error", "close" } do
    it(("lives on as long as there are listeners for '%s'"):format(kind), function()
      local count, controller = 0, o.WebSocket.AbortController()
      assert.same({}, forgotten(function(ws)
        ws:addEventListener(kind, function() count = count + 1 end, { signal = controller.signal })
      end))
      peer:send(1, "still here")
      o.WebSocket.step(0.1)
      assert.equal(kind == "message" and 1 or 0, count)
      collect()
      controller:abort()
      collect()
      o.WebSocket.step(1)
      assert.same({ { 8, "" } }, peer.events)
    end)
  end

  it("lives on with a function assigned to on*", function()
    local seen = {}
    assert.same({}, forgotten(function(ws)
      function ws.onmessage(event) seen[#seen + 1] = event.target.readyState .. event.data end
    end))
    peer:send(1, "a")
    o.WebSocket.step(0.1)
    assert.same({ "1a" }, seen)
  end)

  it("sends what was queued", function()
    forgotten(function(ws) ws:addEventListener("open", function(event)
      event.target:send "queued"
    end, { once = true }) end)
    assert.same({ { 1, "queued" }, { 8, "" } }, peer.events)
  end)

  it("is not opened, if it was still connecting", function()
    peer = o.world:peer()
    function peer.on_request() end
    o.WebSocket "ws://peer.test/"
    o.WebSocket.step(0.1)
    collect()
    o.WebSocket.step(1)
    assert.is_true(peer.line.finished ~= nil)
  end)

  it("costs nothing any more after its end", function()
    local weak = setmetatable({}, { __mode = "k" })
    for _ = 1, 20 do
      local ws
      ws, peer = o:open()
      weak[ws] = true
      ws:close()
      o:run()
      assert.equal(3, ws.readyState)
    end
    o.ws, o.events, o.seen, peer, o.world.next_peer = nil, {}, {}, nil, nil
    collect()
    local left = 0
    for _ in pairs(weak) do left = left + 1 end
    assert.is_true(left <= 1, left .. " are left") -- the stack may still have the last one
  end)
end)

describe("a WebSocket object at the end of the program", function()
  --- Runs a program with the URL of a peer that reads everything. Returns the frames that have come.
  local function frames_of(program)
    local peer = scripted.peer { { "upgrade" }, { "read_to_eof" } }
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(program)
    file:close()
    local output, status = child.run { path, peer.url }
    os.remove(path)
    assert.same({ "done\n", 0 }, { output, status })
    local seen = {}
    for i, frame in ipairs(peer:result().frames) do seen[i] = { frame.opcode, frame.payload } end
    peer:close()
    return seen
  end

  local BEGIN = [[
    local WebSocket = require "luws.websocket"
    local ws = WebSocket((...))
  ]]

  it("is closed with 1001 if it is open", function()
    assert.same({ { 8, scripted.close_payload(1001) } }, frames_of(BEGIN .. [[
      function ws.onclose() end
      while ws.readyState == 0 do WebSocket.step() end
      kept = ws
      print "done"
    ]]))
  end)

  it("is closed after what was sent", function()
    assert.same({ { 1, "last words" }, { 8, scripted.close_payload(1001) } }, frames_of(BEGIN .. [[
      while ws.readyState == 0 do WebSocket.step() end
      kept = ws
      ws:send "last words"
      print "done"
    ]]))
  end)

  it("has said goodbye if it was closed", function()
    assert.same({ { 8, scripted.close_payload(3000, "bye") } }, frames_of(BEGIN .. [[
      while ws.readyState == 0 do WebSocket.step() end
      ws:close(3000, "bye")
      print "done"
    ]]))
  end)
end)
