-- TLS beside another TLS library in the process, and with hostile peers.

local luws = require "luws"
local measure = require "spec.support.measure"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local ssl = require "ssl"

describe("a wss connection", function()
  it("does not mistake LuaSec's errors in the same thread for its own", function()
    local got
    local conn = assert(luws.wsopen(servers.url("websockets", "wss", "/echo"), function(_, ...) got = { ... } end,
      { close_timeout = 5 }))
    for _ = 1, 3 do
      -- These leave something in the error queue of OpenSSL.
      assert.is_nil(ssl.newcontext { mode = "client", protocol = "tlsv1_2", cafile = "/nonexistent.pem" })
      pcall(ssl.loadcertificate, "junk")
      got = nil
      assert.is_true(luws.wssend(conn, 1, "still there"))
      poll(luws, conn, function() return got end)
      assert.same({ 1, "still there" }, got)
    end
    luws.wsclose(conn)
    assert.is_true(luws.wswait(conn, 5))
    assert.is_true(conn.was_clean)
  end)

  it("costs no memory when the peer keeps sending after a failure", function()
    local peer = scripted.peer {
      tls = true,
      { "upgrade" }, { "send", "\131\0" }, { "send", ("x"):rep(65536), times = 2000 },
    }
    local conn = assert(luws.wsopen(peer.url, nil, { close_timeout = 1 }))
    poll(luws, conn)
    local before = measure.resident()
    luws.wsclose(conn)
    assert.is_true(luws.wswait(conn, 5))
    local more = measure.resident() - before
    assert.is_true(more < 20000 * 1024, more)
    peer:close()
  end)
end)
