-- The option proxy = true: the proxy that the environment names, in memory.

local env = require "spec.support.environment"
local world = require "spec.support.world"

local URL = "ws://peer.test/"

describe("The option proxy = true", function()
  local w

  before_each(function() w = world.new() end)

  local CASES = {
    -- the variables, the URL, and the proxy's host or false for none
    { { http_proxy = "http://a" }, "ws://peer.test/", "a" },
    { { http_proxy = "http://a" }, "wss://peer.test/", false },
    { { https_proxy = "http://a" }, "wss://peer.test/", "a" },
    { { https_proxy = "http://a" }, "ws://peer.test/", false },
    { { HTTPS_PROXY = "http://a" }, "wss://peer.test/", "a" },
    { { HTTPS_PROXY = "http://a", https_proxy = "http://b" }, "wss://peer.test/", "b" },
    { { HTTP_PROXY = "http://a" }, "ws://peer.test/", false },
    { { all_proxy = "socks5h://a" }, "ws://peer.test/", "a" },
    { { ALL_PROXY = "socks5h://a" }, "wss://peer.test/", "a" },
    { { all_proxy = "http://a", http_proxy = "http://b" }, "ws://peer.test/", "b" },
    { { all_proxy = "http://a", http_proxy = "" }, "ws://peer.test/", "a" },
    { { ws_proxy = "http://a", http_proxy = "http://b" }, "ws://peer.test/", "a" },
    { { wss_proxy = "http://a", https_proxy = "http://b" }, "wss://peer.test/", "a" },
    { { WSS_PROXY = "http://a" }, "wss://peer.test/", "a" },
    { { http_proxy = "http://a", no_proxy = "peer.test" }, "ws://peer.test/", false },
    { { http_proxy = "http://a", NO_PROXY = "test" }, "ws://peer.test/", false },
    { { http_proxy = "http://a", NO_PROXY = "*", no_proxy = "x" }, "ws://peer.test/", "a" },
    { { http_proxy = "http://a", no_proxy = "peer.test:81" }, "ws://peer.test/", "a" },
    { { http_proxy = "http://a", no_proxy = "10.0.0.0/8" }, "ws://10.1.2.3/", false },
    { { http_proxy = "http://a" }, "ws://127.0.0.1/", "a" },
    { {}, "ws://peer.test/", false },
  }
  for _, case in ipairs(CASES) do
    local set = {}
    for name, value in pairs(case[1]) do set[#set + 1] = name .. "=" .. value end
    table.sort(set)
    local way = case[3] and "through " .. case[3] or "directly"
    it(("goes to %s %s with %s"):format(case[2], way, set[1] and table.concat(set, ", ") or "nothing set"), function()
      w.dials = { { 0, "not now" } }
      local _, why = env.with(case[1], w.luws.wsopen, case[2], nil, { proxy = true })
      local host = case[3]
      assert.equal(host and "Proxy failed: not now" or nil, why:match "^Proxy failed: .*")
      if host then assert.equal(host, w.asked[1]) else assert.not_equal("a", w.asked[1]) end
    end)
  end

  it("names the variable that is wrong, without its value", function()
    local conn, why = env.with({ all_proxy = "ftp://me:secret@p" }, w.luws.wsopen, URL, nil, { proxy = true })
    assert.same({ false, "bad option 'proxy' (the variable all_proxy: the scheme of the URL is not http, https, "
      .. "socks4, socks4a, socks5 or socks5h)" }, { conn, why })
  end)

  it("does not touch a proxy that is named, whatever no_proxy says", function()
    w.dials = { { 0, "not now" } }
    local _, why = env.with({ no_proxy = "*" }, w.luws.wsopen, URL, nil, { proxy = "http://p" })
    assert.equal("Proxy failed: not now", why)
  end)
end)
