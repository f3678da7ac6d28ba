-- The files of types against the driver: the same functions, options, defaults, methods and fields, and nothing else.
-- The driver itself is queried where possible; otherwise its source is read.

local luws = require "luws"
local servers = require "spec.support.servers"
local world = require "spec.support.world"

local ROOT = debug.getinfo(1, "S").source:match "^@(.*)spec/types_spec%.lua$"

local PATHS = {
  "types/luws.lua", "types/luws/bridge.lua", "types/luws/cookies.lua", "types/luws/engineio.lua", "types/luws/http.lua",
  "types/luws/json.lua", "types/luws/mock.lua", "types/luws/reactor.lua", "types/luws/record.lua",
  "types/luws/server.lua", "types/luws/socketio.lua", "types/luws/websocket.lua",
}

local function text_of(path)
  local file = assert(io.open(ROOT .. path))
  local text = file:read "*a"
  file:close()
  return text
end

--- Reads the classes in the files of types: the fields of each with their text, and its functions. `local NAME = {}`
-- belongs to the class before it.
local function read_types()
  local classes, variables = {}, {}
  local class, comment = nil, ""
  local texts = {}
  for i, path in ipairs(PATHS) do texts[i] = text_of(path) end
  for line in table.concat(texts):gmatch "[^\n]+" do
    local name, rest = line:match "^%-%-%-@field ([%w_]+)%?? (.*)$"
    local variable, method = line:match "^function (%w+)[.:]([%w_]+)%("
    local declared = line:gsub(" %(exact%)", ""):match "^%-%-%-@class ([%w._]+)"
    local own = line:match "^local (%w+) = {}$"
    if declared then
      class = { fields = {}, functions = {} }
      assert(not classes[declared], declared .. " is declared twice")
      classes[declared] = class
    elseif name then
      assert(not class.fields[name], name .. " is declared twice")
      class.fields[name] = comment .. rest
    elseif own then
      variables[own] = class
    elseif method then
      local functions = variables[variable].functions
      assert(not functions[method], method .. " is declared twice")
      functions[method] = comment
    end
    local is_comment = line:find "^%-%-%-[^@|]"
    comment = is_comment and comment .. line:sub(4) .. "\n" or ""
  end
  return classes
end

local function sorted_keys(...)
  local names = {}
  for _, set in ipairs { ... } do
    for name in pairs(set) do
      if type(name) == "string" then names[#names + 1] = name end
    end
  end
  table.sort(names)
  return names
end

--- Returns an empty table of options, and the set of names that are looked up in it.
local function recorder()
  local asked = {}
  return setmetatable({}, {
    __index = function(_, name)
      asked[name] = true
      return nil
    end,
  }), asked
end

--- Returns the default that the text of a field states, as a Lua value; nil for "none".
local function stated_default(name, text)
  local quoted = text:match 'Default: "([^"]*)"'
  if quoted then return quoted end
  local word = text:match "Default: ([%w.]-)%.?%f[%s%z]"
  if word == "none" then return nil end
  if word == "true" or word == "false" then return word == "true" end
  return assert(tonumber(word), name .. " states no default")
end

describe("the annotations in types", function()
  local types, w

  setup(function()
    types = read_types()
    w = world.new()
    w.import "calls" -- with it, every option is registered
  end)

  --- assert_defaults(class, names, complete): the options of these names in the class state the defaults that
  -- complete(given) fills in.
  local function assert_defaults(class, names, complete)
    local defaults = complete {}
    for _, name in ipairs(names) do
      local stated = stated_default(name, types[class].fields[name])
      -- A reader may convert the stated default, as that of coalesce does.
      local read = stated ~= nil and complete({ [name] = stated })[name] or stated
      assert.equal(defaults[name], read, class .. ": the default of " .. name)
    end
  end

  --- assert_options(class, asked, complete): the class has these options, and no others, with their defaults.
  local function assert_options(class, asked, complete)
    local names = sorted_keys(asked)
    assert.same(names, sorted_keys(types[class].fields))
    assert_defaults(class, names, complete)
  end

  --- Returns the names of the TLS options, as LuaSec has them.
  local function tls_names()
    local tls, known = w.import "tls", {}
    local given, asked = recorder()
    assert(tls.read(given))
    for name in pairs(asked) do
      local own = name:match "^ssl_(.*)$"
      local _, why = tls.read(setmetatable({}, { __index = { [name] = print } }))
      if own and not (why and why:find "%(not supported%)") then known[own] = true end
    end
    assert.is_true(known.verify and known.fingerprint and not known.depth)
    return known
  end

  it("have the options of wsopen with their defaults", function()
    local options = w.import "options"
    local given, asked = recorder()
    assert(options.opening(given))
    local names = sorted_keys(asked)
    local tls = { ssl = true }
    for name in pairs(tls_names()) do tls["ssl_" .. name] = true end
    assert.same(sorted_keys(asked, tls), sorted_keys(types["luws.Options"].fields))
    -- The TLS options have their defaults in the engine; the TLS specs test those.
    assert_defaults("luws.Options", names, function(values) return assert(options.opening(values)) end)
  end)

  it("have the options of compression with their defaults", function()
    local request = w.import "request"
    local given, asked = recorder()
    assert(request.deflate { deflate = given })
    assert_options("luws.DeflateOptions", asked, function(values)
      return assert(request.deflate { deflate = values })
    end)
  end)

  it("have the settings of reconnect with their defaults", function()
    local backoff = w.import "backoff"
    local given, asked = recorder()
    assert(backoff.settings(given))
    assert_options("luws.ReconnectOptions", asked, function(values) return assert(backoff.settings(values)) end)
  end)

  it("have the options of authentication", function()
    local rows = {}
    for name in text_of "lua/luws/auth.lua":match "auth_rows = (%b{})":gmatch '{ "(%a+)", nil' do rows[name] = true end
    assert.same(sorted_keys(rows), sorted_keys(types["luws.AuthOptions"].fields))
  end)

  it("have the options of SockProxy with their defaults", function()
    local proxy = w.import "proxy"
    local target = { host = "peer.test", port = 80 }
    local given, asked = recorder()
    assert(proxy.sockproxy({ sockproxy = given }, target))
    assert_options("luws.SockProxyOptions", asked, function(values)
      return assert(proxy.sockproxy({ sockproxy = values }, target))
    end)
  end)

  it("have the fields of the option proxy", function()
    local proxy = w.import "proxy"
    local given, asked = recorder()
    assert(proxy.fields(given))
    assert_options("luws.ProxyOptions", asked, function(values) return assert(proxy.fields(values)) end)
  end)

  it("have the TLS options with and without their prefix, with the same defaults", function()
    assert.same(sorted_keys(tls_names()), sorted_keys(types["luws.TlsOptions"].fields))
    for name, text in pairs(types["luws.TlsOptions"].fields) do
      local prefixed = "ssl_" .. name
      assert.equal(stated_default(name, text), stated_default(prefixed, types["luws.Options"].fields[prefixed]), name)
    end
  end)

  it("have the functions and fields of the module", function()
    local functions, fields = {}, {}
    for name, value in pairs(luws) do
      local set = type(value) == "function" and functions or fields
      set[name] = true
    end
    assert.same(sorted_keys(functions), sorted_keys(types.luws.functions))
    assert.same(sorted_keys(fields), sorted_keys(types.luws.fields))
  end)

  it("have the functions of the reactor, and of what those return", function()
    local reactor = require "luws.reactor"
    assert.same(sorted_keys(reactor), sorted_keys(types["luws.reactor"].functions))
    local timer = reactor.after(0, print)
    timer:cancel()
    assert.same({ "cancel" }, sorted_keys(types["luws.Watch"].functions))
    assert.equal("function", type(timer.cancel))
  end)

  it("have the functions of jars of cookies", function()
    local cookies = require "luws.cookies"
    assert.same(sorted_keys(cookies), sorted_keys(types["luws.cookies"].functions))
    assert.same(sorted_keys(getmetatable(cookies.jar()).__index), sorted_keys(types["luws.Jar"].functions,
      { __index = true, __tostring = true }))
  end)

  it("have the functions and fields of the WebSocket object and its class", function()
    local WebSocket = require "luws.websocket"
    assert.same(sorted_keys(WebSocket), sorted_keys(types["luws.WebSocketClass"].functions))
    local source, given = text_of "lua/luws/websocket.lua", {}
    for name in source:gmatch "\nfunction methods:(%w+)" do given[name] = true end
    for name in text_of("lua/luws/websocket/events.lua"):gmatch "\nfunction targets:(%w+)" do given[name] = true end
    for name in source:match("\nlocal LOOPS = {(.-)}"):gmatch "(%w+) =" do given[name] = true end
    assert.is_true(given.send and given.addEventListener and given.getfd)
    assert.same(sorted_keys(given), sorted_keys(types["luws.WebSocket"].functions))
    local fields = { binaryType = true }
    for name in source:gmatch "\nfunction fields%.(%w+)" do fields[name] = true end
    for name in source:match("\nlocal CONSTANTS = {(.-)}"):gmatch "(%w+) =" do fields[name] = true end
    for name in source:match("\nlocal ON = {(.-)}"):gmatch "(%w+) =" do fields[name] = true end
    assert.same(sorted_keys(fields), sorted_keys(types["luws.WebSocket"].fields))
    local ws = WebSocket "ws://127.0.0.1:1/"
    ws:close()
    for _, name in ipairs(sorted_keys(given)) do assert.equal("function", type(ws[name])) end
    for _, name in ipairs(sorted_keys(types["luws.WebSocketOptions"].fields)) do
      assert.is_false((pcall(WebSocket, "ws://127.0.0.1:1/", nil, { [name] = 1 })), name)
    end
  end)

  it("have the functions of luws.server, of what it makes, and the options of listen", function()
    local server = require "luws.server"
    local described = types["luws.servers"]
    assert.same(sorted_keys(server), sorted_keys(described.functions, described.fields))
    local srv = assert(server.listen { port = 0 })
    assert.same(sorted_keys(getmetatable(srv).__index), sorted_keys(types["luws.Server"].functions))
    srv:close()
    local listed = {}
    for rows in text_of "lua/luws/server/options.lua":gmatch "\nlocal %w+_rows = (%b{})" do
      for name in rows:gmatch '{ "([%l%d_]+)"' do listed[name] = true end
    end
    assert.same(sorted_keys(listed), sorted_keys(types["luws.ServerOptions"].fields, types["luws.Place"].fields,
      types["luws.Handlers"].fields))
    local source = text_of "lua/luws/server/request.lua"
    local given = { cookies = true } -- computed
    for name in assert(source:match "return setmetatable%({\n(.-)\n  }, Request%)"):gmatch "([%a_]+) = " do
      given[name] = true
    end
    given.answer, given.asked = nil, nil
    assert.same(sorted_keys(given), sorted_keys(types["luws.Request"].fields))
    for name in pairs(types["luws.Request"].functions) do
      assert.is_truthy(source:find("function Request:" .. name .. "(", 1, true), name)
    end
    for _, name in ipairs(sorted_keys(types["luws.ServedConnection"].fields)) do
      local is_set = text_of "lua/luws/server/owner.lua":find("conn." .. name, 1, true)
      assert.is_truthy(is_set or text_of "lua/luws/publish.lua":find("getters." .. name .. "(", 1, true), name)
    end
  end)

  it("have the functions of luws.bridge, of what it makes, and the options", function()
    local bridge = require "luws.bridge"
    assert.same(sorted_keys(bridge), sorted_keys(types["luws.bridge"].functions))
    local made = assert(bridge.listen { listen = "127.0.0.1", port = 0, log = print, log_level = "error" })
    assert.same(sorted_keys(getmetatable(made).__index), sorted_keys(types["luws.Bridge"].functions))
    assert.same(sorted_keys(made:stats()), sorted_keys(types["luws.BridgeStats"].fields))
    made:close()
    local options, rows = w.import "bridge/options", {}
    for _, list in ipairs { options.CORE, options.LUA, options.BACKENDS.defaultpeer, options.BACKENDS.file } do
      for _, row in ipairs(list) do rows[options.key(row)] = true end
    end
    assert.same(sorted_keys(rows), sorted_keys(types["luws.BridgeOptions"].fields))
  end)

  it("have the functions of luws.http, its own options, and the fields of responses", function()
    local http = w.import "http".public
    assert.same(sorted_keys(http), sorted_keys(types["luws.http"].functions))
    local asked = {}
    local rows = text_of "lua/luws/http.lua":match "\nlocal rows = (%b{})"
    for name, default in rows:gmatch "{ \"([%w_]+)\", ([^,]+)," do asked[name] = default end
    assert.same(sorted_keys(asked), sorted_keys(types["luws.HttpOptions"].fields))
    for name, text in pairs(types["luws.HttpOptions"].fields) do
      local default = ({ ["nil"] = "none", ['""'] = "", ["30"] = 30, MIB = 1024 * 1024 })[asked[name]]
      if default == "none" then default = nil end
      assert.equal(default, stated_default(name, text), name)
    end
    local response = text_of "lua/luws/http.lua":match "local response = (%b{})"
    local fields = {}
    for name in response:gmatch "([%w_]+) = " do fields[name] = true end
    assert.same(sorted_keys(fields), sorted_keys(types["luws.HttpResponse"].fields))
  end)

  it("have the functions of luws.engineio, of what it makes, and the options with their defaults", function()
    local engineio = w.import "engineio".public
    assert.same(sorted_keys(engineio), sorted_keys(types["luws.engineio"].functions, types["luws.engineio"].fields))
    local emitter = sorted_keys(types["luws.Emitter"].functions)
    local function methods_of(object)
      local class, own = getmetatable(object).__index, {}
      for name in pairs(class) do own[name] = name ~= "__index" or nil end
      for _, name in ipairs(emitter) do
        assert.is_true(own[name], name)
        own[name] = nil
      end
      return sorted_keys(own)
    end
    local engine = assert(require "luws.engineio".listen { port = 0 })
    assert.same(methods_of(engine), sorted_keys(types["luws.Engine"].functions))
    engine:close()
    assert.same(methods_of(engineio.connect "http://x"), sorted_keys(types["luws.EngineSocket"].functions))
    local source = text_of "lua/luws/engineio/server/socket.lua"
    for _, name in ipairs(sorted_keys(types["luws.EngineServerSocket"].functions)) do
      assert.is_truthy(source:find("Socket[:.]" .. name .. "[ (]"), name)
    end
    local settings = w.import "engineio/settings"
    local rows = text_of "lua/luws/engineio/settings.lua":match "\nlocal rows = (%b{})"
    for role, class in pairs { client = "luws.EngineClientOptions", server = "luws.EngineOptions" } do
      local asked = {}
      for name, reader in rows:match(role .. " = (%b{})"):gmatch '{ "([%w_]+)", .-, (%l[^\n]-) },' do
        asked[name] = reader
      end
      assert.same(sorted_keys(asked), sorted_keys(types[class].fields))
      local defaults = settings[role]({}, function() return false end)
      for name, text in pairs(types[class].fields) do
        if text:find "Default:" and name ~= "path" then
          local factor = asked[name] == "duration" and 1000
          assert.equal(stated_default(name, text), factor and defaults[name] * factor or defaults[name], name)
        end
      end
    end
  end)

  it("have the functions of luws.socketio, its options with their defaults, and the methods of its objects", function()
    local io = require "luws.socketio"
    local described = types["luws.socketio"]
    assert.same(sorted_keys(io), sorted_keys(described.functions, described.fields))
    local settings = w.import "socketio/settings"
    for role, class in pairs {
      client = "SocketIoOptions", server = "SocketIoServerOptions", recovery = "RecoveryOptions",
    } do
      local listed = {}
      for name in text_of("lua/luws/socketio/settings.lua"):match(role .. " = (%b{})"):gmatch '{ "(%a+)"' do
        listed[name] = true
      end
      local fields = types["luws." .. class].fields
      assert.same(sorted_keys(listed), sorted_keys(fields))
      for name, text in pairs(fields) do
        local stated = stated_default(name, text)
        if stated ~= nil then
          assert.same((settings.read(role, {})), (settings.read(role, { [name] = stated })), name)
        end
      end
    end
    local engines = require "spec.support.engines".new(world.new())
    local socket, server = engines.io "http://peer.test", engines.io.server {}
    local served
    server:on("connection", function(new) served = new end)
    engines:accept():say "0"
    engines:turn()
    for class, object in pairs {
      SocketIoSocket = socket, SocketIoManager = socket.io, SocketIoServer = server, SocketIoNamespace = server.sockets,
      SocketIoOperator = server:to "a", SocketIoServerSocket = served,
    } do
      for name in pairs(types["luws." .. class].functions) do
        assert.equal("function", type(object[name]), class .. ":" .. name)
      end
    end
  end)

  it("have the functions and fields of luws.json", function()
    local described = types["luws.json"]
    assert.same(sorted_keys((require "luws.json")), sorted_keys(described.functions, described.fields))
  end)

  it("have the functions of luws.mock, and of what they make", function()
    local mock = require "luws.mock"
    assert.same(sorted_keys(mock), sorted_keys(types["luws.mock"].functions, types["luws.mock"].fields))
    local net = mock.net()
    local server = net:listen "ws://peer.test/"
    luws.wsopen(server.url, print, net:options())
    for class, object in pairs {
      Net = net, MockServer = server, MockPeer = server:accept(), MockWebSocket = mock.WebSocket "ws://peer.test/",
    } do
      for name in pairs(types["luws." .. class].functions) do
        assert.equal("function", type(object[name]), class .. ":" .. name)
      end
    end
    -- Options that are not described are refused.
    for name in pairs(types["luws.ListenOptions"].fields) do
      local ok, err = pcall(net.listen, net, "ws://peer.test/" .. name, { [name] = print })
      assert.is_true(ok or err:find("bad option", 1, true) ~= nil, err)
    end
    for name in pairs(types["luws.Faults"].fields) do
      local _, err = pcall(net.listen, net, "ws://peer.test/" .. name, { faults = { [name] = {} } })
      assert.is_nil(tostring(err):find("unknown fault", 1, true), err)
    end
  end)

  it("have the functions of luws.record, and of what they make, with their options", function()
    local record = require "luws.record"
    assert.same(sorted_keys(record), sorted_keys(types["luws.record"].functions, types["luws.record"].fields))
    assert.same(sorted_keys(record.fold), sorted_keys(types["luws.Folds"].functions, types["luws.Folds"].fields))
    local rec = record.new { seed = 1 }
    local function nothing() end
    local made = {
      Recording = rec, Outbox = rec:outbox { conn = "a", ack = nothing },
      Heartbeat = rec:heartbeat { conn = "a", reactor = false },
    }
    for class, object in pairs(made) do
      for name in pairs(types["luws." .. class].functions) do
        assert.equal("function", type(object[name]), class .. ":" .. name)
      end
    end
    -- Options that are not described are refused, and those that are described are not.
    for class, f in pairs {
      RecordOptions = record.new, LoadOptions = function(given) return record.load("/nowhere", given) end,
      RowFilter = function(given) return rec:rows(given) end, ReplayOptions = function(given) rec:replay(given) end,
      OutboxOptions = function(given) rec:outbox(given) end,
      HeartbeatOptions = function(given) rec:heartbeat(given) end,
    } do
      for name in pairs(types["luws." .. class].fields) do
        local _, err = pcall(f, { [name] = coroutine.create(nothing) })
        assert.is_nil(tostring(err):find("unknown option", 1, true), tostring(err))
      end
      assert.truthy(tostring(select(2, pcall(f, { nonsense = 1 }))):find("unknown option 'nonsense'", 1, true), class)
    end
  end)

  it("have the stub's additions to the module", function()
    local stub = assert(loadfile(ROOT .. "lua/L_MyPlugin_LuWS.lua"))("L_Types_LuWS")
    _G.L_Types_LuWS = nil -- luacheck: ignore 122 (the stub sets it)
    local added, plugin = {}, types["luws.PluginModule"]
    for name in pairs(stub) do
      if luws[name] == nil then added[name] = true end
    end
    assert.same(sorted_keys(added), sorted_keys(plugin.functions, plugin.fields))
  end)

  it("have the methods of connections and of their sockets", function()
    local function nothing() end
    local made = w.import "methods".make(nothing, nothing, nothing)
    assert.same(sorted_keys(made), sorted_keys(types["luws.Connection"].functions))
    local conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo")))
    local socket = conn.socket
    luws.wsclose(conn)
    assert.same(sorted_keys(debug.getmetatable(socket).__index), sorted_keys(types["luws.Socket"].functions))
  end)

  it("have the fields of connections", function()
    local given = { bufferedAmount = true, bufferedPayload = true, timings = true } -- computed, in Connection:__index
    local body = assert(text_of("lua/luws/publish.lua"):match "local conn = setmetatable%({\n(.-)\n  }, Connection%)")
    for name in body:gmatch "%f[^\n%z]    ([%a_]+) = " do given[name] = true end
    for _, part in ipairs { "publish", "keepalive" } do
      for names in text_of("lua/luws/" .. part .. ".lua"):gmatch "\n +(conn%.[^\n=]+) =" do
        for name in names:gmatch "conn%.([%a_]+)" do given[name] = true end
      end
    end
    for name in text_of("lua/luws/linger.lua"):gmatch 'rawset%(conn, "([%w_]+)"' do given[name] = true end
    assert.same(sorted_keys(given), sorted_keys(types["luws.Connection"].fields))
    -- All fields of a connection that has ended are among them.
    local conn, peer = w:open(w:peer { subprotocol = "one" }, { subprotocols = "one" })
    peer:answer_close()
    w.luws.wsclose(conn, 1000, "bye")
    w.luws.wswait(conn, 1)
    for _, name in ipairs(sorted_keys(conn)) do assert.is_true(given[name], name) end
    assert.same({ 1000, true, "one" }, { conn.close_code_sent, conn.was_clean, conn.subprotocol })
  end)

  it("have the fields that describe a server over wss", function()
    local conn = assert(luws.wsopen(servers.url("demo", "wss", "/echo"), nil, {}))
    local fields = types["luws.TlsInfo"].fields
    for name in pairs(conn.tls) do assert.truthy(fields[name], name) end
    luws.wsclose(conn)
    local set = {}
    for name in text_of("src/lua/tls/mod.rs"):gmatch 'table%.set%("([%w_]+)"' do set[name] = true end
    assert.same(sorted_keys(set), sorted_keys(fields))
  end)

  it("have the fields that describe a response that refused the upgrade", function()
    local _, _, response = luws.wsopen(servers.url("demo", "ws", "/nowhere"))
    assert.same(sorted_keys(response), sorted_keys(types["luws.Response"].fields))
  end)

  it("have no line wider than 120 columns", function()
    for _, path in ipairs(PATHS) do
      for line in text_of(path):gmatch "[^\n]+" do assert.is_true(#line <= 120, line) end
    end
  end)
end)
