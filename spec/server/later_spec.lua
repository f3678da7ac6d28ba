-- What a program can know and decide of a request that it answers later: whether it could become a WebSocket, that it
-- has not become one after all, and that the connection ends with the response.

local log = require "spec.support.log"
local luws = require "luws"
local server = require "luws.server"
local serving = require "spec.support.serving"

local request, till, upgrade = serving.request, serving.till, serving.upgrade

after_each(serving.over)

--- asking(options): returns a server that answers later, and an array of the requests that it was asked about.
local function asking(options)
  local asked = {}
  options.on_request = function(one)
    asked[#asked + 1] = one
    return server.later
  end
  return serving.start(options), asked
end

describe("problem() of a request", function()
  --- headers(...): returns the bytes of a request with these headers.
  local function headers(...)
    return request("GET / HTTP/1.1", "Connection: Upgrade, close", "Upgrade: websocket", ...)
  end

  local KEY, VERSION = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"

  -- the request, and its problem: status and reason (a pattern)
  for name, case in pairs {
    ["nothing is wrong with"] = { headers(KEY, VERSION, "Origin: https://ours.example") },
    ["is not for a WebSocket"] = { request("GET / HTTP/1.1", "Connection: close"), 426, "upgrade" },
    ["has another version"] = { headers(KEY, "Sec-WebSocket-Version: 8"), 426, "Version" },
    ["has no key"] = { headers(VERSION), 400, "[Kk]ey" },
    ["is from another page"] = { headers(KEY, VERSION, "Origin: https://other.example"), 403, "origin" },
  } do
    it("that " .. name .. " is what the server would refuse it for", function()
      local status, why
      local s = serving.start {
        origins = "https://ours.example",
        on_request = function(one)
          status, why = one:problem()
          return { status = 418 }
        end,
      }
      assert.equal(418, serving.status(s:raw(case[1])))
      assert.equal(case[2], status)
      if case[2] then assert.matches(case[3], why) else assert.is_nil(why) end
    end)
  end

  it("is known until it is answered", function()
    local s, asked = asking {}
    s:dial():send(request "GET / HTTP/1.1")
    till(function() return asked[1] end)
    assert.equal(426, (asked[1]:problem()))
    asked[1]:refuse { status = 404 }
    assert.same({ 400, "the request is over" }, { asked[1]:problem() })
  end)
end)

describe("on_fail of a request that was accepted", function()
  -- what happens between, and the status of the answer
  for name, case in pairs {
    ["is not for a WebSocket"] = { request("GET / HTTP/1.1", "Connection: close"), function() end, 426 },
    ["is one too many"] = { upgrade "/", function(s) s:connect "/" end, 503, max_connections = 1 },
    ["comes to a server that is being closed"] = { upgrade "/", function() end, 503, closes = true },
  } do
    it("is called once if it " .. name .. ", and on_open is not", function()
      local failures = 0
      local asked
      local s = serving.start {
        max_connections = case.max_connections,
        on_request = function(one)
          if asked then return nil end
          asked = one
          return server.later
        end,
      }
      local raw = s:dial()
      raw:send(case[1])
      till(function() return asked end)
      case[2](s)
      local opened = #s.conns
      assert.is_true(asked:accept { on_fail = function() failures = failures + 1 end })
      if case.closes then s.srv:close() end
      assert.equal(case[3], serving.status((serving.read(raw, function(all) return all:find "\r\n\r\n." end))))
      till(function() return failures > 0 end)
      serving.rest(0.02)
      assert.same({ 1, opened }, { failures, #s.conns })
    end)
  end

  it("is not called if it becomes a WebSocket, whatever happens then; and its error goes to the log", function()
    local s, asked = asking {}
    local failures = 0
    local client = luws.wsopen(("ws://127.0.0.1:%d/"):format(s.port), nil,
      { wait = false, reactor = require "luws.reactor" })
    till(function() return asked[1] end)
    asked[1]:accept { on_fail = function() failures = failures + 1 end }
    till(function() return client.connected end)
    luws.wsclose(client)
    till(function() return s.srv:count() == 0 end)
    assert.equal(0, failures)
    local raw = s:dial()
    raw:send(request("GET / HTTP/1.1", "Connection: close"))
    till(function() return asked[2] end)
    local texts = log.capture(function()
      asked[2]:accept { on_fail = function() error("oops", 0) end }
      serving.read(raw)
    end)
    assert.equal(1, #texts)
    assert.matches("on_fail of a request raised an error[^\n]*oops", texts[1])
  end)
end)

describe("is_last of a response", function()
  it("ends the connection after it, at once or later", function()
    local s, asked = asking {}
    for is_last in pairs { [true] = 1, [false] = 2 } do
      local raw = s:dial()
      raw:send(request "GET / HTTP/1.1")
      local count = #asked
      till(function() return asked[count + 1] end)
      asked[count + 1]:refuse { body = "done", is_last = is_last }
      local reply, ended = serving.read(raw, not is_last and function(all) return all:find "done$" end or nil)
      assert.same({ is_last, is_last, true },
        { ended, reply:find("Connection: close", 1, true) ~= nil, reply:find "done$" ~= nil })
      if not is_last then
        raw:send(request "GET /next HTTP/1.1")
        till(function() return asked[count + 2] end)
      end
    end
  end)
end)
