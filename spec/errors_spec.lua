-- Whatever its arguments, a function raises or returns errors as strings: programs do `"..." .. err`, and Lua's own
-- handlers print nothing useful for a userdata. And no argument ends the process.

local luws = require "luws"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local unpack = require "spec.support.compat".unpack

local function ignore() end

-- Values that no argument should have; and numbers, for arguments that become an integer or a time.
local VALUES = {
  { "nil", nil }, { "true", true }, { "false", false }, { "1", 1 }, { '"x"', "x" }, { "a table", {} },
  { "a function", function() end }, { "a coroutine", coroutine.create(ignore) }, { "io.stdout", io.stdout },
  { "bytes that are no text", "\255\254\0" }, { "a callable table", setmetatable({}, { __call = ignore }) },
  { "0.5", 0.5 }, { "-1", -1 }, { "70000", 70000 }, { "2^53", 2 ^ 53 }, { "1e300", 1e300 },
  { "infinity", math.huge }, { "-infinity", -math.huge }, { "NaN", 0 / 0 }, { '"4000"', "4000" },
}

-- Good arguments, which are replaced one at a time. Functions that wait are given no time to.
local CALLS = {
  wsopen = function(_, url) return url, ignore, {} end,
  wssend = function(conn) return conn, 1, "data" end,
  wsreceive = function(conn) return conn end,
  watch = function(conn) return conn end,
  wswait = function(conn) return conn, 0 end,
  wshandleincoming = function(conn) return "\129\1x", conn end,
  wsflush = function(conn) return conn end,
  wsreset = function(conn) return conn end,
  wslastping = function(conn) return conn end,
  wsclose = function(conn) return conn, 1000, "reason" end,
  dump = function() return {} end,
  gettime = function() end,
  sleep = function() return 0 end,
}

-- Good arguments for the methods of conn.socket.
local METHODS = { getfd = {}, getpeername = {}, setoption = { "keepalive", true }, close = {} }

local OPTIONS = {
  "handler_args", "control_handler", "receive_timeout", "receive_chunk_size", "max_payload_size", "use_masking",
  "fragment_size", "send_timeout", "connect", "connect_timeout", "upgrade_timeout", "close_timeout", "upgrade_headers",
  "subprotocols", "ssl_protocol", "ssl_verify", "ssl_mode", "ssl_options", "ssl_cafile", "max_buffered",
  "drain_handler",
}

local FIELDS = {
  "connected", "closing", "proto", "ip", "port", "path", "options", "msghandler", "socket", "lastMessage", "lastPing",
  "bufferedAmount", "bufferedPayload", "subprotocol", "close_code", "close_reason", "was_clean", "close_code_sent",
  "close_reason_sent", "timings",
}

--- Returns whether sleeping for this time would take long.
local function long(value) return (tonumber(value) or 0) > 0 end

describe("without userdata:", function()
  local refused, refused_tls, conns, problems

  setup(function()
    refused, refused_tls = scripted.refused(), scripted.refused { tls = true }
    _G.luup = { log = ignore } -- invalid handlers are logged as errors
  end)

  teardown(function()
    _G.luup = nil
    refused:close()
    refused_tls:close()
  end)

  before_each(function() conns, problems = {}, {} end)

  after_each(function()
    for _, conn in ipairs(conns) do pcall(luws.wsclose, conn) end
  end)

  --- Opens a connection on which there is always something to read.
  local function connect()
    local last = conns[#conns]
    if last and last.connected == true and last.closing == false then return last end
    conns[#conns + 1] = assert(luws.wsopen(servers.url("demo", "ws", "/flood?size=1000&count=100"), ignore))
    return conns[#conns]
  end

  local function problem(...)
    if #problems < 10 then problems[#problems + 1] = string.format(...) end
  end

  --- Records what is wrong with the results of pcall.
  local function check(name, ...)
    local ok, first, second = ...
    if not ok and type(first) ~= "string" then
      problem("%s raises a %s: %s", name, type(first), tostring(first):match "^[^\n]*")
    elseif not first and second ~= nil and type(second) ~= "string" and type(second) ~= "number" then
      problem("%s gives a %s as the reason", name, type(second))
    end
    for i = 2, ok and select("#", ...) or 0 do
      if type((select(i, ...))) == "userdata" then problem("%s returns a userdata", name) end
    end
  end

  --- Calls f with each argument replaced in turn, and with all of them replaced.
  local function try(name, f, good, value)
    local count = math.max(good.n, 1)
    for i = 1, count + 1 do
      local args = { unpack(good, 1, count) }
      args[i] = value
      check(("%s, argument #%d"):format(name, i), pcall(f, unpack(args, 1, count + 1)))
    end
    check(name .. ", all arguments", pcall(f, value, value, value, value))
  end

  local function pack(...) return { n = select("#", ...), ... } end

  it("every function is tried", function()
    for name, f in pairs(luws) do
      if type(f) == "function" and name ~= "instance" then assert.is_function(CALLS[name], name) end
    end
  end)

  for name, arguments in pairs(CALLS) do
    it(name .. " accepts any arguments", function()
      for _, case in ipairs(VALUES) do
        local shown, value = unpack(case)
        if not (name == "sleep" and long(value)) then
          try(name .. " given " .. shown, luws[name], pack(arguments(connect(), refused.url)), value)
        end
      end
      assert.same({}, problems)
    end)
  end

  it("wsopen accepts any value that is not a URL, and raises LuWS's error", function()
    for _, case in ipairs(VALUES) do
      local ok, why = pcall(luws.wsopen, case[2])
      assert.is_false(ok, case[1])
      assert.equal("string", type(why), case[1])
      assert.truthy(why:find("Invalid protocol/address for WebSocket open in URL", 1, true), why)
    end
  end)

  it("wsopen returns two values if it fails, and three only if a server has answered", function()
    local nobody = scripted.refused()
    for _, args in ipairs {
      { nobody.url }, { (nobody.url:gsub("^ws", "wss")) }, { nobody.url, 1 }, { nobody.url, ignore, { connect = 1 } },
    } do
      assert.equal(2, select("#", luws.wsopen(args[1], args[2], args[3])))
    end
    nobody:close()
    local peer = scripted.peer { { "upgrade", status = "HTTP/1.1 404 Not Found" } }
    assert.equal(3, select("#", luws.wsopen(peer.url)))
    peer:close()
  end)

  it("wsopen accepts any values as options", function()
    for _, name in ipairs(OPTIONS) do
      for _, case in ipairs(VALUES) do
        local shown, value = unpack(case)
        local text, tls = name .. " = " .. shown, name:match "^ssl_"
        for _, whole in ipairs { { value = value }, { value = { value } }, { value = not tls and { X = value } } } do
          local url = (tls and refused_tls or refused).url
          check(text, pcall(luws.wsopen, url, ignore, { [name] = whole.value }))
        end
      end
    end
    assert.same({}, problems)
  end)

  --- Calls every function that takes a connection.
  local function use(text, conn)
    for _, name in ipairs { "wswait", "wsreceive", "wssend", "wshandleincoming", "wslastping", "wsreset", "wsclose" } do
      check(text .. ": " .. name, pcall(luws[name], CALLS[name](conn)))
    end
  end

  it("options of a connection may be replaced with any values", function()
    for _, name in ipairs(OPTIONS) do
      for _, case in ipairs(VALUES) do
        local conn = connect()
        conn.options[name] = case[2]
        use(name .. " = " .. case[1], conn)
      end
    end
    assert.same({}, problems)
  end)

  it("fields of a connection may be replaced with any values", function()
    for _, name in ipairs(FIELDS) do
      for _, case in ipairs(VALUES) do
        local conn = connect()
        conn[name] = case[2]
        use(("conn.%s = %s"):format(name, case[1]), conn)
      end
    end
    assert.same({}, problems)
  end)

  for name, good in pairs(METHODS) do
    it(("conn.socket:%s accepts any arguments"):format(name), function()
      for _, case in ipairs(VALUES) do
        local socket = connect().socket
        try(("conn.socket.%s given %s"):format(name, case[1]), socket[name], pack(socket, unpack(good)), case[2])
        luws.wsclose(conns[#conns])
        assert.equal(-1, socket:getfd())
        try(("conn.socket.%s given %s"):format(name, case[1]), socket[name], pack(socket, unpack(good)), case[2])
      end
      assert.same({}, problems)
    end)
  end

  it("conn.socket has no methods that consume the connection's bytes or wait", function()
    local socket = connect().socket
    for _, name in ipairs { "send", "receive", "settimeout", "wait", "shutdown", "connect", "dirty" } do
      assert.is_nil(socket[name], name)
    end
  end)

  it("conn.socket itself", function()
    local socket = connect().socket
    assert.is_true(socket:getfd() >= 0)
    for name, f in pairs {
      index = function() return socket.nothing end,
      newindex = function() socket.new = 1 end,
      length = function() return #socket end,
      call = function() return socket() end,
      order = function() return socket < socket end,
      concatenation = function() return socket .. "" end,
      text = function() return tostring(socket) end,
    } do
      check("conn.socket, " .. name, pcall(f))
    end
    assert.same({}, problems)
  end)
end)
