-- A log, and options, that close the connection while something is delivered: no handler is called after that.

local world = require "spec.support.world"

describe("no handler is called after wsclose, even if the connection was closed", function()
  local w, conn, called

  before_each(function()
    w = world.new()
    called = 0
  end)

  after_each(function() rawset(_G, "luup", nil) end)

  local function count() called = called + 1 end

  --- Receives a message and a ping; no handler may have been called for them.
  local function check(peer)
    peer:send(1, "a")
    peer:send(9, "p")
    w.luws.wsreceive(conn)
    assert.same({ nil, "not connected" }, { w.luws.wsreceive(conn) })
    assert.equal(0, called)
  end

  it("by the log, in debug_mode", function()
    local peer
    conn, peer = w:open(nil, { control_handler = count }, count)
    rawset(_G, "luup", { log = function() w.luws.wsclose(conn) end })
    w.luws.debug_mode = true
    check(peer)
  end)

  it("by options, as they were read", function()
    for _, name in ipairs { "handler_args", "control_handler" } do
      local peer, armed
      local options = setmetatable({}, {
        __index = function(_, key)
          if armed and key == name then w.luws.wsclose(conn) end
          if key == "control_handler" then return count end
        end,
      })
      conn, peer = w:open(nil, options, name == "handler_args" and count or nil)
      armed = true
      if name == "control_handler" then
        peer:send(9, "p")
        w.luws.wsreceive(conn)
        assert.equal(0, called)
      else
        check(peer)
      end
    end
  end)

  it("and a log that calls luws on it in debug_mode disturbs nothing", function()
    local peer
    conn, peer = w:open()
    rawset(_G, "luup", { log = function()
      w.luws.wsreceive(conn)
      w.luws.wswait(conn, 0)
    end })
    w.luws.debug_mode = true
    for i = 1, 3 do peer:send(1, "m" .. i) end
    w:receive_all(conn)
    assert.same({ { 1, "m1" }, { 1, "m2" }, { 1, "m3" } }, w.told)
  end)
end)
