-- WebSocket objects over real sockets: luws's own and LuaSocket's, over ws and wss; and over a socket with callbacks.

local object = require "spec.support.object"
local reactor = require "luws.reactor"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local WebSocket = require "luws.websocket"

local failing, frame, payload = object.failing, scripted.frame, scripted.close_payload

local PATIENCE = 10 -- seconds

local function run(done)
  local deadline = socket.gettime() + PATIENCE
  while not done() do
    assert(socket.gettime() < deadline, "it takes too long")
    reactor.step(0.1)
  end
end

local function connect(host, port) return socket.connect(host, port) end

local ROUTES = {
  { "luws's own sockets", nil }, { "LuaSocket's sockets", connect },
}

for _, route in ipairs(ROUTES) do
  for _, scheme in ipairs { "ws", "wss" } do
    describe(("a WebSocket object over %s, with %s,"):format(route[1], scheme), function()
      local seen, peer

      before_each(function() seen = {} end)
      after_each(function()
        if peer then peer:close() end
        peer = nil
      end)

      local function open(url, protocols)
        local ws = WebSocket(url, protocols, { connect = route[2], ssl_cafile = scheme == "wss" and servers.ca_file()
          or nil })
        for _, kind in ipairs { "open", "message", "error", "close" } do
          ws:addEventListener(kind, function(event)
            seen[#seen + 1] = table.concat({ ws.readyState, kind, event.data and #event.data or event.code,
              event.reason ~= "" and event.reason or nil }, " ")
          end)
        end
        return ws
      end

      local function play(steps)
        steps.tls = scheme == "wss"
        peer = scripted.peer(steps)
        return peer.url
      end

      it("talks to a server", function()
        local ws = open(servers.url("demo", scheme, "/echo"))
        local large = ("0123456789"):rep(100000)
        function ws.onopen()
          ws:send "hello"
          ws:send(large, "binary")
          assert.equal(5 + #large, ws.bufferedAmount)
        end
        run(function() return #seen == 3 end)
        reactor.step(0) -- all of it may have happened in one step
        assert.equal(0, ws.bufferedAmount)
        ws:close(3000, "bye")
        run(function() return ws.readyState == 3 end)
        assert.same({ "1 open", "1 message 5", "1 message 1000000", "3 close 3000" }, { seen[1], seen[2], seen[3],
          seen[4]:sub(1, 12) })
      end)

      it("is told of the server's close frame", function()
        local url = play { { "upgrade" }, { "send", frame { payload = "x" } .. frame {
          opcode = "close", payload = payload(4000, "bye"),
        } }, { "read_to_eof" } }
        local ws = open(url)
        run(function() return ws.readyState == 3 end)
        assert.same({ "1 open", "1 message 1", "3 close 4000 bye" }, seen)
        assert.equal(payload(4000), peer:result().frames[1].payload)
      end)

      it("is told of a lost connection", function()
        local ws = open(play { { "upgrade" }, { "send", frame { payload = "x" } }, { "reset" } })
        run(function() return ws.readyState == 3 end)
        assert.equal("3 error,3 close 1006", table.concat(seen, ",", #seen - 1))
      end)

      it("is told that the server refuses it", function()
        local ws = open(play { { "upgrade", status = "HTTP/1.1 404 Not Found" }, { "read_to_eof" } }, { "a" })
        run(function() return ws.readyState == 3 end)
        assert.same({ "3 error", "3 close 1006" }, seen)
        assert.matches("Sec%-WebSocket%-Protocol: a\r\n", peer:result().head)
      end)

      it("counts what the server never takes", function()
        local ws = open(play { { "upgrade" }, { "wait" }, { "reset" }, receive_buffer = 4096 })
        run(function() return ws.readyState == 1 end)
        local large = ("x"):rep(8 * 1024 * 1024) -- more than the system buffers
        ws:send(large, "binary")
        ws:send "end"
        for _ = 1, 3 do reactor.step(0.01) end
        assert.same({ #large + 3, 1 }, { ws.bufferedAmount, ws.readyState })
        peer:go()
        run(function() return ws.readyState == 3 end)
        assert.same({ #large + 3, "3 close 1006" }, { ws.bufferedAmount, seen[#seen] })
      end)
    end)
  end
end

describe("a WebSocket object", function()
  it("verifies its server unless it is told how to trust it", function()
    local luws, url = require "luws", servers.url("demo", "wss", "/echo")
    local conn = assert(luws.wsopen(url))
    luws.wsclose(conn)
    local fingerprint = conn.tls.fingerprint -- of a certificate that no authority of the system has signed
    local told = {
      {}, { ssl_verify = "none" }, { ssl = { verify = "none" } }, { ssl_fingerprint = fingerprint },
      { ssl = { fingerprint = fingerprint } },
    }
    for _, options in ipairs(told) do
      local ws, message = WebSocket(url, nil, options), nil
      function ws.onerror(event) message = event.message end
      run(function() return ws.readyState ~= 0 end)
      if next(options) then
        assert.is_nil(message)
      else
        assert.matches("^Failed SSL negotation: .*certificate", message)
      end
      ws:close()
      run(function() return ws.readyState == 3 end)
    end
  end)

  it("can be given to luws.watch", function()
    local luws = require "luws"
    local ws = WebSocket(servers.url("demo", "ws", "/echo"))
    assert.same({ false, "this is not openLuup" }, { luws.watch(ws) })
    ws:close()
    run(function() return ws.readyState == 3 end)
    assert.same({ false, "not connected" }, { luws.watch(ws) })
  end)

  it("is run until all are closed", function()
    local count = 0
    for i = 1, 3 do
      local ws = WebSocket(servers.url("demo", "ws", "/echo"))
      function ws.onopen() ws:send(tostring(i)) end
      function ws.onmessage() ws:close() end
      function ws.onclose(event) count = count + (event.wasClean and 1 or 0) end
    end
    WebSocket.run(PATIENCE)
    assert.equal(3, count)
  end)
end)

describe("a WebSocket object over a socket with callbacks", function()
  local o, line, callbacks

  before_each(function()
    o = object.new()
    local peer = o.world:peer():answer_close()
    local its_line, its = o.world:attach(peer), { closed = false } -- not the next test's, when they are collected
    o.peer, line, callbacks = peer, its_line, its
    function its.send(_, data) its_line:send(data) end
    function its:close()
      self.closed = true
      its_line:close()
    end
    function its_line.on_input()
      local data = its_line:take()
      if data ~= "" then its.onmessage(data) end
    end
  end)

  local function open()
    local ws = o:create { connect = function(host, port)
      callbacks.asked = host .. ":" .. port
      return o.WebSocket.callback_socket(callbacks)
    end }
    o:run(function() return ws.readyState ~= 0 end)
    return ws
  end

  it("sends and receives, and closes it", function()
    local ws = open()
    assert.equal("peer.test:80", callbacks.asked)
    ws:send "out"
    o.peer:send(1, "in")
    o:run(function() return o.seen[2] end)
    ws:close(3000)
    o:run()
    assert.same({ "1 open", "1 message text in", "3 close 3000 clean" }, o.seen)
    assert.same({ { 1, "out" }, { 8, payload(3000) } }, o.peer.events)
    assert.is_true(callbacks.closed)
  end)

  it("is told at once of what has come", function()
    open()
    local before = o.clock.now()
    o.peer:send(1, "in")
    o:run(function() return o.seen[2] end)
    assert.equal(before, o.clock.now())
  end)

  it("notices when it is closed", function()
    open()
    o.peer:send(1, "last")
    callbacks.closed = true
    o:run()
    assert.same({ "1 open", "1 message text last", "3 error", "3 close 1006 unclean" }, o.seen)
  end)

  it("notices a call of onclose at once", function()
    open()
    local before = o.clock.now()
    callbacks.onclose()
    o:run()
    assert.same({ "1 open", "3 error", "3 close 1006 unclean" }, o.seen)
    assert.is_true(o.ended - before < 0.01)
  end)

  it("takes pieces of any size, from a function or a method", function()
    function line.on_input()
      local data = line:take()
      for i = 1, #data do
        if i % 2 == 0 then callbacks.onmessage(data:sub(i, i)) else callbacks:onmessage(data:sub(i, i)) end
      end
    end
    open()
    o.peer:send(2, ("x"):rep(70000))
    o:run(function() return o.seen[2] end)
    assert.equal(70000, #o.events[2].data)
  end)

  it("ends if its send fails", function()
    local ws = open()
    function callbacks.send() return nil, "the tunnel is gone" end
    ws:send "x"
    o:run()
    assert.same({ "1 open", "3 error", "3 close 1006 unclean" }, o.seen)
    assert.matches("the tunnel is gone", o.events[2].message)
    assert.equal(1, ws.bufferedAmount)
  end)

  it("ends if its onmessage is called with something else than a string", function()
    open()
    callbacks.onmessage(5)
    o:run()
    assert.matches("its onmessage was called with a number", o.events[2].message)
  end)

  it("needs the methods", function()
    for _, case in ipairs { { nil, "table expected, got nil" }, { {}, "a table with a function send expected" },
      { { send = print }, "a table with a function close expected" } } do
      assert.matches("^[^ ]+:%d+: bad argument #1 to 'callback_socket' %(" .. case[2],
        failing(o.WebSocket.callback_socket, case[1]))
    end
  end)
end)
