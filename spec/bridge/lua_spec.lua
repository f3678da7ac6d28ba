-- Backends and framing functions of a bridge that are Lua functions.

local bridge = require "luws.bridge"
local bridging = require "spec.support.bridging"
local serving = require "spec.support.serving"

local till = bridging.till

after_each(bridging.over)

--- A length byte, and as many bytes more.
local function counted(_, data)
  local length = data:byte() + 1
  if #data >= length then return length, data:byte(2) == 33 and "binary" or "text" end
end

local function joined(framing, more)
  local server, options = bridging.listen(), { framing = framing }
  options.host = server.address
  for name, value in pairs(more or {}) do options[name] = value end
  local b = bridging.start(options)
  local client = b:connect "/"
  return b, client, server:accept()
end

describe("a backend that is a function", function()
  it("chooses peer, framing and subprotocol by the request", function()
    local server = bridging.listen()
    local seen
    local b = bridging.start {
      peer = function(request)
        seen = { request.path, request.query, request.headers["x-who"], request.cookies.id, request.remote }
        return {
          host = server.address, framing = "newline", framing_config = "lf", subprotocol = request.subprotocols[2],
        }
      end,
    }
    local client = b:connect("/a?b", {
      upgrade_headers = { ["X-Who"] = "me", Cookie = "id=7" }, subprotocols = { "x", "y" },
    })
    local peer = server:accept()
    assert.same({ "/a", "b", "me", "7", "127.0.0.1" }, seen)
    assert.equal("y", client.conn.subprotocol)
    peer:send "1\n2\n"
    till(function() return #client.told == 2 end)
    assert.is_true(b:said "open: 127.0.0.1:%d+ /a%?%.%.%. %-> tcp://127.0.0.1:%d+ %(y%)$")
  end)

  for _, case in ipairs {
    { "raises an error", function() error "oops" end, 500, "the backend raised an error: .*oops" },
    { "has no peer", function() end, 404, "the backend has no peer for it" },
    { "says which status", function() return nil, 410 end, 410, "the backend has no peer for it" },
    { "returns what is no peer", function() return { host = "tcp://h" } end, 500, "port is missing" },
    { "wants a framing that is unknown", function() return { host = "tcp://h:1", framing = "x" } end, 500,
      "unknown framing" },
  } do
    it("that " .. case[1] .. " refuses the request with " .. case[3], function()
      local b = bridging.start { peer = case[2] }
      assert.equal(case[3], (b:refused "/"))
      assert.is_true(b:said(("%d: .*%s"):format(case[3], case[4])), table.concat(b.lines, "\n"))
    end)
  end
end)

describe("a framing that is a function", function()
  it("says where messages end, and of which kind they are, however the bytes come", function()
    local _, client, peer = joined(counted)
    peer:send "\2ab\3!cd\1x\5long"
    till(function() return #client.told == 3 end)
    peer:send "!"
    till(function() return #client.told == 4 end)
    assert.same({ { 1, "\2ab" }, { 2, "\3!cd" }, { 1, "\1x" }, { 1, "\5long!" } }, client.told)
  end)

  it("has its own table for each connection, and is notified when the connection ends", function()
    local ends = {}
    local function framing(state, data, at_end)
      state.calls = (state.calls or 0) + 1
      if at_end then ends[#ends + 1] = state.calls .. data end
      return at_end and 1 or nil
    end
    local _, client, peer = joined(framing)
    peer:send "abc"
    serving.rest(0.02)
    peer:close()
    till(function() return client.conn.close_code end)
    assert.same({ "2abc", "3bc", "4c" }, ends)
    assert.same({ { 1, "a" }, { 1, "b" }, { 1, "c" } }, { client.told[1], client.told[2], client.told[3] })
    assert.equal(1000, client.conn.close_code)
  end)

  it("leaves the rest at the end to be sent as it is", function()
    local _, client, peer = joined(counted)
    peer:send "\1a\9rest"
    peer:close()
    till(function() return client.conn.close_code end)
    assert.same({ { 1, "\1a" }, { 2, "\9rest" } }, { client.told[1], client.told[2] })
  end)

  it("gets its turns with many messages, too", function()
    local _, client, peer = joined(function() return 1 end)
    peer:send(("x"):rep(5000))
    peer:close()
    till(function() return client.conn.close_code end)
    assert.equal(5000, #client.told - 1)
    assert.equal(1000, client.conn.close_code)
  end)

  it("that raises an error loses none of the messages before it", function()
    local _, client, peer = joined(function(_, data)
      assert(data:sub(1, 1) ~= "!")
      return 3
    end)
    peer:send(("abc"):rep(1000) .. "!")
    till(function() return client.conn.close_code end)
    assert.equal(1011, client.conn.close_code)
    assert.equal(1001, #client.told) -- the end is one, too
    assert.same({ 1, "abc" }, client.told[1000])
  end)

  it("is given little at a time while messages are short, and is not asked often for a long one", function()
    local most, calls = 0, 0
    local _, client, peer = joined(function(_, data)
      most, calls = math.max(most, #data), calls + 1
      return (data:find("\n", 1, true))
    end)
    peer:send(("seven..\n"):rep(20000))
    till(function() return #client.told == 20000 end)
    assert.is_true(most <= 4096, most)
    calls = 0
    peer:send(("x"):rep(500000) .. "\n")
    till(function() return #client.told == 20001 end)
    assert.is_true(calls < 80, calls)
  end)

  for _, case in ipairs {
    { "raises an error", function() error "oops" end, 1011, "the framing function: .*oops" },
    { "returns too much", function(_, data) return #data + 1 end, 1011, "it returned 4 for 3 bytes" },
    { "returns no number", function() return "x" end, 1011, "it returned x for 3 bytes" },
    { "returns half a byte", function() return 0.5 end, 1011, "it returned 0.5 for 3 bytes" },
    { "returns an unknown kind", function() return 1, "ping" end, 1011, "it returned the kind ping" },
    { "waits for more than max_segment", function() end, 1009, "longer than 2 bytes", 2 },
  } do
    it("that " .. case[1] .. " closes the connection with " .. case[3], function()
      local b, client, peer = joined(case[2], { max_segment = case[5] })
      peer:send "abc"
      till(function() return client.conn.close_code end)
      assert.equal(case[3], client.conn.close_code)
      till(function() return b:said(case[4]) end)
      assert.is_true(select(2, peer:read()))
    end)
  end
end)

describe("luws.bridge", function()
  it("says what is wrong with its options, and then nothing has begun", function()
    for _, case in ipairs {
      { "x", "table of options expected, got string" },
      { { prot = 1 }, "bad option 'prot' (" },
      { { port = -1 }, "bad option 'port' (" },
      { { framing = "x" }, "bad option 'framing' (unknown framing 'x' " },
    } do
      for _, f in ipairs { bridge.listen, bridge.run } do
        local made, why = f(case[1])
        assert.is_nil(made)
        assert.equal(case[2], why:sub(1, #case[2]))
      end
    end
  end)
end)
