-- luws behind nginx as many servers are: it speaks TLS with us, and hands on to a server that has none.

local cookies = require "luws.cookies"
local luws = require "luws"
local poll = require "spec.support.poll"
local scripted = require "spec.support.scripted"
local servers = require "spec.support.servers"

local CLOSED = "receiver error: closed"
local VERSIONS = { tls12 = "tlsv1_2", tls13 = "tlsv1_3", both = "any" }

--- The path on that server, by way of nginx, where that speaks these versions.
local function behind(versions, port, path)
  return ("wss://localhost:%d/%d%s"):format(servers.start("nginx")[versions], port, path)
end

for versions, word in pairs(VERSIONS) do
  describe("behind nginx with " .. versions .. ",", function()
    local conn, seen

    local function open(path, options)
      seen = {}
      options = options or {}
      options.ssl_verify, options.ssl_cafile, options.close_timeout = "peer", servers.ca_file(), 5
      options.max_payload_size = 2 ^ 21
      local message
      conn, message = luws.wsopen(behind(versions, servers.start("demo").ws, path), function(_, opcode, data)
        seen[#seen + 1] = { opcode, data }
      end, options)
      return conn, message
    end

    --- What nginx provides, or a reason why the spec is pending.
    local function spec(name, body)
      it(name, function()
        local missing = servers.missing "nginx"
        if missing then return pending(missing) end
        body()
      end)
    end

    after_each(function() luws.wsclose(conn) end)

    for _, deflate in ipairs { false, true } do
      spec("messages" .. (deflate and ", compressed" or ""), function()
        assert(open("/echo", { deflate = deflate, ssl_protocol = word }))
        local extensions = conn.response_headers["sec-websocket-extensions"]
        assert.equal(deflate and "permessage-deflate" or nil, extensions and extensions:match "^permessage%-deflate")
        local large = {}
        for i = 1, 2 ^ 16 do large[i] = ("%15d,"):format(i * i) end -- 1 MiB
        for i, message in ipairs {
          { 1, "" }, { 1, "Hello, z\195\164\226\130\172" }, { 2, ("\0\255"):rep(500) }, { 2, table.concat(large) },
          { 1, "and on" },
        } do
          assert.is_true(luws.wssend(conn, message[1], message[2]))
          poll(luws, conn, function() return seen[i] end)
          assert.is_true(#seen == i and seen[i][1] == message[1] and seen[i][2] == message[2], i)
        end
        luws.wsclose(conn, 4002)
        assert.is_true(luws.wswait(conn, 5))
        assert.same({ 4002, true }, { conn.close_code, conn.was_clean })
      end)
    end

    spec("a redirect to what only one user gets, with a cookie", function()
      local jar, ports = cookies.jar(), servers.start "nginx"
      local function wanted(password)
        seen = {}
        local why
        conn, why = luws.wsopen(("wss://localhost:%d/moved/private/%d/echo"):format(ports[versions],
          servers.start("demo").ws), function(_, opcode, data) seen[#seen + 1] = { opcode, data } end,
          { redirects = 1, auth = { user = "me", password = password }, cookies = jar, ssl_verify = "peer",
            ssl_cafile = servers.ca_file(), close_timeout = 5 })
        return conn, why
      end
      assert(wanted "secret")
      assert.equal(("/private/%d/echo"):format(servers.start("demo").ws), conn.path)
      assert.equal("moved=yes", jar:header(("wss://localhost:%d/"):format(ports[versions])))
      assert(luws.wssend(conn, 1, "Hello"))
      poll(luws, conn, function() return seen[1] end)
      assert.same({ { 1, "Hello" } }, seen)
      luws.wsclose(conn)
      local result, why = wanted "wrong"
      assert.is_false(result)
      assert.matches("^upgrade failed; HTTP/1.1 401 Unauthorized %(redirected to wss://localhost:", why)
    end)

    spec("the server's close frame", function()
      assert(open "/close?code=4001&reason=going,+going")
      local _, more, why = poll(luws, conn)
      assert.same({ nil, "closed" }, { more, why })
      assert.same({ { false, CLOSED } }, seen)
      assert.same({ 4001, "going, going", true }, { conn.close_code, conn.close_reason, conn.was_clean })
    end)

    spec("a server that sends much more than one reads at a time", function()
      assert(open("/flood?size=3000&count=700", { receive_chunk_size = 1000 }))
      poll(luws, conn)
      assert.equal(701, #seen)
      for i = 1, 700 do assert.is_true(#seen[i][2] == 3000) end
      assert.same({ 1000, true }, { conn.close_code, conn.was_clean })
    end)

    spec("a server that vanishes, and one that was never there", function()
      local peer = scripted.peer { { "upgrade" }, { "send", "\129\4last\129\10half" }, { "close" } }
      seen = {}
      conn = assert(luws.wsopen(behind(versions, peer.port, "/"), function(_, ...) seen[#seen + 1] = { ... } end))
      poll(luws, conn)
      assert.same({ { 1, "last" }, { false, CLOSED } }, seen)
      assert.same({ 1006, false }, { conn.close_code, conn.was_clean })
      peer:close()
      local result, message, response = luws.wsopen(behind(versions, scripted.refused().port, "/"))
      assert.same({ false, "upgrade failed; HTTP/1.1 502 Bad Gateway" }, { result, message })
      assert.equal(502, response.status)
      assert.matches("nginx", response.headers.server)
    end)

    spec("the other version of TLS alone, and none at all", function()
      local other = ({ tls12 = "tlsv1_3", tls13 = "tlsv1_2" })[versions]
      if other then
        local result, message = open("/echo", { ssl_protocol = other })
        assert.is_false(result)
        assert.matches("^Failed SSL negotation: .*protocol version", message)
      end
      local url = behind(versions, servers.start("demo").ws, "/echo"):gsub("^wss", "ws")
      local result, message, response = luws.wsopen(url)
      assert.same({ false, "upgrade failed; HTTP/1.1 400 Bad Request" }, { result, message })
      assert.matches("plain HTTP request was sent to HTTPS port", response.body)
    end)
  end)
end
