-- The option reconnect with real sockets and servers: every kind of connection comes back, certificates are judged, and
-- no descriptor is left behind.

local child = require "spec.support.child"
local luws = require "luws"
local poll = require "spec.support.poll"
local reactor = require "luws.reactor"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local sockets = require "spec.support.sockets"
local till = require "spec.support.stepping".till

local SOON = { first = 0.01, most = 0.05 }
local PATIENCE = 10

local conn, told, opened

--- Opens a connection that echoes whatever is said to it, and is closed by the server then.
local function open(url, options)
  told, opened = {}, 0
  options.reconnect, options.close_timeout = options.reconnect or SOON, 0
  options.open_handler = function(c)
    opened = opened + 1
    assert(luws.wssend(c, 1, "opening " .. opened))
  end
  conn = assert(luws.wsopen(url, function(_, ...) told[#told + 1] = { ... } end, options))
end

after_each(function()
  luws.wsclose(conn)
  conn = nil
end)

describe("a lost connection over real sockets", function()
  local peer

  after_each(function()
    if peer then peer:close() end
    peer = nil
  end)

  --- A server that reads one message and hangs up.
  local function rude(options)
    local steps = { { "upgrade" }, { "read_frame" }, { "close" } }
    for name, value in pairs(options or {}) do steps[name] = value end
    peer = scripted.peer(steps)
    return peer.url
  end

  for _, case in ipairs {
    { "ws", {} },
    { "wss", { tls = true } },
    { "a user's socket", {}, function(host, port) return socket.connect(host, port) end },
  } do
    for _, driver in ipairs { "wsreceive", "the reactor" } do
      it("comes back again and again, over " .. case[1] .. " by " .. driver, function()
        open(rude(case[2]), { connect = case[3] })
        local function is_done() return opened >= 4 end
        if driver == "wsreceive" then
          assert.is_true(poll(luws, conn, is_done))
        else
          assert.is_true(reactor.add(conn))
          till(is_done)
        end
        for i = 1, 3 do assert.is_false(told[i][1]) end
        assert.is_true(#told <= 4)
        assert.is_true(conn:getfd() > 2 or not conn.connected)
      end)
    end
  end

  it("comes back when its server does, after being killed twice", function()
    local listener = assert(socket.bind("127.0.0.1", 0))
    local _, port = listener:getsockname()
    listener:close()
    local command = ("build/luws-demo-server --port %d --until-stdin-closes > /dev/null"):format(port)
    local function start()
      local server = assert(io.popen(command, "w")) -- ends when this is closed
      local deadline = luws.gettime() + PATIENCE
      repeat local probe = socket.connect("127.0.0.1", port) until probe or luws.gettime() > deadline
      return server
    end
    local server = start()
    open(("ws://127.0.0.1:%d/echo"):format(port), { ping_interval = 20, queue = 1000 })
    assert(reactor.add(conn))
    till(function() return #told == 1 end)
    local expected = { { 1, "opening 1" } }
    for i = 1, 2 do
      server:close()
      till(function() return not conn.connected end)
      assert.is_true(luws.wssend(conn, 2, "kept " .. i))
      server = start()
      for _, event in ipairs { { false, "receiver error: closed" }, { 1, "opening " .. i + 1 }, { 2, "kept " .. i } } do
        expected[#expected + 1] = event
      end
      till(function() return #told == #expected end)
      assert.same(expected, told)
    end
    server:close()
  end)

  it("leaves no descriptor and no item of the reactor behind", function()
    open(rude(), { reconnect = { first = 0 } })
    assert(reactor.add(conn))
    till(function() return opened >= 20 end)
    local before = sockets.count()
    till(function() return opened >= 220 end)
    assert.is_true(math.abs(sockets.count() - before) <= 2)
    luws.wsclose(conn)
    reactor.run(PATIENCE)
    assert.equal(0, reactor.step(0)) -- nothing is left to be driven
  end)

  it("is opened with the options as they are then", function()
    peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" } }
    open(peer.url, {
      upgrade_headers = { ["X-Token"] = "1" },
      reconnect = {
        first = 0,
        on = function(c) c.options.upgrade_headers["X-Token"] = "2" end,
      },
    })
    poll(luws, conn, function() return opened >= 2 end)
    assert.same({ "1", "2" }, { peer:result(1).headers["x-token"], peer:result(2).headers["x-token"] })
  end)
end)

describe("certificates", function()
  for _, case in ipairs {
    { "expired", "expired", true },
    { "for another host", "wrong-host", false },
  } do
    local what, certificate, retries = case[1], case[2], case[3]
    it((retries and "are tried again" or "are given up") .. " without waiting if they are " .. what, function()
      local peer = scripted.peer { { "read_to_eof" }, tls = { certificate = certificate } }
      local attempts, why = 0, nil
      open(peer.url, {
        wait = false, ssl_verify = "peer", ssl_cafile = servers.ca_file(),
        reconnect = { most = 0.01, on = function(_, text) attempts, why = attempts + 1, text end },
      })
      till(function() return retries and attempts >= 3 or told[1] end)
      assert.matches("^Failed SSL negotation: certificate verify failed", why)
      assert.equal(retries and 0 or 1, #told)
      luws.wsclose(conn)
      peer:close()
    end)
  end
end)

describe("a program whose connection waits to be opened again", function()
  it("ends at once", function()
    local begun = luws.gettime()
    local output, status = child.run { "-e", [[
      local luws = require "luws"
      local conn = luws.wsopen("ws://127.0.0.1:1/", nil, { wait = false, reconnect = { first = 1000, most = 1000 } })
      for _ = 1, 20 do luws.wsreceive(conn) luws.sleep(0.01) end
      print(conn:timeout() > 100)
    ]] }
    assert.same({ "true\n", 0 }, { output, status })
    assert.is_true(luws.gettime() - begun < PATIENCE)
  end)
end)
