-- What devices with servers of their own making do, and a client can take: heads that no other server would send, text
-- in ISO 8859-1. The rules themselves are in spec/vectors.

local world = require "spec.support.world"

local LINE = "HTTP/1.1 101 Switching Protocols\r\n"
local REST = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
local USUAL = LINE .. REST

--- with(name, line): returns the usual head with another line for this header.
local function with(name, line)
  local head, count = USUAL:gsub(name:gsub("%-", "%%-") .. ": [^\r]*\r\n", (line:gsub("%%", "%%%%")))
  assert.equal(1, count)
  return head .. "\r\n"
end

describe("wsopen takes a response", function()
  for name, head in pairs {
    ["without a reason"] = "HTTP/1.1 101\r\n" .. REST .. "\r\n",
    ["with a blank for a reason"] = "HTTP/1.1 101 \r\n" .. REST .. "\r\n",
    ["with a reason of its own"] = "HTTP/1.1 101 Web Socket Protokoll \252bernommen\r\n" .. REST .. "\r\n",
    ["with more blanks in the status line"] = "HTTP/1.1  101   Yes\r\n" .. REST .. "\r\n",
    ["with http in lower case"] = "http/1.1 101 ok\r\n" .. REST .. "\r\n",
    ["after an empty line"] = "\r\n" .. USUAL .. "\r\n",
    ["after empty lines of all kinds"] = "\n\r\n\r\n" .. USUAL .. "\r\n",
    ["after 100 Continue"] = "HTTP/1.1 100 Continue\r\n\r\n" .. USUAL .. "\r\n",
    ["after 103 Early Hints and 102 Processing"] =
      "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102\r\n\r\n" .. USUAL .. "\r\n",
    ["after 100 Continue and an empty line"] = "HTTP/1.1 100\r\n\r\n\r\n" .. USUAL .. "\r\n",
    ["whose blank line is a bare LF"] = USUAL .. "\n",
    ["whose lines end in bare LFs"] = (USUAL .. "\r\n"):gsub("\r", ""),
    ["where one line ends in a bare LF"] = LINE .. "Server: x\n" .. REST .. "\r\n",
    ["with blanks before colons"] = (USUAL .. "\r\n"):gsub(": ", " \t: "),
    ["without blanks after colons"] = (USUAL .. "\r\n"):gsub(": ", ":"),
    ["with folded lines"] = (USUAL .. "\r\n"):gsub(": ", ":\r\n\t"),
    ["with blanks around the accept value"] = with("Sec-WebSocket-Accept", "Sec-WebSocket-Accept: \t {accept} \t\r\n"),
    ["with the names in upper case"] = (USUAL .. "\r\n"):gsub("\n[%w-]+:", string.upper),
    ["with Upgrade: WebSocket"] = with("Upgrade", "Upgrade: WebSocket\r\n"),
    ["with Upgrade twice"] = USUAL .. "Upgrade: websocket\r\n\r\n",
    ["with Connection: keep-alive, Upgrade"] = with("Connection", "Connection: keep-alive, Upgrade\r\n"),
    ["with Connection on two lines"] = USUAL .. "Connection: keep-alive\r\n\r\n",
    ["with the length of a body"] = USUAL .. "Content-Length: 20\r\n\r\n",
    ["with the chunks of a body"] = USUAL .. "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    ["with headers that appear twice"] = USUAL .. "Server: x\r\nServer: x\r\nDate: a\r\ndate: b\r\n\r\n",
    ["with ISO 8859-1 in a header"] = USUAL .. "Server: K\252che\r\n\r\n",
    ["with a header without a value"] = USUAL .. "Server:\r\n\r\n",
    ["with 1,000 headers"] = USUAL .. ("X: y\r\n"):rep(1000) .. "\r\n",
    ["with a cookie of 60,000 bytes"] = USUAL .. "Set-Cookie: a=" .. ("x"):rep(60000) .. "\r\n\r\n",
    ["with an empty list of extensions"] = USUAL .. "Sec-WebSocket-Extensions:\r\n\r\n",
  } do
    it(name .. ", and the message after it", function()
      for _, size in ipairs { #head + 4, #head > 2000 and 999 or 1 } do
        local w = world.new()
        local conn = w:open(w:play { { "upgrade", response = head .. "\129\2hi", pieces = size }, { "hold" } })
        w:receive_all()
        assert.same({ { 1, "hi" } }, w.told)
        assert.is_true(conn.connected)
      end
    end)
  end
end)

describe("wsopen refuses at once", function()
  local OVER = "upgrade failed; the head is over 65536 bytes"
  for name, case in pairs {
    ["a redirect without Location"] =
      { "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "upgrade failed; HTTP/1.1 302 Found" },
    ["status 200, whatever else it says"] =
      { "HTTP/1.1 200 OK\r\n" .. REST .. "Content-Length: 0\r\n\r\n", "upgrade failed; HTTP/1.1 200 OK" },
    ["a refusal whose lines end in bare LFs"] =
      { "HTTP/1.1 404 No\nContent-Length: 0\n\n", "upgrade failed; HTTP/1.1 404 No" },
    ["HTTP/1.0"] = { "HTTP/1.0 101 Yes\r\n" .. REST .. "\r\n", "upgrade failed; the response is not HTTP/1.1" },
    ["HTTP/2"] = { "HTTP/2 400\r\n", 'upgrade failed; the answer is not HTTP: "HTTP/2 400"' },
    ["a radio station"] = { "ICY 200 OK\r\nicy-name: x\r\n", 'upgrade failed; the answer is not HTTP: "ICY 200 OK"' },
    ["SSH"] = { "SSH-2.0-OpenSSH_9.2\r\n", 'upgrade failed; the answer is not HTTP: "SSH-2.0-OpenSSH_9.2"' },
    ["a mail server"] = { "220 mail ESMTP\r\n", 'upgrade failed; the answer is not HTTP: "220 mail ESMTP"' },
    ["a page without a head"] = { "<html>", 'upgrade failed; the answer is not HTTP: "<html>"' },
    ["binary bytes"] = { "\0\255\27[2J", 'upgrade failed; the answer is not HTTP: "\\x00\\xff\\x1b[2J"' },
    ["TLS"] = { "\21\3\3\0\2\2\70", "upgrade failed; the answer is TLS (is it wss?)" },
    ["a status line without a status"] = { "HTTP/1.1 OK\r\n", "upgrade failed; invalid response status" },
    ["binary bytes in the status line"] = { "HTTP/1.1 101 \0\1\2", "upgrade failed; invalid response status" },
    ["a line that is no header"] = { LINE .. "garbage\r\n", "upgrade failed; invalid header name" },
    ["binary bytes in a header"] = { LINE .. "Server: \1\2", "upgrade failed; invalid header value" },
    ["a head without end"] = { LINE .. "Server: " .. ("x"):rep(65536), OVER },
    ["headers without end"] = { LINE .. ("A: b\r\n"):rep(11000), OVER },
    ["empty lines without end"] = { ("\r\n"):rep(33000), OVER },
    ["interim responses without end"] =
      { ("HTTP/1.1 100\r\n\r\n"):rep(5000), "upgrade failed; too many informational responses" },
  } do
    it(name, function()
      local w = world.new()
      w:play { { "upgrade", response = case[1] }, { "hold" } }
      local conn, why = w.luws.wsopen("ws://peer.test/")
      assert.same({ false, case[2], 0 }, { conn, why, w.clock.now() })
    end)
  end
end)

describe("validate_utf8 = false", function()
  local LATIN = "K\252che"
  local DEFLATE = { level = 6, threshold = 0 }

  local function open(options)
    local w = world.new()
    local conn, peer = w:open(w:peer { validate_utf8 = false, deflate = options.deflate }:echo(), options)
    return w, conn, peer
  end

  it("takes text as it came, and sends it as it is: whole, in fragments, from a source, compressed", function()
    for _, options in ipairs { {}, { fragment_size = 2 }, { coalesce = true }, { deflate = DEFLATE } } do
      options.validate_utf8 = false
      local w, conn, peer = open(options)
      local chunks = { "gr\252", "", "n\226\130" }
      assert.is_true(w.luws.wssend(conn, 1, LATIN))
      assert.is_true(w.luws.wssend(conn, 1, function() return table.remove(chunks, 1) end))
      assert.is_true(w.luws.wssend(conn, 1, LATIN:rep(100)))
      assert.is_true(w.luws.wsflush(conn))
      w.luws.wswait(conn, 1)
      w:receive_all()
      assert.same({ { 1, LATIN }, { 1, "gr\252n\226\130" }, { 1, LATIN:rep(100) } }, w.told)
      assert.equal(options.deflate and 4 or 0, peer.frames[#peer.frames].rsv)
    end
  end)

  it("takes and sends the reason of a close frame in the same way", function()
    local w, conn, peer = open { validate_utf8 = false }
    peer:close(4000, LATIN)
    w.luws.wswait(conn, 1)
    w:receive_all()
    assert.same({ 4000, LATIN }, { conn.close_code, conn.close_reason })
    w, conn, peer = open { validate_utf8 = false }
    w.luws.wsclose(conn, 4001, LATIN)
    w.luws.wswait(conn, 1)
    assert.same({ { true, 8, "\15\161" .. LATIN } }, peer:seen())
    w, conn, peer = open { validate_utf8 = false }
    assert.is_true(w.luws.wssend(conn, 8, "\15\161" .. LATIN))
    w.luws.wswait(conn, 1)
    assert.same({ { true, 8, "\15\161" .. LATIN } }, peer:seen())
  end)

  it("is not the default: such text ends the connection, and is not sent", function()
    local w, conn, peer = open {}
    assert.same({ false, "send error: a text message must be valid UTF-8" }, { w.luws.wssend(conn, 1, LATIN) })
    peer:send(1, LATIN)
    w.luws.wswait(conn, 1)
    w:receive_all()
    assert.same({ { false, "text message is not valid UTF-8" } }, w.told)
    assert.equal(1007, conn.close_code_sent)
  end)
end)

describe("allow_long_lengths = true", function()
  local LONG = "\129\126\0\2hi"

  it("takes lengths that are not in their shortest form", function()
    local w = world.new()
    local conn, peer = w:open(nil, { allow_long_lengths = true })
    peer:raw(LONG .. "\137\127\0\0\0\0\0\0\0\1p" .. "\130\127\0\0\0\0\0\0\0\1x")
    w.luws.wswait(conn, 1)
    w:receive_all()
    assert.same({ { 1, "hi" }, { 2, "x" } }, w.told)
    w.luws.wswait(conn, 0)
    w.clock.sleep(0)
    assert.same({ { true, 10, "p" } }, peer:seen())
  end)

  it("is not the default: they end the connection", function()
    local w = world.new()
    local conn, peer = w:open()
    peer:raw(LONG)
    w.luws.wswait(conn, 1)
    w:receive_all()
    assert.same({ { false, "payload length not in its shortest form" } }, w.told)
    assert.equal(1002, conn.close_code_sent)
  end)
end)
