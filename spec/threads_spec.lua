-- Several Lua states in one process, on several threads: each has a module and connections of its own, all work at the
-- same time, and closing them leaves nothing behind.
--
-- A host in C (spec/support/threads.c) is built for the library of this run's interpreter; it runs the program below in
-- each state. It does not look for what sanitizers would find, and no state is used by two threads at a time,
-- which Lua does not allow.

local servers = require "spec.support.servers"
local unpack = require "spec.support.compat".unpack

local THREADS, ROUNDS = 8, 6
local STATES = THREADS * ROUNDS

-- Everything here belongs to the state: `print`, the module with its debug_mode, the handlers and what they received.
local PROGRAM = [[
local thread, round, ca_file, ws, wss = ...
local lines, told = 0, {}
function print(_, line)
  lines = lines + 1
  assert(line:match "^luws: ", line)
end

local luws = require "luws"
assert(luws.debug_mode == false, "somebody else's debug_mode")
luws.debug_mode = (thread + round) % 2 == 0

local function open(url)
  local name = ("thread %d round %d %s"):format(thread, round, url)
  local options = {
    handler_args = { name }, deflate = true, ssl_verify = "peer", ssl_cafile = ca_file, close_timeout = 10,
  }
  local conn = assert(luws.wsopen(url, function(...) told[#told + 1] = { ... } end, options))
  conn.name = name
  return conn
end

-- Each message says whose it is. Its echo must come back here, and nothing else may.
local function converse(conn, phase)
  for i, size in ipairs { 0, 1000, 50000 } do
    local text = ("%s %s %d"):format(conn.name, phase, i) .. ("x"):rep(size)
    assert(luws.wssend(conn, 1, text))
    local deadline = luws.gettime() + 10
    while #told == 0 and luws.gettime() < deadline do
      luws.wswait(conn, 1)
      local more, why = luws.wsreceive(conn)
      if more == nil then error(conn.name .. ": " .. why) end
    end
    local answer = assert(table.remove(told), "no answer")
    assert(#told == 0 and answer[1] == conn and answer[2] == 1 and answer[3] == text and answer[4] == conn.name,
      "another answer than that to this message")
  end
  assert((lines > 0) == luws.debug_mode, "it logged what it should not, or did not")
end

local conns = { open(ws), open(wss) }
for _, conn in ipairs(conns) do converse(conn, "first") end

return function()
  for _, conn in ipairs(conns) do converse(conn, "later") end
  -- One is closed. The other stays open with an answer on its way, or lingers; the two cases alternate.
  local left, closed = conns[1 + round % 2], conns[2 - round % 2]
  assert(luws.wssend(left, 2, ("x"):rep(50000)))
  luws.wsclose(closed)
  assert(luws.wswait(closed, 10))
  assert(closed.was_clean and left.connected)
  if round % 3 == 0 then luws.wsclose(left) end
end
]]

-- The same with connections of two instances that the state's reactor drives.
local DRIVEN = [[
local thread, round, url = ...
local luws = require "luws"
local reactor = require "luws.reactor"
local instances = { luws, luws.instance "other" }
local conns, told, count = {}, {}, 0

local function until_told(wanted)
  local deadline = luws.gettime() + 10
  while count < wanted do
    assert(luws.gettime() < deadline, "not told in time")
    reactor.step(1)
  end
end

local function say(i, what)
  assert(instances[1 + i % 2].wssend(conns[i], 1, ("thread %d round %d %d %s"):format(thread, round, i, what)))
end

for i = 1, 6 do
  conns[i] = assert(instances[1 + i % 2].wsopen(url, function(conn, _, data)
    count, told[i] = count + 1, conn == conns[i] and data
  end, { wait = false, close_timeout = 10, open_handler = function() say(i, "first") end }))
end
until_told(6)

return function()
  for i = 1, 6 do
    assert(told[i] == ("thread %d round %d %d first"):format(thread, round, i), "another answer than to this message")
    say(i, "later")
  end
  until_told(12)
  -- One is closed, one lingers, and the others stay open, one of them with an answer on its way.
  conns[1]:close()
  luws.wsclose(conns[2])
  assert(luws.wswait(conns[2], 10) and conns[2].was_clean)
  say(3, "last")
end
]]

describe("Lua states on several threads", function()
  local folder

  --- Runs a command. Returns what it printed (both streams), and its status.
  local function run(command)
    local pipe = assert(io.popen(command .. " 2>&1 </dev/null; echo \"status $?\""))
    local output, status = pipe:read("*a"):match "^(.*)status (%d+)\n$"
    pipe:close()
    return output, tonumber(status)
  end

  --- Runs a program in the host, with `keep` or `pass`. Returns what it printed, and its status.
  local function host(program, mode, threads, rounds, ...)
    local file = assert(io.open(folder .. "/program.lua", "w"))
    file:write(program)
    file:close()
    -- Reading the system's certificates in each state would take most of the time, and they are not used.
    local command = ("SSL_CERT_FILE=/dev/null %s/threads %s/program.lua "):format(folder, folder)
    return run(command .. table.concat({ mode, threads, rounds, ... }, " "))
  end

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
    local source = debug.getinfo(1, "S").source:match "^@(.*)threads_spec%.lua$" .. "support/threads.c"
    local library = rawget(_G, "jit") and "luajit" or _VERSION:lower():gsub(" ", "")
    local said, status = run(("cc -O1 -Wall -Wextra -pthread -o %s/threads %s $(pkg-config --cflags --libs %s)")
      :format(folder, source, library))
    assert(status == 0, "the host cannot be built (scripts/setup.sh installs what it needs): " .. said)
  end)

  teardown(function() os.execute("rm -r " .. folder) end)

  for _, case in ipairs {
    { "keep", "work at the same time, and leave nothing behind, not even of connections that are open" },
    { "pass", "may each be used and closed by another thread than the one that made them" },
  } do
    local mode, promise = unpack(case)
    it(promise, function()
      local output, status = host(PROGRAM, mode, THREADS, ROUNDS, servers.ca_file(),
        servers.url("demo", "ws", "/echo"), servers.url("demo", "wss", "/echo"))
      local before = output:match "descriptors (%d+)" or "?"
      assert.equal(("states %d\ndescriptors %s %s\n"):format(STATES, before, before), output)
      assert.equal(0, status)
    end)
  end

  for _, mode in ipairs { "keep", "pass" } do
    it("have each a reactor of its own, which may be another thread's from then on: " .. mode, function()
      local output, status = host(DRIVEN, mode, THREADS, 2, servers.url("demo", "ws", "/echo"))
      assert.matches(("^states %d\ndescriptors (%%d+) %%1\n$"):format(2 * THREADS), output)
      assert.equal(0, status)
    end)
  end

  describe("run in a host that reports", function()
    for _, case in ipairs {
      { "an error of a state", "keep", 2, 2, [[
        local thread, round = ...
        assert(thread == 1 or round == 1, "on purpose")
      ]], "^thread 2, round 2, at first: [^\n]*on purpose\nstates 3\ndescriptors (%d+) %1\n$" },
      { "an error in another thread", "pass", 2, 1, [[
        local thread = ...
        return function() assert(thread == 1, "on purpose") end
      ]], "^thread 2, round 1, passed on: [^\n]*on purpose\nstates 1\ndescriptors (%d+) %1\n$" },
      { "a descriptor that a state left open", "keep", 1, 1, [[
        debug.setmetatable(io.open "/dev/null", nil) -- removes its finaliser
      ]], "^states 1\ndescriptors %d+ %d+\n$" },
    } do
      local what, mode, threads, rounds, program, expected = unpack(case)
      it(what, function()
        local output, status = host(program, mode, threads, rounds)
        assert.matches(expected, output)
        assert.equal(1, status)
      end)
    end
  end)
end)
