-- The tables that hold TLS options: inherited values count like their own, so that no restriction gets lost; and each
-- value is read only once, because it may change.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"
local wss = require "spec.support.wss"

--- Returns a table that inherits, through the given number of generations, from a table or a function.
local function heir(parent, generations)
  for _ = 1, generations or 1 do parent = setmetatable({}, { __index = parent }) end
  return parent
end

--- Checks that wsopen refuses these options, naming that one.
local function refused(options, name)
  local message = wss.message(luws, options)
  assert.equal(("bad option '%s'"):format(name), message:match "^bad option '.-'", message)
end

--- Checks that these options do not connect to a server that no authority has signed.
local function not_opened(options)
  local peer = scripted.peer { tls = { certificate = "unknown" }, { "upgrade" }, { "read_frame" }, { "close" } }
  local conn, message = luws.wsopen(peer.url, nil, options)
  luws.wsclose(conn)
  peer:close()
  assert.is_false(conn)
  assert.is_string(message)
end

describe("an unknown option that is inherited is refused by its name:", function()
  local value = "x"
  for _, name in ipairs { "psk", "verfy", "depth", "Verify" } do
    for generations = 1, 3 do
      it(("%s, %d deep"):format(name, generations), function()
        local full = "ssl_" .. name
        refused(heir({ [full] = value }, generations), full)
        refused({ ssl = heir({ [name] = value }, generations) }, full)
        refused(heir({ ssl = heir({ [name] = value }, generations) }, generations), full)
        -- Valid neighbours do not make up for it.
        local options = heir({ [full] = value, ssl_verify = "none" }, generations)
        options.ssl_mode, options.receive_timeout = "client", 1
        refused(options, full)
      end)
    end
  end

  it("by a function as well, which can only be asked for those that LuaSec has", function()
    for _, name in ipairs { "psk", "depth", "dane", "verifyext", "dhparam" } do
      local function answer(of) return function(_, key) if key == of then return "x" end end end
      refused(heir(answer("ssl_" .. name)), "ssl_" .. name)
      refused({ ssl = heir(answer(name)) }, "ssl_" .. name)
    end
  end)

  it("behind a hidden metatable", function()
    refused(setmetatable({}, { __index = { ssl_verfy = "x" }, __metatable = false }), "ssl_verfy")
    refused({ ssl = setmetatable({}, { __index = { verfy = "x" }, __metatable = "secret" }) }, "ssl_verfy")
  end)

  it("even if the inheriting table overrides its value", function()
    local options = heir { ssl_verfy = "x" }
    options.ssl_verfy = false
    refused(options, "ssl_verfy")
  end)
end)

describe("options that are known may be inherited", function()
  local peer = { ssl_verify = "peer", ssl_cafile = servers.ca_file() }
  local luasec = { verify = "peer", cafile = servers.ca_file() }

  for title, options in pairs {
    ["from a table"] = heir(peer),
    ["from a table's parent"] = heir(peer, 2),
    ["from far away"] = heir(peer, 50),
    ["from a function"] = heir(function(_, name) return peer[name] end),
    ["in the table ssl"] = { ssl = heir(luasec, 2) },
    ["with the table ssl"] = heir({ ssl = heir(luasec) }, 2),
    ["from a table that has functions for others, too"] = heir { ssl = luasec, print = print, [1] = "x" },
  } do
    it(title, function()
      local seen = wss.open(luws, {}, options)
      assert.is_true(seen.opened, seen.message)
      assert.is_true(seen.tls.verified)
      not_opened(options)
    end)
  end

  it("but not from tables that inherit in a circle: the caller gets Lua's error", function()
    local one, other = {}, {}
    setmetatable(one, { __index = other })
    setmetatable(other, { __index = one })
    one.ssl_verfy = "x"
    for _, options in ipairs { one, other, { ssl = one }, { ssl = other } } do
      local ok, why = pcall(luws.wsopen, "wss://127.0.0.1:1/", nil, options)
      assert.is_false(ok)
      assert.matches("loop", why) -- in Lua's own words
    end
  end)
end)

describe("the table ssl has no other keys than names:", function()
  for title, value in pairs {
    ["an array"] = { "peer" },
    ["a word behind a name"] = { "peer", verify = "peer" },
    ["a number"] = { [0.5] = "peer" },
    ["a boolean"] = { [true] = "peer", verify = "peer" },
    ["a function"] = { [print] = "peer" },
    ["a table, inherited"] = heir { [{}] = "peer" },
    ["an array, inherited from afar"] = heir({ "peer" }, 3),
    ["an option with its prefix"] = { ssl_verify = "peer" },
  } do
    it(title, function()
      local message = wss.message(luws, { ssl = value })
      assert.matches("^bad option 'ssl_", message)
      assert.matches("unknown", message)
    end)
  end
end)

describe("nobody is trusted unverified because of tables that", function()
  --- Returns an __index function that gives these answers for that name one after the other, then repeats the last.
  local function answers(name, ...)
    local values, asked = { n = select("#", ...), ... }, 0
    return function(_, key)
      if key ~= name then return nil end
      asked = math.min(asked + 1, values.n)
      return values[asked]
    end
  end

  for title, options in pairs {
    ["raise in an array"] = function() return { ssl_verify = heir(function() error "no" end) } end,
    ["have an array without end"] = function() return { ssl_verify = heir(function() return "none" end) } end,
    ["have a table ssl once"] = function() return heir(answers("ssl", { verify = "peer" }, nil)) end,
    ["say peer once"] = function() return heir(answers("ssl_verify", "peer", nil)) end,
    ["say peer, then none"] = function() return heir(answers("ssl_verify", "peer", "none")) end,
    ["say peer once, in the table ssl"] = function() return { ssl = heir(answers("verify", "peer", nil)) } end,
    ["have another array each time"] = function() return heir(answers("ssl_verify", { "peer" }, { "none" })) end,
  } do
    it(title, function() not_opened(options()) end)
  end

  local err = {}
  local function raise() error(err) end

  for title, options in pairs {
    ["raise"] = heir(raise),
    ["raise over ssl_verify"] = heir(function(_, name) if name == "ssl_verify" then raise() end end),
    ["raise over ssl"] = heir(function(_, name) if name == "ssl" then raise() end end),
    ["raise in the table ssl"] = { ssl = heir(raise) },
  } do
    it(title .. ": the caller gets the error unchanged, and nothing is dialled", function()
      local peer = scripted.peer { tls = { certificate = "unknown" }, { "upgrade" } }
      local ok, why = pcall(luws.wsopen, peer.url, nil, options)
      assert.is_false(ok)
      assert.is_true(rawequal(err, why))
      assert.equal(0, peer:connections())
      peer:close()
    end)
  end

  it("have another fingerprint when asked again", function()
    local own = wss.openssl "x509 -in @unknown.pem -noout -sha256 -fingerprint"
    not_opened(heir(answers("ssl_fingerprint", ("00"):rep(32), own)))
    not_opened(heir(answers("ssl_fingerprint", ("00"):rep(32), nil)))
  end)

  it("are changed by the connect function", function()
    local options = { ssl_verify = "peer" }
    function options.connect(host, port, given)
      given.ssl_verify, given.ssl_verify_hostname, options.ssl = nil, false, { verify = "none" }
      return socket.connect(host, port)
    end
    not_opened(options)
  end)
end)

describe("an array that inherits its elements", function()
  it("counts, and verifies", function()
    not_opened { ssl_verify = heir { "peer" } }
    not_opened { ssl_verify = heir({ "peer" }, 2) }
    not_opened { ssl_verify = setmetatable({ "none" }, { __index = { [2] = "peer" } }) }
    not_opened { ssl = { verify = heir { "peer" } } }
    local seen = wss.open(luws, {}, { ssl_verify = heir { "peer" }, ssl_cafile = heir { servers.ca_file() } })
    assert.is_true(seen.opened, seen.message)
  end)

  for _, name in ipairs { "verify", "options", "protocol" } do
    it("is not silently ignored: " .. name, function()
      refused({ ["ssl_" .. name] = heir { "nonsense" } }, "ssl_" .. name)
    end)
  end
end)
