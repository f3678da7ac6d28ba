-- Errors that a debug hook raises in the midst of luws, as programs limit what a script may do, and as Ctrl-C works:
-- what has been caught leaves a connection over a user's socket as it was, or at its end, but never in between.
--
-- The same over a socket of ours is in reentry_spec.lua, Ctrl-C while something waits in hosts_spec.lua.

local log = require "spec.support.log"
local luws = require "luws"
local poll = require "spec.support.poll"
local servers = require "spec.support.servers"
local socket = require "socket"
local sockets = require "spec.support.sockets"

local compiler = rawget(_G, "jit") -- of LuaJIT

describe("an error of a debug hook's in the midst of", function()
  local conn, got

  before_each(function()
    log.start()
    if compiler then -- in what it compiles no hook is called
      compiler.off()
      compiler.flush()
    end
  end)

  after_each(function()
    debug.sethook()
    if compiler then compiler.on() end
    luws.wsclose(conn)
    log.stop()
  end)

  local function open(connect)
    got = {}
    conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), function(_, opcode, data)
      if opcode then got[data] = true end
    end, { connect = connect, close_timeout = 0 }))
  end

  --- Whether an echo comes back. If not, the connection must be over, and say so.
  local function is_alive(text)
    local sent = luws.wssend(conn, 1, text)
    local echoed, more, why = poll(luws, conn, function() return sent and got[text] end)
    if echoed then return true end
    assert.is_nil(more, "neither an echo nor the end behind " .. text)
    assert.equal("string", type(why))
    assert.same({ false, "not connected" }, { luws.wssend(conn, 1, "late") })
    return false
  end

  --- Has an error raised so many instructions further on in f; whether f got there.
  local function interrupt(count, f)
    local raised = false
    pcall(function()
      debug.sethook(function()
        debug.sethook()
        raised = true
        error("too long", 0)
      end, "", count)
      f()
      debug.sethook()
    end)
    return raised
  end

  local CALLS = {
    { "wssend", function() luws.wssend(conn, 1, "interrupted") end },
    { "wsreceive with nothing to receive", function() luws.wsreceive(conn) end },
    -- Behind its wait the socket has one byte more, and the wire has one.
    { "wsreceive with a message to receive", function() luws.wsreceive(conn) end, function()
      luws.wssend(conn, 1, "early")
      luws.wswait(conn, 10)
    end },
    { "wswait", function() luws.wswait(conn, 0) end },
    { "wssend and wsreceive", function()
      luws.wssend(conn, 1, "interrupted")
      luws.wsreceive(conn)
    end },
  }

  local KINDS = {
    { "a socket of LuaSocket", function(host, port) return socket.connect(host, port) end },
    { "a table over one", sockets.connecting {} },
  }

  -- The coroutine lives on behind the error, as one does that catches errors of its own.
  local PLACES = {
    { "the main coroutine", function(f) f() end },
    { "another coroutine", function(f) coroutine.wrap(f)() end },
  }

  for _, call in ipairs(CALLS) do
    for _, kind in ipairs(KINDS) do
      for _, place in ipairs(PLACES) do
        local name, work, before = unpack(call, 1, 3)
        it(("%s leaves it neither deaf nor mute: %s, in %s"):format(name, kind[1], place[1]), function()
          place[2](function()
            open(kind[2])
            local count = 0
            repeat
              count = count + 1
              if before then before() end
              local raised = interrupt(count, work)
              if not is_alive("echo " .. count) then
                luws.wsclose(conn)
                open(kind[2])
              end
            until not raised
            assert.is_true(count > 100, count)
          end)
        end)
      end
    end
  end
end)
