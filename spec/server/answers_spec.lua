-- What programs answer with, right or wrong, and how long a connection is kept for the next request, in worlds of
-- luws.mock.

local files = require "spec.support.files"
local log = require "spec.support.log"
local luws = require "luws"
local mock = require "luws.mock"
local server = require "luws.server"
local serving = require "spec.support.serving"

local request, status, upgrade = serving.request, serving.status, serving.upgrade

local net
before_each(function() net = mock.net() end)
after_each(log.stop)

--- Returns a server in this world.
local function listen(options)
  options.port, options.reactor = 80, net.reactor
  return assert(server.listen(options))
end

--- Returns a raw socket that has sent these bytes.
local function dial(bytes)
  local raw = net.connect("localhost", 80)
  raw:send(bytes)
  net:run()
  raw:settimeout(0)
  return raw
end

--- Returns all that has come to a raw socket, and whether it has ended.
local function read(raw)
  local data, why, part = raw:receive(1000000)
  return data or part or "", why == "closed"
end

--- Returns the response to a request after which the connection ends.
local function ask(line) return (read(dial(request(line, "Connection: close")))) end

describe("a header that a program gives", function()
  local WRONG = { "a\nb", "a\rb", "a\0b", "a\r\n\r\nb", "\n" }

  it("has no control characters: in a response, which becomes a 500", function()
    local value
    listen { on_request = function() return { headers = { ["X-A"] = value } } end }
    for _, wrong in ipairs(WRONG) do
      for _, given in ipairs { wrong, { "fine", wrong } } do
        value = given
        local texts = log.capture(function() assert.equal(500, status(ask "GET / HTTP/1.1")) end)
        assert.same({
          'luws: the response to a request for "/" is not valid: the value of header X-A has a control character in it',
        }, texts)
      end
    end
  end)

  it("has none in the 101, nor is it the server's own: from a function, a 500", function()
    local given
    listen { response_headers = function() return given end }
    for _, case in ipairs {
      { { ["X-A"] = "a\nb" }, "the value of header X-A has a control character in it" },
      { { ["X-A"] = "a\0" }, "the value of header X-A has a control character in it" },
      { { ["X\nA"] = "a" }, "is not a token" },
      { { ["Sec-WebSocket-Accept"] = "a" }, "header Sec-WebSocket-Accept is the server's to send" },
      { "X-A: a", "table expected, got string" },
      { false, "table expected, got boolean" },
    } do
      given = case[1]
      local texts = log.capture(function() assert.equal(500, status(read(dial(upgrade "/")))) end)
      assert.is_truthy(texts[1]:find("the headers of a response are not valid: .*" .. case[2]:gsub("%p", "%%%0")),
        texts[1])
    end
    given = nil
    assert.equal(101, status(read(dial(upgrade "/"))))
  end)

  it("has none in the options of accept, all of which are checked, and then the request still waits", function()
    local asked
    listen {
      on_request = function(one)
        asked = one
        return server.later
      end,
    }
    local raw = dial(upgrade("/", "Sec-WebSocket-Protocol: a"))
    for _, case in ipairs {
      { 3, "bad argument #1 to 'accept' (table expected, got number)" },
      { { headers = { ["X-A"] = "a\nb" } },
        "bad option 'accept' (headers: the value of header X-A has a control character in it)" },
      { { headers = { Upgrade = "a" } }, "bad option 'accept' (headers: header Upgrade is the server's to send)" },
      { { headers = "X-A: a" }, "bad option 'accept' (headers: table expected, got string)" },
      { { subprotocol = 3 }, "bad option 'accept' (subprotocol: string expected, got number)" },
      { { on_fail = 3 }, "bad option 'accept' (on_fail: function expected, got number)" },
      { { subprotcol = "a" }, "bad option 'accept' (subprotcol: unknown)" },
    } do
      assert.same({ nil, case[2] }, { asked:accept(case[1]) })
    end
    assert.is_true(asked:accept { subprotocol = "a", headers = { ["X-A"] = { "1", 2 } } })
    net:run()
    local reply = read(raw)
    assert.equal(101, status(reply))
    assert.is_truthy(reply:find("Sec-WebSocket-Protocol: a\r\nX-A: 1\r\nX-A: 2\r\n", 1, true), reply)
  end)
end)

it("a response that has no body is not given one, which would be read as the next response", function()
  local response
  listen { on_request = function() return response end }
  for _, code in ipairs { 204, 304 } do
    response = { status = code }
    local reply = ask "GET / HTTP/1.1"
    assert.same({ code, "" }, { status(reply), reply:match "\r\n\r\n(.*)$" })
    response = { status = code, body = "HTTP/1.1 200 OK\r\n\r\n" }
    local texts = log.capture(function() assert.equal(500, status(ask "GET / HTTP/1.1")) end)
    assert.same({
      ('luws: the response to a request for "/" is not valid: a response of status %d has no body'):format(code),
    }, texts)
  end
end)

it("server.later is no response: from on_head, or given to refuse, it becomes a 500", function()
  local asked
  listen {
    on_head = function(one) return one.path == "/head" and server.later or nil end,
    on_request = function(one)
      asked = one
      return server.later
    end,
  }
  local texts = log.capture(function()
    assert.equal(500, status(ask "GET /head HTTP/1.1"))
    local raw = dial(request "GET / HTTP/1.1")
    asked:refuse(server.later)
    net:run()
    assert.equal(500, status(read(raw)))
  end)
  for i, target in ipairs { "/head", "/" } do
    assert.equal(('luws: the response to a request for "%s" is not valid: only on_request can return server.later')
      :format(target), texts[i])
  end
end)

describe("a connection is kept for another request", function()
  it("for 5 seconds, which count from the response, and not from a part of the next request", function()
    listen { on_request = function() return { body = "." } end, upgrade_timeout = 3 }
    local raw = dial(request "GET / HTTP/1.1")
    net:advance(4.9)
    raw:send(request "GET / HTTP/1.1")
    net:run()
    local all, ended = read(raw)
    local _, count = all:gsub("HTTP/1.1 200 OK", "")
    assert.same({ 2, false }, { count, ended })
    net:advance(4.9)
    assert.same({ "", false }, { read(raw) })
    net:advance(0.2)
    assert.same({ "", true }, { read(raw) })

    raw = dial(request "GET / HTTP/1.1")
    read(raw)
    net:advance(4.9)
    raw:send "GET / "
    net:advance(2.9) -- upgrade_timeout counts from there
    assert.same({ "", false }, { read(raw) })
    net:advance(0.2)
    all, ended = read(raw)
    assert.same({ 408, true }, { status(all), ended })
  end)

  it("and becomes a WebSocket then, which has no such limit", function()
    local opened = 0
    listen {
      on_request = function(asked) return asked.path ~= "/ws" and { body = "." } or nil end,
      on_open = function() opened = opened + 1 end, ping_interval = 0,
    }
    local raw = dial(request "GET / HTTP/1.1")
    net:advance(4)
    raw:send(upgrade "/ws")
    net:advance(100)
    assert.same({ 1, false }, { opened, select(2, read(raw)) })
  end)
end)

describe("a file that is answered with", function()
  local folder, path
  before_each(function()
    folder = files.unused()
    os.execute(("mkdir '%s'"):format(folder))
    path = folder .. "/a.txt"
    files.write(path, "text")
  end)
  after_each(function() os.execute(("chmod -R u+rwx '%s'; rm -r '%s'"):format(folder, folder)) end)

  it("can be sent any number of times, as it is by then, with other fields of the program's", function()
    local kept = server.file(folder, "/a.txt")
    kept.headers["Cache-Control"] = "no-cache"
    listen { on_request = function() return kept end }
    for _, text in ipairs { "text", "text", "a longer text", "" } do
      files.write(path, text)
      local reply = ask "GET /x HTTP/1.1"
      assert.same({ 200, text, tostring(#text), "no-cache" }, { status(reply), reply:match "\r\n\r\n(.*)$",
        reply:match "Content%-Length: (%d+)", reply:match "Cache%-Control: ([^\r]*)" })
    end
    kept.status = 404
    assert.equal(404, status(ask "GET /x HTTP/1.1"))
    os.remove(path)
    local reply = ask "GET /x HTTP/1.1"
    assert.same({ 404, "not found\n" }, { status(reply), reply:match "\r\n\r\n(.*)$" })
  end)

  it("is one for each connection, while several are sent", function()
    local large = ("0123456789"):rep(100000)
    files.write(path, large)
    local kept = server.file(folder, "/a.txt")
    listen { on_request = function() return kept end }
    local one, two = net.connect("localhost", 80), net.connect("localhost", 80)
    for _, raw in ipairs { one, two } do
      raw:send(request("GET / HTTP/1.1", "Connection: close"))
      raw:settimeout(10)
    end
    assert.is_true(one:receive "*a":match "\r\n\r\n(.*)$" == large)
    assert.is_true(two:receive "*a":match "\r\n\r\n(.*)$" == large)
  end)
end)

it("wsreset on a server's connection drops the message that has begun, and wslastping is when a frame came", function()
  local told, conn = {}, nil
  listen {
    ping_interval = 0, on_open = function(one) conn = one end,
    on_message = function(_, _, data) told[#told + 1] = data end,
  }
  local begun = net:now()
  local raw = dial(upgrade "/")
  local opened = luws.wslastping(conn)
  net:advance(10)
  assert.equal(opened, luws.wslastping(conn))
  raw:send "\1\130\0\0\0\0be" -- the first fragment of a text
  net:run()
  assert.equal(opened + 10, luws.wslastping(conn))
  assert.is_nil(luws.wsreset(conn))
  raw:send "\128\130\0\0\0\0gu\129\130\0\0\0\0ok" -- its last one, and another text
  net:advance(5)
  assert.same({ { "ok" }, opened + 10, begun + 15 }, { told, luws.wslastping(conn), net:now() })
  luws.wsclose(conn)
  luws.wsreset(conn)
end)
