-- Servers that are hostile in TLS itself: floods of records, alerts and messages that carry nothing, and a chain of
-- certificates that does not end. What one call does is limited, whatever has piled up, and so is memory; what comes
-- among it is delivered; and wsopen and wsreceive say what was wrong.

local child = require "spec.support.child"
local luws = require "luws"
local openssl = require "spec.support.openssl"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local wss = require "spec.support.wss"

-- The most processor time that one call may take, in seconds. A call takes a few milliseconds; without a limit it would
-- take as long as the flood is.
local MOST = 0.25

local apply
local it_both = wss.both_ways(it, function(options_of) apply = options_of end)

describe("a flood on an open connection:", function()
  local LENGTH = 20000

  -- the port, the server's steps, and what the handler is to get
  for name, case in pairs {
    ["messages of one byte for each record"] =
      { "tls12", { { "seal", "\130\126\78\32" }, { "seal", "x", LENGTH } }, ("x"):rep(LENGTH) },
    ["the same with TLS 1.3"] =
      { "tls13", { { "seal", "\130\126\78\32" }, { "seal", "x", LENGTH } }, ("x"):rep(LENGTH) },
    ["key updates that want no answer"] = { "tls13", { { "update", 0, LENGTH }, { "seal", "\129\4last" } }, "last" },
    ["session tickets"] =
      { "tls13", { "ticket", "ticket", "ticket", "ticket", "ticket", { "seal", "\129\4last" } }, "last" },
    ["requests for a renegotiation"] = { "tls12",
      { "renegotiate", "renegotiate", "renegotiate", "renegotiate", { "seal", "\129\4last" } }, "last" },
  } do
    it_both(name, function()
      local steps = { "upgrade", "frame" }
      for _, step in ipairs(case[2]) do steps[#steps + 1] = step end
      steps[#steps + 1] = "push"
      steps[#steps + 1] = "echo"
      local seen
      local conn = assert(luws.wsopen(openssl.url(case[1], steps), function(_, _, data) seen = data end, apply {}))
      assert.is_true(luws.wssend(conn, 1, "go"))
      local worst, deadline = 0, luws.gettime() + 20
      repeat
        luws.wswait(conn, 1)
        local began = os.clock()
        local more, why = luws.wsreceive(conn)
        worst = math.max(worst, os.clock() - began)
        assert.is_not_nil(more, why)
      until seen or luws.gettime() > deadline
      assert.is_true(seen == case[3])
      assert.is_true(worst < MOST, worst)
      luws.wsclose(conn)
      assert.is_true(luws.wswait(conn, 10))
      assert.is_true(conn.was_clean)
    end)
  end
end)

describe("a flood in the handshake:", function()
  -- a record, and why the handshake fails
  for name, case in pairs {
    ["empty records of the handshake"] = { "\22\3\3\0\0", "record too small" },
    ["empty records of data"] = { "\23\3\3\0\0", "unexpected message" },
    ["empty alerts"] = { "\21\3\3\0\0", "invalid alert" },
    ["warnings"] = { "\21\3\3\0\2\1\90", "too many warn alerts" },
    ["changes of the cipher"] = { "\20\3\3\0\1\1", "unexpected message" },
    ["requests for a handshake, which a client ignores"] =
      { "\22\3\3\0\4\0\0\0\0", "the peer closed the connection" },
  } do
    it_both(name, function()
      local peer = scripted.peer { { "read", 200 }, { "send", case[1], times = 50000 }, { "close" } }
      finally(function() peer:close() end)
      local began = os.clock()
      local conn, message = luws.wsopen(peer.url:gsub("^ws", "wss"), nil, apply {})
      assert.same({ false, "Failed SSL negotation: " .. case[2] }, { conn, message })
      assert.is_true(os.clock() - began < 1)
    end)
  end
end)

describe("a chain of certificates of several megabytes", function()
  local path

  setup(function()
    path = os.tmpname()
    local pem = servers.leaf "server.pem" .. servers.leaf("huge.pem"):rep(100)
    local file = assert(io.open(path .. ".pem", "w"))
    file:write(pem)
    file:close()
    assert.is_true(#pem > 4 * 1024 * 1024, #pem)
  end)

  teardown(function()
    os.remove(path)
    os.remove(path .. ".pem")
  end)

  for _, version in ipairs { "tlsv1_2", "tlsv1_3" } do
    it("is refused before it is received: " .. version, function()
      local peer = scripted.peer { tls = { certificate = path, newest = version }, { "upgrade" } }
      finally(function() peer:close() end)
      local output = child.program([[
        local luws = require "luws"
        local function peak()
          for line in io.lines "/proc/self/status" do -- Linux
            local kib = line:match "^VmHWM:%s+(%d+)"
            if kib then return tonumber(kib) end
          end
        end
        luws.wsopen("wss://127.0.0.1:1/") -- loads what is loaded once
        local before = peak()
        print(select(2, luws.wsopen(arg[1])))
        print(peak() - before < 1024 and "small" or peak() - before)
      ]], peer.url)
      assert.equal("Failed SSL negotation: excessive message size\nsmall\n", output)
    end)
  end
end)
