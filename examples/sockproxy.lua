--[[
Two ways to use SockProxy, the proxy that notifies a Luup plugin when data arrives: with your own function in the option
`connect`, as LuWS requires, and with the option `sockproxy`.

    lua5.1 examples/sockproxy.lua [URL] [PORT] [DEVICE]

URL is ws://127.0.0.1:8080/echo by default, PORT (2504) is SockProxy's port on this machine, and DEVICE is the number of
the Luup device to notify (none by default). Without SockProxy, both ways connect directly. Needs LuaSocket.
--]]

local luws = require "luws"
local socket = require "socket"

local url, port, device = arg[1] or "ws://127.0.0.1:8080/echo", tonumber(arg[2]) or 2504, tonumber(arg[3])

local SERVICE, ACTION = "urn:example-com:serviceId:WSListener1", "HandleReceive"

-- By hand: returns a socket connected to the server, through SockProxy or directly.
local using_proxy

local function connect_sockproxy(host, host_port)
  using_proxy = false
  local sock = socket.tcp()
  sock:settimeout(10) -- SockProxy takes up to 5 seconds to connect
  local greeting = sock:connect("127.0.0.1", port) and sock:receive("*l")
  if greeting and greeting:match("^OK TOGGLEDBITS%-SOCKPROXY") then
    local notify = device and ("NTFY=%d/%s/%s "):format(device, SERVICE, ACTION) or ""
    sock:send(("CONN %s:%d %sRTIM=0 PACE=0\n"):format(host, host_port, notify))
    local answer = sock:receive("*l")
    if answer and answer:match("^OK CONN") then
      using_proxy = true
      return sock
    end
  end
  sock:close() -- a socket that was connected cannot be connected again
  sock = socket.tcp()
  sock:settimeout(15)
  local ok, err = sock:connect(host, host_port)
  if ok then return sock end
  sock:close()
  return nil, ("Connection to %s:%d failed: %s"):format(host, host_port, err)
end

local by_hand = { connect = connect_sockproxy }

-- Built in: does the same, within wsopen's timeouts. With `required = true` it would fail without SockProxy.
local built_in = {
  sockproxy = { port = port, device = device, service = device and SERVICE, action = ACTION },
}

--- Sends hello, and waits for the answer.
local function try(name, options)
  local answer, failure
  local conn, err = luws.wsopen(url, function(_, opcode, data)
    if opcode == false then failure = data else answer = data end
  end, options)
  if not conn then
    print(name .. ": cannot open " .. url .. ": " .. err)
    return false
  end
  -- conn.proxied knows only about the built-in way.
  local proxied = conn.proxied or options.connect and using_proxy
  print(name .. ": connected " .. (proxied and "through SockProxy" or "directly"))
  luws.wssend(conn, 1, "hello")
  local deadline = luws.gettime() + 5
  while not (answer or failure) and luws.gettime() < deadline do
    luws.wsreceive(conn)
    if not (answer or failure) then luws.wswait(conn, 1) end
  end
  luws.wsclose(conn)
  luws.wswait(conn, 1) -- for the server's answer, which wsclose does not wait for
  print(name .. ": " .. (answer and "received " .. answer or "no answer: " .. (failure or "timeout")))
  return answer ~= nil
end

local first, second = try("by hand", by_hand), try("built in", built_in)
os.exit(first and second and 0 or 1)
