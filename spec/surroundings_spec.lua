-- What changes around a program that runs for months: its clock is set, its locale has commas, it changes its folder,
-- and its Lua state is closed with everything still open. Each test runs in a process of its own.

local odd_host = require "spec.support.odd_host"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local PRELUDE = [[
  local ws, wss, ca_file, other = ...
  local luws = require "luws"
  local told
  local function open(url, options)
    options = options or {}
    options.ssl_verify, options.ssl_cafile = "peer", options.ssl_cafile or ca_file
    return luws.wsopen(url, function(_, opcode, data) told = { opcode, data } end, options)
  end
  local function echo(conn, text)
    told = nil
    if not luws.wssend(conn, 1, text) then return false end
    local deadline = now() + 10
    repeat luws.wswait(conn, 1) until luws.wsreceive(conn) == nil or told or now() > deadline
    return told ~= nil and told[2] == text
  end
  local function timed(f, ...)
    local began = now()
    local ok, why = f(...)
    local took = now() - began
    return ok, why and why:gsub(":%d+", ""), took
  end
]]

local function start(program, ...)
  return odd_host.start {
    input = PRELUDE:gsub("\n%s*", " ") .. program,
    servers.url("demo", "ws", "/echo"), servers.url("demo", "wss", "/echo"), servers.ca_file(), ...,
  }
end

local function run(program, ...)
  local output, status = start(program, ...)()
  assert.equal(0, status, output)
  return output
end

-- Times are measured on a monotonic clock. What is told on os.time's scale is the wall clock's at that moment.
describe("if the wall clock is set", function()
  local silent

  before_each(function() silent = scripted.peer { { "upgrade" }, { "hold" } } end)
  after_each(function() silent:close() end)

  for name, by in pairs { ["forward by a year"] = 365 * 86400, ["back by a year"] = -365 * 86400 } do
    it(name .. ", no deadline comes earlier or later", function()
      local output = run(([[
        local conn = assert(open(other, { receive_timeout = 0.3, send_timeout = 0.3 }))
        local began = now()
        local before = luws.gettime()
        odd.set_wall(%d)
        print(math.abs(luws.gettime() - before - %d) < 5, math.abs(os.time() - luws.gettime()) < 2)
        print(luws.wsreceive(conn))
        local function near(took, right) return took > right - 0.05 and took < right + 2 or took end
        print(near(select(3, timed(luws.sleep, 0.1)), 0.1))
        print(luws.wswait(conn, 30), luws.wsreceive(conn))
        print(near(now() - began, 0.3))
        conn.options.receive_timeout = nil
        local ok, _, took = timed(luws.wswait, conn, 0.2)
        print(ok, near(took, 0.2))
        local ok, why, took = timed(luws.wssend, conn, 2, ("x"):rep(2 ^ 23))
        local closed, _, lasted = timed(function()
          luws.wsclose(conn)
          return luws.wswait(conn, 30)
        end)
        print(closed, near(lasted, 0.5))
      ]]):format(by, by), silent.url)
      assert.equal("true\ttrue\nfalse\t0\ntrue\ntrue\tnil\tmessage timeout\ntrue\nfalse\ttrue\ntrue\ttrue\n", output)
    end)

    it(name .. ", connections live on and others can be opened", function()
      local output = run(([[
        local conn = assert(open(ws, { receive_timeout = 60 }))
        odd.set_wall(%d)
        print(echo(conn, "hello"), math.abs(luws.wslastping(conn) - os.time()) < 5)
        print(echo(assert(open(ws)), "hello"))
        odd.set_wall(0)
        print(echo(assert(open(wss)), "hello"), echo(conn, "again"))
      ]]):format(by))
      assert.equal("true\ttrue\ntrue\ntrue\ttrue\n", output)
    end)
  end
end)

describe("a Lua state that is closed with 100 connections", function()
  -- They may linger for so long, all of them together, and only for what is queued.
  local CLOSE_TIMEOUT, SLACK = 0.3, 2

  local deaf

  before_each(function() deaf = scripted.peer { receive_buffer = 4096, { "upgrade" }, { "wait" } } end)
  after_each(function() deaf:close() end)

  -- name, what the program does for each connection, and for how long closing may wait
  for _, case in ipairs {
    { "that are open", "assert(open(i % 4 == 0 and wss or ws))", 0 },
    { "that have received what nobody has taken", "assert(open((ws:gsub('echo', 'flood?size=100&count=100'))))", 0 },
    { "that nobody refers to any more", "assert(open(ws)) conns[i] = nil", 0 },
    { "that were closed", "luws.wsclose(assert(open(i % 4 == 0 and wss or ws)))", CLOSE_TIMEOUT },
    { "whose peers do not answer wsclose", "luws.wsclose(assert(open(deaf)))", CLOSE_TIMEOUT },
    {
      "some of which have messages queued that their peers do not read",
      "local conn = assert(open(i % 10 == 0 and deaf or ws)) if i % 10 == 0 then luws.wssend(conn, 2, large) end", 0,
    },
    {
      "some of which were closed with messages queued that their peers do not read", [[
        local conn = assert(open(i % 10 == 0 and deaf or ws))
        if i % 10 == 0 then luws.wssend(conn, 2, large) end
        luws.wsclose(conn)
      ]], CLOSE_TIMEOUT,
    },
    {
      "that are in the middle of a message from a source", [[
        local conn, sent = assert(open(ws)), false
        coroutine.wrap(function()
          luws.wssend(conn, 2, function()
            if sent then coroutine.yield() end
            sent = true
            return "x"
          end)
        end)()
      ]], 0,
    },
    {
      "whose handlers have yielded, or have raised an error", [[
        local conn
        local function handler()
          if i % 2 == 0 then coroutine.yield() else error "on purpose" end
        end
        local function work()
          conn = assert(luws.wsopen(ws, handler))
          luws.wssend(conn, 1, "x")
          luws.wswait(conn, 10)
          luws.wsreceive(conn)
        end
        conns[i] = coroutine.create(work)
        coroutine.resume(conns[i])
      ]], 0,
    },
    {
      "that are being opened by coroutines which have yielded", [[
        conns[i] = coroutine.create(function()
          luws.wsopen(ws, nil, { connect = function() coroutine.yield() end })
        end)
        coroutine.resume(conns[i])
      ]], 0,
    },
    {
      "that use sockets of LuaSocket", [[
        local function connect(host, port) return require "socket".connect(host, port) end
        assert(open(ws, { connect = connect }))
      ]], 0,
    },
  } do
    local name, each, most = case[1], case[2], case[3]
    it(name .. (" takes no time"):rep(most == 0 and 1 or 0) .. (" takes close_timeout at most"):rep(most > 0 and 1 or 0)
      .. ", and leaves no descriptors", function()
      local program = ([[
        local ws, wss, ca_file, deaf = (...):match "(%%S+) (%%S+) (%%S+) (%%S+)"
        luup = { log = function() end }
        package.loadlib = nil
        local luws = require "luws"
        local large, conns = ("x"):rep(2 ^ 22), {}
        local function open(url, options)
          options = options or {}
          options.ssl_verify, options.ssl_cafile, options.send_timeout = "peer", ca_file, 0
          options.close_timeout = %s
          local conn = luws.wsopen(url, nil, options)
          conns[#conns + 1] = conn
          return conn
        end
        for i = 1, 100 do %s end
      ]]):format(CLOSE_TIMEOUT, each)
      local output = run(([[
        local before = descriptors()
        local seconds, why = odd.in_state(%q, table.concat({ ... }, " "))
        print(why or (seconds < %s or seconds), descriptors() - before)
      ]]):format(program, most + SLACK), deaf.url)
      assert.equal("true\t0\n", output)
    end)
  end
end)

it("relative names of files belong to the folder of the moment, and the umask does not matter", function()
  local folder = os.tmpname()
  os.remove(folder)
  local function shell(command) assert(os.execute((command:gsub("FOLDER", folder)))) end
  shell("mkdir FOLDER FOLDER/right FOLDER/wrong FOLDER/gone")
  shell("cp " .. servers.ca_file() .. " FOLDER/right/ca.pem")
  shell("cp " .. servers.pki "other-ca.pem" .. " FOLDER/wrong/ca.pem")
  local output = run([[
    odd.umask(511)
    local absolute
    for _, name in ipairs { "right", "wrong", "right", "gone" } do
      odd.chdir(other .. "/" .. name)
      if name == "gone" then os.remove(other .. "/gone") end
      local conn, why = open(wss, { ssl_cafile = "ca.pem" })
      print(name, conn and echo(conn, "hello") or why)
    end
    print(echo(assert(open(wss, { ssl_cafile = other .. "/right/ca.pem" })), "hello"))
  ]], folder)
  shell("rm -r FOLDER")
  assert.equal("right\ttrue\n"
    .. "wrong\tFailed SSL negotation: certificate verify failed (self-signed certificate in certificate chain)\n"
    .. "right\ttrue\n"
    .. "gone\tbad option 'ssl_cafile': No such file or directory (ca.pem)\n"
    .. "true\n", output)
end)

-- PUC Lua reads and writes numbers as the locale says. luws takes numbers as numbers, and its texts show them as the
-- program's own tostring does.
it("a locale with decimal commas changes nothing but how numbers are shown", function()
  local folder = os.getenv "LUWS_SPEC_FOLDER"
  local made = os.execute("localedef -f UTF-8 -i de_DE " .. folder .. "/de_DE.UTF-8")
  assert(made == 0 or made == true, "the locale cannot be made (scripts/setup.sh installs what that needs)")
  local output, status = odd_host.run {
    environment = "LOCPATH=" .. folder,
    input = PRELUDE:gsub("\n%s*", " ") .. [[
      assert(os.setlocale "de_DE.UTF-8")
      local lines = {}
      luup = { log = function(text) lines[#lines + 1] = text end }
      luws.debug_mode = true
      for _, url in ipairs { ws, wss } do
        local conn = assert(open(url, {
          connect_timeout = 9.5, upgrade_timeout = 9.5, receive_timeout = 0.25, send_timeout = 0.5, close_timeout = 0.5,
          max_payload_size = 1000.5, deflate = { threshold = 10 },
        }))
        local began = now()
        print(echo(conn, ("hello "):rep(100)), luws.wslastping(conn) > 1e9, luws.gettime() % 1 < 1)
        print(timed(luws.wswait, conn, 0.1) == false, luws.wswait(conn, 9.5), luws.wsreceive(conn))
        print(now() - began < 5)
        luws.wsclose(conn)
        print(luws.wswait(conn, 9.5))
      end
      local why = select(2, luws.wsopen(ws, nil, { connect_timeout = -0.5 }))
      print(why == "bad option 'connect_timeout' (a number of at least 0 expected, got " .. -0.5 .. ")")
      print(#lines > 0)
    ]],
    servers.url("demo", "ws", "/echo"), servers.url("demo", "wss", "/echo"), servers.ca_file(),
  }
  local each = "true\ttrue\ttrue\ntrue\ttrue\tnil\tmessage timeout\ntrue\ntrue\n"
  assert.equal(each .. each .. "true\ntrue\n", output)
  assert.equal(0, status)
end)
