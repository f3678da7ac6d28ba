-- permessage-deflate (RFC 7692) against third-party servers, and the option that requests it.

local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local function words(count)
  local list = {}
  for i = 1, count do list[i] = ('{"id":%d,"value":%d}'):format(i, i * i % 1009) end
  return table.concat(list, ",")
end

local state = 1
local function noise(length)
  local bytes = {}
  for i = 1, length do
    state = (state * 16807) % 2147483647
    bytes[i] = string.char(state % 256)
  end
  return table.concat(bytes)
end

local MESSAGES = {
  { 1, "" }, { 1, "a" }, { 1, "Hello" }, { 1, "Hello" }, { 1, ("€"):rep(200) }, { 1, words(10) }, { 1, words(5000) },
  { 2, noise(100) }, { 2, noise(100000) }, { 1, words(5000) }, { 2, ("\0"):rep(300000) },
}

local WISHES = {
  ["by default"] = true,
  ["of everything"] = { threshold = 0 },
  ["without context takeover"] = {
    threshold = 0, client_no_context_takeover = true, server_no_context_takeover = true,
  },
  ["with small windows"] = { threshold = 0, client_max_window_bits = 9, server_max_window_bits = 9 },
  ["with the smallest window of ours"] = { threshold = 0, client_max_window_bits = 8 },
  ["at its fastest"] = { level = 1 },
}

for _, server in ipairs { "websockets", "ws", "demo" } do
  describe("compression with " .. server, function()
    local conn, got

    local function open(path, options)
      got = {}
      local function handler(_, ...) got[#got + 1] = { ... } end
      conn = assert(luws.wsopen(servers.url(server, "ws", path), handler, options))
      assert.truthy(conn.response_headers["sec-websocket-extensions"]:find("permessage-deflate", 1, true))
    end

    after_each(function() luws.wsclose(conn) end)

    for name, wish in pairs(WISHES) do
      it(name, function()
        open("/echo", { deflate = wish, max_payload_size = 2 ^ 20 })
        for i, message in ipairs(MESSAGES) do
          assert.is_true(luws.wssend(conn, message[1], message[2]))
          assert.is_true(poll(luws, conn, function() return #got >= i end))
          assert.is_true(got[i][1] == message[1] and got[i][2] == message[2], name .. ", message " .. i)
        end
        luws.wsclose(conn)
        assert.is_true(luws.wswait(conn, 5))
        assert.is_true(conn.was_clean)
      end)
    end

    it("works for messages sent in fragments", function()
      open("/echo", { deflate = { threshold = 0 }, max_payload_size = 2 ^ 20, fragment_size = 1000 })
      local chunks, next_chunk = { words(100), "", "tail" }, 0
      local function source()
        next_chunk = next_chunk + 1
        return chunks[next_chunk]
      end
      assert.is_true(luws.wssend(conn, 1, source))
      assert.is_true(luws.wssend(conn, 1, words(2000)))
      assert.is_true(poll(luws, conn, function() return #got == 2 end))
      assert.is_true(got[1][2] == table.concat(chunks) and got[2][2] == words(2000))
    end)

    if server ~= "demo" then
      it("works for messages received in fragments", function()
        open("/fragments", { deflate = true })
        assert.is_true(luws.wssend(conn, 1, words(500)))
        assert.is_true(poll(luws, conn, function() return #got == 1 end))
        assert.is_true(got[1][2] == words(500))
      end)

      it("does not let a message exceed max_payload_size", function()
        open("/big?size=8000000", { deflate = true, max_payload_size = 100000 })
        local _, more, why = poll(luws, conn)
        assert.same({ nil, "message too big (over 100000 bytes; see max_payload_size)" }, { more, why })
        assert.same({ { false, "message too big (over 100000 bytes; see max_payload_size)" } }, got)
      end)
    end
  end)
end

describe("the option deflate", function()
  it("offers nothing by default", function()
    local peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" } }
    luws.wsclose(assert(luws.wsopen(peer.url, nil, { deflate = false })))
    assert.is_nil(peer:result().headers["sec-websocket-extensions"])
    peer:close()
  end)

  for offer, wish in pairs {
    ["permessage-deflate; client_max_window_bits"] = true,
    ["permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"] = {
      server_no_context_takeover = true, client_no_context_takeover = true,
    },
    ["permessage-deflate; server_max_window_bits=10; client_max_window_bits=8, "
      .. "permessage-deflate; client_max_window_bits=8"] = {
      server_max_window_bits = 10, client_max_window_bits = 8,
    },
  } do
    it("offers " .. offer, function()
      local peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" } }
      local conn = assert(luws.wsopen(peer.url, nil, { deflate = wish }))
      -- This server has not accepted it.
      assert.is_true(luws.wssend(conn, 1, words(100)))
      local seen = peer:result()
      assert.equal(offer, seen.headers["sec-websocket-extensions"])
      assert.same({ 0, words(100) }, { seen.frames[1].rsv, seen.frames[1].payload })
      luws.wsclose(conn)
      peer:close()
    end)
  end

  for answer, why in pairs {
    ["permessage-deflate; server_max_window_bits=16"] = "permessage-deflate: server_max_window_bits is 16, not 8 to 15",
    ["permessage-deflate, permessage-deflate"] =
      "the server selected an extension that was not offered: permessage-deflate",
    ["permessage-deflate; what"] = "permessage-deflate: unknown parameter what",
    ["x-webkit-deflate-frame"] = "the server selected an extension that was not offered: x-webkit-deflate-frame",
    ["permessage-deflate; ="] = 'Sec-WebSocket-Extensions: "" is not a token',
  } do
    it("rejects the answer " .. answer, function()
      local peer = scripted.peer { { "upgrade", headers = { "Sec-WebSocket-Extensions: " .. answer } }, { "hold" } }
      assert.same({ false, "upgrade failed; " .. why }, { luws.wsopen(peer.url, nil, { deflate = true }) })
      peer:close()
    end)
  end

  for text, wish in pairs {
    ["bad option 'deflate' (boolean or table expected, got string)"] = "yes",
    ["bad option 'deflate' (level: whole number from 1 to 9 expected, got 0)"] = { level = 0 },
    ["bad option 'deflate' (threshold: whole number from 0 up expected, got -1)"] = { threshold = -1 },
    ["bad option 'deflate' (server_max_window_bits: whole number from 8 to 15 expected, got 16)"] = {
      server_max_window_bits = 16,
    },
    ["bad option 'deflate' (client_no_context_takeover: boolean expected, got number)"] = {
      client_no_context_takeover = 1,
    },
  } do
    it("is checked: " .. text, function()
      assert.same({ false, text }, { luws.wsopen("ws://127.0.0.1:1/", nil, { deflate = wish }) })
    end)
  end
end)
