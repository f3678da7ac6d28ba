-- Which hosts a wss URL may have. URL parsers accept some hosts that TLS libraries would treat as a pattern, which
-- would match other servers' certificates, or would not check at all. Also the valid forms of a host name.

local luws = require "luws"
local servers = require "spec.support.servers"
local socket = require "socket"
local wss = require "spec.support.wss"

local LABEL = ("x"):rep(63)
local LONGEST = (LABEL .. "."):rep(3) .. ("y"):rep(61) -- RFC 1035 section 2.3.4: 253 bytes as text

-- What it is, and the name.
local no_names = {
  { "the root", "." },
  { "an empty label before the dot at the end", "a.." },
  { "dots alone", ".." },
  { "an empty first label", ".example" },
  { "an empty label", "a..b" },
  { "a pattern for a label", "*.example" },
  { "a pattern for a part of a label", "x*.example" },
  { "a pattern behind the first label", "a.*.example" },
  { "a pattern for everything", "*" },
  { "a label of 64 bytes", LABEL .. "x.example" },
  { "a name of 254 bytes", LONGEST .. "y" },
  { "a name of 254 bytes and a dot", LONGEST .. "y." },
}

--- Returns the error that wsopen raises; nothing may be dialled before.
local function raised(url)
  local dialled = false
  local options = { ssl_verify = "peer", connect = function() dialled = true end }
  local ok, message = pcall(luws.wsopen, url, nil, options)
  assert.same({ false, false }, { ok, dialled })
  return message
end

describe("wsopen rejects a URL whose host is", function()
  local others = {
    { "the root, escaped", "%2e" },
    { "a pattern, escaped", "%2A.example" },
    { "the root in Chinese", "。" },
    { "missing before the path", "/localhost" }, -- parsers for browsers would take the path's first part
  }
  for _, cases in ipairs { no_names, others } do
    for _, case in ipairs(cases) do
      it(case[1], function()
        for _, form in ipairs { "wss://%s/", "ws://%s/", "wss://%s:8443", "wss://user:secret@%s/path?query" } do
          local message = raised(form:format(case[2]))
          assert.truthy(message:find("Invalid protocol/address for WebSocket open in URL", 1, true), message)
          assert.is_nil(message:find("secret", 1, true))
        end
      end)
    end
  end
end)

describe("ssl_sni is refused if it is", function()
  for _, case in ipairs(no_names) do
    it(case[1], function()
      local message = wss.message(luws, { ssl_sni = case[2] })
      assert.truthy(message:find("bad option 'ssl_sni'", 1, true), message)
    end)
  end
end)

it("the longest names that there are, and those with an underscore, are looked up like any other", function()
  for _, name in ipairs { LABEL .. ".example", LONGEST, LONGEST .. ".", "a_b.example", "-a.example" } do
    for _, scheme in ipairs { "wss", "ws" } do
      local asked
      assert.same({ false, "not dialled" }, { luws.wsopen(("%s://%s/"):format(scheme, name), nil, {
        connect = function(host)
          asked = host
          return nil, "not dialled"
        end,
      }) })
      assert.equal(name, asked)
    end
    assert.matches("connection refused", wss.message(luws, { ssl_sni = name }))
  end
end)

describe("a name in full, with a dot at its end,", function()
  --- Not every system's resolver finds localhost in this form.
  local function connect(_, port) return socket.connect("127.0.0.1", port) end

  -- title, the server, and what is wrong with its certificate
  local cases = {
    { "is verified", {} },
    { "is verified in capital letters", { host = "LOCALHOST." } },
    { "is not everybody's", { certificate = "wrong-host" }, "hostname mismatch" },
    { "is none of a stranger's", { certificate = "unknown" }, "unable to get local issuer certificate" },
    { "makes no name of an address", { host = "127.0.0.1.", certificate = "wrong-address" }, "ip address mismatch" },
    { "stays an address", { host = "127.0.0.1.", certificate = "wrong-name" } },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local server, reason = case[2], case[3]
      server.host = server.host or "localhost."
      local options = { ssl_verify = "peer", ssl_cafile = servers.ca_file(), connect = connect }
      local seen = wss.open(luws, server, options)
      assert.equal(not reason, seen.opened, seen.message)
      if reason then
        assert.matches(reason, seen.message:lower())
        assert.equal("", seen.raw)
      else
        assert.is_true(seen.tls.verified)
        -- RFC 6066 section 3: it is sent without the dot, and an address is not sent.
        assert.same({ not server.host:find "%d" and "localhost" or nil }, { seen.sni })
      end
    end)
  end

  it("is verified for ssl_sni", function()
    local options = { ssl_verify = "peer", ssl_cafile = servers.ca_file(), ssl_sni = "hub.luws.example." }
    local seen = wss.open(luws, { certificate = "wildcard" }, options)
    assert.same({ true, "hub.luws.example" }, { seen.opened, seen.sni })
    assert.is_false(wss.open(luws, {}, options).opened)
  end)
end)
