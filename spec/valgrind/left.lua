-- What everything.lua leaves to the closing of its Lua state: connections in each state, of several instances, with
-- finalisers that use them then; threads that have not come back; and dropped ones, for the collector.

local luws = require "luws"
local reactor = require "luws.reactor"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"
local socket = require "socket"

local new_proxy = rawget(_G, "newproxy") or function() return setmetatable({}, { __gc = true }) end

--- Returns a value that calls f when it is collected.
local function finaliser(f)
  local proxy = new_proxy(true)
  getmetatable(proxy).__gc = f
  return proxy
end

--- Uses a connection in all ways.
local function use(l, conn)
  l.wsreceive(conn)
  l.wssend(conn, 1, "at the end")
  l.wswait(conn, 0.001)
  l.wshandleincoming("\129\1y", conn)
  l.wsreset(conn)
  l.wsclose(conn)
  pcall(l.wsopen, "ws://a\1b/")
  pcall(reactor.step, 0)
  l.wsopen "ws://127.0.0.1:1/" -- what this makes has no finalisers any more
  l.wsopen(conn.proto .. "://" .. conn.ip .. ":" .. conn.port .. conn.path, nil, { ssl_verify = "none" })
end

local function open(l, scheme, options)
  options.ssl_verify = scheme == "wss" and "none" or nil
  options.close_timeout = 0.2
  return assert(l.wsopen(servers.url("demo", scheme, "/echo"), function() end, options))
end

return function()
  local left = {}
  local function keep(...)
    for i = 1, select("#", ...) do left[#left + 1] = (select(i, ...)) end
  end
  for _, l in ipairs { luws, luws.instance "one", luws.instance "two" } do
    l.debug_mode = l ~= luws
    for _, scheme in ipairs { "ws", "wss" } do
      local conn = open(l, scheme, { deflate = true })
      keep(conn, finaliser(function() use(l, conn) end))
      keep(open(l, scheme, { coalesce = true }))
      assert(l.wssend(left[#left], 1, "gathered"))
      local deaf = assert(l.wsopen(
        scripted.peer { tls = scheme == "wss", receive_buffer = 4096, { "upgrade" }, { "wait" } }.url, nil,
        { send_timeout = 0, close_timeout = 0.2 }))
      assert(l.wssend(deaf, 2, ("x"):rep(2 ^ 23)))
      keep(deaf)
      keep(open(l, scheme, { wait = false })) -- it is still opening
      keep(open(l, scheme, {})) -- the reactor's
      assert(reactor.add(left[#left]))
      luws.wsclose(open(l, scheme, {})) -- it lingers
      assert(l.wshandleincoming("\2\3abc", (open(l, scheme, {})))) -- in a message; dropped
    end
    keep(open(l, "ws", { connect = function(host, port) return socket.connect(host, port) end }))
    assert(l.wsopen("ws://localhost:1/", nil, { wait = false })) -- a look-up is on its way
  end
  -- A coroutine that is in the middle of a message, and one in a sink.
  local conn = open(luws, "ws", {})
  local sender = coroutine.create(function() luws.wssend(conn, 2, function() coroutine.yield() end) end)
  assert(coroutine.resume(sender))
  local other = open(luws, "ws", { sink = function() return function() coroutine.yield() end end })
  local receiver = coroutine.create(function()
    luws.wshandleincoming("\2\3abc", other)
  end)
  assert(coroutine.resume(receiver))
  keep(conn, sender, other, receiver, finaliser(function() error "in the last finaliser" end))
  reactor.after(1000, function() end)
  -- Many that nobody closes, found by the collector.
  for _ = 1, 20 do
    finaliser(function() pcall(use, luws, conn) end)
    open(luws, "ws", {})
  end
  collectgarbage()
  collectgarbage()
  return left
end
