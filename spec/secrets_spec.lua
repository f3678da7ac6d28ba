-- Passwords and tokens are in no message and no log line, even if a server or a proxy repeats them. In memory.

local log = require "spec.support.log"
local unpack = require "spec.support.compat".unpack
local world = require "spec.support.world"

local SECRETS = { "sesame-4711", "x7", "q", "p\195\164ss w\195\182rt" }

--- Returns what Basic makes of the user `me` and a password.
local function basic_of(w, password) return assert(w.native.auth_basic("me", password)) end

--- Returns a text in which everything but letters and digits is percent-encoded.
local function encoded(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- Where a program puts a secret: a URL and options.
local PLACES = {
  ["auth"] = function(_, secret)
    return "ws://peer.test/", { auth = { user = "me", password = secret, scheme = "basic" } }
  end,
  ["auth, for Digest"] = function(_, secret)
    return "ws://peer.test/", { auth = { user = "me", password = secret } }
  end,
  ["auth, as a token"] = function(_, secret)
    return "ws://peer.test/", { auth = { bearer = secret:find "[^%w-]" and "token-12" or secret } }
  end,
  ["the URL"] = function(_, secret) return "ws://me:" .. encoded(secret) .. "@peer.test/", {} end,
  ["a header"] = function(w, secret)
    return "ws://peer.test/", { upgrade_headers = { authorization = basic_of(w, secret) } }
  end,
  ["the URL of a proxy"] = function(_, secret)
    return "ws://peer.test/", { proxy = "http://me:" .. encoded(secret) .. "@p" }
  end,
  ["the table of a proxy"] = function(_, secret)
    return "ws://peer.test/", { proxy = { url = "p", user = "me", password = secret } }
  end,
  ["a proxy's headers"] = function(w, secret)
    return "ws://peer.test/", { proxy = { url = "p", headers = { ["Proxy-Authorization"] = basic_of(w, secret) } } }
  end,
}

-- What is answered to the first request.
local ANSWERS = {
  ["a refusal"] = function(said) return "HTTP/1.1 403 it is " .. said .. "!\r\n\r\n" end,
  ["a refusal that asks for more"] = function(said)
    return ("HTTP/1.1 401 %s\r\nWWW-Authenticate: %s\r\n\r\n"):format(said, said:gsub("[^%w-]", "-"))
  end,
  ["a proxy's refusal"] = function(said)
    return ("HTTP/1.1 407 %s\r\nProxy-Authenticate: %s, Negotiate\r\n\r\n"):format(said, said:gsub("[^%w-]", "-"))
  end,
  ["another protocol"] = function(said) return "SSH-2.0-" .. said .. "\r\n" end,
  ["another protocol, cut off"] = function(said) return ("x"):rep(55) .. " " .. said .. "\r\n" end,
  ["a subprotocol"] = function(said)
    return "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n"
      .. "Sec-WebSocket-Protocol: " .. said .. "\r\n\r\n"
  end,
  ["a redirect"] = function(said) return "HTTP/1.1 302 x\r\nLocation: /a/" .. encoded(said) .. "/b\r\n\r\n" end,
  ["a redirect elsewhere"] = function(said)
    return "HTTP/1.1 302 x\r\nLocation: ws://other.test/a/" .. said:gsub(" ", "%%20") .. "\r\n\r\n"
  end,
  ["a redirect that is wrong"] = function(said) return "HTTP/1.1 302 x\r\nLocation: ftp://" .. said .. "\r\n\r\n" end,
}

describe("A secret that is repeated", function()
  --- Asserts that none of the forms of a secret is in a text. Of our own words, those before the peer's are left out,
  -- which may have a short secret in them by chance.
  local function assert_hidden(w, secret, text, at)
    local words = text
    if #secret < 4 then
      words = text:match "HTTP/1%.1 %d%d%d(.*)" or text:match '"(.*)"' or text:match "offered: (.*)" or ""
      words = words:gsub("; [%a%d ]*redirect[^:]*:?", ""):gsub("; it takes ", ""):gsub(", which over ws.*", "")
        :gsub("%(redirected to ws://[%w.]+", "")
    end
    assert.is_nil(words:find(secret, 1, true), at .. ": " .. text)
    assert.is_nil(text:find(basic_of(w, secret):sub(7), 1, true), at .. ": " .. text)
    assert.is_nil(words:find(encoded(secret), 1, true), at .. ": " .. text)
    local half = secret:sub(1, 5)
    if #half >= 4 then assert.is_nil(words:find(half, 1, true), at .. ": " .. text) end
    -- as bytes that are not ASCII are shown
    local shown = secret:gsub("[\128-\255]", function(c) return ("\\x%02x"):format(c:byte()) end)
    assert.is_nil(words:find(shown, 1, true), at .. ": " .. text)
  end

  for answered, answer in pairs(ANSWERS) do
    for place, options_for in pairs(PLACES) do
      it(("is in no message and no log line: %s, of one in %s"):format(answered, place), function()
        local w = world.new()
        w.luws.debug_mode = true
        for _, secret in ipairs(SECRETS) do
          for _, form in ipairs { "itself", "as Basic has it" } do
            for _, wait in ipairs { true, false } do
              local url, options = options_for(w, secret)
              local token = options.auth and options.auth.bearer
              local said = token or form == "itself" and secret or basic_of(w, secret):sub(7)
              local bytes, told = answer(said), nil
              options.redirects, options.wait, options.connect_timeout = 1, wait, 1
              w:server(function(n)
                local peer = w:peer { plain = true }
                function peer.advance(one)
                  if not one.line:take():find "\r\n\r\n" then return end
                  one.line:send(n == 1 and bytes or "HTTP/1.1 403 " .. said .. "\r\n\r\n")
                end
                return peer
              end)
              local logged = log.capture(function()
                local conn, why = w.luws.wsopen(url, function(_, _, text) told = text end, options)
                if conn then w.reactor.run(10) else told = why end
              end)
              local at = ("%s %s, wait = %s"):format(secret, form, tostring(wait))
              assert.is_string(told, at)
              for _, text in ipairs { told, unpack(logged) } do
                assert_hidden(w, token or secret, text, at)
              end
            end
          end
        end
      end)
    end
  end

  it("is hidden where a proxy answers in place of the server", function()
    local w = world.new()
    local answer = "HTTP/1.1 403 sesame-4711 bWU6c2VzYW1lLTQ3MTE=\r\nContent-Length: 0\r\n\r\n"
    w:peer { proxy = { { "\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n" .. answer } } }
    local conn, why = w.luws.wsopen("ws://peer.test/", nil, { proxy = "me:sesame-4711@p" })
    assert.same({ false, "upgrade failed; HTTP/1.1 403 *** ***" }, { conn, why })
  end)

  it("leaves our own words as they are", function()
    for _, case in ipairs {
      { "up", "HTTP/1.1 403 up to you", "upgrade failed; HTTP/1.1 403 *** to you" },
      { "failed", "HTTP/1.1 403 failed", "upgrade failed; HTTP/1.1 403 ***" },
      { "403", "HTTP/1.1 403 No", "upgrade failed; HTTP/1.1 403 No" },
      { "", "HTTP/1.1 403 No", "upgrade failed; HTTP/1.1 403 No" },
    } do
      local w = world.new()
      local peer = w:peer { plain = true }
      function peer.advance(one)
        if one.line:take():find "\r\n\r\n" then one.line:send(case[2] .. "\r\nContent-Length: 0\r\n\r\n") end
      end
      local ok, why = w.luws.wsopen("ws://me:" .. case[1] .. "@peer.test/")
      assert.same({ false, case[3] }, { ok, why })
    end
    local w = world.new()
    w.dials = { { 0, "connection refused" } }
    assert.same({ false, "Connection to peer.test:80 failed: connection refused" },
      { w.luws.wsopen("ws://me:connection@peer.test/", nil, { auth = { user = "me", password = "refused" } }) })
  end)
end)
