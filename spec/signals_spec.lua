-- Signals that interrupt system calls: alarms, and children that end. A wait lasts until its deadline all the same, and
-- nothing that is sent or received is lost. (Ctrl-C, which ends waits, is in hosts_spec.lua.)

local odd_host = require "spec.support.odd_host"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local unpack = require "spec.support.compat".unpack

-- `timed(f)` prints what f returns, and whether it took WAIT seconds: at least that, and less than the 2 that a wait
-- would take that begins again with each signal.
local PRELUDE = [[
  local url, ca_file = ...
  local luws = require "luws"
  local WAIT = 0.15
  local got = {}
  local function open(options)
    options = options or {}
    options.ssl_verify, options.ssl_cafile = "peer", ca_file
    return luws.wsopen(url, function(_, opcode, data) got[#got + 1] = opcode and data or "lost: " .. data end, options)
  end
  local function timed(f)
    local began = luws.gettime()
    local ok, why = f()
    local took = luws.gettime() - began
    local came = odd.signals()
    print(ok, why and why:gsub(":%d+", ""), took > WAIT - 0.001 and took < 2 and "in time" or took,
      came > 3 and "interrupted" or came)
  end
]]

-- name, the code that has many signals come for half a second, and the code that ends that
local SIGNALS = {
  { "alarms", "odd.on_signal(odd.SIGALRM)  odd.alarms(0.002)", "odd.alarms(0)" },
  { "children that end", [[
    odd.on_signal(odd.SIGCHLD)
    local children = {}
    for i = 1, 100 do
      children[i] = odd.fork()
      if children[i] == 0 then
        luws.sleep(i / 200)
        odd.exit(0)
      end
    end
  ]], "for _, child in ipairs(children) do odd.kill(child, 9) end" },
}

-- name, the peer's script, what to do first, and what takes its time; its result
local CASES = {
  { "sleep", nil, "", "luws.sleep(WAIT) return true", "true" },
  { "wswait", { { "upgrade" }, { "hold" } }, "local conn = assert(open())", "return luws.wswait(conn, WAIT)", "false" },
  {
    "wswait until receive_timeout", { { "upgrade" }, { "hold" } },
    "local conn = assert(open { receive_timeout = WAIT })",
    "assert(luws.wswait(conn, 30)) return luws.wsreceive(conn)", "nil\tmessage timeout",
  },
  {
    "wsopen while the address does not answer", "silent", "", "return open { connect_timeout = WAIT }",
    "false\tConnection to HOST failed: timeout",
  },
  {
    "wsopen while the upgrade is not answered", { { "request" }, { "hold" } }, "",
    "return open { upgrade_timeout = WAIT }", "false\tupgrade failed; timeout",
  },
  {
    "wssend while there is no room", { receive_buffer = 4096, { "upgrade" }, { "wait" } },
    "local conn, data = assert(open { send_timeout = WAIT, close_timeout = 0 }), ('x'):rep(2 ^ 23)",
    "return luws.wssend(conn, 2, data)", "false\tsend error: timeout",
  },
}

local peer

after_each(function()
  if peer then peer:close() end
  peer = nil
end)

local function run(program)
  local output, status = odd_host.run {
    input = PRELUDE:gsub("\n%s*", " ") .. program, peer and peer.url or "none", servers.ca_file(),
  }
  assert.equal(0, status, output)
  return output
end

for _, signals in ipairs(SIGNALS) do
  local source, begin, finish = unpack(signals)
  describe(source .. " do not change how long this takes:", function()
    for _, case in ipairs(CASES) do
      local name, script, before, waiting, result = unpack(case, 1, 5)
      it(name, function()
        if script == "silent" then
          peer = scripted.silent()
        elseif script then
          peer = scripted.peer { receive_buffer = script.receive_buffer, unpack(script) }
        end
        local host = peer and peer.url:match "//([^:]+)" or ""
        local output = run(("%s\n%s\ntimed(function() %s end)\n%s"):format(begin, before, waiting, finish))
        assert.equal(result:gsub("HOST", host) .. (result:find "\t" and "" or "\tnil") .. "\tin time\tinterrupted\n",
          output)
      end)
    end
  end)

  for _, scheme in ipairs { "ws", "wss" } do
    it(("%s lose nothing of what is sent and received: %s"):format(source, scheme), function()
      peer = { url = servers.url("demo", scheme, "/echo"), close = function() end }
      local output = run(begin .. [[
        local conn = assert(open { max_payload_size = 2 ^ 24 })
        local right, deadline = 0, luws.gettime() + 20
        for i = 1, 50 do
          local text = i .. ("x"):rep(i % 5 == 0 and 500000 or 100)
          assert(luws.wssend(conn, 2, text))
          while #got < i and luws.gettime() < deadline do
            luws.wswait(conn, 1)
            luws.wsreceive(conn)
          end
          if got[i] == text then right = right + 1 end
        end
        repeat until odd.signals() > 3 or luws.gettime() > deadline
        print(right, #got, odd.signals() > 3)
      ]] .. finish)
      assert.equal("50\t50\ttrue\n", output)
    end)
  end
end
