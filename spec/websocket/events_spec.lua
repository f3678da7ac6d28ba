-- Listeners of WebSocket objects, as the DOM standard has them: EventTarget, Event, AbortController.

local object = require "spec.support.object"
local logs = require "spec.support.log"

local failing = object.failing

describe("the listeners of a WebSocket object", function()
  local o, ws, called

  before_each(function()
    o = object.new()
    ws = o.WebSocket "ws://peer.test/"
    called = {}
  end)

  --- Returns a function that notes this name.
  local function named(name, f)
    return function(event)
      called[#called + 1] = name
      if f then return f(event) end
    end
  end

  local function fire(event)
    event = event or {}
    event.type = event.type or "x"
    return ws:dispatchEvent(event)
  end

  -- what is done with ws and named(); the calls of one event, of two if there is a third
  local cases = {
    { "are called in the order in which they were added", function()
      for _, name in ipairs { "a", "b", "c" } do ws:addEventListener("x", named(name)) end
    end, "a b c" },
    { "are called for their type only", function()
      ws:addEventListener("x", named "a")
      ws:addEventListener("y", named "b")
      ws:addEventListener("X", named "c")
    end, "a" },
    { "are added once", function()
      local f = named "a"
      ws:addEventListener("x", f)
      ws:addEventListener("x", named "b")
      ws:addEventListener("x", f)
    end, "a b" },
    { "are added once, whatever the second time says", function()
      local f = named "a"
      ws:addEventListener("x", f)
      ws:addEventListener("x", f, { once = true })
    end, "a", "a a" },
    { "are two if only one of them captures", function()
      local f = named "a"
      ws:addEventListener("x", f)
      ws:addEventListener("x", f, { capture = true })
      ws:addEventListener("x", f, true)
    end, "a a" },
    { "are called first if they capture", function()
      ws:addEventListener("x", named "a")
      ws:addEventListener("x", named "b", true)
      ws:addEventListener("x", named "c", { capture = true })
    end, "b c a" },
    { "may be removed", function()
      local f = named "a"
      ws:addEventListener("x", f)
      ws:addEventListener("x", named "b")
      ws:removeEventListener("x", f)
    end, "b" },
    { "may be removed and added again, at the end", function()
      local f = named "a"
      ws:addEventListener("x", f)
      ws:addEventListener("x", named "b")
      ws:removeEventListener("x", f)
      ws:addEventListener("x", f)
    end, "b a" },
    { "stay if another type, function or phase is removed", function()
      local f = named "a"
      ws:addEventListener("x", f)
      ws:removeEventListener("y", f)
      ws:removeEventListener("x", named "b")
      ws:removeEventListener("x", f, true)
      ws:removeEventListener("x", nil)
    end, "a" },
    { "are removed by the phase, not by the other options", function()
      local f = named "a"
      ws:addEventListener("x", f, { once = true, passive = true })
      ws:removeEventListener("x", f, { capture = false })
    end, "" },
    { "are called once with the option once", function()
      ws:addEventListener("x", named "a", { once = true })
      ws:addEventListener("x", named "b")
    end, "a b", "a b b" },
    { "are removed before they are called with the option once", function()
      ws:addEventListener("x", named("a", function()
        if #called < 3 then ws:dispatchEvent { type = "x" } end
      end), { once = true })
    end, "a" },
    { "may be added again from within, with the option once", function()
      local f
      f = named("a", function() ws:addEventListener("x", f, { once = true }) end)
      ws:addEventListener("x", f, { once = true })
    end, "a", "a a" },
    { "are not called for the event during which they are added", function()
      ws:addEventListener("x", named("a", function() ws:addEventListener("x", named "b") end), { once = true })
    end, "a", "a b" },
    { "are called if a listener that captures adds them", function()
      ws:addEventListener("x", named("a", function() ws:addEventListener("x", named "b") end),
        { once = true, capture = true })
    end, "a b" },
    { "are not called any more if they are removed during the event", function()
      local second = named "b"
      ws:addEventListener("x", named("a", function() ws:removeEventListener("x", second) end))
      ws:addEventListener("x", second)
      ws:addEventListener("x", named "c")
    end, "a c" },
    { "may remove themselves", function()
      local f
      f = named("a", function() ws:removeEventListener("x", f) end)
      ws:addEventListener("x", f)
      ws:addEventListener("x", named "b")
    end, "a b", "a b b" },
    { "may be removed and added again during the event, for the next one", function()
      local second = named "b"
      ws:addEventListener("x", named("a", function()
        ws:removeEventListener("x", second)
        ws:addEventListener("x", second)
      end), { once = true })
      ws:addEventListener("x", second)
    end, "a", "a b" },
    { "are not called after stopImmediatePropagation", function()
      ws:addEventListener("x", named("a", function(event) event:stopImmediatePropagation() end))
      ws:addEventListener("x", named "b")
    end, "a", "a a" },
    { "are called after stopPropagation", function()
      ws:addEventListener("x", named("a", function(event) event:stopPropagation() end))
      ws:addEventListener("x", named "b")
    end, "a b" },
    { "are not called after stopPropagation by one that captures", function()
      ws:addEventListener("x", named("a", function(event) event:stopPropagation() end), true)
      ws:addEventListener("x", named "b", true)
      ws:addEventListener("x", named "c")
    end, "a b" },
    { "may be tables with handleEvent, which receive themselves", function()
      local t = { handleEvent = function(self, event) called[#called + 1] = self.name .. event.type end, name = "t" }
      ws:addEventListener("x", t)
      ws:addEventListener("x", t)
    end, "tx" },
    { "have their handleEvent looked up at each event", function()
      local t = {}
      ws:addEventListener("x", t)
      t.handleEvent = named "a"
    end, "a" },
    { "may be callable tables", function()
      ws:addEventListener("x", setmetatable({ handleEvent = named "b" }, { __call = named "a" }))
    end, "a" },
    { "may be nil, which is none", function() ws:addEventListener("x", nil) end, "" },
    { "are removed when their signal is aborted", function()
      local controller = o.WebSocket.AbortController()
      ws:addEventListener("x", named "a", { signal = controller.signal })
      ws:addEventListener("y", named "a", { signal = controller.signal })
      ws:addEventListener("x", named "b")
      controller:abort()
    end, "b" },
    { "are never added with a signal that is aborted", function()
      local controller = o.WebSocket.AbortController()
      controller:abort()
      ws:addEventListener("x", named "a", { signal = controller.signal })
    end, "" },
    { "are not called if their signal is aborted during the event", function()
      local controller = o.WebSocket.AbortController()
      ws:addEventListener("x", named("a", function() controller:abort() end))
      ws:addEventListener("x", named "b", { signal = controller.signal })
    end, "a" },
    { "go on after one that raises an error", function()
      ws:addEventListener("x", named("a", function() error "a mistake" end))
      ws:addEventListener("x", named "b")
    end, "a b" },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      logs.capture(function()
        case[2]()
        assert.is_true(fire())
        assert.equal(case[3], table.concat(called, " "))
        if case[4] then
          fire()
          assert.equal(case[4], table.concat(called, " "))
        end
      end)
    end)
  end

  it("have the event and its target", function()
    local seen
    ws:addEventListener("x", function(event)
      seen = { event.target, event.currentTarget, event.eventPhase, event.bubbles, event.isTrusted,
        event:composedPath()[1] }
    end)
    local event = { type = "x", mine = 5, isTrusted = true }
    ws:dispatchEvent(event)
    assert.same({ ws, ws, 2, false, false, ws }, seen)
    assert.same({ ws, nil, 0, 5 }, { event.target, event.currentTarget, event.eventPhase, event.mine })
    assert.same({}, event:composedPath())
  end)

  -- options of the event and of the listener; whether dispatchEvent returns true
  local function prevents(event) event:preventDefault() end
  for _, case in ipairs {
    { "nobody prevents anything", { cancelable = true }, nil, function() end, true },
    { "a listener prevents the default", { cancelable = true }, nil, prevents, false },
    { "the event cannot be cancelled", {}, nil, prevents, true },
    { "the listener is passive", { cancelable = true }, { passive = true }, prevents, true },
    { "a listener returns false", { cancelable = true }, nil, function() return false end, true },
  } do
    it(("have dispatchEvent return %s if %s"):format(tostring(case[5]), case[1]), function()
      ws:addEventListener("x", case[4], case[3])
      local event = { type = "x", cancelable = case[2].cancelable }
      assert.equal(case[5], ws:dispatchEvent(event))
      assert.equal(not case[5], event.defaultPrevented)
    end)
  end

  it("have dispatchEvent return false if the function of on* returns false", function()
    function ws.onmessage() return false end
    assert.is_false(ws:dispatchEvent { type = "message", cancelable = true })
    assert.is_true(ws:dispatchEvent { type = "message" })
  end)

  it("may dispatch other events, but not the same one again", function()
    local err
    ws:addEventListener("x", function(event)
      err = failing(ws.dispatchEvent, ws, event)
      ws:dispatchEvent { type = "y" }
      called[#called + 1] = "x"
    end)
    ws:addEventListener("y", named "y")
    local event = { type = "x" }
    ws:dispatchEvent(event)
    assert.matches("^[^ ]+:%d+: InvalidStateError: the event is being dispatched", err)
    ws:dispatchEvent(event) -- later it may
    assert.equal("y x y x", table.concat(called, " "))
  end)

  it("change no state by events that a program dispatches", function()
    ws.onopen, ws.onclose = named "open", named "close"
    ws:dispatchEvent { type = "open" }
    ws:dispatchEvent { type = "close" }
    assert.same({ "open close", 0 }, { table.concat(called, " "), ws.readyState })
  end)

  local wrong = {
    { "addEventListener", { {}, print }, "#1 to 'addEventListener' %(string expected, got table" },
    { "addEventListener", { "x", 5 }, "#2 to 'addEventListener' %(function or table expected, got number" },
    { "addEventListener", { "x", "f" }, "#2 to 'addEventListener' %(function or table expected, got string" },
    { "addEventListener", { "x", print, { signal = {} } }, "#3 to 'addEventListener' %(signal: an AbortController's" },
    { "removeEventListener", { nil, print }, "#1 to 'removeEventListener' %(string expected, got nil" },
    { "dispatchEvent", { "x" }, "#1 to 'dispatchEvent' %(table expected, got string" },
    { "dispatchEvent", { {} }, "#1 to 'dispatchEvent' %(type: string expected, got nil" },
    { "dispatchEvent", { setmetatable({ type = "x" }, {}) }, "#1 to 'dispatchEvent' %(a table without a metatable" },
  }
  for i, case in ipairs(wrong) do
    it(("are not given to %s with wrong arguments (case %d)"):format(case[1], i), function()
      assert.matches("^[^ ]+:%d+: bad argument " .. case[3],
        failing(ws[case[1]], ws, case[2][1], case[2][2], case[2][3]))
    end)
  end

  describe("assigned to on*", function()
    it("are read back, and removed by nil", function()
      for _, name in ipairs { "onopen", "onmessage", "onerror", "onclose", "onping", "onpong" } do
        assert.is_nil(ws[name])
        ws[name] = print
        assert.equal(print, ws[name])
        ws[name] = nil
        assert.is_nil(ws[name])
      end
    end)

    it("keep the place of the first function", function()
      ws:addEventListener("open", named "a")
      ws.onopen = named "b"
      ws:addEventListener("open", named "c")
      ws.onopen = named "d"
      ws:dispatchEvent { type = "open" }
      assert.equal("a d c", table.concat(called, " "))
    end)

    it("lose it when they are removed", function()
      ws.onopen = named "a"
      ws:addEventListener("open", named "b")
      ws.onopen = nil
      ws.onopen = named "c"
      ws:dispatchEvent { type = "open" }
      assert.equal("b c", table.concat(called, " "))
    end)

    it("are called twice if they were added as listeners, too", function()
      local f = named "a"
      ws.onopen = f
      ws:addEventListener("open", f)
      ws:removeEventListener("open", f)
      ws:addEventListener("open", f)
      ws:dispatchEvent { type = "open" }
      assert.equal("a a", table.concat(called, " "))
    end)

    it("are replaced during the event", function()
      ws:addEventListener("open", function() ws.onopen = named "new" end)
      ws.onopen = named "old"
      ws:dispatchEvent { type = "open" }
      assert.equal("new", table.concat(called, " "))
    end)

    it("are functions", function()
      for _, value in ipairs { 1, "f", {}, false } do
        assert.matches("^[^ ]+:%d+: bad value for 'onopen' %(function or nil expected, got " .. type(value),
          failing(function() ws.onopen = value end))
      end
      assert.is_nil(ws.onopen)
    end)
  end)

  describe("that raise errors", function()
    it("are logged, with the place of the mistake", function()
      ws:addEventListener("x", function() error "my mistake" end)
      ws:addEventListener("x", { handleEvent = 5 })
      local lines = logs.capture(function() fire() end)
      assert.equal(2, #lines)
      assert.matches("a listener of ws://peer.test raised an error: .*events_spec.lua:%d+: my mistake", lines[1])
      assert.matches("a listener's handleEvent is not a function but a number", lines[2])
    end)

    it("go to WebSocket.onerror instead, if there is one", function()
      local seen
      function o.WebSocket.onerror(err, event) seen = { err, event.type } end
      ws:addEventListener("x", function() error "my mistake" end)
      assert.same({}, logs.capture(function() fire() end))
      assert.matches("my mistake", seen[1])
      assert.equal("x", seen[2])
      function o.WebSocket.onerror() error "another" end
      assert.matches("another", logs.capture(function() fire() end)[1])
    end)
  end)

  describe("of an AbortController's signal", function()
    local controller

    before_each(function() controller = o.WebSocket.AbortController() end)

    it("are told of the first abort", function()
      local signal = controller.signal
      signal:addEventListener("abort", named "a")
      signal.onabort = named "b"
      assert.same({ false, nil }, { signal.aborted, signal.reason })
      controller:abort "enough"
      controller:abort "more"
      assert.same({ true, "enough", "a b" }, { signal.aborted, signal.reason, table.concat(called, " ") })
    end)

    it("find an AbortError if no reason was given", function()
      controller:abort()
      assert.matches("^AbortError: ", controller.signal.reason)
    end)

    it("find fields that cannot be assigned", function()
      for _, name in ipairs { "aborted", "reason" } do
        assert.matches("attempt to assign read%-only field '" .. name, failing(function()
          controller.signal[name] = true
        end))
      end
      assert.matches("calling 'abort' on bad self", failing(controller.abort, "x"))
    end)
  end)
end)
