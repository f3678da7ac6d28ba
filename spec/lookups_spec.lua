-- Look-ups of names in real threads, where the name server does not answer. The engine's own tests (src/net/resolve.rs)
-- hold what they share and what follows when.

local odd_host = require "spec.support.odd_host"
local servers = require "spec.support.servers"

--- Runs a program whose `open(name, seconds)` gives what wsopen says of that host. Names that begin with "dead" get no
-- answer until odd.end_look_ups(); `begin(name)` has such a look-up going on.
local function run(program, environment)
  local output, status = odd_host.run {
    environment = environment,
    input = [[
      local port = (...):match ":(%d+)"
      local luws = require "luws"
      local function open(name, seconds)
        local conn, why = luws.wsopen("ws://" .. name .. ":" .. port .. "/echo", nil, { connect_timeout = seconds })
        return conn and "open" or why:gsub(":%d+", "")
      end
      local function begin(name)
        local before, deadline = odd.look_ups(), luws.gettime() + 10
        repeat open(name, 0.01) until odd.look_ups() > before or luws.gettime() > deadline
      end
      local function until_threads(count)
        local deadline = luws.gettime() + 10
        repeat luws.sleep(0.001) until status "Threads" == count or luws.gettime() > deadline
        return status "Threads"
      end
    ]] .. program,
    servers.url("demo", "ws", "/echo"),
  }
  assert.equal(0, status, output)
  return output
end

describe("look-ups that get no answer", function()
  it("take 16 threads at most, and none once they have ended", function()
    assert.equal("17\t16\n1\t16\topen\n", (run [[
      for i = 1, 16 do begin("dead" .. i) end
      local most = 0
      for i = 17, 300 do
        open("dead" .. i, 0)
        most = math.max(most, status "Threads")
      end
      print(most, odd.look_ups())
      odd.end_look_ups()
      print(until_threads(1), odd.look_ups(), (open("localhost", 10)))
    ]]))
  end)

  it("of one name take one thread, however often it is tried", function()
    assert.equal("2\t1\n", (run [[
      begin "dead"
      for _ = 1, 300 do open("dead", 0) end
      print(status "Threads", odd.look_ups())
    ]]))
  end)

  it("make others wait for their turn, and the error says so if it does not come in time", function()
    assert.equal("Connection to dead1 failed: timeout\n"
      .. "Connection to localhost failed: timeout; too many name look-ups are waiting\nopen\n", (run [[
        for i = 1, 16 do begin("dead" .. i) end
        print((open("dead1", 0.01)))
        print((open("localhost", 0.01)))
        odd.end_look_ups()
        print((open("localhost", 10)))
      ]]))
  end)

  it("do not keep the program from ending, nor from closing its Lua state", function()
    assert.equal("17\n", (run [[
      for i = 1, 16 do begin("dead" .. i) end
      print(status "Threads")
    ]]))
  end)

  it("do not keep a forked child from looking names up", function()
    assert.equal("open\n0\n", (run [[
      for i = 1, 16 do begin("dead" .. i) end
      local pid = odd.fork()
      if pid == 0 then
        print((open("localhost", 10)))
        io.stdout:flush()
        odd.exit(0)
      end
      print(odd.wait(pid))
    ]]))
  end)

  it("leave the host's signals to the host's threads", function()
    assert.equal("0\t0\n", (run [[
      begin "dead"
      odd.on_signal(odd.SIGUSR1)
      odd.block(odd.SIGUSR1) -- so that no thread but the look-up's could take it
      odd.kill(odd.pid(), odd.SIGUSR1)
      odd.end_look_ups()
      until_threads(1)
      print(odd.signals())
    ]]))
  end)
end)

it("a name look-up for which no thread can be had fails at once and says so; an address needs none", function()
  assert.equal("Connection to localhost failed: no thread for the name look-up: Resource temporarily unavailable\n"
    .. "true\nopen\n", (run([[
      local before = luws.gettime()
      print((open("localhost", 30)))
      print(luws.gettime() - before < 10)
      print((open("127.0.0.1", 10)))
    ]], "ODD_NO_THREADS=1")))
end)
