-- Errors that a debug hook raises at every instruction of a call into luws, as hooks that limit a script and Ctrl-C do.
-- Wherever that is, each message is sent and received exactly once and in order, or the connection is over and
-- reports "interrupted", once; and the peer is never blamed.
--
-- Ctrl-C while something waits is in hosts_spec.lua.

local interpreted = require "spec.support.interpreted"
local log = require "spec.support.log"
local luws = require "luws"
local memory_socket = require "spec.support.memory_socket"
local poll = require "spec.support.poll"
local servers = require "spec.support.servers"
local socket = require "socket"
local world = require "spec.support.world"

local IS_FULL = os.getenv "LUWS_FAULTS" == "all"

local END = { false, "receiver error: interrupted" }

describe("a debug hook that raises an error at any instruction of", function()
  local told -- what the handler was told, call by call

  local function handler(_, ...) told[#told + 1] = { ... } end

  before_each(function()
    log.start()
    interpreted.begin()
  end)

  after_each(function()
    interpreted.finish()
    log.stop()
  end)

  --- Returns whether the hook's caller is the driver. An error in handlers, sockets and peers (and the wire in memory,
  -- which belongs to them) would be their own.
  local function is_in_driver()
    local source = debug.getinfo(3, "S").source
    return source:find "^@luws/" and not source:find("memory", 1, true)
  end

  --- Returns the data of the messages that the peer has received.
  local function messages_at(peer)
    local data = {}
    for _, event in ipairs(peer.events) do
      if event[1] == 1 then data[#data + 1] = event[2] end
      assert(event[1] ~= 8, "the peer got a close frame: " .. tostring(event[2]))
    end
    assert(not peer.failure, peer.failure)
    return data
  end

  -- Each opens a connection in a world; with whether it uses the user's own socket.
  local ROUTES = {
    { "a wire in memory", function(w) return w:open(nil, { close_timeout = 0 }, handler) end },
    { "a socket of the user's", function(w)
      local peer = w:peer()
      local own = memory_socket.new(nil, w, peer)
      local options = { connect = function() return own end }
      return assert(w.luws.wsopen("ws://peer.test/", handler, options)), peer
    end, true },
  }

  -- The coroutine survives the error, like one that catches errors itself. There, only every few instructions are
  -- tried, except with LUWS_FAULTS=all (make faults).
  local PLACES = {
    { "the main coroutine", function(f) return f() end, step = 1, least = 30 },
    { "another coroutine", function(f) return coroutine.wrap(f)() end, step = IS_FULL and 1 or 5, least = 6 },
  }

  --- Checks that the handler was given all of these messages, or the first of them and the end. Returns whether the
  -- connection is alive.
  local function check_told(l, conn, expected, at, has_socket, has_source)
    local more, why
    repeat more, why = l.wsreceive(conn) until not more
    if more == false then
      for i, data in ipairs(expected) do expected[i] = { 1, data } end
      assert.same(expected, told, at)
      assert.is_true(conn.connected)
      return true
    end
    -- A message that cannot be finished because the socket has failed: wssend reported it and closed the connection.
    if has_socket and has_source and why == "not connected" then
      assert.same({}, told, at)
      return false
    end
    -- An error raised during a method of the user's socket is taken for that socket's own error.
    if not (has_socket and why == "too long") then assert.same({ nil, "interrupted" }, { more, why }, at) end
    assert.same({ false, "receiver error: " .. why }, told[#told], at)
    assert.is_true(#told <= #expected + 1, at)
    for i = 1, #told - 1 do assert.same({ 1, expected[i] }, told[i], at) end
    assert.same({ nil, why }, { l.wsreceive(conn) }, at)
    assert.is_false(conn.connected)
    return false
  end

  -- name; the call, which may send messages (and returns them); what the peer sends before it
  local CALLS = {
    { "wssend", function(l, conn, n) l.wssend(conn, 1, "sent " .. n) end, sends = true },
    { "wsreceive with nothing to receive", function(l, conn) l.wsreceive(conn) end },
    { "wsreceive with messages to receive", function(l, conn) l.wsreceive(conn) end, receives = true },
    -- After its wait a socket of the user's has one byte more, and the connection has one.
    { "wswait and wsreceive", function(l, conn)
      l.wswait(conn, 0.01)
      l.wsreceive(conn)
    end, receives = true },
    { "wssend and wsreceive", function(l, conn, n)
      l.wssend(conn, 1, "sent " .. n)
      l.wsreceive(conn)
    end, sends = true, receives = true },
    { "wssend of a source", function(l, conn, n)
      local chunks, i = { "sent ", tostring(n) }, 0
      l.wssend(conn, 1, function()
        i = i + 1
        return chunks[i]
      end)
    end, sends = true, has_source = true },
    { "wshandleincoming", function(l, conn) l.wshandleincoming("\129\4last", conn) end, injects = true },
  }

  for _, call in ipairs(CALLS) do
    for _, route in ipairs(ROUTES) do
      for _, place in ipairs(PLACES) do
        it(("%s loses and duplicates nothing: %s, in %s"):format(call[1], route[1], place[1]), function()
          local alive, over, n, raised, passed = 0, 0, 0, nil, 0
          local w = world.new()
          local l = w.luws
          place[2](function()
            repeat
              n = n + place.step + passed
              local conn, peer = route[2](w)
              told, peer.events = {}, {}
              local expected = {}
              if call.receives then
                for i = 1, 3 do
                  expected[i] = ("come %d.%d"):format(n, i)
                  peer:send(1, expected[i])
                end
              end
              raised, passed = interpreted.interrupt(n, function() call[2](l, conn, n) end, is_in_driver)
              local at = "interrupted at instruction " .. n

              -- An event loop calls `dirty` for what the descriptor does not show (and a user's socket may hide).
              for _ = 1, 20 do
                if conn:dirty() then l.wsreceive(conn) end
              end
              if conn.connected and not route[3] and not call.injects then assert.equal(#expected, #told, at) end

              local later = l.wssend(conn, 1, "later")
              peer:send(1, "more")
              expected[#expected + 1] = "more"
              repeat local more = l.wsreceive(conn) until not more
              -- Injected data is there or not, but not twice.
              if call.injects and told[1] and told[1][2] == "last" then table.remove(told, 1) end
              local is_alive = check_told(l, conn, expected, at, route[3], call.has_source)
              if is_alive then alive = alive + 1 else over = over + 1 end

              peer:advance()
              local got = messages_at(peer)
              if got[1] == "sent " .. n then table.remove(got, 1) end
              assert.same(later and { "later" } or {}, got, at)
              assert.is_true(later or not is_alive, at)
              l.wsclose(conn)
            until not raised
          end)
          assert.is_true(alive >= place.least, ("%d alive, %d over"):format(alive, over))
          -- Bytes can be lost between a user's socket and the session.
          if route[3] and not call.injects then assert.is_true(over > 0) end
        end)
      end
    end
  end

  for _, place in ipairs(PLACES) do
    for name, connect in pairs {
      ["a socket of ours"] = false,
      ["a socket of LuaSocket"] = function(host, port) return socket.connect(host, port) end,
    } do
      it(("wssend and wsreceive lets each echo arrive once: %s, in %s"):format(name, place[1]), function()
        local over, n, raised, passed, points = 0, 0, nil, 0, 0
        place[2](function()
          local conn
          repeat
            n, points = n + 1 + passed, points + 1
            told = {}
            if not (conn and conn.connected) then
              conn = assert(luws.wsopen(servers.url("demo", "ws", "/echo"), handler,
                { connect = connect or nil, close_timeout = 0 }))
            end
            raised, passed = interpreted.interrupt(n, function()
              luws.wssend(conn, 1, "first")
              luws.wsreceive(conn)
            end, is_in_driver)
            local later = luws.wssend(conn, 1, "later")
            local function is_there() return told[1] and (told[#told][2] == "later" or not told[#told][1]) end
            poll(luws, conn, is_there)
            if told[1] and told[1][2] == "first" then table.remove(told, 1) end
            if conn.connected then
              assert.is_true(later)
              assert.same({ { 1, "later" } }, told)
            else
              over = over + 1
              local own = { false, "receiver error: too long" } -- an error in a method of the socket
              assert.same({ connect and told[1][2] == own[2] and own or END }, told)
              luws.wsclose(conn)
            end
          until not raised
          luws.wsclose(conn)
        end)
        assert.is_true(points > 10 and over < points / 2, ("%d points, %d ended"):format(points, over))
      end)
    end
  end
end)
