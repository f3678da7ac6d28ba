-- Clients by other authors against a server of luws: over ws, over wss, and with nginx before it, as it is put there.

local luws = require "luws"
local server = require "luws.server"
local servers = require "spec.support.servers"
local serving = require "spec.support.serving"
local unpack = require "spec.support.compat".unpack

after_each(serving.over)

local CA = servers.ca_file()
local CERTIFICATE, KEY = servers.certificate()

-- What is sent to whoever asks for /many: 10 MB, ten times as much as may wait for one client.
local MANY = 1000
local function piece(i) return ("%4d"):format(i) .. ("x"):rep(9996) end

--- go_on(conn): sends what there is room for.
local function go_on(conn)
  while conn.sent < MANY do
    if not luws.wssend(conn, 2, piece(conn.sent)) then return end
    conn.sent = conn.sent + 1
  end
  luws.wsclose(conn, 4002, "done")
end

--- Starts the server that the clients talk to, over ws and wss; those of nginx are taken at their word. Returns it, and
-- the addresses of its clients.
local function start()
  local remotes = {}
  return serving.start {
    listeners = { { port = 0, tls = false }, { port = 0 } }, ssl_certificate = CERTIFICATE, ssl_key = KEY,
    subprotocols = { "echo" }, deflate = { server_no_context_takeover = true }, max_payload_size = 2000000,
    trusted_proxies = "127.0.0.1",
    on_request = function(request)
      if request.path == "/secret" then return { status = 403, body = "not for " .. tostring(request.remote) } end
    end,
    on_open = function(conn)
      remotes[conn.remote] = (remotes[conn.remote] or 0) + 1
      conn.sent = 0
      if conn.path == "/many" then go_on(conn) end
    end,
    on_drain = go_on,
    on_message = function(conn, opcode, data) luws.wssend(conn, opcode, data) end,
  }, remotes
end

local CLIENTS = {
  { "Python's websockets", "build/interop/venv/bin/python", "spec/interop/websockets_client.py" },
  { "npm's ws", "node", "spec/interop/ws_client.js" },
}

local SESSION = [[
open echo permessage-deflate
messages
fragments, and a pong
closed 4001
open echo
messages
fragments, and a pong
closed 4001
many 76b37aa4
the server closes 4002 done
refused 403 not for 127.0.0.2
]]

for _, client in ipairs(CLIENTS) do
  describe(client[1] .. ", as a client,", function()
    it("is understood over ws, over wss, and through nginx", function()
      local s, remotes = start()
      local plain, secure = s.srv:addresses()[1].port, s.srv:addresses()[2].port
      local said, status = serving.run(client[2], client[3], CA, ("ws://127.0.0.1:%d/"):format(plain),
        ("wss://localhost:%d/"):format(secure), ("wss://localhost:%d/%d/"):format(servers.start "nginx".tls13, plain))
      assert.same({ SESSION:rep(3), 0 }, { said, status })
      assert.same({ ["127.0.0.2"] = 9 }, remotes)
      local ends = {}
      for _, event in ipairs(s.events) do
        if type(event[1]) == "number" and event[1] > 999 then ends[event[1]] = (ends[event[1]] or 0) + 1 end
      end
      assert.same({ [4001] = 6, [4002] = 3 }, ends)
      assert.equal(0, s.srv:count())
    end)
  end)
end

describe("curl", function()
  local body = os.tmpname()
  local file = assert(io.open(body, "w"))
  file:write(("0123456789"):rep(20000))
  file:close()

  it("gets the plain responses of a server, and sends it bodies", function()
    local path = os.tmpname()
    os.remove(path)
    local s = serving.start {
      listeners = { { port = 0, tls = false }, { port = 0 }, { unix = path, tls = false } },
      ssl_certificate = CERTIFICATE, ssl_key = KEY, trusted_proxies = "unix",
      methods = { "GET", "HEAD", "POST" }, max_body = 200000,
      on_request = function(request)
        if request.path == "/ws" then return nil end
        if request.path == "/file" then return server.file("spec/interop", "/package.json") end
        return { body = ("%s %s %s %d\n"):format(request.method, request.path, request.remote, #(request.body or "")) }
      end,
    }
    local port, secure = s.srv:addresses()[1].port, s.srv:addresses()[2].port
    local base = ("http://127.0.0.1:%d"):format(port)
    local counted = "%{num_connects} %{http_code}\n"
    for _, case in ipairs {
      { { base .. "/a?b" }, "GET /a 127.0.0.1 0\n1 200\n" },
      { { base .. "/a", base .. "/b" }, "GET /a 127.0.0.1 0\n1 200\nGET /b 127.0.0.1 0\n0 200\n" }, -- kept
      { { "--head", "-o", "/dev/null", base .. "/" }, "1 200\n" },
      { { "-X", "DELETE", base .. "/" }, "the method is not allowed\n1 405\n" },
      { { base .. "/ws" }, "not a WebSocket upgrade\n1 426\n" },
      { { "--http2", base .. "/" }, "GET / 127.0.0.1 0\n1 200\n" }, -- it offers another upgrade
      { { "-0", base .. "/" }, "the HTTP version is not 1.1\n1 505\n" },
      { { "-d", "a=b", base .. "/" }, "POST / 127.0.0.1 3\n1 200\n" },
      { { "--data-binary", "@" .. body, base .. "/" }, "POST / 127.0.0.1 200000\n1 200\n" }, -- it expects 100
      { { "-H", "Transfer-Encoding: chunked", "--data-binary", "@" .. body, base .. "/" },
        "POST / 127.0.0.1 200000\n1 200\n" },
      { { "-d", "@" .. body, "-d", "x", base .. "/" }, "the body is over 200000 bytes\n1 413\n" },
      { { "--cacert", CA, ("https://localhost:%d/"):format(secure) }, "GET / 127.0.0.1 0\n1 200\n" },
      { { "--unix-socket", path, "-H", "X-Forwarded-For: 192.0.2.1", "http://h/" }, "GET / 192.0.2.1 0\n1 200\n" },
      { { "-o", "/dev/null", base .. "/file" }, "1 200\n" },
    } do
      assert.same({ case[2], 0 }, { serving.run("curl", "-sS", "-w", counted, unpack(case[1])) })
    end
  end)
end)
