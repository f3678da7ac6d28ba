-- Handlers that do anything, to any connection and to the server, at any time, in a world in memory: whatever they do,
-- each connection that was opened is closed once, and nothing is left of the server in the end.

local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local server = require "luws.server"

local ROUNDS, CLIENTS = 100, 12

-- What a handler may do with the connection that it is called for (nil if there is none), and with the server.
local DOINGS = {
  function() error "on purpose" end,
  function() error() end,
  function() error(setmetatable({}, { __tostring = function() error "in an error" end })) end,
  function() coroutine.yield() end,
  function(_, srv) srv:broadcast(nil, 1, ("z"):rep(1000)) end,
  function(_, srv)
    for conn in srv:connections() do luws.wsclose(conn, 4000) end
  end,
  function(_, srv)
    for conn in srv:connections() do srv:join(conn, "room") end
    srv:broadcast("room", 1, "to the room")
    for conn in srv:connections() do srv:leave(conn, "room") end
  end,
  function(_, srv) srv:step(0) end,
  function(_, srv) srv:route("/other", {}) end,
  function() collectgarbage() end,
  function(conn) luws.wsclose(conn) end,
  function(conn) conn:close() end,
  function(conn) luws.wsreceive(conn) end,
  function(conn) luws.wswait(conn, 1) end,
  function(conn) luws.wsreset(conn) end,
  function(conn, _, net)
    conn:pause()
    net.reactor.after(0.1, function() conn:resume() end)
  end,
  function(conn)
    for _ = 1, 50 do luws.wssend(conn, 1, "more") end
  end,
  function(conn) conn.options = nil end,
  function(conn) conn.msghandler = nil end,
}
local WITHOUT_CONNECTION = 10 -- the first of them need none

for seed = 1, 3 do
  it("a server whose handlers do anything ends in order: seed " .. seed, function()
    local net, srv = mock.net { seed = seed }, nil
    local opened, closed, later = {}, {}, {}
    local state = seed
    local function draw(most) -- from 1 to most; math.random is not the same everywhere
      state = (state * 16807) % 2147483647
      return state % most + 1
    end
    local function anything(conn) DOINGS[draw(conn and #DOINGS or WITHOUT_CONNECTION)](conn, srv, net) end

    srv = assert(server.listen {
      port = 80, reactor = net.reactor, max_buffered = 50000, answer_timeout = 2, slow = anything,
      on_request = function(request)
        local kind = draw(8)
        if kind == 1 then return { status = draw(700) } end
        if kind == 2 then return {}, request.remote end
        if kind == 3 then anything() end
        if kind == 4 then
          later[#later + 1] = request
          return server.later
        end
      end,
      select_subprotocol = function()
        if draw(10) == 1 then anything() end
      end,
      response_headers = function()
        if draw(10) == 1 then anything() end
        return {}
      end,
      on_open = function(conn)
        opened[conn] = true
        anything(conn)
      end,
      on_message = anything, on_drain = anything, control_handler = anything,
      on_close = function(conn)
        closed[conn] = (closed[conn] or 0) + 1
        anything(conn)
      end,
    })
    local clients, count = {}, 0
    log.capture(function()
      for round = 1, ROUNDS do
        if #clients < CLIENTS then
          clients[#clients + 1] = assert(luws.wsopen("ws://localhost/" .. round, nil,
            net:options { wait = false, close_timeout = 1 }))
        end
        for i = #clients, 1, -1 do
          local client = clients[i]
          if client.connected and draw(30) == 1 then luws.wsclose(client) end
          if client.connected then luws.wssend(client, draw(5) == 1 and 9 or 1, "message") end
          if client.close_code then table.remove(clients, i) end
        end
        local request = draw(3) == 1 and table.remove(later)
        if request and draw(2) == 1 then request:accept() elseif request then request:refuse { status = 404 } end
        pcall(net.advance, net, 0.01) -- it raises the errors of handlers
      end
      for _, client in ipairs(clients) do luws.wsclose(client) end
      srv:close()
      pcall(net.advance, net, 30)
    end)
    for conn in pairs(opened) do
      count = count + 1
      assert.equal(1, closed[conn])
      closed[conn] = nil
    end
    assert.same({}, closed)
    assert.is_true(count > ROUNDS / 5, count)
    assert.is_true(srv:is_closed())
    assert.equal(0, srv:count())
    local _, wrong = pcall(net.finish, net)
    assert.is_nil(tostring(wrong):find("still open", 1, true), wrong)
  end)
end
