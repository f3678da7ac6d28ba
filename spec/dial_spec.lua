-- wsopen at its edges: addresses that cannot be reached, URLs and options that are not what they seem, and what is left
-- of a refusal.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local socket = require "socket"

local function ignore() end

describe("wsopen", function()
  local peer

  after_each(function()
    if peer then peer:close() end
    peer = nil
  end)

  it("fails at once where an address can never be reached, and not at the deadline", function()
    local started = socket.gettime()
    -- TCP connects to no group of hosts, with or without a network.
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

  it("says which option it is that cannot be the Host header", function()
    assert.same({ false, [[bad option 'upgrade_headers' ("a b" cannot be the value of a Host header)]] },
      { luws.wsopen("ws://127.0.0.1:1/", ignore, { upgrade_headers = { Host = "a b" } }) })
  end)

  -- An options table may inherit, and so be another at each reading. What was checked is what counts.
  describe("is not misled by an option that changes behind the check:", function()
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

  describe("hands on what a refusal means:", function()
    local HEAD = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"

    --- A connect function for a socket on which this is all that comes, at once; and a function for whether the socket
    -- was asked for more.
    local function only(response)
      local asked = false
      return function()
        return {
          settimeout = function() return 1 end,
          send = function(_, data) return #data end,
          receive = function()
            local data = response
            asked, response = data == nil, nil
            return nil, "timeout", data or ""
          end,
          close = function() return 1 end,
        }
      end, function() return asked end
    end

    -- name, what comes, the body
    for _, case in ipairs {
      { "one chunk", HEAD .. "7\r\nexpired\r\n0\r\n\r\n", "expired" },
      { "several chunks", HEAD .. "4\r\nexpi\r\n00a;x=\"y\"\r\nred or not\r\n0\r\n\r\n", "expired or not" },
      { "line ends within a chunk", HEAD .. "9\r\n\r\n0\r\n\r\nab\r\n0\r\n\r\n", "\r\n0\r\n\r\nab" },
      { "no bytes", HEAD .. "0\r\n\r\n", "" },
      { "fields behind the last chunk", HEAD .. "2\r\nno\r\n0\r\nX-Trailer: x\r\n\r\n", "no" },
      { "another response behind it", HEAD .. "2\r\nno\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "no" },
      { "what is no chunk", HEAD .. "2\r\nno\r\nexpired", "no" },
      {
        "a length that does not count, beside chunks",
        (HEAD:gsub("Transfer", "Content-Length: 1\r\nTransfer")) .. "2\r\nno\r\n0\r\n\r\n", "no",
      },
      { "more than 4096 bytes", HEAD .. "2000\r\n" .. ("x"):rep(8192) .. "\r\n0\r\n\r\n", ("x"):rep(4096) },
      { "a status without a body", "HTTP/1.1 204 No Content\r\n\r\n", "" },
    } do
      it(case[1] .. ", without waiting for more", function()
        local connect, was_asked = only(case[2])
        local result, message, response = luws.wsopen("ws://host/", ignore, { connect = connect })
        assert.is_false(result)
        assert.equal("upgrade failed; " .. case[2]:match "^[^\r]*", message)
        assert.equal(case[3], response.body)
        assert.is_false(was_asked())
      end)
    end

    for _, case in ipairs {
      { "chunks that come byte by byte", "3\r\nexp\r\n4\r\nired\r\n0\r\n\r\n", "expired" },
      { "a chunk that is cut off by the end", "4000\r\nexpired", "expired" },
      { "a chunk whose size is cut off by the end", "4\r\nexpi\r\n4", "expi" },
    } do
      it(case[1], function()
        peer = scripted.peer { { "request" }, { "send", HEAD }, { "pieces", case[2], 1, 0.001 }, { "close" } }
        local result, message, response = luws.wsopen(peer.url, ignore)
        assert.same({ false, "upgrade failed; HTTP/1.1 403 Forbidden" }, { result, message })
        assert.equal(case[3], response.body)
      end)
    end
  end)
end)
