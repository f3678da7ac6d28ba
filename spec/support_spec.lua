-- What the other specs assume about the scripted server: that it sends exactly the bytes of its script, in the
-- writes that the script states, ends connections as stated, and records what came. The client is LuaSocket, not luws.
-- Its TLS is tested in support_tls_spec.lua.

local scripted = require "spec.support.scripted"
local socket = require "socket"

-- RFC 6455 section 1.3 has this key and its hash.
local KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
local REQUEST = "GET /chat?x=1 HTTP/1.1\r\nHost: localhost\r\nSec-WebSocket-Key: " .. KEY
  .. "\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
local RESPONSE = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  .. "Sec-WebSocket-Accept: " .. ACCEPT .. "\r\n\r\n"

local function connect(peer)
  local client = assert(socket.connect(peer.host:gsub("[][]", ""), peer.port))
  client:settimeout(10)
  return client
end

-- Returns what one read yields once there is something to read.
local function one_read(client)
  assert.equal(client, (socket.select({ client }, nil, 10))[1], "nothing to read")
  client:settimeout(0)
  local whole, problem, part = client:receive(65536)
  client:settimeout(10)
  return whole or part, problem
end

local function open(script)
  local peer = scripted.peer(script)
  local client = connect(peer)
  assert(client:send(REQUEST))
  return peer, client
end

describe("scripted.peer", function()
  it("answers the upgrade and records the request", function()
    local peer, client = open { { "upgrade" } }
    assert.equal(RESPONSE, client:receive "*a")
    local seen = peer:result()
    assert.equal(REQUEST, seen.head)
    assert.equal(REQUEST, seen.raw)
    assert.equal("GET /chat?x=1 HTTP/1.1", seen.request_line)
    assert.same({ host = "localhost", ["sec-websocket-key"] = KEY, ["x-a"] = "1, 2" }, seen.headers)
    assert.equal(#RESPONSE, seen.sent)
    assert.is_nil(seen.error)
    assert.is_true(peer:done())
    assert.equal(1, peer:connections())
  end)

  it("sends bytes after the 101 in the same segment", function()
    local tail = "\129\5Hello\0\255\r\n"
    for _ = 1, 20 do -- two segments would not come together each time
      local peer, client = open { { "upgrade", tail = tail }, { "hold" } }
      assert.equal(RESPONSE .. tail, (one_read(client)))
      client:close()
      peer:result()
    end
  end)

  it("splits the response into pieces", function()
    local _, client = open { { "upgrade", pieces = 1 } }
    local first = one_read(client)
    assert.is_true(#first < #RESPONSE) -- one byte, unless the client was late
    assert.equal(RESPONSE, first .. client:receive "*a")
  end)

  local wrong = {
    {
      "a wrong accept", { replace = { ["Sec-WebSocket-Accept"] = "wrong" } },
      function(text) return (text:gsub(ACCEPT:gsub("%p", "%%%0"), "wrong")) end,
    },
    {
      "no Upgrade", { replace = { upgrade = false } },
      function(text) return (text:gsub("Upgrade: websocket\r\n", "")) end,
    },
    {
      "Connection twice", { replace = { connection = { "close", "Upgrade" } } },
      function(text) return (text:gsub("(Connection: )", "%1close\r\n%1")) end,
    },
    {
      "another status and more headers", { status = "HTTP/1.0 200 OK", headers = { "X-B: 3", "junk" } },
      function(text) return (text:gsub("^[^\r]*", "HTTP/1.0 200 OK"):gsub("\r\n\r\n", "\r\nX-B: 3\r\njunk%0")) end,
    },
    { "a response of the spec's own", { response = "<{accept}>" }, function() return "<" .. ACCEPT .. ">" end },
  }
  for _, case in ipairs(wrong) do
    it("answers with " .. case[1], function()
      local step = { "upgrade" }
      for name, value in pairs(case[2]) do
        step[name] = value
      end
      local _, client = open { step }
      assert.equal(case[3](RESPONSE), client:receive "*a")
    end)
  end

  it("records whole and partial frames, and the end of the stream", function()
    local sent = {
      { opcode = 1, fin = false, rsv = 4, payload = "Hel", masked = true, key = "\1\2\3\4" },
      { opcode = 9, fin = true, rsv = 0, payload = "", masked = true, key = "\0\255\0\255" },
      { opcode = 0, fin = true, rsv = 0, payload = ("\0\255x"):rep(300), masked = true, key = "abcd" },
      { opcode = 2, fin = true, rsv = 0, payload = ("y"):rep(65536), masked = false, key = "" },
    }
    local peer, client = open { { "upgrade" }, { "read_frame" }, { "read_to_eof" } }
    local raw = {}
    for i, frame in ipairs(sent) do
      raw[i] = scripted.frame {
        opcode = frame.opcode, fin = frame.fin, rsv = frame.rsv, payload = frame.payload,
        mask = frame.masked and frame.key,
      }
    end
    raw[#raw + 1] = "\129\133ab"
    raw = table.concat(raw)
    assert(client:send(raw))
    assert.equal(RESPONSE, client:receive(#RESPONSE)) -- closing on unread bytes would be a reset
    client:close()
    local seen = peer:result()
    assert.same(sent, seen.frames)
    assert.equal("\129\133ab", seen.rest)
    assert.equal(REQUEST .. raw, seen.raw)
  end)

  it("tells the client's end of the stream from its reset", function()
    local peer, client = open { { "upgrade" }, { "read_to_eof" }, { "send", "late" } }
    assert.equal(RESPONSE, client:receive(#RESPONSE))
    client:shutdown "send"
    assert.equal("late", client:receive "*a")
    local seen = peer:result()
    assert.is_number(seen.eof)
    assert.is_false(seen.reset)

    peer, client = open { { "upgrade" }, { "read_to_eof" } }
    client:receive(#RESPONSE)
    client:setoption("linger", { on = true, timeout = 0 })
    client:close()
    seen = peer:result()
    assert.is_number(seen.reset)
    assert.is_false(seen.eof)
  end)

  it("closes its half: the client's bytes still arrive", function()
    local peer, client = open { { "request" }, { "shutdown" }, { "read_to_eof" } }
    assert.same({ nil, "closed", "" }, { client:receive(1) })
    assert.equal(5, client:send "still")
    assert.equal(8, client:send " sending")
    client:close()
    local seen = peer:result()
    assert.equal("still sending", seen.raw:sub(#REQUEST + 1))
    assert.is_number(seen.eof)
  end)

  it("resets: the client can neither read nor write", function()
    local peer, client = open { { "request" }, { "send", "lost" }, { "reset" } }
    peer:result()
    client:receive(5)
    assert.same({ nil, "closed", 0 }, { client:send "x" })
  end)

  it("closes with a FIN, even if it did not wait for the client's bytes", function()
    local peer, client = open { { "request" }, { "send", "last" }, { "wait" }, { "close" } }
    assert.equal("last", client:receive(4))
    assert(client:send "unread")
    peer:go()
    local seen = peer:result()
    assert.is_nil((client:getoption "error")) -- a RST would be one
    assert.same({ nil, "closed", "" }, { client:receive(1) })
    assert.equal(REQUEST .. "unread", seen.raw)
  end)

  it("sends in pieces, byte by byte, and repeatedly", function()
    local peer, client = open {
      { "read_until", "\r\n" }, { "pieces", "abcde", 2, 0.001 }, { "drip", "fgh", 0.001 },
      { "send", "xy", times = 1000 }, { "read", #REQUEST - #"GET /chat?x=1 HTTP/1.1\r\n" }, { "sleep", 0.001 },
    }
    assert.equal("abcdefgh" .. ("xy"):rep(1000), client:receive "*a")
    assert.is_nil(peer:result().error)
  end)

  it("echoes messages and pings until the time is up or the client closes", function()
    local function masked(opcode, payload) return scripted.frame { opcode = opcode, payload = payload, mask = true } end
    local long = ("x"):rep(70000)
    local sent = masked("text", "a") .. masked("ping", "b") .. masked("pong", "c") .. masked("binary", long)
    local echoed = "\129\1a\138\1b" .. scripted.frame { opcode = "binary", payload = long }
    local peer, client = open { { "upgrade" }, { "echo", 0.05 } }
    assert(client:send(sent))
    assert.equal(RESPONSE .. echoed .. "\136\2\3\233", client:receive(#RESPONSE + #echoed + 4))
    client:close()
    assert.is_nil(peer:result().error)

    peer, client = open { { "upgrade" }, { "echo", 10 } }
    assert(client:send(masked("close", scripted.close_payload(4000))))
    assert.equal(RESPONSE .. "\136\2\15\160", client:receive(#RESPONSE + 4))
    client:close()
    assert.is_nil(peer:result().error)
  end)

  it("waits for the spec, and the spec for a step", function()
    local peer, client = open { { "send", "1" }, { "wait" }, { "send", "2" }, { "hold" } }
    assert.equal("wait", peer:at(2).step_name)
    assert.equal(1, peer:so_far().sent)
    assert.is_false(peer:done())
    peer:go()
    peer:at(4)
    assert.equal("12", client:receive(2))
    client:close()
    assert.is_nil(peer:result().error)
  end)

  it("plays the script to each connection", function()
    local peer = scripted.peer { { "read", 1 }, { "close" } }
    assert.is_nil((peer:so_far()))
    assert.equal(0, peer:connections())
    for i = 1, 3 do
      local client = connect(peer)
      client:send(tostring(i))
      assert.equal(tostring(i), peer:result(i).raw)
    end
    assert.equal(3, peer:connections())
    peer:close()
    assert.same({ nil, "connection refused" }, { socket.connect("127.0.0.1", peer.port) })
  end)

  it("does not read while it waits, so that the client's sends get stuck", function()
    local peer, client = open { { "wait" }, { "read_to_eof" }, receive_buffer = 4096 }
    client:settimeout(0)
    local total, data = 0, ("x"):rep(1000000)
    repeat
      local sent, problem, partly = client:send(data)
      total = total + (sent or partly)
    until problem
    assert.equal("", peer:at(1).raw)
    peer:go()
    client:settimeout(10)
    client:close()
    assert.equal(#REQUEST + total, #peer:result().raw)
  end)

  it("ends a script that gets stuck, and says where", function()
    local peer = open { { "request" }, { "read_frame" }, { "close" }, deadline = 0.05 }
    assert.equal("step 2 (read_frame): the deadline passed", peer:result().error)
    local client
    peer, client = open { { "upgrade" }, { "read_frame" } }
    client:receive(#RESPONSE)
    client:close()
    assert.equal("step 2 (read_frame): the peer ended the stream", peer:result().error)
  end)

  it("reports the spec's own mistakes", function()
    local cases = {
      { { { "sing" } }, "no step is called 'sing'" },
      { { { "send", "x", tims = 2 } }, "step 'send': unknown option 'tims'" },
      { { { "send", "x", "y" } }, "step 'send': unknown option 'value3'" },
      { { { "read" } }, "step 'read': count missing" },
      { { { "upgrade", replace = { Origin = "x" } } }, "no usual header is called origin" },
      { { colour = 1 }, "unknown option 'colour'" },
      { { tls = { colour = "red" } }, "step 'tls': unknown option 'colour'" },
    }
    for _, case in ipairs(cases) do
      local _, problem = pcall(function()
        scripted.peer(case[1])
      end)
      assert.matches("support_spec.lua:%d+: scripted peer: ", problem)
      assert.equal(case[2], problem:match "peer: (.*)")
    end
    local peer = scripted.peer { { "close" } }
    assert.has_error(function() peer:result(1, 0.01) end)
    assert.has_error(function() open({ { "hold" } }):result(1, 0.01) end)
  end)

  it("listens on ::1", function()
    local peer, client = open { { "upgrade" }, address = "::1" }
    assert.equal(("ws://[::1]:%d/"):format(peer.port), peer.url)
    assert.equal(RESPONSE, client:receive "*a")
  end)
end)

describe("ports without a server", function()
  it("refuse", function()
    assert.same({ nil, "connection refused" }, { socket.connect("127.0.0.1", scripted.refused().port) })
  end)

  it("are silent", function()
    local client = socket.tcp()
    client:settimeout(0.2)
    assert.same({ nil, "timeout" }, { client:connect("127.0.0.1", scripted.silent().port) })
  end)
end)

describe("scripted.frame", function()
  local cases = {
    -- RFC 6455 section 5.7
    { { payload = "Hello" }, "\129\5Hello" },
    { { payload = "Hello", mask = "\55\250\33\61" }, "\129\133\55\250\33\61\127\159\77\81\88" },
    { { payload = "Hel", fin = false }, "\1\3Hel" },
    { { opcode = "continuation", payload = "lo" }, "\128\2lo" },
    { { opcode = "ping", payload = "Hello" }, "\137\5Hello" },
    { { opcode = 2, payload = ("x"):rep(256) }, "\130\126\1\0" .. ("x"):rep(256) },
    { { opcode = "binary", payload = ("x"):rep(65536) }, "\130\127\0\0\0\0\0\1\0\0" .. ("x"):rep(65536) },
    -- invalid frames
    { { payload = "Hello", length_form = 16 }, "\129\126\0\5Hello" },
    { { payload = "Hello", length_form = 64 }, "\129\127\0\0\0\0\0\0\0\5Hello" },
    { { length = 2 ^ 63 }, "\129\127\128\0\0\0\0\0\0\0" },
    { { opcode = 11, rsv = 7, length = 3 }, "\251\3" },
    { { opcode = "close", payload = scripted.close_payload(1000, "bye") }, "\136\5\3\232bye" },
  }
  for i, case in ipairs(cases) do
    it("produces the bytes of case " .. i, function()
      assert.equal(case[2], scripted.frame(case[1]))
    end)
  end
end)
