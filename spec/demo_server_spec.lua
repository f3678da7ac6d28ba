-- The paths of the demo server that benchmarks use: floods of texts and fragments (the same frames over and over if
-- nothing is compressed or encrypted), and a drain.

local luws = require "luws"
local servers = require "spec.support.servers"

describe("the demo server", function()
  --- Returns everything that arrives, as opcodes and data, including the end itself.
  local function receive(scheme, path, options)
    local messages, last = {}, nil
    options = options or {}
    options.max_payload_size = 1000000
    local conn = assert(luws.wsopen(servers.url("demo", scheme, path), function(_, opcode, data)
      if opcode then messages[#messages + 1] = { opcode, data } else last = data end
    end, options))
    while luws.wsreceive(conn) ~= nil do luws.wswait(conn, 5) end
    luws.wsclose(conn)
    return messages, last
  end

  for _, scheme in ipairs { "ws", "wss" } do
    it("sends texts in fragments over " .. scheme, function()
      for _, deflate in ipairs { false, true } do
        local path = "/flood?text=ascii&size=1000&count=700&fragment=300"
        local messages, last = receive(scheme, path, { deflate = deflate })
        assert.same({ 700, "receiver error: closed" }, { #messages, last })
        for _, message in ipairs(messages) do
          assert.same({ 1, 1000 }, { message[1], #message[2] })
          assert.is_nil(message[2]:find("[\128-\255]"))
        end
      end
    end)
  end

  it("sends non-ASCII texts of exactly the requested size", function()
    for size = 0, 200 do
      local messages, last = receive("ws", "/flood?text=unicode&count=2&size=" .. size)
      assert.same({ 2, "receiver error: closed" }, { #messages, last })
      assert.same({ 1, size }, { messages[2][1], #messages[2][2] })
      assert.equal(size > 1, messages[2][2]:find("[\128-\255]") ~= nil)
    end
  end)

  it("sends more than it builds frames for at once", function()
    local messages = receive("ws", "/flood?size=100000&count=8")
    assert.equal(8, #messages)
    for _, message in ipairs(messages) do assert.same({ 2, messages[1][2] }, message) end
  end)

  it("spins on request, and accepts data that it does not read", function()
    local echoed
    local conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo?spin=1"), function(_, _, data) echoed = data end))
    assert(luws.wssend(conn, 1, "hello"))
    while not echoed do assert(luws.wsreceive(conn) ~= nil) end
    assert.equal("hello", echoed)
    luws.wsclose(conn)

    conn = assert(luws.wsopen(servers.url("demo", "ws", "/drain?spin=1"), function() end))
    for _ = 1, 50 do assert(luws.wssend(conn, 2, ("x"):rep(1000000))) end
    luws.wsclose(conn)
  end)
end)
