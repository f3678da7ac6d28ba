-- Edge cases of wsopen: unreachable addresses, misleading URLs and options, and how a server's refusal is reported.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local socket = require "socket"
local world = require "spec.support.world"
local unpack = require "spec.support.compat".unpack

local function ignore() end

describe("wsopen", function()
  local peer

  after_each(function()
    if peer then peer:close() end
    peer = nil
  end)

  it("fails at once, not at the deadline, if an address can never be reached", function()
    local started = socket.gettime()
    -- TCP cannot connect to a multicast address, with or without a network.
    local result, message = luws.wsopen("ws://224.0.0.1:80/", ignore, { connect_timeout = 30 })
    assert.is_false(result)
    assert.matches("^Connection to 224%.0%.0%.1:80 failed: %a", message)
    assert.is_nil(message:find("failed: timeout", 1, true), message)
    assert.is_true(socket.gettime() - started < 10)
  end)

  describe("asks for", function()
    for _, case in ipairs {
      { "bytes that are not UTF-8 as those bytes, escaped", "a\233b?\255", "/a%E9b?%FF" },
      { "the bytes beside them in the same way", "\195\169\233?\195\169=\128", "/%C3%A9%E9?%C3%A9=%80" },
      { "what was escaped already as it is", "%e9\233", "/%e9%E9" },
      { "UTF-8 as its bytes, escaped", "\195\169?\226\130\172", "/%C3%A9?%E2%82%AC" },
    } do
      it(case[1], function()
        peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" } }
        local conn = assert(luws.wsopen(peer.url .. case[2], ignore))
        assert.equal(case[3], conn.path)
        luws.wsclose(conn)
        assert.equal(("GET %s HTTP/1.1"):format(case[3]), peer:result().request_line)
      end)
    end
  end)

  it("names the option that is not a valid Host header", function()
    assert.same({ false, [[bad option 'upgrade_headers' ("a b" cannot be the value of a Host header)]] },
      { luws.wsopen("ws://127.0.0.1:1/", ignore, { upgrade_headers = { Host = "a b" } }) })
  end)

  -- An options table may inherit and so change with each read. The value that was checked must be the one used.
  describe("is not misled by an option that changes after the check:", function()
    for name, right in pairs {
      fragment_size = 10, max_payload_size = 1000, receive_chunk_size = 1000, connect_timeout = 5, upgrade_timeout = 5,
      use_masking = true, deflate = true, subprotocols = "chat", upgrade_headers = { ["X-Name"] = "value" },
      connect = function(host, port) return socket.connect(host, port) end,
    } do
      for shown, wrong in pairs { ["a table"] = {}, ["a string"] = "x", ["NaN"] = 0 / 0 } do
        it(("%s becomes %s"):format(name, shown), function()
          peer = scripted.peer { { "upgrade" }, { "read_frame" }, { "close" } }
          local readings = 0
          local options = setmetatable({}, { __index = function(_, key)
            if key ~= name then return nil end
            readings = readings + 1
            if readings == 1 then return right end
            return wrong
          end })
          local result, message = luws.wsopen(peer.url, ignore, options)
          assert.is_true(readings >= 1)
          assert.is_nil(message)
          luws.wsclose(result)
          local seen = peer:result()
          assert.equal(name == "deflate", seen.headers["sec-websocket-extensions"] ~= nil)
          assert.equal(name == "subprotocols" and "chat" or nil, seen.headers["sec-websocket-protocol"])
          assert.equal(name == "upgrade_headers" and "value" or nil, seen.headers["x-name"])
        end)
      end
    end
  end)

  it("passes an error raised by reading an option to the caller, and opens nothing", function()
    for _, name in ipairs { "connect", "fragment_size", "ssl", "subprotocols", "deflate", "sockproxy" } do
      local w = world.new()
      local raised = { name }
      local options = setmetatable({}, { __index = function(_, key) if key == name then error(raised, 0) end end })
      local ok, err = pcall(w.luws.wsopen, "ws://host/", ignore, options)
      assert.is_false(ok)
      assert.is_true(rawequal(raised, err), name)
      assert.is_nil(w.asked, name)
    end
  end)

  describe("reports the server's refusal:", function()
    local HEAD = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"

    --- Returns what wsopen returns for a server that plays these steps after the request, and when.
    local function open(steps)
      local w = world.new()
      w:play { { "request" }, unpack(steps) }
      local result, message, response = w.luws.wsopen("ws://host/", ignore)
      assert.is_false(result)
      return message, response, w.clock.now()
    end

    -- name, the response, the body
    for _, case in ipairs {
      { "one chunk", HEAD .. "7\r\nexpired\r\n0\r\n\r\n", "expired" },
      { "several chunks", HEAD .. "4\r\nexpi\r\n00a;x=\"y\"\r\nred or not\r\n0\r\n\r\n", "expired or not" },
      { "line ends within a chunk", HEAD .. "9\r\n\r\n0\r\n\r\nab\r\n0\r\n\r\n", "\r\n0\r\n\r\nab" },
      { "no bytes", HEAD .. "0\r\n\r\n", "" },
      { "fields after the last chunk", HEAD .. "2\r\nno\r\n0\r\nX-Trailer: x\r\n\r\n", "no" },
      { "another response after it", HEAD .. "2\r\nno\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "no" },
      { "what is no chunk", HEAD .. "2\r\nno\r\nexpired", "no" },
      {
        "a length that does not count, beside chunks",
        (HEAD:gsub("Transfer", "Content-Length: 1\r\nTransfer")) .. "2\r\nno\r\n0\r\n\r\n", "no",
      },
      { "more than 4096 bytes", HEAD .. "2000\r\n" .. ("x"):rep(8192) .. "\r\n0\r\n\r\n", ("x"):rep(4096) },
      { "a status without a body", "HTTP/1.1 204 No Content\r\n\r\n", "" },
    } do
      it(case[1] .. ", without waiting for more", function()
        local message, response, now = open { { "send", case[2] }, { "hold" } }
        assert.equal("upgrade failed; " .. case[2]:match "^[^\r]*", message)
        assert.equal(case[3], response.body)
        assert.equal(0, now)
      end)
    end

    -- name, the response (sent byte by byte), the body, and how many bytes before the end it is known to be complete
    for _, case in ipairs {
      { "chunks that come byte by byte", "3\r\nexp\r\n4\r\nired\r\n0\r\n\r\n", "expired", 3 },
      { "a chunk that is cut off by the end", "4000\r\nexpired", "expired" },
      { "a chunk whose size is cut off by the end", "4\r\nexpi\r\n4", "expi" },
    } do
      it(case[1], function()
        local message, response, now = open { { "send", HEAD }, { "pieces", case[2], 1, 0.001 }, { "close" } }
        assert.equal("upgrade failed; HTTP/1.1 403 Forbidden", message)
        assert.equal(case[3], response.body)
        assert.near((#case[2] - (case[4] or 0)) / 1000, now, 1e-6)
      end)
    end
  end)
end)
